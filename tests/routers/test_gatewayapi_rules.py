import pytest

from canary.core.errors import Rejected
from canary.core.model import Cookies, Routes, Unknown
from canary.core.release import FLUX_MARKERS
from canary.kube.ensure import differs
from canary.kube.resource import HTTP_ROUTES
from canary.routers.base import NO_CANARY_RULE, ObjectRef
from canary.routers.gatewayapi import GatewayApiRouter
from canary.routers.gatewayapi_filters import duration
from tests.routers.releases import applied, nothing, release

router = GatewayApiRouter()
REF = ObjectRef(HTTP_ROUTES, "podinfo")


def spec(text="", routes=Routes(100, 0)):
    of = release("gatewayapi:v1", text)
    (one,) = router.wanted(of, nothing(router, of), routes)
    return one.body["spec"]


def rules(text="", routes=Routes(100, 0)):
    return spec(text, routes)["rules"]


def weights(rule):
    return [(ref["name"], ref["weight"]) for ref in rule["backendRefs"]]


def route(*rules, **metadata):
    return {REF: {"metadata": {"name": "podinfo", "namespace": "test", **metadata}, "spec": {"rules": list(rules)}}}


def refuses(text, says):
    with pytest.raises(Rejected, match=says) as error:
        spec(text)
    assert error.value.hint
    return error.value


def test_a_canary_without_gateway_is_refused():
    assert "Gateway" in refuses("service: {gatewayRefs: []}", r"spec\.service\.gatewayRefs is empty").hint


def test_defaults_of_the_server_are_written_out():
    assert spec()["parentRefs"] == [{"group": "gateway.networking.k8s.io", "kind": "Gateway", "name": "gateway", "namespace": "infra"}]
    (rule,) = rules()
    assert rule["matches"] == [{"path": {"type": "PathPrefix", "value": "/"}}]
    assert rule["backendRefs"][1] == {"group": "", "kind": "Service", "name": "podinfo-canary", "port": 9898, "weight": 0}


def test_hostnames_that_are_no_longer_wanted_go():
    before = release("gatewayapi:v1", "service: {hosts: [a.example.org]}")
    live = applied(router.wanted(before, nothing(router, before), Routes(100, 0)), nothing(router, before))
    (one,) = router.wanted(release("gatewayapi:v1"), live, Routes(100, 0))
    assert differs(one, live[REF]) == [("spec", "hostnames")]
    assert "hostnames" not in applied([one], live)[REF]["spec"]


def test_hostnames_are_those_of_the_service_or_absent():
    assert "hostnames" not in spec()
    assert spec("service: {hosts: [b.example.org, a.example.org]}")["hostnames"] == ["b.example.org", "a.example.org"]


@pytest.mark.parametrize(
    ("match", "path"),
    [
        ("headers: {x-team: {prefix: a.b}}", "headers.x-team"),
        ("queryParams: {q: {prefix: a}}", "queryParams.q"),
        ("method: {prefix: P}", "method"),
        ("uri: {}", "uri"),
        ("headers: {x: {}}", "headers.x"),
    ],
)
def test_what_the_api_has_no_words_for_is_refused_by_path(match, path):
    error = refuses(f"service: {{match: [{{uri: {{prefix: /}}}}, {{{match}}}]}}", "cannot express")
    assert f"spec.service.match[1].{path}" in error.message


def test_the_hint_for_a_prefix_or_suffix_is_the_regex_that_says_the_same():
    assert refuses("analysis: {iterations: 1, match: [{headers: {a: {prefix: 'v1.'}}}]}", "cannot express").hint == r"use regex: v1\..*"
    assert refuses("analysis: {iterations: 1, match: [{headers: {a: {suffix: '.v1'}}}]}", "cannot express").hint == r"use regex: .*\.v1"


@pytest.mark.parametrize("entry", ["{sourceLabels: {app: x}}", "{}"])
def test_an_ab_match_that_would_take_everybody_is_refused(entry):
    refuses(f"analysis: {{iterations: 1, match: [{entry}]}}", "every request would match")


def test_conditions_that_the_api_lacks_are_ignored_next_to_others():
    (rule,) = rules("service: {match: [{uri: {exact: /a}, scheme: {exact: https}, port: 80}, {authority: {exact: a.b}}]}")
    assert rule["matches"] == [{"path": {"type": "Exact", "value": "/a"}}]


def test_testers_go_by_weight_and_everybody_else_to_the_primary():
    first, second = rules("analysis: {iterations: 5, match: [{headers: {x: {exact: y}}}]}", Routes(0, 100))
    assert weights(first) == [("podinfo-primary", 0), ("podinfo-canary", 100)]
    assert weights(second) == [("podinfo-primary", 100)]
    assert second["matches"] == [{"path": {"type": "PathPrefix", "value": "/"}}]


def test_filters_come_in_upstreams_order_and_in_both_rules_of_an_ab_test():
    text = """
service:
  headers: {request: {add: {a: b}}, response: {remove: [server]}}
  rewrite: {uri: /x}
  mirror: [{backendRef: {name: audit, port: 80}}]
  corsPolicy: {allowOrigin: ["*"]}
analysis: {stepWeight: 10, match: [{headers: {x: {exact: y}}}]}
"""
    first, second = rules(text, Routes(100, 0, mirrored=True))
    common = ["RequestHeaderModifier", "ResponseHeaderModifier", "URLRewrite", "RequestMirror", "CORS"]
    assert [one["type"] for one in first["filters"]] == [*common, "RequestMirror"]
    assert [one["type"] for one in second["filters"]] == common
    assert first["filters"][3]["requestMirror"]["backendRef"] == {"group": "", "kind": "Service", "name": "audit", "port": 80}
    assert first["filters"][5]["requestMirror"]["backendRef"]["name"] == "podinfo-canary"


def test_empty_edits_make_no_filter():
    (rule,) = rules("service: {headers: {request: {}, response: {add: {}}}, rewrite: {}}")
    assert "filters" not in rule


@pytest.mark.parametrize(
    ("kind", "key"), [("ReplacePrefixMatch", "replacePrefixMatch"), ("ReplaceFullPath", "replaceFullPath"), ("nonsense", "replaceFullPath")]
)
def test_a_rewrite_is_of_the_full_path_unless_it_says_prefix(kind, key):
    (rule,) = rules(f"service: {{rewrite: {{uri: /x, type: {kind}}}}}")
    assert rule["filters"][0]["urlRewrite"]["path"][key] == "/x"


@pytest.mark.parametrize(
    "match",
    [
        "service: {match: [{uri: {prefix: /a}}, {uri: {prefix: /b}}], rewrite: {uri: /x, type: ReplacePrefixMatch}}",
        "service: {match: [{uri: {exact: /a}}], rewrite: {uri: /x, type: ReplacePrefixMatch}}",
    ],
)
def test_a_prefix_rewrite_that_the_server_would_refuse_is_explained(match):
    refuses(match, "exactly one request match")


def test_mirroring_of_other_services_is_not_taken_for_ours():
    of = release("gatewayapi:v1", "service: {mirror: [{backendRef: {name: audit, port: 80}}]}")
    live = applied(router.wanted(of, nothing(router, of), Routes(100, 0)), nothing(router, of))
    assert router.read(of, live) == Routes(100, 0, mirrored=False)


@pytest.mark.parametrize(
    ("analysis", "can"),
    [
        ("{stepWeight: 10, mirror: true}", True),
        ("{iterations: 5, mirror: true}", True),
        ("{iterations: 5, match: [{headers: {a: {exact: b}}}]}", False),
        ("{stepWeight: 5, match: [{headers: {a: {exact: b}}}]}", True),
    ],
)
def test_every_strategy_with_a_quiet_start_can_mirror(analysis, can):
    assert router.can_mirror(release("gatewayapi:v1", f"analysis: {analysis}")) is can


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("10s", "10s"),
        ("1h30m", "1h30m"),
        ("1.5s", "1s500ms"),
        ("0.25h", "15m"),
        ("90000000ms", "25h"),
        ("0", "0s"),
        ("0s", "0s"),
        ("+2s", "2s"),
        ("1500us", None),
        ("-1s", None),
        ("soon", None),
        ("5minutes", None),
        ("10", None),
    ],
)
def test_durations_are_spelled_as_the_gateway_api_wants(text, written):
    if written:
        assert duration(text, "x") == written
    else:
        with pytest.raises(Rejected, match=r"^spec\.service\.timeout: "):
            spec(f"service: {{timeout: '{text}'}}")


@pytest.mark.parametrize(("age", "seconds"), [("", 5), ("24h", 86400), ("1500ms", 1), ("0s", None), ("x", None)])
def test_the_age_of_cors_answers_is_in_seconds(age, seconds):
    text = f"service: {{corsPolicy: {{allowOrigin: ['*'], maxAge: '{age}'}}}}"
    if seconds is None:
        with pytest.raises(Rejected, match=r"corsPolicy\.maxAge"):
            spec(text)
    else:
        assert rules(text)[0]["filters"][0]["cors"]["maxAge"] == seconds


def test_a_cookie_to_be_forgotten_does_not_leak_into_the_rule_of_everybody_else():
    text = "service: {headers: {response: {add: {x: y}}}}\nanalysis: {stepWeight: 1, sessionAffinity: {cookieName: c}}"
    first, second = rules(text, Routes(100, 0, cookies=Cookies(previous="c=abc")))
    assert first["filters"][0]["responseHeaderModifier"]["add"] == [
        {"name": "Set-Cookie", "value": "c=abc; Max-Age=-1"},
        {"name": "x", "value": "y"},
    ]
    assert second["filters"][0]["responseHeaderModifier"]["add"] == [{"name": "x", "value": "y"}]


def test_two_cookies_in_one_rule_are_refused_as_the_server_would():
    text = "service: {headers: {response: {add: {Set-Cookie: y}}}}\nanalysis: {stepWeight: 1, sessionAffinity: {cookieName: c}}"
    of = release("gatewayapi:v1", text)
    with pytest.raises(Rejected, match="collides with"):
        router.wanted(of, nothing(router, of), Routes(100, 0, cookies=Cookies(previous="c=abc")))


def test_the_weighted_rule_is_read_not_the_sticky_ones():
    of = release("gatewayapi:v1", "analysis: {stepWeight: 1, sessionAffinity: {cookieName: c, primaryCookieName: p}}")
    routes = Routes(80, 20, cookies=Cookies(current="c=abc", primary="p=def"))
    live = applied(router.wanted(of, nothing(router, of), routes), nothing(router, of))
    assert len(live[REF]["spec"]["rules"]) == 3
    assert router.read(of, live) == Routes(80, 20)


def test_a_weight_that_is_left_out_is_one():
    refs = [{"name": "podinfo-primary"}, {"name": "podinfo-canary"}]
    assert router.read(release("gatewayapi:v1"), route({"backendRefs": refs})) == Routes(50, 50)


def test_a_route_without_canary_is_unknown_when_ours_and_nothing_yet_when_a_users():
    rule = {"backendRefs": [{"name": "podinfo-primary", "weight": 100}]}
    ours = router.read(release("gatewayapi:v1"), route(rule, annotations=dict(FLUX_MARKERS)))
    assert isinstance(ours, Unknown)
    assert ours.reason == NO_CANARY_RULE
    assert router.read(release("gatewayapi:v1"), route(rule)) is None


def test_two_zero_weights_are_not_believed():
    refs = [{"name": "podinfo-primary", "weight": 0}, {"name": "podinfo-canary", "weight": 0}]
    found = router.read(release("gatewayapi:v1"), route({"backendRefs": refs}))
    assert isinstance(found, Unknown)
    assert found.reason == NO_CANARY_RULE
