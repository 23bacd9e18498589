import json

import pytest

from canary.core.errors import Rejected
from canary.core.model import Cookies, Routes, Unknown
from canary.core.release import FLUX_MARKERS, Options
from canary.kube.ensure import differs
from canary.kube.resource import DESTINATION_RULES, SERVICES, VIRTUAL_SERVICES
from canary.routers.base import NO_CANARY_RULE, ObjectRef
from canary.routers.istio import IstioRouter
from tests.routers.releases import UID, applied, nothing, release

router = IstioRouter()
REF = ObjectRef(VIRTUAL_SERVICES, "podinfo")
ORIGINAL = "flagger.kubernetes.io/original-configuration"
KUBECTL = "kubectl.kubernetes.io/last-applied-configuration"
USERS_SPEC = {"hosts": ["podinfo"], "http": [{"route": [{"destination": {"host": "podinfo"}}]}], "exportTo": ["."]}


def body(of, routes=Routes(100, 0), live=None):
    return router.wanted(of, live or nothing(router, of), routes)[-1].body


def spec(text="", routes=Routes(100, 0)):
    return body(release("istio", text), routes)["spec"]


def users(of, **metadata):
    found = {**VIRTUAL_SERVICES.head("test", "podinfo"), "spec": json.loads(json.dumps(USERS_SPEC))}
    found["metadata"].update(metadata)
    return {**nothing(router, of), REF: found}


def weights(rule):
    return [(one["destination"]["host"], one["weight"]) for one in rule["route"]]


def test_policies_come_before_the_routes_that_need_them():
    of = release("istio")
    assert [(one.resource, one.body["metadata"]["name"]) for one in router.wanted(of, nothing(router, of), Routes(100, 0))] == [
        (DESTINATION_RULES, "podinfo-canary"),
        (DESTINATION_RULES, "podinfo-primary"),
        (VIRTUAL_SERVICES, "podinfo"),
    ]


# -------------------------------------------------------------------------------------------- the rule of a baseline


SPLIT = Routes(80, 20, baseline=20)
BASELINE = ObjectRef(DESTINATION_RULES, "podinfo-baseline")
SERVICE = ObjectRef(SERVICES, "podinfo-baseline")


def with_service(of, uid="uid-of-service", **owner):
    """The baseline's Service is there, owned by the Canary."""
    metadata = {"name": "podinfo-baseline", "uid": uid, "ownerReferences": [{**of.owner_reference, **owner}]}
    return {**nothing(router, of), SERVICE: {"metadata": metadata}}


def baselines(of, live):
    """What is wanted of the baseline's rule; None: nothing."""
    return next((one for one in router.wanted(of, live, SPLIT) if one.body["metadata"]["name"] == "podinfo-baseline"), None)


def test_the_policy_of_a_baseline_is_that_of_the_others_and_comes_before_its_route():
    of = release("istio", "service: {trafficPolicy: {tls: {mode: ISTIO_MUTUAL}}}")
    wanted = router.wanted(of, with_service(of), SPLIT)
    assert [one.body["metadata"]["name"] for one in wanted] == ["podinfo-canary", "podinfo-primary", "podinfo-baseline", "podinfo"]
    assert wanted[2].body["spec"] == {"host": "podinfo-baseline", "trafficPolicy": {"tls": {"mode": "ISTIO_MUTUAL"}}}


def test_it_goes_with_the_baselines_service_alone():
    """A second owner would keep it: the garbage collector waits for the last one."""
    of = release("istio")
    owner = {"apiVersion": "v1", "kind": "Service", "name": "podinfo-baseline", "uid": "uid-of-service"}
    assert baselines(of, with_service(of)).body["metadata"]["ownerReferences"] == [owner]


@pytest.mark.parametrize("service", ["none", "somebody's"])
def test_without_a_service_of_ours_it_goes_with_the_canary(service):
    of = release("istio")
    live = nothing(router, of) if service == "none" else with_service(of, uid="theirs")
    if service != "none":
        live[SERVICE]["metadata"]["ownerReferences"] = []
    assert baselines(of, live).body["metadata"]["ownerReferences"] == [dict(of.owner_reference)]


def test_its_owner_stays_when_the_service_was_made_again():
    """The collector takes the rule with the Service that is gone. Without an owner it would stay for ever."""
    of = release("istio")
    live = applied(router.wanted(of, with_service(of), SPLIT), with_service(of))
    again = {**live, SERVICE: with_service(of, uid="another")[SERVICE]}
    wanted = baselines(of, again)
    assert [ref["uid"] for ref in wanted.body["metadata"]["ownerReferences"]] == ["uid-of-service"]
    assert not differs(wanted, again[BASELINE])


@pytest.mark.parametrize("owners", [[], [{"apiVersion": "apps/v1", "kind": "Deployment", "name": "podinfo-baseline", "uid": "x"}]])
def test_somebody_elses_rule_of_that_name_is_refused_and_only_while_it_is_needed(owners):
    of = release("istio")
    live = {**with_service(of), BASELINE: {"metadata": {"name": "podinfo-baseline", "ownerReferences": owners}, "spec": {"host": "theirs"}}}
    with pytest.raises(Rejected, match="DestinationRule test/podinfo-baseline exists already and is not ours") as error:
        router.wanted(of, live, SPLIT)
    assert "delete or rename it" in error.value.hint
    assert {one.body["metadata"]["name"] for one in router.wanted(of, live, Routes(80, 20))} == {
        "podinfo",
        "podinfo-canary",
        "podinfo-primary",
    }


def test_across_clusters_it_has_no_owner_like_the_others():
    of = release("istio", options=Options(separate_mesh_cluster=True))
    live = applied(router.wanted(of, nothing(router, of), SPLIT), nothing(router, of))
    assert "ownerReferences" not in live[BASELINE]["metadata"]
    assert not differs(baselines(of, live), live[BASELINE])


def test_a_session_that_met_the_baseline_stays_with_the_primary():
    """Not offered together; should it be met, the cookie must not name the canary."""
    of = release("istio", "analysis: {stepWeight: 1, sessionAffinity: {cookieName: c, primaryCookieName: p}}")
    rules = body(of, Routes(80, 20, baseline=20, cookies=Cookies(current="c=abc", primary="p=def")))["spec"]["http"]
    assert weights(rules[-1]) == [("podinfo-primary", 60), ("podinfo-canary", 20), ("podinfo-baseline", 20)]
    cookies = [one["headers"]["response"]["add"]["Set-Cookie"].partition(";")[0] for one in rules[-1]["route"]]
    assert cookies == ["p=def", "c=abc", "p=def"]
    assert [weights(rule) for rule in rules[:-1]] == [
        [("podinfo-primary", 0), ("podinfo-canary", 100)],
        [("podinfo-primary", 100), ("podinfo-canary", 0)],
    ]


# ------------------------------------------------------------------------------------------------------ other fields


def test_destination_rules_carry_no_custom_metadata():
    of = release("istio", "service: {apex: {labels: {a: b}, annotations: {c: d}}}")
    for one in router.wanted(of, nothing(router, of), Routes(100, 0))[:2]:
        assert set(one.body["metadata"]) == {"name", "namespace", "ownerReferences"}


@pytest.mark.parametrize(
    ("service", "hosts", "gateways"),
    [
        ("{}", ["podinfo"], ["mesh"]),
        ("{hosts: [a.b]}", ["a.b", "podinfo"], ["mesh"]),
        ("{hosts: [podinfo, a.b]}", ["podinfo", "a.b"], ["mesh"]),
        ("{hosts: ['*'], gateways: [x/y]}", ["*"], ["x/y"]),
    ],
)
def test_hosts_and_gateways(service, hosts, gateways):
    found = spec(f"service: {service}")
    assert (found["hosts"], found["gateways"]) == (hosts, gateways)


@pytest.mark.parametrize(
    ("service", "ported"),
    [
        ("{}", False),
        ("{portDiscovery: true}", False),
        ("{portDiscovery: true, gateways: [mesh, x/y]}", False),
        ("{portDiscovery: true, gateways: [x/y]}", True),
        ("{gateways: [x/y]}", False),
        ("{portDiscovery: true, delegation: true}", True),
        ("{delegation: true}", False),
    ],
)
def test_a_gateway_is_told_the_port_when_there_are_several(service, ported):
    (rule,) = spec(f"service: {service}")["http"]
    assert [one["destination"].get("port") for one in rule["route"]] == [{"number": 9898} if ported else None] * 2


@pytest.mark.parametrize("both", ["{delegation: true, hosts: [a]}", "{delegation: true, gateways: [mesh]}"])
def test_a_delegate_with_hosts_or_gateways_is_refused(both):
    with pytest.raises(Rejected, match="delegation excludes") as error:
        spec(f"service: {both}")
    assert "delegates to this one" in error.value.hint


def test_a_virtual_service_that_becomes_a_delegate_loses_hosts_and_gateways():
    of = release("istio", "service: {delegation: true}")
    live = users(of)
    live[REF]["spec"]["gateways"] = ["mesh"]
    after = applied(router.wanted(of, live, Routes(100, 0)), live)
    assert set(after[REF]["spec"]) == {"http", "exportTo"}
    assert not differs(router.wanted(of, after, Routes(100, 0))[-1], after[REF])


def test_fields_that_we_do_not_know_stay():
    of = release("istio")
    after = applied(router.wanted(of, users(of), Routes(100, 0)), users(of))[REF]
    assert after["spec"]["exportTo"] == ["."]
    assert weights(after["spec"]["http"][0]) == [("podinfo-primary", 100), ("podinfo-canary", 0)]


def test_a_switch_from_http_to_tcp_leaves_no_http():
    of = release("istio", "service: {appProtocol: tcp}")
    after = applied(router.wanted(of, users(of), Routes(100, 0)), users(of))[REF]
    assert "http" not in after["spec"]
    assert len(after["spec"]["tcp"]) == 1


def test_a_traffic_policy_that_is_no_longer_wanted_goes():
    of = release("istio", "service: {trafficPolicy: {tls: {mode: DISABLE}}}")
    live = applied(router.wanted(of, nothing(router, of), Routes(100, 0)), nothing(router, of))
    rule = ObjectRef(DESTINATION_RULES, "podinfo-canary")
    assert differs(router.wanted(release("istio"), live, Routes(100, 0))[0], live[rule])
    after = applied(router.wanted(release("istio"), live, Routes(100, 0)), live)
    assert after[rule]["spec"] == {"host": "podinfo-canary"}


def test_tcp_has_no_headers_to_match():
    with pytest.raises(Rejected, match="a connection has no headers"):
        spec("service: {appProtocol: tcp}\nanalysis: {iterations: 1, match: [{headers: {a: {exact: b}}}]}")


def test_tcp_keeps_only_ports_of_the_match():
    assert spec("service: {appProtocol: tcp, match: [{port: 1}, {uri: {prefix: /}}]}")["tcp"][0]["match"] == [{"port": 1}]
    assert "match" not in spec("service: {appProtocol: tcp, match: [{uri: {prefix: /}}]}")["tcp"][0]


def test_tcp_weights_are_read_from_tcp():
    of = release("istio", "service: {appProtocol: tcp}")
    live = applied(router.wanted(of, nothing(router, of), Routes(80, 20)), nothing(router, of))
    assert router.read(of, live) == Routes(80, 20)
    found = router.read(release("istio"), live)
    assert isinstance(found, Unknown)
    assert found.reason == NO_CANARY_RULE


@pytest.mark.parametrize(
    ("text", "can"),
    [
        ("analysis: {stepWeight: 10}", True),
        ("analysis: {iterations: 10}", True),
        ("analysis: {iterations: 10, match: [{headers: {a: {exact: b}}}]}", False),
        ("service: {appProtocol: tcp}", False),
    ],
)
def test_http_with_a_quiet_start_can_mirror(text, can):
    assert router.can_mirror(release("istio", text)) is can


@pytest.mark.parametrize(("weight", "percentage"), [("", None), (", mirrorWeight: 0", None), (", mirrorWeight: 25", {"value": 25})])
def test_the_share_that_is_mirrored(weight, percentage):
    (rule,) = spec(f"analysis: {{stepWeight: 10, mirror: true{weight}}}", Routes(100, 0, mirrored=True))["http"]
    assert rule["mirror"] == {"host": "podinfo-canary"}
    assert rule.get("mirrorPercentage") == percentage


def test_only_testers_are_mirrored_when_only_testers_take_part():
    first, second = spec("analysis: {stepWeight: 10, match: [{headers: {a: {exact: b}}}]}", Routes(100, 0, mirrored=True))["http"]
    assert "mirror" in first
    assert "mirror" not in second


def test_testers_go_by_weight_and_everybody_else_to_the_primary():
    first, second = spec("analysis: {iterations: 5, match: [{headers: {a: {exact: b}}}]}", Routes(0, 100))["http"]
    assert weights(first) == [("podinfo-primary", 0), ("podinfo-canary", 100)]
    assert weights(second) == [("podinfo-primary", 100)]
    assert "match" not in second


def test_query_parameters_of_testers_narrow_the_service_match():
    first, _ = spec("service: {match: [{uri: {prefix: /a}}]}\nanalysis: {iterations: 5, match: [{queryParams: {q: {exact: b}}}]}")["http"]
    assert first["match"] == [{"uri": {"prefix": "/a"}, "queryParams": {"q": {"exact": "b"}}}]


@pytest.mark.parametrize("entry", ["{}", "{headers: {a: {}}}", "{queryParams: {a: {}}}"])
def test_an_ab_match_that_would_take_everybody_is_refused(entry):
    with pytest.raises(Rejected, match=r"spec\.analysis\.match\[0\]"):
        spec(f"analysis: {{iterations: 1, match: [{entry}]}}")


def test_a_cookie_to_be_forgotten_does_not_leak_into_the_rule_of_everybody_else():
    text = "service: {headers: {response: {add: {x: y}}}}\nanalysis: {stepWeight: 1, sessionAffinity: {cookieName: c}}"
    first, second = spec(text, Routes(100, 0, cookies=Cookies(previous="c=abc")))["http"]
    assert first["headers"]["response"]["add"] == {"x": "y", "Set-Cookie": "c=abc; Max-Age=-1"}
    assert second["headers"]["response"]["add"] == {"x": "y"}


def test_without_a_cookie_there_is_one_rule():
    assert len(spec("analysis: {stepWeight: 1, sessionAffinity: {cookieName: c}}", Routes(90, 10))["http"]) == 1


def test_the_weighted_rule_is_read_not_the_sticky_ones():
    of = release("istio", "analysis: {stepWeight: 1, sessionAffinity: {cookieName: c, primaryCookieName: p}}")
    routes = Routes(80, 20, cookies=Cookies(current="c=abc", primary="p=def"))
    live = applied(router.wanted(of, nothing(router, of), routes), nothing(router, of))
    assert len(live[REF]["spec"]["http"]) == 3
    assert router.read(of, live) == Routes(80, 20)


def test_our_service_without_the_canary_is_unknown_and_a_users_own_is_nothing_yet():
    of = release("istio")
    assert router.read(of, users(of)) is None
    ours = router.read(of, users(of, annotations=dict(FLUX_MARKERS)))
    assert isinstance(ours, Unknown)
    assert ours.reason == NO_CANARY_RULE


def test_two_zero_weights_are_not_believed_but_a_lone_destination_gets_all():
    of = release("istio")
    live = applied(router.wanted(of, nothing(router, of), Routes(90, 10)), nothing(router, of))
    route = live[REF]["spec"]["http"][0]["route"]
    for one in route:
        one["weight"] = 0
    assert isinstance(router.read(of, live), Unknown)
    del route[0]
    assert router.read(of, live) == Routes(0, 100)


# ------------------------------------------------------------------------------------- the original and its return


def test_the_original_is_kept_when_a_users_own_is_taken_over():
    of = release("istio")
    kept = body(of, live=users(of))["metadata"]["annotations"][ORIGINAL]
    assert json.loads(kept) == USERS_SPEC


def test_the_original_is_written_once():
    of = release("istio")
    taken = applied(router.wanted(of, users(of), Routes(100, 0)), users(of))
    taken[REF]["spec"]["http"] = [{"route": []}]  # drift, which upstream would store as the original
    again = body(of, live=taken)["metadata"]["annotations"][ORIGINAL]
    assert json.loads(again) == USERS_SPEC


def test_kubectls_own_record_is_enough():
    of = release("istio")
    found = body(of, live=users(of, annotations={KUBECTL: json.dumps({"spec": USERS_SPEC})}))
    assert ORIGINAL not in found["metadata"]["annotations"]


def test_what_we_made_ourselves_has_no_original():
    of = release("istio")
    live = applied(router.wanted(of, nothing(router, of), Routes(100, 0)), nothing(router, of))
    assert ORIGINAL not in body(of, live=live)["metadata"]["annotations"]
    away = release("istio", options=Options(separate_mesh_cluster=True))
    live = applied(router.wanted(away, nothing(router, away), Routes(100, 0)), nothing(router, away))
    assert ORIGINAL not in body(away, live=live)["metadata"]["annotations"]


def test_deletion_gives_the_original_back_without_our_markers():
    of = release("istio")
    taken = applied(router.wanted(of, users(of), Routes(50, 50)), users(of))
    (restored,) = router.finalize(of, taken)
    assert restored.body["spec"] == USERS_SPEC
    assert "annotations" not in restored.body["metadata"]
    assert applied([restored], taken)[REF]["spec"] == USERS_SPEC


def test_kubectls_record_wins_and_a_broken_one_is_passed_over():
    of = release("istio")
    kubectl = {"spec": {"hosts": ["kubectl"]}}
    both = users(of, annotations={KUBECTL: json.dumps(kubectl), ORIGINAL: json.dumps(USERS_SPEC), **FLUX_MARKERS})
    assert router.finalize(of, both)[0].body["spec"] == kubectl["spec"]
    broken = users(of, annotations={KUBECTL: "{", ORIGINAL: json.dumps(USERS_SPEC), **FLUX_MARKERS})
    assert router.finalize(of, broken)[0].body["spec"] == USERS_SPEC


@pytest.mark.parametrize("metadata", [{}, {"annotations": {ORIGINAL: "no json"}}, {"annotations": {ORIGINAL: "[]"}}])
def test_deletion_never_hangs_on_what_cannot_be_restored(metadata):
    of = release("istio")
    assert router.finalize(of, users(of, **metadata)) == ()
    assert router.finalize(of, nothing(router, of)) == ()


def test_what_the_garbage_collector_takes_is_not_restored():
    of = release("istio")
    found = users(of, ownerReferences=[{"uid": UID}], annotations={ORIGINAL: json.dumps(USERS_SPEC)})
    assert router.finalize(of, found) == ()
