"""The two built-in checks as PromQL templates; a mesh adds its series and its selector.

Placeholders are functions of the query template language (reference flagger-analysis 1.5), so that a rendered query can be
shown next to its verdict. A success rate falls back to 0 when requests were made and none of them succeeded: without that
the numerator is an empty vector, and a canary that fails every request would look like one without traffic.

The same forms ask for many canaries at once (`grouped`): they are told apart in the query, before anything is summed up, so that each group
holds the very series that its canary's own query would have taken, in the same order. Summing per pod and adding the pods up here was
rejected: floating-point sums depend on their order. It holds for the selectors of all meshes of this project.
"""

from __future__ import annotations

from canary.core.arms import ArmQueries, ArmSeries
from canary.core.grouped import GroupedQuery, GroupKey

WINDOW = "[{{ interval }}]"

NOT_5XX = '!~"5.*"'
"""Matcher of a status code that counts as success; also takes codes grouped to a bare `5`."""

_PART = "[0-9b-df-hj-np-tv-z]"
POD = f"(-{_PART}{{1,10}})?-{_PART}{{5}}"
"""What Kubernetes appends to a workload's name to name its pods: `-<template hash>-<5 characters>` for a Deployment,
`-<5 characters>` for a DaemonSet, both from an alphabet without vowels. So the regex takes the target's pods of either kind
and never the primary's (`<target>-primary-...`); upstream's judges a DaemonSet by its primary (flagger-analysis 1.3)."""


def success_rate(series: str, selector: str, *, ok: str, by: str = "", replaced: str = "") -> str:
    """Percent (0 to 100) of the requests counted by `series` that also fulfil the matcher `ok`; NaN or empty without requests.

    With `by` (labels) one value for each group of series; `replaced`: arguments of a `label_replace` that comes before the grouping.
    """
    group = f" by ({by}) " if by else ""
    total = f"sum{group}({_rate(series, selector, replaced)})"
    good = f"sum{group}({_rate(series, f'{selector},{ok}', replaced)})"
    return f"100 * ({good} or 0 * {total}) / {total}"


def latency(buckets: str, selector: str, *, by: str = "", replaced: str = "") -> str:
    """99th percentile of a histogram, in the unit of its buckets. `by` and `replaced` as in `success_rate`.

    Where there is no classic histogram, that of a native one, which has the same name without `_bucket`. A summary has that name, too:
    it has the label `quantile`, and makes Prometheus warn, on which a query for many canaries is given up.
    """
    group, native = (f" by (le, {by}) ", f" by ({by}) ") if by else (" by (le) ", "")
    classic = f"histogram_quantile(0.99, sum{group}({_rate(buckets, selector, replaced)}))"
    rate = _rate(whole(buckets), f'{selector},quantile=""', replaced)
    return f"{classic} or histogram_quantile(0.99, sum{native}({rate}))"


def whole(buckets: str) -> str:
    """The name of a histogram, from that of its buckets."""
    return buckets.removesuffix("_bucket")


def _rate(series: str, selector: str, replaced: str) -> str:
    rate = f"rate({series}{{{selector}}}{WINDOW})"
    return f"label_replace({rate}, {replaced})" if replaced else rate


def builtin(*, requests: str, buckets: str, selector: str, code: str) -> dict[str, str]:
    """Both checks of a mesh. `code` is the label that holds the HTTP status."""
    return {
        "request-success-rate": success_rate(requests, selector, ok=f"{code}{NOT_5XX}"),
        "request-duration": latency(buckets, selector),
    }


TARGET = "canary_target"
"""The label that grouped queries make where no label of the series is a canary's name and nothing else."""


def grouped(
    *, requests: str, buckets: str, selector: str, code: str, keys: tuple[GroupKey, ...], target: tuple[str, str] | None = None
) -> dict[str, GroupedQuery]:
    """Both checks of a mesh for many canaries: as `builtin`, with a selector that takes the series of all of them.

    `target`: a label and the regular expression whose first group is what `TARGET` shall hold. Prometheus 2.42, for one, loses native
    histograms in a `label_replace`, so that a canary which has no latency then asks for itself.
    """
    by = ", ".join(key.label for key in keys)
    replaced = f'"{TARGET}", "$1", "{target[0]}", "{target[1]}"' if target else ""
    texts = {
        "request-success-rate": success_rate(requests, selector, ok=f"{code}{NOT_5XX}", by=by, replaced=replaced),
        "request-duration": latency(buckets, selector, by=by, replaced=replaced),
    }
    return {name: GroupedQuery(text, keys, lossy=bool(target) and name == "request-duration") for name, text in texts.items()}


HTTP = builtin(
    requests="http_request_duration_seconds_count",
    buckets="http_request_duration_seconds_bucket",
    selector=f'kubernetes_namespace="{{{{ namespace }}}}",kubernetes_pod_name=~"{{{{ target }}}}{POD}"',
    code="status",
)
"""What applications with a plain HTTP histogram expose; used where the mesh has no series of its own. Durations in seconds."""

_PODS = f"({{{{ {TARGET} }}}}){POD}"
HTTP_GROUPED = grouped(
    requests="http_request_duration_seconds_count",
    buckets="http_request_duration_seconds_bucket",
    selector=f'kubernetes_namespace=~"{{{{ kubernetes_namespace }}}}",kubernetes_pod_name=~"{_PODS}"',
    code="status",
    # `shop-x7` has pods `shop-x7-bcdfg` if it is a DaemonSet, which may as well be pods of the Deployment `shop`
    keys=(GroupKey("kubernetes_namespace", "{{ namespace }}"), GroupKey(TARGET, "{{ target }}", twin=f"-{_PART}{{1,10}}")),
    target=("kubernetes_pod_name", _PODS),
)
"""`HTTP` for many canaries."""


def arm(*, requests: str, buckets: str, selector: str) -> ArmSeries:
    """The raw counters of one version."""
    return ArmSeries(f"{requests}{{{selector}}}", f"{buckets}{{{selector}}}", f"{whole(buckets)}{{{selector}}}")


def arms(
    *,
    requests: str,
    buckets: str,
    canary: str,
    primary: str,
    baseline: str,
    code: str,
    checks: dict[str, str] | None = None,
    copies: ArmQueries | None = None,
) -> ArmQueries:
    """The raw counters of both versions, and of the baseline, told apart by their selectors; durations in milliseconds.

    `checks`: the built-in checks of the primary, where they use other series than these. `copies`: who counts copies, where it is somebody else.
    """
    return ArmQueries(
        canary=arm(requests=requests, buckets=buckets, selector=canary),
        primary=arm(requests=requests, buckets=buckets, selector=primary),
        baseline=arm(requests=requests, buckets=buckets, selector=baseline),
        code=code,
        checks=checks or builtin(requests=requests, buckets=buckets, selector=primary, code=code),
        copies=copies,
    )


def envoy_arms(*names: str, checks: dict[str, str] | None = None) -> ArmQueries:
    """Clusters of an Envoy that routes to the Services of both versions, and of the baseline.

    `names` are regular expressions of cluster names in which `ARM` stands for the version. The proxy counts what its clients met, so a pod
    that dies without a word is seen, too.
    """
    canary, primary, baseline = (
        f'envoy_cluster_name=~"{"|".join(names).replace("ARM", version)}"' for version in ("canary", "primary", "baseline")
    )
    return arms(
        requests="envoy_cluster_upstream_rq",
        buckets="envoy_cluster_upstream_rq_time_bucket",
        canary=canary,
        primary=primary,
        baseline=baseline,
        code="envoy_response_code",
        checks=checks,
    )


CONTOUR_CLUSTER = "{{ namespace }}_{{ service }}-ARM_[0-9a-zA-Z-]+"
"""How Contour names the cluster of a Service, for both of its APIs."""
ISTIO_CLUSTER = "outbound[|][0-9]+[|][^|]*[|]{{ service }}-ARM[.]{{ namespace }}[.]svc[.].+"
"""How Istio names it, on gateways that are told to export statistics of clusters."""

HTTP_PRIMARY = builtin(
    requests="http_request_duration_seconds_count",
    buckets="http_request_duration_seconds_bucket",
    selector=f'kubernetes_namespace="{{{{ namespace }}}}",kubernetes_pod_name=~"{{{{ target }}}}-primary{POD}"',
    code="status",
)
"""`HTTP`, about the primary's pods."""
