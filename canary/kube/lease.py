"""A Lease as a lock: read, compare-and-set, and how long we may believe that it is ours.

Mechanism only; when to try and what to do when it is lost is the elector's (`engine/leader.py`). Other holders' clocks are
never compared with ours: a foreign lease counts as expired when *we* have seen it unchanged for its whole duration. The
official electors were rejected (reference python-stack 1.7).
"""

from __future__ import annotations

import math
import random
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Protocol

from canary.core.errors import Conflict, NotFound
from canary.kube.resource import LEASES, Object, Resource


class LeaseClient(Protocol):
    """The part of `ApiClient` that is needed. Reads must not come from a cache."""

    async def get(self, resource: Resource, namespace: str, name: str) -> Object:
        """GET."""
        ...

    async def create(self, resource: Resource, body: Object) -> Object:
        """POST."""
        ...

    async def merge(self, resource: Resource, namespace: str, name: str, patch: Object) -> Object:
        """JSON merge patch."""
        ...


@dataclass(frozen=True, slots=True)
class Record:
    """A Lease's content as somebody wrote it. `duration` is seconds; an empty `holder` means released."""

    holder: str
    duration: float
    transitions: int
    renewed: str
    version: str

    @classmethod
    def of(cls, lease: Mapping[str, Any]) -> Record:
        """Read a Lease object; a new one may have an empty spec."""
        spec = lease.get("spec") or {}
        return cls(
            holder=spec.get("holderIdentity") or "",
            duration=float(spec.get("leaseDurationSeconds") or 0),
            transitions=int(spec.get("leaseTransitions") or 0),
            renewed=spec.get("renewTime") or "",
            version=lease["metadata"].get("resourceVersion") or "",
        )


@dataclass(frozen=True, slots=True)
class Sighting:
    """A record and the monotonic time at which it was first seen like that."""

    record: Record
    at: float


def sighted(before: Sighting | None, record: Record, *, now: float) -> Sighting:
    """Seeing an unchanged record again does not make it younger."""
    return before if before is not None and before.record == record else Sighting(record, now)


def free(sighting: Sighting, identity: str, *, now: float) -> bool:
    """Whether `identity` may take the lease: it has it, nobody has it, or its holder was silent for the whole duration."""
    record = sighting.record
    return record.holder in ("", identity) or now >= sighting.at + record.duration


def taken_spec(before: Record | None, identity: str, *, duration: float, at: datetime) -> Object:
    """The spec that says that `identity` holds the lease from `at` on. Taking it over counts as one transition."""
    stamp = at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    spec: Object = {"holderIdentity": identity, "leaseDurationSeconds": max(1, math.ceil(duration)), "renewTime": stamp}
    if before is None or before.holder != identity:
        spec["acquireTime"] = stamp
        spec["leaseTransitions"] = 0 if before is None else before.transitions + 1
    return spec


def jittered(period: float, *, share: float = 0.2) -> float:
    """A period lengthened at random by up to `share`, so that candidates do not try in step."""
    return period * (1 + share * random.random())


class LeaseLock:
    """One lease for one identity. `timer` is monotonic seconds, `clock` gives the wall time that is written down."""

    def __init__(
        self,
        client: LeaseClient,
        *,
        namespace: str,
        name: str,
        identity: str,
        duration: float = 15.0,
        timer: Callable[[], float] = time.monotonic,
        clock: Callable[[], datetime] = lambda: datetime.now(tz=UTC),
    ) -> None:
        self.namespace = namespace
        self.name = name
        self.identity = identity
        self.duration = duration
        self._client = client
        self._timer = timer
        self._clock = clock
        self._seen: Sighting | None = None
        self._held_until = float("-inf")

    @property
    def held_until(self) -> float:
        """Monotonic time up to which nobody else can hold the lease, counted from before our last successful request."""
        return self._held_until

    @property
    def held(self) -> bool:
        """Whether the lease is surely ours now. False is the signal to stop acting (self-fencing)."""
        return self._timer() < self._held_until

    @property
    def holder(self) -> str:
        """Who holds it, as last seen; empty for nobody or not looked yet."""
        return self._seen.record.holder if self._seen else ""

    @property
    def transitions(self) -> int:
        """How often it changed hands, as last seen."""
        return self._seen.record.transitions if self._seen else 0

    async def try_acquire(self) -> bool:
        """Take the lease if it is free, or renew it if it is ours: one request when we hold it. False: it is somebody else's.

        Raises the errors of `canary.core.errors`; after one it is unknown whether the write happened, and `held_until` stays.
        """
        if self._seen is not None and self._seen.record.holder == self.identity and await self._write(self._seen.record):
            return True
        won = await self._look_and_take()
        if not won:
            self._lose()
        return won

    async def release(self) -> None:
        """Give the lease back if it is ours, so that the next holder need not wait. Nothing happens when it is not."""
        record = self._seen.record if self._seen else None
        self._lose()
        if record is None or record.holder != self.identity:
            return
        patch = {"metadata": {"resourceVersion": record.version}, "spec": {"holderIdentity": "", "leaseDurationSeconds": 1}}
        try:
            self._see(await self._client.merge(LEASES, self.namespace, self.name, patch))
        except (Conflict, NotFound):
            self._seen = None

    async def _look_and_take(self) -> bool:
        try:
            self._see(await self._client.get(LEASES, self.namespace, self.name))
        except NotFound:
            return await self._create()
        assert self._seen is not None
        return free(self._seen, self.identity, now=self._timer()) and await self._write(self._seen.record)

    async def _create(self) -> bool:
        began = self._timer()
        body = LEASES.head(self.namespace, self.name)
        body["spec"] = taken_spec(None, self.identity, duration=self.duration, at=self._clock())
        try:
            lease = await self._client.create(LEASES, body)
        except Conflict:
            return False  # another candidate was faster
        return self._won(lease, began)

    async def _write(self, before: Record) -> bool:
        """Compare-and-set on the record that we have seen. False: it had changed."""
        began = self._timer()
        spec = taken_spec(before, self.identity, duration=self.duration, at=self._clock())
        patch = {"metadata": {"resourceVersion": before.version}, "spec": spec}
        try:
            lease = await self._client.merge(LEASES, self.namespace, self.name, patch)
        except (Conflict, NotFound):
            return False
        return self._won(lease, began)

    def _won(self, lease: Object, began: float) -> bool:
        self._see(lease)
        self._held_until = began + self.duration
        return True

    def _see(self, lease: Object) -> None:
        self._seen = sighted(self._seen, Record.of(lease), now=self._timer())

    def _lose(self) -> None:
        self._held_until = float("-inf")
