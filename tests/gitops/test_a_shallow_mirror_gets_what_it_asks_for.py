"""A repository with a longer history than the mirror has: files of its newest commit must come all the same, and few of them at little cost."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from canary.gitops.credentials import GitAuth
from canary.gitops.git import DEPTH, FEW, Author, Draft, Mirror
from canary.sandbox.gitserver import GitServer
from tests.gitops.support import PATH, bury

ME = Author("canary", "canary@example.com")


def asked(server: GitServer) -> int:
    """Packs that the server was asked for since the last time."""
    count = sum(line.startswith("POST") and line.endswith("git-upload-pack") for line in server.requests)
    server.requests.clear()
    return count


async def oids(mirror: Mirror, commit: str, *paths: str) -> list[str]:
    found = await mirror.blob_ids(commit, paths)
    return [found[path] for path in paths]


@pytest.mark.parametrize("commits", [DEPTH - 10, DEPTH + 10])
@pytest.mark.parametrize("files", [1, FEW + 1])
async def test_files_come_whether_the_history_is_whole_or_not(
    server: GitServer, tmp_path: Path, fleet: str, commits: int, files: int
) -> None:
    many = {f"d/{number}.yaml": f"number: {number}\n" for number in range(files)}
    server.write("fleet", many, message="more")
    bury(server, commits)
    mirror = Mirror(tmp_path, fleet, GitAuth())
    tip = await mirror.fetch("main")
    assert tip is not None
    wanted = await oids(mirror, tip.oid, *many)
    found, _ = await mirror.blobs(tip.oid, wanted, max_bytes=1000)
    assert [found[oid].decode() for oid in wanted] == list(many.values())


async def test_what_was_read_or_written_is_not_asked_for_again(server: GitServer, tmp_path: Path, fleet: str) -> None:
    mirror = Mirror(tmp_path, fleet, GitAuth())
    tip = await mirror.fetch("main")
    assert tip is not None
    await mirror.blobs(tip.oid, await oids(mirror, tip.oid, PATH), max_bytes=10_000)
    (new,) = await mirror.publish("main", tip.oid, [Draft("change", {"new.yaml": b"a: b\n"}, {})], ME, expected=tip.oid)
    asked(server)
    found, _ = await mirror.blobs(new, await oids(mirror, new, PATH, "new.yaml"), max_bytes=10_000)
    assert len(found) == 2
    assert asked(server) == 0


async def test_the_history_of_a_busy_branch_is_fetched_once(server: GitServer, tmp_path: Path, fleet: str) -> None:
    bury(server, DEPTH + 10)
    mirror = Mirror(tmp_path, fleet, GitAuth())
    await mirror.fetch("main", since=time.time())
    assert asked(server) >= 2  # the first commits were all too young
    for number in range(2):
        commit = server.write("fleet", {"counter": f"{number}"}, message=f"later {number}")
        asked(server)
        tip = await mirror.fetch("main", since=time.time())
        assert tip is not None
        assert (tip.oid, await mirror.has(commit, server.git("fleet", "rev-parse", f"main~{DEPTH + 5}").strip())) == (commit, True)
        assert asked(server) <= 2  # one negotiation: what is there, and the pack
    await mirror.drop()
    again = await mirror.fetch("main")
    assert again is not None
    assert not await mirror.has(again.oid, server.git("fleet", "rev-parse", f"main~{DEPTH + 5}").strip())


async def test_a_mirror_that_was_made_anew_asks_again(server: GitServer, tmp_path: Path, fleet: str) -> None:
    mirror = Mirror(tmp_path, fleet, GitAuth())
    for _ in range(2):
        tip = await mirror.fetch("main")
        assert tip is not None
        wanted = await oids(mirror, tip.oid, PATH)
        found, _ = await mirror.blobs(tip.oid, wanted, max_bytes=10_000)
        assert set(found) == set(wanted)
        await mirror.drop()
