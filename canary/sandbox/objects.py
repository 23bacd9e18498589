"""What happens to an object between the request body and the store: decoding, shaping by its schema, and the server's part of metadata.

Pure functions on one object and its predecessor; the order in which writes use them is in `writes`. `old` is always the stored predecessor,
and fields that are the very same object in it are taken as already shaped (see `schema_shape`).
"""

import base64
import binascii
import json
from collections.abc import Mapping
from typing import Any, Final

from canary.sandbox.defaults import complete
from canary.sandbox.errors import bad_request, invalid
from canary.sandbox.names import metadata_violations
from canary.sandbox.quantity import is_quantity
from canary.sandbox.resources import Resource
from canary.sandbox.rules import violations
from canary.sandbox.schema_checks import Violation, validate
from canary.sandbox.schema_nodes import Node
from canary.sandbox.schema_shape import default, prune, settle, unknown_fields

Object = dict[str, Any]
SERVER_FIELDS: Final = (
    "uid",
    "creationTimestamp",
    "generation",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
    "selfLink",
    "resourceVersion",
)
_INITIAL_STATUS: Final[Mapping[str, Object]] = {"Pod": {"phase": "Pending"}, "Namespace": {"phase": "Active"}}


def clone(value: Any) -> Any:
    """A deep copy of JSON; several times faster than `copy.deepcopy`."""
    if type(value) is dict:
        return {key: clone(item) for key, item in value.items()}
    return [clone(item) for item in value] if type(value) is list else value


def check_type(resource: Resource, obj: Any) -> None:
    """Raise ApiError 400 unless the body says the kind and version of its address (either may be left out for built-in kinds)."""
    if not isinstance(obj, dict):
        raise bad_request(f"the object provided is unrecognized (must be of type {resource.kind}): not a JSON object")
    kind, version = obj.get("kind"), obj.get("apiVersion")
    if kind in (None, "") and not resource.builtin:
        shown = json.dumps(obj)[:120]
        raise bad_request(f"the object provided is unrecognized (must be of type {resource.kind}): Object 'Kind' is missing in '{shown}'")
    if version not in (None, "", resource.api_version):
        if resource.builtin:
            raise bad_request(
                f'{kind} in version "{str(version).rsplit("/", 1)[-1]}" cannot be handled as a {resource.kind}: no kind "{kind}" is '
                f'registered for version "{version}"'
            )
        raise bad_request(f"the API version in the data ({version}) does not match the expected API version ({resource.api_version})")
    if kind not in (None, "", resource.kind):
        raise bad_request(f'{kind} in version "{resource.version}" cannot be handled as a {resource.kind}: unknown conversion')
    if not isinstance(obj.get("metadata", {}), dict):
        raise bad_request(f"{resource.kind} cannot be handled: metadata must be an object")


def check_address(obj: Object, *, namespace: str, name: str | None) -> None:
    """Raise ApiError 400 unless the object's own name and namespace fit the request's."""
    metadata = obj.get("metadata") or {}
    if namespace and metadata.get("namespace") not in (None, "", namespace):
        raise bad_request("the namespace of the provided object does not match the namespace sent on the request")
    if name is not None and metadata.get("name") != name:
        if not metadata.get("name"):
            raise bad_request(f"the name of the object ({name} based on URL) was undeterminable: name must be provided")
        raise bad_request(f"the name of the object ({metadata['name']}) does not match the name on the URL ({name})")


def report_unknown(resource: Resource, obj: Object, *, validation: str) -> list[str]:
    """Warnings for fields that the schema does not know; ApiError 400 under `fieldValidation=Strict`."""
    if validation == "Ignore" or prune(resource.typed, obj) is obj:
        return []
    unknown = [f'unknown field "{path}"' for path in sorted(unknown_fields(resource.typed, obj))]
    if validation == "Strict" and unknown:
        raise bad_request(
            f'{resource.kind} in version "{resource.version}" cannot be handled as a {resource.kind}: strict decoding error: {", ".join(unknown)}'
        )
    return unknown


def shape(resource: Resource, obj: Object, old: Object | None) -> Object:
    """The object without unknown fields and with its defaults. Raises ApiError 400 where a built-in kind's types do not fit."""
    typed = resource.typed
    same = {key for key, value in obj.items() if old is not None and old.get(key) is value}
    part = {key: value for key, value in obj.items() if key not in same}
    part = prune(typed, part)
    metadata = part.get("metadata")
    if metadata is not None:
        _check_types(resource, {"metadata": metadata})
    if resource.builtin:
        _check_types(resource, part)
        part = settle(typed, part)
    else:
        if metadata is not None:
            part = {**part, "metadata": settle(resource.metadata, metadata)}
        part = default(typed, part)
        if resource.storage is not None:  # what the stored version does not know would be lost on the way back
            known = prune(resource.storage.root, {key: value for key, value in part.items() if key != "metadata"})
            part = {key: known.get(key, value) for key, value in part.items() if key in known or key == "metadata"}
    out = {key: obj[key] if key in same else part[key] for key in [*obj, *part] if key in same or key in part}
    if resource.builtin and part:
        out = {key: value if key in same else clone(value) for key, value in out.items()}
        complete(resource.kind, out)
    return out


def _check_types(resource: Resource, part: Object) -> None:
    found: list[Violation] = []
    for key, value in part.items():
        child = resource.typed.props.get(key)
        if child is not None and value is not None:
            validate(child, _drop_nulls(value), (None, key), found)
    found = [one for one in found if one.reason == "FieldValueTypeInvalid"]
    if found:
        one = found[0]
        got = one.message.rsplit(": ", 1)[-1].strip('"')
        wanted = one.message.split("must be of type ", 1)[-1].split(":", 1)[0]
        raise bad_request(
            f'{resource.kind} in version "{resource.version}" cannot be handled as a {resource.kind}: '
            f"json: cannot unmarshal {got} into Go struct field {resource.kind}.{one.path} of type {wanted}"
        )
    if resource.kind == "Secret":
        _check_base64(resource, part.get("data"))
    for path, value in _quantities(resource.typed, part, ""):
        if not is_quantity(value):
            raise bad_request(
                f'{resource.kind} in version "{resource.version}" cannot be handled as a {resource.kind}: {path}: quantities must match the '
                "regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'"
            )


def misfits(resource: Resource, config: Object) -> list[tuple[str, str]]:
    """Places of an applied configuration whose type is not the schema's: (path, what is wrong)."""
    found: list[Violation] = []
    for key, value in config.items():
        child = resource.typed.props.get(key)
        if child is not None and value is not None:
            validate(child, _drop_nulls(value), (None, key), found)
    names = {"object": "map", "array": "list", "integer": "numeric", "number": "numeric"}
    out: list[tuple[str, str]] = []
    for one in found:
        if one.reason == "FieldValueTypeInvalid" and " date-time" not in one.message:
            wanted = one.message.split("must be of type ", 1)[1].split(":", 1)[0]
            out.append((one.path, f"expected {names.get(wanted, wanted)}, got {one.message.rsplit(': ', 1)[-1]}"))
    return out


def _drop_nulls(value: Any) -> Any:
    """Go decodes null into any field; only what is there must have the right type."""
    if type(value) is dict:
        return {key: _drop_nulls(item) for key, item in value.items() if item is not None}
    return [_drop_nulls(item) for item in value if item is not None] if type(value) is list else value


def _quantities(node: Node, value: Any, path: str) -> list[tuple[str, Any]]:
    if node.format == "quantity":
        return [(path, value)] if value is not None else []
    if type(value) is dict:
        return [found for key, item in value.items() for found in _quantities(node.child(key), item, f"{path}.{key}".lstrip("."))]
    if type(value) is list and node.items is not None:
        return [found for index, item in enumerate(value) for found in _quantities(node.items, item, f"{path}[{index}]")]
    return []


def _check_base64(resource: Resource, data: Any) -> None:
    for value in (data or {}).values():
        try:
            base64.b64decode(value or "", validate=True)
        except (binascii.Error, ValueError):
            raise bad_request(f'Secret in version "{resource.version}" cannot be handled as a Secret: illegal base64 data') from None


def initial_status(resource: Resource, obj: Object) -> Object:
    """The object as it is created: its status is the server's, whatever the request said (nodes bring theirs)."""
    if not resource.status or resource.kind == "Node":
        return obj
    if not resource.builtin:
        return {key: value for key, value in obj.items() if key != "status"}
    status = _INITIAL_STATUS.get(resource.kind, {})
    if resource.kind == "Pod":
        status = {**status, "qosClass": quality_of_service(obj["spec"])}
    if resource.kind == "Namespace":
        obj = {**obj, "spec": {**obj.get("spec", {}), "finalizers": ["kubernetes"]}}
    if resource.kind == "CustomResourceDefinition":
        status = {"storedVersions": [one["name"] for one in obj["spec"].get("versions") or () if one.get("storage")]}
    return {**obj, "status": settle(resource.typed.props["status"], status)}


def quality_of_service(spec: Mapping[str, Any]) -> str:
    """BestEffort without any request or limit, Guaranteed when cpu and memory requests equal limits everywhere, else Burstable."""
    resources = [one.get("resources") or {} for one in [*(spec.get("containers") or ()), *(spec.get("initContainers") or ())]]
    if not any(one.get("requests") or one.get("limits") for one in resources):
        return "BestEffort"
    full = all(
        all(name in (one.get("limits") or {}) for name in ("cpu", "memory"))
        and all((one.get("requests") or {}).get(name) == amount for name, amount in one["limits"].items() if name in ("cpu", "memory"))
        for one in resources
    )
    return "Guaranteed" if full else "Burstable"


def carry_over(resource: Resource, new: Object, old: Object, *, subresource: str) -> Object:
    """An update with the parts that it may not touch taken from the old state: status on the main resource, everything else on `/status`."""
    metadata = {key: value for key, value in new["metadata"].items() if key not in SERVER_FIELDS}
    if subresource == "status":
        rest = {key: value for key, value in old.items() if key not in ("status", "metadata")}
        if resource.builtin:
            before = old["metadata"].get("labels")
            metadata = {key: value for key, value in metadata.items() if key != "labels"}
            metadata = {**metadata, "labels": before} if before else metadata
        else:
            metadata = {key: value for key, value in old["metadata"].items() if key not in SERVER_FIELDS}
        status = {"status": new["status"]} if "status" in new else {}
        new = {**rest, **status}
    elif resource.status:
        new = {key: value for key, value in new.items() if key != "status"}
        if "status" in old:
            new = {**new, "status": old["status"]}
    kept = {key: old["metadata"][key] for key in ("name", "namespace", *SERVER_FIELDS) if key in old["metadata"]}
    if resource.kind == "DaemonSet" and resource.builtin:
        metadata = _template_generation(metadata, new, old)
    return {"metadata": {**metadata, **kept}, **{key: value for key, value in new.items() if key != "metadata"}}


def _template_generation(metadata: Object, new: Object, old: Object) -> Object:
    """DaemonSets still count changes of their template in an annotation."""
    key = "deprecated.daemonset.template.generation"
    count = int((old["metadata"].get("annotations") or {}).get(key, "0"))
    count += new["spec"].get("template") != old["spec"].get("template")
    return {**metadata, "annotations": {**(metadata.get("annotations") or {}), key: str(count)}}


def next_generation(resource: Resource, new: Object, old: Object) -> int | None:
    """The generation after an update: counted up when what the user wants changed; None for kinds that have none."""
    generation = old["metadata"].get("generation")
    if generation is None:
        return None
    ignored = {"metadata", "status"} if resource.status else {"metadata"}
    changed = any(new.get(key) != old.get(key) for key in {*new, *old} - ignored)
    if resource.kind == "Deployment" and resource.builtin:
        changed = changed or new["metadata"].get("annotations") != old["metadata"].get("annotations")
    return int(generation) + changed


def refuse_invalid(resource: Resource, obj: Object, old: Object | None, *, subresource: str = "") -> None:
    """Raise ApiError 422 listing everything wrong with an object that is about to be stored."""
    metadata = obj["metadata"]
    found: list[Violation] = []
    if old is None or metadata != old["metadata"]:
        found += metadata_violations(resource.kind if resource.builtin else "", metadata)
        if old is not None and old["metadata"].get("deletionTimestamp"):
            found += _new_finalizers(metadata, old["metadata"])
    if not resource.builtin:
        broken = resource.schema.validate(obj, known=old)
        if broken and old is not None:  # ratcheting: what was broken before and did not change is tolerated
            before = set(resource.schema.validate(old))
            broken = [one for one in broken if one not in before]
        found += broken + _scale_violations(resource, obj)
    elif not subresource:
        found += violations("Event/events.k8s.io" if resource.renames else resource.kind, obj, old)
    if found:
        raise invalid(resource.group, resource.kind, metadata.get("name") or "", found)


def _scale_violations(resource: Resource, obj: Object) -> list[Violation]:
    """Replicas of a kind that can be scaled are not negative, even where its schema allows them to be."""
    out: list[Violation] = []
    for path in (resource.scale.spec, resource.scale.status) if resource.scale is not None else ():
        value: Any = obj
        for step in path:
            value = value.get(step) if isinstance(value, dict) else None
        if type(value) is int and value < 0:
            out.append(Violation(f".{'.'.join(path)}", f"Invalid value: {value}: should be a non-negative integer"))
    return out


def _new_finalizers(metadata: Object, old: Object) -> list[Violation]:
    new = [one for one in metadata.get("finalizers") or [] if one not in (old.get("finalizers") or [])]
    if not new:
        return []
    shown = "[]string{" + ", ".join(f'"{one}"' for one in new) + "}"
    text = f"Forbidden: no new finalizers can be added if the object is being deleted, found new finalizers {shown}"
    return [Violation("metadata.finalizers", text)]
