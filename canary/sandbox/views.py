"""The forms in which objects leave the server: whole, metadata only, or as rows of a table; chosen by the Accept header.

The plain form is put together from bytes that each record encodes once, since a list of a thousand objects is asked for far more often than
a thousand objects change.
"""

from collections.abc import Iterable
from functools import lru_cache
from typing import Any, Final, Protocol

from canary.sandbox.errors import ApiError
from canary.sandbox.resources import Resource
from canary.sandbox.store import Object, Record, encode
from canary.sandbox.tables import columns_of, row_of

_META: Final = "meta.k8s.io"
_JSON: Final = frozenset(("application/json", "application/*", "*/*"))


class View(Protocol):
    """One form. All methods answer JSON."""

    def one(self, resource: Resource, record: Record) -> bytes:
        """A single object."""

    def many(self, resource: Resource, records: Iterable[Record], metadata: Object) -> bytes:
        """A list; `metadata` is the list's own."""

    def bookmark(self, resource: Resource, metadata: Object) -> bytes:
        """The object of a BOOKMARK event."""


class Plain:
    """Whole objects. Items of built-in kinds carry no kind and apiVersion inside a list, as on the real server."""

    def one(self, resource: Resource, record: Record) -> bytes:
        """See `View`."""
        if resource.renames:
            return encode(resource.present(record.obj))
        return resource.prefix + record.body()[1:]

    def many(self, resource: Resource, records: Iterable[Record], metadata: Object) -> bytes:
        """See `View`."""
        if resource.renames:
            items = [encode(_shown(resource, record)) for record in records]
        elif resource.builtin:
            items = [record.body() for record in records]
        else:
            items = [resource.prefix + record.body()[1:] for record in records]
        head = encode({"kind": resource.list_kind, "apiVersion": resource.api_version, "metadata": metadata})[:-1]
        return head + b',"items":[' + b",".join(items) + b"]}"

    def bookmark(self, resource: Resource, metadata: Object) -> bytes:
        """See `View`."""
        return encode({"kind": resource.kind, "apiVersion": resource.api_version, "metadata": metadata})


def _shown(resource: Resource, record: Record) -> Object:
    return {key: value for key, value in resource.present(record.obj).items() if key not in ("kind", "apiVersion")}


class MetadataOnly:
    """`PartialObjectMetadata`."""

    def one(self, resource: Resource, record: Record) -> bytes:
        """See `View`."""
        return self.bookmark(resource, record.obj["metadata"])

    def many(self, resource: Resource, records: Iterable[Record], metadata: Object) -> bytes:
        """See `View`."""
        head = encode({"kind": "PartialObjectMetadataList", "apiVersion": f"{_META}/v1", "metadata": metadata})[:-1]
        return head + b',"items":[' + b",".join(self.one(resource, record) for record in records) + b"]}"

    def bookmark(self, _resource: Resource, metadata: Object) -> bytes:
        """See `View`."""
        return encode({"kind": "PartialObjectMetadata", "apiVersion": f"{_META}/v1", "metadata": metadata})


class Table:
    """What `kubectl get` prints. `include` is Metadata, Object or None: what of the object comes with each row."""

    def __init__(self, include: str = "Metadata") -> None:
        self._include = include

    def one(self, resource: Resource, record: Record) -> bytes:
        """See `View`."""
        return self.many(resource, [record], {"resourceVersion": record.obj["metadata"].get("resourceVersion", "")})

    def many(self, resource: Resource, records: Iterable[Record], metadata: Object) -> bytes:
        """See `View`."""
        rows = [self._row(resource, record) for record in records]
        columns = [
            {"name": one.name, "type": one.type, "format": one.format, "description": one.description, "priority": one.priority}
            for one in columns_of(resource)
        ]
        return encode({"kind": "Table", "apiVersion": f"{_META}/v1", "metadata": metadata, "columnDefinitions": columns, "rows": rows})

    def _row(self, resource: Resource, record: Record) -> Object:
        row: Object = {"cells": row_of(resource, record.obj)}
        if self._include == "Object":
            row["object"] = resource.present(record.obj)
        elif self._include == "Metadata":
            row["object"] = {"kind": "PartialObjectMetadata", "apiVersion": f"{_META}/v1", "metadata": record.obj["metadata"]}
        return row

    def bookmark(self, resource: Resource, metadata: Object) -> bytes:
        """See `View`."""
        return self.many(resource, [], metadata)


PLAIN: Final = Plain()
METADATA: Final = MetadataOnly()


@lru_cache(maxsize=256)
def negotiate(accept: str, include: str = "") -> View:
    """The view for an Accept header (and `includeObject` of tables). Raises ApiError 406 when JSON is not acceptable."""
    if not accept:
        return PLAIN
    for part in accept.split(","):
        media, *params = (piece.strip() for piece in part.split(";"))
        if media not in _JSON:
            continue
        wanted: dict[str, Any] = dict(param.split("=", 1) for param in params if "=" in param)
        form, version = wanted.get("as"), wanted.get("v")
        if form is None or "g" not in wanted:
            return PLAIN
        if wanted["g"] == _META and version == "v1":
            if form == "Table":
                return Table(include or "Metadata")
            if form in ("PartialObjectMetadata", "PartialObjectMetadataList"):
                return METADATA
    raise ApiError(406, "NotAcceptable", "only the following media types are accepted: application/json")
