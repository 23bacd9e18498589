"""Rows and columns for `kubectl get`: printer columns of CRDs here, those of built-in kinds in `builtin_tables`."""

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Final

from canary.sandbox.builtin_tables import BUILTIN_COLUMNS, BUILTIN_ROWS
from canary.sandbox.durations import age
from canary.sandbox.jsonpath import find
from canary.sandbox.resources import Column, Resource
from canary.sandbox.store import Object

_NAME: Final = Column("Name", "string", "", format="name", description="Name of the object, unique within its namespace and kind.")
_AGE: Final = Column("Age", "date", ".metadata.creationTimestamp", description="Time since the object was created.")


def columns_of(resource: Resource) -> Sequence[Column]:
    """The columns of a kind; name and age for one without printer columns."""
    if resource.builtin:
        return BUILTIN_COLUMNS.get(resource.kind, (_NAME, Column("Age", "string", "")))
    described = tuple(
        Column(
            one.name,
            one.type,
            one.path,
            priority=one.priority,
            format=one.format,
            description=one.description or f"Custom resource definition column (in JSONPath format): {one.path}",
        )
        for one in resource.columns
    )
    return (_NAME, *(described or (_AGE,)))


def row_of(resource: Resource, obj: Object) -> list[Any]:
    """The cells of one object, in the order of `columns_of`."""
    now = datetime.now(UTC)
    if resource.builtin:
        build = BUILTIN_ROWS.get(resource.kind)
        return (
            build(obj, now) if build is not None else [obj["metadata"].get("name", ""), age(obj["metadata"].get("creationTimestamp"), now)]
        )
    shown = {"metadata": obj["metadata"], **obj}
    return [obj["metadata"].get("name", ""), *(_cell(column, shown, now) for column in (resource.columns or (_AGE,)))]


def _cell(column: Column, obj: Object, now: datetime) -> Any:
    try:
        found = find(column.path, obj)
    except ValueError:
        return None
    if not found or found[0] is None:
        return None
    value = found[0]
    if column.type == "date":
        return age(value, now)
    if column.type == "integer":
        return int(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else None
    if column.type == "number":
        return value if isinstance(value, (int, float)) and not isinstance(value, bool) else None
    if column.type == "boolean":
        return value if isinstance(value, bool) else None
    return " ".join(_text(one) for one in found)


def _text(value: Any) -> str:
    if isinstance(value, str):
        return value
    return json.dumps(value, separators=(",", ":"))
