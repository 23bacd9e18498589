"""No daemon outlives its test run."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.testbed.process import Process, ProcessDiedError, stop_all
from tests.testbed.waiting import until

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
ORPHAN_MAKER = """
import sys, threading, time
from pathlib import Path
from tests.testbed.process import Process
def work():
    # A daemon with a child, started from a thread that ends: neither must make a difference.
    log = Path(sys.argv[1]) / "log"
    process = Process("daemon", ["sh", "-c", "sleep 300 & echo $! > " + sys.argv[1] + "/child; wait"], log=log)
    stopped = Process("stopped", ["sleep", "300"], log=log)
    stopped.stop(grace=0)
    print(process.pid, flush=True)
thread = threading.Thread(target=work); thread.start(); thread.join()
time.sleep(300)
"""


def alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_daemons_and_their_children_die_with_a_killed_run(tmp_path, number):
    run = subprocess.Popen([sys.executable, "-c", ORPHAN_MAKER, tmp_path], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    try:
        assert run.stdout is not None
        daemon = int(run.stdout.readline())
        child = int(until("the child's pid", lambda: (tmp_path / "child").read_text().strip(), 5))
        time.sleep(0.2)
        assert alive(daemon)
        assert alive(child)
    finally:
        os.kill(run.pid, number)
        run.communicate()
    until("daemon and child to be gone", lambda: not alive(daemon) and not alive(child), 5)


def test_stop_asks_first(tmp_path):
    process = Process(
        "polite", ["sh", "-c", "trap 'echo bye; exit 7' TERM; echo ready; while :; do sleep 0.05; done"], log=tmp_path / "log"
    )
    until("it to be ready", lambda: "ready" in process.tail(), 5)
    assert process.stop(grace=5) == 7
    assert process.tail().splitlines() == ["ready", "bye"]


def test_stop_kills_what_does_not_listen(tmp_path):
    process = Process("deaf", ["sh", "-c", "trap '' TERM; echo ready; while :; do sleep 0.05; done"], log=tmp_path / "log")
    until("it to be ready", lambda: "ready" in process.tail(), 5)
    assert process.stop(grace=0.2) == -signal.SIGKILL


def test_several_stop_at_once(tmp_path):
    slow = ["sh", "-c", "trap 'sleep 0.5; exit 0' TERM; echo ready; while :; do sleep 0.05; done"]
    processes = [Process(f"slow-{number}", slow, log=tmp_path / f"{number}") for number in range(4)]
    until("all to be ready", lambda: all("ready" in process.tail() for process in processes), 5)
    began = time.monotonic()
    stop_all(processes, grace=5)
    assert time.monotonic() - began < 1.6
    assert [process.exit_code for process in processes] == [0] * 4


def test_a_daemon_that_ended_by_itself_is_reported_with_its_last_words(tmp_path):
    process = Process("unlucky", ["sh", "-c", "echo out of luck; exit 3"], log=tmp_path / "log")
    process.wait(5)
    with pytest.raises(ProcessDiedError, match=r"(?s)unlucky ended with 3.*out of luck"):
        process.check()
    process.stop()


def test_use_is_measured_while_it_runs(tmp_path):
    process = Process("busy", [sys.executable, "-c", "while True: pass"], log=tmp_path / "log")
    until("some CPU time", lambda: (use := process.use()) is not None and use.cpu_seconds > 0.1, 10)
    use = process.use()
    assert use is not None
    assert 2 < use.rss_mib <= use.peak_rss_mib < 500
    process.stop(grace=0)
    assert process.use() is None
