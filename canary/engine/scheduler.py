"""Who ticks when.

One timer per canary that waits for something, and a task only while it ticks: a fleet at rest is a dict. A task per
canary was rejected (thousands of sleeping coroutines that only know how to be cancelled); a single heap with workers was
rejected because the event loop already is one.

Rules: ticks of one canary never overlap; a wake-up during a tick is remembered and the earliest wish wins; at most
`concurrency` ticks run at once, first come first served, so that a thousand releases at once queue instead of stampeding.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

log = logging.getLogger(__name__)

Key = tuple[str, str]
"""(namespace, name) of a Canary."""

SETTLE = 0.05
"""Seconds between a change in the cluster and the tick it causes: a rollout changes its Deployment several times in a
row, and one look at the end of the burst is worth as much as one look at each."""


@dataclass(slots=True)
class _Entry:
    due: float | None = None
    timer: asyncio.TimerHandle | None = None
    task: asyncio.Task[None] | None = None
    wish: float | None = None  # earliest time asked for while a tick was running


class Scheduler:
    """Runs `tick(key)` when due. `tick` returns seconds until the next one, or None to sleep until woken.

    `tick` must not raise; whatever it raises is logged and tried again after `retry` seconds. `late(seconds)` is told how
    long after its time each tick began.
    """

    def __init__(
        self,
        tick: Callable[[Key], Awaitable[float | None]],
        *,
        concurrency: int,
        retry: float = 10.0,
        late: Callable[[float], None] = lambda _: None,
    ) -> None:
        self._tick = tick
        self._slots = asyncio.Semaphore(concurrency)
        self._retry = retry
        self._late = late
        self._entries: dict[Key, _Entry] = {}
        self._closed = False

    def __contains__(self, key: Key) -> bool:
        return key in self._entries

    def add(self, key: Key) -> None:
        """Begin with this canary at once; nothing happens if it is known."""
        if key not in self._entries and not self._closed:
            self._entries[key] = _Entry()
            self._arm(key, self._entries[key], delay=0.0)

    def remove(self, key: Key) -> None:
        """Forget this canary. A tick in flight is cancelled: what it wrote is idempotent, what it did not is not wanted."""
        if entry := self._entries.pop(key, None):
            if entry.timer:
                entry.timer.cancel()
            if entry.task:
                entry.task.cancel()

    def wake(self, key: Key, *, delay: float = SETTLE) -> None:
        """Tick within `delay` seconds, unless an earlier tick is planned anyway."""
        entry = self._entries.get(key)
        if entry is None or self._closed:
            return
        at = asyncio.get_running_loop().time() + delay
        if entry.task is not None:
            entry.wish = at if entry.wish is None else min(entry.wish, at)
        elif entry.due is None or at < entry.due:
            self._arm(key, entry, delay=delay)

    def _arm(self, key: Key, entry: _Entry, *, delay: float) -> None:
        loop = asyncio.get_running_loop()
        if entry.timer:
            entry.timer.cancel()
        entry.due = loop.time() + delay
        entry.timer = loop.call_at(entry.due, self._start, key, entry)

    def _start(self, key: Key, entry: _Entry) -> None:
        entry.timer = None
        entry.task = asyncio.get_running_loop().create_task(self._run(key, entry), name=f"tick {key[0]}/{key[1]}")

    async def _run(self, key: Key, entry: _Entry) -> None:
        loop = asyncio.get_running_loop()
        after: float | None = self._retry
        try:
            async with self._slots:
                self._late(loop.time() - (entry.due or loop.time()))
                entry.wish = None  # everything that asked before this line is answered by the look we take now
                after = await self._tick(key)
        except asyncio.CancelledError:
            raise
        except Exception:
            log.exception("tick failed unexpectedly", extra={"fields": {"canary": f"{key[1]}.{key[0]}"}})
        finally:
            entry.task = None
        if self._entries.get(key) is not entry or self._closed:
            return
        entry.due = None
        times = [] if after is None else [max(0.0, after)]
        if entry.wish is not None:
            times.append(max(0.0, entry.wish - loop.time()))
        if times:
            self._arm(key, entry, delay=min(times))

    async def close(self) -> None:
        """Stop all timers and cancel what runs; returns when nothing runs any more."""
        self._closed = True
        tasks = [entry.task for entry in self._entries.values() if entry.task]
        for key in list(self._entries):
            self.remove(key)
        for task in tasks:
            with contextlib.suppress(asyncio.CancelledError):
                await task
