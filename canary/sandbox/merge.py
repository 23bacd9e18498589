"""Merge an applied configuration into a live object, and take out what its manager no longer applies.

The two structural halves of server-side apply, free of any notion of managers or requests (those are in `ownership`). Rejected: doing it
through strategic merge patches, whose list keys differ from those of apply and which cannot know what was applied before.
"""

from typing import Any

from canary.sandbox.fieldsets import Trie, is_atomic, is_member, item_key
from canary.sandbox.schema_nodes import Node


def merge(node: Node, live: Any, config: Any) -> Any:
    """`live` with everything that `config` says. Raises KeyError for an item of a keyed list without its key."""
    if type(live) is dict and type(config) is dict and not node.atomic:
        out = dict(live)
        for key, item in config.items():
            out[key] = merge(node.child(key), live[key], item) if key in live else item
        return live if all(out[key] is live.get(key) for key in out) else out
    if type(live) is list and type(config) is list and node.list_type != "atomic":
        return _merge_lists(node, live, config)
    return live if live == config and type(live) is type(config) else config


def _merge_lists(node: Node, live: list[Any], config: list[Any]) -> list[Any]:
    """Both orders are kept where they agree; shared items stand in the order of `config`, others stay behind their old neighbour."""
    before = {item_key(node, item): item for item in live}
    after = {item_key(node, item): item for item in config}
    if len(after) != len(config):
        raise ValueError("duplicate entries for key " + _duplicate(node, config))
    items = node.items or Node()
    merged = {key: merge(items, before[key], item) if key in before else item for key, item in after.items()}
    shared = [key for key in after if key in before]
    out: list[Any] = []
    done: set[str] = set()
    left, right = list(before), list(after)
    at_left = at_right = 0
    while at_left < len(left) or at_right < len(right):
        if at_left < len(left) and left[at_left] not in after:
            out.append(before[left[at_left]])
            at_left += 1
            continue
        if at_left < len(left) and shared and left[at_left] != shared[0]:
            at_left += 1  # stands elsewhere in the order of the configuration
            continue
        at_left += at_left < len(left) and (left[at_left] in done or at_right == len(right))
        if at_right < len(right):
            key = right[at_right]
            out.append(merged[key])
            done.add(key)
            at_left += at_left < len(left) and left[at_left] == key
            at_right += 1
            shared = shared[1:] if shared and shared[0] == key else shared
    return live if len(out) == len(live) and all(new is old for new, old in zip(out, live, strict=True)) else out


def _duplicate(node: Node, config: list[Any]) -> str:
    seen: set[str] = set()
    for item in config:
        key = item_key(node, item)
        if key in seen:
            return key.split(":", 1)[1]
        seen.add(key)
    return ""


def without_abandoned(node: Node, merged: Any, last: Trie, kept: Trie) -> Any:
    """`merged` without the fields in `last` (what the manager applied before) that nobody holds in `kept` any more.

    A named field goes when something below it was applied and nothing below it is held now, taking with it what nobody owns; an item of
    a keyed list or map goes only when the item itself was applied.
    """
    if type(merged) is dict and not is_atomic(node, merged):
        out: dict[str, Any] = {}
        for key, item in merged.items():
            step = f"f:{key}"
            if _abandoned(last.get(step), kept.get(step), named=key in node.props):
                continue
            out[key] = without_abandoned(node.child(key), item, last.get(step, {}), kept.get(step, {})) if last.get(step) else item
        return merged if len(out) == len(merged) and all(out[key] is merged[key] for key in out) else out
    if type(merged) is list and not is_atomic(node, merged):
        rest: list[Any] = []
        for item in merged:
            step = item_key(node, item)
            if not _abandoned(last.get(step), kept.get(step), named=False):
                below = last.get(step)
                rest.append(without_abandoned(node.items or Node(), item, below, kept.get(step, {})) if below else item)
        return merged if len(rest) == len(merged) and all(new is old for new, old in zip(rest, merged, strict=True)) else rest
    return merged


def _abandoned(last: Trie | None, kept: Trie | None, *, named: bool) -> bool:
    if last is None or not (named or is_member(last)):
        return False
    return kept is None or not (named or is_member(kept))
