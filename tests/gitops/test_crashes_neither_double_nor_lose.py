"""Killed at any step: the next process on the same API, with an empty directory, leaves exactly one record and one revert."""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import shutil
from collections.abc import AsyncIterator
from typing import Any

import pytest

from canary.gitops.command import Git
from canary.kube.resource import CANARY_RUNS, GIT_SINKS
from canary.sandbox.gitserver import GitServer, Handler
from tests.gitops.support import GOOD, PATH, Api, drained, effects, records, run, running, settled, show, sink, subjects, until

pytestmark = pytest.mark.slow

OUTCOMES = "canary-outcomes"
ACROSS = 4
"""Scenarios at the same time."""


class Fuse:
    """Lets a number of writes pass, then stands still for ever: nothing that this process does has any effect from there on.

    Only writes count. The next process begins with an empty directory, so what a death leaves behind is what was written before it: a death
    at any read, at any other git command, and right after a write are deaths before the next write.
    """

    def __init__(self, writes: int) -> None:
        self.left = writes
        self.names: list[str] = []
        self.blown = asyncio.Event()

    async def __call__(self, name: str) -> None:
        if name.startswith(_WRITES):
            self.names.append(name)
            self.left -= 1
        if self.left < 0:
            self.blown.set()
            await asyncio.Event().wait()


_WRITES = ("git push", "merge", "POST", "PUT", "PATCH", "DELETE")
_FUSES: dict[str, Fuse] = {}
"""By repository, because several scenarios run in one process."""


@pytest.fixture(autouse=True)
def fused(monkeypatch: pytest.MonkeyPatch) -> None:
    real = Git.run

    async def stepped(self: Git, *arguments: str, **options: Any) -> bytes:
        fuse = _FUSES.get(self.url)
        if fuse:
            await fuse(f"git {arguments[0]}")
        return await real(self, *arguments, **options)

    monkeypatch.setattr(Git, "run", stepped)


@contextlib.asynccontextmanager
async def scenario(server: GitServer, name: str) -> AsyncIterator[tuple[Api, str]]:
    """A repository and an API of its own, with a failed and a succeeded run."""
    shutil.copytree(server.root / "fleet.git", server.root / f"{name}.git")
    api, url = Api(), f"{server.url}/{name}.git"
    api.add(GIT_SINKS, sink(url))
    api.add(CANARY_RUNS, run("r0", canary="other", outcome="Succeeded"))
    api.add(CANARY_RUNS, run("r1", minute=1, effects=("record/fleet", "revert/fleet", "amend/fleet")))
    yield api, url
    _FUSES.pop(url, None)
    api.assert_untouched()


def assert_once(server: GitServer, api: Api, name: str) -> None:
    folder = "cluster-001/prod"
    assert records(server, name) == [f"{folder}/other/promoted.json", f"{folder}/other/r0.json", f"{folder}/podinfo/r1.json"]
    assert sum("revert 6.1.0 -> 6.0.0" in line for line in subjects(server, name)) == 1
    assert len(subjects(server, name)) == 2
    assert GOOD in show(server, PATH, repo=name)
    trailers = server.git(name, "log", "--format=%(trailers:key=Canary-Effect,valueonly)", OUTCOMES).split("\n")
    written = sorted(line for line in trailers if line)
    assert written == [f"amend {folder}/podinfo/r1.json", f"record {folder}/other/r0.json", f"record {folder}/podinfo/r1.json"]
    assert {effect["state"] for one in ("r0", "r1") for effect in effects(api, one).values()} == {"Done"}
    commit = server.git(name, "rev-parse", "main").strip()
    assert effects(api, "r1")["revert/fleet"]["ref"] == commit
    assert json.loads(show(server, f"{folder}/podinfo/r1.json", repo=name, branch=OUTCOMES))["effects"] == {"revertCommit": commit}


async def crash_at(server: GitServer, write: int) -> None:
    name = f"crash-{write}"
    async with scenario(server, name) as (api, url):
        fuse = _FUSES[url] = Fuse(write)
        api.step = fuse
        async with running(api):
            await asyncio.wait_for(fuse.blown.wait(), 20)
        del _FUSES[url]
        api.step = _free
        await drained(api)
        assert_once(server, api, name)


async def _free(_: str) -> None:
    return None


@pytest.mark.slow
@pytest.mark.fault(11, 12)
async def test_a_crash_at_any_step_leaves_one_record_and_one_revert(server: GitServer) -> None:
    async with scenario(server, "whole") as (api, url):
        fuse = _FUSES[url] = Fuse(10_000)
        api.step = fuse
        async with running(api):
            await until(lambda: settled(api))
            await until(lambda: any("gitsinks" in name for name in fuse.names))
        assert_once(server, api, "whole")
    assert {"git push", "merge canaryruns", "merge gitsinks"} == {*fuse.names}
    assert len(fuse.names) >= 7
    gate = asyncio.Semaphore(ACROSS)

    async def one(write: int) -> None:
        async with gate:
            await crash_at(server, write)

    await asyncio.gather(*(one(write) for write in range(len(fuse.names))))


@pytest.mark.fault(11, 12)
async def test_crash_after_crash_still_comes_to_an_end(server: GitServer) -> None:
    """Every process gets one write further than the one before it."""
    async with scenario(server, "again") as (api, url):
        for write in range(20):
            fuse = _FUSES[url] = Fuse(write)
            api.step = fuse
            async with running(api):
                done = asyncio.ensure_future(until(lambda: settled(api)))
                blown = asyncio.ensure_future(fuse.blown.wait())
                await asyncio.wait({done, blown}, return_when=asyncio.FIRST_COMPLETED)
                for task in (done, blown):
                    task.cancel()
                await asyncio.gather(done, blown, return_exceptions=True)
            if settled(api):
                break
        else:
            pytest.fail("never done")
        assert_once(server, api, "again")


@pytest.mark.fault(11, 12)
async def test_processes_killed_in_the_middle_of_git_leave_one_of_each(server: GitServer) -> None:
    """Not between commands but inside them, by the clock, and with the same directory: locks and half-written files are found there."""
    folder = server.root.parent / "kept"
    folder.mkdir()
    chance = random.Random(7)
    async with scenario(server, "killed") as (api, _):
        for _ in range(12):
            async with running(api, directory=str(folder)):
                await asyncio.sleep(chance.uniform(0.02, 0.5))
            if settled(api):
                break
        await drained(api, directory=str(folder))
        assert_once(server, api, "killed")


@pytest.mark.fault(1, 14)
async def test_two_replicas_at_once_leave_one_of_each(server: GitServer) -> None:
    for number in range(3):
        async with scenario(server, f"two-{number}") as (api, _):
            async with running(api), running(api):
                await until(lambda: settled(api))
            assert_once(server, api, f"two-{number}")


@pytest.mark.parametrize("branch", [OUTCOMES, "main"])
@pytest.mark.fault(11, 13)
async def test_a_push_that_arrives_after_its_process_died_doubles_nothing(server: GitServer, branch: str) -> None:
    """The push of the dead process is held back until the next one pushes, and is delivered just before."""
    late: list[tuple[Handler, bytes]] = []
    delivered: list[str] = []

    def hold(handler: Handler) -> bool:
        if handler.command != "POST" or handler.path != "/late.git/git-receive-pack":
            return False
        body = handler._body()
        handler.rfile = _Again(body)  # type: ignore[assignment]
        if f"refs/heads/{branch}\0".encode() not in body[:300]:
            return False
        if not late:
            late.append((handler, body))
            handler.cut()
            return True
        if not delivered:
            handler, body = late[0]
            handler.rfile = _Again(body)  # type: ignore[assignment]
            handler.obey()
            delivered.append(server.git("late", "rev-parse", branch).strip())
        return False

    server.fault = hold
    async with scenario(server, "late") as (api, _):
        async with running(api):
            await until(lambda: late)
        await asyncio.sleep(1.0)  # commits of another second, so that they are other commits
        await drained(api)
        pushed_first = late[0][1][4:].split()[1].decode()
        assert delivered == [pushed_first]
        assert_once(server, api, "late")


class _Again:
    """A request body that was read once, to be read again."""

    def __init__(self, body: bytes) -> None:
        self._body = body

    def read(self, size: int = -1) -> bytes:
        return self._body if size < 0 else self._body[:size]

    def close(self) -> None:
        return None


async def test_a_status_that_somebody_else_changes_at_the_same_time_is_not_overwritten(server: GitServer) -> None:
    async with scenario(server, "busy") as (api, _):
        changes = [0]

        async def meddle(what: str) -> None:
            if what == "merge canaryruns" and changes[0] < 3:
                changes[0] += 1
                api.change(CANARY_RUNS, "prod", "r1", {"status": {"reason": f"edited {changes[0]}"}})

        api.step = meddle
        await drained(api)
        assert_once(server, api, "busy")
        assert api.stored(CANARY_RUNS, "prod", "r1")["status"]["reason"] == "edited 3"


@pytest.mark.fault(14)
async def test_what_another_replica_finished_is_never_taken_back(server: GitServer) -> None:
    server.stop()
    async with scenario(server, "finished") as (api, _):
        done = [{"name": name, "state": "Done", "attempts": 1, "ref": "abc"} for name in ("record/fleet", "revert/fleet", "amend/fleet")]

        async def finish(what: str) -> None:
            if what == "merge canaryruns":  # between our look and our write
                for name in ("r0", "r1"):
                    if effects(api, name)["record/fleet"]["state"] != "Done":
                        api.change(CANARY_RUNS, "prod", name, {"status": {"effects": done[: len(effects(api, name))]}})

        api.step = finish
        await drained(api)
        assert {effect["ref"] for name in ("r0", "r1") for effect in effects(api, name).values()} == {"abc"}
