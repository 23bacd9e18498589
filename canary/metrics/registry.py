"""Provider type to provider, through the entry points `canary.metrics`. An unknown type is an error, never Prometheus."""

from __future__ import annotations

from functools import cache
from importlib.metadata import EntryPoint, entry_points

from canary.core.errors import Rejected
from canary.metrics.base import MetricProvider


def provider(kind: str) -> MetricProvider:
    """A new provider of this type. Raises Rejected, saying which types there are."""
    found = _installed()
    if kind not in found:
        raise Rejected(f"unknown metric provider type {kind!r}", hint=f"supported are: {', '.join(sorted(found))}")
    made: MetricProvider = found[kind].load()()
    return made


@cache
def _installed() -> dict[str, EntryPoint]:
    return {point.name: point for point in entry_points(group="canary.metrics")}
