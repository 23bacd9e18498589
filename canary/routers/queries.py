"""The two built-in checks as PromQL templates; a mesh adds its series and its selector.

Placeholders are functions of the query template language (reference flagger-analysis 1.5), so that a rendered query can be
shown next to its verdict. A success rate falls back to 0 when requests were made and none of them succeeded: without that
the numerator is an empty vector, and a canary that fails every request would look like one without traffic.
"""

from __future__ import annotations

WINDOW = "[{{ interval }}]"

NOT_5XX = '!~"5.*"'
"""Matcher of a status code that counts as success; also takes codes grouped to a bare `5`."""

_PART = "[0-9b-df-hj-np-tv-z]"
POD = f"(-{_PART}{{1,10}})?-{_PART}{{5}}"
"""What Kubernetes appends to a workload's name to name its pods: `-<template hash>-<5 characters>` for a Deployment,
`-<5 characters>` for a DaemonSet, both from an alphabet without vowels. So the regex takes the target's pods of either kind
and never the primary's (`<target>-primary-...`); upstream's judges a DaemonSet by its primary (flagger-analysis 1.3)."""


def success_rate(series: str, selector: str, *, ok: str) -> str:
    """Percent (0 to 100) of the requests counted by `series` that also fulfil the matcher `ok`; NaN or empty without requests."""
    total = f"sum(rate({series}{{{selector}}}{WINDOW}))"
    good = f"sum(rate({series}{{{selector},{ok}}}{WINDOW}))"
    return f"100 * ({good} or 0 * {total}) / {total}"


def latency(buckets: str, selector: str) -> str:
    """99th percentile of a histogram, in the unit of its buckets."""
    return f"histogram_quantile(0.99, sum by (le) (rate({buckets}{{{selector}}}{WINDOW})))"


def builtin(*, requests: str, buckets: str, selector: str, code: str) -> dict[str, str]:
    """Both checks of a mesh. `code` is the label that holds the HTTP status."""
    return {
        "request-success-rate": success_rate(requests, selector, ok=f"{code}{NOT_5XX}"),
        "request-duration": latency(buckets, selector),
    }


HTTP = builtin(
    requests="http_request_duration_seconds_count",
    buckets="http_request_duration_seconds_bucket",
    selector=f'kubernetes_namespace="{{{{ namespace }}}}",kubernetes_pod_name=~"{{{{ target }}}}{POD}"',
    code="status",
)
"""What applications with a plain HTTP histogram expose; used where the mesh has no series of its own. Durations in seconds."""
