"""How a story is told, whatever it is about: the stage is set, the plot runs beside, and what happens comes out in order.

A story yields plain dicts, for a person's terminal or a program's pipe. Whoever waits for something waits here, so that a story which gets stuck
ends within its deadline and says where.
"""

from __future__ import annotations

import asyncio
import time
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from typing import Any, TypeVar

from canary.sandbox.account import Happening
from canary.sandbox.stage import NotInTimeError, Venue
from canary.sandbox.witness import Witness

T = TypeVar("T")


class Telling(ABC):
    """A story on a venue. Iterate over `tell()`; the rest is the newest state, for a view."""

    def __init__(self, venue: Venue, *, deadline: float) -> None:
        self.venue = venue
        self._deadline = deadline
        self._queue: asyncio.Queue[Happening] = asyncio.Queue()
        self._began = time.monotonic()
        self._finished: float | None = None

    @property
    def elapsed(self) -> float:
        """Seconds since the story began, until it ended."""
        return (self._finished or time.monotonic()) - self._began

    @property
    @abstractmethod
    def good(self) -> bool:
        """Everything ended as it should."""

    @property
    @abstractmethod
    def scenes(self) -> Sequence[str]:
        """What there is to see, in order; the first is the start."""

    @property
    @abstractmethod
    def now(self) -> Witness | None:
        """The cluster where something happens."""

    @abstractmethod
    async def _plot(self) -> None:
        """What happens once everything is up."""

    @abstractmethod
    def _summary(self) -> Happening:
        """What the last line says, besides the parts."""

    @abstractmethod
    def _state(self) -> str:
        """Where the story is, for whoever has waited in vain."""

    async def tell(self) -> AsyncIterator[Happening]:
        """Everything that happens, in order; the last one is the summary. Raises CanaryError when a part of the stage fails."""
        work = asyncio.ensure_future(self._play())
        try:
            while not (work.done() and self._queue.empty()):
                getter = asyncio.ensure_future(self._queue.get())
                await asyncio.wait({getter, work}, return_when=asyncio.FIRST_COMPLETED)
                if getter.done():
                    yield getter.result()
                else:
                    getter.cancel()
            work.result()
        finally:
            work.cancel()
            await asyncio.gather(work, return_exceptions=True)
        self._finished = time.monotonic()
        yield {"event": "summary", "parts": dict(self.venue.parts), **self._summary()}

    def say(self, event: str, **what: object) -> None:
        """Something has happened."""
        self._queue.put_nowait({"event": event, "at": round(self.elapsed, 2), **what})

    async def until(self, ready: Callable[[], bool], problem: str, why: Callable[[], str] = lambda: "") -> None:
        """Wait for `ready()`. Raises NotInTimeError with the problem, and `why` it is still one, when the story takes too long."""
        while not ready():
            if self._left() <= 0:
                raise self._late(problem, why())
            await asyncio.sleep(0.05)

    async def in_time(self, work: Coroutine[Any, Any, T], problem: str) -> T:
        """Do this. Raises NotInTimeError with the problem when the story takes too long."""
        try:
            async with asyncio.timeout(max(0.0, self._left())) as limit:
                return await work
        except TimeoutError:
            if not limit.expired():
                raise
            raise self._late(problem) from None

    async def _play(self) -> None:
        """Set the stage and follow the plot, unless a part of the stage ends first."""
        await self.in_time(
            self.venue.start(lambda name, version: self.say("part", name=name, version=version)), "not everything is running"
        )
        plot, alarm = asyncio.ensure_future(self._plot()), asyncio.ensure_future(self.venue.trouble())
        try:
            await asyncio.wait({plot, alarm}, return_when=asyncio.FIRST_COMPLETED)
            for task in (alarm, plot):
                if task.done():
                    task.result()
        finally:
            for task in (plot, alarm):
                task.cancel()
            await asyncio.gather(plot, alarm, return_exceptions=True)

    def _left(self) -> float:
        return self._began + self._deadline - time.monotonic()

    def _late(self, problem: str, why: str = "") -> NotInTimeError:
        where = self._state() + (f", {why}" if why else "")
        return NotInTimeError(
            f"{problem} after {self._deadline:g} s; {where}", hint="give it longer with --deadline, or look with --headless"
        )
