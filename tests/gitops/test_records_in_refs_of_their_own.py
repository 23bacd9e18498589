"""Records outside of branches: each cluster has a ref that nobody else writes, made by its first push and moved by compare-and-swap from there on."""

from __future__ import annotations

import asyncio
import contextlib
import json
import shutil
import threading
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from canary.api.gitsink import parse_git_sink
from canary.gitops import promotions
from canary.gitops.credentials import GitAuth
from canary.gitops.forge_commits import ForgeMirror
from canary.gitops.git import Author, Draft, Mirror, Ref
from canary.kube.resource import CANARY_RUNS, GIT_SINKS
from canary.sandbox.gitserver import GitServer, Handler
from tests.gitops.forge_dialects import GitHubDialect
from tests.gitops.forge_support import scene
from tests.gitops.support import (
    GOOD,
    NAMESPACE,
    PATH,
    Api,
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
from tests.gitops.test_commits_are_signed import SIGNED_ONLY, signed_sink, ssh_key, verified_by_ssh
from tests.gitops.test_crashes_neither_double_nor_lose import _FUSES, ACROSS, Fuse, _free, fused

__all__ = ["fused", "ssh_key"]

pytestmark = pytest.mark.slow

WANTED = "refs/canary/outcomes/first/{cluster}"
ONE, TWO = (WANTED.replace("{cluster}", name) for name in ("cluster-001", "cluster-002"))
IN_REFS = {"records": {"ref": WANTED}}
ALL = ("record/fleet", "revert/fleet", "amend/fleet")
ME = Author("canary", "canary@canary.dev")


def refs(server: GitServer, repo: str = "fleet") -> list[str]:
    """All refs of the server, by their whole names."""
    return server.git(repo, "for-each-ref", "--format=%(refname)").split()


def listed(server: GitServer, ref: str = ONE, repo: str = "fleet") -> list[str]:
    return server.git(repo, "ls-tree", "-r", "--name-only", ref).split()


def trailers(server: GitServer, ref: str = ONE, repo: str = "fleet") -> list[str]:
    """What its commits say that they did, newest first."""
    text = server.git(repo, "log", "--format=%(trailers:key=Canary-Effect,valueonly)", ref)
    return [line for line in text.split("\n") if line]


def pushes(server: GitServer) -> int:
    return sum(line.startswith("POST") and line.endswith("git-receive-pack") for line in server.requests)


def together(server: GitServer) -> threading.Barrier:
    """From here on the first two pushes reach the server at the same time, each made without knowing of the other."""
    barrier, arrived = threading.Barrier(2, timeout=30), []

    def fault(handler: Handler) -> bool:
        if handler.command == "POST" and handler.path.endswith("git-receive-pack") and len(arrived) < 2:
            arrived.append(handler.path)
            barrier.wait()
        return False

    server.fault = fault
    return barrier


async def test_records_pointers_and_what_took_runs_back_go_to_the_ref_and_to_no_branch(server: GitServer, fleet: str, api: Api) -> None:
    api.add(GIT_SINKS, sink(fleet, **IN_REFS))
    api.add(CANARY_RUNS, run("r0", canary="other", outcome="Succeeded"))
    api.add(CANARY_RUNS, run("r1", minute=1, effects=ALL))
    async with running(api):
        await until(lambda: settled(api))
        await until(lambda: (api.stored(GIT_SINKS, NAMESPACE, "fleet").get("status") or {}).get("lastPush"))
    assert refs(server) == [ONE, "refs/heads/main"]
    folder = "cluster-001/prod"
    assert listed(server) == [f"{folder}/other/promoted.json", f"{folder}/other/r0.json", f"{folder}/podinfo/r1.json"]
    assert sorted(trailers(server)) == [
        f"amend {folder}/podinfo/r1.json",
        f"record {folder}/other/r0.json",
        f"record {folder}/podinfo/r1.json",
    ]
    commit = server.git("fleet", "rev-parse", "main").strip()
    assert json.loads(show(server, f"{folder}/podinfo/r1.json", branch=ONE))["effects"] == {"revertCommit": commit}
    assert server.git("fleet", "rev-list", "--max-parents=0", "--count", ONE).strip() == "1"
    assert server.git("fleet", "merge-base", "--all", ONE, ONE).strip() == effects(api, "r1")["amend/fleet"]["ref"]
    assert api.stored(GIT_SINKS, NAMESPACE, "fleet")["status"]["lastPush"]["branch"] == ONE
    sunk = parse_git_sink(api.stored(GIT_SINKS, NAMESPACE, "fleet"))
    mirror = Mirror(server.root.parent / "another", fleet, GitAuth())
    assert await promotions.read(mirror, sunk) == {"other": run("r0")["spec"]["release"]["images"]}


async def test_clusters_with_refs_of_their_own_never_wait_for_one_another(server: GitServer, fleet: str) -> None:
    apis = {}
    for name in ("cluster-001", "cluster-002"):
        api = apis[name] = Api()
        api.add(GIT_SINKS, sink(fleet, cluster=name, **IN_REFS))
        api.add(CANARY_RUNS, run("r0", outcome="Succeeded"))
    together(server)
    await asyncio.gather(*(drained(api) for api in apis.values()))
    assert pushes(server) == 2, "a push that was overtaken would have been made again"
    for name, ref in (("cluster-001", ONE), ("cluster-002", TWO)):
        assert listed(server, ref) == [f"{name}/prod/podinfo/promoted.json", f"{name}/prod/podinfo/r0.json"]
        assert trailers(server, ref) == [f"record {name}/prod/podinfo/r0.json"]
        apis[name].assert_untouched()


async def test_two_writers_of_one_ref_both_get_their_turn(server: GitServer, fleet: str) -> None:
    """Two namespaces of one cluster: the later push is refused by its lease and computed anew on what the other one left."""
    apis = []
    for namespace in ("prod", "staging"):
        api = Api()
        api.add(GIT_SINKS, sink(fleet, namespace=namespace, **IN_REFS))
        api.add(CANARY_RUNS, run("r0", namespace=namespace, outcome="Succeeded"))
        apis.append(api)
    together(server)
    await asyncio.gather(*(drained(api) for api in apis))
    assert pushes(server) == 3
    assert sorted(trailers(server)) == [f"record cluster-001/{namespace}/podinfo/r0.json" for namespace in ("prod", "staging")]
    assert len(listed(server)) == 4


async def test_a_ref_that_is_made_between_look_and_push_is_not_replaced(server: GitServer, fleet: str, api: Api) -> None:
    other = server.write("fleet", {"note.txt": "before\n"}, message="somebody", branch="aside")

    def fault(handler: Handler) -> bool:
        if handler.command == "POST" and handler.path.endswith("git-receive-pack"):
            server.fault = None
            server.git("fleet", "update-ref", ONE, other)
        return False

    server.fault = fault
    api.add(GIT_SINKS, sink(fleet, **IN_REFS))
    api.add(CANARY_RUNS, run("r0", outcome="Succeeded"))
    await drained(api)
    assert server.git("fleet", "rev-parse", f"{ONE}~1").strip() == other
    assert "note.txt" in listed(server)
    assert pushes(server) == 2


@contextlib.asynccontextmanager
async def scenario(server: GitServer, name: str) -> AsyncIterator[tuple[Api, str]]:
    shutil.copytree(server.root / "fleet.git", server.root / f"{name}.git")
    api, url = Api(), f"{server.url}/{name}.git"
    api.add(GIT_SINKS, sink(url, **IN_REFS))
    api.add(CANARY_RUNS, run("r0", canary="other", outcome="Succeeded"))
    api.add(CANARY_RUNS, run("r1", minute=1, effects=ALL))
    yield api, url
    _FUSES.pop(url, None)
    api.assert_untouched()


def assert_once(server: GitServer, api: Api, name: str) -> None:
    folder = "cluster-001/prod"
    assert refs(server, name) == [ONE, "refs/heads/main"]
    assert sorted(trailers(server, repo=name)) == [
        f"amend {folder}/podinfo/r1.json",
        f"record {folder}/other/r0.json",
        f"record {folder}/podinfo/r1.json",
    ]
    assert listed(server, repo=name) == [f"{folder}/other/promoted.json", f"{folder}/other/r0.json", f"{folder}/podinfo/r1.json"]
    assert len(subjects(server, name)) == 2
    commit = server.git(name, "rev-parse", "main").strip()
    assert json.loads(show(server, f"{folder}/podinfo/r1.json", repo=name, branch=ONE))["effects"] == {"revertCommit": commit}
    assert {effect["state"] for one in ("r0", "r1") for effect in effects(api, one).values()} == {"Done"}


@pytest.mark.fault(11, 12)
async def test_a_crash_at_any_step_leaves_one_record_of_each_in_the_ref(server: GitServer) -> None:
    async with scenario(server, "whole") as (api, url):
        fuse = _FUSES[url] = Fuse(10_000)
        api.step = fuse
        async with running(api):
            await until(lambda: settled(api))
        assert_once(server, api, "whole")
    assert fuse.names.count("git push") == 3
    assert len(fuse.names) >= 7
    gate = asyncio.Semaphore(ACROSS)

    async def crash_at(write: int) -> None:
        async with gate, scenario(server, f"crash-{write}") as (api, url):
            fuse = _FUSES[url] = Fuse(write)
            api.step = fuse
            async with running(api):
                await asyncio.wait_for(fuse.blown.wait(), 30)
            del _FUSES[url]
            api.step = _free
            await drained(api)
            assert_once(server, api, f"crash-{write}")

    await asyncio.gather(*(crash_at(write) for write in range(len(fuse.names))))


async def test_commits_of_the_ref_are_signed_as_those_of_branches(server: GitServer, fleet: str, api: Api, ssh_key: Path) -> None:
    server.hook("fleet", "pre-receive", SIGNED_ONLY)
    signed_sink(api, fleet, "ssh", identity=ssh_key.read_text())
    api.change(GIT_SINKS, NAMESPACE, "fleet", {"spec": IN_REFS})
    api.add(CANARY_RUNS, run("r1", effects=ALL))
    await drained(api)
    commits = server.git("fleet", "rev-list", ONE).split()
    assert len(commits) == 2
    assert all(verified_by_ssh(server, "fleet", commit, ssh_key) for commit in commits)


@pytest.mark.parametrize(("how", "reason"), [("hook", "Protected"), ("hidden", "Refused")])
async def test_a_server_that_refuses_the_ref_holds_up_no_revert_and_a_branch_takes_its_place(
    server: GitServer, fleet: str, api: Api, how: str, reason: str
) -> None:
    if how == "hook":
        server.hook("fleet", "pre-receive", 'while read a b ref; do case "$ref" in refs/heads/*) ;; *) exit 1;; esac; done')
    else:
        server.git("fleet", "config", "receive.hideRefs", "refs/canary")
    api.add(GIT_SINKS, sink(fleet, **IN_REFS))
    api.add(CANARY_RUNS, run("r1"))
    async with running(api):
        await until(lambda: effects(api, "r1")["revert/fleet"]["state"] == "Done" and effects(api, "r1")["record/fleet"].get("reason"))
        record = effects(api, "r1")["record/fleet"]
        assert (record["state"], record["reason"], "refs/canary/outcomes" in record["error"]) == ("Blocked", reason, True)
        assert refs(server) == ["refs/heads/main"]
        api.change(GIT_SINKS, NAMESPACE, "fleet", {"spec": {"records": {"ref": None, "branch": "canary/o/first/cluster-001"}}})
        await until(lambda: settled(api))
    assert records(server, branch="canary/o/first/cluster-001") == ["cluster-001/prod/podinfo/r1.json"]
    assert GOOD in show(server, PATH)


async def test_a_branch_that_is_called_like_a_ref_is_another_place(server: GitServer, fleet: str, tmp_path: Path) -> None:
    mirror = Mirror(tmp_path, fleet, GitAuth())
    assert await mirror.fetch(Ref("refs/canary/x")) is None
    (ref,) = await mirror.publish(Ref("refs/canary/x"), None, [Draft("ref\n", {"r": b"r\n"}, {})], ME, expected=None)
    assert await mirror.fetch("refs/canary/x") is None
    (branch,) = await mirror.publish("refs/canary/x", None, [Draft("branch\n", {"b": b"b\n"}, {})], ME, expected=None)
    assert refs(server) == ["refs/canary/x", "refs/heads/main", "refs/heads/refs/canary/x"]
    tips = [await mirror.fetch(place) for place in (Ref("refs/canary/x"), "refs/canary/x")]
    assert [tip and tip.oid for tip in tips] == [ref, branch]


@pytest.mark.parametrize("kind", ["heads/", "tags/", ""])
async def test_what_git_would_take_for_the_ref_is_told_and_neither_read_nor_written(
    server: GitServer, fleet: str, api: Api, kind: str
) -> None:
    commit = server.git("fleet", "rev-parse", "main").strip()
    server.git("fleet", "update-ref", f"refs/{kind}{ONE}", commit)
    api.add(GIT_SINKS, sink(fleet, **IN_REFS))
    api.add(CANARY_RUNS, run("r1"))
    async with running(api):
        await until(lambda: effects(api, "r1")["revert/fleet"]["state"] == "Done" and effects(api, "r1")["record/fleet"].get("reason"))
        record = effects(api, "r1")["record/fleet"]
        assert (record["state"], record["reason"]) == ("Blocked", "Refused")
        assert f"the server has refs/{kind}{ONE}, which git takes for {ONE}" in record["error"]
        assert server.git("fleet", "rev-parse", f"refs/{kind}{ONE}").strip() == commit
        server.git("fleet", "update-ref", "-d", f"refs/{kind}{ONE}")
        api.change(GIT_SINKS, NAMESPACE, "fleet", {"spec": {"records": {"keep": 100}}})
        await until(lambda: settled(api))
    assert listed(server) == ["cluster-001/prod/podinfo/r1.json"]


async def test_records_that_move_to_a_ref_take_their_history_along(server: GitServer, fleet: str, api: Api) -> None:
    """As the how-to says: the branch is pushed as the ref, then the sink names it."""
    api.add(GIT_SINKS, sink(fleet))
    api.add(CANARY_RUNS, run("r0", outcome="Succeeded"))
    await drained(api)
    server.git("fleet", "push", "-q", ".", f"refs/heads/canary-outcomes:{ONE}")
    api.change(GIT_SINKS, NAMESPACE, "fleet", {"spec": IN_REFS})
    api.add(CANARY_RUNS, run("r1", minute=1, effects=ALL))
    await drained(api)
    assert server.git("fleet", "rev-parse", f"{ONE}~2").strip() == server.git("fleet", "rev-parse", "canary-outcomes").strip()
    assert len(listed(server)) == 3


# ------------------------------------------------------------------------------------------------------- forges that make commits
async def test_a_forge_that_makes_the_commits_refuses_refs_in_one_sentence(server: GitServer) -> None:
    async with scene(server, dialect=GitHubDialect) as one:
        one.sink(identity={"signing": {"type": "api"}}, **IN_REFS)
        one.run("r1", "record")
        async with running(one.api, clock=one.clock):
            await until(lambda: one.condition() == ("False", "InvalidSpec"))
        status: Any = one.api.stored(GIT_SINKS, NAMESPACE, "fleet")["status"]
        said = next(item["message"] for item in status["conditions"] if item["type"] == "Stalled")
        assert "the forge makes commits on branches only" in said
        assert refs(one.server, one.repo) == ["refs/heads/main"]
        one.change(records={"ref": None})
        async with running(one.api, clock=one.clock):
            await until(lambda: settled(one.api))


async def test_a_mirror_whose_commits_the_forge_makes_takes_no_ref(server: GitServer, fleet: str, tmp_path: Path) -> None:
    from canary.gitops.failures import GitFailed

    async with scene(server, dialect=GitHubDialect) as one:
        mirror = ForgeMirror(tmp_path, one.url, GitAuth(), None)  # type: ignore[arg-type] # it is not asked
        tip = await mirror.fetch("main")
        assert tip
        with pytest.raises(GitFailed, match="Unsupported: the forge makes commits on branches only, and refs/canary/x is none"):
            await mirror.publish(Ref("refs/canary/x"), tip.oid, [Draft("m\n", {"a": b"a\n"}, {})], ME, expected=None)
        assert refs(one.server, one.repo) == ["refs/heads/main"]
