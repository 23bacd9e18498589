"""What the API server refuses in a CustomResourceDefinition.

Beside the rules of the other built-in kinds because it is the only one whose content is itself a schema. Checked are names, versions and that
the schema is structural (every field has a type); defaults and CEL rules inside the schema are taken as they are.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from canary.sandbox.schema_checks import Violation

Obj = Mapping[str, Any]


def definition_violations(obj: Obj, old: Obj | None) -> Iterator[Violation]:
    """What the API server refuses in a CRD (structural schemas are checked for types and nothing else)."""
    spec = obj["spec"]
    names, versions = spec.get("names") or {}, spec.get("versions") or []
    plural, group = names.get("plural") or "", spec.get("group") or ""
    for path, value in (
        ("spec.group", group),
        ("spec.names.plural", plural),
        ("spec.names.kind", names.get("kind")),
        ("spec.scope", spec.get("scope")),
    ):
        if not value:
            yield Violation(path, "Required value")
    if spec.get("scope") not in ("Namespaced", "Cluster", "", None):
        yield Violation("spec.scope", f'Unsupported value: "{spec["scope"]}": supported values: "Cluster", "Namespaced"')
    if obj["metadata"].get("name") != f"{plural}.{group}":
        yield Violation("metadata.name", f'Invalid value: "{obj["metadata"].get("name")}": must be spec.names.plural+"."+spec.group')
    if sum(bool(one.get("storage")) for one in versions) != 1:
        yield Violation("spec.versions", "Invalid value: must have exactly one version marked as storage version")
    for index, version in enumerate(versions):
        path = f"spec.versions[{index}].schema.openAPIV3Schema"
        schema = (version.get("schema") or {}).get("openAPIV3Schema")
        if schema is None:
            yield Violation(path, "Required value")
        elif schema.get("type") != "object":
            yield Violation(
                f"{path}.type",
                'Invalid value: "": must be "object" at the root'
                if schema.get("type")
                else "Required value: must not be empty at the root",
            )
        else:
            yield from _untyped(schema, path)
    before = (old or {}).get("spec")
    if before is not None:
        for path, was, now in (("spec.group", before.get("group"), group), ("spec.scope", before.get("scope"), spec.get("scope"))):
            if was != now:
                yield Violation(path, f'Invalid value: "{now}": field is immutable')


def _untyped(schema: Any, path: str) -> Iterator[Violation]:
    """A structural schema names the type of every field that is not free."""
    for name, child in (schema.get("properties") or {}).items():
        here = f"{path}.properties[{name}]"
        free = child.get("x-kubernetes-int-or-string") or child.get("x-kubernetes-preserve-unknown-fields")
        if not child.get("type") and not free:
            yield Violation(f"{here}.type", "Required value: must not be empty for specified object fields")
        yield from _untyped(child, here)
    for key in ("items", "additionalProperties"):
        if isinstance(schema.get(key), dict):
            child = schema[key]
            if (
                key == "items"
                and not child.get("type")
                and not child.get("x-kubernetes-int-or-string")
                and not child.get("x-kubernetes-preserve-unknown-fields")
            ):
                yield Violation(f"{path}.items.type", "Required value: must not be empty for specified array items")
            yield from _untyped(child, f"{path}.{key}")
