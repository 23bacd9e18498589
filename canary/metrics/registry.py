"""Provider type to provider, through the entry points `canary.metrics`. An unknown type is an error, never Prometheus."""

from __future__ import annotations

from importlib.metadata import entry_points

from canary.core.errors import Rejected
from canary.metrics.base import MetricProvider

UPSTREAM = (
    "prometheus", "influxdb", "datadog", "externalmetrics", "stackdriver", "cloudwatch", "newrelic", "graphite", "dynatrace", "keptn", "splunk",
)  # fmt: skip
"""What MetricTemplates may name; some of them are not served yet."""


def provider(kind: str) -> MetricProvider:
    """A new provider of this type. Raises Rejected, saying which types there are."""
    found = {point.name: point for point in entry_points(group="canary.metrics")}
    if kind in found:
        made: MetricProvider = found[kind].load()()
        return made
    known = ", ".join(sorted(found))
    if kind in UPSTREAM:
        raise Rejected(f"metric provider type {kind} is not supported yet", hint=f"supported are: {known}")
    raise Rejected(f"unknown metric provider type {kind!r}", hint=f"supported are: {known}")
