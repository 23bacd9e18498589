"""Scaling the target up, to zero, and back on deletion: how many pods, and no request when they are there."""

import pytest

from canary.core.errors import NotFound
from canary.core.release import Release
from canary.kube.resource import AUTOSCALERS, DEPLOYMENTS, SCALED_OBJECTS, Object
from canary.targets.deployment import DeploymentTarget
from tests.fakes.cluster import FakeCluster
from tests.targets.podinfo import plain, release

PATCH = [("merge", "deployments", "podinfo")]


def scaled_by(kind: str) -> Release:
    return release({"autoscalerRef": {"apiVersion": "x/v1", "kind": kind, "name": "podinfo"}})


def add(fake: FakeCluster, *, target: int | None = None, primary: int | None = None) -> None:
    for name, replicas in (("podinfo", target), ("podinfo-primary", primary)):
        if replicas is not None:
            fake.add(DEPLOYMENTS, {**plain({"spec": {"replicas": replicas}}), "metadata": {"name": name, "namespace": "test"}})


def replicas(fake: FakeCluster) -> int:
    return fake.stored(DEPLOYMENTS, "test", "podinfo")["spec"]["replicas"]


@pytest.mark.parametrize(("has", "primary", "expected"), [(0, 3, 3), (0, 0, 1), (0, None, 1), (4, 3, 4)])
async def test_a_target_comes_up_with_its_own_pods_or_those_of_the_primary(
    target: DeploymentTarget, fake: FakeCluster, has: int, primary: int | None, expected: int
):
    add(fake, target=has, primary=primary)
    await target.scale(fake, release(), up=True)
    assert replicas(fake) == expected
    assert fake.requests == ([] if has else PATCH)


@pytest.mark.parametrize(
    ("kind", "spec", "expected"),
    [
        ("HorizontalPodAutoscaler", {"minReplicas": 3}, 3),
        ("HorizontalPodAutoscaler", {"minReplicas": 1}, 1),
        ("HorizontalPodAutoscaler", {}, 1),
        ("HorizontalPodAutoscaler", None, 1),
        ("ScaledObject", {"minReplicaCount": 2}, 2),
        ("ScaledObject", {"minReplicaCount": 0}, 1),
        ("ScaledObject", {}, 1),
    ],
)
async def test_a_scaled_target_comes_up_with_the_minimum_of_its_autoscaler(
    target: DeploymentTarget, fake: FakeCluster, kind: str, spec: Object | None, expected: int
):
    add(fake, target=0, primary=7)
    if spec is not None:
        resource = SCALED_OBJECTS if kind == "ScaledObject" else AUTOSCALERS
        fake.add(resource, {"metadata": {"name": "podinfo", "namespace": "test"}, "spec": spec})
    await target.scale(fake, scaled_by(kind), up=True)
    assert replicas(fake) == expected


async def test_a_target_goes_to_zero_with_one_request_and_stays_there_without(target: DeploymentTarget, fake: FakeCluster):
    add(fake, target=2)
    await target.scale(fake, release(), up=False)
    assert replicas(fake) == 0
    await target.scale(fake, release(), up=False)
    assert fake.requests == PATCH


async def test_a_missing_target_cannot_come_up_but_is_at_zero(target: DeploymentTarget, fake: FakeCluster):
    await target.scale(fake, release(), up=False)
    with pytest.raises(NotFound):
        await target.scale(fake, release(), up=True)
    assert fake.requests == []


@pytest.mark.parametrize(
    ("has", "primary", "expected"),
    [(0, 3, 3), (5, 3, 3), (3, 3, 3), (0, None, 1), (2, None, 2), (2, 0, 2), (0, 0, 0)],
)
async def test_on_deletion_the_target_gets_the_primarys_pods_and_never_loses_its_last(
    target: DeploymentTarget, fake: FakeCluster, has: int, primary: int | None, expected: int
):
    add(fake, target=has, primary=primary)
    await target.revert(fake, release())
    assert replicas(fake) == expected
    assert fake.requests == ([] if has == expected else PATCH)


async def test_deleting_a_canary_whose_target_is_gone_does_not_hang(target: DeploymentTarget, fake: FakeCluster):
    add(fake, primary=2)
    await target.revert(fake, release())
    assert fake.requests == []
