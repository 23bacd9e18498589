"""The operator under the account that the chart makes, in one namespace: nothing that it asks for is refused, and nothing is granted in vain.

Every kind that the chart gives rights for takes part in a release here: Services, config copies (also immutable ones), both autoscalers,
the routes of all meshes, runs and their outbox, alerts and templates with credentials, the lease. No mesh runs: its objects are written
all the same.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from canary.kube.recorder import COMPONENT
from canary.kube.resource import (
    ALERT_PROVIDERS,
    AUTOSCALERS,
    CANARIES,
    CANARY_RUNS,
    CONFIG_MAPS,
    DEPLOYMENTS,
    EVENTS,
    GIT_SINKS,
    HTTP_ROUTES,
    METRIC_TEMPLATES,
    SCALED_OBJECTS,
    SECRETS,
    SERVICES,
    Resource,
)
from tests.charts.rbac import install_rbac, may, rendered
from tests.e2e.objects import canary
from tests.e2e.operators import Operator
from tests.testbed.api import ApiError
from tests.testbed.cluster import Cluster
from tests.testbed.thirdparty import third_party_crds
from tests.testbed.workload import deployment

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(300)]

NAMESPACE = "rights"
VALUES: dict[str, Any] = {"namespace": NAMESPACE, "leaderElection": {"enabled": True, "replicaCount": 2}}
NOWHERE = "http://127.0.0.1:9"
MESHES = {"contour": "contour", "istio": "istio", "gateway": "gatewayapi:v1"}
SENT = {
    "apply": {"create", "patch"},
    "patch": {"patch"},
    "create": {"create"},
    "delete": {"delete"},
    "list": {"list"},
    "watch": {"watch"},
    "get": {"get"},
}
"""The client's verbs as RBAC's: server-side apply needs `create` even where the object exists."""
EXTERNAL = "external.metrics.k8s.io"
IN_THE_CLUSTER = {
    "keptn-metric": ("keptn", f"keptnmetric/{NAMESPACE}/some"),
    "keptn-analysis": ("keptn", f"analysis/{NAMESPACE}/some"),
    "external": ("externalmetrics", f"{NAMESPACE}/some"),
}
"""Templates whose source is the API server, which does not serve these kinds here."""
DELIVERED = {
    "plain": {"kustomize.toolkit.fluxcd.io/name": "apps", "kustomize.toolkit.fluxcd.io/namespace": NAMESPACE},
    "queue": {"helm.toolkit.fluxcd.io/name": "queue", "helm.toolkit.fluxcd.io/namespace": NAMESPACE},
    "failing": {"argocd.argoproj.io/instance": f"{NAMESPACE}_failing"},
}
"""What those who deliver workloads from Git write on them; none of them is here."""
UNSEEN = {
    ("source.toolkit.fluxcd.io", "gitrepositories", "get"): "asked for by way of a Kustomization, which needs Flux",
    ("metrics.keptn.sh", "analyses", "get"): "asked for once it was made, which needs Keptn",
    ("flagger.app", "canaries", "watch"): "kopf watches them, whose requests the client does not count",
    ("flagger.app", "canaries/finalizers", "update"): "asked for by the admission plug-in OwnerReferencesPermissionEnforcement, not by us",
}
CRD_FILES = ("contour", "istio", "gateway-api-standard", "keda")


class World:
    """What users put into the namespace, and what can be seen of it."""

    def __init__(self, cluster: Cluster) -> None:
        self.api = cluster.api
        self.wait = cluster.wait

    def apply(self, resource: Resource, name: str, *, labels: Mapping[str, str] | None = None, **body: Any) -> None:
        item = {**resource.head(NAMESPACE, name), **body}
        if labels:
            item["metadata"]["labels"] = dict(labels)
        self.api.apply(resource.path(NAMESPACE, name), item, manager="user")

    def get(self, resource: Resource, name: str) -> dict[str, Any]:
        """The object, empty when it does not exist."""
        try:
            found: dict[str, Any] = self.api.get(resource.path(NAMESPACE, name))
        except ApiError as error:
            if error.status != 404:
                raise
            return {}
        return found

    def delete(self, resource: Resource, name: str) -> None:
        if self.get(resource, name):
            self.api.call("DELETE", resource.path(NAMESPACE, name))

    def configs(self, text: str) -> None:
        """What is immutable can only be replaced, and so must its copy be."""
        for resource, key in ((CONFIG_MAPS, "data"), (SECRETS, "stringData")):
            self.delete(resource, "frozen")
            self.apply(resource, "frozen", **{key: {"text": text}}, immutable=True)
            self.apply(resource, "plain", **{key: {"text": text}})

    def workload(self, name: str, image: str, *, configs: bool = False) -> None:
        item = deployment(name, namespace=NAMESPACE, image=image)
        if configs:
            sources = [{kind: {"name": name}} for kind in ("configMapRef", "secretRef") for name in ("frozen", "plain")]
            item["spec"]["template"]["spec"]["containers"][0]["envFrom"] = sources
        if self.get(DEPLOYMENTS, name):
            del item["spec"]["replicas"]
        self.apply(DEPLOYMENTS, name, spec=item["spec"], labels=DELIVERED.get(name, {}))

    def canary(self, name: str, **spec: Any) -> None:
        analysis = {"iterations": 1, "metrics": [], **spec.pop("analysis", {})}
        self.apply(CANARIES, name, spec=canary(name, NAMESPACE, analysis, **spec)["spec"])

    def wait_phase(self, name: str, phase: str, *, image: str = "") -> None:
        def there() -> bool:
            status = self.get(CANARIES, name).get("status") or {}
            assert status.get("phase") == phase, status
            assert image in str(self.get(DEPLOYMENTS, f"{name}-primary")["spec"]), "not promoted yet"
            return True

        self.wait(f"{name} to be {phase}", there, 90)

    def repeated(self) -> bool:
        """Whether an Event has been counted up."""
        return any(
            event.get("count", 0) > 1 and event["source"]["component"] == COMPONENT
            for event in self.api.get(EVENTS.path(NAMESPACE))["items"]
        )

    def settings(self) -> None:
        """Credentials, a template, a chat and a sink, none of whose servers exist."""
        self.apply(SECRETS, "credentials", stringData={"username": "u", "password": "p", "address": NOWHERE})
        reference = {"secretRef": {"name": "credentials"}}
        self.apply(METRIC_TEMPLATES, "template", spec={"provider": {"type": "prometheus", "address": NOWHERE, **reference}, "query": "up"})
        for name, (kind, query) in IN_THE_CLUSTER.items():
            self.apply(METRIC_TEMPLATES, name, spec={"provider": {"type": kind}, "query": query})
        self.apply(ALERT_PROVIDERS, "chat", spec={"type": "slack", **reference})
        sink = {"repository": {"url": f"{NOWHERE}/team/fleet.git", **reference}, "cluster": "north", "statuses": {"target": "commit"}}
        self.apply(GIT_SINKS, "sink", spec=sink | {"provider": {"type": "gitea", "api": NOWHERE}})

    def scalers(self, most: int) -> None:
        target = {"apiVersion": "apps/v1", "kind": "Deployment"}
        self.apply(AUTOSCALERS, "plain", spec={"scaleTargetRef": {**target, "name": "plain"}, "minReplicas": 1, "maxReplicas": most})
        trigger = {"type": "cron", "metadata": {"timezone": "UTC", "start": "0 1 * * *", "end": "0 2 * * *", "desiredReplicas": "1"}}
        scaled = {"scaleTargetRef": {**target, "name": "queue"}, "minReplicaCount": 1, "maxReplicaCount": most, "triggers": [trigger]}
        self.apply(SCALED_OBJECTS, "queue", spec=scaled)

    def left_over(self, name: str) -> None:
        """A fresh baseline of a run that has ended."""
        ref = {"apiVersion": "flagger.app/v1beta1", "kind": "Canary", "name": name, "uid": self.get(CANARIES, name)["metadata"]["uid"]}
        owners = [{**ref, "controller": True, "blockOwnerDeletion": True}]
        label = f"{name}-baseline"
        item = deployment(label, namespace=NAMESPACE, image="app:1")
        for resource, spec in ((DEPLOYMENTS, item["spec"]), (SERVICES, {"selector": {"app": label}, "ports": [{"port": 80}]})):
            body = {**resource.head(NAMESPACE, label), "spec": spec}
            body["metadata"]["ownerReferences"] = owners
            self.api.apply(resource.path(NAMESPACE, label), body, manager="user")

    def old_runs(self, name: str, count: int) -> None:
        """Closed runs of a canary, more than are kept."""
        uid = self.get(CANARIES, name)["metadata"]["uid"]
        target = {"apiVersion": "apps/v1", "kind": "Deployment", "name": name}
        for number in range(count):
            spec = {
                "canaryRef": {"name": name, "uid": uid},
                "target": target,
                "startedAt": f"2020-01-{number + 1:02}T00:00:00Z",
                "release": {},
            }
            self.apply(CANARY_RUNS, f"old-{number}", spec=spec)
            path = CANARY_RUNS.path(NAMESPACE, f"old-{number}", "status")
            self.api.call("PATCH", path, {"status": {"phase": "Succeeded"}}, content_type="application/merge-patch+json")


@pytest.fixture(scope="module")
def lived(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Operator]:
    """An operator that has released everything twice, still running."""
    cluster.crds(*third_party_crds(*CRD_FILES))
    cluster.create_namespace(NAMESPACE)
    kubeconfig = install_rbac(cluster, NAMESPACE, **VALUES)
    flags = [f"--namespace={NAMESPACE}", "--enable-leader-election"]
    operator = Operator(cluster, tmp_path_factory.mktemp("operator"), *flags, kubeconfig=kubeconfig, provider="kubernetes")
    operator.start()
    try:
        operator.wait_ready()
        live(World(cluster))
        yield operator
    except BaseException as error:
        error.add_note(logs(operator.folder)[-4000:])
        raise
    finally:
        operator.stop()
        cluster.delete_namespace(NAMESPACE)


def live(world: World) -> None:
    """The first version of everything, then a second."""
    world.settings()
    world.configs("one")
    world.scalers(3)
    template = {"name": "template", "interval": "1m", "dryRun": True, "templateRef": {"name": "template"}, "thresholdRange": {"min": 1}}
    templates = [template, *(template | {"name": name, "templateRef": {"name": name}} for name in IN_THE_CLUSTER)]
    alerts = [{"name": "chat", "severity": "info", "providerRef": {"name": "chat"}}]
    hook = {"name": "hook", "type": "event", "url": NOWHERE, "secretRef": {"name": "credentials"}}
    world.workload("plain", "app:1", configs=True)
    scaler = {"apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler", "name": "plain"}
    world.canary(
        "plain", autoscalerRef=scaler, revertOnDeletion=True, analysis={"metrics": templates, "alerts": alerts, "webhooks": [hook]}
    )
    world.workload("queue", "app:1")
    world.canary("queue", autoscalerRef={"apiVersion": "keda.sh/v1alpha1", "kind": "ScaledObject", "name": "queue"})
    for name, provider in MESHES.items():
        world.workload(name, "app:1")
        world.canary(
            name, provider=provider, service={"port": 80, "targetPort": 9898, "hosts": ["a.test"], "gatewayRefs": [{"name": "gateway"}]}
        )
    world.workload("failing", "app:1")
    world.canary("failing", analysis={"iterations": 9, "threshold": 3, "metrics": [template | {"dryRun": False}]})
    for name in ("plain", "queue", "failing", "contour", "istio"):
        world.wait_phase(name, "Initialized")
    world.old_runs("plain", 11)
    world.configs("two")
    world.scalers(4)
    for name in ("plain", "queue"):
        world.workload(name, "app:2", configs=name == "plain")
        world.wait_phase(name, "Succeeded", image="app:2")
    world.left_over("queue")
    world.wait("the old version's copy to be gone", lambda: not any(world.get(kind, "queue-baseline") for kind in (DEPLOYMENTS, SERVICES)))
    world.wait("the HTTPRoute", lambda: world.get(HTTP_ROUTES, "gateway"))
    world.wait("the oldest run to be pruned", lambda: not world.get(CANARY_RUNS, "old-0"))
    world.workload("failing", "app:2")
    world.wait_phase("failing", "Failed")
    world.wait("an event to be repeated", world.repeated)  # each failed check says the same
    world.wait("word of the sink", lambda: world.get(GIT_SINKS, "sink")["status"]["conditions"])
    world.delete(CANARIES, "plain")
    world.wait("the canary to be gone", lambda: not world.get(CANARIES, "plain"))


def requests(operator: Operator) -> dict[tuple[str, str, str], set[str]]:
    """(group, resource, RBAC verb) to the codes of the answers."""
    found: dict[tuple[str, str, str], set[str]] = {}
    for labels in operator.metrics("canary_api_requests_total"):
        part = dict(re.findall(r'(\w+)="([^"]*)"', labels))
        name, slash, subresource = part["resource"].partition("/")
        plural, _, group = name.partition(".")
        if group == EXTERNAL:  # its resources are names of metrics, which are lists
            plural, part["verb"] = "*", "list"
        for verb in SENT[part["verb"]]:
            found.setdefault((group, plural + slash + subresource, verb), set()).add(part["code"])
    return found


def granted(cluster: Cluster) -> set[tuple[str, str, str]]:
    roles = [item for item in rendered(cluster, NAMESPACE, f"canary-{NAMESPACE}", VALUES) if item["kind"] == "Role"]
    assert len(roles) == 2
    rules = [rule for role in roles for rule in role["rules"]]
    return {(group, name, verb) for rule in rules for group in rule["apiGroups"] for name in rule["resources"] for verb in rule["verbs"]}


def logs(folder: Path) -> str:
    return "\n".join(path.read_text(errors="replace") for path in sorted(folder.glob("operator-*.log")))


def test_nothing_is_refused(cluster: Cluster, lived: Operator) -> None:
    asked = requests(lived)
    assert {key: codes for key, codes in asked.items() if codes & {"401", "403"}} == {}
    assert set(asked) <= granted(cluster)
    assert "orbidden" not in logs(lived.folder)


def test_nothing_is_granted_in_vain(cluster: Cluster, lived: Operator) -> None:
    used = {key for key, codes in requests(lived).items() if any(code.startswith("2") or code == "404" for code in codes)}
    # Whoever may list a kind learns nothing more by getting one of them.
    used |= {(group, name, "get") for group, name, verb in used if verb == "list"}
    assert granted(cluster) - used == set(UNSEEN), "grant less, or let the story above do what needs it"


def test_the_account_ends_at_its_namespace(cluster: Cluster, lived: Operator) -> None:
    account = f"canary-{NAMESPACE}"
    assert may(cluster, NAMESPACE, account, resource="secrets", verb="list", namespace=NAMESPACE)
    for where in ("", "default", "kube-system"):
        assert not may(cluster, NAMESPACE, account, resource="secrets", verb="get", namespace=where)
        assert not may(cluster, NAMESPACE, account, group="apps", resource="deployments", verb="patch", namespace=where)
    lease = {"group": "coordination.k8s.io", "resource": "leases", "verb": "patch", "namespace": NAMESPACE}
    assert may(cluster, NAMESPACE, account, **lease, name="flagger-leader-election")
    assert not may(cluster, NAMESPACE, account, **lease, name="kube-scheduler")
