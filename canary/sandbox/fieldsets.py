"""Sets of fields of one object, in the very form in which `metadata.managedFields[].fieldsV1` stores them.

Why the wire form is also the working form: ownership is read and written at every change, and parsing it into objects of our own would cost
more than the set arithmetic. A trie node is a dict; keys are `f:<field>`, `k:<json of the keys>`, `v:<json of the value>`; a node is a member
of the set when it is a leaf (`{}`) or holds the key `.`. The empty set is `{}`. All functions treat tries as immutable.

Source of the rules: the structured-merge-diff specification that Kubernetes' server-side apply uses.
"""

import json
from collections.abc import Iterator
from typing import Any, Final

from canary.sandbox.schema_nodes import Node

Trie = dict[str, Any]
MEMBER: Final[Trie] = {}


def is_member(trie: Trie | None) -> bool:
    """Whether the path that leads to this node is itself in the set."""
    return trie is not None and (not trie or "." in trie)


def _node(*, member: bool, children: Trie) -> Trie | None:
    if not children:
        return {} if member else None
    return {".": {}, **children} if member else children


def union(left: Trie, right: Trie) -> Trie:
    """Members of either set."""
    if not left or not right:
        return left or right
    children = {key: value for key, value in left.items() if key != "."}
    for key, theirs in right.items():
        if key == ".":
            continue
        mine = children.get(key)
        if mine is None:
            children[key] = theirs
        elif mine != theirs:
            below = union(mine, theirs)
            children[key] = {".": {}, **below} if below and (is_member(mine) or is_member(theirs)) else below
    return {".": {}, **children} if "." in left or "." in right else children


def difference(left: Trie, right: Trie) -> Trie:
    """Members of `left` that are not in `right`."""
    if not left or not right:
        return left
    children: Trie = {}
    for key, mine in left.items():
        if key == ".":
            continue
        theirs = right.get(key)
        rest = mine if theirs is None else _less(mine, theirs)
        if rest is not None:
            children[key] = rest
    return {".": {}, **children} if "." in left else children


def _less(mine: Trie, theirs: Trie) -> Trie | None:
    below = difference({key: value for key, value in mine.items() if key != "."}, theirs)
    return _node(member=is_member(mine) and not is_member(theirs), children=below)


def intersection(left: Trie, right: Trie) -> Trie:
    """Members of both sets."""
    children: Trie = {}
    for key, mine in left.items():
        theirs = right.get(key)
        if key == "." or theirs is None:
            continue
        both = _node(member=is_member(mine) and is_member(theirs), children=intersection(mine, theirs))
        if both is not None:
            children[key] = both
    return children


def paths(trie: Trie, prefix: str = "") -> Iterator[str]:
    """Every member as Kubernetes writes it: `.spec.containers[name="app"].image`."""
    for key in sorted(trie):
        if key == ".":
            continue
        here = prefix + _step(key)
        if is_member(trie[key]):
            yield here
        yield from paths(trie[key], here)


def _step(key: str) -> str:
    kind, text = key.split(":", 1)
    if kind == "f":
        return f".{text}"
    if kind == "k":
        return "[" + ",".join(f"{name}={json.dumps(value)}" for name, value in json.loads(text).items()) + "]"
    return f"[={text}]"


def item_key(node: Node, item: Any) -> str:
    """The path element of one item of a list of type map or set. Raises KeyError when no key field is there and none has a default."""
    if node.list_type == "set":
        return "v:" + json.dumps(item, separators=(",", ":"))
    if type(item) is not dict:
        raise KeyError(", ".join(node.list_keys))
    presets = node.items.defaults if node.items is not None else {}
    found = {key: item.get(key, presets.get(key)) for key in sorted(node.list_keys) if key in item or key in presets}
    if not found:
        raise KeyError(", ".join(node.list_keys))
    return "k:" + json.dumps(found, separators=(",", ":"))


def is_atomic(node: Node, value: Any) -> bool:
    """Whether the value is owned as one piece."""
    if type(value) is dict:
        return node.atomic
    if type(value) is list:
        return node.list_type == "atomic"
    return True


def field_set(node: Node, value: Any) -> Trie:
    """All fields of an applied configuration: its leaves, the items of keyed lists, and the keys of maps."""
    if is_atomic(node, value):
        return MEMBER
    if type(value) is dict:
        out: Trie = {}
        for key, item in value.items():
            below = field_set(node.child(key), item)
            leaf = item is None or item == {} or key not in node.props
            if below or leaf or is_atomic(node.child(key), item):
                out[f"f:{key}"] = {".": {}, **below} if below and leaf else below
        return out
    items = node.items or Node()
    out = {}
    for item in value:
        below = field_set(items, item) if type(item) is dict else {}
        out[item_key(node, item)] = {".": {}, **below} if below else {}
    return out


def compare(node: Node, old: Any, new: Any) -> tuple[Trie, Trie]:
    """What differs between two states of an object: (added or modified, removed)."""
    changed: Trie = {}
    removed: Trie = {}
    for key, item in new.items():
        if key not in old:
            changed[f"f:{key}"] = everything(node.child(key), item)
        elif old[key] is not item:
            _enter(f"f:{key}", _differences(node.child(key), old[key], item), changed, removed)
    for key, item in old.items():
        if key not in new:
            removed[f"f:{key}"] = everything(node.child(key), item)
    return changed, removed


def everything(node: Node, value: Any) -> Trie:
    """The set that stands for a whole added or removed subtree; the subtree's root is a member."""
    if is_atomic(node, value) or not value:
        return MEMBER
    if type(value) is dict:
        return {".": {}, **{f"f:{key}": everything(node.child(key), item) for key, item in value.items()}}
    items = node.items or Node()
    return {".": {}, **{_safe_key(node, item): everything(items, item) for item in value}}


def _safe_key(node: Node, item: Any) -> str:
    try:
        return item_key(node, item)
    except (KeyError, AttributeError):
        return "v:" + json.dumps(item, separators=(",", ":"))


_Found = tuple[Trie | None, Trie | None]
"""Changed and removed below one step; None where there is nothing, `MEMBER` where the step itself changed."""


def _enter(step: str, found: _Found, changed: Trie, removed: Trie) -> None:
    if found[0] is not None:
        changed[step] = found[0]
    if found[1] is not None:
        removed[step] = found[1]


def _differences(node: Node, old: Any, new: Any) -> _Found:
    if old == new and type(old) is type(new):
        return None, None
    if type(old) is dict and type(new) is dict and not node.atomic and (old or new):
        more, less = compare(node, old, new)
    elif isinstance(old, list | None) and isinstance(new, list | None) and node.list_type != "atomic" and (old or new):
        more, less = _compare_lists(node, old or [], new or [])
    else:
        return MEMBER, None
    return more or None, less or None


def _compare_lists(node: Node, old: list[Any], new: list[Any]) -> tuple[Trie, Trie]:
    more: Trie = {}
    less: Trie = {}
    items = node.items or Node()
    before = {_safe_key(node, item): item for item in old}
    after = {_safe_key(node, item): item for item in new}
    for key, item in after.items():
        if key not in before:
            more[key] = everything(items, item)
        elif before[key] is not item:
            _enter(key, _differences(items, before[key], item), more, less)
    for key, item in before.items():
        if key not in after:
            less[key] = everything(items, item)
    return more, less
