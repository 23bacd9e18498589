"""U01, U10, U25-U27, Q21: the primary is a copy of what was analysed, written once, also when a promotion is replayed."""

import copy
from typing import Any

import pytest

from canary.core.errors import Conflict, NotFound, Retryable
from canary.core.release import Release
from canary.kube.resource import CONFIG_MAPS, DEPLOYMENTS, Object
from canary.targets.config_refs import references
from canary.targets.deployment import DeploymentTarget
from canary.targets.pod_template import FLAGGER_ID
from tests.fakes.cluster import FakeCluster
from tests.targets.podinfo import add_configs, as_recorded, canary, deployment, image, plain, release, revision

INCLUDE = ("app.kubernetes.io",)


def primary(fake: FakeCluster) -> Object:
    return fake.stored(DEPLOYMENTS, "test", "podinfo-primary")


def written(fake: FakeCluster) -> Object:
    """The primary without what the API server adds."""
    obj = primary(fake)
    for key in ("uid", "resourceVersion", "generation"):
        del obj["metadata"][key]
    return obj


def flagger_id(fake: FakeCluster) -> str:
    return primary(fake)["spec"]["template"]["metadata"]["annotations"][FLAGGER_ID]


async def promote(target: DeploymentTarget, fake: FakeCluster, of: Release | None = None) -> None:
    """Promote what the target is and uses now."""
    of = of or release()
    seen = await target.observe(fake, of.canary, of.options, now=0)
    await target.promote(fake, of, revision=seen.target.revision, configs=seen.configs)


@pytest.fixture
async def made(target: DeploymentTarget, fake: FakeCluster) -> FakeCluster:
    """podinfo and its primary."""
    add_configs(fake)
    fake.add(DEPLOYMENTS, deployment())
    await target.ensure_primary(fake, release())
    fake.requests.clear()
    return fake


# ---------------------------------------------------------------------------------------------------- created


async def test_a_primary_is_not_made_from_another_revision_than_the_one_decided_on(target: DeploymentTarget, fake: FakeCluster):
    add_configs(fake)
    fake.add(DEPLOYMENTS, deployment())
    with pytest.raises(Conflict, match="no longer the revision"):
        await target.ensure_primary(fake, release(), revision="v2:other")
    assert not fake.requests
    seen = await target.observe(fake, canary(), release().options, now=0)
    await target.ensure_primary(fake, release(), revision=seen.target.revision)
    assert primary(fake)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("primary", {}),
        ("primary-with-labels", {"include_label_prefixes": INCLUDE}),
        ("primary-without-config-tracking", {"config_tracking": False}),
    ],
)
async def test_primary_as_recorded(target: DeploymentTarget, fake: FakeCluster, name: str, options: dict[str, Any]):
    add_configs(fake)
    fake.add(DEPLOYMENTS, deployment())
    await target.ensure_primary(fake, release(**options))
    as_recorded(name, written(fake))


async def test_configs_are_copied_before_the_primary_that_mounts_them(target: DeploymentTarget, fake: FakeCluster):
    add_configs(fake)
    fake.add(DEPLOYMENTS, deployment())
    await target.ensure_primary(fake, release())
    assert fake.writes[-1] == ("create", "deployments", "podinfo-primary")
    assert len(fake.writes) == 8
    for reference in references(primary(fake)["spec"]["template"]):
        if reference.name not in {"registry-env", "absent"}:
            assert reference.name in fake.names(reference.kind.resource)


async def test_without_config_tracking_nothing_is_copied(target: DeploymentTarget, fake: FakeCluster):
    add_configs(fake)
    fake.add(DEPLOYMENTS, deployment())
    await target.ensure_primary(fake, release(config_tracking=False))
    assert fake.writes == [("create", "deployments", "podinfo-primary")]


async def test_a_parked_target_yields_a_primary_with_one_pod(target: DeploymentTarget, fake: FakeCluster):
    fake.add(DEPLOYMENTS, plain({"spec": {"replicas": 0}}))
    await target.ensure_primary(fake, release())
    assert primary(fake)["spec"]["replicas"] == 1


async def test_the_label_value_need_not_be_the_name(target: DeploymentTarget, fake: FakeCluster):
    obj = plain({"spec": {"template": {"metadata": {"labels": {"app": "frontend"}}}}})
    obj["spec"]["selector"] = {"matchLabels": {"app": "frontend"}}
    fake.add(DEPLOYMENTS, obj)
    await target.ensure_primary(fake, release(value="frontend"))
    assert primary(fake)["spec"]["selector"] == {"matchLabels": {"app": "frontend-primary"}}
    assert primary(fake)["spec"]["template"]["metadata"]["labels"]["app"] == "frontend-primary"


async def test_an_existing_primary_is_left_alone(target: DeploymentTarget, made: FakeCluster):
    made.change(DEPLOYMENTS, "test", "podinfo", image("6.0.1"))
    await target.ensure_primary(made, release())
    assert made.requests == []


async def test_without_a_target_there_is_nothing_to_copy(target: DeploymentTarget, fake: FakeCluster):
    with pytest.raises(NotFound, match=r"deployment podinfo\.test get query error"):
        await target.ensure_primary(fake, release())


# --------------------------------------------------------------------------------------------------- promoted


async def test_promotion_as_recorded(target: DeploymentTarget, made: FakeCluster):
    made.change(
        DEPLOYMENTS,
        "test",
        "podinfo",
        {
            "metadata": {"labels": {"app.kubernetes.io/version": "6.0.1"}},
            "spec": {
                "replicas": 5,
                "strategy": {"type": "Recreate", "rollingUpdate": None},
                "minReadySeconds": None,
                "template": {"metadata": {"annotations": {"release": "two"}}, "spec": {"tolerations": [{"key": "gpu"}]}},
            },
        },
    )
    made.change(DEPLOYMENTS, "test", "podinfo", image("6.0.1"))
    made.change(
        DEPLOYMENTS, "test", "podinfo-primary", {"metadata": {"annotations": {"deployment.kubernetes.io/revision": "3", "by-hand": "x"}}}
    )
    await promote(target, made, release(include_label_prefixes=INCLUDE))
    as_recorded("promoted", written(made))


async def test_a_promotion_is_one_conditional_patch(target: DeploymentTarget, made: FakeCluster):
    made.change(DEPLOYMENTS, "test", "podinfo", image("6.0.1"))
    await promote(target, made)
    assert made.requests == [("json_patch", "deployments", "podinfo-primary")]
    assert primary(made)["spec"]["template"]["spec"]["containers"][0]["image"] == "podinfo:6.0.1"


async def test_duplicate_keys_in_the_users_lists_survive(target: DeploymentTarget, made: FakeCluster):
    made.change(DEPLOYMENTS, "test", "podinfo", image("6.0.1"))
    await promote(target, made)
    env = primary(made)["spec"]["template"]["spec"]["containers"][0]["env"]
    assert [(entry["name"], entry.get("value")) for entry in env] == [("COLOR", None), ("TWICE", "1"), ("TWICE", "2")]


async def test_a_replayed_promotion_writes_nothing(target: DeploymentTarget, made: FakeCluster):
    made.change(DEPLOYMENTS, "test", "podinfo", image("6.0.1"))
    await promote(target, made)
    made.requests.clear()
    await promote(target, made)
    await promote(DeploymentTarget(), made)  # by another replica, after a crash
    assert made.writes == []


async def test_a_replay_does_not_undo_what_the_deployment_controller_or_a_webhook_adds(target: DeploymentTarget, made: FakeCluster):
    made.change(DEPLOYMENTS, "test", "podinfo", image("6.0.1"))
    await promote(target, made)
    live = primary(made)
    sidecar = {"name": "injected", "image": "proxy:1"}
    made.change(
        DEPLOYMENTS,
        "test",
        "podinfo-primary",
        {
            "metadata": {"annotations": {"deployment.kubernetes.io/revision": "2"}},
            "spec": {"template": {"spec": {"containers": [sidecar, *live["spec"]["template"]["spec"]["containers"]]}}},
        },
    )
    made.requests.clear()
    await promote(target, made)
    assert made.writes == []


async def test_annotations_of_the_deployment_controller_are_never_copied(target: DeploymentTarget, made: FakeCluster):
    made.change(DEPLOYMENTS, "test", "podinfo-primary", {"metadata": {"annotations": {"deployment.kubernetes.io/revision": "2"}}})
    await promote(target, made, release(include_label_prefixes=("*",)))
    annotations = primary(made)["metadata"]["annotations"]
    assert annotations["deployment.kubernetes.io/revision"] == "2"
    assert annotations["app.kubernetes.io/owner"] == "team-a"
    made.change(DEPLOYMENTS, "test", "podinfo-primary", {"metadata": {"annotations": {"deployment.kubernetes.io/revision": None}}})
    made.requests.clear()
    await promote(target, made, release(include_label_prefixes=("*",)))
    assert made.writes == []


async def test_what_somebody_changed_by_hand_is_overwritten(target: DeploymentTarget, made: FakeCluster):
    made.change(DEPLOYMENTS, "test", "podinfo", image("6.0.1"))
    await promote(target, made)
    by_us = primary(made)["spec"]["template"]
    made.change(DEPLOYMENTS, "test", "podinfo-primary", image("by-hand"))
    await promote(target, made)
    assert primary(made)["spec"]["template"] == by_us


async def test_a_changed_config_rolls_the_pods_although_the_template_is_the_same(target: DeploymentTarget, made: FakeCluster):
    before = primary(made)
    made.change(CONFIG_MAPS, "test", "colors", {"data": {"color": "blue"}})
    await promote(target, made)
    after = primary(made)
    assert made.stored(CONFIG_MAPS, "test", "colors-primary")["data"] == {"color": "blue"}
    assert after["spec"]["template"]["metadata"]["annotations"].pop(FLAGGER_ID) != (
        before["spec"]["template"]["metadata"]["annotations"].pop(FLAGGER_ID)
    )
    assert after["spec"]["template"] == before["spec"]["template"]


async def test_a_crash_between_the_configs_and_the_primary_still_rolls_the_pods(target: DeploymentTarget, made: FakeCluster):
    before = flagger_id(made)
    made.change(CONFIG_MAPS, "test", "colors", {"data": {"color": "blue"}})
    made.fail("json_patch", DEPLOYMENTS, Retryable("crash"))
    with pytest.raises(Retryable):
        await promote(target, made)
    assert flagger_id(made) == before
    await promote(DeploymentTarget(), made)
    assert flagger_id(made) != before


async def test_every_promotion_has_an_id_of_its_own(target: DeploymentTarget, made: FakeCluster):
    ids = {flagger_id(made)}
    for tag in ("6.0.1", "6.0.2"):
        made.change(DEPLOYMENTS, "test", "podinfo", image(tag))
        await promote(target, made)
        ids.add(flagger_id(made))
    made.change(CONFIG_MAPS, "test", "colors", {"data": {"color": "blue"}})
    await promote(target, made)
    ids.add(flagger_id(made))
    await promote(target, made, release(of=canary(uid="another")))
    assert len(ids | {flagger_id(made)}) == 5
    assert "copied-by-mistake" not in ids


# ------------------------------------------------------------------------------------ only what was analysed


async def test_a_target_that_moved_on_is_not_promoted(target: DeploymentTarget, made: FakeCluster):
    made.change(DEPLOYMENTS, "test", "podinfo", image("6.0.1"))
    analysed = revision(made)
    made.change(DEPLOYMENTS, "test", "podinfo", image("6.0.2"))
    seen = await target.observe(made, canary(), release().options)
    made.requests.clear()
    with pytest.raises(Conflict, match=r"deployment podinfo\.test is no longer the revision that was analysed"):
        await target.promote(made, release(), revision=analysed, configs=seen.configs)
    assert made.writes == []


async def test_a_target_that_is_gone_is_not_promoted(target: DeploymentTarget, made: FakeCluster):
    analysed = revision(made)
    made.remove(DEPLOYMENTS, "test", "podinfo")
    with pytest.raises(Conflict):
        await target.promote(made, release(), revision=analysed, configs=None)


@pytest.mark.parametrize("change", ["content", "gone", "more", "none"])
async def test_configs_that_moved_on_are_not_promoted(target: DeploymentTarget, made: FakeCluster, change: str):
    made.change(DEPLOYMENTS, "test", "podinfo", image("6.0.1"))
    seen = await target.observe(made, canary(), release().options)
    configs = dict(seen.configs)
    match change:
        case "content":
            made.change(CONFIG_MAPS, "test", "colors", {"data": {"color": "bad"}})
        case "gone":
            made.change(CONFIG_MAPS, "test", "colors", {"metadata": {"annotations": {"flagger.app/config-tracking": "disabled"}}})
        case "more":
            del configs["configmap/colors"]
        case "none":
            configs = None
    with pytest.raises(Conflict, match="configs of deployment"):
        await target.promote(made, release(), revision=seen.target.revision, configs=configs)
    assert made.writes == []


async def test_a_primary_that_somebody_writes_meanwhile_is_a_conflict(target: DeploymentTarget, made: FakeCluster):
    made.change(DEPLOYMENTS, "test", "podinfo", image("6.0.1"))
    made.lag(DEPLOYMENTS, "test", "podinfo-primary")
    made.change(DEPLOYMENTS, "test", "podinfo-primary", {"spec": {"replicas": 9}})
    with pytest.raises(Conflict):
        await promote(target, made)
    made.catch_up()
    await promote(target, made)
    assert primary(made)["spec"]["template"]["spec"]["containers"][0]["image"] == "podinfo:6.0.1"


async def test_a_primary_that_was_deleted_is_made_from_what_was_analysed(target: DeploymentTarget, made: FakeCluster):
    made.change(DEPLOYMENTS, "test", "podinfo", image("6.0.1"))
    made.remove(DEPLOYMENTS, "test", "podinfo-primary")
    await promote(target, made)
    assert primary(made)["spec"]["template"]["spec"]["containers"][0]["image"] == "podinfo:6.0.1"


# --------------------------------------------------------------------------------------------------- replicas

SCALER = {"autoscalerRef": {"apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler", "name": "podinfo"}}


@pytest.mark.parametrize(("spec", "target_has", "expected"), [({}, 5, 5), ({}, 0, 2), (SCALER, 5, 2)])
async def test_replicas_are_promoted_without_an_autoscaler_and_never_zero(
    target: DeploymentTarget, made: FakeCluster, spec: Object, target_has: int, expected: int
):
    made.change(DEPLOYMENTS, "test", "podinfo", {"spec": {"replicas": target_has}})
    made.change(DEPLOYMENTS, "test", "podinfo", image("6.0.1"))
    await promote(target, made, release(spec))
    assert primary(made)["spec"]["replicas"] == expected


# -------------------------------------------------------------------------------------------------- take-over


async def test_a_primary_with_a_selector_of_its_own_keeps_matching_its_pods(target: DeploymentTarget, made: FakeCluster):
    made.remove(DEPLOYMENTS, "test", "podinfo-primary")
    old = deployment(name="podinfo-primary")
    old["spec"]["selector"] = {"matchLabels": {"app": "podinfo-primary", "generation": "one"}}
    made.add(DEPLOYMENTS, old)
    await promote(target, made)
    labels = primary(made)["spec"]["template"]["metadata"]["labels"]
    assert labels == {"app": "podinfo-primary", "tier": "web", "generation": "one"}
    made.requests.clear()
    await promote(target, made)
    assert made.writes == []


async def test_promotion_leaves_the_target_as_it_is(target: DeploymentTarget, made: FakeCluster):
    made.change(DEPLOYMENTS, "test", "podinfo", image("6.0.1"))
    before = copy.deepcopy(made.stored(DEPLOYMENTS, "test", "podinfo"))
    await promote(target, made)
    assert made.stored(DEPLOYMENTS, "test", "podinfo") == before
