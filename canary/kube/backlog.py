"""What waits to be written about one object: news in order, repeats folded, and what goes first when there is too much.

Two lanes. *News* are messages not posted before: they keep their order. *Repeats* only raise a count, carry their own
timestamps, and so need no place between the news; they must never hold them up. One queue with priorities was rejected:
a repeat at its head would have to be skipped, which is two lanes again.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass

from canary.kube.resource import Object
from canary.kube.throttle import TokenBucket

KEPT = 32
"""Posted messages remembered per object."""
LIFETIME = 3000.0
"""Seconds after which a posted Event is not counted on any more: API servers drop Events after an hour."""

Key = tuple[str, str, str]


@dataclass(slots=True, kw_only=True, eq=False)
class Entry:
    """One message, `count` times between `first` and `last` (Unix seconds). `body` is the Event's involvedObject."""

    body: Object
    type: str
    kind: str
    message: str
    first: float
    last: float
    count: int = 1
    essential: bool = False
    """A change of kind: never dropped for want of tokens."""
    name: str = ""
    """Of the Event object, once chosen: a retry after a lost answer meets itself instead of doubling."""

    @property
    def key(self) -> Key:
        """What makes two messages the same."""
        return (self.type, self.kind, self.message)

    @property
    def namespace(self) -> str:
        """Where its Event lives; cluster-scoped objects have theirs in `default`."""
        return str(self.body.get("namespace") or "default")


@dataclass(frozen=True, slots=True)
class Posted:
    """An Event that exists: its name, its count, and when it was last written."""

    name: str
    count: int
    at: float


class Backlog:
    """One object's. `news` and `repeats` are (rate a second, burst)."""

    def __init__(self, *, news: tuple[float, float], repeats: tuple[float, float], most: int, timer: Callable[[], float]) -> None:
        self._news: deque[Entry] = deque()
        self._repeats: OrderedDict[Key, Entry] = OrderedDict()
        self._flying: Entry | None = None
        self._posted: OrderedDict[Key, Posted] = OrderedDict()
        self._news_tokens = TokenBucket(rate=news[0], burst=news[1], clock=timer)
        self._repeat_tokens = TokenBucket(rate=repeats[0], burst=repeats[1], clock=timer)
        self._most = most
        self._last_kind = ""
        self._hurry = False
        self._dropped = 0
        self._stir = asyncio.Event()

    def __len__(self) -> int:
        return len(self._news) + len(self._repeats) + (self._flying is not None)

    def add(self, entry: Entry) -> int:
        """Take an entry in. Returns how many had to go since the last call."""
        entry.essential = entry.kind != self._last_kind
        self._last_kind = entry.kind
        if (same := self._waiting(entry)) is not None:
            same.count += 1
            same.last = entry.last
        elif self.posted(entry, now=entry.last) is not None:
            self._repeats[entry.key] = entry
        else:
            self._news.append(entry)
        self._bound()
        self._stir.set()
        dropped, self._dropped = self._dropped, 0
        return dropped

    async def next(self) -> Entry:
        """The entry to write now; waits for tokens. It must be given back with `done`."""
        while True:
            self._stir.clear()
            if (entry := self._pick()) is not None:
                self._flying = entry
                return entry
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._pause()):
                    await self._stir.wait()

    def done(self, entry: Entry) -> None:
        """Written, or given up. What was folded in meanwhile stays, as a repeat."""
        self._flying = None
        if entry.count > 0 and entry.key in self._posted:
            self._repeats[entry.key] = entry

    def hurry(self) -> None:
        """No more waiting for tokens: the process is about to end."""
        self._hurry = True
        self._stir.set()

    def posted(self, entry: Entry, *, now: float) -> Posted | None:
        """The Event that this message has already, if it can still be there."""
        found = self._posted.get(entry.key)
        if found is not None and now - found.at > LIFETIME:
            del self._posted[entry.key]
            return None
        return found

    def expired(self, entry: Entry) -> None:
        """The Event is gone: the next write makes a new one."""
        self._posted.pop(entry.key, None)

    def wrote(self, entry: Entry, *, name: str, count: int, at: float) -> None:
        """Remember an Event that was created or counted up."""
        self._posted[entry.key] = Posted(name, count, at)
        self._posted.move_to_end(entry.key)
        if len(self._posted) > KEPT:
            self._posted.popitem(last=False)

    def _waiting(self, entry: Entry) -> Entry | None:
        """The same message, still to be written, with no change of kind since (a fold must not hide one)."""
        if self._flying is not None and self._flying.key == entry.key:
            return self._flying
        for other in reversed(self._news):
            if other.kind != entry.kind:
                break
            if other.key == entry.key:
                return other
        return self._repeats.get(entry.key)

    def _pick(self) -> Entry | None:
        if self._news and (self._hurry or self._news_tokens.take()):
            return self._news.popleft()
        if any(entry.essential for entry in self._news):
            while not self._news[0].essential:
                self._news.popleft()
                self._dropped += 1
            self._news_tokens.reserve()  # into debt: what is not essential pays it back by waiting
            return self._news.popleft()
        if self._repeats and (self._hurry or self._repeat_tokens.take()):
            return self._repeats.popitem(last=False)[1]
        return None

    def _pause(self) -> float | None:
        waits = [bucket.wait() for lane, bucket in ((self._news, self._news_tokens), (self._repeats, self._repeat_tokens)) if lane]
        return min(waits) + 0.001 if waits else None

    def _bound(self) -> None:
        while len(self) > self._most:
            plain = next((entry for entry in self._news if not entry.essential), None)
            if self._repeats:
                self._repeats.popitem(last=False)
            elif plain is not None:
                self._news.remove(plain)
            elif len(self) > 4 * self._most:
                self._news.popleft()  # only when nothing can be written for very long
            else:
                return
            self._dropped += 1
