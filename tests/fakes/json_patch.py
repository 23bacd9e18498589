"""RFC 6902 (test, add, replace, remove) and RFC 7396 as strict as the API server: a missing path is an error."""

from __future__ import annotations

from typing import Any

from canary.core.errors import Conflict, Rejected


def apply_patch(obj: dict[str, Any], ops: list[dict[str, Any]]) -> None:
    """Change `obj` in place. Conflict when a test fails, Rejected when a path does not exist."""
    for op in ops:
        *parents, last = [part.replace("~1", "/").replace("~0", "~") for part in op["path"].split("/")[1:]]
        holder: Any = obj
        for part in parents:
            try:
                holder = holder[int(part)] if isinstance(holder, list) else holder[part]
            except (KeyError, IndexError, ValueError) as error:
                raise Rejected(f"{op['op']} of {op['path']}: {part!r} does not exist") from error
        _one(holder, last, op)


def _one(holder: Any, last: str, op: dict[str, Any]) -> None:
    exists = last in holder if isinstance(holder, dict) else int(last) < len(holder)
    key: Any = last if isinstance(holder, dict) else int(last)
    match op["op"]:
        case "test":
            if not exists or holder[key] != op["value"]:
                raise Conflict(f"test of {op['path']} failed: it is {holder[key] if exists else None!r}")
        case "add" if isinstance(holder, dict):
            holder[key] = op["value"]
        case "replace" if exists:
            holder[key] = op["value"]
        case "remove" if exists:
            del holder[key]
        case _:
            raise Rejected(f"{op['op']} of {op['path']}: it does not exist")


def merge_patch(obj: dict[str, Any], patch: dict[str, Any]) -> dict[str, Any]:
    """RFC 7396: the object after the patch; None removes."""
    merged = dict(obj)
    for key, value in patch.items():
        if value is None:
            merged.pop(key, None)
        elif isinstance(value, dict):
            old = merged.get(key)
            merged[key] = merge_patch(old if isinstance(old, dict) else {}, value)
        else:
            merged[key] = value
    return merged
