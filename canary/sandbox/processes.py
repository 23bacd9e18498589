"""Child processes that never outlive us.

Each child asks the kernel for a signal when its parent dies (Linux), so that even SIGKILL of the demo leaves nothing running; elsewhere only an
orderly end stops them. Each leads a session of its own, so that a Ctrl-C at the terminal reaches us first. What a child starts in sessions of
their own (the load tester's commands) carries a mark in its environment, by which `sweep` finds what nobody stopped. Output goes to a file per
process, whose end is shown when one dies. Rejected: a process group for everything (the load tester leaves it on purpose) and becoming a
subreaper (it would claim the orphans of whatever else runs in this process, a test-suite for example).
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
import random
import signal
import socket
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from canary.core.errors import Retryable

MARK = "CANARY_SANDBOX"
"""Environment variable of everything that a stage starts; its value is the stage's folder."""
_PR_SET_PDEATHSIG = 1
_PORTS = range(15_000, 32_000)
"""Below what Linux and others hand out by themselves: a connection of somebody else cannot take a port that we are about to use."""
_given: set[int] = set()


class Ended(Retryable):
    """A program of the stage died, or did not start; `detail` is the end of what it said."""

    reason = "Ended"

    def __init__(self, message: str, *, detail: str = "", hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.detail = detail


def free_port() -> int:
    """A TCP port of the loopback that nobody uses now, and that we have not given to anybody before."""
    for port in (*random.sample(_PORTS, 200), 0):
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            found = int(probe.getsockname()[1])
            if found not in _given:
                _given.add(found)
                return found
    raise Ended("no TCP port of 127.0.0.1 is free")


def listening(port: int) -> bool:
    """Whether somebody accepts connections on this port of the loopback."""
    with socket.socket() as probe:
        probe.settimeout(0.2)
        return probe.connect_ex(("127.0.0.1", port)) == 0


class Child:
    """One process: `start`, `stop`, and what it said last.

    `orphaned` is the signal that it gets when we die unexpectedly: SIGTERM for a program that has children to end, SIGKILL for others.
    """

    def __init__(
        self,
        name: str,
        command: Sequence[str | Path],
        *,
        log: Path,
        env: Mapping[str, str] | None = None,
        orphaned: signal.Signals = signal.SIGKILL,
    ) -> None:
        self.name = name
        self.log = log
        self._command = [str(part) for part in command]
        self._env = {**os.environ, MARK: str(log.parent), **(env or {})}
        self._orphaned = orphaned
        self._process: asyncio.subprocess.Process | None = None
        self._stopping = False

    @property
    def running(self) -> bool:
        """Whether it was started and has not ended."""
        return self._process is not None and self._process.returncode is None

    @property
    def pid(self) -> int:
        """Process id; 0 before the start."""
        return self._process.pid if self._process else 0

    async def start(self) -> None:
        """Start it. Raises Ended when the program cannot be executed."""
        try:
            with self.log.open("ab") as out:
                self._process = await asyncio.create_subprocess_exec(
                    *self._command,
                    stdin=asyncio.subprocess.DEVNULL,
                    stdout=out,
                    stderr=out,
                    env=self._env,
                    start_new_session=True,
                    preexec_fn=_die_with_parent(self._orphaned),
                )
        except OSError as error:
            raise Ended(f"{self.name} cannot be started: {self._command[0]}: {error.strerror}") from error

    async def until(self, ready: Callable[[], bool], *, seconds: float = 30.0) -> None:
        """Wait for `ready()`. Raises Ended when the process dies first or takes too long."""
        loop = asyncio.get_running_loop()
        end = loop.time() + seconds
        while not ready():
            if not self.running:
                raise self.obituary()
            if loop.time() > end:
                raise Ended(f"{self.name} was not ready within {seconds:g} s", detail=self.tail())
            await asyncio.sleep(0.02)

    async def died(self) -> None:
        """Returns only when the process ends without our having stopped it; then raises Ended."""
        assert self._process is not None
        await self._process.wait()
        if not self._stopping:
            raise self.obituary()

    def obituary(self) -> Ended:
        """How it ended, as an error."""
        code = self._process.returncode if self._process else None
        how = f"was killed by {signal.Signals(-code).name}" if code is not None and code < 0 else f"ended with exit code {code}"
        return Ended(f"{self.name} {how}", detail=self.tail())

    async def stop(self, *, grace: float = 3.0) -> None:
        """SIGTERM to its group, then SIGKILL after `grace` seconds."""
        self._stopping = True
        if not self._process or self._process.returncode is not None:
            return
        self.signal(signal.SIGTERM)
        try:
            await asyncio.wait_for(self._process.wait(), grace)
        except TimeoutError:
            self.kill()
            await self._process.wait()

    def kill(self) -> None:
        """SIGKILL to its group, without waiting."""
        self._stopping = True
        self.signal(signal.SIGKILL)

    def signal(self, number: int) -> None:
        """Send a signal to the whole group."""
        if self._process and self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, number)

    def tail(self, lines: int = 15) -> str:
        """The end of what it printed."""
        with contextlib.suppress(OSError):
            return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])
        return ""


async def run(*command: str | Path, cwd: Path, env: Mapping[str, str] | None = None) -> str:
    """Run a short program to its end and return what it printed; cancelled, it is killed first. Raises Ended with its last words."""
    process = await asyncio.create_subprocess_exec(
        *(str(part) for part in command),
        cwd=cwd,
        env={**os.environ, MARK: str(cwd), **(env or {})},
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        start_new_session=True,
    )
    try:
        out, err = await process.communicate()
    finally:
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            await process.wait()
    if process.returncode:
        said = " ".join(err.decode(errors="replace").split())
        raise Ended(f"{Path(command[0]).name} {' '.join(str(part) for part in command[1:2])}: {said[-300:]}")
    return out.decode()


def sweep(folder: Path) -> None:
    """Kill what carries the mark of this stage and still runs (Linux): grandchildren whose parent could not end them."""
    wanted = f"{MARK}={folder}\0".encode()
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if int(entry.name) != os.getpid() and wanted in (entry / "environ").read_bytes():
                os.kill(int(entry.name), signal.SIGKILL)


def _die_with_parent(number: signal.Signals) -> Callable[[], None] | None:
    if not sys.platform.startswith("linux"):
        return None
    libc = ctypes.CDLL(None, use_errno=True)  # loaded before the fork: loading afterwards could deadlock
    parent = os.getpid()

    def in_child() -> None:
        libc.prctl(_PR_SET_PDEATHSIG, int(number))
        if os.getppid() != parent:  # the parent died between fork and prctl
            os._exit(1)

    return in_child
