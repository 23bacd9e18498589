"""Kubernetes Events about our objects, off the tick's path.

`record` only queues. A fleet's Events are spread over time (`CALM_RATE`, `SPREAD`). One drain per object keeps that object's
order and lets a slow namespace delay nobody else. The same message again costs no new Event but a higher `count`, and not
even that more often than the object's bucket allows; what is new is posted, one request each. Under pressure repeats are
folded first, then older news of the same kind; a change of kind (a state change) is never dropped. Upstream's correlator
folds by spatial similarity instead and so loses the weights of a long run (reference flagger-analysis 5.2); kopf's posting
neither counts nor limits (python-stack 1.5.7).

The wire form is the legacy one of core/v1 (`count`, `lastTimestamp`, no `eventTime`): it is what `kubectl describe` and
upstream's users read.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Protocol

from canary.core.errors import CanaryError, Conflict, NotFound, Retryable
from canary.kube.backlog import Backlog, Entry
from canary.kube.backoff import Backoff
from canary.kube.resource import EVENTS, Object, Resource
from canary.kube.throttle import TokenBucket

log = logging.getLogger(__name__)

COMPONENT = "flagger"
REASON = "Synced"
MESSAGE_LIMIT = 1024
"""Characters of a message; the API accepts more only in the legacy form."""
ATTEMPTS = 6
CALM_RATE = 15.0
"""Events a second, of all objects together, while that is enough to write everything within SPREAD."""
CALM_BURST = 30.0
"""Events at once after a calm."""
SPREAD = 20.0
"""Seconds that narration may lag behind. A hundred canaries that are released in one moment have as much to tell as to do, and
all of it goes to one API server: what moves traffic goes first, the story is told in the quiet between two steps."""
OBJECTS = 10_000
"""Objects remembered for counting repeats; the least recently used are forgotten."""


class Writer(Protocol):
    """The part of `ApiClient` that is needed."""

    async def create(self, resource: Resource, body: Object) -> Object:
        """POST."""
        ...

    async def merge(self, resource: Resource, namespace: str, name: str, patch: Object) -> Object:
        """JSON merge patch."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Per object: `burst` Events at once and `rate` a second; updates of `count` likewise with `repeat_*`."""

    burst: float = 50
    rate: float = 1.0
    repeat_burst: float = 5
    repeat_rate: float = 1 / 30
    waiting: int = 50
    """Entries that may wait for one object."""


class EventRecorder:
    """Records Events on objects. `clock` is Unix time in seconds, `timer` is monotonic."""

    def __init__(
        self,
        writer: Writer,
        *,
        limits: Limits | None = None,
        concurrency: int = 8,
        backoff: Callable[[], Backoff] = Backoff,
        clock: Callable[[], float] = time.time,
        timer: Callable[[], float] = time.monotonic,
    ) -> None:
        self.dropped = 0
        """Events that could not be written, or had to make room."""
        self._writer = writer
        self._limits = limits or Limits()
        self._slots = asyncio.Semaphore(concurrency)
        self._backoff = backoff
        self._clock = clock
        self._timer = timer
        self._backlogs: OrderedDict[str, Backlog] = OrderedDict()
        self._drains: dict[str, asyncio.Task[None]] = {}
        self._turns = TokenBucket(rate=CALM_RATE, burst=CALM_BURST, clock=timer)
        self._numbers = itertools.count()
        self._closing = asyncio.Event()

    def record(self, body: Object, *, message: str, kind: str, warning: bool = False) -> None:
        """Queue one Event about `body` (head, uid and resourceVersion suffice). Call it inside the running loop; never blocks. Dropped after `close`."""
        if self._closing.is_set():
            self.dropped += 1
            return
        meta = body["metadata"]
        uid = meta.get("uid") or f"{meta.get('namespace', '')}/{meta['name']}"
        backlog = self._backlogs.get(uid)
        if backlog is None:
            limits = self._limits
            backlog = self._backlogs[uid] = Backlog(
                news=(limits.rate, limits.burst),
                repeats=(limits.repeat_rate, limits.repeat_burst),
                most=limits.waiting,
                timer=self._timer,
            )
        self._backlogs.move_to_end(uid)
        self.dropped += backlog.add(
            Entry(
                body=_involved(body),
                type="Warning" if warning else "Normal",
                kind=kind,
                message=message if len(message) <= MESSAGE_LIMIT else message[: MESSAGE_LIMIT - 1] + "…",
                first=self._clock(),
                last=self._clock(),
            )
        )
        if uid not in self._drains:
            self._drains[uid] = asyncio.get_running_loop().create_task(self._drain(uid, backlog), name=f"events of {meta['name']}")
        self._make_room()

    async def close(self, *, deadline: float = 5.0) -> None:
        """Write what waits, without regard to limits, for at most `deadline` seconds; the rest is dropped and counted."""
        self._closing.set()
        for backlog in self._backlogs.values():
            backlog.hurry()
        drains = list(self._drains.values())
        if drains:
            await asyncio.wait(drains, timeout=deadline)
        for task in drains:
            task.cancel()
        await asyncio.gather(*drains, return_exceptions=True)
        if lost := sum(len(backlog) for backlog in self._backlogs.values()):
            self.dropped += lost
            log.warning("%d events were not written before the deadline", lost)

    async def _drain(self, uid: str, backlog: Backlog) -> None:
        try:
            while backlog:
                entry = await backlog.next()
                await self._wait_turn()
                await self._write(backlog, entry)
        finally:
            del self._drains[uid]

    async def _wait_turn(self) -> None:
        """Spread the Events of a fleet: in the order of asking, faster the more objects have something to tell."""
        self._turns.pace(max(CALM_RATE, len(self._drains) / SPREAD))
        if wait := self._turns.reserve():
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(wait):
                    await self._closing.wait()

    async def _write(self, backlog: Backlog, entry: Entry) -> None:
        """One entry with its retries. The entry stays at the head meanwhile, so order holds and repeats of it are folded in."""
        backoff = self._backoff()
        for attempt in range(1, ATTEMPTS + 1):
            try:
                async with self._slots:
                    await self._post(backlog, entry)
            except Retryable as error:
                if attempt == ATTEMPTS:
                    self._give_up(entry, error)
                    break
                await asyncio.sleep(backoff.pause())
            except CanaryError as error:
                self._give_up(entry, error)
                break
            else:
                break
        backlog.done(entry)

    async def _post(self, backlog: Backlog, entry: Entry) -> None:
        """A PATCH when the Event is there already, else a POST."""
        count, last = entry.count, entry.last
        if (posted := backlog.posted(entry, now=self._clock())) is not None:
            patch: Object = {"count": posted.count + count, "lastTimestamp": _stamp(last)}
            try:
                await self._writer.merge(EVENTS, entry.namespace, posted.name, patch)
            except NotFound:
                backlog.expired(entry)  # Events live for an hour
            else:
                backlog.wrote(entry, name=posted.name, count=posted.count + count, at=self._clock())
                entry.count -= count
                return
        entry.name = entry.name or f"{entry.body['name'][:200]}.{time.time_ns():x}{next(self._numbers):x}"
        try:
            await self._writer.create(EVENTS, _event(entry))
        except Conflict:
            log.debug("event %s was written by an earlier attempt whose answer was lost", entry.name)
        backlog.wrote(entry, name=entry.name, count=count, at=self._clock())
        entry.count -= count

    def _give_up(self, entry: Entry, error: CanaryError) -> None:
        self.dropped += 1
        log.warning("event on %s/%s not written (%s): %s", entry.namespace, entry.body["name"], entry.message, error)

    def _make_room(self) -> None:
        while len(self._backlogs) > OBJECTS:
            for uid in self._backlogs:
                if uid not in self._drains:
                    del self._backlogs[uid]
                    break
            else:
                return


def _involved(body: Object) -> Object:
    meta = body["metadata"]
    found = {
        "apiVersion": body.get("apiVersion"),
        "kind": body.get("kind"),
        "name": meta["name"],
        "namespace": meta.get("namespace"),
        "uid": meta.get("uid"),
        "resourceVersion": meta.get("resourceVersion"),
    }
    return {key: value for key, value in found.items() if value}


def _event(entry: Entry) -> Object:
    return {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"name": entry.name, "namespace": entry.namespace},
        "involvedObject": entry.body,
        "type": entry.type,
        "reason": REASON,
        "action": entry.kind,
        "message": entry.message,
        "count": entry.count,
        "firstTimestamp": _stamp(entry.first),
        "lastTimestamp": _stamp(entry.last),
        "source": {"component": COMPONENT},
        "reportingComponent": COMPONENT,
    }


def _stamp(at: float) -> str:
    return datetime.fromtimestamp(at, tz=UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
