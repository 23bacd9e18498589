"""Our routes on a real Contour and Envoy, measured with real requests: HTTPProxy and, through the same Contour, HTTPRoute.

A manifest that the API server takes can still be refused, or read differently, by the mesh.
"""

from __future__ import annotations

import json
import time
from dataclasses import replace
from typing import Any

import httpx
import pytest

from canary.core.model import Cookies, Routes
from canary.core.release import Release
from canary.engine.settle import SETTLE
from canary.kube.resource import CANARIES, DEPLOYMENTS, SERVICES
from canary.routers import registry
from canary.routers.base import ObjectRef
from tests.routers import releases
from tests.testbed import workload
from tests.testbed.mesh import Mesh, crds_folder
from tests.testbed.traffic import Ask, Tally, Traffic, assert_split, burst

pytestmark = pytest.mark.mesh

PRIMARY, CANARY, BASELINE = "app:1", "app:2", "app:1-baseline"
PROVIDERS = pytest.mark.parametrize("provider", ["contour", "gatewayapi:v1"])


class Stage:
    """Primary and canary pods in one namespace, and a router's objects in front of them at `host`."""

    def __init__(self, mesh: Mesh, namespace: str, uid: str) -> None:
        self.mesh, self.namespace, self.host = mesh, namespace, f"{namespace}.test"
        self._uid = uid

    def release(self, provider: str, *, service: str = "{}", analysis: str = "{}") -> Release:
        given: dict[str, Any] = {"service": releases.parse(service), "analysis": releases.parse(analysis)}
        given["service"] |= {"port": 80}
        if provider != "contour":
            given["service"] |= {"hosts": [self.host], "gatewayRefs": [workload.GATEWAY]}
        return releases.release(provider, given, namespace=self.namespace, uid=self._uid)

    def live(self, release: Release) -> dict[ObjectRef, Any]:
        api, router = self.mesh.cluster.api, registry.router(release.provider)
        found: dict[ObjectRef, Any] = {}
        for ref in router.objects(release):
            items = api.get(ref.resource.path(self.namespace))["items"]
            found[ref] = next((item for item in items if item["metadata"]["name"] == ref.name), None)
        return found

    def set(self, release: Release, routes: Routes) -> None:
        """Apply, then wait until the router believes the weights and Envoy follows them."""
        router, api = registry.router(release.provider), self.mesh.cluster.api
        for one in router.wanted(release, self.live(release), routes):
            api.apply(one.resource.path(self.namespace, one.body["metadata"]["name"]), one.body, manager="canary")
        believed = replace(routes, cookies=Cookies())
        self.mesh.wait("the weights to be read back", lambda: router.read(release, self.live(release)) == believed)
        self.mesh.wait_host(self.host)
        if release.provider == "contour":
            ref = router.objects(release)[0]
            self.mesh.wait("the proxy to be valid", lambda: self.live(release)[ref]["status"]["currentStatus"] == "valid")

    def asked(self, count: int = 400, **how: Any) -> Tally:
        tally = Tally.of(burst(Ask(self.mesh.gateway_url, self.host, **how), count))
        assert tally.failures == {}
        return tally

    def settles(self, expected: dict[str, float], count: int = 400, **how: Any) -> None:
        """Envoy takes a moment to follow; then the split must be right."""
        if 1.0 in expected.values():
            [image] = [image for image, share in expected.items() if share == 1.0]
            self.mesh.wait(f"{how or 'everybody'} to get {image}", lambda: set(self.asked(20, **how).images) == {image})
        assert_split(self.asked(count, **how).images, expected)


@pytest.fixture(scope="module")
def meshed(mesh: Mesh) -> Mesh:
    mesh.cluster.crds(crds_folder() / "flagger.yaml")
    return mesh


@pytest.fixture
def stage(meshed: Mesh, namespace: str) -> Stage:
    mesh, cluster = meshed, meshed.cluster
    spec = {
        "suspend": True,
        "targetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "podinfo"},
        "service": {"port": 80},
        "analysis": {"interval": "15s", "threshold": 1, "stepWeight": 10},
    }
    owner = cluster.api.apply(CANARIES.path(namespace, "podinfo"), {**CANARIES.head(namespace, "podinfo"), "spec": spec})
    names = {"podinfo-primary": PRIMARY, "podinfo-canary": CANARY}
    cluster.apply([workload.deployment(name, namespace=namespace, image=image) for name, image in names.items()])
    cluster.apply([workload.service(name, namespace=namespace) for name in names])
    for name in names:
        cluster.wait_deployment(namespace, name)
    cluster.apply(workload.root_proxy("root", namespace=namespace, host=f"{namespace}.test", include="podinfo"))
    return Stage(mesh, namespace, owner["metadata"]["uid"])


@PROVIDERS
def test_weights_are_what_clients_see_and_no_change_costs_a_request(stage: Stage, provider: str):
    release = stage.release(provider)
    stage.set(release, Routes(100, 0))
    stage.settles({PRIMARY: 1.0, CANARY: 0.0})
    with Traffic(Ask(stage.mesh.gateway_url, stage.host), rate=100) as traffic:
        stage.set(release, Routes(70, 30))
        stage.mesh.wait("the canary to be reached", lambda: CANARY in stage.asked(40).images)
        assert_split(stage.asked(1500).images, {PRIMARY: 0.7, CANARY: 0.3})
        stage.set(release, Routes(0, 100))
        stage.settles({PRIMARY: 0.0, CANARY: 1.0})
        assert traffic.stop().failures == {}


@PROVIDERS
def test_a_baseline_gets_what_the_canary_gets_and_comes_and_goes_without_a_failed_request(stage: Stage, provider: str):
    """In the route before its share and after it: acting at once cost a request or two each time, at these rates."""
    release, cluster = stage.release(provider), stage.mesh.cluster
    stage.set(release, Routes(100, 0))
    deployment, service = (
        one("podinfo-baseline", namespace=stage.namespace, **more)
        for one, more in ((workload.deployment, {"image": BASELINE}), (workload.service, {}))
    )
    for one in (deployment, service):
        one["metadata"]["ownerReferences"] = [dict(release.owner_reference)]
    with Traffic(Ask(stage.mesh.gateway_url, stage.host), rate=200) as traffic:
        cluster.apply([deployment, service])
        stage.set(release, Routes(100, 0))
        cluster.wait_deployment(stage.namespace, "podinfo-baseline")
        time.sleep(SETTLE)  # as the engine does: its endpoints and the route arrive on different ways
        for _ in range(3):
            stage.set(release, Routes(70, 30, baseline=30))
            stage.mesh.wait("the baseline to be reached", lambda: BASELINE in stage.asked(40).images)
            stage.set(release, Routes(100, 0))
            stage.settles({PRIMARY: 1.0, CANARY: 0.0, BASELINE: 0.0})
        stage.set(release, Routes(70, 30, baseline=30))
        stage.mesh.wait("the baseline to be reached", lambda: BASELINE in stage.asked(40).images)
        assert_split(stage.asked(1500).images, {PRIMARY: 0.4, CANARY: 0.3, BASELINE: 0.3})
        stage.set(release, Routes(100, 0))
        time.sleep(SETTLE)
        cluster.api.call("DELETE", DEPLOYMENTS.path(stage.namespace, "podinfo-baseline"))
        stage.set(release, Routes(100, 0))
        assert "podinfo-baseline" not in json.dumps(stage.live(release)[registry.router(provider).objects(release)[0]]["spec"])
        time.sleep(SETTLE)
        cluster.api.call("DELETE", SERVICES.path(stage.namespace, "podinfo-baseline"))
        stage.settles({PRIMARY: 1.0, CANARY: 0.0, BASELINE: 0.0})
        assert traffic.stop().failures == {}


@PROVIDERS
def test_only_testers_meet_the_canary(stage: Stage, provider: str):
    ways = """
iterations: 5
match:
  - headers: {x-canary: {exact: insider}, x-team: {exact: shop}}
  - headers: {user-agent: {regex: ".*Firefox.*"}}
  - queryParams: {preview: {exact: "1"}}
"""
    release = stage.release(provider, service="{match: [{uri: {prefix: /}}]}", analysis=ways)
    stage.set(release, Routes(0, 100))
    canary, primary = {CANARY: 1.0, PRIMARY: 0.0}, {PRIMARY: 1.0, CANARY: 0.0}
    stage.settles(canary, 50, headers={"x-canary": "insider", "x-team": "shop"})
    stage.settles(canary, 50, headers={"user-agent": "Mozilla Firefox/142"})
    stage.settles(canary, 50, path="/?preview=1")
    stage.settles(primary, 50)
    stage.settles(primary, 50, headers={"x-canary": "insider"})
    stage.settles(primary, 50, path="/?preview=2")


def test_contour_takes_prefix_and_suffix_for_a_part(stage: Stage):
    release = stage.release("contour", analysis="{iterations: 5, match: [{headers: {x-team: {suffix: beta}}}]}")
    stage.set(release, Routes(0, 100))
    stage.settles({CANARY: 1.0}, 50, headers={"x-team": "shop-beta"})
    stage.settles({PRIMARY: 1.0}, 50, headers={"x-team": "shop"})


def test_mirrored_requests_reach_the_canary_and_answers_come_from_the_primary(stage: Stage):
    release = stage.release("gatewayapi:v1", analysis="{stepWeight: 10, mirror: true}")
    stage.set(release, Routes(100, 0, mirrored=True))
    stage.mesh.wait("a copy to arrive", lambda: stage.asked(5) and stage.mesh.pod_requests(stage.namespace, by="image")[CANARY] > 0)
    before = stage.mesh.pod_requests(stage.namespace, by="image")[CANARY]
    assert set(stage.asked(100).images) == {PRIMARY}
    stage.mesh.wait("all copies", lambda: stage.mesh.pod_requests(stage.namespace, by="image")[CANARY] == before + 100)


def test_users_stay_with_the_version_they_met_and_the_canarys_cookie_is_taken_back(stage: Stage):
    release = stage.release(
        "gatewayapi:v1",
        analysis="{interval: 20s, stepWeight: 50, sessionAffinity: {cookieName: canary-user, primaryCookieName: primary-user}}",
    )
    canary, primary = "canary-user=abcdefghij", "primary-user=klmnopqrst"
    stage.set(release, Routes(50, 50, cookies=Cookies(current=canary, primary=primary)))
    stage.mesh.wait("the canary to be reached", lambda: CANARY in stage.asked(20).images)
    given: dict[str, set[str]] = {PRIMARY: set(), CANARY: set()}
    with httpx.Client() as client:
        for _ in range(60):
            client.cookies.clear()
            answer = client.get(stage.mesh.gateway_url, headers={"host": stage.host})
            given[json.loads(answer.text)["image"]].add(answer.headers.get("set-cookie", ""))
    assert given == {PRIMARY: {f"{primary}; Max-Age=20"}, CANARY: {f"{canary}; Max-Age=86400"}}
    assert set(stage.asked(200, cookies={"a": "b", "canary-user": "abcdefghij"}).images) == {CANARY}
    assert set(stage.asked(200, cookies={"primary-user": "klmnopqrst"}).images) == {PRIMARY}

    stage.set(release, Routes(100, 0, cookies=Cookies(previous=canary, primary=primary)))
    stage.settles({PRIMARY: 1.0}, 100)
    bearer = httpx.get(stage.mesh.gateway_url, headers={"host": stage.host, "cookie": canary})
    assert json.loads(bearer.text)["image"] == PRIMARY
    assert bearer.headers["set-cookie"] == f"{canary}; Max-Age=-1"
    assert "set-cookie" not in httpx.get(stage.mesh.gateway_url, headers={"host": stage.host}).headers


def test_a_route_that_the_gateway_refuses_is_not_believed(stage: Stage):
    router = registry.router("gatewayapi:v1")
    release = stage.release("gatewayapi:v1")
    refs = [{**workload.GATEWAY, "sectionName": "nowhere"}]
    release = releases.release(
        "gatewayapi:v1", {"service": {"port": 80, "gatewayRefs": refs}}, namespace=stage.namespace, uid=release.canary.metadata.uid
    )
    for one in router.wanted(release, stage.live(release), Routes(90, 10)):
        stage.mesh.cluster.api.apply(one.resource.path(stage.namespace, "podinfo"), one.body, manager="canary")
    found = stage.mesh.wait("the refusal", lambda: _unless_routes(router.read(release, stage.live(release))))
    assert found.reason == "RouteNotAccepted"
    assert "contour" in found.message


def test_the_success_rate_of_a_canary_that_only_fails_is_zero_and_of_an_idle_one_unknown(stage: Stage):
    """Without the fallback in the query both would be empty, and a check that lets missing data pass would promote the first."""
    release = stage.release("contour")
    query = registry.router("contour").builtin_queries["request-success-rate"]
    for name, value in {"namespace": stage.namespace, "service": "podinfo", "interval": "5s"}.items():
        query = query.replace(f"{{{{ {name} }}}}", value)
    assert stage.mesh.query(query) == []
    stage.set(release, Routes(0, 100))
    with Traffic(Ask(stage.mesh.gateway_url, stage.host, path="/status/500"), rate=50):
        stage.mesh.wait("nothing but failures", lambda: stage.mesh.query(query) == [({}, 0.0)])


def _unless_routes(found: Any) -> Any:
    return None if found is None or isinstance(found, Routes) else found
