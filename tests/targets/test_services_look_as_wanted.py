"""U31: the three generated Services, what drift is mended on whose Service, and what deletion gives back."""

import json
from typing import Any

import pytest

from canary.core.errors import Rejected
from canary.core.release import FLUX_MARKERS, Port, Release
from canary.kube.ensure import ServerMade, ensure
from canary.kube.resource import SERVICES, Object
from canary.targets import services
from tests.fakes.cluster import FakeCluster
from tests.targets.podinfo import as_recorded, canary, release

NAMES = ("podinfo-canary", "podinfo-primary", "podinfo")


async def settle(fake: FakeCluster, of: Release) -> None:
    for one in services.wanted(fake, of, apex=True):
        await ensure(fake, one, learned=ServerMade())


async def revert(fake: FakeCluster, of: Release) -> None:
    for one in services.reverted(fake, of):
        await ensure(fake, one, learned=ServerMade())


def live(fake: FakeCluster, name: str = "podinfo") -> Object:
    return fake.stored(SERVICES, "test", name)


def service(spec: dict[str, Any], **options: Any) -> Release:
    return release({"service": spec}, **options)


def users(spec: Object | None = None, **meta: Any) -> Object:
    """A Service that somebody made before the Canary."""
    base = {"type": "NodePort", "selector": {"app": "podinfo"}, "ports": [{"name": "http", "port": 80, "nodePort": 30080}]}
    return {"metadata": {"name": "podinfo", "namespace": "test", **meta}, "spec": {**base, **(spec or {})}}


def owner(name: str, kind: str = "Canary", *, controller: bool = True) -> list[Object]:
    group = "flagger.app/v1beta1" if kind == "Canary" else "apps/v1"
    return [{"apiVersion": group, "kind": kind, "name": name, "uid": f"uid-of-{name}", "controller": controller}]


# ---------------------------------------------------------------------------------------------------- created


@pytest.mark.parametrize(
    ("name", "spec"),
    [
        ("services", {}),
        (
            "services-with-everything",
            {
                "name": "shop",
                "port": 80,
                "targetPort": "http",
                "portName": "web",
                "appProtocol": "kubernetes.io/h2c",
                "trafficDistribution": "PreferClose",
                "portDiscovery": True,
                "headless": True,
                "apex": {"labels": {"a": "apex"}, "annotations": {"b": "apex"}},
                "primary": {"labels": {"a": "primary"}},
                "canary": {"annotations": {"b": "canary"}},
            },
        ),
    ],
)
def test_new_services_as_recorded(fake: FakeCluster, name: str, spec: dict[str, Any]):
    as_recorded(name, [one.body for one in services.wanted(fake, service(spec), apex=True)])


def test_the_apex_comes_last_and_only_when_asked_for(fake: FakeCluster):
    assert [one.body["metadata"]["name"] for one in services.wanted(fake, release(), apex=True)] == list(NAMES)
    assert [one.body["metadata"]["name"] for one in services.wanted(fake, release(), apex=False)] == list(NAMES[:2])


def test_when_the_primary_cannot_serve_its_services_select_the_target(fake: FakeCluster):
    selectors = {
        one.body["metadata"]["name"]: one.body["spec"]["selector"] for one in services.wanted(fake, release(), apex=True, to_target=True)
    }
    assert selectors == dict.fromkeys(NAMES, {"app": "podinfo"})


async def test_what_is_as_wanted_costs_nothing(fake: FakeCluster):
    of = service({"portDiscovery": True, "trafficDistribution": "PreferClose", "headless": True})
    await settle(fake, of)
    assert len(fake.requests) == 3
    await settle(fake, of)
    assert len(fake.requests) == 3


def test_a_canary_without_a_service_is_told(fake: FakeCluster):
    with pytest.raises(Rejected, match=r"canary podinfo\.test has no spec\.service"):
        services.wanted(fake, release({"service": None}), apex=True)


# ------------------------------------------------------------------------------------------- drift on our own


@pytest.mark.parametrize(
    "drift",
    [
        {"spec": {"selector": {"app": "podinfo"}}},
        {"spec": {"selector": {"app": "podinfo-primary", "extra": "label"}}},
        {"spec": {"ports": [{"name": "http", "protocol": "TCP", "port": 9898, "targetPort": 1}]}},
        {"spec": {"ports": []}},
        {"metadata": {"labels": {"app": "other"}}},
        {"metadata": {"labels": {"extra": "1"}}},
        {"metadata": {"annotations": {"extra": "1"}}},
        {"metadata": {"annotations": dict.fromkeys(FLUX_MARKERS)}},
    ],
)
async def test_drift_of_an_owned_service_is_undone(fake: FakeCluster, drift: Object):
    await settle(fake, release())
    before = live(fake)
    fake.change(SERVICES, "test", "podinfo", drift)
    await settle(fake, release())
    after = live(fake)
    assert after["spec"] == before["spec"]
    assert {key: after["metadata"].get(key) for key in ("labels", "annotations")} == {
        key: before["metadata"].get(key) for key in ("labels", "annotations")
    }


@pytest.mark.parametrize(
    "drift",
    [
        {"spec": {"type": "LoadBalancer"}},
        {"spec": {"sessionAffinity": "ClientIP"}},
        {"spec": {"ports": [{"name": "http", "protocol": "TCP", "port": 9898, "targetPort": 9898, "nodePort": 30001}]}},
        {"metadata": {"annotations": {"mine": "1"}, "labels": {"mine": "1"}}},
    ],
)
async def test_what_is_not_ours_is_left_alone(fake: FakeCluster, drift: Object):
    of = service({"unmanagedMetadata": {"annotations": ["mine", "absent"], "labels": ["mine"]}})
    await settle(fake, of)
    fake.change(SERVICES, "test", "podinfo", drift)
    before = live(fake)
    fake.requests.clear()
    await settle(fake, of)
    assert fake.requests == []
    assert live(fake) == before


async def test_unmanaged_keys_survive_when_other_metadata_is_mended(fake: FakeCluster):
    of = service({"unmanagedMetadata": {"annotations": ["mine"], "labels": ["mine"]}})
    await settle(fake, of)
    fake.change(SERVICES, "test", "podinfo", {"metadata": {"annotations": {"mine": "1", "x": "y"}, "labels": {"mine": "1", "x": "y"}}})
    await settle(fake, of)
    assert live(fake)["metadata"]["annotations"] == {**FLUX_MARKERS, "mine": "1"}
    assert live(fake)["metadata"]["labels"] == {"app": "podinfo", "mine": "1"}


async def test_the_order_of_ports_is_no_drift(fake: FakeCluster):
    of = service({"portDiscovery": True})
    await settle(fake, of)
    ports = live(fake)["spec"]["ports"]
    assert len(ports) == 3
    fake.change(SERVICES, "test", "podinfo", {"spec": {"ports": ports[::-1]}})
    fake.requests.clear()
    await settle(fake, of)
    assert fake.requests == []


async def test_node_ports_stay_when_ports_change(fake: FakeCluster):
    await settle(fake, release())
    port = live(fake)["spec"]["ports"][0]
    fake.change(SERVICES, "test", "podinfo", {"spec": {"type": "NodePort", "ports": [{**port, "nodePort": 30001}]}})
    await settle(fake, service({"port": 80, "targetPort": 9898}))
    assert live(fake)["spec"]["ports"] == [{"name": "http", "protocol": "TCP", "port": 80, "targetPort": 9898, "nodePort": 30001}]


async def test_the_traffic_distribution_of_an_existing_service_follows_the_canary(fake: FakeCluster):
    await settle(fake, release())
    for value in ("PreferClose", "PreferSameNode", None):
        await settle(fake, service({"trafficDistribution": value}))
        assert live(fake)["spec"].get("trafficDistribution") == value


async def test_udp_ports_stay_udp(fake: FakeCluster):
    of = Release(canary(), "kubernetes", "app", "podinfo", ports=(Port("dns", 53, "UDP"),))
    await settle(fake, of)
    assert live(fake)["spec"]["ports"][1] == {"name": "dns", "protocol": "UDP", "port": 53, "targetPort": 53}


# --------------------------------------------------------------------------------------------- whose Service


async def test_a_users_service_is_taken_over_but_not_owned(fake: FakeCluster):
    fake.add(SERVICES, users(labels={"team": "a"}, annotations={"note": "mine"}))
    await settle(fake, release())
    assert live(fake)["spec"] == {
        "type": "NodePort",
        "selector": {"app": "podinfo-primary"},
        "ports": [{"name": "http", "protocol": "TCP", "port": 9898, "targetPort": 9898, "nodePort": 30080}],
    }
    meta = live(fake)["metadata"]
    assert "ownerReferences" not in meta
    assert meta["labels"] == {"team": "a"}
    assert meta["annotations"] == {"note": "mine", **FLUX_MARKERS}


async def test_a_users_service_with_the_right_ports_and_selector_still_gets_the_flux_markers(fake: FakeCluster):
    port = {"name": "http", "protocol": "TCP", "port": 9898, "targetPort": 9898}
    fake.add(SERVICES, users({"selector": {"app": "podinfo-primary"}, "ports": [port]}))
    await settle(fake, release())
    assert live(fake)["metadata"]["annotations"] == FLUX_MARKERS


@pytest.mark.parametrize(
    ("refs", "whose"),
    [
        ([], "users"),
        (owner("podinfo", controller=False), "users"),
        (owner("podinfo", kind="ReplicaSet"), "users"),
        (owner("podinfo"), "ours"),
        (owner("another"), "another canary's"),
        (owner("another", controller=False), "users"),
    ],
)
async def test_metadata_is_ours_only_on_services_of_this_canary(fake: FakeCluster, refs: list[Object], whose: str):
    fake.add(SERVICES, users(labels={"team": "a"}, ownerReferences=refs))
    if whose == "another canary's":
        with pytest.raises(Rejected, match=r"Service podinfo\.test is controlled by Canary 'another'"):
            await settle(fake, release())
        assert live(fake)["spec"]["selector"] == {"app": "podinfo"}
        return
    await settle(fake, release())
    assert live(fake)["spec"]["selector"] == {"app": "podinfo-primary"}
    assert live(fake)["metadata"]["labels"] == ({"app": "podinfo"} if whose == "ours" else {"team": "a"})


async def test_a_users_traffic_distribution_is_the_users(fake: FakeCluster):
    fake.add(SERVICES, users({"trafficDistribution": "PreferClose"}))
    await settle(fake, release())
    assert live(fake)["spec"]["trafficDistribution"] == "PreferClose"


# --------------------------------------------------------------------------------------------------- reverted


async def test_on_deletion_the_selector_is_what_kubectl_applied_last(fake: FakeCluster):
    applied = json.dumps({"spec": {"selector": {"app": "podinfo", "tier": "web"}}})
    fake.add(SERVICES, users(annotations={services.LAST_APPLIED: applied, "note": "mine"}))
    await settle(fake, release())
    await revert(fake, release())
    assert live(fake)["spec"]["selector"] == {"app": "podinfo", "tier": "web"}
    assert live(fake)["metadata"]["annotations"] == {services.LAST_APPLIED: applied, "note": "mine"}
    assert live(fake)["spec"]["ports"][0]["port"] == 9898


async def test_on_deletion_a_service_without_a_selector_gets_none(fake: FakeCluster):
    fake.add(SERVICES, users({"selector": {}}, annotations={services.LAST_APPLIED: json.dumps({"spec": {}})}))
    await settle(fake, release())
    assert live(fake)["spec"]["selector"] == {"app": "podinfo-primary"}
    await revert(fake, release())
    assert not live(fake)["spec"].get("selector")


@pytest.mark.parametrize("applied", [None, "not json", '"text"'])
async def test_on_deletion_the_selector_is_else_the_targets(fake: FakeCluster, applied: str | None):
    fake.add(SERVICES, users(annotations={services.LAST_APPLIED: applied} if applied else {}))
    await settle(fake, release())
    await revert(fake, release())
    assert live(fake)["spec"]["selector"] == {"app": "podinfo"}
    assert not set(live(fake)["metadata"].get("annotations", {})) & set(FLUX_MARKERS)


async def test_markers_that_the_user_had_stay(fake: FakeCluster):
    key = "kustomize.toolkit.fluxcd.io/reconcile"
    applied = json.dumps({"metadata": {"annotations": {key: "disabled"}}, "spec": {"selector": {"app": "podinfo"}}})
    fake.add(SERVICES, users(annotations={services.LAST_APPLIED: applied, key: "disabled"}))
    await settle(fake, release())
    await revert(fake, release())
    assert set(live(fake)["metadata"]["annotations"]) == {services.LAST_APPLIED, key}


@pytest.mark.parametrize("name", ["podinfo", "another"])
async def test_on_deletion_a_service_of_a_canary_is_left_to_the_garbage_collector(fake: FakeCluster, name: str):
    fake.add(SERVICES, users(ownerReferences=owner(name)))
    assert services.reverted(fake, release()) == ()


def test_on_deletion_a_missing_service_does_not_hang(fake: FakeCluster):
    assert services.reverted(fake, release()) == ()
