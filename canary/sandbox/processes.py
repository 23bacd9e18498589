"""Child processes that never outlive us.

Each child asks the kernel to be killed when its parent dies (Linux), so that even SIGKILL of the demo leaves nothing behind; elsewhere only an
orderly end stops them. Output goes to a file per process, whose end is shown when one dies unexpectedly.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
import signal
import socket
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from canary.core.errors import Retryable

_PR_SET_PDEATHSIG = 1


def free_port() -> int:
    """A TCP port of the loopback that nobody uses now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _die_with_parent() -> Callable[[], None] | None:
    if not sys.platform.startswith("linux"):
        return None
    libc = ctypes.CDLL(None, use_errno=True)  # loaded before the fork: loading afterwards could deadlock
    parent = os.getpid()

    def in_child() -> None:
        libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:  # the parent died between fork and prctl
            os._exit(1)

    return in_child


class Child:
    """One process: `start`, `stop`, and what it said last."""

    def __init__(self, name: str, command: Sequence[str], *, log: Path, env: dict[str, str] | None = None) -> None:
        self.name = name
        self._command = [str(part) for part in command]
        self._log = log
        self._env = env
        self._process: asyncio.subprocess.Process | None = None

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.returncode is None

    @property
    def pid(self) -> int:
        """Process id; 0 before the start."""
        return self._process.pid if self._process else 0

    async def start(self) -> None:
        """Start it in a session of its own, so that a Ctrl-C at the terminal reaches us first."""
        with self._log.open("ab") as out:
            self._process = await asyncio.create_subprocess_exec(
                *self._command,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                env={**os.environ, **(self._env or {})},
                start_new_session=True,
                preexec_fn=_die_with_parent(),  # noqa: PLW1509 - one prctl call, nothing that could deadlock
            )

    async def stop(self, *, grace: float = 3.0) -> None:
        """SIGTERM to its whole group, then SIGKILL after `grace` seconds."""
        if not self._process or self._process.returncode is not None:
            return
        self.signal(signal.SIGTERM)
        try:
            await asyncio.wait_for(self._process.wait(), grace)
        except TimeoutError:
            self.signal(signal.SIGKILL)
            await self._process.wait()

    def signal(self, number: int) -> None:
        """Send a signal to the whole group."""
        if self._process and self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, number)

    def tail(self, lines: int = 15) -> str:
        """The end of what it printed."""
        with contextlib.suppress(OSError):
            return "\n".join(self._log.read_text(errors="replace").splitlines()[-lines:])
        return ""

    async def until(self, ready: Callable[[], bool], *, seconds: float = 15.0) -> None:
        """Wait for `ready()`; Retryable with the end of the log when it dies first or takes too long."""
        loop = asyncio.get_running_loop()
        end = loop.time() + seconds
        while not ready():
            if not self.running:
                raise Retryable(f"{self.name} ended while it was starting:\n{self.tail()}")
            if loop.time() > end:
                raise Retryable(f"{self.name} was not ready within {seconds:g} s:\n{self.tail()}")
            await asyncio.sleep(0.02)


def listening(port: int) -> bool:
    """Whether somebody accepts connections on this port of the loopback."""
    with socket.socket() as probe:
        probe.settimeout(0.2)
        return probe.connect_ex(("127.0.0.1", port)) == 0
