"""One command as a process group: started, read, and ended wholly.

Upstream kills the direct child only, so whatever a shell started lives on after the timeout. Here each command leads
its own session, and its end takes the whole group. A process that leaves the group on purpose (setsid) is beyond
reach until the pod ends; following it through cgroups was rejected, because that needs rights a pod does not have.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from typing import Final

from loadtest.output import CappedOutput

_READ: Final = 65536
_POLL_SECONDS: Final = 0.05
_PIPE_SECONDS: Final = 0.5
_PR_SET_CHILD_SUBREAPER: Final = 36


def adopt_orphans() -> None:
    """Make this process the parent of orphaned grandchildren (Linux), so that it can reap what a command left behind.

    As process 1 of a container we are that anyway; elsewhere it keeps zombies from looking like a living group.
    """
    if sys.platform == "linux":
        with contextlib.suppress(OSError, AttributeError):
            ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


class ProcessGroup:
    """A running command with everything that it started."""

    def __init__(self, process: asyncio.subprocess.Process, output: CappedOutput) -> None:
        self._process = process
        self._output = output
        self._reading = asyncio.create_task(self._read())

    @classmethod
    async def start(cls, argv: Sequence[str], *, environment: Mapping[str, str], output: CappedOutput) -> ProcessGroup:
        """Start it, both output streams merged into `output`. Raises OSError when it cannot be started."""
        process = await asyncio.create_subprocess_exec(
            *argv,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            env=dict(environment),
            start_new_session=True,
        )
        return cls(process, output)

    @property
    def exit_code(self) -> int | None:
        """The leader's exit code, negative for a signal, None while it runs."""
        return self._process.returncode

    async def _read(self) -> None:
        stream = self._process.stdout
        assert stream is not None
        while chunk := await stream.read(_READ):
            self._output.write(chunk)

    async def leader_done(self) -> int:
        """Wait until the leader has exited and its output is closed; its exit code, negative for a signal."""
        await asyncio.shield(self._reading)
        return await self._process.wait()

    async def group_done(self) -> None:
        """Wait until nothing of the group is left: what was sent to the background counts as the command too."""
        while self._alive():  # noqa: ASYNC110 - the kernel has no event for the end of a group
            await asyncio.sleep(_POLL_SECONDS)

    def _alive(self) -> bool:
        if self._process.returncode is None:
            return True
        # The leader is reaped by asyncio; orphans that were handed to us are reaped here, by group, never by "any".
        with contextlib.suppress(ChildProcessError):
            while os.waitpid(-self._process.pid, os.WNOHANG)[0]:
                pass
        try:
            os.killpg(self._process.pid, 0)
        except (ProcessLookupError, PermissionError):
            return False
        return True

    def _signal(self, number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, number)

    async def end(self, *, grace: float) -> None:
        """Ask the whole group to stop, after `grace` seconds force it; returns when it is gone and its output is read."""
        if self._alive():
            self._signal(signal.SIGTERM)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self.group_done(), grace)
        if self._alive():
            self._signal(signal.SIGKILL)
            await self._process.wait()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self.group_done(), _PIPE_SECONDS)
        # A process that left the group may hold the pipe open for ever.
        await asyncio.wait({self._reading}, timeout=_PIPE_SECONDS)
        self._reading.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._reading
