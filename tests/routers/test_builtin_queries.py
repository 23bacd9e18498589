"""The built-in checks: which series, which selector, and which pods (reference flagger-analysis 1.3, 1.4)."""

import re

import pytest

from canary.routers import registry
from canary.routers.queries import POD


def rendered(text, **values):
    values = {"namespace": "test", "target": "podinfo", "service": "podinfo-svc", "interval": "1m", **values}
    return re.sub(r"{{ (\w+) }}", lambda match: values[match.group(1)], text)


def queries(provider):
    found = registry.router(provider).builtin_queries
    assert set(found) == {"request-success-rate", "request-duration"}
    return rendered(found["request-success-rate"]), rendered(found["request-duration"])


def quantile(buckets, by=""):
    """The 99th percentile of rates of buckets; of a native histogram where there are none, whose name a summary may have, too."""
    whole = buckets.replace("_bucket{", "{", 1).replace("}[1m]", ',quantile=""}[1m]', 1)
    groups = f"le, {by}" if by else "le"
    others = f" by ({by}) " if by else ""
    return f"histogram_quantile(0.99, sum by ({groups}) ({buckets})) or histogram_quantile(0.99, sum{others}({whole}))"


def test_istio():
    rate, duration = queries("istio")
    selector = 'reporter="destination",destination_workload_namespace="test",destination_workload=~"podinfo"'
    total = f"sum(rate(istio_requests_total{{{selector}}}[1m]))"
    assert rate == f'100 * (sum(rate(istio_requests_total{{{selector},response_code!~"5.*"}}[1m])) or 0 * {total}) / {total}'
    assert duration == quantile(f"rate(istio_request_duration_milliseconds_bucket{{{selector}}}[1m])")


def test_contour_looks_at_the_service_of_the_canary():
    rate, duration = queries("contour")
    selector = 'envoy_cluster_name=~"test_podinfo-svc-canary_[0-9a-zA-Z-]+"'
    assert f'envoy_cluster_upstream_rq{{{selector},envoy_response_code!~"5.*"}}[1m]' in rate
    assert duration == quantile(f"rate(envoy_cluster_upstream_rq_time_bucket{{{selector}}}[1m])")


@pytest.mark.parametrize("provider", ["kubernetes", "gatewayapi:v1"])
def test_http(provider):
    rate, duration = queries(provider)
    selector = f'kubernetes_namespace="test",kubernetes_pod_name=~"podinfo{POD}"'
    assert f'http_request_duration_seconds_count{{{selector},status!~"5.*"}}[1m]' in rate
    assert duration == quantile(f"rate(http_request_duration_seconds_bucket{{{selector}}}[1m])")


@pytest.mark.parametrize(("provider", "unit"), [("kubernetes", 1000), ("gatewayapi:v1", 1000), ("contour", 1), ("istio", 1)])
def test_units_of_durations(provider, unit):
    assert registry.router(provider).duration_unit_ms == unit


@pytest.mark.parametrize(
    ("pod", "ours"),
    [
        ("podinfo-7d4b6c8f9b-x2k4z", True),  # of a Deployment
        ("podinfo-x2k4z", True),  # of a DaemonSet
        ("podinfo-primary-7d4b6c8f9b-x2k4z", False),
        ("podinfo-primary-x2k4z", False),  # a DaemonSet's primary: upstream takes it for the canary
        ("podinfo-baseline-7d4b6c8f9b-x2k4z", False),
        ("podinfo-baseline-x2k4z", False),
        ("podinfo-cache-7d4b6c8f9b-x2k4z", False),
        ("podinfo-0", False),
        ("podinfo", False),
        ("other-podinfo-7d4b6c8f9b-x2k4z", False),
    ],
)
def test_pods_of_the_target_and_of_nothing_else(pod, ours):
    assert bool(re.fullmatch("podinfo" + POD, pod)) is ours


# ------------------------------------------------------------------------------------------------ for many canaries at once


def grouped(provider, **names):
    found = registry.router(provider).grouped_queries
    assert set(found) == {"request-success-rate", "request-duration"}
    return rendered(found["request-success-rate"].template, **names), rendered(found["request-duration"].template, **names)


def test_istio_groups_by_its_own_labels():
    rate, duration = grouped("istio", destination_workload_namespace="test|prod", destination_workload="shop|cart")
    selector = 'reporter="destination",destination_workload_namespace=~"test|prod",destination_workload=~"shop|cart"'
    by = "destination_workload_namespace, destination_workload"
    total = f"sum by ({by}) (rate(istio_requests_total{{{selector}}}[1m]))"
    assert rate == f'100 * (sum by ({by}) (rate(istio_requests_total{{{selector},response_code!~"5.*"}}[1m])) or 0 * {total}) / {total}'
    assert duration == quantile(f"rate(istio_request_duration_milliseconds_bucket{{{selector}}}[1m])", by)


def test_contour_groups_by_what_the_name_of_the_cluster_says():
    rate, duration = grouped("contour", canary_target="test_shop|prod_cart")
    clusters = "(test_shop|prod_cart)-canary_[0-9a-zA-Z-]+"
    selector, named = f'envoy_cluster_name=~"{clusters}"', f'"canary_target", "$1", "envoy_cluster_name", "{clusters}"'
    total = f"sum by (canary_target) (label_replace(rate(envoy_cluster_upstream_rq{{{selector}}}[1m]), {named}))"
    assert rate.endswith(f" or 0 * {total}) / {total}")
    buckets = f"label_replace(rate(envoy_cluster_upstream_rq_time_bucket{{{selector}}}[1m]), {named})"
    assert duration == quantile(buckets, "canary_target")


@pytest.mark.parametrize("provider", ["kubernetes", "gatewayapi:v1"])
def test_http_groups_by_what_the_name_of_the_pod_says(provider):
    _, duration = grouped(provider, kubernetes_namespace="test", canary_target="shop|cart")
    selector = f'kubernetes_namespace=~"test",kubernetes_pod_name=~"(shop|cart){POD}"'
    named = f'"canary_target", "$1", "kubernetes_pod_name", "(shop|cart){POD}"'
    buckets = f"label_replace(rate(http_request_duration_seconds_bucket{{{selector}}}[1m]), {named})"
    assert duration == quantile(buckets, "kubernetes_namespace, canary_target")
