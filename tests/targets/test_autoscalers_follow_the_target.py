"""U30: the primary's HPA or ScaledObject, and the pause of the target's."""

from typing import Any

import pytest

from canary.core.errors import Conflict, NotFound, Rejected
from canary.core.release import Release
from canary.kube.resource import AUTOSCALERS, SCALED_OBJECTS, Object, Resource
from canary.targets import autoscaler
from canary.targets.autoscaler import PAUSED_REPLICAS
from tests.fakes.cluster import FakeCluster
from tests.targets.podinfo import UID, as_recorded, release

METRIC = {"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 99}}}


def hpa(**spec: Any) -> Object:
    return {
        "metadata": {
            "name": "scaler",
            "namespace": "test",
            "labels": {"team": "a", "kustomize.toolkit.fluxcd.io/name": "x"},
            "annotations": {"note": "mine", "app.kubernetes.io/owner": "a"},
        },
        "spec": {
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "podinfo"},
            "minReplicas": 2,
            "maxReplicas": 4,
            "metrics": [METRIC],
            "behavior": {"scaleDown": {"stabilizationWindowSeconds": 60}},
            "aFieldOfTomorrow": {"kept": True},
            **spec,
        },
    }


def scaled(**spec: Any) -> Object:
    return {
        "metadata": {
            "name": "scaler",
            "namespace": "test",
            "labels": {"team": "a", "scaledobject.keda.sh/name": "scaler", "kustomize.toolkit.fluxcd.io/name": "x"},
            "annotations": {
                "scaledobject.keda.sh/transfer-hpa-ownership": "true",
                PAUSED_REPLICAS: "0",
                "kustomize.toolkit.fluxcd.io/checksum": "x",
            },
        },
        "spec": {
            "scaleTargetRef": {"name": "podinfo", "envSourceContainerName": "podinfod"},
            "minReplicaCount": 1,
            "maxReplicaCount": 4,
            "initialCooldownPeriod": 7,
            "advanced": {"horizontalPodAutoscalerConfig": {"name": "podinfo-hpa"}, "scalingModifiers": {"target": "1"}},
            "triggers": [
                {"type": "prometheus", "name": "rps", "metadata": {"threshold": "5", "query": 'sum(rate(http{app="podinfo"}[1m]))'}},
                {"type": "cron", "metadata": {"timezone": "UTC"}},
            ],
            **spec,
        },
    }


def with_scaler(kind: str, **ref: Any) -> Release:
    return release({"autoscalerRef": {"apiVersion": "x/v1", "kind": kind, "name": "scaler", **ref}})


KINDS: dict[str, tuple[Resource, Any]] = {"HorizontalPodAutoscaler": (AUTOSCALERS, hpa), "ScaledObject": (SCALED_OBJECTS, scaled)}
both = pytest.mark.parametrize("kind", KINDS)


def primary(fake: FakeCluster, kind: str) -> Object:
    return fake.stored(KINDS[kind][0], "test", "scaler-primary")


def put(fake: FakeCluster, kind: str, **spec: Any) -> None:
    resource, make = KINDS[kind]
    fake.add(resource, make(**spec))


# ---------------------------------------------------------------------------------------------------- created


@both
async def test_primary_autoscaler_as_recorded(fake: FakeCluster, kind: str):
    put(fake, kind)
    await autoscaler.ensure(fake, with_scaler(kind), update=False)
    found = primary(fake, kind)
    for key in ("uid", "resourceVersion", "generation"):
        del found["metadata"][key]
    as_recorded(f"{kind.lower()}-primary", found)


@both
async def test_overrides_win(fake: FakeCluster, kind: str):
    put(fake, kind)
    await autoscaler.ensure(fake, with_scaler(kind, primaryScalerReplicas={"minReplicas": 3, "maxReplicas": 9}), update=False)
    spec = primary(fake, kind)["spec"]
    assert [spec.get(key) for key in autoscaler._bound_fields(with_scaler(kind).canary.spec.autoscaler_ref)] == [3, 9]


@both
async def test_one_override_leaves_the_other_bound(fake: FakeCluster, kind: str):
    put(fake, kind)
    await autoscaler.ensure(fake, with_scaler(kind, primaryScalerReplicas={"maxReplicas": 9}), update=False)
    spec = primary(fake, kind)["spec"]
    assert spec.get("maxReplicas", spec.get("maxReplicaCount")) == 9
    assert spec.get("minReplicas", spec.get("minReplicaCount")) == hpa()["spec"]["minReplicas"] if kind[0] == "H" else 1


@both
async def test_a_missing_autoscaler_is_named(fake: FakeCluster, kind: str):
    with pytest.raises(NotFound, match=rf"{kind} scaler\.test get query error"):
        await autoscaler.ensure(fake, with_scaler(kind), update=False)


async def test_without_a_reference_nothing_is_watched_or_done():
    fake = FakeCluster()
    await autoscaler.ensure(fake, release(), update=True)
    await autoscaler.pause(fake, release(), paused=True)
    assert (fake.watching, fake.requests) == (set(), [])


@both
async def test_only_the_kind_that_is_used_is_watched(kind: str):
    fake = FakeCluster()
    put(fake, kind)
    await autoscaler.ensure(fake, with_scaler(kind), update=False)
    assert fake.watching == {KINDS[kind][0]}


async def test_an_unknown_kind_is_refused(fake: FakeCluster):
    with pytest.raises(Rejected, match="'VerticalPodAutoscaler' is not known") as caught:
        await autoscaler.ensure(fake, with_scaler("VerticalPodAutoscaler"), update=False)
    assert "HorizontalPodAutoscaler, ScaledObject" in caught.value.hint


# ---------------------------------------------------------------------------------------------------- updated


@both
async def test_changes_of_the_source_wait_for_the_promotion(fake: FakeCluster, kind: str):
    put(fake, kind)
    await autoscaler.ensure(fake, with_scaler(kind), update=False)
    before = primary(fake, kind)
    fake.change(KINDS[kind][0], "test", "scaler", {"spec": {"behavior": None, "pollingInterval": 5, "aFieldOfTomorrow": {"kept": 2}}})
    await autoscaler.ensure(fake, with_scaler(kind), update=False)
    assert primary(fake, kind) == before
    await autoscaler.ensure(fake, with_scaler(kind), update=True)
    after = primary(fake, kind)["spec"]
    assert ("behavior" in after, after["pollingInterval"], after["aFieldOfTomorrow"]) == (False, 5, {"kept": 2})
    assert after["scaleTargetRef"]["name"] == "podinfo-primary"


@both
async def test_an_update_without_a_change_costs_nothing(fake: FakeCluster, kind: str):
    put(fake, kind)
    await autoscaler.ensure(fake, with_scaler(kind), update=False)
    fake.requests.clear()
    await autoscaler.ensure(fake, with_scaler(kind), update=True)
    assert fake.requests == []


@both
async def test_labels_follow_and_annotations_by_prefix(fake: FakeCluster, kind: str):
    put(fake, kind)
    of = Release(with_scaler(kind).canary, "kubernetes", "app", "podinfo", options=release(include_label_prefixes=("x/",)).options)
    await autoscaler.ensure(fake, of, update=False)
    fake.change(KINDS[kind][0], "test", "scaler-primary", {"metadata": {"annotations": {"by-controller": "1"}}})
    meta = {"labels": {"team": "b"}, "annotations": {"x/new": "1", "y/new": "1"}}
    fake.change(KINDS[kind][0], "test", "scaler", {"metadata": meta})
    await autoscaler.ensure(fake, of, update=True)
    found = primary(fake, kind)["metadata"]
    assert found["labels"] == {"team": "b"}
    assert found["annotations"]["by-controller"] == "1"
    assert found["annotations"]["x/new"] == "1"
    assert "y/new" not in found["annotations"]
    fake.requests.clear()
    await autoscaler.ensure(fake, of, update=True)
    assert fake.requests == []


async def test_the_label_that_keda_keeps_is_not_fought_over(fake: FakeCluster):
    put(fake, "ScaledObject")
    of = with_scaler("ScaledObject")
    await autoscaler.ensure(fake, of, update=False)
    fake.change(SCALED_OBJECTS, "test", "scaler-primary", {"metadata": {"labels": {"scaledobject.keda.sh/name": "scaler-primary"}}})
    fake.requests.clear()
    await autoscaler.ensure(fake, of, update=True)
    assert fake.requests == []


@both
async def test_somebody_writing_meanwhile_is_a_conflict(fake: FakeCluster, kind: str):
    resource = KINDS[kind][0]
    put(fake, kind)
    await autoscaler.ensure(fake, with_scaler(kind), update=False)
    fake.change(resource, "test", "scaler", {"spec": {"pollingInterval": 5}})
    fake.lag(resource, "test", "scaler-primary")
    fake.change(resource, "test", "scaler-primary", {"spec": {"pollingInterval": 6}})
    with pytest.raises(Conflict):
        await autoscaler.ensure(fake, with_scaler(kind), update=True)


# -------------------------------------------------------------------------------------------- KEDA's queries


async def query(fake: FakeCluster, text: str, **ref: Any) -> str:
    put(fake, "ScaledObject", triggers=[{"type": "prometheus", "name": "rps", "metadata": {"query": text}}])
    await autoscaler.ensure(fake, with_scaler("ScaledObject", **ref), update=False)
    return primary(fake, "ScaledObject")["spec"]["triggers"][0]["metadata"]["query"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("podinfo", "podinfo-primary"),
        ("podinfo-canary", "podinfo-primary"),
        ("podinfo-primary", "podinfo-primary"),
        ("podinfo-canary / podinfo", "podinfo-primary / podinfo-primary"),
        ("podinfo.test:podinfo-canary", "podinfo-primary.test:podinfo-primary"),
        ("other", "other"),
    ],
)
async def test_queries_ask_about_the_primary(fake: FakeCluster, text: str, expected: str):
    assert await query(fake, text) == expected


@pytest.mark.parametrize(("name", "expected"), [("rps", "mine podinfo"), ("other", "podinfo")])
async def test_a_query_of_the_users_is_matched_by_trigger_name_and_taken_as_it_is(fake: FakeCluster, name: str, expected: str):
    assert await query(fake, "podinfo", primaryScalerQueries={name: "mine podinfo"}) == expected


async def test_a_dot_in_the_targets_name_is_just_a_dot(fake: FakeCluster):
    put(fake, "ScaledObject", triggers=[{"type": "prometheus", "metadata": {"query": "pod-info pod.info"}}])
    ref = {"autoscalerRef": {"apiVersion": "x/v1", "kind": "ScaledObject", "name": "scaler"}, "targetRef": {"name": "pod.info"}}
    await autoscaler.ensure(fake, release(ref), update=False)
    assert primary(fake, "ScaledObject")["spec"]["triggers"][0]["metadata"]["query"] == "pod-info pod.info-primary"


async def test_advanced_is_always_there(fake: FakeCluster):
    put(fake, "ScaledObject")
    fake.change(SCALED_OBJECTS, "test", "scaler", {"spec": {"advanced": None}})
    await autoscaler.ensure(fake, with_scaler("ScaledObject"), update=False)
    assert primary(fake, "ScaledObject")["spec"]["advanced"] == {"horizontalPodAutoscalerConfig": {}}


# ------------------------------------------------------------------------------------------- pause and resume


def pause_of(fake: FakeCluster) -> str | None:
    return fake.stored(SCALED_OBJECTS, "test", "scaler")["metadata"].get("annotations", {}).get(PAUSED_REPLICAS)


async def test_a_scaled_object_is_paused_and_resumed_with_one_request_each(fake: FakeCluster):
    put(fake, "ScaledObject")
    of = with_scaler("ScaledObject")
    for paused, expected in ((False, None), (False, None), (True, "0"), (True, "0")):
        await autoscaler.pause(fake, of, paused=paused)
        assert pause_of(fake) == expected
    assert fake.requests == [("merge", "scaledobjects", "scaler")] * 2


async def test_a_pause_changes_nothing_else_of_the_users_object(fake: FakeCluster):
    fake.add(SCALED_OBJECTS, {"metadata": {"name": "scaler", "namespace": "test"}, "spec": scaled()["spec"]})
    before = fake.stored(SCALED_OBJECTS, "test", "scaler")
    await autoscaler.pause(fake, with_scaler("ScaledObject"), paused=True)
    await autoscaler.pause(fake, with_scaler("ScaledObject"), paused=False)
    after = fake.stored(SCALED_OBJECTS, "test", "scaler")
    assert after["spec"] == before["spec"]
    assert after["metadata"] | {"resourceVersion": ""} == before["metadata"] | {"resourceVersion": ""}


async def test_an_hpa_needs_no_pause(fake: FakeCluster):
    put(fake, "HorizontalPodAutoscaler")
    await autoscaler.pause(fake, with_scaler("HorizontalPodAutoscaler"), paused=True)
    assert fake.requests == []


@pytest.mark.parametrize("paused", [True, False])
async def test_a_rollback_does_not_wait_for_a_scaled_object_that_is_gone(fake: FakeCluster, paused: bool):
    await autoscaler.pause(fake, with_scaler("ScaledObject"), paused=paused)
    assert fake.requests == []


async def test_a_pause_never_reaches_the_primary_by_an_update_either(fake: FakeCluster):
    put(fake, "ScaledObject")
    of = Release(with_scaler("ScaledObject").canary, "kubernetes", "app", "podinfo", options=release(include_label_prefixes=("*",)).options)
    await autoscaler.ensure(fake, of, update=False)
    await autoscaler.ensure(fake, of, update=True)
    assert PAUSED_REPLICAS not in primary(fake, "ScaledObject")["metadata"]["annotations"]


async def test_a_primary_made_while_the_source_is_paused_is_not(fake: FakeCluster):
    put(fake, "ScaledObject")
    await autoscaler.ensure(fake, with_scaler("ScaledObject"), update=False)
    assert primary(fake, "ScaledObject")["metadata"]["annotations"] == {"scaledobject.keda.sh/transfer-hpa-ownership": "true"}
    assert primary(fake, "ScaledObject")["metadata"]["ownerReferences"][0]["uid"] == UID
