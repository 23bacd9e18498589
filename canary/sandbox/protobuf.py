"""Request bodies in Kubernetes' protobuf form.

Needed because `kubectl create deployment`, `expose`, `autoscale`, `auth can-i` and other commands with built-in types send nothing else (they
accept JSON in return, so nothing is ever encoded). The field numbers are part of `builtin.json` (`x-proto`), and one generic decoder of the
wire format serves all kinds. Rejected: generated classes and the protobuf runtime, a dependency for ten commands.
"""

import base64
import json
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any, Final

from canary.sandbox.builtin import KINDS, definitions
from canary.sandbox.errors import bad_request

MEDIA_TYPE: Final = "application/vnd.kubernetes.protobuf"
_MAGIC: Final = b"k8s\x00"
_VARINT, _BYTES = 0, 2
_SIZES: Final = {1: 8, 5: 4}
Raw = Mapping[str, Any]


def decode(body: bytes) -> dict[str, Any]:
    """The object in a protobuf body. Raises ApiError 400 for broken data and for kinds that are not built in."""
    try:
        return _decode(body)
    except (IndexError, ValueError, KeyError, TypeError) as error:
        raise bad_request(f"the object provided is unrecognized: cannot read protobuf: {error!r}") from None


def _decode(body: bytes) -> dict[str, Any]:
    if not body.startswith(_MAGIC):
        raise ValueError("the prefix of Kubernetes' envelope is missing")
    envelope = dict(_fields(body[len(_MAGIC) :]))
    type_meta = {number: bytes(value).decode() for number, value in _fields(envelope.get(1, b""))}
    version, kind = type_meta.get(1, ""), type_meta.get(2, "")
    if kind == "DeleteOptions":
        return _delete_options(envelope.get(2, b""))
    group, _, short = version.rpartition("/")
    row = next((row for row in KINDS if (row.group, row.version, row.kind) == (group, short, kind)), None)
    name = "autoscaling.v1.Scale" if (version, kind) == ("autoscaling/v1", "Scale") else row.definition if row else ""
    if not name:
        raise ValueError(f"no field numbers for {kind} of {version}")
    return {"apiVersion": version, "kind": kind, **_message(definitions()[name], envelope.get(2, b""))}


def _fields(data: bytes) -> Iterator[tuple[int, Any]]:
    """(number, value) of one message: an int for varints, bytes for everything with a length."""
    at = 0
    while at < len(data):
        key, at = _varint(data, at)
        number, wire = key >> 3, key & 7
        if wire == _VARINT:
            value, at = _varint(data, at)
            yield number, value
        elif wire == _BYTES:
            length, at = _varint(data, at)
            if at + length > len(data):
                raise ValueError("a field is longer than its message")
            yield number, data[at : at + length]
            at += length
        else:
            at += _SIZES[wire]


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        value |= (byte & 127) << shift
        at += 1
        if byte < 128:
            return value, at
        shift += 7


def _message(raw: Raw, data: bytes) -> dict[str, Any]:
    out: dict[str, Any] = {}
    _fill(raw, raw.get("x-proto", {}), data, out)
    return out


def _fill(raw: Raw, numbers: Raw, data: bytes, out: dict[str, Any]) -> None:
    """Read a message into `out`; embedded Go structs are messages of their own whose fields stand beside ours in JSON."""
    for number, value in _fields(data):
        name = numbers.get(str(number))
        if isinstance(name, Mapping):
            _fill(raw, name, value, out)
        elif name is not None:
            field = raw["properties"][name]
            if field.get("type") == "array":
                out.setdefault(name, []).append(_value(field["items"], value))
            elif "additionalProperties" in field:
                entry = dict(_fields(value))
                key = bytes(entry.get(1, b"")).decode()
                out.setdefault(name, {})[key] = _value(field["additionalProperties"], entry.get(2, b""))
            else:
                out[name] = _value(field, value)


def _value(field: Raw, value: Any) -> Any:
    if "$ref" in field:
        return _special(field["$ref"], value)
    kind = field.get("type")
    if kind == "boolean":
        return bool(value)
    if kind == "integer":
        return value - (1 << 64) if value >= 1 << 63 else value
    if kind == "array":  # a named list, such as the values of TokenReview's `extra`
        return [_value(field["items"], item) for _, item in _fields(value)]
    return base64.b64encode(value).decode() if field.get("format") == "byte" else bytes(value).decode()


def _special(name: str, value: bytes) -> Any:
    """A referred type; some have a wire form of their own."""
    raw = definitions()[name]
    if "x-proto" in raw:
        return _message(raw, value)
    parts = dict(_fields(value))
    if raw.get("format") == "date-time":
        return _time(parts, micro=name.endswith("MicroTime"))
    if raw.get("format") == "quantity":
        return bytes(parts.get(1, b"0")).decode()
    if raw.get("format") == "int-or-string":
        return bytes(parts.get(3, b"")).decode() if parts.get(1) else _signed(parts.get(2, 0))
    return json.loads(bytes(parts.get(1, b"null")))


def _signed(value: int) -> int:
    return value - (1 << 64) if value >= 1 << 63 else value


def _time(parts: Mapping[int, int], *, micro: bool) -> str | None:
    if not parts:
        return None
    stamp = datetime.fromtimestamp(_signed(parts.get(1, 0)), UTC)
    seconds = stamp.strftime("%Y-%m-%dT%H:%M:%S")
    return f"{seconds}.{parts.get(2, 0) // 1000:06d}Z" if micro else f"{seconds}Z"


def _delete_options(data: bytes) -> dict[str, Any]:
    """meta.v1.DeleteOptions: gracePeriodSeconds 1, preconditions 2 (uid 1, resourceVersion 2), orphanDependents 3, propagationPolicy 4, dryRun 5."""
    out: dict[str, Any] = {}
    for number, value in _fields(data):
        if number == 1:
            out["gracePeriodSeconds"] = _signed(value)
        elif number == 2:
            names = {1: "uid", 2: "resourceVersion"}
            out["preconditions"] = {names[key]: bytes(text).decode() for key, text in _fields(value) if key in names}
        elif number == 3:
            out["orphanDependents"] = bool(value)
        elif number == 4:
            out["propagationPolicy"] = bytes(value).decode()
        elif number == 5:
            out.setdefault("dryRun", []).append(bytes(value).decode())
    return out
