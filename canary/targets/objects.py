"""Small tools for untyped objects: copying, metadata keys that follow a copy, owners, conditional JSON patches.

Workloads are read and written as plain JSON, so that fields which we do not know survive (reference Q5). Server-side apply was
rejected for copies of users' objects: their lists may hold duplicate keys, which it refuses, and a copy must *equal* its
source, also where the source has dropped a field that another manager once wrote. `copy.deepcopy` was rejected for speed: JSON
has no cycles and no aliases, so a plain walk is several times faster.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, cast

from canary.core.release import Release
from canary.kube.resource import Object

TOOLKIT_MARK = "toolkit.fluxcd.io"
"""Keys that contain this belong to Flux; on a copy they would make Flux prune or fight it."""
SUFFIX, FRESH_SUFFIX = "-primary", "-baseline"


def clone(value: Any) -> Any:
    """A deep copy of a JSON value. Cached objects are frozen: copy before changing."""
    if isinstance(value, dict):
        return {key: clone(item) for key, item in value.items()}
    if isinstance(value, list):
        return [clone(item) for item in value]
    return value


def labels_of(obj: Mapping[str, Any]) -> Mapping[str, str]:
    """`metadata.labels`, empty when absent."""
    return cast("Mapping[str, str]", (obj.get("metadata") or {}).get("labels") or {})


def annotations_of(obj: Mapping[str, Any]) -> Mapping[str, str]:
    """`metadata.annotations`, empty when absent."""
    return cast("Mapping[str, str]", (obj.get("metadata") or {}).get("annotations") or {})


def without_toolkit(keys: Mapping[str, str]) -> dict[str, str]:
    """Labels or annotations without those of Flux."""
    return {key: value for key, value in keys.items() if TOOLKIT_MARK not in key}


def included(keys: Mapping[str, str], prefixes: Iterable[str]) -> dict[str, str]:
    """Labels or annotations whose key starts with one of the prefixes (`*`: all of them; an empty prefix: none); never Flux's."""
    chosen = tuple(prefix for prefix in prefixes if prefix)
    everything = "*" in chosen
    return {key: value for key, value in without_toolkit(keys).items() if everything or key.startswith(chosen)}


def controller_of(obj: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The owner reference that has `controller: true`."""
    refs: Sequence[Mapping[str, Any]] = (obj.get("metadata") or {}).get("ownerReferences") or ()
    return next((ref for ref in refs if ref.get("controller")), None)


def is_canary(ref: Mapping[str, Any] | None) -> bool:
    """Whether an owner reference names a Canary, of whatever name."""
    return ref is not None and ref.get("kind") == "Canary" and str(ref.get("apiVersion", "")).startswith("flagger.app/")


def owned(release: Release, obj: Mapping[str, Any]) -> bool:
    """Whether this Canary (by name, as upstream: a re-created one has another uid) controls the object."""
    return of_canary(obj, release.name)


def of_canary(obj: Mapping[str, Any], name: str) -> bool:
    """Whether the Canary of this name controls the object."""
    ref = controller_of(obj)
    return ref is not None and is_canary(ref) and ref.get("name") == name


def owned_head(release: Release, head: Object, *, labels: Mapping[str, str], annotations: Mapping[str, str] | None = None) -> Object:
    """`head` with labels, annotations and this Canary as controller; empty maps are left out, as the API server does."""
    meta = head["metadata"]
    if labels:
        meta["labels"] = dict(labels)
    if annotations:
        meta["annotations"] = dict(annotations)
    meta["ownerReferences"] = [dict(release.owner_reference)]
    return head


def edit(live: Mapping[str, Any], path: tuple[str, ...], value: Any) -> list[Object]:
    """RFC 6902 operations that make `live` hold `value` at `path`; none when it does. None removes, as do empty maps.

    All parents of `path` must exist in `live`. Its parts are field names, never keys of users, so nothing needs escaping.
    """
    parent: Mapping[str, Any] = live
    for part in path[:-1]:
        parent = parent[part]
    pointer = "".join(f"/{part}" for part in path)
    present = path[-1] in parent
    if value is None or value == {}:
        return [{"op": "remove", "path": pointer}] if present and parent[path[-1]] != value else []
    if present and parent[path[-1]] == value:
        return []
    return [{"op": "add", "path": pointer, "value": clone(value)}]


def unless_changed(live: Mapping[str, Any], ops: Iterable[Object]) -> list[Object]:
    """The operations behind a test of `live`'s resourceVersion; empty when there is nothing to do."""
    wanted = list(ops)
    if not wanted:
        return []
    return [{"op": "test", "path": "/metadata/resourceVersion", "value": live["metadata"]["resourceVersion"]}, *wanted]
