"""Targets against a real kube-apiserver and Deployment controller: what we write is taken, stays as it is, and rolls pods once."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest

from canary.api.canary import Canary, parse_canary
from canary.core.model import Readiness
from canary.core.release import FLUX_MARKERS, Release
from canary.kube.auth import Credentials
from canary.kube.cache import WatchedCluster
from canary.kube.client import ApiClient
from canary.kube.ensure import ServerMade, ensure
from canary.kube.login import KubeconfigSource
from canary.kube.resource import AUTOSCALERS, CANARIES, CONFIG_MAPS, DEPLOYMENTS, SECRETS, SERVICES, Object, Resource
from canary.targets import autoscaler, services
from canary.targets.base import Observed
from canary.targets.deployment import DeploymentTarget
from tests.fakes.json_patch import merge_patch
from tests.targets.podinfo import config_map, deployment, image, plain, secret
from tests.testbed.cluster import Cluster
from tests.testbed.thirdparty import third_party_crds

pytestmark = pytest.mark.cluster


@pytest.fixture(scope="module")
def canaries(cluster: Cluster) -> None:
    """The Canary CRD: the garbage collector deletes what names an owner that does not exist."""
    cluster.crds(*third_party_crds("flagger"))


class World:
    """The real cluster as the plug-ins see it, and the same from outside."""

    def __init__(self, cluster: Cluster, watched: WatchedCluster, namespace: str, canary: Canary) -> None:
        self.cluster, self.watched, self.namespace, self.canary = cluster, watched, namespace, canary
        self.target = DeploymentTarget()
        self.learned = ServerMade()

    def put(self, resource: Resource, body: Object) -> Object:
        """Create as a user does, who is another field manager."""
        obj = merge_patch({"apiVersion": resource.api_version, "kind": resource.kind, **body}, {"metadata": {"namespace": self.namespace}})
        return self.cluster.api.call("POST", f"{resource.path(self.namespace)}?fieldManager=user", obj)

    def change(self, resource: Resource, name: str, patch: Object) -> Object:
        path = f"{resource.path(self.namespace, name)}?fieldManager=user"
        return self.cluster.api.call("PATCH", path, patch, content_type="application/merge-patch+json")

    def live(self, resource: Resource, name: str) -> Object:
        return self.cluster.api.get(resource.path(self.namespace, name))

    def release(self, spec: Object | None = None) -> Release:
        body = merge_patch(self.canary.to_dict(), {"spec": spec or {}})
        return Release(parse_canary(body), "kubernetes", "app", "podinfo")

    async def seen(self, resource: Resource, name: str) -> None:
        """Wait until the watch shows what the API server has, or something newer."""
        version = int(self.live(resource, name)["metadata"]["resourceVersion"])

        def shown() -> bool:
            cached = self.watched.get(resource, self.namespace, name)
            return cached is not None and int(cached["metadata"]["resourceVersion"]) >= version

        await until(shown)

    def rollouts(self) -> int:
        """How many pod templates the primary has had: one ReplicaSet each."""
        sets = self.cluster.api.get(f"/apis/apps/v1/namespaces/{self.namespace}/replicasets")["items"]
        return sum(1 for one in sets if one["metadata"]["ownerReferences"][0]["name"] == "podinfo-primary")

    async def look(self) -> Observed:
        return await self.target.observe(self.watched, self.canary, self.release().options)

    async def ready(self, name: str = "primary") -> Observed:
        async def done() -> bool:
            workload = getattr(await self.look(), name)
            return bool(workload and workload.readiness is Readiness.READY)

        await until(done)
        return await self.look()

    async def promote(self) -> None:
        seen = await self.look()
        await self.target.promote(self.watched, self.release(), revision=seen.target.revision, configs=seen.configs)

    async def settle(self, of: Release, *, revert: bool = False) -> int:
        """Make the Services as wanted; the number of requests that took."""
        before = self.requests
        for one in services.reverted(self.watched, of) if revert else services.wanted(self.watched, of, apex=True):
            await ensure(self.watched, one, learned=self.learned)
        return self.requests - before

    @property
    def requests(self) -> int:
        return self.watched.client.requests.total()


async def until(done: Callable[[], bool | Awaitable[bool]], seconds: float = 30) -> None:
    end = time.monotonic() + seconds
    while True:
        answer = done()
        if await answer if isinstance(answer, Awaitable) else answer:
            return
        assert time.monotonic() < end, "waited too long"
        await asyncio.sleep(0.05)


@pytest.fixture
async def world(cluster: Cluster, canaries: None, namespace: str) -> AsyncIterator[World]:
    body: dict[str, Any] = {
        **CANARIES.head(namespace, "podinfo"),
        "spec": {
            "suspend": True,
            "targetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "podinfo"},
            "service": {"port": 9898},
            "analysis": {"interval": "15s", "threshold": 1, "stepWeight": 10},
        },
    }
    canary = parse_canary(cluster.api.call("POST", CANARIES.path(namespace), body))
    watched = WatchedCluster(ApiClient(Credentials(KubeconfigSource(str(cluster.kubeconfig)))), namespace=namespace)
    await watched.watch(DEPLOYMENTS, SERVICES)
    yield World(cluster, watched, namespace, canary)
    await watched.close()
    await watched.client.close()


SCHEDULABLE: Object = {"spec": {"template": {"spec": dict.fromkeys(("aFieldOfTomorrow", "affinity", "imagePullSecrets"))}}}
"""Without what a real API server refuses or a real scheduler cannot place."""


def add_configs(world: World) -> None:
    world.put(CONFIG_MAPS, config_map("colors", {"color": "red"}, binaryData={"logo": "AAA="}))
    world.put(CONFIG_MAPS, config_map("flags", {"a": "1"}, immutable=True))
    for name in ("files", "projected-map"):
        world.put(CONFIG_MAPS, config_map(name, {"a": "1"}))
    for name in ("token", "certs", "projected-secret"):
        world.put(SECRETS, secret(name, {"apiKey": "dGVzdA=="}))
    world.put(SECRETS, secret("registry-env", {"x": "eA=="}, type="example.com/untracked"))


async def test_a_primary_is_made_and_promoted_once(world: World):
    add_configs(world)
    world.put(DEPLOYMENTS, deployment(SCHEDULABLE))
    await until(lambda: world.watched.get(DEPLOYMENTS, world.namespace, "podinfo") is not None)
    await world.watched.watch(CONFIG_MAPS, SECRETS)
    await world.target.ensure_primary(world.watched, world.release())
    seen = await world.ready()
    assert seen.primary.ready_replicas == 2
    assert seen.target.foreign_equal
    assert len(seen.configs) == 7
    assert world.rollouts() == 1
    before = world.live(DEPLOYMENTS, "podinfo-primary")["spec"]
    await world.promote()  # the stored spec is what was written: only annotations that were copied at creation go
    assert world.live(DEPLOYMENTS, "podinfo-primary")["spec"] == before

    world.change(DEPLOYMENTS, "podinfo", image("6.0.1"))
    world.change(CONFIG_MAPS, "colors", {"data": {"color": "blue"}, "binaryData": None})
    world.cluster.api.call("DELETE", CONFIG_MAPS.path(world.namespace, "flags"))
    world.put(CONFIG_MAPS, config_map("flags", {"a": "2"}, immutable=True))
    await world.seen(DEPLOYMENTS, "podinfo")
    await until(lambda: world.watched.get(CONFIG_MAPS, world.namespace, "flags") is not None)
    for name in ("colors", "flags"):
        await world.seen(CONFIG_MAPS, name)
    await world.promote()
    assert world.live(CONFIG_MAPS, "colors-primary")["data"] == {"color": "blue"}
    assert "binaryData" not in world.live(CONFIG_MAPS, "colors-primary")
    assert (world.live(CONFIG_MAPS, "flags-primary")["data"], world.live(CONFIG_MAPS, "flags-primary")["immutable"]) == ({"a": "2"}, True)
    after = world.live(DEPLOYMENTS, "podinfo-primary")
    env = after["spec"]["template"]["spec"]["containers"][0]["env"]
    assert [(entry["name"], entry.get("value")) for entry in env] == [("COLOR", None), ("TWICE", "1"), ("TWICE", "2")]
    await world.ready()
    assert world.rollouts() == 2

    world.target = DeploymentTarget()  # another replica
    await world.seen(DEPLOYMENTS, "podinfo-primary")
    patches = world.watched.client.requests.total(verb="patch")
    await world.promote()
    assert world.watched.client.requests.total(verb="patch") == patches
    assert (await world.look()).primary.images["podinfod"] == "podinfo:6.0.1"


async def test_a_primary_by_kubectl_or_flagger_is_promoted_exactly(world: World):
    world.put(DEPLOYMENTS, plain(SCHEDULABLE))
    old = plain(SCHEDULABLE)
    old["metadata"]["name"] = "podinfo-primary"
    old["spec"]["selector"] = {"matchLabels": {"app": "podinfo-primary"}}
    old["spec"]["template"]["metadata"]["labels"] = {"app": "podinfo-primary", "leftover": "x"}
    old["spec"]["template"]["spec"]["containers"][0]["command"] = ["leftover"]
    world.put(DEPLOYMENTS, old)
    for name in ("podinfo", "podinfo-primary"):
        await world.seen(DEPLOYMENTS, name)
    await world.ready()
    await world.seen(DEPLOYMENTS, "podinfo-primary")
    await world.promote()
    template = world.live(DEPLOYMENTS, "podinfo-primary")["spec"]["template"]
    assert template["metadata"]["labels"] == {"app": "podinfo-primary", "tier": "web"}
    assert "command" not in template["spec"]["containers"][0]
    assert (await world.look()).target.foreign_equal


async def test_a_target_is_parked_and_woken(world: World):
    world.put(DEPLOYMENTS, plain(SCHEDULABLE))
    await until(lambda: world.watched.get(DEPLOYMENTS, world.namespace, "podinfo") is not None)
    await world.target.scale(world.watched, world.release(), up=False)
    assert world.live(DEPLOYMENTS, "podinfo")["spec"]["replicas"] == 0
    before = world.requests
    await world.target.scale(world.watched, world.release(), up=False)  # our own write is in the cache at once
    assert world.requests == before
    await world.target.scale(world.watched, world.release(), up=True)
    assert world.live(DEPLOYMENTS, "podinfo")["spec"]["replicas"] == 1


# --------------------------------------------------------------------------------------------------- Services


@pytest.mark.parametrize("headless", [False, True])
async def test_services_are_made_and_stay_as_they_are(world: World, headless: bool):
    of = world.release({"service": {"headless": headless, "trafficDistribution": "PreferClose", "appProtocol": "http"}})
    await world.settle(of)
    assert await world.settle(of) == 0
    before = world.live(SERVICES, "podinfo")
    assert (before["spec"]["clusterIP"] == "None") is headless
    world.change(SERVICES, "podinfo", {"metadata": {"labels": {"extra": "1"}}, "spec": {"selector": {"app": "other"}}})
    await world.seen(SERVICES, "podinfo")
    assert await world.settle(of) > 0
    after = world.live(SERVICES, "podinfo")
    assert (after["spec"], after["metadata"]["labels"]) == (before["spec"], before["metadata"]["labels"])


async def test_a_changed_port_and_a_dropped_distribution_reach_existing_services(world: World):
    await world.settle(world.release({"service": {"trafficDistribution": "PreferClose"}}))
    of = world.release({"service": {"port": 80, "targetPort": 9898}})
    await world.settle(of)
    spec = world.live(SERVICES, "podinfo")["spec"]
    assert [port["port"] for port in spec["ports"]] == [80]
    assert "trafficDistribution" not in spec
    assert await world.settle(of) == 0


async def test_the_type_that_a_user_gave_our_service_stays(world: World):
    of = world.release()
    await world.settle(of)
    world.change(SERVICES, "podinfo", {"spec": {"type": "NodePort"}, "metadata": {"annotations": dict.fromkeys(FLUX_MARKERS)}})
    await world.seen(SERVICES, "podinfo")
    node_port = world.live(SERVICES, "podinfo")["spec"]["ports"][0]["nodePort"]
    await world.settle(of)
    live = world.live(SERVICES, "podinfo")
    assert (live["spec"]["type"], live["spec"]["ports"][0]["nodePort"]) == ("NodePort", node_port)
    assert live["metadata"]["annotations"] == FLUX_MARKERS


@pytest.mark.parametrize(
    "port",
    [9898, 80],
)
async def test_a_users_service_is_taken_over_and_given_back(world: World, port: int):
    world.put(
        SERVICES,
        {
            "metadata": {"name": "podinfo", "annotations": {"note": "mine"}},
            "spec": {"type": "NodePort", "selector": {"app": "podinfo"}, "ports": [{"name": "http", "port": port, "targetPort": 9898}]},
        },
    )
    await world.seen(SERVICES, "podinfo")
    node_port = world.live(SERVICES, "podinfo")["spec"]["ports"][0]["nodePort"]
    of = world.release()
    await world.settle(of)
    live = world.live(SERVICES, "podinfo")
    assert live["spec"]["selector"] == {"app": "podinfo-primary"}
    assert [(one["port"], one["nodePort"]) for one in live["spec"]["ports"]] == [(9898, node_port)]
    assert live["metadata"]["annotations"] == {"note": "mine", **FLUX_MARKERS}
    assert "ownerReferences" not in live["metadata"]
    assert await world.settle(of) == 0

    await world.settle(of, revert=True)
    live = world.live(SERVICES, "podinfo")
    assert live["spec"]["selector"] == {"app": "podinfo"}
    assert [one["port"] for one in live["spec"]["ports"]] == [9898]
    assert live["metadata"]["annotations"] == {"note": "mine"}


# ------------------------------------------------------------------------------------------------ autoscalers


async def test_an_autoscaler_is_copied_and_updated_once(world: World):
    metric = {"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 99}}}
    spec = {"scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "podinfo"}, "maxReplicas": 4, "metrics": [metric]}
    world.put(AUTOSCALERS, {"metadata": {"name": "podinfo", "labels": {"team": "a"}}, "spec": spec})
    of = world.release({"autoscalerRef": {"apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler", "name": "podinfo"}})
    await world.watched.watch(AUTOSCALERS)
    await world.seen(AUTOSCALERS, "podinfo")
    await autoscaler.ensure(world.watched, of, update=False)
    before = world.requests
    await autoscaler.ensure(world.watched, of, update=True)
    assert world.requests == before
    metric["resource"]["target"]["averageUtilization"] = 50
    world.change(AUTOSCALERS, "podinfo", {"spec": {"metrics": [metric], "behavior": {"scaleDown": {"stabilizationWindowSeconds": 60}}}})
    await world.seen(AUTOSCALERS, "podinfo")
    await world.seen(AUTOSCALERS, "podinfo-primary")
    await autoscaler.ensure(world.watched, of, update=True)
    copy = world.live(AUTOSCALERS, "podinfo-primary")
    assert copy["spec"]["metrics"][0]["resource"]["target"]["averageUtilization"] == 50
    assert copy["spec"]["behavior"]["scaleDown"]["stabilizationWindowSeconds"] == 60
    assert copy["spec"]["scaleTargetRef"]["name"] == "podinfo-primary"
    before = world.requests
    await autoscaler.ensure(world.watched, of, update=True)
    assert world.requests == before
