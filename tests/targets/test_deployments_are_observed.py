"""What a tick sees of a Deployment, its primary, its ports and its configs (U13, U25, U27; take-over)."""

import pytest

from canary.core.errors import Retryable
from canary.core.hashing import revision_of
from canary.core.model import Readiness, Unknown
from canary.core.release import Options, Port
from canary.kube.resource import CONFIG_MAPS, DEPLOYMENTS, SECRETS, SERVICES, Object
from canary.targets.base import Observed
from canary.targets.deployment import DeploymentTarget
from canary.targets.ports import discovered_ports
from tests.fakes.cluster import FakeCluster
from tests.targets.podinfo import add_configs, canary, deployment, image, plain, release, status


async def look(target: DeploymentTarget, fake: FakeCluster, spec: Object | None = None, *, now: float = 0, **options: object) -> Observed:
    return await target.observe(fake, canary(spec), Options(**options), now=now)


async def test_a_target_without_a_primary(target: DeploymentTarget, fake: FakeCluster):
    obj = fake.add(DEPLOYMENTS, {**plain(), "status": status()})
    seen = await look(target, fake)
    assert seen.primary is None
    assert seen.configs is None
    assert (seen.label, seen.label_value, seen.ports) == ("app", "podinfo", ())
    assert seen.target.revision == revision_of(obj["spec"]["template"])
    assert (seen.target.replicas, seen.target.ready_replicas, seen.target.readiness) == (2, 2, Readiness.READY)
    assert seen.target.images == {"migrate": "podinfo-migrate:6.0.0", "podinfod": "podinfo:6.0.0"}
    assert not seen.target.foreign_equal


async def test_a_missing_target_is_unknown_and_its_primary_is_seen(target: DeploymentTarget, fake: FakeCluster):
    fake.add(DEPLOYMENTS, {**deployment(name="podinfo-primary"), "status": status()})
    seen = await look(target, fake)
    assert isinstance(seen.target, Unknown)
    assert seen.target.reason == "TargetNotFound"
    assert "deployment podinfo.test get query error" in seen.target.message
    assert seen.primary.ready_replicas == 2
    assert seen.label == ""


@pytest.mark.parametrize(
    ("labels", "flag", "expected"),
    [
        ({"name": "b", "app": "a"}, ("app", "name"), ("app", "a")),
        ({"name": "b", "app": "a"}, ("name", "app"), ("name", "b")),
        ({"app.kubernetes.io/name": "frontend"}, ("app", "name", "app.kubernetes.io/name"), ("app.kubernetes.io/name", "frontend")),
    ],
)
async def test_the_selector_label_is_the_first_candidate(
    target: DeploymentTarget, fake: FakeCluster, labels: dict[str, str], flag: tuple[str, ...], expected: tuple[str, str]
):
    obj = plain()
    obj["spec"]["selector"] = {"matchLabels": labels}
    fake.add(DEPLOYMENTS, obj)
    seen = await look(target, fake, selector_labels=flag)
    assert (seen.label, seen.label_value) == expected


async def test_a_target_without_a_candidate_label_is_unknown(target: DeploymentTarget, fake: FakeCluster):
    obj = plain()
    obj["spec"]["selector"] = {"matchLabels": {"tier": "web"}}
    fake.add(DEPLOYMENTS, obj)
    seen = await look(target, fake)
    assert isinstance(seen.target, Unknown)
    assert seen.target.message == (
        "deployment podinfo.test spec.selector.matchLabels must contain one of [app name app.kubernetes.io/name]"
    )


async def test_target_and_primary_have_thresholds_of_their_own(target: DeploymentTarget, fake: FakeCluster):
    half = status(availableReplicas=1)
    for name in ("podinfo", "podinfo-primary"):
        fake.add(DEPLOYMENTS, {**plain(), "metadata": {"name": name, "namespace": "test"}, "status": half})
    seen = await look(target, fake, {"analysis": {"canaryReadyThreshold": 50}})
    assert (seen.target.readiness, seen.primary.readiness) == (Readiness.READY, Readiness.WAITING)
    seen = await look(target, fake, {"analysis": {"primaryReadyThreshold": 50}})
    assert (seen.target.readiness, seen.primary.readiness) == (Readiness.WAITING, Readiness.READY)


@pytest.mark.parametrize(("deadline", "readiness"), [(60, Readiness.STUCK), (61, Readiness.WAITING), (None, Readiness.WAITING)])
async def test_the_canarys_own_deadline_counts(target: DeploymentTarget, fake: FakeCluster, deadline: int | None, readiness: Readiness):
    conditions = [
        {"type": "Progressing", "status": "True", "reason": "ReplicaSetUpdated"},
        {
            "type": "Available",
            "status": "False",
            "reason": "MinimumReplicasUnavailable",
            "lastUpdateTime": "1970-01-01T00:00:00Z",
        },
    ]
    fake.add(DEPLOYMENTS, {**plain(), "status": status(availableReplicas=0, conditions=conditions)})
    seen = await look(target, fake, {"progressDeadlineSeconds": deadline}, now=61)
    assert seen.target.readiness is readiness
    assert "0 of 2 (readyThreshold 100%)" in seen.target.message


# ------------------------------------------------------------------------------------------------------ ports

CONTAINERS = [
    {
        "name": "app",
        "ports": [
            {"name": "http", "containerPort": 8080},
            {"containerPort": 9090},
            {"name": "dns", "containerPort": 53, "protocol": "UDP"},
        ],
    },
    {"name": "istio-proxy", "ports": [{"name": "proxy", "containerPort": 15001}]},
    {"name": "envoy", "ports": [{"name": "admin", "containerPort": 9901}]},
    {"name": "side", "ports": [{"containerPort": 7070}]},
]
HTTP, METRICS = Port("http", 8080), Port("tcp-app-1", 9090)
REST = (Port("dns", 53, "UDP"), Port("tcp-side-0", 7070))


def ports(containers: list[Object] = CONTAINERS, **service: object) -> tuple[Port, ...]:
    spec = canary({"service": {"portDiscovery": True, **service}}).spec.service
    return discovered_ports(spec, {"spec": {"containers": containers}})


@pytest.mark.parametrize(
    ("service", "expected"),
    [
        ({"port": 8080}, (METRICS, *REST)),
        ({"port": 80, "targetPort": 8080, "portName": "web"}, (METRICS, *REST)),
        ({"port": 80, "targetPort": "http", "portName": "web"}, (METRICS, *REST)),
        ({"port": 80, "targetPort": 9090, "portName": "web"}, (HTTP, *REST)),
        ({"port": 80, "portName": "web"}, (HTTP, METRICS, *REST)),
        ({"port": 80, "targetPort": 0, "portName": "web"}, (HTTP, METRICS, *REST)),
        ({"port": 80, "targetPort": 9090}, (Port("tcp-app-0", 8080), *REST)),  # `http` is the main port's name
        ({"port": 9090, "targetPort": 8080}, REST),  # 9090 is the main port's number
        ({"port": 80, "portDiscovery": False}, ()),
    ],
)
def test_other_ports_are_discovered(service: dict[str, object], expected: tuple[Port, ...]):
    assert ports(**service) == expected


def test_a_later_port_of_the_same_name_wins_and_a_number_is_used_once():
    one = {"name": "one", "ports": [{"name": "a", "containerPort": 1}, {"name": "b", "containerPort": 2}]}
    two = {"name": "two", "ports": [{"name": "a", "containerPort": 3}, {"name": "c", "containerPort": 2}]}
    assert ports([one, two], port=80) == (Port("a", 3), Port("b", 2))


async def test_the_discovered_ports_are_part_of_what_is_seen(target: DeploymentTarget, fake: FakeCluster):
    fake.add(DEPLOYMENTS, plain())
    seen = await look(target, fake, {"service": {"portDiscovery": True}})
    assert seen.ports == (Port("http-metrics", 9797), Port("tcp-podinfod-2", 9999))


# ---------------------------------------------------------------------------------------------------- configs


async def test_configs_are_those_of_the_target(target: DeploymentTarget, fake: FakeCluster):
    add_configs(fake)
    fake.add(DEPLOYMENTS, deployment())
    seen = await look(target, fake)
    assert len(seen.configs) == 7
    assert seen.configs["configmap/colors"] == "241889ca0604e333"


async def test_nothing_is_tracked_when_all_that_is_used_is_shared(target: DeploymentTarget, fake: FakeCluster):
    obj = plain()
    obj["spec"]["template"]["spec"]["volumes"] = [{"name": "x", "secret": {"secretName": "registry-env"}}]
    add_configs(fake)
    fake.add(DEPLOYMENTS, obj)
    assert (await look(target, fake)).configs is None


async def test_a_missing_config_is_unknown_and_the_workload_is_still_seen(target: DeploymentTarget, fake: FakeCluster):
    add_configs(fake)
    fake.remove(CONFIG_MAPS, "test", "flags")
    fake.add(DEPLOYMENTS, {**deployment(), "status": status()})
    seen = await look(target, fake)
    assert isinstance(seen.configs, Unknown)
    assert seen.configs.reason == "ConfigMissing"
    assert "configmap flags.test" in seen.configs.message
    assert "create ConfigMap test/flags" in seen.configs.message
    assert seen.target.readiness is Readiness.READY


async def test_a_config_that_cannot_be_read_is_unknown(target: DeploymentTarget, fake: FakeCluster):
    add_configs(fake)
    fake.add(DEPLOYMENTS, deployment())
    fake.fail("read", SECRETS, Retryable("503"))
    seen = await look(target, fake)
    assert seen.configs == Unknown("Unavailable", "503")


async def test_without_config_tracking_configs_are_neither_watched_nor_read(target: DeploymentTarget):
    fake = FakeCluster()
    await fake.watch(*target.resources())
    fake.add(DEPLOYMENTS, deployment())
    seen = await look(target, fake, config_tracking=False)
    assert seen.configs is None
    assert fake.watching == {DEPLOYMENTS, SERVICES}
    assert fake.requests == []


async def test_configs_are_watched_once_a_target_uses_some(target: DeploymentTarget):
    fake = FakeCluster()
    await fake.watch(*target.resources())
    fake.add(DEPLOYMENTS, plain())
    await look(target, fake)
    assert fake.watching == {DEPLOYMENTS, SERVICES}
    add_configs(fake)
    fake.add(DEPLOYMENTS, deployment())
    await look(target, fake)
    assert fake.watching == {DEPLOYMENTS, SERVICES, CONFIG_MAPS, SECRETS}


async def test_looking_again_costs_nothing(target: DeploymentTarget, fake: FakeCluster):
    add_configs(fake)
    fake.add(DEPLOYMENTS, deployment())
    first = await look(target, fake)
    fake.requests.clear()
    assert await look(target, fake) == first
    assert fake.requests == []


# ----------------------------------------------------------------------------------------- target and primary


async def test_a_primary_made_from_the_target_has_its_revision(target: DeploymentTarget, fake: FakeCluster):
    add_configs(fake)
    fake.add(DEPLOYMENTS, deployment({"spec": {"template": {"metadata": {"annotations": None}}}}))
    fake.change(
        DEPLOYMENTS, "test", "podinfo", {"spec": {"template": {"metadata": {"labels": {"kustomize.toolkit.fluxcd.io/name": None}}}}}
    )
    await target.ensure_primary(fake, release())
    seen = await look(target, fake)
    assert seen.primary.revision == seen.target.revision
    assert seen.target.foreign_equal
    assert seen.primary.foreign_equal
    fake.change(DEPLOYMENTS, "test", "podinfo", image("6.0.1"))
    seen = await look(target, fake)
    assert seen.primary.revision != seen.target.revision
    assert not seen.target.foreign_equal


async def test_a_primary_equals_its_target_also_when_its_config_is_missing_now(target: DeploymentTarget, fake: FakeCluster):
    add_configs(fake)
    fake.add(DEPLOYMENTS, deployment())
    await target.ensure_primary(fake, release())
    fake.remove(CONFIG_MAPS, "test", "colors")
    assert (await look(target, fake)).target.foreign_equal
