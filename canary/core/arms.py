"""Which series count the requests of both versions: what a mesh says about itself, and a metric source is asked for.

It stands in `core` because routers know the series and metric sources know how to ask, while the two know nothing of each other. Raw
counters on purpose: a rate has lost how many requests it was made of (see `canary.core.judge.counters`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class ArmSeries:
    """Selectors of one version, in the template language of queries, without a range.

    `requests`: counters by status. `buckets`: a classic histogram by `le`. `native`: the same as a native histogram, whose bounds may be
    exponential or its author's own; it is asked for where there is no classic one (empty: never).
    """

    requests: str
    buckets: str
    native: str = ""


@dataclass(frozen=True, slots=True)
class ArmQueries:
    """Both versions. `code` is the label with the HTTP status; one unit of the histogram's values is `unit_ms` milliseconds.

    `baseline` takes the primary's place where a baseline runs (None: this mesh cannot tell it from the others).
    `copies` takes their place while the canary gets copies of requests, where those who send copies do not count them (None: they do).
    `checks` maps the names of built-in checks to the same queries about the primary. `processes` lists labels that name who counts: the first
    that a series has, within the labels of `scopes`, tells one process from another.
    """

    canary: ArmSeries
    primary: ArmSeries
    code: str
    unit_ms: float = 1.0
    checks: Mapping[str, str] = field(default_factory=dict)
    copies: ArmQueries | None = None
    baseline: ArmSeries | None = None
    processes: tuple[str, ...] = ("pod", "kubernetes_pod_name", "pod_name", "instance")
    scopes: tuple[str, ...] = ("cluster", "namespace", "kubernetes_namespace")
