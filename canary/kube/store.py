"""What is known of one kind: the pure half of the watch cache.

Two streams of truth meet here, the watch (complete, late) and the answers of our own writes (prompt, partial). Versions order
them: an object is only ever replaced by a newer one, and a write's answer that the watch has already passed is dropped, since
the watch knew better (it may have seen the deletion). A deletion of ours leaves a tombstone until the watch confirms it, so
that late news of the dead object do not raise it. Subscribers hear what the *watch* says, own writes included, once.
Rejected: locking a key until its echo arrives (a lost echo would block it for ever).
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from canary.kube.resource import Object, Resource

Key = tuple[str, str]
"""Namespace (empty for cluster-scoped kinds) and name."""

Tell = Callable[[Resource, str, Object, Object | None], None]
"""Called with the resource, ADDED/MODIFIED/DELETED, the object, and the one that subscribers heard of before (or None)."""

LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"


def version_of(body: Object) -> int:
    """ResourceVersion as a number (Kubernetes orders them so since 1.35, and etcd always did); -1 when it is not one."""
    return _number(body["metadata"].get("resourceVersion") or "")


class Store:
    """Objects of one kind in one scope. No clock, no I/O.

    `metadata_only`: nothing but metadata is kept, and no `last-applied-configuration`, which repeats a Secret's content.
    """

    def __init__(self, resource: Resource, *, metadata_only: bool = False, tell: Tell = lambda *_: None) -> None:
        self.resource = resource
        self.metadata_only = metadata_only
        self.resource_version = ""
        """How far the watch has come."""
        self._tell = tell
        self._objects: dict[Key, Object] = {}
        self._by_namespace: dict[str, dict[str, None]] = {}
        self._heard: dict[Key, Object | None] = {}
        """For keys with an own write whose echo is due: what subscribers last heard of."""
        self._dead: set[str] = set()
        """uids that we deleted and whose deletion the watch has not confirmed."""

    def __len__(self) -> int:
        return len(self._objects)

    def get(self, namespace: str, name: str) -> Object | None:
        """The object, or None."""
        return self._objects.get((namespace, name))

    def list(self, namespace: str | None = None) -> Iterator[Object]:
        """Objects of a namespace, or all. A snapshot: writes during the iteration do not disturb it."""
        if namespace is None:
            return iter(tuple(self._objects.values()))
        return iter([self._objects[namespace, name] for name in self._by_namespace.get(namespace, ())])

    def slim(self, body: Object) -> Object:
        """What is kept of an object: no managedFields (half of its bytes), equal short strings shared, a copy throughout."""
        meta = {key: value for key, value in body["metadata"].items() if key != "managedFields"}
        if self.metadata_only:
            if LAST_APPLIED in (meta.get("annotations") or {}):
                meta["annotations"] = {key: value for key, value in meta["annotations"].items() if key != LAST_APPLIED}
            rest: Object = {}
        else:
            rest = {key: value for key, value in body.items() if key not in {"apiVersion", "kind", "metadata"}}
        head = {"apiVersion": self.resource.api_version, "kind": self.resource.kind, "metadata": meta}
        slim: Object = _shared({**head, **rest})
        return slim

    def replace(self, objects: Iterable[Object], resource_version: str) -> None:
        """A complete list as of `resource_version`, of objects as `slim` returns them: what is missing has been deleted."""
        listed = _number(resource_version)
        rewound = 0 <= listed < _number(self.resource_version)  # etcd was restored: versions that we hold mean nothing now
        seen: set[Key] = set()
        uids: set[str] = set()
        for body in objects:
            key = self._key(body)
            seen.add(key)
            uids.add(body["metadata"].get("uid", ""))
            self._take(key, body, believe=rewound)
        self._dead &= uids
        for key in self._objects.keys() - seen:
            # written by ourselves after the list was taken: the watch that starts now will tell
            if rewound or not (key in self._heard and version_of(self._objects[key]) > listed):
                self._drop(key, self._objects[key])
        for key in self._heard.keys() - self._objects.keys() - seen:
            # created and deleted, or deleted by ourselves, in the gap
            if (old := self._heard.pop(key)) is not None:
                self._tell(self.resource, "DELETED", old, old)
        self.resource_version = resource_version

    def event(self, kind: str, body: Object) -> None:
        """One event of the watch."""
        self.resource_version = body["metadata"].get("resourceVersion") or self.resource_version
        if kind == "BOOKMARK":
            return
        key = self._key(body)
        if kind == "DELETED":
            self._deleted(key, body)
        else:
            self._take(key, self.slim(body))

    def put(self, body: Object) -> None:
        """The answer of our own write. Subscribers hear of it when the watch brings it."""
        key = self._key(body)
        version = version_of(body)
        passed = 0 <= version <= _number(self.resource_version)
        current = self._objects.get(key)
        if passed or body["metadata"].get("uid") in self._dead or (current is not None and version_of(current) >= version):
            return
        self._heard.setdefault(key, current)
        self._keep(key, self.slim(body))

    def removed(self, namespace: str, name: str, uid: str) -> None:
        """Our own deletion went through: the object with this uid is gone for good."""
        key = (namespace, name)
        current = self._objects.get(key)
        if current is None or (uid and current["metadata"].get("uid") != uid):
            return
        self._dead.add(current["metadata"].get("uid", ""))
        self._heard.setdefault(key, current)
        self._forget(key)

    def _take(self, key: Key, body: Object, *, believe: bool = False) -> None:
        if body["metadata"].get("uid") in self._dead:
            return
        current = self._objects.get(key)
        mine, theirs = version_of(current) if current is not None else -1, version_of(body)
        if current is not None and mine > theirs >= 0 and not believe:
            return  # older than our own write, whose echo will come
        if current is not None and mine == theirs >= 0 and key not in self._heard:
            return  # listed again, and unchanged
        old = self._heard.pop(key, current)
        self._keep(key, body)
        self._tell(self.resource, "ADDED" if old is None else "MODIFIED", self._objects[key], old)

    def _deleted(self, key: Key, body: Object) -> None:
        uid = body["metadata"].get("uid", "")
        current = self._objects.get(key)
        self._dead.discard(uid)
        if current is not None and current["metadata"].get("uid", "") != uid:
            # The name was taken again, by our own write: the predecessor's end is still news to subscribers.
            if (old := self._heard.get(key)) is not None and old["metadata"].get("uid", "") == uid:
                self._heard[key] = None
                self._tell(self.resource, "DELETED", self.slim(body), old)
            return
        self._drop(key, self.slim(body))

    def _drop(self, key: Key, body: Object) -> None:
        current = self._objects.get(key)
        old = self._heard.pop(key, current)
        self._forget(key)
        if old is not None:
            self._tell(self.resource, "DELETED", body, old)

    def _key(self, body: Object) -> Key:
        meta = body["metadata"]
        return (meta.get("namespace", ""), meta["name"])

    def _keep(self, key: Key, body: Object) -> None:
        self._objects[key] = body
        self._by_namespace.setdefault(key[0], {})[key[1]] = None

    def _forget(self, key: Key) -> None:
        if self._objects.pop(key, None) is not None:
            names = self._by_namespace[key[0]]
            names.pop(key[1], None)
            if not names:
                del self._by_namespace[key[0]]


def _number(resource_version: str) -> int:
    return int(resource_version) if resource_version.isdigit() else -1


def _shared(value: Any) -> Any:
    match value:
        case dict():
            return {sys.intern(key): _shared(inner) for key, inner in value.items()}
        case list():
            return [_shared(inner) for inner in value]
        case str() if len(value) <= 64:
            return sys.intern(value)
        case _:
            return value
