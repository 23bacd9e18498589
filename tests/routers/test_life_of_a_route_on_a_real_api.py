"""Taking over, drifting, switching and giving back, through the product's own client and `ensure`, on a real kube-apiserver."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest

from canary.core.model import Routes
from canary.core.release import FLUX_MARKERS, Release
from canary.kube import auth
from canary.kube.cache import WatchedCluster
from canary.kube.client import ApiClient
from canary.kube.ensure import ServerMade, ensure
from canary.kube.resource import CANARIES, HTTP_PROXIES, HTTP_ROUTES, SERVICES, VIRTUAL_SERVICES, Resource
from canary.routers import registry
from canary.routers.base import Live
from tests.routers import releases
from tests.testbed.cluster import Cluster
from tests.testbed.mesh import crds_folder
from tests.testbed.waiting import until

pytestmark = pytest.mark.cluster
MESHED = pytest.mark.parametrize("provider", ["contour", "gatewayapi:v1", "istio"])


class Life:
    """One Canary in its own namespace, and the calls that the engine makes for it."""

    def __init__(self, cluster: Cluster, watched: WatchedCluster, namespace: str, uid: str) -> None:
        self.cluster, self.watched, self.namespace, self._uid = cluster, watched, namespace, uid
        self._learned = ServerMade()

    def release(self, provider: str, spec: str = "") -> Release:
        return releases.release(provider, spec, namespace=self.namespace, uid=self._uid)

    def live(self, release: Release) -> Live:
        return {ref: self.watched.get(ref.resource, self.namespace, ref.name) for ref in registry.router(release.provider).objects(release)}

    async def ensure(self, release: Release, routes: Routes) -> list[bool]:
        """Whether each object had to be changed."""
        router = registry.router(release.provider)
        await self.watched.watch(*router.resources())
        return [await ensure(self.watched, one, learned=self._learned) for one in router.wanted(release, self.live(release), routes)]

    async def finalize(self, release: Release) -> None:
        for one in registry.router(release.provider).finalize(release, self.live(release)):
            await ensure(self.watched, one, learned=self._learned)

    def users(self, resource: Resource, name: str, spec: dict[str, Any]) -> None:
        """Somebody applies an object of their own."""
        self.cluster.apply({**resource.head(self.namespace, name), "spec": spec}, manager="somebody")

    def get(self, resource: Resource, name: str = "podinfo") -> dict[str, Any]:
        return self.cluster.api.get(resource.path(self.namespace, name))

    async def seen(self, release: Release) -> None:
        """The watch has caught up with everybody's writes."""
        for ref, body in self.live(release).items():
            if body is not None:
                await self.watched.read(ref.resource, self.namespace, ref.name)


@pytest.fixture(scope="module")
def meshes(cluster: Cluster) -> Cluster:
    folder = crds_folder()
    cluster.crds(*(folder / f"{name}.yaml" for name in ("istio", "gateway-api-standard", "contour", "flagger")))
    return cluster


@pytest.fixture
async def life(meshes: Cluster, namespace: str) -> AsyncIterator[Life]:
    cluster = meshes
    spec = {
        "suspend": True,
        "targetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "podinfo"},
        "service": {"port": 9898},
        "analysis": {"interval": "15s", "threshold": 1, "stepWeight": 10},
    }
    canary = cluster.api.apply(CANARIES.path(namespace, "podinfo"), {**CANARIES.head(namespace, "podinfo"), "spec": spec})
    client = ApiClient(auth.load(kubeconfig=str(cluster.kubeconfig)))
    watched = WatchedCluster(client, namespace=namespace)
    try:
        yield Life(cluster, watched, namespace, canary["metadata"]["uid"])
    finally:
        await watched.close()
        await client.close()


@MESHED
async def test_a_route_is_made_moved_and_then_left_alone(life: Life, provider: str):
    release, router = life.release(provider), registry.router(provider)
    assert all(await life.ensure(release, Routes(100, 0)))
    assert not any(await life.ensure(release, Routes(100, 0)))
    assert any(await life.ensure(release, Routes(60, 40)))
    assert router.read(release, life.live(release)) == Routes(60, 40)
    assert not any(await life.ensure(release, Routes(60, 40)))


@MESHED
async def test_drift_is_repaired_and_weights_by_hand_are_kept(life: Life, provider: str):
    release, router = life.release(provider, "service: {timeout: 10s}"), registry.router(provider)
    await life.ensure(release, Routes(90, 10))
    ref = router.objects(release)[0]
    body = life.get(ref.resource)
    key = "routes" if provider == "contour" else "http" if provider == "istio" else "rules"
    text = (
        json.dumps(body["spec"][key]).replace('"weight": 90', '"weight": 75').replace('"weight": 10', '"weight": 25').replace("10s", "11s")
    )
    life.cluster.api.call(
        "PATCH", ref.resource.path(life.namespace, ref.name), {"spec": {key: json.loads(text)}}, content_type="application/merge-patch+json"
    )
    await life.seen(release)
    found = router.read(release, life.live(release))
    assert found == Routes(75, 25)
    assert any(await life.ensure(release, found))
    assert "11s" not in json.dumps(life.get(ref.resource)["spec"])
    assert router.read(release, life.live(release)) == Routes(75, 25)


@MESHED
async def test_a_baseline_comes_into_the_route_and_leaves_no_trace(life: Life, provider: str):
    release, router = life.release(provider, "service: {timeout: 10s}"), registry.router(provider)
    name = release.apex_baseline
    owner = {**release.owner_reference, "uid": release.canary.metadata.uid}
    service = {**SERVICES.head(life.namespace, name), "spec": {"ports": [{"port": 9898}]}}
    service["metadata"]["ownerReferences"] = [owner]
    await life.ensure(release, Routes(100, 0))
    before = life.get(router.objects(release)[0].resource)["spec"]
    life.cluster.apply(service)
    await life.watched.watch(SERVICES)
    await life.watched.read(SERVICES, life.namespace, name)
    assert any(await life.ensure(release, Routes(80, 20, baseline=20)))
    assert not any(await life.ensure(release, Routes(80, 20, baseline=20)))
    assert router.read(release, life.live(release)) == Routes(80, 20, baseline=20)
    assert name in json.dumps(life.get(router.objects(release)[0].resource)["spec"])

    await life.ensure(release, Routes(100, 0))
    assert life.get(router.objects(release)[0].resource)["spec"] == before
    life.cluster.api.call("DELETE", SERVICES.path(life.namespace, name))
    # The collector learns of new kinds every half a minute, and those of the mesh have just been installed.
    until("nothing to be called like the baseline", lambda: not _called(life, name, router.resources()), 70)


def _called(life: Life, name: str, resources: Sequence[Resource]) -> list[str]:
    """Kinds of the objects of this name."""
    listed = {resource.kind: life.cluster.api.get(resource.path(life.namespace))["items"] for resource in resources}
    return [kind for kind, items in listed.items() if name in {item["metadata"]["name"] for item in items}]


@pytest.mark.parametrize(
    ("provider", "resource", "spec", "kept"),
    [
        (
            "contour",
            HTTP_PROXIES,
            {"virtualhost": {"fqdn": "a.example.org"}, "routes": [{"services": [{"name": "podinfo", "port": 80}]}]},
            "virtualhost",
        ),
        ("gatewayapi:v1", HTTP_ROUTES, {"hostnames": ["a.example.org"], "rules": [{"backendRefs": [{"name": "podinfo", "port": 80}]}]}, ""),
        (
            "istio",
            VIRTUAL_SERVICES,
            {"hosts": ["podinfo"], "exportTo": ["."], "http": [{"route": [{"destination": {"host": "podinfo"}}]}]},
            "exportTo",
        ),
    ],
)
async def test_a_users_own_object_is_taken_over_without_being_owned(life: Life, provider: str, resource: Resource, spec: dict, kept: str):
    release, router = life.release(provider), registry.router(provider)
    life.users(resource, "podinfo", spec)
    await life.watched.watch(*router.resources())
    assert router.read(release, life.live(release)) is None
    await life.ensure(release, Routes(100, 0))
    body = life.get(resource)
    assert "ownerReferences" not in body["metadata"]
    assert FLUX_MARKERS.items() <= body["metadata"]["annotations"].items()
    assert not body["spec"].get("hostnames")
    assert router.read(release, life.live(release)) == Routes(100, 0)
    if kept:
        assert body["spec"][kept] == spec[kept]
    assert not any(await life.ensure(release, Routes(100, 0)))


async def test_an_original_virtual_service_comes_back_after_runs_and_drift(life: Life):
    spec = {
        "hosts": ["podinfo", "a.example.org"],
        "exportTo": ["."],
        "http": [{"timeout": "3s", "route": [{"destination": {"host": "podinfo"}}]}],
    }
    life.users(VIRTUAL_SERVICES, "podinfo", spec)
    release = life.release("istio", "service: {gateways: [mesh]}")
    for routes in (Routes(100, 0), Routes(50, 50), Routes(0, 100)):
        await life.ensure(release, routes)
    path = VIRTUAL_SERVICES.path(life.namespace, "podinfo")
    life.cluster.api.call("PATCH", path, {"spec": {"http": [{"route": []}]}}, content_type="application/merge-patch+json")
    await life.seen(release)
    await life.ensure(release, Routes(100, 0))
    await life.finalize(release)
    body = life.get(VIRTUAL_SERVICES)
    assert {key: value for key, value in body["spec"].items() if value} == spec
    assert not body["metadata"].get("annotations")


async def test_a_virtual_service_can_become_a_delegate_and_then_tcp(life: Life):
    await life.ensure(life.release("istio", "service: {hosts: [a.example.org], trafficPolicy: {tls: {mode: DISABLE}}}"), Routes(90, 10))
    delegate = life.release("istio", "service: {delegation: true}")
    assert all(await life.ensure(delegate, Routes(90, 10)))
    assert {key for key, value in life.get(VIRTUAL_SERVICES)["spec"].items() if value} == {"http"}
    tcp = life.release("istio", "service: {appProtocol: tcp}")
    await life.ensure(tcp, Routes(90, 10))
    assert {key for key, value in life.get(VIRTUAL_SERVICES)["spec"].items() if value} == {"hosts", "gateways", "tcp"}
    assert registry.router("istio").read(tcp, life.live(tcp)) == Routes(90, 10)
    assert not any(await life.ensure(tcp, Routes(90, 10)))
