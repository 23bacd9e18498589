"""An image bot sets the rejected tag again after every revert: one commit of ours, then none, at whatever step the operator dies."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from canary.gitops.breaker import DAY, RETRY
from canary.gitops.command import Patience
from canary.gitops.outbox import Outbox
from canary.kube.resource import CANARIES, CANARY_RUNS, GIT_SINKS, Object
from canary.sandbox.gitserver import GitServer
from tests.engine.world import NS, Process, Stage
from tests.gitops.forge_support import merge, scene
from tests.gitops.support import (
    BAD,
    GOOD,
    MANIFEST,
    NAMESPACE,
    PATH,
    Api,
    Clock,
    drained,
    effects,
    records,
    run,
    running,
    settled,
    show,
    sink,
    subjects,
    until,
)
from tests.gitops.test_crashes_neither_double_nor_lose import Fuse

pytestmark = [pytest.mark.slow, pytest.mark.fault(25)]

MARKED = MANIFEST.replace("# the only place", '# {"$imagepolicy": "flux-system:podinfo"}')


def bot(server: GitServer, repo: str = "fleet", text: str = MARKED) -> None:
    """As Flux's image automation does: the tag of the policy, where the marker stands."""
    server.write(repo, {PATH: text}, message="Update from image update automation")


def ours(server: GitServer, repo: str = "fleet") -> int:
    """Commits of ours on the branch that is delivered."""
    return sum("revert 6.1.0 -> 6.0.0" in line for line in subjects(server, repo))


def said(api: Api, name: str, kind: str = "revert") -> tuple[str, str]:
    effect = effects(api, name)[f"{kind}/fleet"]
    return effect["state"], effect.get("reason", "")


def canary(**annotations: str) -> Object:
    body = {**CANARIES.head(NAMESPACE, "podinfo"), "spec": {}}
    body["metadata"] |= {"uid": "uid-podinfo", "annotations": annotations}
    return body


async def test_the_second_time_is_left_to_a_person_and_the_policy_is_named(server: GitServer, fleet: str, api: Api) -> None:
    bot(server)
    api.add(GIT_SINKS, sink(fleet))
    api.add(CANARY_RUNS, run("r1"))
    await drained(api)
    assert GOOD in show(server, PATH)
    body = server.git("fleet", "log", "-1", "--format=%B", "main")
    assert "Note: ImagePolicy flux-system/podinfo sets this value, and may set the failed one again." in body
    warned: list[str] = []
    clock = Clock()
    async with running(api, warn=lambda _, text, kind: warned.append(f"{kind} {text}"), clock=clock) as outbox:
        for number in range(2, 5):
            bot(server, text=MARKED + "#" * number)
            api.add(CANARY_RUNS, run(f"r{number}", minute=number))
            await until(lambda name=f"r{number}": said(api, name) == ("Blocked", "BreakerOpen") and said(api, name, "record")[0] == "Done")
        for number in range(2, 4):
            clock.ahead += 301
            outbox._wake.set()
            await until(lambda name=f"r{number}": said(api, name) == ("Skipped", "Superseded"))
        tries = effects(api, "r4")["revert/fleet"]["attempts"]
        clock.ahead += 301
        outbox._wake.set()
        await asyncio.sleep(0.5)
        assert effects(api, "r4")["revert/fleet"]["attempts"] == tries, "nothing new is not written down"
    assert ours(server) == 1
    error = effects(api, "r4")["revert/fleet"]["error"]
    assert f"{RETRY}: r4" in error
    assert "ImagePolicy flux-system/podinfo" in error
    assert len([line for line in warned if "run r4" in line]) == 1
    assert warned[-1].startswith("GitBreakerOpen ")


@pytest.mark.parametrize("how", ["a word", "a day", "a limit", "by hand"])
async def test_it_ends_by_a_word_a_day_another_limit_or_by_hand(server: GitServer, fleet: str, api: Api, how: str) -> None:
    clock = Clock()
    api.add(GIT_SINKS, sink(fleet))
    api.add(CANARY_RUNS, run("r1"))
    await drained(api, clock=clock)
    bot(server, text=MANIFEST)
    api.add(CANARY_RUNS, run("r2", minute=5))
    api.add(CANARIES, canary())
    async with running(api, clock=clock) as outbox:
        await until(lambda: said(api, "r2") == ("Blocked", "BreakerOpen"))
        match how:
            case "a word":
                api.change(CANARIES, NAMESPACE, "podinfo", {"metadata": {"annotations": {RETRY: "r2"}}})
                clock.ahead += 301
            case "a day":
                clock.ahead += DAY + 60
            case "a limit":
                api.change(GIT_SINKS, NAMESPACE, "fleet", {"spec": {"breaker": {"maxRevertsPerRelease": 2}}})
            case "by hand":
                server.write("fleet", {PATH: MANIFEST.replace(BAD, GOOD)}, message="by hand")
                clock.ahead += 301
        outbox._wake.set()
        await until(lambda: settled(api))
    assert GOOD in show(server, PATH)
    assert ours(server) == (1 if how == "by hand" else 2)
    assert said(api, "r2") == (("Skipped", "AlreadyReverted") if how == "by hand" else ("Done", ""))


async def test_another_release_is_taken_back_as_ever(server: GitServer, fleet: str, api: Api) -> None:
    api.add(GIT_SINKS, sink(fleet))
    api.add(CANARY_RUNS, run("r1"))
    await drained(api)
    worse = BAD.replace("6.1.0", "6.1.1")
    server.write("fleet", {PATH: MANIFEST.replace(BAD, worse)}, message="6.1.1")
    api.add(CANARY_RUNS, run("r2", minute=5, images={"podinfo": worse}))
    await drained(api)
    assert said(api, "r2") == ("Done", "")


async def test_a_pull_request_that_was_merged_counts(server: GitServer) -> None:
    async with scene(server) as one:
        bot(server, one.repo)
        one.sink(onFailure={"delivery": "pullRequest"}, records={"target": "none"})
        one.run("r1", "pr")
        async with running(one.api, clock=one.clock) as outbox:
            await until(lambda: one.said("pr")[0] == "Waiting")
            assert "Note: ImagePolicy flux-system/podinfo sets this value" in one.model.pulls[0].body
            merge(one)
            await one.later(outbox, 301)
            await until(lambda: one.said("pr")[0] == "Done")
            bot(server, one.repo, MANIFEST)
            one.run("r2", "pr", minute=5)
            await until(lambda: one.said("pr", "r2") == ("Blocked", "BreakerOpen"))
        assert len(one.model.pulls) == 1


# ------------------------------------------------------------------------------------------------------- killed anywhere


async def killed(server: GitServer, write: int, monkeypatch: pytest.MonkeyPatch) -> bool:
    """The operator dies at this write of the first revert, and comes back only when the bot has been there and the release has failed again."""
    from canary.gitops.command import Git

    name = f"bot-{write}"
    shutil.copytree(server.root / "fleet.git", server.root / f"{name}.git")
    api, url, fuse = Api(), f"{server.url}/{name}.git", Fuse(write)
    real = Git.run

    async def stepped(self: Git, *arguments: str, **options: Any) -> bytes:
        await fuse(f"git {arguments[0]}")
        return await real(self, *arguments, **options)

    api.add(GIT_SINKS, sink(url, records={"target": "none"}))
    api.add(CANARY_RUNS, run("r1", effects=("revert/fleet",)))
    with monkeypatch.context() as patch:
        patch.setattr(Git, "run", stepped)
        api.step = fuse
        async with running(api):
            await until(lambda: fuse.blown.is_set() or settled(api))
    died = fuse.blown.is_set()
    api.step = _free
    written = ours(server, name)
    bot(server, name, MANIFEST)
    api.add(CANARY_RUNS, run("r2", minute=5, effects=("revert/fleet",)))
    async with running(api):
        await until(lambda: said(api, "r1")[0] in {"Done", "Skipped"} and said(api, "r2")[0] in {"Done", "Blocked"})
    assert ours(server, name) == 1, f"write {write}: {fuse.names}"
    assert said(api, "r2") == (("Blocked", "BreakerOpen") if written else ("Done", ""))
    return died


async def _free(_: str) -> None:
    return None


async def test_whenever_the_operator_dies_there_is_one_commit(server: GitServer, monkeypatch: pytest.MonkeyPatch) -> None:
    write = 0
    while await killed(server, write, monkeypatch):
        write += 1
    assert write >= 2


# ------------------------------------------------------------------------------------------------------- the whole loop

APP = (
    MANIFEST.replace("podinfo", "app")
    .replace(f"namespace: {NAMESPACE}", f"namespace: {NS}")
    .replace(f"ghcr.io/acme/app:{BAD[-5:]}", "app:2")
)
FILE = "apps/app.yaml"


class Deliverer:
    """Flux: what the branch names is what the cluster gets. And a bot that sets `app:2` whenever it is not there."""

    def __init__(self, server: GitServer, stage: Stage) -> None:
        self.server, self.stage = server, stage
        self.bot = False
        self.set = 0

    def image(self) -> str:
        return "app:2" if "image: app:2" in show(self.server, FILE, repo="loop") else "app:1"

    async def forever(self) -> None:
        applied = ""
        while True:
            image = await asyncio.to_thread(self.image)
            if image != applied:
                await self.stage.deploy(image)
                applied = image
            elif self.bot and image == "app:1":
                await asyncio.to_thread(self.server.write, "loop", {FILE: APP}, message="Update from image update automation")
                self.set += 1
            await asyncio.sleep(0.3)


@contextlib.asynccontextmanager
async def operating(stage: Stage) -> AsyncIterator[Process]:
    """An operator and its outbox, which die together."""
    async with stage.process() as process:
        outbox = Outbox(process.cluster, patience=Patience(local=20, network=20, silence=5))
        task = asyncio.create_task(outbox.run())
        try:
            yield process
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


def phase(stage: Stage, wanted: str) -> Callable[[], bool]:
    return lambda: stage.status().get("phase") == wanted


def open_breaker(stage: Stage) -> list[str]:
    return [one["message"] for one in stage.status().get("conditions", ()) if one["type"] == "BreakerOpen"]


async def test_the_loop_of_bot_and_operator_ends_after_one_turn(server: GitServer) -> None:
    server.create("loop", {FILE: APP.replace("app:2", "app:1")})
    async with Stage() as stage:
        deliverer = Deliverer(server, stage)
        task = asyncio.create_task(deliverer.forever())
        await stage.canary(interval="1s", threshold=1)
        await stage.user.create(GIT_SINKS, sink(f"{server.url}/loop.git", namespace=NS))
        try:
            async with operating(stage):
                await until(phase(stage, "Initialized"))
                stage.metrics.values["request-success-rate"] = 50.0
                deliverer.bot = True
                await until(lambda: open_breaker(stage))
            async with operating(stage) as process:
                await asyncio.sleep(2.5)
                assert stage.status()["phase"] == "Waiting", "also of the next process"
                assert b'canary_git_breaker_open{name="app",namespace="test"} 1.0' in process.telemetry.text()
                assert (deliverer.set, log(server)) == (2, ["dev", "canary", "dev"])
                await asyncio.to_thread(server.write, "loop", {FILE: APP.replace("app:2", "app:1")}, message="a person, by hand")
                await until(lambda: deliverer.set == 3 and open_breaker(stage))
                (rejected,) = (body for body in stage.view.list(CANARY_RUNS, NS))
                assert log(server).count("canary") == 1
                deliverer.bot = False
                await stage.user.merge(CANARIES, NS, "app", {"metadata": {"annotations": {RETRY: rejected["metadata"]["name"]}}})
                await until(lambda: log(server).count("canary") == 2)
                await until(lambda: not open_breaker(stage) and phase(stage, "Failed")())
                assert len([path for path in records(server, "loop") if path.endswith(".json")]) == 2
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


def log(server: GitServer) -> list[str]:
    """Authors of the branch, newest first, without the first commit."""
    return [name for name in server.git("loop", "log", "--format=%an", "main").split()][:-1]
