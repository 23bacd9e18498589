"""Give an object the shape that its schema allows: drop unknown fields, add defaults, and (for built-in kinds) imitate Go's zero values.

Every function is copy-on-write: it returns the very object it was given when nothing changes, and shares all unchanged parts when something
does. Stored objects are therefore never modified in place, and "nothing changed" is an identity test. Rejected: deep copies first (they
were the largest cost of a status patch).
"""

from typing import Any, Final

from canary.sandbox.quantity import canonical
from canary.sandbox.schema_nodes import Node

_ZEROS: Final = {"string": "", "integer": 0, "number": 0, "boolean": False}
TYPE_META = frozenset(("apiVersion", "kind", "metadata"))


def prune(node: Node, value: Any) -> Any:
    """`value` without the fields that the schema does not name (`x-kubernetes-preserve-unknown-fields` respected)."""
    if type(value) is dict:
        return _prune_object(node, value)
    if type(value) is list and node.items is not None:
        items = [prune(node.items, item) for item in value]
        return value if all(new is old for new, old in zip(items, value, strict=True)) else items
    return value


def _prune_object(node: Node, value: dict[str, Any]) -> dict[str, Any]:
    if node.open and not node.props and node.additional is None:
        return value
    props, additional = node.props, node.additional
    changed: dict[str, Any] | None = None
    for key, item in value.items():
        child = props.get(key) or additional
        if child is None:
            if node.open or (node.embedded and key in TYPE_META):
                continue
            changed = dict(value) if changed is None else changed
            del changed[key]
        elif type(item) is dict or type(item) is list:
            new = prune(child, item)
            if new is not item:
                changed = dict(value) if changed is None else changed
                changed[key] = new
    return value if changed is None else changed


def unknown_fields(node: Node, value: Any, path: str = "") -> list[str]:
    """Paths that `prune` would drop, in document order. Only called when something was dropped."""
    if type(value) is list and node.items is not None:
        return [found for index, item in enumerate(value) for found in unknown_fields(node.items, item, f"{path}[{index}]")]
    if type(value) is not dict or (node.open and not node.props and node.additional is None):
        return []
    out: list[str] = []
    for key, item in value.items():
        child = node.props.get(key) or node.additional
        here = f"{path}.{key}" if path else key
        if child is not None:
            out += unknown_fields(child, item, here)
        elif not node.open and not (node.embedded and key in TYPE_META):
            out.append(here)
    return out


def default(node: Node, value: Any) -> Any:
    """`value` with schema defaults; nulls of fields that are not nullable are dropped first, as the API server does for custom resources."""
    if type(value) is list and node.items is not None:
        items = [default(node.items, item) for item in value]
        return value if all(new is old for new, old in zip(items, value, strict=True)) else items
    if type(value) is not dict:
        return value
    props, additional = node.props, node.additional
    changed: dict[str, Any] | None = None
    for key, item in value.items():
        child = props.get(key) or additional
        if child is None:
            continue
        if item is None:
            if not child.nullable and not (child.open and not child.type):
                changed = dict(value) if changed is None else changed
                del changed[key]
        elif type(item) is dict or type(item) is list:
            new = default(child, item)
            if new is not item:
                changed = dict(value) if changed is None else changed
                changed[key] = new
    for key, preset in node.defaults.items():
        if key not in (value if changed is None else changed):
            changed = dict(value) if changed is None else changed
            changed[key] = default(props[key], preset)
    return value if changed is None else changed


def settle(node: Node, value: Any) -> Any:
    """`default` for built-in kinds, which pass through Go structs: empty optional fields vanish, required ones appear with their zero value."""
    if type(value) is dict:
        return _settle_object(node, value) if node.props else _settle_map(node, value)
    if type(value) is list and node.items is not None:
        items = [_settle_element(node.items, item) for item in value]
        return value if all(new is old for new, old in zip(items, value, strict=True)) else items
    return canonical(value) if node.format == "quantity" else value


def _settle_element(node: Node, item: Any) -> Any:
    """An element of a list or map; null is the zero value of its type there."""
    if item is not None:
        return settle(node, item)
    if node.props:
        return settle(node, {})
    return _ZEROS.get(node.type, "0" if node.format == "quantity" else None)


def _settle_map(node: Node, value: dict[str, Any]) -> dict[str, Any]:
    if node.additional is None:
        return value
    new = {key: _settle_element(node.additional, item) for key, item in value.items()}
    return value if all(new[key] is item for key, item in value.items()) else new


def _settle_object(node: Node, value: dict[str, Any]) -> dict[str, Any]:
    changed: dict[str, Any] | None = None
    for key, item in value.items():
        child = node.props.get(key)
        if child is None:
            continue
        if _vanishes(node, child, key, item):
            changed = dict(value) if changed is None else changed
            del changed[key]
        elif item is not None:
            new = settle(child, item)
            if new is not item:
                changed = dict(value) if changed is None else changed
                changed[key] = new
    current = value if changed is None else changed
    if any(key not in current for key in node.defaults) or any(key not in current for key in node.nulls):
        changed = dict(current)
        for key, preset in node.defaults.items():
            if key not in changed:
                changed[key] = settle(node.props[key], preset)
        for key in node.nulls:
            changed.setdefault(key, None)
    return value if changed is None else changed


def _vanishes(node: Node, child: Node, key: str, item: Any) -> bool:
    if item is None:
        return key not in node.nulls
    if item in ("", 0) and type(item) is not dict and type(item) is not list:
        return key in node.omitted
    if type(item) is list or (type(item) is dict and not child.props and child.additional is not None):
        return not item and key not in node.nulls
    return False
