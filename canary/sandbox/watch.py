"""Watches: the changes of one kind as a stream of JSON lines, from a version on.

Each watcher reads the bucket's shared history at its own pace and writes whatever has gathered in one piece, so a hundred status updates
between two turns of the loop cost one write per watcher. Rejected: a queue per watcher, which copies every change as many times as there
are watchers and has to be bounded anyway; here a watcher that falls behind the history gets the same 410 as one that starts too late.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from canary.sandbox.calls import ListOptions
from canary.sandbox.errors import expired
from canary.sandbox.resources import Resource
from canary.sandbox.selectors import Match
from canary.sandbox.store import Change, Object, Record, Store, encode
from canary.sandbox.views import View

Write = Callable[[bytes], Awaitable[None]]
_INITIAL_EVENTS_END = "k8s.io/initial-events-end"


@dataclass(slots=True)
class Tuning:
    """Seconds between bookmarks, and how long a watch without `timeoutSeconds` lasts (with up to as much again by chance)."""

    bookmark_interval: float = 30.0
    default_timeout: float = 1800.0


@dataclass(slots=True, eq=False)
class Watcher:
    """One running watch. `closing` ends it at the next wake-up."""

    store: Store
    resource: Resource
    view: View
    match: Match | None
    namespace: str | None
    options: ListOptions
    tuning: Tuning
    closing: bool = False
    wake: asyncio.Event = field(default_factory=asyncio.Event)
    _cursor: int = 0

    def close(self) -> None:
        """End the stream as if its time were up."""
        self.closing = True
        self.wake.set()

    async def run(self, write: Write) -> None:
        """Stream until the time is up, the kind is gone, or the watcher fell behind."""
        loop = asyncio.get_running_loop()
        timeout = self.options.timeout or self.tuning.default_timeout * (1 + random.random())
        deadline = loop.time() + timeout
        self.wake = self.resource.bucket.subscribe()
        try:
            first = self._begin()
            if first:
                await write(first)
            if not self._is_lost():
                await self._follow(write, deadline)
        finally:
            self.resource.bucket.unsubscribe(self.wake)

    def _is_lost(self) -> bool:
        return self._cursor < 0

    def _begin(self) -> bytes:
        """What comes before the first change: the present state, or the refusal of a version that is too old."""
        options, bucket = self.options, self.resource.bucket
        if options.version and not options.initial_events:
            if options.version < bucket.compacted:
                self._cursor = -1
                return self._too_old(options.version)
            self._cursor = options.version
            return b""
        self._cursor = self.store.revision
        chosen = [one for one in bucket.records(self.namespace) if self.match is None or self.match(one.obj)]
        out = b"".join(self._line("ADDED", record) for record in chosen)
        if options.initial_events and options.bookmarks:
            out += self._bookmark({"annotations": {_INITIAL_EVENTS_END: "true"}})
        return out

    def _too_old(self, version: int) -> bytes:
        status = expired(f"too old resource version: {version} ({self.resource.bucket.compacted})").status()
        return b'{"type":"ERROR","object":' + encode(status) + b"}\n"

    async def _follow(self, write: Write, deadline: float) -> None:
        loop = asyncio.get_running_loop()
        bucket = self.resource.bucket
        interval = self.tuning.bookmark_interval
        next_bookmark = min(loop.time() + interval, max(deadline - 2, loop.time())) if self.options.bookmarks else deadline
        while not self.closing:
            self.wake.clear()
            if self._cursor < bucket.trimmed:
                await write(self._too_old(self._cursor))
                return
            if data := self._gather():
                await write(data)
                continue
            now = loop.time()
            if now >= deadline or self.store.bucket_if_any(bucket.group, bucket.plural) is not bucket:
                return
            if self.options.bookmarks and now >= next_bookmark:
                self._cursor = max(self._cursor, self.store.revision)
                await write(self._bookmark({}))
                next_bookmark = now + interval
                if now < deadline - 2 < next_bookmark:
                    next_bookmark = deadline - 2
                continue
            try:
                async with asyncio.timeout_at(min(deadline, next_bookmark)):
                    await self.wake.wait()
            except TimeoutError:
                continue

    def _gather(self) -> bytes:
        changes = self.resource.bucket.changes_after(self._cursor)
        if not changes:
            return b""
        self._cursor = changes[-1].revision
        return b"".join(line for change in changes if (line := self._event(change)))

    def _event(self, change: Change) -> bytes:
        """The line for a change; a change into or out of the selection is an ADDED or DELETED to this watcher."""
        record = change.record
        if self.namespace is not None and record.namespace != self.namespace:
            return b""
        if self.match is None:
            return self._line(change.type, record)
        was = change.before is not None and self.match(change.before.obj)
        if change.type == "DELETED":
            return self._line("DELETED", record) if was else b""
        now = self.match(record.obj)
        if now:
            return self._line("MODIFIED" if was else "ADDED", record)
        return self._line("DELETED", self._last_seen(change)) if was else b""

    def _last_seen(self, change: Change) -> Record:
        """What left the selection is shown as it last was inside, under the new version."""
        assert change.before is not None
        metadata: Object = {**change.before.obj["metadata"], "resourceVersion": str(change.revision)}
        return Record(change.record.namespace, change.record.name, change.revision, {**change.before.obj, "metadata": metadata})

    def _line(self, type: str, record: Record) -> bytes:
        return b'{"type":"' + type.encode() + b'","object":' + self.view.one(self.resource, record) + b"}\n"

    def _bookmark(self, metadata: Object) -> bytes:
        version = {"resourceVersion": str(self._cursor), **metadata}
        return b'{"type":"BOOKMARK","object":' + self.view.bookmark(self.resource, version) + b"}\n"
