"""The versioned memory of the sandbox: objects, one global revision, and a bounded history for watchers.

Why histories per kind and immutable records: a watch from a version, a list at an older version and a paged list all become the same simple
question ("undo what happened since"), and a record can be encoded once for every reader. Rejected: SQLite (5-10 times slower per write) and
one history for all kinds (a busy kind would push quiet ones into 410).

Everything here is synchronous: inside one asyncio loop a read and the write that depends on it cannot be interleaved, which is what makes
optimistic concurrency exact without locks.
"""

import asyncio
import json
from collections.abc import Callable, Iterator
from typing import Any, Final

FIRST_REVISION: Final = 100
"""The revision of an empty store: like a real cluster's, higher than the versions that tests make up for "too old"."""

Object = dict[str, Any]
Listener = Callable[["Bucket", "Change"], None]

_encode: Final = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), check_circular=False).encode


class Record:
    """One state of one object, never modified. `obj` has no apiVersion and kind: they depend on the version under which it is read."""

    __slots__ = ("_body", "name", "namespace", "obj", "revision")

    def __init__(self, namespace: str, name: str, revision: int, obj: Object) -> None:
        self.namespace = namespace
        self.name = name
        self.revision = revision
        self.obj = obj
        self._body: bytes | None = None

    def body(self) -> bytes:
        """The object as JSON, without apiVersion and kind; encoded once."""
        if self._body is None:
            self._body = _encode(self.obj).encode()
        return self._body


class Change:
    """One step in the history of a kind. `record` is the new state, or the last stored one for DELETED; `before` what it replaced."""

    __slots__ = ("before", "record", "revision", "type")

    def __init__(self, type: str, record: Record, before: Record | None) -> None:
        self.type = type
        self.record = record
        self.before = before
        self.revision = record.revision


class Bucket:
    """All objects of one kind, with the recent changes.

    A watch or list may start at `compacted` or later. `trimmed` is the newest change that is no longer kept: a running watch that has not
    seen it has lost something.
    """

    def __init__(self, group: str, plural: str, *, revision: int, limit: int) -> None:
        self.group = group
        self.plural = plural
        self.compacted = revision
        self.trimmed = 0
        self._limit = limit
        self._spaces: dict[str, dict[str, Record]] = {}
        self._log: list[Change] = []
        self._waiting: set[asyncio.Event] = set()

    def get(self, namespace: str, name: str) -> Record | None:
        """The present state of an object."""
        return self._spaces.get(namespace, {}).get(name)

    def records(self, namespace: str | None = None) -> Iterator[Record]:
        """All objects (of one namespace), in the server's order: by namespace, then name."""
        if namespace is not None:
            space = self._spaces.get(namespace, {})
            return (space[name] for name in sorted(space))
        return (space[name] for _, space in sorted(self._spaces.items()) for name in sorted(space))

    def __len__(self) -> int:
        return sum(map(len, self._spaces.values()))

    def records_at(self, revision: int, namespace: str | None = None) -> Iterator[Record]:
        """What `records` answered at an earlier revision. The caller has checked that the revision is not compacted."""
        undone: dict[tuple[str, str], Record | None] = {}
        for change in reversed(self._log):
            if change.revision <= revision:
                break
            undone[change.record.namespace, change.record.name] = change.before
        state = {(one.namespace, one.name): one for one in self.records(namespace)}
        for key, record in undone.items():
            if namespace is not None and key[0] != namespace:
                continue
            if record is None:
                state.pop(key, None)
            else:
                state[key] = record
        return (state[key] for key in sorted(state))

    def changes_after(self, revision: int) -> list[Change]:
        """Changes newer than a revision, oldest first."""
        log = self._log
        if not log or log[-1].revision <= revision:
            return []
        low, high = 0, len(log)
        while low < high:
            middle = (low + high) // 2
            if log[middle].revision <= revision:
                low = middle + 1
            else:
                high = middle
        return log[low:]

    def keep(self, change: Change) -> None:
        """Enter a change: state, history, and a wake-up for every watcher."""
        record = change.record
        if change.type == "DELETED":
            space = self._spaces[record.namespace]
            del space[record.name]
            if not space:
                del self._spaces[record.namespace]
        else:
            self._spaces.setdefault(record.namespace, {})[record.name] = record
        self._log.append(change)
        if len(self._log) > 2 * self._limit:  # trimmed in halves, so that the cost per change stays constant
            self.compacted = self.trimmed = self._log[-self._limit - 1].revision
            del self._log[: -self._limit]
        self.wake()

    def compact(self, revision: int) -> None:
        """Forget the whole history."""
        self.compacted = revision
        if self._log:
            self.trimmed = self._log[-1].revision
        self._log.clear()

    def replace_quietly(self, record: Record, obj: Object) -> None:
        """Change how a stored object reads without a new version: a CRD update gave it new defaults."""
        self._spaces[record.namespace][record.name] = Record(record.namespace, record.name, record.revision, obj)

    def wake(self) -> None:
        """Let every watcher look again."""
        for event in self._waiting:
            event.set()

    def subscribe(self) -> asyncio.Event:
        """An event that is set at every change, until `unsubscribe`."""
        event = asyncio.Event()
        self._waiting.add(event)
        return event

    def unsubscribe(self, event: asyncio.Event) -> None:
        """End a subscription."""
        self._waiting.discard(event)


class Store:
    """All buckets and the one revision counter. `listeners` are called synchronously after each change, in the order of registration."""

    def __init__(self, *, history: int = 4096) -> None:
        self.revision = FIRST_REVISION
        self.listeners: list[Listener] = []
        self._history = history
        self._buckets: dict[tuple[str, str], Bucket] = {}

    def bucket(self, group: str, plural: str) -> Bucket:
        """The bucket of a kind; made on first use."""
        found = self._buckets.get((group, plural))
        if found is None:
            found = self._buckets[group, plural] = Bucket(group, plural, revision=self.revision, limit=self._history)
        return found

    def bucket_if_any(self, group: str, plural: str) -> Bucket | None:
        """The bucket of a kind, if there is one."""
        return self._buckets.get((group, plural))

    def buckets(self) -> list[Bucket]:
        """Every bucket, oldest first."""
        return list(self._buckets.values())

    def drop_bucket(self, group: str, plural: str) -> None:
        """Forget a kind whose CRD is gone; its watchers are woken and find their kind missing."""
        bucket = self._buckets.pop((group, plural), None)
        if bucket is not None:
            bucket.wake()

    def put(self, bucket: Bucket, obj: Object) -> Record:
        """Store a new state under a new revision, which is written into `metadata.resourceVersion`."""
        metadata = obj["metadata"]
        self.revision += 1
        stamped = {**obj, "metadata": {**metadata, "resourceVersion": str(self.revision)}}
        record = Record(metadata.get("namespace", ""), metadata["name"], self.revision, stamped)
        before = bucket.get(record.namespace, record.name)
        self._enter(bucket, Change("MODIFIED" if before else "ADDED", record, before))
        return record

    def remove(self, bucket: Bucket, before: Record) -> Record:
        """Delete an object. Watchers are told its last stored state, under the revision of the deletion."""
        self.revision += 1
        stamped = {**before.obj, "metadata": {**before.obj["metadata"], "resourceVersion": str(self.revision)}}
        record = Record(before.namespace, before.name, self.revision, stamped)
        self._enter(bucket, Change("DELETED", record, before))
        return record

    def _enter(self, bucket: Bucket, change: Change) -> None:
        bucket.keep(change)
        for listener in self.listeners:
            listener(bucket, change)

    def compact(self) -> None:
        """Forget every history: watches from an earlier version answer 410, as after compaction in etcd. Running watches go on."""
        for bucket in self._buckets.values():
            bucket.compact(self.revision)


def encode(value: Any) -> bytes:
    """Compact JSON."""
    return _encode(value).encode()
