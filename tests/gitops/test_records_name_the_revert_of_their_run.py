"""The record of a failed run names what took it back, whichever of the two Git takes first. What happens when the process dies in between is with the crashes."""

from __future__ import annotations

import json

import pytest

from canary.api.canaryrun import parse_canary_run
from canary.gitops import record
from canary.kube.resource import CANARY_RUNS, GIT_SINKS, Object
from canary.sandbox.gitserver import GitServer
from tests.gitops.forge_support import merge, scene
from tests.gitops.support import BAD, GOOD, MANIFEST, NAMESPACE, PATH, Api, drained, effects, records, run, running, settled, sink, until

pytestmark = pytest.mark.slow

ALL = ("record/fleet", "revert/fleet", "amend/fleet")
OUTCOMES = "canary-outcomes"
REFUSE = 'while read a b ref; do case "$ref" in */{branch}) echo "GH006: Protected branch"; exit 1;; esac; done'


def written(server: GitServer, name: str = "r1", *, at: str = OUTCOMES, repo: str = "fleet", canary: str = "podinfo") -> Object:
    """A record as it is at a commit."""
    data: Object = json.loads(server.git(repo, "show", f"{at}:cluster-001/prod/{canary}/{name}.json"))
    return data


def trailers(server: GitServer) -> list[str]:
    """What the commits of the records say that they did, newest first."""
    return server.git("fleet", "log", "--format=%(trailers:key=Canary-Effect,valueonly)", OUTCOMES).split("\n")


def said(api: Api, kind: str) -> tuple[str, str]:
    effect = effects(api, "r1")[f"{kind}/fleet"]
    return effect["state"], effect.get("reason", "")


@pytest.mark.fault(28)
async def test_the_record_names_the_commit_that_took_its_run_back(server: GitServer, fleet: str, api: Api) -> None:
    api.add(GIT_SINKS, sink(fleet))
    api.add(CANARY_RUNS, run("r1", effects=ALL))
    await drained(api)
    commit = server.git("fleet", "rev-parse", "main").strip()
    before, after = written(server, at=f"{OUTCOMES}~1"), written(server)
    assert "effects" not in before
    assert after == before | {"effects": {"revertCommit": commit}}
    assert [line for line in trailers(server) if line] == [f"{kind} cluster-001/prod/podinfo/r1.json" for kind in ("amend", "record")]
    assert f"prod/podinfo was taken back by {commit}" in server.git("fleet", "log", "-1", "--format=%b", OUTCOMES)
    assert effects(api, "r1")["amend/fleet"]["ref"] == server.git("fleet", "rev-parse", OUTCOMES).strip()


@pytest.mark.fault(28)
async def test_a_record_that_had_to_wait_names_the_commit_at_once(server: GitServer, fleet: str, api: Api) -> None:
    server.hook("fleet", "pre-receive", REFUSE.format(branch=OUTCOMES))
    api.add(GIT_SINKS, sink(fleet))
    api.add(CANARY_RUNS, run("r1", effects=ALL))
    async with running(api):
        await until(lambda: said(api, "revert")[0] == "Done" and said(api, "record") == ("Blocked", "Protected"))
        assert effects(api, "r1")["amend/fleet"].get("attempts", 0) == 0, "it waits for the record"
        server.hook("fleet", "pre-receive", None)
        api.change(GIT_SINKS, NAMESPACE, "fleet", {"spec": {"records": {"keep": 100}}})
        await until(lambda: settled(api))
    assert written(server)["effects"] == {"revertCommit": server.git("fleet", "rev-parse", "main").strip()}
    assert [line for line in trailers(server) if line] == ["record cluster-001/prod/podinfo/r1.json"], "it says so already"
    assert said(api, "amend") == ("Done", "")


@pytest.mark.fault(28)
async def test_a_revert_that_has_to_wait_is_named_when_it_is_there(server: GitServer, fleet: str, api: Api) -> None:
    server.hook("fleet", "pre-receive", REFUSE.format(branch="main"))
    api.add(GIT_SINKS, sink(fleet))
    api.add(CANARY_RUNS, run("r1", effects=ALL))
    async with running(api) as outbox:
        await until(lambda: said(api, "record")[0] == "Done" and said(api, "revert") == ("Blocked", "Protected"))
        assert "effects" not in written(server)
        assert said(api, "amend") == ("Queued", "")
        assert outbox.depth == 1
        server.hook("fleet", "pre-receive", None)
        api.change(GIT_SINKS, NAMESPACE, "fleet", {"spec": {"records": {"keep": 100}}})
        await until(lambda: settled(api))
    assert written(server)["effects"] == {"revertCommit": server.git("fleet", "rev-parse", "main").strip()}


async def test_a_pull_request_is_named_when_somebody_has_merged_it(server: GitServer) -> None:
    async with scene(server) as one:
        one.sink(onFailure={"delivery": "pullRequest"})
        one.run("r1", "record", "pr", "amend")
        async with running(one.api, clock=one.clock) as outbox:
            await until(lambda: one.said("pr")[0] == "Waiting" and one.said("record")[0] == "Done")
            merge(one)
            await one.later(outbox, 301)
            await until(lambda: one.said("amend")[0] == "Done")
        assert list(written(server, repo=one.repo)["effects"].values()) == [effects(one.api, "r1")["pr/fleet"]["ref"]]


async def test_where_nothing_was_taken_back_nothing_is_named(server: GitServer, fleet: str, api: Api) -> None:
    server.write("fleet", {PATH: MANIFEST.replace(BAD, GOOD)}, message="by hand")
    api.add(GIT_SINKS, sink(fleet))
    api.add(CANARY_RUNS, run("r1", effects=ALL))
    await drained(api)
    assert said(api, "amend") == ("Skipped", "NothingReverted")
    assert "effects" not in written(server)


async def test_a_record_that_is_not_there_any_more_is_not_made_again(server: GitServer, fleet: str, api: Api) -> None:
    api.add(GIT_SINKS, sink(fleet))
    api.add(CANARY_RUNS, run("r1", effects=("record/fleet", "revert/fleet")))
    await drained(api)
    server.write("fleet", {"cluster-001/prod/podinfo/r1.json": None}, message="tidied", branch=OUTCOMES)
    last = server.git("fleet", "rev-parse", OUTCOMES)
    api.change(
        CANARY_RUNS, NAMESPACE, "r1", {"status": {"effects": [*effects(api, "r1").values(), {"name": "amend/fleet", "state": "Queued"}]}}
    )
    await drained(api)
    assert said(api, "amend") == ("Skipped", "NoRecord")
    assert server.git("fleet", "rev-parse", OUTCOMES) == last
    assert records(server) == []


async def test_many_are_named_in_one_commit(server: GitServer, fleet: str, api: Api) -> None:
    names = [f"app{number}" for number in range(20)]
    files = {f"apps/{name}.yaml": MANIFEST.replace("podinfo", name) for name in names}
    server.write("fleet", files, message="a fleet")
    api.add(GIT_SINKS, sink(fleet))
    for name in names:
        images = {name: BAD.replace("podinfo", name)}
        api.add(CANARY_RUNS, run(f"run-{name}", canary=name, images=images, previous={name: GOOD.replace("podinfo", name)}, effects=ALL))
    await drained(api)
    assert len(server.git("fleet", "log", "--format=%H", OUTCOMES).split()) == 2
    for name in names:
        commit = written(server, f"run-{name}", canary=name)["effects"]["revertCommit"]
        assert f"canary(prod/{name}): revert" in server.git("fleet", "log", "-1", "--format=%s", commit)


@pytest.mark.parametrize("ref", ["", "abc", "a" * 39, "x" * 40, "javascript:1", f"{'a' * 40}\n"])
def test_only_what_is_a_commit_or_an_address_is_named(ref: str) -> None:
    done = {"name": "revert/fleet", "state": "Done", "ref": ref}
    it = parse_canary_run(run("r1") | {"status": run("r1")["status"] | {"effects": [done]}})
    assert record.answer(it, "fleet") == {}
