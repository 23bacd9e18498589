"""The `scale` subresource: a Scale object as a view on the replicas of another."""

from typing import Any

from canary.sandbox import errors
from canary.sandbox.objects import Object
from canary.sandbox.resources import Resource
from canary.sandbox.schema_checks import Violation
from canary.sandbox.store import Record
from canary.sandbox.writes import WriteOptions, Writer, Written, apply_patch


def scale_of(resource: Resource, obj: Object) -> Object:
    """The Scale of a stored object. Raises ApiError 500 when a custom resource has no replicas where its CRD says they are."""
    paths = resource.scale
    if paths is None:
        raise errors.no_such_resource()
    metadata = obj["metadata"]
    wanted = _at(obj, paths.spec)
    if wanted is None and not resource.builtin:
        why = f'the spec replicas field ".{".".join(paths.spec)}" does not exist'
        raise errors.ApiError(500, "InternalError", f"Internal error occurred: {why}", details={"causes": [{"message": why}]})
    status: Object = {"replicas": _at(obj, paths.status) or 0}
    selector = selector_text(_at(obj, paths.selector)) if paths.selector else ""
    if selector:
        status["selector"] = selector
    kept = ("name", "namespace", "uid", "resourceVersion", "creationTimestamp")
    return {
        "kind": "Scale",
        "apiVersion": "autoscaling/v1",
        "metadata": {key: metadata[key] for key in kept if key in metadata},
        "spec": {"replicas": wanted} if wanted else {},
        "status": status,
    }


def write_scale(
    writer: Writer, resource: Resource, body: Any, *, form: str, namespace: str, name: str, options: WriteOptions,
) -> Written:  # fmt: skip
    """PUT (`form` "") or patch a Scale; only `spec.replicas` has an effect. Raises ApiError."""
    record = resource.bucket.get(namespace, name)
    if record is None:
        raise errors.not_found(resource.group, resource.plural, name)
    before = scale_of(resource, record.obj)
    scale = body
    if form:
        # A Scale has no lists to merge by key, so a strategic merge is a merge.
        scale = apply_patch(resource, before, body, form="application/merge-patch+json" if "strategic" in form or "apply" in form else form)
    if not isinstance(scale, dict):
        raise errors.bad_request("the object provided is unrecognized (must be of type Scale)")
    metadata, replicas = scale.get("metadata") or {}, (scale.get("spec") or {}).get("replicas") or 0
    if metadata.get("name") not in (None, "", name):
        raise errors.bad_request(f"the name of the object ({metadata['name']}) does not match the name on the URL ({name})")
    if type(replicas) is not int or replicas < 0:
        broken = Violation("spec.replicas", f"Invalid value: {replicas}: must be greater than or equal to 0")
        raise errors.invalid("autoscaling", "Scale", name, [broken])
    version = metadata.get("resourceVersion")
    if version and version != record.obj["metadata"]["resourceVersion"]:
        raise errors.modified(resource.group, resource.plural, name)
    return _write(writer, resource, record, replicas=replicas, options=options)


def _write(writer: Writer, resource: Resource, record: Record, *, replicas: int, options: WriteOptions) -> Written:
    assert resource.scale is not None
    patch: Any = replicas
    for step in reversed(resource.scale.spec):
        patch = {step: patch}
    return writer.patch(
        resource,
        patch,
        form="application/merge-patch+json",
        namespace=record.namespace,
        name=record.name,
        subresource="scale",
        options=options,
    )


def _at(obj: Any, path: tuple[str, ...]) -> Any:
    for step in path:
        obj = obj.get(step) if isinstance(obj, dict) else None
    return obj


def selector_text(selector: Any) -> str:
    """A LabelSelector as the text form of list requests."""
    if not isinstance(selector, dict):
        return str(selector or "")
    if "matchLabels" not in selector and "matchExpressions" not in selector:
        return ""
    parts = [f"{key}={value}" for key, value in sorted((selector.get("matchLabels") or {}).items())]
    for one in selector.get("matchExpressions") or ():
        key, operator, values = one["key"], one["operator"], ",".join(sorted(one.get("values") or ()))
        parts.append({"Exists": key, "DoesNotExist": f"!{key}", "In": f"{key} in ({values})", "NotIn": f"{key} notin ({values})"}[operator])
    return ",".join(parts)
