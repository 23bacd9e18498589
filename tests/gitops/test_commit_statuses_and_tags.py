"""Beside the commit that a run was started by stands how it goes; a promoted one has a tag, where that is wanted."""

from __future__ import annotations

import pytest

from canary.kube.resource import CANARY_RUNS
from canary.sandbox.gitserver import GitServer
from tests.gitops.forge_dialects import GiteaDialect, GitHubDialect
from tests.gitops.forge_server import Dialect
from tests.gitops.forge_support import Scene, scene
from tests.gitops.support import NAMESPACE, records, run, running, settled, until

pytestmark = pytest.mark.slow

ON = {"target": "commit", "url": "https://grafana.example/d?c={cluster}&n={namespace}/{name}&r={run}"}
CONTEXT = "canary/cluster-001/prod/podinfo"


def begun(one: Scene, name: str = "r1") -> None:
    """A run that goes on."""
    one.run(name, "pending", outcome="Running", finishedAt=None, status=None)


def ended(one: Scene, name: str, outcome: str, *kinds: str, **status: object) -> None:
    """What the engine writes when a run ends."""
    body = run(name, outcome=outcome, effects=tuple(f"{kind}/fleet" for kind in kinds), **status)  # type: ignore[arg-type]
    one.api.change(CANARY_RUNS, NAMESPACE, name, {"status": body["status"]})


@pytest.mark.parametrize("dialect", [GitHubDialect, GiteaDialect], ids=lambda one: one.kind)
@pytest.mark.parametrize(("outcome", "state"), [("Succeeded", "success"), ("Failed", "failure"), ("Canceled", "error")])
async def test_a_commit_shows_how_its_run_goes(server: GitServer, dialect: type[Dialect], outcome: str, state: str) -> None:
    async with scene(server, dialect=dialect) as one:
        one.sink(statuses=ON)
        begun(one)
        async with running(one.api, clock=one.clock):
            await until(lambda: one.said("pending") == ("Done", ""))
            (line,) = one.model.lines
            assert (line.sha, line.context, line.state) == (one.tip, CONTEXT, "pending")
            assert line.description == "6.1.0 is being analysed on cluster-001"
            assert line.url == "https://grafana.example/d?c=cluster-001&n=prod/podinfo&r=r1"
            ended(one, "r1", outcome, "record", "status")
            await until(lambda: settled(one.api))
        assert [line.state for line in one.model.lines] == ["pending", state]
        assert one.effect("status")["ref"] == one.tip
        if outcome == "Failed":
            assert one.model.lines[-1].description == "failed on cluster-001: request-success-rate 92.1 < 99"


async def test_a_run_under_way_is_not_recorded(server: GitServer) -> None:
    async with scene(server) as one:
        one.sink(statuses=ON)
        one.run("r1", "pending", "record", "status", outcome="Running", finishedAt=None)
        async with running(one.api, clock=one.clock):
            await until(lambda: one.said("pending")[0] == "Done")
            await until(lambda: one.condition()[0] == "True")
        assert (one.said("record"), one.said("status")) == (("Queued", ""), ("Queued", ""))
        assert records(one.server, one.repo) == []


@pytest.mark.fault(23)
async def test_what_began_while_the_forge_was_away_shows_its_end_only(server: GitServer) -> None:
    async with scene(server) as one:
        from tests.gitops.forge_support import down

        one.model.fault = down
        one.sink(statuses=ON)
        begun(one)
        async with running(one.api, clock=one.clock) as outbox:
            await until(lambda: one.said("pending") == ("Retrying", "Unreachable"))
            ended(one, "r1", "Succeeded", "record", "status")
            one.model.fault = None
            await one.later(outbox, 601)
            await until(lambda: settled(one.api))
        assert [line.state for line in one.model.lines] == ["success"]


async def test_a_status_that_is_there_is_not_posted_again(server: GitServer) -> None:
    async with scene(server) as one:
        one.sink(statuses=ON)
        one.run("r1", "status")
        async with running(one.api, clock=one.clock):
            await until(lambda: settled(one.api))
        one.api.change(CANARY_RUNS, NAMESPACE, "r1", {"status": {"effects": [{"name": "status/fleet", "state": "Queued"}]}})
        async with running(one.api, clock=one.clock):
            await until(lambda: settled(one.api))
        assert len(one.model.lines) == 1


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ({}, "NoSource"),
        ({"revision": "a" * 40, "repository": "https://github.com/acme/other.git", "via": "Kustomization"}, "OtherRepository"),
        ({"revision": "a" * 40, "via": "Kustomization", "confidence": "low"}, "LowConfidence"),
    ],
)
async def test_a_run_without_a_commit_here_is_skipped_and_says_why(server: GitServer, source: dict[str, str], reason: str) -> None:
    async with scene(server) as one:
        one.sink(statuses=ON, onSuccess={"tag": True})
        body = run("r1", outcome="Succeeded", effects=("status/fleet", "tag/fleet"))
        if source:
            body["spec"]["source"] = source
        one.api.add(CANARY_RUNS, body)
        async with running(one.api, clock=one.clock):
            await until(lambda: settled(one.api))
        assert (one.said("status"), one.said("tag")) == (("Skipped", reason), ("Skipped", reason))
        assert one.model.lines == []


async def test_a_commit_that_the_forge_does_not_know_blocks_its_own_status_only(server: GitServer) -> None:
    async with scene(server) as one:
        one.model.unknown.add("b" * 40)
        one.sink(statuses=ON)
        one.run("r1", "status", outcome="Succeeded", source={"revision": "b" * 40, "via": "annotation"})
        one.run("r2", "status", outcome="Succeeded", minute=2)
        async with running(one.api, clock=one.clock):
            await until(lambda: one.said("status", "r2")[0] == "Done" and one.said("status") == ("Blocked", "NotFound"))


async def test_statuses_that_are_not_asked_for_any_more_are_skipped(server: GitServer) -> None:
    async with scene(server) as one:
        one.sink()
        one.run("r1", "status", "tag", outcome="Succeeded")
        async with running(one.api, clock=one.clock):
            await until(lambda: settled(one.api))
        assert (one.said("status"), one.said("tag")) == (("Skipped", "NotWanted"), ("Skipped", "NotWanted"))


# ------------------------------------------------------------------------------------------------------------------ tags
TAG = "canary/cluster-001/prod/podinfo/r1"


async def test_a_promoted_commit_gets_one_annotated_tag(server: GitServer) -> None:
    async with scene(server) as one:
        one.sink(onSuccess={"tag": True}, identity={"name": "Bot", "email": "bot@example.com"})
        one.server.write(one.repo, {"later": "x"}, message="somebody moves on")
        one.run("r1", "record", "tag", outcome="Succeeded")
        async with running(one.api, clock=one.clock):
            await until(lambda: settled(one.api))
        assert one.effect("tag")["ref"] == TAG
        assert one.server.git(one.repo, "rev-parse", f"{TAG}^{{commit}}").strip() == one.tip
        tag = one.server.git(one.repo, "cat-file", "tag", TAG)
        assert "tagger Bot <bot@example.com>" in tag
        assert "canary(prod/podinfo): 6.1.0 promoted on cluster-001" in tag
        assert "Canary-Run-Id: r1" in tag
        first = one.server.git(one.repo, "rev-parse", TAG)
        one.api.change(CANARY_RUNS, NAMESPACE, "r1", {"status": {"effects": [{"name": "tag/fleet", "state": "Queued"}]}})
        async with running(one.api, clock=one.clock):
            await until(lambda: settled(one.api))
        assert one.server.git(one.repo, "rev-parse", TAG) == first


async def test_a_commit_of_another_branch_is_tagged_all_the_same(server: GitServer) -> None:
    async with scene(server) as one:
        other = one.server.write(one.repo, {"x": "y"}, message="elsewhere", branch="release")
        one.sink(onSuccess={"tag": True})
        one.run("r1", "tag", outcome="Succeeded", source={"revision": other, "via": "annotation"})
        one.run("r2", "tag", outcome="Succeeded", minute=1, source={"revision": "c" * 40, "via": "annotation"})
        async with running(one.api, clock=one.clock):
            await until(lambda: one.said("tag")[0] == "Done" and one.said("tag", "r2") == ("Blocked", "NotFound"))
            await until(lambda: one.condition()[0] == "True")
        assert one.server.git(one.repo, "rev-parse", f"{TAG}^{{commit}}").strip() == other
