"""What is known of one kind: the pure half of the watch cache.

Two streams of truth meet here, the watch (complete, late) and the answers of our own writes (prompt, partial). Versions order
them: an object is only ever replaced by a newer one, and a write's answer that the watch has already passed is dropped, since
the watch knew better (it may have seen the deletion). A deletion of ours leaves a tombstone until the watch confirms it, so
that late news of the dead object do not raise it. Subscribers hear what the *watch* says, own writes included, once.
Rejected: locking a key until its echo arrives (a lost echo would block it for ever).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from canary.kube.resource import Object, Resource
from canary.kube.shelf import Key, Packed, Shelf, number, pack, unpack

Tell = Callable[[Resource, str, Object, Object | None], None]
"""Called with the resource, ADDED/MODIFIED/DELETED, the object, and the one that subscribers heard of before (or None)."""

LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"


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
        self._shelf = Shelf()
        self._heard: dict[Key, Object | None] = {}
        """For keys with an own write whose echo is due: what subscribers last heard of."""
        self._dead: set[str] = set()
        """uids that we deleted and whose deletion the watch has not confirmed."""

    def __len__(self) -> int:
        return len(self._shelf)

    def get(self, namespace: str, name: str) -> Object | None:
        """The object, or None."""
        return self._shelf.get((namespace, name))

    def list(self, namespace: str | None = None) -> Iterator[Object]:
        """Objects of a namespace, or all: those that are there now and still are when their turn comes."""
        keys = tuple(self._shelf.keys()) if namespace is None else self._shelf.within(namespace)
        return (body for key in keys if (body := self._shelf.get(key)) is not None)

    def prepare(self, body: Object) -> tuple[Key, Packed]:
        """What is kept of a listed object, for `replace`: packed at once, since a whole list unpacked takes ten times the memory."""
        return _key(body), pack(self._slim(body))

    def replacing(self, objects: Iterable[tuple[Key, Packed]], resource_version: str) -> Iterator[None]:
        """Take in a complete list as of `resource_version`, prepared: what is missing from it has been deleted.

        Goes on object by object as it is iterated, so that the caller can let others run: every step leaves the store sound,
        own writes may come in between, and `resource_version` moves at the end.
        """
        listed = number(resource_version)
        rewound = 0 <= listed < number(self.resource_version)  # etcd was restored: versions that we hold mean nothing now
        seen: set[Key] = set()
        uids: set[str] = set()
        for key, packed in objects:
            seen.add(key)
            uids.add(packed.uid)
            self._take(key, packed, believe=rewound)
            yield
        self._dead &= uids
        for key in self._shelf.keys() - seen:  # what remains is done in one go: a late write of ours cannot be taken for missing
            current = self._shelf.head(key)
            # written by ourselves after the list was taken: the watch that starts now will tell
            if rewound or not (key in self._heard and current is not None and current.version > listed):
                self._drop(key, None)
        for key in self._heard.keys() - self._shelf.keys() - seen:
            # created and deleted, or deleted by ourselves, in the gap
            if (old := self._heard.pop(key)) is not None:
                self._tell(self.resource, "DELETED", old, old)
        self.resource_version = resource_version

    def event(self, kind: str, body: Object) -> None:
        """One event of the watch."""
        self.resource_version = body["metadata"].get("resourceVersion") or self.resource_version
        if kind == "BOOKMARK":
            return
        key = _key(body)
        if kind == "DELETED":
            self._deleted(key, self._slim(body))
        else:
            slim = self._slim(body)
            self._take(key, pack(slim), slim)

    def put(self, body: Object) -> None:
        """The answer of our own write. Subscribers hear of it when the watch brings it."""
        key, packed = self.prepare(body)
        current = self._shelf.head(key)
        passed = 0 <= packed.version <= number(self.resource_version)
        if passed or packed.uid in self._dead or (current is not None and current.version >= packed.version):
            return
        self._heard.setdefault(key, self._shelf.get(key))
        self._shelf.put(key, packed)

    def removed(self, namespace: str, name: str, uid: str) -> None:
        """Our own deletion went through: the object with this uid is gone for good."""
        key = (namespace, name)
        current = self._shelf.head(key)
        if current is None or (uid and current.uid != uid):
            return
        self._dead.add(current.uid)
        self._heard.setdefault(key, self._shelf.get(key))
        self._shelf.drop(key)

    def _take(self, key: Key, packed: Packed, body: Object | None = None, *, believe: bool = False) -> None:
        if packed.uid in self._dead:
            return
        current = self._shelf.head(key)
        if current is not None and current.version > packed.version >= 0 and not believe:
            return  # older than our own write, whose echo will come
        if current is not None and current.version == packed.version >= 0 and key not in self._heard:
            return  # listed again, and unchanged
        old = self._heard.pop(key) if key in self._heard else self._shelf.get(key)
        self._shelf.put(key, packed, body)
        self._tell(self.resource, "ADDED" if old is None else "MODIFIED", body or unpack(packed), old)

    def _deleted(self, key: Key, body: Object) -> None:
        uid = body["metadata"].get("uid", "")
        current = self._shelf.head(key)
        self._dead.discard(uid)
        if current is not None and current.uid != uid:
            # The name was taken again, by our own write: the predecessor's end is still news to subscribers.
            if (old := self._heard.get(key)) is not None and old["metadata"].get("uid", "") == uid:
                self._heard[key] = None
                self._tell(self.resource, "DELETED", body, old)
            return
        self._drop(key, body)

    def _drop(self, key: Key, body: Object | None) -> None:
        """Forget an object and say so; `body` is its last state when the watch has shown it."""
        current = self._shelf.get(key)
        old = self._heard.pop(key, current)
        self._shelf.drop(key)
        if old is not None:
            self._tell(self.resource, "DELETED", body or current or old, old)

    def _slim(self, body: Object) -> Object:
        """Without managedFields, which are half of an object's bytes, and with the head that lists and metadata-only answers lack."""
        meta = {key: value for key, value in body["metadata"].items() if key != "managedFields"}
        if self.metadata_only:
            if LAST_APPLIED in (meta.get("annotations") or {}):
                meta["annotations"] = {key: value for key, value in meta["annotations"].items() if key != LAST_APPLIED}
            rest: Object = {}
        else:
            rest = {key: value for key, value in body.items() if key not in {"apiVersion", "kind", "metadata"}}
        return {"apiVersion": self.resource.api_version, "kind": self.resource.kind, "metadata": meta, **rest}


def _key(body: Object) -> Key:
    meta = body["metadata"]
    return (meta.get("namespace", ""), meta["name"])
