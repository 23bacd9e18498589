"""Request bodies: JSON, YAML or protobuf by content type, with the API server's messages for what cannot be read."""

import json
from typing import Any, Final

import yaml

from canary.sandbox import protobuf
from canary.sandbox.errors import ApiError, bad_request, unsupported_media_type
from canary.sandbox.resources import Resource
from canary.sandbox.writes import APPLY_PATCH, JSON_PATCH, MERGE_PATCH, STRATEGIC_PATCH

_OBJECT_TYPES: Final = ("application/json", "application/yaml", protobuf.MEDIA_TYPE)
_Loader: Final[Any] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def media_type(content_type: str) -> str:
    """The type without its parameters."""
    return content_type.split(";", 1)[0].strip().lower()


def patch_form(resource: Resource, content_type: str) -> str:
    """The kind of patch. Raises ApiError 415 for one that the resource does not take."""
    form = media_type(content_type)
    supported = [JSON_PATCH, MERGE_PATCH, APPLY_PATCH]
    if resource.builtin:
        supported.append(STRATEGIC_PATCH)
    if form not in supported:
        raise (
            ApiError(415, "UnsupportedMediaType", "415: Unsupported Media Type", details={})
            if resource.builtin
            else unsupported_media_type(form, supported)
        )
    return form


def read_object(resource: Resource, body: bytes, content_type: str, *, strict: bool) -> Any:
    """The object of a create or update. Raises ApiError 400 or 415; under `strict` also for a field that stands twice."""
    form = media_type(content_type) or "application/json"
    if form not in _OBJECT_TYPES:
        raise unsupported_media_type(form, _OBJECT_TYPES)
    what = f"the object provided is unrecognized (must be of type {resource.kind}): couldn't get version/kind"
    if form == "application/yaml":
        return read_yaml(body)
    if form == protobuf.MEDIA_TYPE:
        return protobuf.decode(body)
    try:
        return json.loads(body, object_pairs_hook=_Strict(resource).pairs if strict else None)
    except ValueError as error:
        raise bad_request(f"{what}; json parse error: {error}") from None


def read_options(body: bytes, content_type: str) -> Any:
    """The options of a delete. Raises ApiError 400."""
    form = media_type(content_type)
    if form == protobuf.MEDIA_TYPE:
        return protobuf.decode(body)
    return read_yaml(body) if form == "application/yaml" else read_patch(body, "")


def read_patch(body: bytes, form: str) -> Any:
    """The patch. Raises ApiError 400."""
    if form == APPLY_PATCH and not body.lstrip().startswith(b"{"):
        return read_yaml(body)
    try:
        return json.loads(body)
    except ValueError as error:
        raise bad_request(f"error decoding patch: {error}") from None


def read_yaml(body: bytes) -> Any:
    """A YAML document. Raises ApiError 400."""
    try:
        return yaml.load(body, Loader=_Loader)  # noqa: S506 - the C form of the safe loader
    except yaml.YAMLError as error:
        text = " ".join(str(error).split())
        raise bad_request(f"error decoding YAML: error converting YAML to JSON: yaml: {text}") from None


class _Strict:
    """Refuses an object in which a field stands twice; the last one would silently win."""

    def __init__(self, resource: Resource) -> None:
        self._resource = resource

    def pairs(self, pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        """Hook of the JSON reader."""
        out = dict(pairs)
        if len(out) != len(pairs):
            seen: set[str] = set()
            twice = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
            kind = self._resource.kind
            raise bad_request(
                f'{kind} in version "{self._resource.version}" cannot be handled as a {kind}: strict decoding error: duplicate field "{twice}"'
            )
        return out
