"""Gateway API: whether the parents of an HTTPRoute have taken it over.

Weights that a gateway has not accepted move nobody's traffic, so a step must not be counted until it has. Upstream compares
parentRefs byte for byte and misses entries where one side spells out a default; here they are compared by what they mean. A
parent that the Canary no longer asks for has no say: else a mistake in `gatewayRefs` could never be mended.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from canary.kube.resource import Object

Json = Mapping[str, Any]


def problem(route: Object, asked: Iterable[Json]) -> str:
    """Why the route's newest spec is not in force at the parents `asked` for.

    Empty when it is, or when none of them reports anything (not every mesh does).
    """
    meta = route["metadata"]
    generation = meta.get("generation") or 0
    parents = _meanings((route.get("spec") or {}).get("parentRefs") or (), meta) & _meanings(asked, meta)
    for reported in _reports(route):
        ref = reported.get("parentRef") or {}
        if _meanings([ref], meta) & parents and (why := _rejection(reported, generation)):
            return (
                f"HTTPRoute {meta['namespace']}/{meta['name']} is not accepted by {ref.get('kind') or 'Gateway'} {ref.get('name')}: {why}"
            )
    return ""


def _reports(route: Object) -> Iterator[Json]:
    yield from (route.get("status") or {}).get("parents") or ()


def _rejection(report: Json, generation: int) -> str:
    """Empty when accepted. A condition that names no generation is taken as current: some meshes never fill it in."""
    found = [one for one in report.get("conditions") or () if one.get("type") == "Accepted"]
    if not found:
        return "no Accepted condition yet"
    condition = found[0]
    if condition.get("status") != "True":
        return str(condition.get("message") or condition.get("reason") or "no reason given")
    if condition.get("observedGeneration", generation) < generation:
        return f"generation {generation} was not looked at yet"
    return ""


def _meanings(refs: Iterable[Json], meta: Json) -> set[tuple[object, ...]]:
    return {_meaning(ref, meta["namespace"]) for ref in refs}


def _meaning(ref: Json, namespace: str) -> tuple[object, ...]:
    group = ref.get("group", "gateway.networking.k8s.io")
    return (
        "" if group == "core" else group,
        ref.get("kind") or "Gateway",
        ref.get("namespace") or namespace,
        ref.get("name"),
        ref.get("sectionName") or None,
        ref.get("port") or None,
    )
