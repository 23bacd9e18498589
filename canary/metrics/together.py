"""Waits a moment for others who ask the same of other canaries, and asks for all of them at once.

The first who asks opens a round; it is closed 20 ms later, or when it is full. Whoever is alone in it then asks as ever, later by that moment;
so do two or three, for whom one query would be no cheaper, and so does everybody when the query about all of them fails. A failed batch says nothing about the source (it may have been too large, or too
slow), so the breaker does not hear of it: the single questions that follow tell it. For the same reason a batch gets a quarter of the time
only: what is left must do for them.

Ticks that are aligned so that more of them meet were rejected: a fleet that asks at once is a fleet whose load comes at once.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

from canary.core.errors import CanaryError
from canary.core.grouped import GroupedQuery
from canary.metrics.base import Source, Unreachable
from canary.metrics.batch import Names, Pauses, composed, question, split

WINDOW: Final = 0.02
"""Seconds that the first waits for others."""
SHARE: Final = 0.02
"""Of the canary's interval that this may be at most."""
PATIENCE: Final = 0.25
"""Share of a question's time that a batch may take."""
FEWEST: Final = 4
"""Canaries that are worth a batch: a selector of several names cannot use that all series of one begin alike."""
FULL: Final = 512
"""Canaries in one round; it then is asked at once, in several queries."""

Send = Callable[[Source, str, float], Awaitable[list[Any]]]
"""Source, PromQL and seconds, to all series of the answer. Raises CanaryError."""
Series = list[Any]


class Timer(Protocol):
    """What asyncio's `call_later` returns."""

    def cancel(self) -> None:
        """Do not call."""
        ...


Later = Callable[[float, Callable[[], None]], Timer]


@dataclass(frozen=True, slots=True)
class Subject:
    """What those who are asked together have in common. `seconds`: the time of each of their own questions."""

    source: Source = field(compare=False)
    identity: str
    grouped: GroupedQuery
    interval: str
    seconds: float


@dataclass(slots=True)
class _Round:
    """Those who have asked, and the timer that ends their waiting."""

    timer: Timer
    waiting: list[tuple[Names, asyncio.Future[Series | None]]] = field(default_factory=list)


class Together:
    """`clock` in seconds, monotonic; `later` calls something after some seconds (default: the running loop's)."""

    def __init__(self, clock: Callable[[], float], send: Send, *, later: Later | None = None) -> None:
        self._send = send
        self._later = later
        self._pauses = Pauses(clock)
        self._rounds: dict[Subject, _Round] = {}
        self._batches: set[asyncio.Task[None]] = set()

    def __len__(self) -> int:
        """Rounds and batches under way."""
        return len(self._rounds) + len(self._batches)

    async def ask(self, subject: Subject, member: Names, *, interval_seconds: float) -> Series | None:
        """What the member's own query would be answered; None: nobody was asked, ask for yourself.

        Raises CanaryError when the batch failed: ask for yourself, within what is left of the time.
        """
        if subject in self._pauses:
            return None
        future: asyncio.Future[Series | None] = asyncio.get_running_loop().create_future()
        found = self._rounds.get(subject)
        if found is None:
            later = self._later or asyncio.get_running_loop().call_later
            timer = later(min(WINDOW, SHARE * interval_seconds), lambda: self._close(subject))
            found = self._rounds[subject] = _Round(timer)
        found.waiting.append((member, future))
        if len(found.waiting) >= FULL:
            self._close(subject)
        return await future

    async def close(self) -> None:
        """Drop what is under way; whoever still waits asks for himself."""
        for subject in list(self._rounds):
            for _, future in self._drop(subject):
                future.set_result(None)
        batches = list(self._batches)
        for task in batches:
            task.cancel()
        await asyncio.gather(*batches, return_exceptions=True)

    def _drop(self, subject: Subject) -> list[tuple[Names, asyncio.Future[Series | None]]]:
        """The round is over; those who still wait for it."""
        ended = self._rounds.pop(subject)
        ended.timer.cancel()
        return [(member, future) for member, future in ended.waiting if not future.done()]

    def _close(self, subject: Subject) -> None:
        waiting = self._drop(subject)
        for part in composed(subject.grouped, [member for member, _ in waiting]):
            chosen = set(part)
            futures = [(member, future) for member, future in waiting if member in chosen]
            if len(part) < FEWEST:
                for _, future in futures:
                    future.set_result(None)
                continue
            task = asyncio.get_running_loop().create_task(self._ask(subject, part, futures))
            self._batches.add(task)
            task.add_done_callback(self._batches.discard)
            _end_with(task, [future for _, future in futures])

    async def _ask(self, subject: Subject, part: list[Names], futures: list[tuple[Names, asyncio.Future[Series | None]]]) -> None:
        """Ask for all, and tell each his part. Whatever happens, nobody is left waiting."""
        try:
            series = await self._answer(subject, part)
            self._pauses.worked(subject)
            for member, future in futures:
                if not future.done():
                    future.set_result(series[member])
        except CanaryError as error:
            self._pauses.failed(subject)
            for _, future in futures:
                if not future.done():
                    future.set_exception(error)
        finally:
            for _, future in futures:
                if not future.done():
                    future.set_result(None)

    async def _answer(self, subject: Subject, part: list[Names]) -> dict[Names, Series]:
        """Raises CanaryError."""
        seconds = subject.seconds * PATIENCE
        text = question(subject.grouped, part, subject.interval)
        try:
            async with asyncio.timeout(seconds):
                answer = await self._send(subject.source, text, seconds)
        except TimeoutError:
            raise Unreachable(f"{len(part)} canaries at once took more than {seconds:g} s", timed_out=True) from None
        return split(subject.grouped, part, answer)


def _end_with(task: asyncio.Task[None], futures: list[asyncio.Future[Series | None]]) -> None:
    """When the last of those who wait for it was cancelled, the task is, too."""

    def gone(_: object) -> None:
        if all(future.cancelled() for future in futures):
            task.cancel()

    for future in futures:
        future.add_done_callback(gone)
