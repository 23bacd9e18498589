"""The counters of both versions: which series, told apart how, and the primary's own built-in checks."""

import re
from types import SimpleNamespace

import pytest

from canary.api.canary import parse_canary
from canary.core.release import Release
from canary.engine import observe
from canary.metrics.render import render_query
from canary.routers import registry
from canary.routers.queries import POD

MANIFEST = {
    "apiVersion": "flagger.app/v1beta1",
    "kind": "Canary",
    "metadata": {"name": "podinfo", "namespace": "test"},
    "spec": {
        "targetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "podinfo"},
        "service": {"port": 80, "name": "podinfo-svc"},
        "analysis": {"interval": "1m", "threshold": 5, "stepWeight": 10},
    },
}
JUDGED = ["contour", "gatewayapi:v1", "istio"]


def rendered(template):
    return render_query(template, parse_canary(MANIFEST), interval="1m")


def queries(provider):
    found = registry.router(provider).arm_queries
    assert found is not None
    return found


def clusters(template):
    """The regular expression of cluster names in a selector."""
    return re.search(r'envoy_cluster_name=~"([^"]+)"', rendered(template))[1]


def test_without_a_mesh_nothing_tells_the_versions_apart():
    assert registry.router("kubernetes").arm_queries is None


def test_contour_counts_in_the_clusters_of_both_services():
    found = queries("contour")
    assert rendered(found.canary.requests) == 'envoy_cluster_upstream_rq{envoy_cluster_name=~"test_podinfo-svc-canary_[0-9a-zA-Z-]+"}'
    assert (
        rendered(found.primary.buckets)
        == 'envoy_cluster_upstream_rq_time_bucket{envoy_cluster_name=~"test_podinfo-svc-primary_[0-9a-zA-Z-]+"}'
    )
    assert (found.code, found.unit_ms) == ("envoy_response_code", 1.0)


@pytest.mark.parametrize(
    ("label", "arm"),
    [
        ("test_podinfo-svc-canary_80", "canary"),
        ("test_podinfo-svc-primary_80", "primary"),
        ("test_podinfo-svc-baseline_80", "baseline"),
        ("outbound|80||podinfo-svc-baseline.test.svc.cluster.local", "baseline"),
        ("test_podinfo-svc-baseline-canary_80", None),  # of a canary that is called like this one's baseline
        ("outbound|80||podinfo-svc-baseline-primary.test.svc.cluster.local", None),
        ("outbound|80||podinfo-svc-canary.test.svc.cluster.local", "canary"),
        ("outbound|9898|v1|podinfo-svc-primary.test.svc.cluster.local", "primary"),
        ("outbound|80||podinfo-svc.test.svc.cluster.local", None),
        ("outbound|80||podinfo-svc-canary.prod.svc.cluster.local", None),
        ("prod_podinfo-svc-canary_80", None),
        ("test_podinfo-svc_80", None),
    ],
)
def test_gateways_name_clusters_in_their_own_ways(label, arm):
    found = queries("gatewayapi:v1")
    seen = [name for name in ("canary", "primary", "baseline") if re.fullmatch(clusters(getattr(found, name).requests), label)]
    assert seen == ([arm] if arm else [])


def test_istio_asks_those_who_call():
    found = queries("istio")
    for arm in ("canary", "primary", "baseline"):
        selector = f'reporter="source",destination_service_namespace="test",destination_service_name="podinfo-svc-{arm}"'
        series = getattr(found, arm)
        assert rendered(series.requests) == f"istio_requests_total{{{selector}}}"
        assert rendered(series.buckets) == f"istio_request_duration_milliseconds_bucket{{{selector}}}"
    assert found.code == "response_code"


@pytest.mark.parametrize("provider", JUDGED)
def test_versions_differ_in_nothing_but_their_name(provider):
    """So that an arm is measured as the other is; a baseline, too, which stands for the primary."""
    found = queries(provider)
    for field in ("requests", "buckets", "native"):
        canary, primary, baseline = (rendered(getattr(arm, field)) for arm in (found.canary, found.primary, found.baseline))
        assert len({canary, primary, baseline}) == 3
        assert canary.replace("-canary", "-primary") == primary
        assert canary.replace("-canary", "-baseline") == baseline


@pytest.mark.parametrize("provider", JUDGED)
def test_the_primarys_checks_are_the_canarys_with_another_selector(provider):
    """So that "the primary breaches the same bound" compares like with like."""
    router = registry.router(provider)
    checks = router.arm_queries.checks
    assert set(checks) == set(router.builtin_queries)
    for name, own in router.builtin_queries.items():
        theirs, ours = re.sub(r"\{[^}]*\}", "{}", rendered(checks[name])), re.sub(r"\{[^}]*\}", "{}", rendered(own))
        if POD not in own:  # a pattern of pods has braces of its own
            assert theirs == ours
        assert rendered(checks[name]) != rendered(own)
        assert "-primary" in rendered(checks[name])


def test_copies_are_counted_by_those_who_answer_in_istio_and_by_those_who_send_in_an_envoy():
    """The sender of a copy runs no filter but the router: clusters have statistics of it, Istio's telemetry has not."""
    assert queries("contour").copies is None
    assert queries("gatewayapi:v1").copies is None
    found = queries("istio").copies
    workload = 'reporter="destination",destination_workload_namespace="test",destination_workload='
    assert rendered(found.canary.requests) == f'istio_requests_total{{{workload}"podinfo"}}'
    assert rendered(found.primary.requests) == f'istio_requests_total{{{workload}"podinfo-primary"}}'
    assert rendered(found.baseline.requests) == f'istio_requests_total{{{workload}"podinfo-baseline"}}'
    assert rendered(found.canary.buckets) == f'istio_request_duration_milliseconds_bucket{{{workload}"podinfo"}}'
    assert found.code == "response_code"


@pytest.mark.parametrize("provider", ["contour", "gatewayapi:v1", "istio", "kubernetes"])
def test_no_check_counts_a_baseline_as_the_canary_or_as_the_primary(provider):
    """It runs the old version beside both: in either's numbers it would hide what they do."""
    router = registry.router(provider)
    labels = {
        "envoy_cluster_name": ("test_podinfo-svc-baseline_80", "test_podinfo-svc-baseline_9898"),
        "kubernetes_pod_name": ("podinfo-baseline-7d4b6c8f9b-x2k4z", "podinfo-baseline-x2k4z"),
        "destination_workload": ("podinfo-baseline",),
        "destination_service_name": ("podinfo-svc-baseline",),
    }
    texts = [rendered(text) for text in router.builtin_queries.values()]
    texts += [re.sub(r"{{ interval }}", "1m", _grouped(one.template)) for one in router.grouped_queries.values()]
    if router.arm_queries is not None:
        texts += [rendered(text) for text in router.arm_queries.checks.values()]
        texts += [
            rendered(getattr(arm, name))
            for arm in (router.arm_queries.canary, router.arm_queries.primary)
            for name in ("requests", "buckets")
        ]
    for text in texts:
        matchers = re.findall(r'(envoy_cluster_name|kubernetes_pod_name|destination_workload|destination_service_name)=~?"([^"]+)"', text)
        assert matchers, text
        for label, pattern in matchers:
            assert not any(re.fullmatch(pattern, value) for value in labels[label]), (label, pattern)


def _grouped(template):
    """The query for two canaries at once, one of which is this one."""
    names = {"canary_target": "podinfo|test_podinfo-svc|cart", "kubernetes_namespace": "test", "destination_workload_namespace": "test"}
    names["destination_workload"] = "podinfo|cart"
    return re.sub(r"{{ (\w+) }}", lambda match: names.get(match[1], match[0]), template)


@pytest.mark.parametrize(
    ("provider", "analysis", "percent"),
    [
        ("istio", {}, 100),
        ("istio", {"mirrorWeight": 0}, 100),
        ("istio", {"mirrorWeight": 30}, 30),
        ("gatewayapi:v1", {"mirrorWeight": 30}, 100),
        ("contour", {"mirrorWeight": 30}, 0),
        ("kubernetes", {}, 0),
    ],
)
def test_the_share_of_copies_is_the_one_that_the_route_asks_for(provider, analysis, percent):
    manifest = MANIFEST | {"spec": MANIFEST["spec"] | {"analysis": MANIFEST["spec"]["analysis"] | analysis}}
    release = Release(parse_canary(manifest), provider, "app", "podinfo")
    assert registry.router(provider).mirrored_percent(release) == percent


@pytest.mark.parametrize("provider", JUDGED)
def test_an_engine_asks_for_copies_where_they_are_counted(provider):
    router = registry.router(provider)
    sight = SimpleNamespace(router=router)
    assert observe._arms(sight) is router.arm_queries
    assert observe._arms(sight, copies=True) is (router.arm_queries.copies or router.arm_queries)
