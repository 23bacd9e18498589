"""One answer for everybody who asks the same at the same time.

Ten canaries that share a metric template without their own names in it, or one check that is asked twice within a tick, cost one request.
An answer is remembered for a second at most, counted from when it was *asked*, so that nobody is judged by numbers older than that; errors
are shared like answers. Whoever stops waiting leaves the others alone; when nobody waits any more, the question is dropped.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Hashable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

T = TypeVar("T")

MEMORY = 1.0
"""Seconds."""
SIZE = 1024
"""Answers remembered."""


@dataclass(slots=True)
class _Flight(Generic[T]):
    """One question under way, or answered."""

    task: asyncio.Task[T]
    began: float
    waiting: int = 0


class Sharing(Generic[T]):
    """Single flight with a short memory. `clock` in seconds, monotonic."""

    def __init__(self, clock: Callable[[], float], *, memory: float = MEMORY, size: int = SIZE) -> None:
        self._clock = clock
        self._memory = memory
        self._size = size
        self._flights: dict[Hashable, _Flight[T]] = {}
        self._dropped: set[asyncio.Task[T]] = set()
        """Cancelled, and still cleaning up."""

    def __len__(self) -> int:
        return len(self._flights)

    async def ask(self, key: Hashable, question: Callable[[], Coroutine[Any, Any, T]], *, freshness: float = MEMORY) -> T:
        """The answer of a flight of this key that is under way or was begun less than `freshness` seconds ago, else of a new one."""
        now = self._clock()
        flight = self._flights.get(key)
        if flight is None or (flight.task.done() and now - flight.began >= min(freshness, self._memory)):
            self._make_room(now)
            flight = _Flight(asyncio.create_task(question()), now)
            flight.task.add_done_callback(_retrieved)
            self._flights.pop(key, None)  # the newest is last
            self._flights[key] = flight
        flight.waiting += 1
        try:
            return await asyncio.shield(flight.task)
        finally:
            flight.waiting -= 1
            if not flight.waiting and not flight.task.done():  # everybody was cancelled
                self._drop(flight.task)
                if self._flights.get(key) is flight:
                    del self._flights[key]

    async def close(self) -> None:
        """Drop what is under way, and wait until it has cleaned up."""
        flights, self._flights = self._flights, {}
        for flight in flights.values():
            self._drop(flight.task)
        await asyncio.gather(*self._dropped, return_exceptions=True)

    def _drop(self, task: asyncio.Task[T]) -> None:
        if not task.done():
            self._dropped.add(task)
            task.add_done_callback(self._dropped.discard)
            task.cancel()

    def _make_room(self, now: float) -> None:
        """Forget what is too old, and the oldest answers beyond the bound; what is under way has somebody waiting."""
        surplus = len(self._flights) - self._size + 1
        for key, flight in list(self._flights.items()):
            old = now - flight.began >= self._memory
            if not old and surplus <= 0:
                break
            if flight.task.done():
                del self._flights[key]
                surplus -= 1


def _retrieved(task: asyncio.Task[Any]) -> None:
    """An error is not "never retrieved" because its last reader had gone."""
    if not task.cancelled():
        task.exception()
