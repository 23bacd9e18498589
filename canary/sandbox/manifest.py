"""The Canary that the story releases: read, checked, and given another interval without touching any other byte.

The interval is found in the parsed tree and replaced in the text: a regular expression takes the interval of a metric or of a comment for it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import yaml

from canary.api.canary import parse_canary
from canary.api.common import parse_duration
from canary.api.errors import InvalidObject
from canary.core.errors import Rejected
from canary.sandbox.stage import APP, HOME


def prepared(text: str, *, interval: str) -> str:
    """The manifest with `analysis.interval` replaced (an empty `interval` leaves it). Raises Rejected for what the story cannot be told with."""
    number, _ = canary_of(text)
    if not interval:
        return text
    try:
        seconds = parse_duration(interval)
    except ValueError as error:
        raise Rejected(f"the interval cannot be used: {error}", hint="write it like 1s, 10s or 1m") from error
    if seconds < 1:
        raise Rejected(f"the interval {interval} is shorter than a second", hint="write it like 1s, 10s or 1m")
    node = next(found for index, found in enumerate(yaml.compose_all(text, yaml.SafeLoader)) if index == number)
    leaf = _leaf(node, "spec", "analysis", "interval") or _leaf(node, "spec", "canaryAnalysis", "interval")
    if leaf is None:
        raise Rejected("the Canary has no analysis.interval that could be replaced", hint="add `interval: 10s`, or pass --interval ''")
    return text[: leaf.start_mark.index] + interval + text[leaf.end_mark.index :]


def canary_of(text: str) -> tuple[int, dict[str, Any]]:
    """The one Canary of a manifest, and the number of its document. Raises Rejected when it is not there, or not the story's."""
    found = [(number, body) for number, body in _documents(text) if body.get("kind") == "Canary"]
    if len(found) != 1:
        raise Rejected(f"the manifest holds {len(found) or 'no'} objects of kind Canary, not one", hint="put exactly one Canary into it")
    try:
        canary = parse_canary(found[0][1])
    except InvalidObject as error:
        raise Rejected(str(error)) from error
    named = f"{canary.metadata.namespace}/{canary.metadata.name}"
    target = f"{canary.spec.target_ref.kind} {canary.spec.target_ref.name}"
    if named != f"{HOME}/{APP}" or target != f"Deployment {APP}":
        raise Rejected(
            f"the manifest is about Canary {named} of {target}; the story is about {HOME}/{APP} of Deployment {APP}",
            hint=f"name it {APP} in namespace {HOME}",
        )
    return found[0]


def _documents(text: str) -> Iterator[tuple[int, dict[str, Any]]]:
    try:
        documents = list(yaml.safe_load_all(text))
    except yaml.YAMLError as error:
        raise Rejected(f"the manifest is not YAML: {' '.join(str(error).split())}") from error
    for number, body in enumerate(documents):
        if isinstance(body, dict):
            yield number, body


def _leaf(node: yaml.Node, *path: str) -> yaml.Node | None:
    for name in path:
        pairs = node.value if isinstance(node, yaml.MappingNode) else []
        found = next((value for key, value in pairs if key.value == name), None)
        if found is None:
            return None
        node = found
    return node if isinstance(node, yaml.ScalarNode) else None
