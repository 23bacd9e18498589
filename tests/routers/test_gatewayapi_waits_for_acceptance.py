"""Weights count only when the gateway has taken them over (reference 3.4), however the two sides spell a parent."""

import pytest

from canary.core.model import Routes, Unknown
from canary.kube.resource import HTTP_ROUTES
from canary.routers.base import NOT_ACCEPTED, ObjectRef
from canary.routers.gatewayapi import GatewayApiRouter
from tests.routers.releases import applied, nothing, release

router = GatewayApiRouter()
REF = ObjectRef(HTTP_ROUTES, "podinfo")
GATEWAY = {"name": "gateway", "namespace": "infra"}


def read(*parents, generation=3, service="{}", written="{}"):
    of = release("gatewayapi:v1", f"service: {written}")
    live = applied(router.wanted(of, nothing(router, of), Routes(90, 10)), nothing(router, of))
    live[REF]["metadata"]["generation"] = generation
    if parents:
        live[REF]["status"] = {"parents": list(parents)}
    return router.read(release("gatewayapi:v1", f"service: {service}"), live)


def report(ref=GATEWAY, status="True", observed=3, kind="Accepted", **more):
    condition = {"type": kind, "status": status, **more}
    if observed is not None:
        condition["observedGeneration"] = observed
    return {"parentRef": ref, "controllerName": "example.org/gateway", "conditions": [condition]}


def refused(found, says):
    assert isinstance(found, Unknown)
    assert found.reason == NOT_ACCEPTED
    assert says in found.message
    assert "test/podinfo" in found.message


def test_nobody_reports_so_it_is_accepted():
    assert read() == Routes(90, 10)


def test_accepted():
    assert read(report()) == Routes(90, 10)


@pytest.mark.parametrize(
    "ref",
    [
        {"group": "gateway.networking.k8s.io", "kind": "Gateway", **GATEWAY},
        {"kind": "Gateway", **GATEWAY},
        {"group": "gateway.networking.k8s.io", **GATEWAY, "sectionName": None},
    ],
)
def test_a_parent_with_its_defaults_spelled_out_is_the_same_parent(ref):
    refused(read(report(ref, "False", reason="NoMatchingParent")), "NoMatchingParent")


@pytest.mark.parametrize(
    "ref",
    [
        {"name": "other", "namespace": "infra"},
        {"name": "gateway"},
        {**GATEWAY, "sectionName": "https"},
        {**GATEWAY, "port": 80},
        {**GATEWAY, "kind": "Service", "group": ""},
    ],
)
def test_a_report_about_another_parent_has_no_say(ref):
    assert read(report(ref, "False")) == Routes(90, 10)


def test_a_parent_without_namespace_is_in_the_routes_own():
    written = "{gatewayRefs: [{name: gateway}]}"
    found = read(report({"name": "gateway", "namespace": "test"}, "False", message="no"), written=written, service=written)
    refused(found, "no")


def test_a_service_parent_in_group_core_is_the_empty_group():
    written = "{gatewayRefs: [{name: podinfo, group: core, kind: Service, port: 9898}]}"
    found = read(report({"group": "", "kind": "Service", "name": "podinfo", "port": 9898}, "False"), written=written, service=written)
    refused(found, "Service podinfo")


def test_the_message_of_the_gateway_is_passed_on():
    refused(read(report(status="False", reason="NotAllowedByListeners", message="no listener takes it")), "no listener takes it")


def test_a_verdict_about_an_older_generation_does_not_count():
    refused(read(report(observed=2)), "generation 3")


def test_a_verdict_about_a_newer_generation_counts():
    assert read(report(observed=4)) == Routes(90, 10)


def test_a_verdict_that_names_no_generation_counts():
    assert read(report(observed=None)) == Routes(90, 10)


def test_a_parent_that_has_not_judged_yet_is_waited_for():
    refused(read(report(kind="ResolvedRefs")), "no Accepted condition")


def test_one_refusal_among_several_reports_is_enough():
    refused(read(report(), {**report(status="False", reason="Nope"), "controllerName": "second"}), "Nope")


def test_a_parent_that_the_canary_no_longer_asks_for_has_no_say():
    assert read(report(status="False", reason="NoMatchingParent"), service="{gatewayRefs: [{name: better}]}") == Routes(90, 10)
