"""Strategic merge patch: the patch form of built-in kinds, where lists merge by the key that their schema names.

Needed because `kubectl apply`, `kubectl set image` and `kubectl rollout restart` send nothing else for built-in kinds. All directives of the
format are understood: `$patch`, `$retainKeys`, `$deleteFromPrimitiveList/…` and `$setElementOrder/…`. Custom resources have no merge keys;
for them the server refuses this content type, as the real one does.
"""

from typing import Any

from canary.sandbox.schema_nodes import Node

_DELETE = "$deleteFromPrimitiveList/"
_ORDER = "$setElementOrder/"


class MergeKeyMissingError(ValueError):
    """An item of a keyed list in the patch lacks its key."""


def strategic_merge(node: Node, document: Any, patch: Any) -> Any:
    """`document` with `patch` merged in. Raises MergeKeyMissingError."""
    if type(patch) is not dict:
        return patch
    if type(document) is not dict:
        document = {}
    directive = patch.get("$patch")
    if directive == "replace":
        return {key: value for key, value in patch.items() if key != "$patch"}
    if directive == "delete":
        return {}
    retained = patch.get("$retainKeys")
    out = {key: value for key, value in document.items() if retained is None or key in retained}
    for key, item in patch.items():
        if key.startswith(_DELETE):
            name = key.removeprefix(_DELETE)
            out[name] = [value for value in out.get(name, []) if value not in item]
        elif key.startswith(_ORDER):
            out.setdefault(key.removeprefix(_ORDER), [])
        elif not key.startswith("$"):
            _merge_field(node, out, key, item)
    for key, order in patch.items():
        if key.startswith(_ORDER):
            name = key.removeprefix(_ORDER)
            out[name] = _ordered(node.child(name), out[name], order, document.get(name) or [])
            if not out[name] and name not in document:
                del out[name]
    return document if all(out.get(key) is value for key, value in document.items()) and len(out) == len(document) else out


def _merge_field(node: Node, out: dict[str, Any], key: str, item: Any) -> None:
    child = node.child(key)
    if item is None:
        out.pop(key, None)
    elif type(item) is list and child.merge:
        out[key] = _merge_list(child, out.get(key) or [], item)
    elif type(item) is dict:
        old = out.get(key)
        if item.get("$patch") == "delete":
            out.pop(key, None)
        else:
            out[key] = strategic_merge(child, old, item)
    else:
        out[key] = item


def _merge_list(node: Node, document: list[Any], patch: list[Any]) -> list[Any]:
    key = node.merge_key
    if not key:
        return document + [item for item in patch if item not in document]
    if any(type(item) is dict and item.get("$patch") == "replace" for item in patch):
        return [item for item in patch if not (type(item) is dict and "$patch" in item)]
    out = list(document)
    for item in patch:
        if type(item) is not dict:
            raise MergeKeyMissingError(f"expected an object in a list merged by {key}, not {item!r}")
        if key not in item:
            shown = " ".join(f"{name}:{value}" for name, value in item.items())
            raise MergeKeyMissingError(f"map: map[{shown}] does not contain declared merge key: {key}")
        at = next((index for index, old in enumerate(out) if old.get(key) == item[key]), None)
        if item.get("$patch") == "delete":
            out = [old for old in out if old.get(key) != item[key]]
        elif at is None:
            out.append(strategic_merge(node.items or Node(), {}, item))
        else:
            out[at] = strategic_merge(node.items or Node(), out[at], item)
    return out


def _ordered(node: Node, merged: list[Any], order: list[Any], live: list[Any]) -> list[Any]:
    """Items named in `order` stand in that order; the others keep their place after the item that preceded them on the server."""
    key = node.merge_key

    def name(item: Any) -> Any:
        return item.get(key) if key and type(item) is dict else item

    wanted = [name(item) for item in order]
    named = [item for want in wanted for item in merged if name(item) == want]
    rest = [item for item in merged if name(item) not in wanted]
    out = list(named)
    positions = [name(item) for item in live]
    for item in rest:
        before = positions[: positions.index(name(item))] if name(item) in positions else positions
        after = max((index + 1 for index, one in enumerate(out) if name(one) in before), default=0)
        out.insert(after, item)
    return out
