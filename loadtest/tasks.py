"""A task: one command that was asked for, while it runs and after. The record that `GET /tasks` shows."""

from __future__ import annotations

import asyncio
import secrets
import signal
import time
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from loadtest.commands import Command
from loadtest.output import CappedOutput
from loadtest.payload import Payload
from loadtest.units import format_time, now


@dataclass(kw_only=True, slots=True)
class Task:
    """State is running, then succeeded, failed, timeout or cancelled. `answered` is set when a blocking caller can be
    answered: the command is done, even if something that it sent to the background still runs.
    """

    command: Command
    payload: Payload
    output: CappedOutput
    id: str = field(default_factory=lambda: secrets.token_hex(8))
    state: str = "running"
    exit_code: int | None = None
    problem: str = ""
    started_at: datetime = field(default_factory=now)
    finished_at: datetime | None = None
    answered: asyncio.Event = field(default_factory=asyncio.Event)
    stop_wanted: asyncio.Event = field(default_factory=asyncio.Event)
    _started: float = field(default_factory=time.monotonic)
    _seconds: float | None = None

    @property
    def key(self) -> tuple[str, str, str]:
        """Two tasks with the same key are the same work: canary, type, command."""
        return self.payload.canary, self.command.type, self.command.text

    @property
    def seconds(self) -> float:
        """How long it ran, or has been running."""
        return time.monotonic() - self._started if self._seconds is None else self._seconds

    @property
    def succeeded(self) -> bool:
        """Whether the command came to its end with exit code 0."""
        return self.exit_code == 0 and not self.problem

    def stop(self, reason: str) -> None:
        """Ask that the command be ended; the first reason stays."""
        if not self.stop_wanted.is_set():
            self.problem = reason
            self.stop_wanted.set()

    def finish(self, state: str) -> None:
        """Close the record."""
        self.state = state
        self._seconds = self.seconds
        self.finished_at = now()
        self.answered.set()

    def ending(self) -> str:
        """How it ended, in the words of a shell: `exit status 3`, `signal: Killed`, or why it was ended."""
        if self.problem:
            return self.problem
        if self.exit_code is not None and self.exit_code < 0:
            return f"signal: {signal.strsignal(-self.exit_code) or -self.exit_code}"
        return f"exit status {self.exit_code}"

    def failure(self) -> str:
        """The reply of a blocking task that failed, with upstream's anchors."""
        return f"command {self.command.text} failed: {self.output.text()}: {self.ending()}"

    def view(self, *, with_output: bool) -> dict[str, Any]:
        """The task as `GET /tasks` shows it. Sizes in bytes; a negative exit code is minus the signal's number."""
        shown = {
            "id": self.id,
            "type": self.command.type,
            "command": self.command.text,
            "name": self.payload.name,
            "namespace": self.payload.namespace,
            "phase": self.payload.phase,
            "checksum": self.payload.checksum,
            "state": self.state,
            "exitCode": self.exit_code,
            "problem": self.problem,
            "startedAt": format_time(self.started_at),
            "finishedAt": format_time(self.finished_at) if self.finished_at else None,
            "durationSeconds": round(self.seconds, 3),
            "outputBytes": self.output.total,
            "outputLeftOut": self.output.left_out,
        }
        return {**shown, "output": self.output.text()} if with_output else shown
