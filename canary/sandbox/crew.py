"""The processes and tasks of a stage, as one: whoever ends by himself ends the play, and `stop` leaves nobody behind.

A task group was rejected: it ends with its body, while a stage is started in one function, used in another and stopped in a third; and what
dies in the middle of the story must be told to whoever waits, not to whoever started it.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

from canary.sandbox.processes import Child, Ended, sweep


class Crew:
    """Starts children and tasks and watches over them. `folder` is the stage's: what carries its mark is killed at the end."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._children: list[Child] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._leaving = False
        self._trouble: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def start(self, child: Child, *, ready: Callable[[], bool] = lambda: True, seconds: float = 30.0) -> None:
        """Start a child and wait for `ready()`. Raises Ended."""
        if self._leaving:
            raise Ended(f"{child.name} is not started any more: everything is being stopped")
        self._children.append(child)
        await child.start()
        await child.until(ready, seconds=seconds)
        self.spawn(child.died())

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """Run something beside; what it raises is trouble. While everything is being stopped nothing is begun any more."""
        if self._leaving:
            work.close()
            return
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    async def trouble(self) -> None:
        """Wait until something has gone wrong, and raise it."""
        await asyncio.shield(self._trouble)

    async def dismiss(self, *children: Child, grace: float = 3.0) -> None:
        """Stop these at the same time."""
        await asyncio.gather(*(child.stop(grace=grace) for child in children))
        self._children = [child for child in self._children if child not in children]

    async def stop(self) -> None:
        """Cancel the tasks, stop the children (all at the same time), and kill what they have left behind."""
        self._leaving = True
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self.dismiss(*self._children)
        sweep(self._folder)
        if self._trouble.done():
            self._trouble.exception()  # seen: nobody may have waited for it
        self._trouble.cancel()

    def kill(self) -> None:
        """Kill every child without waiting; `stop` then has nothing to wait for."""
        self._leaving = True
        for child in self._children:
            child.kill()
        sweep(self._folder)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        with contextlib.suppress(asyncio.CancelledError):
            error = task.exception()
            if error is not None and not self._trouble.done():
                self._trouble.set_exception(error)
