"""A network of our own for the current process, in which every pod address is local.

After `enter()` this process and all its children live in a fresh network namespace: ports that the control plane fixes cannot
collide with another run's, and the pod range 10.244.0.0/16 is routed to `lo` (AnyIP), so one server bound to 0.0.0.0 answers for
every pod. Rejected: `ip netns add` (needs root, leaves a name behind when a run is killed) and re-executing the test runner under
`unshare` (loses debuggers and the arguments). The namespace vanishes with its last process.

`unshare` changes only the calling thread, and a user namespace can only be made by a process with one thread: call `enter()` early.
"""

import ctypes
import errno
import os
import socket
import subprocess
from pathlib import Path

CLONE_NEWUSER = 0x10000000
CLONE_NEWNET = 0x40000000
POD_RANGE = "10.244.0.0/16"
HOST_ADDRESS = "10.244.255.254"  # outside of what KWOK gives to pods in practice: the node's own address

_SETUP = (
    ("link", "set", "lo", "up"),
    ("address", "add", f"{HOST_ADDRESS}/32", "dev", "lo"),
    ("route", "add", "local", POD_RANGE, "dev", "lo"),
)


class NetnsError(Exception):
    """The namespace cannot be had here; the message is one line that says why."""


class _State:
    """Which process entered: an inherited namespace belongs to the parent, and a worker makes its own."""

    owner: int | None = None


def enter() -> None:
    """Move this thread, and all that it starts from now on, into a fresh namespace. Once per process; raises NetnsError."""
    if _State.owner == os.getpid():
        return
    _unshare()
    _State.owner = os.getpid()
    for command in _SETUP:
        try:
            subprocess.run(["ip", *command], check=True, capture_output=True, text=True)
        except FileNotFoundError:
            raise NetnsError("the program `ip` (Debian: iproute2) is not on PATH") from None
        except subprocess.CalledProcessError as failed:
            raise NetnsError(f"`ip {' '.join(command)}` failed: {failed.stderr.strip()}") from None


def inside() -> bool:
    """Whether every pod address is local here: true after `enter()`, and in children of a process that entered."""
    with socket.socket() as probe:
        try:
            probe.bind(("10.244.0.1", 0))
        except OSError:
            return False
    return True


def _unshare() -> None:
    """A network namespace; with a user namespace around it when we may not otherwise (not root, or root without capabilities)."""
    problem = _call_unshare(CLONE_NEWNET)
    if problem == 0:
        return
    if problem != errno.EPERM:
        raise NetnsError(f"no network namespace: {os.strerror(problem)}")
    user, group = os.getuid(), os.getgid()
    problem = _call_unshare(CLONE_NEWUSER | CLONE_NEWNET)
    if problem == errno.EINVAL:
        raise NetnsError("no user namespace: this process already has several threads; enter before starting any, or run as root")
    if problem:
        raise NetnsError(f"no user namespace: {os.strerror(problem)}; the kernel or a container policy forbids it to this user")
    # Mapped to root, because programs that we execute (`ip`) keep their capabilities only as uid 0 of the namespace.
    for name, text in (("setgroups", "deny"), ("uid_map", f"0 {user} 1"), ("gid_map", f"0 {group} 1")):
        try:
            Path("/proc/self", name).write_text(text, encoding="utf-8")
        except OSError as refused:
            raise NetnsError(f"/proc/self/{name} cannot be written: {refused.strerror}") from None


def _call_unshare(flags: int) -> int:
    """0 or the errno."""
    try:
        unshare = ctypes.CDLL(None, use_errno=True).unshare
    except (AttributeError, OSError):
        return errno.ENOSYS
    return 0 if unshare(flags) == 0 else ctypes.get_errno()
