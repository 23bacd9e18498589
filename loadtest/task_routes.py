"""Task submission (any path that is nothing else, as upstream) and the list of tasks.

Only GET and HEAD of `/tasks` are taken from the paths that upstream treats as submission.
"""

from __future__ import annotations

from asyncio import CancelledError
from collections.abc import Sequence
from typing import Any

from aiohttp import web

from loadtest.access import NamespaceFilter
from loadtest.commands import build_command
from loadtest.payload import HookError
from loadtest.request_guard import read_payload, text
from loadtest.runner import Runner
from loadtest.tasks import Task
from loadtest.telemetry import Telemetry


class TaskRoutes:
    """The handlers. `allowed` names the programs that may run (empty: all), `path` is where they are looked up."""

    def __init__(self, runner: Runner, *, namespaces: NamespaceFilter, telemetry: Telemetry, allowed: Sequence[str], path: str) -> None:
        self._runner = runner
        self._namespaces = namespaces
        self._telemetry = telemetry
        self._allowed = allowed
        self._path = path

    def add_to(self, router: web.UrlDispatcher) -> None:
        """Register the paths; the last one takes everything, so it must come after all others."""
        router.add_get("/tasks", self.list)
        router.add_get("/tasks/{id}", self.show)
        router.add_route("*", "/{anything:.*}", self.submit)

    async def submit(self, request: web.Request) -> web.Response:
        """cmd: 202 at once. Others: 200, or 500 with command, output and exit status, when they are done."""
        payload = await read_payload(request, self._namespaces)
        try:
            command = build_command(payload, allowed=self._allowed, path=self._path)
        except HookError:
            self._telemetry.count(payload.metadata.get("type", "cmd"), "rejected")
            raise
        task = self._runner.submit(command, payload)
        return await self._answer(task) if command.blocking else _reply(202, "", task=task)

    async def _answer(self, task: Task) -> web.Response:
        try:
            await task.answered.wait()
        except CancelledError:
            # The caller gave up (its timeout passed): nobody waits for the result, and its retry starts a new one.
            task.stop("the caller went away")
            raise
        if not task.succeeded:
            return _reply(500, task.failure(), task=task)
        return _reply(200, task.output.text() if task.command.return_output else "", task=task)

    async def list(self, request: web.Request) -> web.Response:
        """Running and finished tasks (the last 200), newest first, without their output; `?state=` narrows it."""
        wanted = request.query.get("state")
        shown: list[dict[str, Any]] = [task.view(with_output=False) for task in self._runner.tasks() if wanted in (None, task.state)]
        return web.json_response({"tasks": shown})

    async def show(self, request: web.Request) -> web.Response:
        """One task with its output."""
        task = self._runner.find(request.match_info["id"])
        if task is None:
            raise HookError(404, f"no task {request.match_info['id']!r}; the last 200 are kept, until a restart")
        return web.json_response(task.view(with_output=True))


def _reply(status: int, body: str, *, task: Task) -> web.Response:
    return text(status, body, headers={"X-Task-Id": task.id})
