"""Killed at any step, before any request to Git, forge or API that writes (see `Fuse`): one pull request, one status of each kind, one tag, one record."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import pytest

from canary.gitops.command import Git
from canary.gitops.forges.client import Client
from canary.kube.resource import CANARY_RUNS
from canary.sandbox.gitserver import GitServer
from tests.gitops.forge_server import Refused
from tests.gitops.forge_support import HEAD, Scene, merge, scene
from tests.gitops.support import BAD, GOOD, PATH, records, run, running, settled, show, subjects, until
from tests.gitops.test_crashes_neither_double_nor_lose import Fuse
from tests.gitops.test_git_that_refuses_delays_nothing_else import PROTECT

pytestmark = pytest.mark.slow

ACROSS = 4
"""Scenarios at the same time."""
_FUSES: dict[str, Fuse] = {}
"""By the URL of the repository, and of the forge's API."""


@pytest.fixture(autouse=True)
def fused(monkeypatch: pytest.MonkeyPatch) -> None:
    git, exchange = Git.run, Client._exchange

    async def stepped(self: Git, *arguments: str, **options: Any) -> bytes:
        fuse = _FUSES.get(self.url)
        if fuse:
            await fuse(f"git {arguments[0]}")
        return await git(self, *arguments, **options)

    async def asked(self: Client, method: str, url: str, body: Any, query: Mapping[str, str | int] | None) -> Any:
        fuse = _FUSES.get(self.api)
        if fuse:
            await fuse(method)
        return await exchange(self, method, url, body, query)

    monkeypatch.setattr(Git, "run", stepped)
    monkeypatch.setattr(Client, "_exchange", asked)


def prepare(one: Scene) -> None:
    """A failed run that asks, and a promoted one that is tagged; both show how they ended."""
    one.sink(onFailure={"delivery": "pullRequest"}, onSuccess={"tag": True}, statuses={"target": "commit"})
    one.run("r1", "record", "pr", "status")
    one.run("r2", "record", "status", "tag", canary="other", outcome="Succeeded", minute=1)
    one.api.add(CANARY_RUNS, _begun(one))


def _begun(one: Scene) -> dict[str, Any]:
    body = run("r3", canary="third", outcome="Running", effects=("pending/fleet",), minute=2, finishedAt=None)
    body["spec"]["source"] = {"revision": one.tip, "via": "annotation"}
    return body


def done(one: Scene) -> bool:
    """Everything is written, and the pull request waits."""
    states = [one.said("pr"), *(one.said(kind, name) for kind, name in _OTHERS)]
    return states == [("Waiting", "PullRequest"), *[("Done", "")] * len(_OTHERS)]


_OTHERS = (("record", "r1"), ("status", "r1"), ("record", "r2"), ("status", "r2"), ("tag", "r2"), ("pending", "r3"))


def assert_once(one: Scene) -> None:
    assert [(pull.number, pull.state, pull.head) for pull in one.model.pulls] == [(1, "open", HEAD)]
    assert sorted((line.context.rpartition("/")[2], line.state) for line in one.model.lines) == [
        ("other", "success"),
        ("podinfo", "failure"),
        ("third", "pending"),
    ]
    assert one.server.git(one.repo, "tag").split() == ["canary/cluster-001/prod/other/r2"]
    folder = "cluster-001/prod"
    assert records(one.server, one.repo) == [f"{folder}/other/promoted.json", f"{folder}/other/r2.json", f"{folder}/podinfo/r1.json"]
    assert subjects(one.server, one.repo) == ["initial"]
    assert one.server.git(one.repo, "rev-list", "--count", f"main..{HEAD}").strip() == "1"
    assert show(one.server, PATH, repo=one.repo, branch=HEAD) == show(one.server, PATH, repo="fleet").replace(BAD, GOOD)


async def _free(_: str) -> None:
    return None


def arm(one: Scene, writes: int) -> Fuse:
    fuse = _FUSES[one.url] = _FUSES[one.forge] = Fuse(writes)
    one.api.step = fuse
    return fuse


def disarm(one: Scene) -> None:
    _FUSES.pop(one.url, None)
    _FUSES.pop(one.forge, None)
    one.api.step = _free


async def crash_at(server: GitServer, write: int) -> None:
    async with scene(server, name=f"s{write}") as one:
        prepare(one)
        fuse = arm(one, write)
        async with running(one.api, clock=one.clock):
            await asyncio.wait_for(fuse.blown.wait(), 30)
        disarm(one)
        async with running(one.api, clock=one.clock) as outbox:
            await until(lambda: done(one))
            assert_once(one)
            merge(one)
            await one.later(outbox, 301)
            await until(lambda: one.said("pr")[0] == "Done")
        assert len(one.model.pulls) == 1


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.fault(12)
async def test_a_crash_at_any_step_leaves_one_of_each(server: GitServer) -> None:
    async with scene(server, name="whole") as one:
        prepare(one)
        fuse = arm(one, 10_000)
        async with running(one.api, clock=one.clock):
            await until(lambda: done(one))
        disarm(one)
        assert_once(one)
    assert {"POST", "git push", "merge canaryruns"} <= {*fuse.names}
    assert fuse.names.count("POST") == 4  # a pull request and three statuses
    gate = asyncio.Semaphore(ACROSS)

    async def each(write: int) -> None:
        async with gate:
            await crash_at(server, write)

    await asyncio.gather(*(each(write) for write in range(len(fuse.names))))


@pytest.mark.fault(12)
async def test_crash_after_crash_still_comes_to_an_end(server: GitServer) -> None:
    """Every process gets a few writes further than the one before it."""
    async with scene(server, name="again") as one:
        prepare(one)
        for write in range(1, 60, 3):
            fuse = arm(one, write)
            async with running(one.api, clock=one.clock):
                both = [asyncio.ensure_future(until(lambda: done(one))), asyncio.ensure_future(fuse.blown.wait())]
                await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
                for task in both:
                    task.cancel()
                await asyncio.gather(*both, return_exceptions=True)
            disarm(one)
            if done(one):
                break
        else:
            pytest.fail("never done")
        assert_once(one)


@pytest.mark.fault(14)
async def test_two_replicas_at_once_leave_one_pull_request_and_one_tag(server: GitServer) -> None:
    """Statuses may be posted twice then, with the same words: forges have no compare-and-swap for them."""
    async with scene(server, name="two") as one:
        prepare(one)
        async with running(one.api, clock=one.clock), running(one.api, clock=one.clock):
            await until(lambda: done(one))
        assert len(one.model.pulls) == 1
        assert len(one.server.git(one.repo, "tag").split()) == 1
        assert one.server.git(one.repo, "rev-list", "--count", f"main..{HEAD}").strip() == "1"
        assert {(line.context.rpartition("/")[2], line.state) for line in one.model.lines} == {
            ("other", "success"),
            ("podinfo", "failure"),
            ("third", "pending"),
        }


@pytest.mark.fault(13)
async def test_a_reply_that_is_lost_is_found_again(server: GitServer) -> None:
    """The forge has done it and the connection is cut."""
    async with scene(server, name="lost") as one:
        prepare(one)
        lost: list[str] = []
        real = one.model.open

        def open_and_die(*what: str) -> Any:
            made = real(*what)
            if not lost:
                lost.append(made.head)
                raise Refused(502, "the proxy gave up")
            return made

        one.model.open = open_and_die  # type: ignore[method-assign]
        async with running(one.api, clock=one.clock) as outbox:
            await until(lambda: lost and one.said("pr") == ("Retrying", "Unreachable"))
            await one.later(outbox, 601)
            await until(lambda: done(one))
        assert_once(one)
        assert settled(one.api) is False  # it still waits for a person


async def closed_after_a_crash(server: GitServer, write: int) -> bool:
    """Whether the process lived long enough to die at this write."""
    async with scene(server, name=f"close-{write}") as one:
        one.sink(onFailure={"delivery": "pullRequest"}, records={"target": "none"})
        one.run("r1", "pr")
        async with running(one.api, clock=one.clock):
            await until(lambda: one.said("pr") == ("Waiting", "PullRequest"))
        one.api.add(CANARY_RUNS, run("r2", outcome="Succeeded", minute=5, effects=()))
        fuse = arm(one, write)
        async with running(one.api, clock=one.clock):
            await until(lambda: fuse.blown.is_set() or settled(one.api), seconds=30)
        died = fuse.blown.is_set()
        disarm(one)
        async with running(one.api, clock=one.clock):
            await until(lambda: settled(one.api))
        (pull,) = one.model.pulls
        assert pull.state == "closed"
        assert len(pull.comments) <= 1
        assert one.said("pr")[0] == "Skipped"
        return died


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.fault(12)
async def test_a_crash_while_a_pull_request_is_closed_says_why_at_most_once(server: GitServer) -> None:
    write = 0
    while await closed_after_a_crash(server, write):
        write += 1
    assert write >= 4


async def refused_after_a_crash(server: GitServer, write: int) -> bool:
    """A push that the branch refuses becomes a pull request; whether the process lived long enough to die at this write of it."""
    async with scene(server, name=f"auto-{write}") as one:
        one.server.hook(one.repo, "pre-receive", PROTECT)
        one.sink(onFailure={"delivery": "auto"}, records={"target": "none"})
        one.run("r1", "revert")
        fuse = arm(one, write)
        async with running(one.api, clock=one.clock):
            await until(lambda: fuse.blown.is_set() or one.said("revert") == ("Waiting", "PullRequest"), seconds=30)
        died = fuse.blown.is_set()
        disarm(one)
        async with running(one.api, clock=one.clock) as outbox:
            await until(lambda: one.said("revert") == ("Waiting", "PullRequest"))
            assert [(pull.state, pull.head) for pull in one.model.pulls] == [("open", HEAD)]
            assert one.server.git(one.repo, "rev-list", "--count", f"main..{HEAD}").strip() == "1"
            assert subjects(one.server, one.repo) == ["initial"]
            merge(one)
            await one.later(outbox, 301)
            await until(lambda: settled(one.api))
        assert len(one.model.pulls) == 1
        return died


@pytest.mark.timeout(300)
@pytest.mark.fault(7, 12)
async def test_a_crash_between_a_refused_push_and_its_pull_request_asks_once(server: GitServer) -> None:
    write = 0
    while await refused_after_a_crash(server, write):
        write += 1
    assert write >= 4
