"""What every object of the API shares: the base model, field types, durations, object metadata.

The models are read from JSON that the API server has already admitted, or from files that nobody has checked yet. So
they check *types* and name what is wrong, while bounds, enums of open sets and rules between fields live in the CRD
(`canary.api.crd`, generated from the same models) and in `canary.api.validation`. Rejected: enforcing patterns and
"exactly one of" here as well, because an object that upstream accepts must never become unreadable; and strict mode of
pydantic, because it refuses lists where a tuple is declared.
"""

from __future__ import annotations

import enum
import math
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Annotated, Any, Final, Self

from pydantic import AwareDatetime, BaseModel, BeforeValidator, ConfigDict, Field, PlainSerializer, Strict, ValidationError, WithJsonSchema
from pydantic.alias_generators import to_camel

FLAGGER_GROUP: Final = "flagger.app"
"""API group of the kinds shared with Flagger."""
EXTENSION_GROUP: Final = "canary.dev"
"""API group of the kinds and the prefix of the annotations that only we have."""
EXTENSION_VERSION: Final = "v1alpha1"
"""Version of the kinds in `EXTENSION_GROUP`."""
EXTENSION_API_VERSION: Final = f"{EXTENSION_GROUP}/{EXTENSION_VERSION}"
FINALIZER: Final = "finalizer.flagger.app"
"""Finalizer of a Canary with `revertOnDeletion`."""


class Model(BaseModel):
    """Base of all API models: frozen, camelCase on the wire, unknown fields dropped as the API server prunes them."""

    model_config = ConfigDict(frozen=True, populate_by_name=True, alias_generator=to_camel, extra="ignore")

    def to_dict(self) -> dict[str, Any]:
        """JSON shape: camelCase keys, no nulls, only fields that were given or that differ from nothing."""
        return self.model_dump(mode="json", by_alias=True, exclude_none=True, exclude_unset=True)


class Status(Model):
    """Base of what the operator writes: fields are written whether or not they were set, except nothing and emptiness."""

    def to_dict(self) -> dict[str, Any]:
        """JSON shape for the status subresource: camelCase, no nulls, no empty texts or lists; counters always."""
        return self.model_dump(mode="json", by_alias=True, exclude_none=True)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """From decoded JSON. Fields that cannot be read are left out: a status is a cache of what we knew, and one that was
        damaged must not keep us from writing a good one.
        """
        try:
            return cls.model_validate(data)
        except ValidationError as error:
            bad = {detail["loc"][0] for detail in error.errors(include_url=False)}
            return cls.model_validate({key: value for key, value in data.items() if key not in bad})


# ------------------------------------------------------------------------------------------------- field types


def is_empty(value: object) -> bool:
    """Whether a value says nothing (for `exclude_if`)."""
    return not value


def _whole(value: object) -> int:
    """A whole number, also when written 5.0; the API server stores the two alike."""
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    if isinstance(value, float):
        if value.is_integer():
            return int(value)
        raise ValueError(f"must be a whole number, not {value:g}")
    raise ValueError(f"must be a whole number, not {describe(value)}")


def _int_or_string(value: object) -> int | str:
    if isinstance(value, str):
        return value
    if isinstance(value, bool) or not isinstance(value, int):
        raise ValueError(f"must be a port number or a port name, not {describe(value)}")  # noqa: TRY004
    return value


def _finite(value: object) -> object:
    """JSON has no NaN and no infinity; such a measurement is kept as "no number" (its message says what it was)."""
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _write_time(value: datetime) -> str:
    text = value.astimezone(UTC).isoformat(timespec="microseconds" if value.microsecond else "seconds")
    return text.replace("+00:00", "Z")


Text = Annotated[str, Strict()]
Flag = Annotated[bool, Strict()]
Number = Annotated[float, Strict(), Field(allow_inf_nan=False), WithJsonSchema({"type": "number"})]
Measured = Annotated[float | None, BeforeValidator(_finite), WithJsonSchema({"type": "number"})]
"""A measurement; infinite and undefined ones become None."""
Whole = Annotated[int, BeforeValidator(_whole), WithJsonSchema({"type": "number"})]
"""A whole number that upstream's schema declares as `number`, so that 2.5 is admitted and must be reported by us."""
Integer = Annotated[int, BeforeValidator(_whole), WithJsonSchema({"type": "integer"})]
Int32 = Annotated[int, BeforeValidator(_whole), WithJsonSchema({"type": "integer", "format": "int32"})]
Int64 = Annotated[int, BeforeValidator(_whole), WithJsonSchema({"type": "integer", "format": "int64"})]
IntOrString = Annotated[int | str, BeforeValidator(_int_or_string), WithJsonSchema({"x-kubernetes-int-or-string": True})]
PortNumber = Annotated[int, BeforeValidator(_whole), WithJsonSchema({"type": "integer", "format": "int32", "minimum": 1, "maximum": 65535})]
INTERVAL_PATTERN: Final = "^[0-9]+(m|s)"
Interval = Annotated[str, Strict(), WithJsonSchema({"type": "string", "pattern": INTERVAL_PATTERN})]
"""Go duration text whose first unit is m, s or ms. The pattern is open at its end, as upstream's is: `1m30s` passes, and so
does `5minutes`, which then is no duration."""
Timestamp = Annotated[
    AwareDatetime, PlainSerializer(_write_time, return_type=str), WithJsonSchema({"type": "string", "format": "date-time"})
]
"""RFC 3339 in UTC; fractions of a second are kept and written when there are any."""
StringMap = dict[Text, Text]
OptionalText = Annotated[str, Strict(), Field(exclude_if=is_empty)]
"""A text that is left out of a written status while it is empty."""
GROUP_PATTERN: Final = r"^$|^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$"
DnsGroup = Annotated[str, Strict(), WithJsonSchema({"type": "string", "maxLength": 253, "pattern": GROUP_PATTERN})]
KindName = Annotated[
    str,
    Strict(),
    WithJsonSchema({"type": "string", "minLength": 1, "maxLength": 63, "pattern": "^[a-zA-Z]([-a-zA-Z0-9]*[a-zA-Z0-9])?$"}),
]
ObjectName = Annotated[str, Strict(), WithJsonSchema({"type": "string", "minLength": 1, "maxLength": 253})]
NamespaceName = Annotated[
    str,
    Strict(),
    WithJsonSchema({"type": "string", "minLength": 1, "maxLength": 63, "pattern": "^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"}),
]


def describe(value: object) -> str:
    """What a JSON value is, in the words of the person who typed it."""
    match value:
        case None:
            return "null"
        case bool():
            return f"{str(value).lower()} (a boolean)"
        case str():
            return f"the text {value!r}" if len(value) <= 60 else "a long text"
        case int() | float():
            return f"the number {value!r}"
        case Mapping():
            return "an object"
        case list() | tuple():
            return "a list"
        case _:
            return f"a {type(value).__name__}"


def exactly_one(*names: str) -> dict[str, Any]:
    """Schema rule: one of these keys, and only one, is present."""
    return {"oneOf": [{"required": [name]} for name in names]}


def at_most_one(*names: str) -> dict[str, Any]:
    """Schema rule: none of these keys, or one of them."""
    none = {"not": {"anyOf": [{"required": [name]} for name in names]}}
    return {"oneOf": [none, *exactly_one(*names)["oneOf"]]}


# --------------------------------------------------------------------------------------------------- durations

_UNITS: Final = {"ns": 1, "us": 10**3, "µs": 10**3, "μs": 10**3, "ms": 10**6, "s": 10**9, "m": 60 * 10**9, "h": 3600 * 10**9}
_PART = re.compile(r"([0-9]*)(?:(\.)([0-9]*))?([^0-9.]*)")
_LIMIT: Final = 2**63


def parse_duration(text: str) -> float:
    """Seconds in a Go duration text, by the exact grammar of Go's `time.ParseDuration`.

    A sign, then decimal numbers, each with an optional fraction and a unit (ns, us, µs, ms, s, m, h): `1m30s`, `-1.5h`,
    `.5s`; `0` needs no unit. Like Go's, the result counts whole nanoseconds (fractions below are cut) and must fit 64 bits.

    Raises ValueError, naming the text and what is wrong with it.
    """
    rest = text[1:] if text[:1] in ("+", "-") else text
    if rest == "0":
        return 0.0
    if not rest:
        raise ValueError(f"invalid duration {text!r}: write a number with a unit, like 30s or 1m30s")
    total = 0
    while rest:
        part = _PART.match(rest)
        assert part is not None  # every group may be empty
        whole, dot, fraction, unit = part.group(1), part.group(2), part.group(3) or "", part.group(4)
        if not (whole or fraction):
            raise ValueError(f"invalid duration {text!r}: a number is expected at {rest!r}")
        if not unit:
            seen = whole + (dot or "") + fraction
            raise ValueError(f"invalid duration {text!r}: the unit after {seen!r} is missing (ns, us, ms, s, m or h)")
        if unit not in _UNITS:
            raise ValueError(f"invalid duration {text!r}: unknown unit {unit!r} (use ns, us, ms, s, m or h)")
        scale = _UNITS[unit]
        total += int(whole or "0") * scale + _fraction(fraction, scale)
        if total > (_LIMIT if text.startswith("-") else _LIMIT - 1):
            raise ValueError(f"invalid duration {text!r}: longer than 292 years")
        rest = rest[part.end() :]
    return (-total if text.startswith("-") else total) / 10**9


def _fraction(digits: str, scale: int) -> int:
    """Nanoseconds of a decimal fraction, in floating point and with as many digits as Go takes, so that the last one agrees."""
    kept = digits[:19] if digits[:19] and int(digits[:19]) <= _LIMIT else digits[:18]
    return int(float(int(kept)) * (scale / 10 ** len(kept))) if kept else 0


def seconds_or(text: str, default: float) -> float:
    """Seconds in a Go duration text, or `default` when it is empty or no duration."""
    try:
        return parse_duration(text)
    except ValueError:
        return default


# ---------------------------------------------------------------------------------------------------- metadata


class Metadata(Model):
    """The part of an object's metadata that the rules read."""

    name: Text
    namespace: Text = ""
    uid: Text = ""
    generation: Int64 = 0
    resource_version: Text = ""
    annotations: StringMap = Field(default_factory=dict)
    labels: StringMap = Field(default_factory=dict)
    finalizers: tuple[Text, ...] = ()
    deletion_timestamp: Timestamp | None = None
    creation_timestamp: Timestamp | None = None


class SecretRef(Model):
    """A Secret in the namespace of the object that names it."""

    name: Text
    """Name of the Secret."""


class ConditionStatus(enum.StrEnum):
    """The three values of a condition."""

    TRUE = "True"
    FALSE = "False"
    UNKNOWN = "Unknown"


class Condition(Status):
    """One condition in the shape that `kubectl wait` and kstatus read."""

    type: Text
    """Type of the condition, such as Promoted, Ready, Reconciling or Stalled."""
    status: Text
    """True, False or Unknown."""
    reason: Text
    """CamelCase word for why the condition is what it is; for Promoted the name of the phase."""
    message: Text = ""
    """One sentence for people. Always written: Argo CD's health check joins the messages of all conditions."""
    last_update_time: Timestamp | None = None
    """When the condition was last written."""
    last_transition_time: Timestamp | None = None
    """When its status last changed."""
