"""Disks that are full, repositories that are huge, servers that dribble, and everything that fails at once: bounded, and nothing lost."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import threading
import time
from collections import Counter
from pathlib import Path

import pytest

from canary.gitops.command import Patience
from canary.kube.resource import CANARY_RUNS, GIT_SINKS
from canary.sandbox.gitserver import GitServer, Handler
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

pytestmark = pytest.mark.slow


def said(api: Api, effect: str = "record/fleet", name: str = "r1") -> tuple[str, str]:
    found = effects(api, name)[effect]
    return found["state"], found.get("reason", "")


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Back off by tenths of seconds."""
    monkeypatch.setattr("canary.gitops.worker.SHORTEST", 0.1)
    monkeypatch.setattr("canary.gitops.worker.LONGEST", 0.3)


# ------------------------------------------------------------------------------------------------------- disks

FULL = """#!/bin/sh
# writes of more than 4 KiB fail for whoever works in a mirror of {name}, as on a disk that is full
for word; do case "$word" in "{url}") full=1;; esac; done
[ "$GIT_CONFIG_COUNT" ] && env | grep -q "={url}$" && [ ! -e {mended} ] && {{ trap '' XFSZ; ulimit -f 8; }}
exec {git} "$@"
"""


@pytest.mark.fault(10)
async def test_a_disk_that_is_full_stops_its_sink_alone_and_nothing_half_done_is_pushed(
    server: GitServer, fleet: str, api: Api, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(30):  # more than the disk takes
        server.write("fleet", {f"noise/{number}": str(time.monotonic_ns()) * 40}, message=f"noise {number}")
    shutil.copytree(server.root / "fleet.git", server.root / "other.git")
    tools, mended = tmp_path / "bin", tmp_path / "mended"
    tools.mkdir()
    (tools / "git").write_text(FULL.format(name="fleet", url=fleet, mended=mended, git=shutil.which("git")))
    (tools / "git").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tools}:/usr/bin:/bin")
    before = server.git("fleet", "for-each-ref")
    api.add(GIT_SINKS, sink(fleet))
    api.add(GIT_SINKS, sink(f"{server.url}/other.git", name="other"))
    api.add(CANARY_RUNS, run("r1", effects=("record/fleet", "revert/fleet", "record/other", "revert/other")))
    folder = tmp_path / "mirrors"
    folder.mkdir()
    warned: list[str] = []
    async with running(api, directory=str(folder), warn=lambda _, text, kind: warned.append(f"{kind} {text}")):
        await until(lambda: said(api) == ("Retrying", "Local") and said(api, "revert/other")[0] == "Done")
        await until(lambda: effects(api, "r1")["record/fleet"]["attempts"] >= 3)
        assert [line.split()[0] for line in warned] == ["GitLocal"], "said once"
        assert server.git("fleet", "for-each-ref") == before
        mended.touch()
        await until(lambda: settled(api))
    assert GOOD in show(server, PATH)
    assert sum("revert" in line for line in subjects(server)) == 1


@pytest.mark.fault(10)
async def test_a_folder_that_cannot_be_made_is_trouble_of_this_operator(server: GitServer, fleet: str, api: Api, tmp_path: Path) -> None:
    place = tmp_path / "mirrors"
    place.write_text("no folder")
    api.add(GIT_SINKS, sink(fleet))
    api.add(CANARY_RUNS, run("r1"))
    async with running(api, directory=str(place)):
        await until(lambda: said(api) == ("Retrying", "Local"))
        assert server.requests == []
        place.unlink()
        await until(lambda: settled(api))


# ------------------------------------------------------------------------------------------------------- sizes


@pytest.mark.fault(22)
@pytest.mark.timeout(300)
@pytest.mark.parametrize("filters", [True, False])
async def test_fifty_thousand_files_and_a_huge_one_are_no_burden(server: GitServer, api: Api, tmp_path: Path, filters: bool) -> None:
    url = server.create("huge", {PATH: MANIFEST})
    head = "commit refs/heads/main\ncommitter d <d@e> 1700000000 +0000\ndata 1\nx\nfrom refs/heads/main^0\n"
    noise = "".join(f"M 100644 inline docs/{n // 250}/{n}.txt\ndata {len(str(n))}\n{n}\n" for n in range(50_000))
    huge = f"kind: List\nimage: {BAD}\nname: podinfo\n#".encode() + b"x" * (50 << 20)
    stream = (head + noise).encode() + b"M 100644 inline apps/huge.yaml\ndata %d\n" % len(huge) + huge + b"\n"
    server._git("fast-import", "--quiet", cwd=server.root / "huge.git", stdin=stream)
    server.git("huge", "config", "uploadpack.allowFilter", str(filters).lower())
    folder = tmp_path / "mirrors"
    folder.mkdir()
    api.add(GIT_SINKS, sink(url))
    api.add(CANARY_RUNS, run("r1"))
    began = time.monotonic()
    await drained(api, directory=str(folder), patience=Patience(local=100, network=100, silence=30))
    assert time.monotonic() - began < 100
    assert show(server, PATH, repo="huge") == MANIFEST.replace(BAD, GOOD)
    changed = server.git("huge", "diff-tree", "-r", "--name-only", "main^", "main").split()
    assert changed == [PATH]
    assert sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) < 40 << 20


# ------------------------------------------------------------------------------------------------------- networks


@pytest.mark.fault(31)
async def test_a_server_that_dribbles_is_given_up_with_its_processes_and_its_turn(
    server: GitServer, fleet: str, api: Api, tmp_path: Path
) -> None:
    """One byte at a time: never silent, never done."""
    stop = threading.Event()

    def dribble(handler: Handler) -> bool:
        handler.send_response(200)
        handler.send_header("Content-Type", "application/x-git-upload-pack-advertisement")
        handler.send_header("Content-Length", "100000")
        handler.end_headers()
        try:
            while not stop.wait(0.2):
                handler.wfile.write(b"0")
                handler.wfile.flush()
        except OSError:
            pass
        return True

    slow = GitServer(tmp_path / "slow", fault=dribble)
    slow.start()
    try:
        api.add(GIT_SINKS, sink(f"{slow.url}/fleet.git", name="slow"))
        api.add(GIT_SINKS, sink(fleet))
        api.add(CANARY_RUNS, run("r1", effects=("record/slow", "record/fleet", "revert/fleet")))
        async with running(api, patience=Patience(local=20, network=60, silence=1)):
            await until(lambda: said(api, "revert/fleet")[0] == "Done")
            await until(lambda: said(api, "record/slow") == ("Retrying", "Unreachable"))
            stop.set()
            slow.fault = None
            shutil.copytree(server.root / "fleet.git", slow.root / "fleet.git", dirs_exist_ok=True)
            await until(lambda: settled(api))  # so the turn at this repository was given back
    finally:
        stop.set()
        slow.stop()
    assert children() == []


def children() -> list[str]:
    """Processes that this one has started and not buried, as /proc knows them."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # it ended just now, and so is nobody's
            name, _, rest = stat.read_text().partition("(")[2].rpartition(") ")
            if name.startswith("git") and int(rest.split()[1]) == os.getpid():
                found.append(name)
    return found


@pytest.mark.fault(23)
async def test_a_server_that_is_up_and_down_gets_every_outcome_once(server: GitServer, fleet: str, api: Api) -> None:
    """Every second request is answered with one kind of trouble or another."""
    codes = [503, 429, 502, 0, 504]
    count = Counter[str]()

    def flap(handler: Handler) -> bool:
        count["all"] += 1
        if count["all"] % 2:
            return False
        code = codes[count["all"] // 2 % len(codes)]
        handler._body()
        handler.answer(code, b"busy") if code else handler.cut()
        return True

    server.fault = flap
    api.add(GIT_SINKS, sink(fleet))
    for number in range(3):
        api.add(CANARY_RUNS, run(f"r{number}", outcome="Succeeded", minute=number))
    clock = Clock()
    async with running(api, clock=clock) as outbox:
        for _ in range(100):
            if settled(api):
                break
            clock.ahead += 601
            outbox._wake.set()
            await asyncio.sleep(0.3)
        server.fault = None
        await until(lambda: settled(api))
    assert len(records(server)) == 4
    written = server.git("fleet", "log", "--format=%(trailers:key=Canary-Effect,valueonly)", "canary-outcomes").split("\n")
    assert max(Counter(line for line in written if line).values()) == 1


# ------------------------------------------------------------------------------------------------------- all at once


@pytest.mark.fault(32)
@pytest.mark.timeout(400)
async def test_five_hundred_failures_at_once_are_few_pushes_and_all_are_written(server: GitServer, api: Api) -> None:
    names = [f"app{number:03}" for number in range(500)]
    url = server.create("many", {f"apps/{name}.yaml": MANIFEST.replace("podinfo", name) for name in names})
    api.add(GIT_SINKS, sink(url))
    for number, name in enumerate(names):
        images = {"images": {name: BAD.replace("podinfo", name)}, "previous": {name: GOOD.replace("podinfo", name)}}
        api.add(CANARY_RUNS, run(name, canary=name, minute=-number / 100, **images))
    async with running(api, patience=Patience(local=100, network=100, silence=30)):
        await until(lambda: settled(api), seconds=350)
    pushes = sum(line.startswith("POST") and line.endswith("receive-pack") for line in server.requests)
    assert pushes == 20, "ten of fifty records, ten of fifty reverts"
    assert len(records(server, "many")) == 500
    assert len(subjects(server, "many")) == 501
    states = Counter(effect["state"] for name in names for effect in effects(api, name, namespace=NAMESPACE).values())
    assert states == {"Done": 1000}, "no breaker is in the way: every release was taken back once"
