"""The list of clusters: a reviewed file that says which cluster is in which ring. Claims of clusters about themselves are not asked."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import yaml

from canary.api.gitvalues import CLUSTER_PATTERN
from canary.api.rolloutplan import Ring, RolloutPlan
from canary.core.errors import Rejected
from canary.gitops.failures import plain

_NAME = re.compile(CLUSTER_PATTERN)


@dataclass(frozen=True, slots=True)
class Cluster:
    """One cluster. `quarantined`: it is no member of any ring, and what it says counts nowhere."""

    name: str
    ring: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    quarantined: bool = False


def clusters(content: bytes, path: str) -> dict[str, Cluster]:
    """Clusters by name from `clusters: {name: {ring, labels, quarantined}}`. Raises Rejected that says what is wrong with the file."""
    try:
        data = yaml.load(content, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))  # noqa: S506 - safe either way, the C one is fast
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise Rejected(f"{path} is not YAML: {plain(str(error))[:200]}") from error
    listed = data.get("clusters") if isinstance(data, dict) else None
    if not isinstance(listed, dict):
        raise Rejected(f"{path} has no `clusters`", hint="write `clusters: {cluster-001: {ring: innovators}}`")
    return {str(name): _cluster(name, entry, path) for name, entry in listed.items()}


def _cluster(name: object, entry: Any, path: str) -> Cluster:
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise Rejected(f"{path}: {plain(str(name))[:80]!r} is not a name of a cluster")
    entry = {} if entry is None else entry
    if not isinstance(entry, dict):
        raise Rejected(f"{path}: {name} must be an object", hint="write `{ring: innovators}`")
    ring, labels, quarantined = entry.get("ring", ""), entry.get("labels") or {}, entry.get("quarantined", False)
    if not isinstance(ring, str) or not isinstance(labels, dict) or not isinstance(quarantined, bool):
        raise Rejected(f"{path}: {name}: ring must be text, labels an object, quarantined true or false")
    return Cluster(name, ring, {str(key): str(value) for key, value in labels.items()}, quarantined)


def membership(plan: RolloutPlan, known: Mapping[str, Cluster], path: str) -> dict[str, tuple[str, ...]]:
    """Clusters by ring, sorted. Raises Rejected when one is in two rings, or is named and not in the list."""
    found: dict[str, tuple[str, ...]] = {}
    owner: dict[str, str] = {}
    for ring in plan.spec.rings:
        if unknown := [name for name in ring.clusters if name not in known]:
            raise Rejected(f"ring {ring.name} names cluster {unknown[0]!r}, which is not in {path}")
        names = sorted(name for name, one in known.items() if not one.quarantined and _in(ring, one))
        for name in names:
            if name in owner:
                raise Rejected(f"cluster {name!r} is in ring {owner[name]} and in ring {ring.name}", hint=f"see {path} and the plan")
            owner[name] = ring.name
        found[ring.name] = tuple(names)
    return found


def _in(ring: Ring, one: Cluster) -> bool:
    if not ring.clusters and ring.selector is None:
        return one.ring == ring.name
    return one.name in ring.clusters or (ring.selector is not None and ring.selector.matches(one.labels))
