import pytest

from canary.core.errors import Rejected
from canary.core.model import Routes, Unknown
from canary.core.release import FLUX_MARKERS, Options
from canary.kube.resource import HTTP_PROXIES
from canary.routers.base import NO_CANARY_RULE, ObjectRef
from canary.routers.contour import ContourRouter
from tests.routers.releases import applied, nothing, release

router = ContourRouter()
REF = ObjectRef(HTTP_PROXIES, "podinfo")


def spec(of, routes=Routes(100, 0), live=None):
    (one,) = router.wanted(of, live or nothing(router, of), routes)
    return one.body["spec"]


def services(*weights):
    pairs = zip(("podinfo-primary", "podinfo-canary"), weights, strict=True)
    return [{"name": name, "port": 9898, **({} if weight is None else {"weight": weight})} for name, weight in pairs]


def proxy(routes, **metadata):
    return {REF: {"metadata": {"name": "podinfo", "namespace": "test", **metadata}, "spec": {"routes": routes}}}


def test_linkerd_behind_contour_finds_the_service_by_header():
    (route,) = spec(release("contour"))["routes"]
    assert [service["requestHeadersPolicy"]["set"] for service in route["services"]] == [
        [{"name": "l5d-dst-override", "value": "podinfo-primary.test.svc.cluster.local:9898"}],
        [{"name": "l5d-dst-override", "value": "podinfo-canary.test.svc.cluster.local:9898"}],
    ]


def test_the_ingress_class_is_written_only_when_the_operator_has_one():
    assert "ingressClassName" not in spec(release("contour"))
    assert spec(release("contour", options=Options(ingress_class="contour")))["ingressClassName"] == "contour"


def test_a_virtual_host_of_the_user_stays():
    of = release("contour")
    live = {REF: {"metadata": {"name": "podinfo"}, "spec": {"virtualhost": {"fqdn": "a.b"}, "routes": [{"services": []}]}}}
    after = applied(router.wanted(of, live, Routes(90, 10)), live)[REF]
    assert after["spec"]["virtualhost"] == {"fqdn": "a.b"}
    assert [service["weight"] for service in after["spec"]["routes"][0]["services"]] == [90, 10]


def test_alternatives_of_the_match_are_routes_and_everybody_else_stays_on_the_primary():
    of = release("contour", "analysis: {iterations: 3, match: [{headers: {a: {exact: '1'}, b: {regex: x}}}, {headers: {c: {exact: '1'}}}]}")
    first, second, rest = spec(of, Routes(0, 100))["routes"]
    assert first["conditions"] == [{"prefix": "/"}, {"header": {"name": "a", "exact": "1"}}, {"header": {"name": "b", "regex": "x"}}]
    assert second["conditions"] == [{"prefix": "/"}, {"header": {"name": "c", "exact": "1"}}]
    assert rest["conditions"] == [{"prefix": "/"}]
    assert [[service["weight"] for service in route["services"]] for route in (first, second, rest)] == [[0, 100], [0, 100], [100, 0]]


@pytest.mark.parametrize(
    ("entry", "says"),
    [
        ("{sourceLabels: {app: x}}", "neither a header nor a query parameter"),
        ("{}", "neither a header nor a query parameter"),
        ("{headers: {a: {}}}", "no value to compare with"),
        ("{queryParams: {a: {}}}", "no value to compare with"),
    ],
)
def test_a_match_that_would_take_everybody_is_refused(entry, says):
    of = release("contour", f"analysis: {{iterations: 3, match: [{{headers: {{a: {{exact: x}}}}}}, {entry}]}}")
    with pytest.raises(Rejected, match=says) as error:
        spec(of)
    assert "spec.analysis.match[1]" in error.value.message
    assert error.value.hint


def test_a_retry_without_a_count_is_no_retry():
    (route,) = spec(release("contour", "service: {retries: {perTryTimeout: 1s}}"))["routes"]
    assert route["retryPolicy"] == {"count": 0, "perTryTimeout": "1s"}


def test_linkerd_finds_the_baseline_by_its_own_name():
    (route,) = spec(release("contour"), Routes(80, 20, baseline=20))["routes"]
    assert [(service["name"], service["weight"]) for service in route["services"]] == [
        ("podinfo-primary", 60),
        ("podinfo-canary", 20),
        ("podinfo-baseline", 20),
    ]
    assert route["services"][2]["requestHeadersPolicy"]["set"][0]["value"] == "podinfo-baseline.test.svc.cluster.local:9898"


@pytest.mark.parametrize(
    ("weights", "routes"),
    [((60, 20, 20), Routes(80, 20, baseline=20)), ((1, 1, 1), Routes(67, 33, baseline=33)), ((60, 20, None), Routes(75, 25))],
)
def test_a_baseline_is_read_as_part_of_the_primary(weights, routes):
    named = [*services(*weights[:2]), {"name": "podinfo-baseline", "port": 9898, **({"weight": weights[2]} if weights[2] else {})}]
    assert router.read(release("contour"), proxy([{"services": named}])) == routes


@pytest.mark.parametrize(("weights", "routes"), [((70, 30), Routes(70, 30)), ((None, 5), Routes(0, 100)), ((3, 1), Routes(75, 25))])
def test_weights_of_the_first_route_are_believed(weights, routes):
    assert router.read(release("contour"), proxy([{"services": services(*weights)}])) == routes


def test_the_route_of_testers_counts_in_an_ab_test():
    of = release("contour", "analysis: {iterations: 3, match: [{headers: {a: {exact: '1'}}}]}")
    live = applied(router.wanted(of, nothing(router, of), Routes(0, 100)), nothing(router, of))
    assert router.read(of, live) == Routes(0, 100)


def test_no_weights_at_all_are_not_believed():
    found = router.read(release("contour"), proxy([{"services": services(None, None)}]))
    assert isinstance(found, Unknown)
    assert found.reason == NO_CANARY_RULE


def test_our_proxy_without_the_canary_is_unknown_and_a_users_own_is_nothing_yet():
    routes = [{"services": [{"name": "podinfo", "port": 80}]}]
    ours = router.read(release("contour"), proxy(routes, annotations=dict(FLUX_MARKERS)))
    assert isinstance(ours, Unknown)
    assert ours.reason == NO_CANARY_RULE
    assert "podinfo-canary" in ours.message
    assert router.read(release("contour"), proxy(routes)) is None


def test_nothing_is_restored_and_nothing_mirrored():
    of = release("contour", "analysis: {iterations: 3, mirror: true}")
    assert router.finalize(of, nothing(router, of)) == ()
    assert not router.can_mirror(of)
