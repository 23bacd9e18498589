"""The network namespace, entered by child processes so that this one stays where it is."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def run(code: str, *before: str) -> subprocess.CompletedProcess[str]:
    command = [*before, sys.executable, "-c", f"import os, socket, threading\nfrom tests.testbed import netns\n{code}"]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=30, check=False)


def test_inside_every_pod_address_is_ours_and_fixed_ports_are_free():
    done = run("""
outside = os.readlink("/proc/self/ns/net")
netns.enter()
assert os.readlink("/proc/self/ns/net") != outside
assert netns.inside()
server = socket.create_server(("0.0.0.0", 9898))
for address in ("10.244.0.7", "10.244.31.200", "127.0.0.1"):
    client = socket.create_connection(("%s" % address, 9898))
    connection, _ = server.accept()
    assert connection.getsockname()[0] == address
""")
    assert done.returncode == 0, done.stderr


def test_entering_twice_is_entering_once():
    done = run('netns.enter(); first = os.readlink("/proc/self/ns/net"); netns.enter(); assert os.readlink("/proc/self/ns/net") == first')
    assert done.returncode == 0, done.stderr


def test_a_child_is_inside_and_makes_its_own_when_it_enters():
    done = run("""
import subprocess, sys
netns.enter()
child = "import os; from tests.testbed import netns; assert netns.inside(); netns.enter(); assert netns.inside(); print(os.readlink('/proc/self/ns/net'))"
said = subprocess.run([sys.executable, "-c", child], check=True, capture_output=True, text=True).stdout
assert said.strip() != os.readlink("/proc/self/ns/net")
""")
    assert done.returncode == 0, done.stderr


def test_threads_started_afterwards_are_inside():
    done = run("""
netns.enter()
seen = []
thread = threading.Thread(target=lambda: seen.append(netns.inside())); thread.start(); thread.join()
assert seen == [True]
""")
    assert done.returncode == 0, done.stderr


# Becomes another user without a new program, for Python itself may lie where that user cannot read; says so when it can't.
NOBODY = """
import ctypes
if os.getuid() == 0:
    try:
        os.setgroups([]); os.setresgid(65534, 65534, 65534); os.setresuid(65534, 65534, 65534)
    except OSError as error:
        print("cannot become nobody:", error); raise SystemExit
    ctypes.CDLL(None).prctl(4, 1)  # PR_SET_DUMPABLE: or /proc/self stays root's
"""


def run_as_nobody(code: str) -> subprocess.CompletedProcess[str]:
    done = run(NOBODY + code)
    if done.stdout.startswith("cannot become nobody"):
        pytest.skip(done.stdout.strip())
    return done


def test_without_root_a_user_namespace_does():
    done = run_as_nobody('netns.enter(); assert netns.inside(); print(os.getuid(), os.readlink("/proc/self/ns/user"))')
    assert done.returncode == 0, done.stderr
    user, namespace = done.stdout.split()
    assert user == "0"
    assert namespace != str(Path("/proc/self/ns/user").readlink())


def test_with_several_threads_and_no_privilege_it_says_what_to_do():
    done = run_as_nobody("""
stop = threading.Event()
threading.Thread(target=stop.wait).start()
try:
    netns.enter()
except netns.NetnsError as error:
    print(error)
finally:
    stop.set()
""")
    assert done.stdout == "no user namespace: this process already has several threads; enter before starting any, or run as root\n", (
        done.stderr
    )


def test_without_ip_it_says_what_is_missing(tmp_path):
    done = run(f"""
os.environ["PATH"] = "{tmp_path}"
try:
    netns.enter()
except netns.NetnsError as error:
    print(error)
""")
    assert done.stdout == "the program `ip` (Debian: iproute2) is not on PATH\n", done.stderr
