"""A cluster is made anew, its manifests name a version that was never promoted, and the records know the one that was."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import threading
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest

from canary.api.canary import Canary
from canary.api.gitsink import GitSink
from canary.gitops import promotions
from canary.gitops.command import Patience
from canary.gitops.outbox import Outbox
from canary.gitops.promotions import Promotions, versions
from canary.kube.resource import DEPLOYMENTS, GIT_SINKS, Object
from canary.sandbox.gitserver import GitServer
from tests.engine.world import NS, Process, Stage
from tests.fakes.cluster import FakeCluster
from tests.gitops.support import Clock, sink, until

OUTCOMES = "canary-outcomes"
POINTER = f"cluster-001/{NS}/app/promoted.json"
WANTED = {"onBootstrap": {"primary": "promoted"}}


def pointer(**images: str) -> str:
    release = {"images": images or {"app": "app:1"}, "templateHash": "v2:x", "configHash": ""}
    return json.dumps({"schema": 1, "cluster": "cluster-001", "namespace": NS, "name": "app", "release": release})


def remember(server: GitServer, text: str | None = None) -> None:
    server.write("fleet", {POINTER: text or pointer()}, message="record", branch=OUTCOMES)


@contextlib.asynccontextmanager
async def operating(stage: Stage) -> AsyncIterator[Process]:
    """An operator with its outbox."""
    async with stage.process() as process:
        outbox = Outbox(process.cluster, patience=Patience(local=20, network=20, silence=20))
        process.ticker._observer._memory = outbox.promotions
        task = asyncio.create_task(outbox.run())
        try:
            yield process
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


def primary(stage: Stage) -> Object | None:
    return stage.view.get(DEPLOYMENTS, NS, "app-primary")


def image(stage: Stage) -> str:
    body = primary(stage)
    return body["spec"]["template"]["spec"]["containers"][0]["image"] if body else ""


async def events(stage: Stage) -> list[str]:
    from canary.kube.resource import Resource

    kind = Resource("", "v1", "events", "Event", namespaced=True)
    return [body.get("action") or body.get("note") or body.get("message", "") for body in await stage.user.list(kind, NS)]


@contextlib.asynccontextmanager
async def rebuilt(url: str, **spec: Any) -> AsyncIterator[Stage]:
    """A new cluster in which the workload has `app:2`, and a sink."""
    async with Stage() as stage:
        await stage.deploy("app:2")
        await stage.user.create(GIT_SINKS, sink(url, namespace=NS, **{**WANTED, **spec}))
        yield stage


def phases(stage: Stage) -> list[str]:
    return list(dict.fromkeys(phase for phase, _, _ in stage.history))


# ------------------------------------------------------------------------------------------------------- the whole story


@pytest.mark.slow
async def test_the_primary_begins_with_what_was_promoted_and_the_rest_is_a_release(server: GitServer, fleet: str) -> None:
    remember(server)
    async with rebuilt(fleet) as stage, operating(stage):
        await stage.canary(interval="1s")
        await until(lambda: primary(stage))
        assert image(stage) == "app:1"
        await until(lambda: stage.status().get("phase") == "Succeeded")
        assert image(stage) == "app:2"
        assert phases(stage)[1:4] == ["Initializing", "Initialized", "Progressing"]
        assert "pinnedImages" not in stage.status()


@pytest.mark.slow
async def test_a_version_that_fails_is_not_served_to_a_rebuilt_cluster(server: GitServer, fleet: str) -> None:
    remember(server)
    async with rebuilt(fleet) as stage, operating(stage):
        await stage.canary(interval="1s", threshold=1)
        await until(lambda: primary(stage))
        stage.metrics.values["request-success-rate"] = 10.0
        await until(lambda: stage.status().get("phase") == "Failed")
        assert image(stage) == "app:1"
        await stage.deploy("app:1")  # what was promoted, as the hash of the template says too
        await asyncio.sleep(1.5)
        assert stage.status()["phase"] == "Failed", "no release of it"
        assert stage.status()["lastAppliedSpec"] == stage.status()["lastPromotedSpec"]


@pytest.mark.slow
@pytest.mark.parametrize("spec", [{"onBootstrap": {"primary": "template"}}, {"canaries": {"matchLabels": {"a": "b"}}}, {"suspend": True}])
async def test_it_begins_with_the_template_where_nobody_wants_another(server: GitServer, fleet: str, spec: dict[str, Any]) -> None:
    remember(server)
    async with rebuilt(fleet, **spec) as stage, operating(stage):
        await stage.canary(interval="1s")
        await until(lambda: stage.status().get("phase") == "Initialized")
        assert image(stage) == "app:2"


@pytest.mark.slow
@pytest.mark.parametrize(
    "text",
    ["", pointer(app="app:2"), pointer(app="evil/miner:1"), pointer(app="app:1", other="x:1"), "{", '{"release": {"images": {"app": 1}}}'],
)
async def test_what_is_no_version_of_this_workload_is_not_taken(server: GitServer, fleet: str, text: str) -> None:
    if text:
        remember(server, text)
    async with rebuilt(fleet) as stage, operating(stage):
        await stage.canary(interval="1s")
        await until(lambda: stage.status().get("phase") == "Initialized")
        assert image(stage) == "app:2"
        assert "pinnedImages" not in stage.status()


@pytest.mark.slow
async def test_a_server_that_is_away_delays_no_bootstrap(server: GitServer) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{closed.getsockname()[1]}/fleet.git"
        async with rebuilt(url) as stage, operating(stage):
            began = time.monotonic()
            await stage.canary(interval="1s")
            await until(lambda: primary(stage))
            assert time.monotonic() - began < 10
            assert image(stage) == "app:2"
            await until(lambda: stage.status().get("phase") == "Initialized")


@pytest.mark.slow
async def test_a_server_that_hangs_costs_one_short_wait(server: GitServer, fleet: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(promotions, "PATIENCE", 1.0)
    release = threading.Event()
    server.fault = lambda _: not release.wait(60)
    try:
        async with rebuilt(fleet) as stage, operating(stage):
            began = time.monotonic()
            await stage.canary(interval="1s")
            await until(lambda: primary(stage))
            assert time.monotonic() - began < 12
            await until(lambda: stage.status().get("phase") == "Initialized")
            assert image(stage) == "app:2"
    finally:
        release.set()


@pytest.mark.slow
@pytest.mark.timeout(300)
async def test_a_crash_at_any_write_leaves_the_pinned_primary(server: GitServer, fleet: str) -> None:
    """And once it is decided Git is not needed any more."""
    remember(server)
    at = 1
    while True:
        async with rebuilt(fleet) as stage:
            await stage.view.watch(GIT_SINKS)
            async with stage.process(crash_at=at, after=True) as process:
                outbox = Outbox(
                    stage.view, patience=Patience(local=20, network=20, silence=20)
                )  # its writes are not those that are counted
                process.ticker._observer._memory = outbox.promotions
                task = asyncio.create_task(outbox.run())
                await stage.canary(interval="1s")
                await until(lambda: process.died.is_set() or stage.status().get("phase") == "Initialized")
                died = process.died.is_set()
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
            pinned = stage.status().get("pinnedImages")
            if pinned:
                server.stop()
            async with operating(stage):
                await until(lambda: stage.status().get("phase") in {"Initialized", "Progressing", "Succeeded"})
                assert any(phase == "Initialized" for phase, _, _ in stage.history)
            server.start() if pinned else None
            assert image(stage) == "app:1" or stage.status()["phase"] == "Succeeded", at
        if not died:
            break
        at += 1
    assert at > 4


# ------------------------------------------------------------------------------------------------------- the pieces


def test_a_record_chooses_a_version_and_never_an_image() -> None:
    template = {"app": "r/app:2", "side": "r/side:5"}
    assert versions({}, template) == ({}, "")
    assert versions(template, template) == ({}, "")
    assert versions({"app": "r/app:1"}, template) == ({"app": "r/app:1", "side": "r/side:5"}, "")
    assert versions({"app": "r/app@sha256:1"}, template)[0]["app"] == "r/app@sha256:1"
    for strange in ({"app": "r/other:1"}, {"app": "app:2"}, {"app": "r/app:1", "gone": "r/gone:1"}):
        images, problem = versions(strange, template)
        assert images == {}
        assert problem


def canary(name: str = "app") -> Canary:
    spec = {"targetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": name}, "service": {"port": 80}, "analysis": {}}
    return Canary.model_validate({"metadata": {"name": name, "namespace": NS, "uid": "u"}, "spec": spec})


async def test_many_canaries_that_begin_together_cost_one_question() -> None:
    fake, clock, asked = FakeCluster(watched=True), Clock(), []
    fake.add(GIT_SINKS, sink("https://git.example/a.git", namespace=NS, **WANTED))

    async def read(_: GitSink) -> dict[str, dict[str, str]]:
        asked.append(1)
        await asyncio.sleep(0.05)
        if len(asked) == 2:
            raise OSError("no space left on device")
        return {f"app{number}": {"app": f"app:{number}"} for number in range(100)}

    memory = Promotions(fake, read, clock)
    wanted = memory.wanted(canary())
    assert wanted is not None
    said = await asyncio.gather(*(memory.of(wanted, f"app{number}") for number in range(500)))
    assert len(asked) == 1
    assert [one.images for one in said[:2]] == [{"app": "app:0"}, {"app": "app:1"}]
    assert said[499].images == {}
    clock.ahead += promotions.KEPT + 1
    failed = await memory.of(wanted, "app1")
    assert "no space left" in failed.error
    assert (await memory.of(wanted, "app1")).error
    assert len(asked) == 2, "that there was no answer is kept as well"
    clock.ahead += promotions.KEPT + 1
    assert (await memory.of(wanted, "app1")).images == {"app": "app:1"}
    await memory.stop()
