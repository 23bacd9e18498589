"""Objects at rest: packed bytes for all, decoded ones for those that are read.

An operator on a big cluster knows thousands of Deployments and looks at a few. In process memory one of 3.8 kB JSON takes
22 KiB as Python objects (19 with equal strings shared) and 8 packed; unpacking costs tens of microseconds, once for what is
read again and again. Rejected: sharing equal parts of objects (saves a seventh, and costs more than packing), compressing
(packing would dominate the cost of an event).
"""

from __future__ import annotations

import json
from collections import OrderedDict
from collections.abc import KeysView
from typing import NamedTuple

from canary.kube.resource import Object

Key = tuple[str, str]
"""Namespace (empty for cluster-scoped kinds) and name."""

HOT = 1024
"""Decoded objects kept per kind."""


class Packed(NamedTuple):
    """An object with what must be known without unpacking it; `version` is -1 when it is not a number."""

    version: int
    uid: str
    data: bytes


def number(resource_version: str) -> int:
    """A resourceVersion as a number (Kubernetes orders them so since 1.35, and etcd always did); -1 when it is not one."""
    return int(resource_version) if resource_version.isdigit() else -1


def pack(body: Object) -> Packed:
    """Pack one object."""
    meta = body["metadata"]
    return Packed(number(meta.get("resourceVersion") or ""), meta.get("uid", ""), json.dumps(body, separators=(",", ":")).encode())


def unpack(packed: Packed) -> Object:
    """The object."""
    body: Object = json.loads(packed.data)
    return body


class Shelf:
    """A mapping of keys to objects. What `get` answers is shared: treat it as frozen."""

    def __init__(self, *, hot: int = HOT) -> None:
        self._packed: dict[Key, Packed] = {}
        self._hot: OrderedDict[Key, Object] = OrderedDict()
        self._names: dict[str, dict[str, None]] = {}
        self._most = hot

    def __len__(self) -> int:
        return len(self._packed)

    def keys(self) -> KeysView[Key]:
        """All keys; changes with the shelf."""
        return self._packed.keys()

    def within(self, namespace: str) -> list[Key]:
        """Keys of one namespace, in the order in which they came."""
        return [(namespace, name) for name in self._names.get(namespace, ())]

    def head(self, key: Key) -> Packed | None:
        """Version and uid, without unpacking."""
        return self._packed.get(key)

    def get(self, key: Key) -> Object | None:
        """The object, None when there is none."""
        found = self._hot.get(key)
        if found is not None:
            self._hot.move_to_end(key)
            return found
        packed = self._packed.get(key)
        if packed is None:
            return None
        body = self._hot[key] = unpack(packed)
        if len(self._hot) > self._most:
            self._hot.popitem(last=False)
        return body

    def put(self, key: Key, packed: Packed, body: Object | None = None) -> None:
        """Keep an object. `body`, the same unpacked and nobody else's, takes its predecessor's place if that was hot."""
        if self._hot.pop(key, None) is not None and body is not None:
            self._hot[key] = body
        self._packed[key] = packed
        self._names.setdefault(key[0], {})[key[1]] = None

    def drop(self, key: Key) -> None:
        """Forget an object, if it is there."""
        self._hot.pop(key, None)
        if self._packed.pop(key, None) is not None:
            names = self._names[key[0]]
            del names[key[1]]
            if not names:
                del self._names[key[0]]
