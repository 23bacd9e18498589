"""The facts of OpenAPI documents in the form of `canary/sandbox/builtin.json`.

`python -m tests.conformance.openapi_facts URL TOKEN CA < builtin.json > new.json` renews the file from a running server; marks that the documents
lack (`x-zero`, `x-proto`) are carried over from the old one and must be filled in by hand for new fields.
"""

import json
import ssl
import sys
import urllib.request
from collections.abc import Mapping
from typing import Any

MARKS = ("x-zero", "x-proto")
_KEPT = (
    "properties", "type", "$ref", "default", "additionalProperties", "format", "items", "required", "x-kubernetes-list-type",
    "x-kubernetes-list-map-keys", "x-kubernetes-map-type", "x-kubernetes-patch-merge-key", "x-kubernetes-patch-strategy",
)  # fmt: skip
_PREFIXES = {
    "io.k8s.apimachinery.pkg.apis.meta.": "meta.",
    "io.k8s.apimachinery.pkg.api.resource.": "resource.",
    "io.k8s.apimachinery.pkg.util.intstr.": "intstr.",
    "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.": "apiextensions.",
    "io.k8s.api.": "",
}
_OWN_FORMS: dict[str, Any] = {
    "resource.Quantity": {"format": "quantity"},
    "intstr.IntOrString": {"format": "int-or-string"},
    "meta.v1.FieldsV1": {"type": "object", "x-kubernetes-preserve-unknown-fields": True, "format": "fields-v1"},
}
_TIMES = ("meta.v1.Time", "meta.v1.MicroTime")


def short(name: str) -> str:
    """`core.v1.Pod` for `io.k8s.api.core.v1.Pod`."""
    for prefix, replacement in _PREFIXES.items():
        if name.startswith(prefix):
            return replacement + name.removeprefix(prefix)
    return name


def facts(schemas: Mapping[str, Any]) -> dict[str, Any]:
    """`components.schemas` of a document, reduced."""
    out = {short(name): _reduced(schema) for name, schema in schemas.items()}
    return out | {name: form for name, form in _OWN_FORMS.items() if name in out}


def _reduced(raw: Mapping[str, Any], *, element: bool = False) -> dict[str, Any]:
    branches = raw.get("allOf", [])
    reference = raw.get("$ref") or (branches[0].get("$ref") if len(branches) == 1 else None)
    out = {key: raw[key] for key in _KEPT if key in raw}
    if reference:
        out["$ref"] = short(reference.rsplit("/", 1)[-1])
    if element or out.get("$ref") in _TIMES:
        out.pop("default", None)  # the zero value of a list's element says nothing
    if "properties" in out:
        out["properties"] = {name: _reduced(one) for name, one in out["properties"].items()}
    for key in ("items", "additionalProperties"):
        if isinstance(out.get(key), Mapping):
            out[key] = _reduced(out[key], element=True)
    return out


def without_marks(definition: Any) -> Any:
    """A definition of builtin.json as the documents have it."""
    if isinstance(definition, Mapping):
        return {key: without_marks(value) for key, value in definition.items() if key not in MARKS}
    return [without_marks(item) for item in definition] if isinstance(definition, list) else definition


def _renew(url: str, token: str, authority: str, old: dict[str, Any]) -> dict[str, Any]:
    context = ssl.create_default_context(cafile=authority)

    def get(path: str) -> Any:
        request = urllib.request.Request(url + path, headers={"Authorization": f"Bearer {token}"})
        return json.load(urllib.request.urlopen(request, context=context))

    found: dict[str, Any] = {}
    for entry in get("/openapi/v3")["paths"].values():
        found |= facts(get(entry["serverRelativeURL"]).get("components", {}).get("schemas", {}))
    return {name: _marked(found.get(name, definition), definition) for name, definition in old.items()}


def _marked(new: dict[str, Any], old: dict[str, Any]) -> dict[str, Any]:
    out = new | {key: old[key] for key in MARKS if key in old}
    for name, field in out.get("properties", {}).items():
        field |= {key: old["properties"][name][key] for key in MARKS if key in old.get("properties", {}).get(name, {})}
    return out


if __name__ == "__main__":
    renewed = _renew(*sys.argv[1:4], json.load(sys.stdin))
    lines = [f"{json.dumps(name)}:{json.dumps(one, separators=(',', ':'), sort_keys=True)}" for name, one in sorted(renewed.items())]
    print("{\n" + ",\n".join(lines) + "\n}")
