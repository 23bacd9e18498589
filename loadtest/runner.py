"""Runs tasks: one at a time per canary and command, a bounded number at once, each with a limit of time.

Upstream scans a queue every 100 ms and has no bound. A queue for what is over the bound was rejected: a load test
that starts minutes late measures another moment; the caller gets 429 at once and can retry.
"""

from __future__ import annotations

import asyncio
import os
from collections import deque
from collections.abc import Sequence
from typing import Final

from loadtest.commands import Command
from loadtest.logs import log
from loadtest.output import CappedOutput
from loadtest.payload import HookError, Payload
from loadtest.process import ProcessGroup
from loadtest.tasks import Task
from loadtest.telemetry import Telemetry

KEPT_TASKS: Final = 200
GRACE_SECONDS: Final = 5.0


class Runner:
    """Starts, follows, ends and remembers tasks. Limits: seconds per task, tasks at once, bytes of output each."""

    def __init__(self, telemetry: Telemetry, *, path: str, timeout: float, max_concurrency: int, max_output: int) -> None:
        self._telemetry = telemetry
        self._environment = {**os.environ, "PATH": path}
        self._timeout = timeout
        self._max_concurrency = max_concurrency
        self._max_output = max_output
        self._running: dict[str, Task] = {}
        self._finished: deque[Task] = deque(maxlen=KEPT_TASKS)
        self._jobs: set[asyncio.Task[None]] = set()
        self._draining = False

    def submit(self, command: Command, payload: Payload) -> Task:
        """Start it, or return the identical task that still runs (not for blocking ones: each has its own caller).

        Raises HookError 429 when the bound is reached, 503 while shutting down.
        """
        if self._draining:
            self._telemetry.count(command.type, "rejected")
            raise HookError(503, "the load tester is shutting down")
        task = Task(command=command, payload=payload, output=CappedOutput(self._max_output))
        if not command.blocking and (same := self._same(task)):
            self._telemetry.count(command.type, "duplicate")
            log.info("command skipped %s is already running", command.text, extra={"canary": payload.canary, "task": same.id})
            return same
        if len(self._running) >= self._max_concurrency:
            self._telemetry.count(command.type, "rejected")
            raise HookError(
                429, f"{len(self._running)} tasks are running, no more are started at once; retry later or raise --max-concurrency"
            )
        self._running[task.id] = task
        self._telemetry.running.set(len(self._running))
        job = asyncio.create_task(self._supervise(task))
        self._jobs.add(job)
        job.add_done_callback(self._jobs.discard)
        return task

    def _same(self, task: Task) -> Task | None:
        return next((other for other in self._running.values() if other.key == task.key), None)

    def find(self, task_id: str) -> Task | None:
        """A running or remembered task."""
        return self._running.get(task_id) or next((task for task in self._finished if task.id == task_id), None)

    def tasks(self) -> Sequence[Task]:
        """Running and remembered tasks, the newest first."""
        return sorted([*self._running.values(), *self._finished], key=lambda task: task.started_at, reverse=True)

    async def shutdown(self) -> None:
        """Take no more tasks and end those that run; returns when they are gone, or after 10 s (a process can hang in the kernel)."""
        self._draining = True
        for task in self._running.values():
            task.stop("the load tester is shutting down")
        if self._jobs:
            await asyncio.wait(self._jobs, timeout=2 * GRACE_SECONDS)

    async def _supervise(self, task: Task) -> None:
        fields = {"canary": task.payload.canary, "task": task.id, "type": task.command.type}
        log.info("command starting %s", task.command.text, extra=fields)
        try:
            state = await self._run(task)
        except OSError as error:
            task.problem, state = f"it cannot be started: {error.strerror}", "failed"
        except Exception as error:  # noqa: BLE001 - whatever it was, the slot must come free and the caller must hear of it
            log.exception("task failed from within", extra=fields)
            task.problem, state = f"internal error: {error}", "failed"
        task.finish(state)
        del self._running[task.id]
        self._finished.append(task)
        self._telemetry.running.set(len(self._running))
        self._telemetry.ran(task.command.type, result=state, seconds=task.seconds)
        self._report(task, fields)

    def _report(self, task: Task, fields: dict[str, str]) -> None:
        if task.state != "succeeded":
            log.error("command failed %s %s", task.command.text, task.ending(), extra={**fields, "output": task.output.text()})
        elif task.command.log_output:
            log.info("command finished %s", task.command.text, extra={**fields, "output": task.output.text()})
        else:
            log.info("command finished %s", task.command.text, extra=fields)

    async def _run(self, task: Task) -> str:
        group = await ProcessGroup.start(task.command.argv, environment=self._environment, output=task.output)
        limit = min(self._timeout, task.command.timeout or self._timeout)
        work = asyncio.create_task(self._follow(group, task))
        stop = asyncio.create_task(task.stop_wanted.wait())
        try:
            await asyncio.wait({work, stop}, timeout=limit, return_when=asyncio.FIRST_COMPLETED)
            if work.done():
                await work
                return "succeeded" if task.exit_code == 0 else "failed"
            stopped = task.stop_wanted.is_set()
            task.stop(f"timed out after {limit:g}s")
            return "cancelled" if stopped else "timeout"
        finally:
            work.cancel()
            stop.cancel()
            await group.end(grace=GRACE_SECONDS)
            task.exit_code = group.exit_code

    async def _follow(self, group: ProcessGroup, task: Task) -> None:
        task.exit_code = await group.leader_done()
        task.answered.set()
        await group.group_done()
