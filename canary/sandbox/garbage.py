"""The janitor: what follows from deletions. Dependents of a deleted owner, the contents of a terminating namespace, the instances of a CRD.

On a real cluster the controller manager does this. Here it listens to the store and sweeps soon after, in a callback of the loop of its own,
so that a request never sees half of a cascade in its answer and a test sees all of it a moment later. Nothing is polled.
"""

import asyncio
from typing import Any, Final

from canary.sandbox.definitions import GROUP, PLURAL
from canary.sandbox.deletes import CRD_CLEANUP, FOREGROUND, ORPHAN, DeleteOptions, Deleter
from canary.sandbox.errors import ApiError
from canary.sandbox.objects import Object
from canary.sandbox.resources import Registry, Resource
from canary.sandbox.store import Bucket, Change, Record, Store
from canary.sandbox.writes import is_finished

_Key = tuple[str, str, str, str]
"""Group, plural, namespace, name."""
_NAMESPACES: Final = ("", "namespaces")


class Janitor:
    """Register `observe` as a listener of the store. `start` needs a running loop; before it, work only piles up."""

    def __init__(self, store: Store, registry: Registry, deleter: Deleter) -> None:
        self._store = store
        self._registry = registry
        self._deleter = deleter
        self._living: dict[str, _Key] = {}
        self._dependents: dict[str, set[_Key]] = {}
        self._dirty: dict[_Key, None] = {}
        self._orphaned: dict[str, None] = {}
        self._loop: asyncio.AbstractEventLoop | None = None
        self._planned: asyncio.Handle | None = None

    def start(self) -> None:
        """Begin to sweep, in the running loop."""
        self._loop = asyncio.get_running_loop()
        self._plan()

    def stop(self) -> None:
        """Sweep no more."""
        self._loop = None
        if self._planned is not None:
            self._planned.cancel()
            self._planned = None

    def observe(self, bucket: Bucket, change: Change) -> None:
        """Listener of the store: keeps the owner index, and notes what needs a look."""
        metadata = change.record.obj["metadata"]
        key = (bucket.group, bucket.plural, change.record.namespace, change.record.name)
        if change.before is not None:
            for owner in change.before.obj["metadata"].get("ownerReferences") or ():
                self._dependents.get(owner["uid"], set()).discard(key)
        if change.type == "DELETED":
            self._living.pop(metadata["uid"], None)
            if self._dependents.get(metadata["uid"]):
                self._orphaned[metadata["uid"]] = None
            self._look_at_owners(metadata)
            self._look_around(bucket, change.record)
        else:
            self._living[metadata["uid"]] = key
            for owner in metadata.get("ownerReferences") or ():
                self._dependents.setdefault(owner["uid"], set()).add(key)
            if metadata.get("deletionTimestamp"):
                self._dirty[key] = None
                self._look_at_owners(metadata)
            elif metadata.get("ownerReferences"):
                self._dirty[key] = None
        self._plan()

    def _look_at_owners(self, metadata: Object) -> None:
        """An owner that waits for its dependents may have waited long enough."""
        for owner in metadata.get("ownerReferences") or ():
            if owner["uid"] in self._living:
                self._dirty[self._living[owner["uid"]]] = None

    def _look_around(self, bucket: Bucket, record: Record) -> None:
        """The namespace or the CRD of something deleted may be empty now."""
        if record.namespace:
            self._dirty[(*_NAMESPACES, "", record.namespace)] = None
        if "." in bucket.group:
            self._dirty[GROUP, PLURAL, "", f"{bucket.plural}.{bucket.group}"] = None

    def _plan(self) -> None:
        if self._loop is not None and self._planned is None and (self._dirty or self._orphaned):
            self._planned = self._loop.call_soon(self._sweep)

    def _sweep(self) -> None:
        self._planned = None
        orphaned, dirty = list(self._orphaned), list(self._dirty)
        self._orphaned.clear()
        self._dirty.clear()
        for uid in orphaned:
            for key in sorted(self._dependents.pop(uid, ())):
                self._settle_dependent(key)
        for key in dirty:
            resource, record = self._find(key)
            if resource is None or record is None:
                continue
            if record.obj["metadata"].get("deletionTimestamp"):
                self._go_on_deleting(resource, record, key)
            else:
                self._settle_dependent(key)

    def _find(self, key: _Key) -> tuple[Resource | None, Record | None]:
        resource = self._registry.of_kind(key[0], key[1])
        return resource, None if resource is None else resource.bucket.get(key[2], key[3])

    def _settle_dependent(self, key: _Key) -> None:
        """Delete an object all of whose owners are gone; take references to dead owners from one that still has a living one."""
        resource, record = self._find(key)
        if resource is None or record is None:
            return
        owners = record.obj["metadata"].get("ownerReferences") or []
        living = [owner for owner in owners if not self._is_dead(owner, record.namespace)]
        if not owners or len(living) == len(owners):
            return
        if living:
            self._put_metadata(resource, record, {"ownerReferences": living})
        else:
            self._delete(resource, record, "Background")

    def _is_dead(self, owner: Object, namespace: str) -> bool:
        key = self._living.get(owner["uid"])
        if key is not None:
            return key[2] not in ("", namespace)
        return self._registry.by_kind(owner.get("apiVersion", ""), owner.get("kind", "")) is not None

    def _go_on_deleting(self, resource: Resource, record: Record, key: _Key) -> None:
        finalizers = record.obj["metadata"].get("finalizers") or []
        if FOREGROUND in finalizers:
            self._delete_dependents_first(resource, record)
        elif ORPHAN in finalizers:
            self._release_dependents(resource, record)
        elif key[:2] == _NAMESPACES:
            self._empty_namespace(resource, record)
        elif CRD_CLEANUP in finalizers:
            self._delete_instances(resource, record)

    def _dependents_of(self, record: Record) -> list[tuple[Resource, Record, Object]]:
        uid = record.obj["metadata"]["uid"]
        out: list[tuple[Resource, Record, Object]] = []
        for key in sorted(self._dependents.get(uid, ())):
            resource, found = self._find(key)
            if resource is not None and found is not None:
                reference = next(one for one in found.obj["metadata"]["ownerReferences"] if one["uid"] == uid)
                out.append((resource, found, reference))
        return out

    def _delete_dependents_first(self, resource: Resource, record: Record) -> None:
        dependents = self._dependents_of(record)
        if not any(reference.get("blockOwnerDeletion") for _, _, reference in dependents):
            self._drop_finalizer(resource, record, FOREGROUND)
            return
        for kind, found, reference in dependents:
            if not found.obj["metadata"].get("deletionTimestamp"):
                self._delete(kind, found, "Foreground" if reference.get("blockOwnerDeletion") else "Background")

    def _release_dependents(self, resource: Resource, record: Record) -> None:
        uid = record.obj["metadata"]["uid"]
        for kind, found, _ in self._dependents_of(record):
            owners = [one for one in found.obj["metadata"]["ownerReferences"] if one["uid"] != uid]
            self._put_metadata(kind, found, {"ownerReferences": owners})
        self._drop_finalizer(resource, record, ORPHAN)

    def _empty_namespace(self, resource: Resource, record: Record) -> None:
        left = 0
        for bucket in self._store.buckets():
            kind = self._registry.of_kind(bucket.group, bucket.plural)
            if kind is None or not kind.namespaced:
                continue
            for found in list(bucket.records(record.name)):
                if not found.obj["metadata"].get("deletionTimestamp"):
                    self._delete(kind, found, "Background")
                left += bucket.get(found.namespace, found.name) is not None
        if not left and record.obj["spec"].get("finalizers"):
            self._put(resource, record, {**record.obj, "spec": {**record.obj["spec"], "finalizers": []}})

    def _delete_instances(self, resource: Resource, record: Record) -> None:
        spec = record.obj["spec"]
        bucket = self._store.bucket(spec["group"], spec["names"]["plural"])
        kind = self._registry.of_kind(bucket.group, bucket.plural)
        for found in list(bucket.records()):
            if kind is not None and not found.obj["metadata"].get("deletionTimestamp"):
                self._delete(kind, found, "Background")
        if not len(bucket):
            self._drop_finalizer(resource, record, CRD_CLEANUP)

    def _delete(self, resource: Resource, record: Record, propagation: str) -> None:
        options = DeleteOptions(propagation=propagation, uid=record.obj["metadata"]["uid"])
        try:
            self._deleter.delete(resource, namespace=record.namespace, name=record.name, options=options)
        except ApiError:  # gone or replaced meanwhile: exactly what the precondition is for
            return

    def _drop_finalizer(self, resource: Resource, record: Record, finalizer: str) -> None:
        rest = [one for one in record.obj["metadata"].get("finalizers") or () if one != finalizer]
        self._put_metadata(resource, record, {"finalizers": rest})

    def _put_metadata(self, resource: Resource, record: Record, change: dict[str, Any]) -> None:
        metadata = {**record.obj["metadata"], **change}
        for key in change:
            if not metadata[key]:
                del metadata[key]
        self._put(resource, record, {**record.obj, "metadata": metadata})

    def _put(self, resource: Resource, record: Record, obj: Object) -> None:
        if is_finished(resource, obj):
            self._store.remove(resource.bucket, record)
        else:
            self._store.put(resource.bucket, obj)
