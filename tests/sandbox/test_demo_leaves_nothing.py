"""However the demo ends, no process, no file and no port of it is left."""

import re
import signal
import time
from pathlib import Path

import pytest

from tests.sandbox.demo import Demo

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]


@pytest.fixture
def demo(tmp_path):
    started = []

    def start(*flags, **more):
        started.append(Demo(tmp_path / "demo", *flags, **more))
        return started[-1]

    yield start
    for it in started:
        it.close()


def weight(number):
    return lambda happening: happening.get("weight") == number


def ports(it):
    """Ports on which the demo or a process of it listens now."""
    pids = {it.popen.pid, *(int(entry.name) for entry in Path("/proc").glob("[0-9]*") if of(it, entry))}
    inodes = set()
    for pid in pids:
        for link in Path(f"/proc/{pid}/fd").glob("*"):
            try:
                inodes |= set(re.findall(r"socket:\[(\d+)\]", str(link.readlink())))
            except OSError:
                continue
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return {int(row[1].partition(":")[2], 16) for row in rows if row[3] == "0A" and row[9] in inodes}


def of(it, entry):
    try:
        return f"TMPDIR={it.folder}".encode() in (entry / "environ").read_bytes()
    except OSError:
        return False


def listening(wanted):
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return {int(row[1].partition(":")[2], 16) for row in rows if row[3] == "0A"} & wanted


def assert_nothing_is_left(it):
    assert it.gone(), it.processes()
    assert it.files() == []


@pytest.mark.parametrize("seconds", [0.0, 0.5, 1.0, 1.6])
def test_ctrl_c_while_it_starts(demo, seconds):
    it = demo("--json")
    while not it.files() and it.popen.poll() is None:  # until its folder exists: from then on there is something to leave behind
        time.sleep(0.005)
    time.sleep(seconds)
    it.signal()
    code, _, err = it.end()
    assert (code, err.strip()) == (130, "")
    assert_nothing_is_left(it)


def test_ctrl_c_before_anything_is_started(demo):
    it = demo("--json")
    time.sleep(0.2)
    it.signal()
    assert it.end()[0] in {130, -signal.SIGINT}  # the latter while Python itself is still starting
    assert_nothing_is_left(it)


@pytest.mark.slow
def test_ctrl_c_in_the_middle_of_a_release(demo):
    it = demo("--json")
    it.until(weight(15))
    open_ports = ports(it)
    assert len(open_ports) >= 8, "API, Git, Envoy's three, Prometheus, pods, load tester, operator"
    it.signal()
    code, _, err = it.end()
    assert (code, err) == (130, "")
    assert_nothing_is_left(it)
    assert not listening(open_ports)


@pytest.mark.slow
def test_ctrl_c_while_a_rejected_image_is_taken_back_in_git(demo):
    it = demo("--json", f"--manifest={Path(__file__).parents[2]}/examples/podinfo.yaml")
    it.until(lambda one: one["event"] == "canary" and one["phase"] == "Failed")
    it.signal()
    assert it.end()[0] == 130
    assert_nothing_is_left(it)


@pytest.mark.slow
@pytest.mark.parametrize("pause", [0.0, 0.1])
def test_the_second_ctrl_c_kills_and_still_cleans_up(demo, pause):
    it = demo("--json")
    it.until(weight(5))
    it.signal()
    time.sleep(pause)
    it.signal()
    began = time.monotonic()
    assert it.end()[0] in {130, -signal.SIGINT}
    assert time.monotonic() - began < 15
    assert_nothing_is_left(it)


@pytest.mark.slow
@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_other_signals_end_it_in_order_too(demo, number, code):
    it = demo("--json")
    it.until(weight(5))
    it.signal(number)
    assert it.end()[0] == code
    assert_nothing_is_left(it)


@pytest.mark.slow
def test_sigkill_takes_all_processes_with_it(demo):
    """Files stay then: nobody is left to remove them. The load tester's commands live in sessions of their own."""
    it = demo("--json")
    it.until(weight(10))
    assert any("loadtest.hey" in line or " hey " in line for line in it.processes())
    it.signal(signal.SIGKILL)
    it.end()
    assert it.gone(30), it.processes()


@pytest.mark.slow
def test_a_reader_that_goes_away_ends_it(demo):
    it = demo("--json")
    it.until(weight(5))
    it.popen.stdout.close()
    it.popen.stdout = None
    assert it.end()[0] == 141
    assert_nothing_is_left(it)
