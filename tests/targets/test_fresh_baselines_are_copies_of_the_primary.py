"""A fresh baseline: the primary once more under its own label, as large as the target, for one run; made, followed and removed."""

import copy
from typing import Any

import pytest

from canary.api.annotations import RUN
from canary.core.errors import Conflict, Forbidden, Rejected
from canary.core.model import Readiness, Unknown, Workload
from canary.core.release import Release
from canary.kube.ensure import ServerMade, ensure
from canary.kube.resource import DEPLOYMENTS, SERVICES, Object
from canary.targets import baseline, services
from canary.targets.deployment import DeploymentTarget
from tests.fakes.cluster import FakeCluster
from tests.targets.podinfo import UID, add_configs, canary, deployment, image, release, status

NAME = "podinfo-baseline"
OWNER = {
    "apiVersion": "flagger.app/v1beta1",
    "kind": "Canary",
    "name": "podinfo",
    "uid": UID,
    "controller": True,
    "blockOwnerDeletion": True,
}


@pytest.fixture
async def made(target: DeploymentTarget, fake: FakeCluster) -> FakeCluster:
    """podinfo has a primary of its first version, and its second one is about to be released."""
    add_configs(fake)
    fake.add(DEPLOYMENTS, deployment())
    await target.ensure_primary(fake, release())
    fake.add(DEPLOYMENTS, deployment(image("7.0.0")))
    fake.requests.clear()
    return fake


def stored(fake: FakeCluster, name: str = NAME) -> Object:
    return fake.stored(DEPLOYMENTS, "test", name)


async def make(target: DeploymentTarget, fake: FakeCluster, run_id: str = "run-1", of: Release | None = None) -> None:
    await target.ensure_baseline(fake, of or release(), run_id=run_id)
    await ensure(fake, services.baseline(fake, of or release()), learned=ServerMade())


async def seen(target: DeploymentTarget, fake: FakeCluster) -> tuple[Workload | Unknown | None, bool]:
    found = await target.observe(fake, canary(), release().options, now=0)
    return found.baseline, found.baseline_left


def scale(fake: FakeCluster, replicas: int) -> None:
    fake.add(DEPLOYMENTS, {**stored(fake, "podinfo"), "spec": {**stored(fake, "podinfo")["spec"], "replicas": replicas}})


def foreign(resource: Any, name: str = NAME) -> Object:
    spec: Object = {"replicas": 1, "selector": {"matchLabels": {"app": "other"}}, "template": {"metadata": {"labels": {"app": "other"}}}}
    return {"metadata": {"name": name, "namespace": "test"}, "spec": spec if resource is DEPLOYMENTS else {"selector": {"app": "other"}}}


# ---------------------------------------------------------------------------------------------------- made


async def test_it_is_the_primary_under_another_label(target: DeploymentTarget, made: FakeCluster):
    await make(target, made)
    copied, primary = stored(made), stored(made, "podinfo-primary")
    template = copy.deepcopy(primary["spec"]["template"])
    assert template["metadata"]["labels"]["app"] == "podinfo-primary"
    as_text = str(template).replace("'podinfo-primary'", f"'{NAME}'")
    assert str(copied["spec"]["template"]) == as_text, "only what tells copies apart differs: not its image, not its configs"
    assert "podinfo:6.0.0" in as_text
    assert "files-primary" in as_text, "the primary's configs, as they are"
    assert copied["spec"]["selector"] == {"matchLabels": {"app": NAME}}
    for field in ("strategy", "progressDeadlineSeconds", "minReadySeconds", "revisionHistoryLimit"):
        assert copied["spec"][field] == primary["spec"][field]
    assert copied["metadata"]["ownerReferences"] == [OWNER]
    assert copied["metadata"]["annotations"] == {RUN: "run-1"}
    assert copied["metadata"]["labels"]["app"] == NAME


async def test_its_service_is_as_the_canarys(target: DeploymentTarget, made: FakeCluster):
    for one in services.wanted(made, release(), apex=True):
        await ensure(made, one, learned=ServerMade())
    await make(target, made)
    mine, theirs = (made.stored(SERVICES, "test", f"podinfo-{which}") for which in ("baseline", "canary"))
    assert mine["spec"]["ports"] == theirs["spec"]["ports"]
    assert mine["spec"]["selector"] == {"app": NAME}
    assert mine["metadata"]["ownerReferences"] == [OWNER]
    assert mine["metadata"]["annotations"] == theirs["metadata"]["annotations"]


@pytest.mark.parametrize(("wanted", "expected"), [(0, 2), (3, 3)], ids=["parked: what it wakes up with", "awake"])
async def test_it_is_as_large_as_the_target(target: DeploymentTarget, made: FakeCluster, wanted: int, expected: int):
    scale(made, wanted)
    await make(target, made)
    assert stored(made)["spec"]["replicas"] == expected


async def test_it_follows_the_target_and_nothing_else_of_it_is_written(target: DeploymentTarget, made: FakeCluster):
    await make(target, made)
    made.requests.clear()
    await make(target, made)
    assert made.requests == [], "no request when all is well"
    scale(made, 5)
    await make(target, made)
    assert made.requests == [("merge", "deployments", NAME)]
    assert stored(made)["spec"]["replicas"] == 5


async def test_one_of_another_run_is_left_as_it_is(target: DeploymentTarget, made: FakeCluster):
    await make(target, made)
    scale(made, 5)
    await make(target, made, "run-2")
    assert stored(made)["metadata"]["annotations"] == {RUN: "run-1"}
    assert stored(made)["spec"]["replicas"] == 2


async def test_without_a_primary_there_is_nothing_to_copy(target: DeploymentTarget, made: FakeCluster):
    made.remove(DEPLOYMENTS, "test", "podinfo-primary")
    with pytest.raises(Conflict, match="is gone"):
        await make(target, made)


async def test_what_is_there_already_and_not_in_the_cache_is_a_conflict(target: DeploymentTarget, made: FakeCluster):
    made.lag(DEPLOYMENTS, "test", NAME)
    made.add(DEPLOYMENTS, foreign(DEPLOYMENTS))
    with pytest.raises(Conflict):
        await make(target, made)


@pytest.mark.parametrize("resource", [DEPLOYMENTS, SERVICES], ids=["Deployment", "Service"])
async def test_what_is_somebody_elses_is_neither_used_nor_removed(target: DeploymentTarget, made: FakeCluster, resource: Any):
    made.add(resource, foreign(resource))
    before = made.stored(resource, "test", NAME)
    found, _ = await seen(target, made)
    assert isinstance(found, Unknown)
    assert found.reason == "BaselineTaken"
    assert f"{resource.kind} {NAME}.test exists already and is not ours; delete or rename it" in found.message
    with pytest.raises(Rejected, match="is not ours"):
        await make(target, made)
    await target.remove_baseline(made, release())
    assert made.stored(resource, "test", NAME) == before


# ---------------------------------------------------------------------------------------------------- seen


async def test_it_is_observed_by_the_run_that_it_was_made_for(target: DeploymentTarget, made: FakeCluster):
    assert await seen(target, made) == (None, False)
    await make(target, made)
    found, left = await seen(target, made)
    assert isinstance(found, Workload)
    assert (found.revision, found.replicas, found.ready_replicas, found.readiness, left) == ("run-1", 2, 0, Readiness.WAITING, True)
    made.add(DEPLOYMENTS, {**stored(made), "status": status()})
    found, _ = await seen(target, made)
    assert isinstance(found, Workload)
    assert (found.ready_replicas, found.readiness) == (2, Readiness.READY)


async def test_without_its_service_nobody_reaches_it(target: DeploymentTarget, made: FakeCluster):
    await make(target, made)
    made.add(DEPLOYMENTS, {**stored(made), "status": status()})
    made.remove(SERVICES, "test", NAME)
    found, left = await seen(target, made)
    assert isinstance(found, Workload)
    assert (found.ready_replicas, found.readiness, left) == (0, Readiness.WAITING, True)
    assert "service podinfo-baseline is not there yet" in found.message


async def test_a_service_that_is_left_alone_is_still_ours_to_take_away(target: DeploymentTarget, made: FakeCluster):
    await make(target, made)
    made.remove(DEPLOYMENTS, "test", NAME)
    assert await seen(target, made) == (None, True)


async def test_its_deadline_is_the_canarys(target: DeploymentTarget, made: FakeCluster):
    await make(target, made)
    condition = {"type": "Progressing", "status": "False", "reason": "ProgressDeadlineExceeded"}
    made.add(DEPLOYMENTS, {**stored(made), "status": {"observedGeneration": 1, "conditions": [condition]}})
    found, _ = await seen(target, made)
    assert isinstance(found, Workload)
    assert found.readiness is Readiness.STUCK


# ---------------------------------------------------------------------------------------------------- removed


async def test_the_service_goes_a_tick_after_its_deployment_and_then_there_is_no_request(target: DeploymentTarget, made: FakeCluster):
    """In between the routes, which may name it until then, are written without it."""
    await make(target, made)
    made.requests.clear()
    await target.remove_baseline(made, release())
    assert made.requests == [("delete", "deployments", NAME)]
    assert await seen(target, made) == (None, True)
    await target.remove_baseline(made, release())
    assert made.requests == [("delete", "deployments", NAME), ("delete", "services", NAME)]
    assert await seen(target, made) == (None, False)
    await target.remove_baseline(made, release())
    assert len(made.requests) == 2


async def test_a_removal_that_is_cut_off_goes_on_later(target: DeploymentTarget, made: FakeCluster):
    await make(target, made)
    made.fail("delete", SERVICES, Forbidden("services is forbidden"))
    await target.remove_baseline(made, release())
    with pytest.raises(Forbidden):
        await target.remove_baseline(made, release())
    assert await seen(target, made) == (None, True)
    await target.remove_baseline(made, release())
    assert await seen(target, made) == (None, False)


async def test_one_that_is_being_deleted_is_not_deleted_again_and_its_service_waits(target: DeploymentTarget, made: FakeCluster):
    await make(target, made)
    live = stored(made)
    live["metadata"]["deletionTimestamp"] = "2026-01-02T12:00:00Z"
    made.add(DEPLOYMENTS, live)
    made.requests.clear()
    await baseline.remove(made, release())
    assert made.requests == []
