"""CustomResourceDefinitions: the resources that they bring to life.

Works as a listener of the store, so that a CRD is served from the very moment it is stored, however it got there. Conversion between
versions is `None`: every version shows the stored object, pruned to what its schema and the stored version's schema know.
"""

from typing import Final

from canary.sandbox.builtin import object_meta, paths
from canary.sandbox.objects import Object
from canary.sandbox.ownership import Author, after_update
from canary.sandbox.resources import Column, Registry, Resource, ScalePaths
from canary.sandbox.schema import Schema, compiled
from canary.sandbox.schema_shape import default, prune
from canary.sandbox.store import Bucket, Change, Record, Store
from canary.sandbox.writes import Clock, timestamp

PLURAL: Final = "customresourcedefinitions"
GROUP: Final = "apiextensions.k8s.io"
_VERBS: Final = ("delete", "deletecollection", "get", "list", "patch", "create", "update", "watch")


class Definitions:
    """Keeps the registry in step with the stored CRDs."""

    def __init__(self, store: Store, registry: Registry, *, clock: Clock) -> None:
        self._store = store
        self._registry = registry
        self._clock = clock
        self._bucket = store.bucket(GROUP, PLURAL)

    def observe(self, bucket: Bucket, change: Change) -> None:
        """Listener of the store."""
        if bucket is not self._bucket:
            return
        obj = change.record.obj
        if change.type == "DELETED":
            group, plural = obj["spec"]["group"], obj["spec"]["names"]["plural"]
            self._registry.remove_kind(group, plural)
            self._store.drop_bucket(group, plural)
        elif change.before is None or change.before.obj["spec"] != obj["spec"]:
            self._serve(obj)
            self._accept(change.record)

    def _serve(self, obj: Object) -> None:
        spec = obj["spec"]
        group, plural = spec["group"], spec["names"]["plural"]
        bucket = self._store.bucket(group, plural)
        stored = next(one for one in spec["versions"] if one.get("storage"))
        storage = compiled(stored["schema"]["openAPIV3Schema"])
        self._registry.remove_kind(group, plural)
        for version in spec["versions"]:
            if version.get("served"):
                same = version is stored
                schema = storage if same else compiled(version["schema"]["openAPIV3Schema"])
                self._registry.add(_resource(spec, version, bucket=bucket, schema=schema, storage=None if same else storage))
        for record in list(bucket.records()):  # a new default or a removed field shows in what is already stored
            shaped = default(storage.root, prune(storage.root, _fields(record.obj)))
            if shaped != _fields(record.obj):
                bucket.replace_quietly(record, {"metadata": record.obj["metadata"], **shaped})

    def _accept(self, record: Record) -> None:
        """Write the status that the naming and establishing controllers of the real server write a moment later."""
        obj = record.obj
        now = timestamp(self._clock())
        accepted = {key: value for key, value in obj["spec"]["names"].items() if key != "categories" or value}
        conditions = [
            {"type": "NamesAccepted", "status": "True", "lastTransitionTime": now, "reason": "NoConflicts", "message": "no conflicts found"},
            {
                "type": "Established", "status": "True", "lastTransitionTime": now, "reason": "InitialNamesAccepted",
                "message": "the initial names have been accepted",
            },
        ]  # fmt: skip
        status = obj.get("status") or {}
        known = {one["type"] for one in status.get("conditions") or ()}
        conditions = [*(status.get("conditions") or ()), *(one for one in conditions if one["type"] not in known)]
        storage = next(one["name"] for one in obj["spec"]["versions"] if one.get("storage"))
        versions = list(dict.fromkeys([*(status.get("storedVersions") or ()), storage]))
        new = {**obj, "status": {**status, "acceptedNames": accepted, "conditions": conditions, "storedVersions": versions}}
        resource = self._registry.find(GROUP, "v1", PLURAL)
        if resource is not None and new != obj:
            author = Author("kube-apiserver", f"{GROUP}/v1", "status", now)
            entries = after_update(
                resource.typed,
                obj,
                new,
                entries=obj["metadata"].get("managedFields") or [],
                author=author,
                reset=frozenset(("f:metadata",)),
            )
            new["metadata"] = {**obj["metadata"], "managedFields": entries}
            self._store.put(self._bucket, new)


def _fields(obj: Object) -> Object:
    return {key: value for key, value in obj.items() if key != "metadata"}


def _resource(spec: Object, version: Object, *, bucket: Bucket, schema: Schema, storage: Schema | None) -> Resource:
    names, subresources = spec["names"], version.get("subresources") or {}
    scale = subresources.get("scale")
    selectable = [one["jsonPath"].lstrip(".") for one in version.get("selectableFields") or ()]
    return Resource(
        group=spec["group"], version=version["name"], plural=names["plural"], kind=names["kind"], bucket=bucket, schema=schema,
        metadata=object_meta(), namespaced=spec["scope"] == "Namespaced", singular=names.get("singular") or "",
        list_kind=names.get("listKind") or "", short_names=tuple(names.get("shortNames") or ()),
        categories=tuple(names.get("categories") or ()), verbs=_VERBS, status="status" in subresources,
        scale=None if scale is None else ScalePaths(
            _steps(scale.get("specReplicasPath")), _steps(scale.get("statusReplicasPath")), _steps(scale.get("labelSelectorPath"))
        ),
        counts_generations=True, fields=paths(*selectable), storage=storage,
        columns=tuple(
            Column(
                one["name"], one["type"], one["jsonPath"], priority=one.get("priority", 0), format=one.get("format", ""),
                description=one.get("description", ""),
            )
            for one in version.get("additionalPrinterColumns") or ()
        ),
    )  # fmt: skip


def _steps(path: str | None) -> tuple[str, ...]:
    return tuple(step for step in (path or "").split(".") if step)
