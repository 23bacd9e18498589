"""OpenAPI documents: enough for kubectl to validate on the server, to merge on the client, and to explain.

Version 3 carries the schemas of all kinds and, per kind, the operations whose parameters kubectl looks for (`fieldValidation` on PATCH says
that the server validates). Version 2 is an empty document: kubectl only needs it to exist. Descriptions are absent, as in `builtin.json`.
"""

import hashlib
from collections.abc import Mapping
from typing import Any, Final

from canary.sandbox.builtin import KINDS, definitions
from canary.sandbox.resources import Registry, Resource
from canary.sandbox.store import Object, encode

_PREFIX: Final = "#/components/schemas/"
_PATCH_TYPES: Final = ("application/json-patch+json", "application/merge-patch+json", "application/apply-patch+yaml")
_STRATEGIC: Final = "application/strategic-merge-patch+json"

EMPTY_V2: Final[Object] = {"swagger": "2.0", "info": {"title": "Kubernetes sandbox", "version": "v1.36.3"}, "paths": {}, "definitions": {}}


def empty_v2_protobuf() -> bytes:
    """The same in the protobuf form of gnostic, which kubectl asks for first: swagger (1), info (2) with title (1) and version (2)."""

    def text(field: int, value: bytes) -> bytes:
        return bytes((field << 3 | 2, len(value))) + value

    info = text(1, b"Kubernetes sandbox") + text(2, b"v1.36.3")
    return text(1, b"2.0") + text(2, info) + text(8, b"") + text(9, b"")


def index(registry: Registry) -> Object:
    """`/openapi/v3`: one document per version, with a hash that changes when its kinds do."""
    paths: Object = {}
    for group, versions in registry.groups().items():
        for version in versions:
            path = f"apis/{group}/{version}" if group else f"api/{version}"
            digest = hashlib.sha256(encode(document(registry, group, version))).hexdigest().upper()[:32]
            paths[path] = {"serverRelativeURL": f"/openapi/v3/{path}?hash={digest}"}
    return {"paths": paths}


def document(registry: Registry, group: str, version: str) -> Object | None:
    """`/openapi/v3/apis/<group>/<version>`; None for an unknown version."""
    resources = registry.in_version(group, version)
    if not resources:
        return None
    schemas: dict[str, Any] = {}
    paths: Object = {}
    for resource in resources:
        name = _name(resource)
        kind = {"group": group, "version": version, "kind": resource.kind}
        if resource.builtin:
            _collect(name, schemas)
        else:
            _collect("meta.v1.ObjectMeta", schemas)
            schemas[name] = _custom(resource)
        schemas[name] = {**schemas[name], "x-kubernetes-group-version-kind": [kind]}
        paths.update(_operations(resource, name, kind))
    info = {"title": "Kubernetes sandbox", "version": "v1.36.3"}
    return {"openapi": "3.0.0", "info": info, "paths": paths, "components": {"schemas": schemas}}


def _name(resource: Resource) -> str:
    row = next((row for row in KINDS if (row.group, row.version, row.kind) == (resource.group, resource.version, resource.kind)), None)
    if row is not None:
        return row.definition
    return ".".join([*reversed(resource.group.split(".")), resource.version, resource.kind])


def _collect(name: str, schemas: dict[str, Any]) -> None:
    if name not in schemas:
        schemas[name] = {}
        schemas[name] = _public(definitions()[name], schemas)


def _public(raw: Mapping[str, Any], schemas: dict[str, Any]) -> Object:
    """A schema of `builtin.json` with full references and without our own marks; what it refers to is collected too."""
    if raw.get("format") in ("quantity", "int-or-string"):
        return {"oneOf": [{"type": "string"}, {"type": "number" if raw["format"] == "quantity" else "integer"}]}
    out: Object = {key: value for key, value in raw.items() if key not in ("$ref", "x-zero", "x-proto")}
    for name, one in raw.get("properties", {}).items():  # a field may itself be called `$ref`
        out["properties"] = {**out["properties"], name: _public(one, schemas)}
    for key in ("items", "additionalProperties"):
        if isinstance(raw.get(key), Mapping):
            out[key] = _public(raw[key], schemas)
    if "$ref" in raw:
        _collect(raw["$ref"], schemas)
        out["allOf"] = [{"$ref": _PREFIX + raw["$ref"]}]
    return out


def _custom(resource: Resource) -> Object:
    raw: Object = dict(resource.schema.raw)
    head = {"apiVersion": {"type": "string"}, "kind": {"type": "string"}}
    metadata = {"metadata": {"allOf": [{"$ref": _PREFIX + "meta.v1.ObjectMeta"}]}}
    raw["properties"] = {**head, **(raw.get("properties") or {}), **metadata}
    return raw


def _operations(resource: Resource, name: str, kind: Object) -> Object:
    base = f"/apis/{resource.group}/{resource.version}" if resource.group else f"/api/{resource.version}"
    collection = f"{base}/namespaces/{{namespace}}/{resource.plural}" if resource.namespaced else f"{base}/{resource.plural}"
    content = {"application/json": {"schema": {"$ref": _PREFIX + name}}}
    validated = [{"in": "query", "name": option, "schema": {"type": "string"}} for option in ("dryRun", "fieldManager", "fieldValidation")]
    ok = {"200": {"description": "OK", "content": content}}
    forms = (*_PATCH_TYPES, _STRATEGIC) if resource.builtin else _PATCH_TYPES

    def operation(action: str, **more: Any) -> Object:
        return {"x-kubernetes-action": action, "x-kubernetes-group-version-kind": kind, "responses": ok, **more}

    create = operation("post", parameters=validated, requestBody={"content": content})
    if resource.virtual:
        return {collection: {"post": create}}
    patch_body = {"content": {form: {"schema": {"type": "object"}} for form in forms}, "required": True}
    return {
        collection: {"get": operation("list"), "post": create},
        f"{collection}/{{name}}": {
            "get": operation("get"),
            "put": operation("put", parameters=validated, requestBody={"content": content}),
            "patch": operation("patch", parameters=validated, requestBody=patch_body),
            "delete": operation("delete"),
        },
    }
