"""The end of a command takes everything that it started: at its timeout, when its caller leaves, at shutdown."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from loadtest.output import CappedOutput
from loadtest.process import ProcessGroup
from tests.loadtest.support import LoadTester, QuickLoadTester, alive, hook, wait_until

pytestmark = pytest.mark.slow


def brood(directory: Path) -> tuple[str, Callable[[], list[int]]]:
    """A command that starts a child, a grandchild and a background child, and a function that gives their pids."""
    file = directory / "pids"
    command = f"echo $$ >> {file}; (sh -c 'echo $$ >> {file}; sleep 60 & echo $! >> {file}; wait') & echo $! >> {file}; sleep 60"

    def pids() -> list[int]:
        found = [int(line) for line in file.read_text().split()] if file.exists() else []
        return found if len(found) == 4 else []

    return command, pids


@pytest.mark.parametrize("kind", ["cmd", "bash"])
def test_a_timeout_ends_the_whole_group(start: Callable[..., LoadTester], tmp_path: Path, kind: str) -> None:
    server = start("-timeout=400ms")
    command, pids = brood(tmp_path)
    reply = server.post("/", hook(command, type=kind))
    assert reply.status_code == (202 if kind == "cmd" else 500)
    task = server.finished(reply)
    assert (task["state"], task["problem"], task["exitCode"]) == ("timeout", "timed out after 0.4s", -15)
    assert pids()
    assert not [pid for pid in pids() if alive(pid)]
    assert server.metric(f'loadtester_tasks_total{{result="timeout",type="{kind}"}}') == 1


def test_a_hook_may_set_a_shorter_timeout(server: LoadTester) -> None:
    began = time.monotonic()
    reply = server.post("/", hook("echo before; sleep 30", type="bash", timeout="300ms"))
    assert time.monotonic() - began < 5
    assert (reply.status_code, reply.text) == (500, "command echo before; sleep 30 failed: before\n: timed out after 0.3s")


def test_a_command_that_ends_well_because_it_was_ended_has_not_succeeded(server: LoadTester) -> None:
    reply = server.post("/", hook("trap 'exit 0' TERM; sleep 30 & wait", type="bash", timeout="300ms"))
    assert reply.status_code == 500
    task = server.finished(reply)
    assert (task["state"], task["exitCode"]) == ("timeout", 0)


def test_a_hook_cannot_lengthen_the_timeout(quick: Callable[..., QuickLoadTester]) -> None:
    server = quick("-timeout=300ms")
    assert "timed out after 0.3s" in server.post("/", hook("sleep 30", type="bash", timeout="1h")).text


def test_a_blocking_task_ends_when_its_caller_goes_away(server: LoadTester, tmp_path: Path) -> None:
    command, pids = brood(tmp_path)
    with pytest.raises(httpx.ReadTimeout):
        server.post("/", hook(command, type="bash"), timeout=httpx.Timeout(5, read=0.5))
    wait_until(lambda: pids() and not [pid for pid in pids() if alive(pid)], what="the end of the command")
    task = wait_until(
        lambda: next((task for task in server.client.get("/tasks?state=cancelled").json()["tasks"] if task["command"] == command), None)
    )
    assert task["problem"] == "the caller went away"


def test_a_cmd_task_outlives_its_caller(server: LoadTester) -> None:
    with httpx.Client(trust_env=False) as client:
        reply = client.post(f"{server.url}/", json=hook("sleep 0.3; echo survived"))
    assert server.finished(reply)["output"] == "survived\n"


def test_what_a_command_leaves_in_the_background_counts_as_the_command(start: Callable[..., LoadTester], tmp_path: Path) -> None:
    server = start("-timeout=600ms")
    file = tmp_path / "pid"
    began = time.monotonic()
    reply = server.post("/", hook(f"sleep 60 > /dev/null 2>&1 & echo $! > {file}", type="bash"))
    assert reply.status_code == 200, "the caller gets its answer when the command itself is done"
    assert time.monotonic() - began < 0.6
    assert server.metric("loadtester_tasks_running") == 1
    task = server.finished(reply)
    assert (task["state"], task["exitCode"]) == ("timeout", 0)
    assert not alive(int(file.read_text()))


def test_background_work_that_ends_by_itself_is_a_success(server: LoadTester) -> None:
    reply = server.post("/", hook("sleep 0.3 > /dev/null 2>&1 &"))
    task = server.finished(reply)
    assert task["state"] == "succeeded"
    assert task["durationSeconds"] >= 0.3


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_shutdown_is_graceful_and_leaves_no_process(start: Callable[..., LoadTester], tmp_path: Path, number: signal.Signals) -> None:
    server = start()
    command, pids = brood(tmp_path)
    server.post("/", hook(command))
    replies: list[httpx.Response] = []
    caller = threading.Thread(
        target=lambda: replies.append(httpx.post(f"{server.url}/", json=hook("sleep 61", type="bash"), trust_env=False))
    )
    caller.start()
    wait_until(lambda: pids() and server.metric("loadtester_tasks_running") == 2, what="the start of the commands")
    assert server.stop(number) == 0
    caller.join()
    assert not [pid for pid in pids() if alive(pid)]
    (reply,) = replies
    assert (reply.status_code, reply.text) == (500, "command sleep 61 failed: : the load tester is shutting down")
    assert server.lines("HTTP server stopped")


async def test_a_group_that_ignores_the_polite_signal_is_forced() -> None:
    output = CappedOutput(1000)
    script = "trap '' TERM; echo ready; (trap '' TERM; while :; do sleep 0.1; done) & while :; do sleep 0.1; done"
    group = await ProcessGroup.start(["sh", "-c", script], environment=os.environ, output=output)
    while not output.total:
        await asyncio.sleep(0.01)
    began = time.monotonic()
    await group.end(grace=0.3)
    assert 0.3 <= time.monotonic() - began < 3
    assert group.exit_code == -signal.SIGKILL
    assert output.text() == "ready\n"


async def test_a_process_that_leaves_the_group_cannot_hold_the_end_up(tmp_path: Path) -> None:
    output = CappedOutput(1000)
    file = tmp_path / "pid"
    group = await ProcessGroup.start(
        ["sh", "-c", f"setsid sh -c 'echo $$ > {file}; exec sleep 20' & sleep 20"], environment=os.environ, output=output
    )
    while not (file.exists() and file.read_text()):
        await asyncio.sleep(0.01)
    try:
        began = time.monotonic()
        await group.end(grace=0.3)
        assert time.monotonic() - began < 3
    finally:
        os.kill(int(file.read_text()), signal.SIGKILL)
        await asyncio.sleep(0.05)
