"""Approval gates: who opened what, when, and until when.

Upstream keeps a set of names in memory: a restart closes every gate, nobody knows who opened one, and a gate stays
open for the release after next. Here a gate is a record with an actor, a time and an optional end, one per canary as
upstream or one per hook (`metadata.gate`), and it can live in a file (`gate_file.py`). A Kubernetes object was
rejected: the load tester runs without access to the API server.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Final, NamedTuple, Protocol

from loadtest.units import format_time

MAX_GATES: Final = 5000
KINDS: Final = ("gate", "rollback")
_NAME: Final = re.compile(r"[a-z0-9]([-.a-z0-9]{0,251}[a-z0-9])?")
_NAMESPACE: Final = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
_GATE: Final = re.compile(r"[A-Za-z0-9]([-._A-Za-z0-9]{0,61}[A-Za-z0-9])?")


class GateError(Exception):
    """A gate that cannot be kept or read; the text says how to mend it."""


class GateKey(NamedTuple):
    """Which gate: its kind (`gate` or `rollback`), the canary, and the hook's own gate name or empty."""

    kind: str
    namespace: str
    name: str
    gate: str

    def __str__(self) -> str:
        """`[rollback.]<name>.<namespace>[/<gate>]`; without the last part it is upstream's key."""
        prefix = "rollback." if self.kind == "rollback" else ""
        suffix = f"/{self.gate}" if self.gate else ""
        return f"{prefix}{self.name}.{self.namespace}{suffix}"

    @classmethod
    def of(cls, kind: str, *, namespace: str, name: str, gate: str = "") -> GateKey:
        """A checked key. Raises ValueError naming the part that is no valid name."""
        if not _NAME.fullmatch(name):
            raise ValueError(f"name {name!r} is not the name of a canary")
        if not _NAMESPACE.fullmatch(namespace):
            raise ValueError(f"namespace {namespace!r} is not the name of a namespace")
        if gate and not _GATE.fullmatch(gate):
            raise ValueError(f"metadata.gate {gate!r} must be letters, digits, '-', '_' or '.', at most 63")
        if kind not in KINDS:
            raise ValueError(f"{kind!r} is no kind of gate")
        return cls(kind=kind, namespace=namespace, name=name, gate=gate)


@dataclass(frozen=True, kw_only=True, slots=True)
class Gate:
    """The last word on one gate. `by` is what the caller claimed, `remote` the address that it called from."""

    key: GateKey
    open: bool
    changed_at: datetime
    expires_at: datetime | None = None
    by: str = ""
    reason: str = ""
    remote: str = ""

    def is_open(self, at: datetime) -> bool:
        """Whether the gate lets a release pass at this moment; an expired opening is closed."""
        return self.open and (self.expires_at is None or at < self.expires_at)

    def view(self, at: datetime) -> dict[str, object]:
        """The gate as `GET /gate/list` shows it."""
        return {
            "kind": self.key.kind,
            "namespace": self.key.namespace,
            "name": self.key.name,
            "gate": self.key.gate,
            "key": str(self.key),
            "open": self.is_open(at),
            "expired": self.open and not self.is_open(at),
            "changedAt": format_time(self.changed_at),
            "expiresAt": format_time(self.expires_at) if self.expires_at else None,
            "by": self.by,
            "reason": self.reason,
            "remote": self.remote,
        }


class GateKeeping(Protocol):
    """Where the records live: in memory or in a file."""

    def read(self) -> Mapping[GateKey, Gate]:
        """All records. Raises GateError when they cannot be read; never an empty answer instead."""

    def write(self, gates: Mapping[GateKey, Gate]) -> None:
        """Replace all records, wholly or not at all. Raises GateError."""

    def exclusive(self) -> AbstractContextManager[None]:
        """Hold off every other writer, of other processes too. Raises GateError when that takes too long."""


class MemoryKeeping:
    """As upstream: gone with the process."""

    def __init__(self) -> None:
        self._gates: Mapping[GateKey, Gate] = {}

    def read(self) -> Mapping[GateKey, Gate]:
        """All records."""
        return self._gates

    def write(self, gates: Mapping[GateKey, Gate]) -> None:
        """Replace all records."""
        self._gates = gates

    @contextmanager
    def exclusive(self) -> Iterator[None]:
        """Nothing to hold off: the store's own lock is enough within one process."""
        yield


class GateStore:
    """Opens, closes and asks for gates; called from worker threads, hence the lock."""

    def __init__(self, keeping: GateKeeping, *, clock: Callable[[], datetime]) -> None:
        self._keeping = keeping
        self._clock = clock
        self._lock = threading.Lock()

    def is_open(self, key: GateKey) -> bool:
        """Whether this gate lets a release pass; unknown is closed. Raises GateError."""
        gate = self.all().get(key)
        return gate is not None and gate.is_open(self._clock())

    def all(self) -> Mapping[GateKey, Gate]:
        """Every gate that was ever set and not dropped. Raises GateError."""
        with self._lock:
            return self._keeping.read()

    def put(self, gate: Gate) -> None:
        """Record the new state; when it returns, the state is durable. Raises GateError."""
        with self._lock, self._keeping.exclusive():
            gates = dict(self._keeping.read())
            if gate.key not in gates and len(gates) >= MAX_GATES:
                del gates[self._oldest_closed(gates)]
            gates[gate.key] = gate
            self._keeping.write(gates)

    def _oldest_closed(self, gates: Mapping[GateKey, Gate]) -> GateKey:
        at = self._clock()
        closed = [gate for gate in gates.values() if not gate.is_open(at)]
        if not closed:
            raise GateError(f"{MAX_GATES} gates are open, no more are kept; close those that are no longer needed (GET /gate/list)")
        return min(closed, key=lambda gate: gate.changed_at).key
