"""What is known of every canary in memory: nothing that a new leader could not read again.

Replaces kopf's indexes, which are quadratic at start-up (reference python-stack 1.5). It also remembers which cached
objects each canary's last tick looked at, so that a change to any of them wakes exactly the canaries that care; no table
of "which kinds matter" has to be kept in step with the plug-ins.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field

from canary.api.canary import Canary, parse_canary
from canary.api.errors import InvalidObject
from canary.engine.scheduler import Key
from canary.kube.resource import Object, Resource

Ref = tuple[Resource, str, str]
"""(resource, namespace, name)."""


@dataclass(slots=True)
class Entry:
    """One canary: its newest body, what it parses to, or why it does not."""

    body: Object
    canary: Canary | None
    problem: InvalidObject | None
    refs: frozenset[Ref] = field(default_factory=frozenset)


def version(body: Object) -> int:
    """`metadata.resourceVersion` as a number; the API server promises that they are comparable (KEP-5504)."""
    text = body.get("metadata", {}).get("resourceVersion") or "0"
    return int(text) if text.isdigit() else 0


def key_of(body: Object) -> Key:
    """(namespace, name) of an object."""
    return body["metadata"]["namespace"], body["metadata"]["name"]


class Registry:
    """All canaries in scope, by key."""

    def __init__(self) -> None:
        self._entries: dict[Key, Entry] = {}
        self._readers: dict[Ref, set[Key]] = defaultdict(set)

    def __len__(self) -> int:
        return len(self._entries)

    def known(self) -> list[Key]:
        """A copy: callers change the registry while they walk it."""
        return list(self._entries)

    def get(self, key: Key) -> Entry | None:
        return self._entries.get(key)

    def put(self, body: Object) -> tuple[Entry, bool]:
        """Take a body from the watch or from the answer to our own write; returns the entry and whether a tick is called for.

        A body that is not newer than the known one is ignored: after our own status write the watch may still deliver the state
        before, and always delivers that very write again, which need not be parsed twice.
        A tick is called for by everything but status: spec, annotations (commands), labels, deletion.
        """
        key = key_of(body)
        old = self._entries.get(key)
        if old and old.body["metadata"].get("uid") == body["metadata"].get("uid") and 0 < version(body) <= version(old.body):
            return old, False
        canary, problem = _parse(body)
        if old is None:
            entry = self._entries[key] = Entry(body, canary, problem)
            return entry, True
        changed = _without_status(old.body) != _without_status(body)
        old.body, old.canary, old.problem = body, canary, problem
        return old, changed

    def remove(self, key: Key) -> None:
        """Forget a canary that is gone."""
        if entry := self._entries.pop(key, None):
            self._unlink(key, entry.refs)

    def looked_at(self, key: Key, refs: Iterable[Ref]) -> None:
        """Remember what the tick of this canary has read."""
        entry = self._entries.get(key)
        if entry is None:
            return
        new = frozenset(refs)
        if new != entry.refs:
            self._unlink(key, entry.refs - new)
            for ref in new - entry.refs:
                self._readers[ref].add(key)
            entry.refs = new

    def readers(self, ref: Ref) -> tuple[Key, ...]:
        """The canaries whose last tick has looked at this object."""
        return tuple(self._readers.get(ref, ()))

    def _unlink(self, key: Key, refs: Iterable[Ref]) -> None:
        for ref in refs:
            if readers := self._readers.get(ref):
                readers.discard(key)
                if not readers:
                    del self._readers[ref]


def _parse(body: Object) -> tuple[Canary | None, InvalidObject | None]:
    try:
        return parse_canary(body), None
    except InvalidObject as problem:
        return None, problem


def _without_status(body: Object) -> Object:
    meta = {key: value for key, value in body["metadata"].items() if key not in {"resourceVersion", "managedFields"}}
    return {"spec": body.get("spec"), "metadata": meta}
