"""The chart's kinds and rights: the CRDs are the project's own, and the roles grant what the code asks for, and no more."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest

from canary.api.crd import KINDS
from canary.gitops import deliverers, provenance
from canary.kube import resource
from canary.kube.resource import Resource
from canary.metrics import externalmetrics, keptn
from canary.routers import registry as routers
from canary.targets.deployment import DeploymentTarget
from tests.charts.canary_chart import FULLNAME, CanaryChart
from tests.charts.helm import ROOT
from tests.testbed.documents import document

pytestmark = pytest.mark.slow

READ = {"get", "list", "watch"}
WRITE = READ | {"create", "patch"}
CORE, APPS, FLAGGER, OURS = "", "apps", "flagger.app", "canary.dev"
ALWAYS = {
    (FLAGGER, "canaries"): READ | {"patch"},
    (FLAGGER, "canaries/status"): {"patch"},
    (FLAGGER, "canaries/finalizers"): {"update"},
    (FLAGGER, "metrictemplates"): READ,
    (FLAGGER, "alertproviders"): READ,
    (OURS, "canaryruns"): READ | {"create", "delete"},
    (OURS, "canaryruns/status"): {"patch"},
    (OURS, "gitsinks"): READ,
    (OURS, "gitsinks/status"): {"patch"},
    (CORE, "events"): {"create", "patch"},
    (CORE, "services"): WRITE | {"delete"},
    (APPS, "deployments"): WRITE | {"delete"},
    ("autoscaling", "horizontalpodautoscalers"): WRITE,
}
CONFIGS = {(CORE, "configmaps"): WRITE | {"delete"}, (CORE, "secrets"): WRITE | {"delete"}}
KEDA = {("keda.sh", "scaledobjects"): WRITE}
EXTERNAL = "external.metrics.k8s.io"
SOURCES = {
    ("metrics.keptn.sh", "keptnmetrics"): {"get"},
    ("metrics.keptn.sh", "analyses"): {"get", "create", "delete"},
    (EXTERNAL, "*"): {"list"},
    ("kustomize.toolkit.fluxcd.io", "kustomizations"): {"get"},
    ("helm.toolkit.fluxcd.io", "helmreleases"): {"get"},
    ("source.toolkit.fluxcd.io", "gitrepositories"): {"get"},
    ("argoproj.io", "applications"): {"get"},
}
"""Metrics and commits that the API server knows."""
MESHES = {
    "contour": {("projectcontour.io", "httpproxies"): WRITE},
    "gatewayapi": {("gateway.networking.k8s.io", "httproutes"): WRITE},
    "istio": {("networking.istio.io", "virtualservices"): WRITE, ("networking.istio.io", "destinationrules"): WRITE},
    "kubernetes": {},
}
ALL = ALWAYS | CONFIGS | KEDA | SOURCES | MESHES["contour"] | MESHES["gatewayapi"] | MESHES["istio"]


@pytest.fixture(scope="module")
def chart(tmp_path_factory: pytest.TempPathFactory) -> CanaryChart:
    return CanaryChart(tmp_path_factory.mktemp("helm"))


def grants(role: dict[str, Any]) -> dict[tuple[str, str], set[str]]:
    """(group, resource) to verbs."""
    found: dict[tuple[str, str], set[str]] = {}
    for rule in role["rules"]:
        for group in rule["apiGroups"]:
            for name in rule["resources"]:
                assert (group, name) not in found or rule.get("resourceNames"), "one rule for each resource"
                found.setdefault((group, name), set()).update(rule["verbs"])
    return found


def definitions(objects: dict[tuple[str, str], Any]) -> dict[str, dict[str, Any]]:
    return {name: item for (kind, name), item in objects.items() if kind == "CustomResourceDefinition"}


# ------------------------------------------------------------------------------------------------ kinds


def test_the_charts_copies_equal_their_sources_byte_for_byte() -> None:
    for source, copy, mend in (
        (ROOT / "crds", ROOT / "charts/canary/files/crds", "python -m canary.api.crd crds charts/canary/files/crds"),
        (ROOT / "dashboards", ROOT / "charts/canary/files/dashboards", "python dashboards/generate.py"),
    ):
        pattern = "*.yaml" if source.name == "crds" else "*.json"
        expected = {path.name: path.read_bytes() for path in source.glob(pattern)}
        assert expected
        assert {path.name: path.read_bytes() for path in copy.iterdir()} == expected, f"run: {mend}"


def test_the_kinds_are_installed_as_they_are_generated_and_outlive_the_release(chart: CanaryChart) -> None:
    found = definitions(chart.render())
    assert set(found) == {kind.crd_name for kind in KINDS}
    for path in (ROOT / "crds").glob("*.yaml"):
        source = document(path.read_text())
        rendered = found[source["metadata"]["name"]]
        assert rendered["spec"] == source["spec"]
        assert rendered["metadata"]["annotations"] == {"helm.sh/resource-policy": "keep"}


def test_keeping_the_kinds_is_a_choice(chart: CanaryChart) -> None:
    for item in definitions(chart.render({"crds": {"keep": False}})).values():
        assert "annotations" not in item["metadata"]


@pytest.mark.parametrize(
    ("values", "installed"),
    [
        ({"crds": {"install": False}}, False),
        ({"crds": {"install": False}, "crd": {"create": True}}, True),
        ({"crd": {"create": False}}, True),
    ],
)
def test_installing_the_kinds_can_be_left_to_somebody_else(chart: CanaryChart, values: dict[str, Any], installed: bool) -> None:
    assert bool(definitions(chart.render(values))) is installed


# ------------------------------------------------------------------------------------------------ rights


def test_the_operator_may_do_exactly_this(chart: CanaryChart) -> None:
    assert grants(chart.without_crds()["ClusterRole", FULLNAME]) == ALL


@pytest.mark.parametrize("name", MESHES)
def test_a_mesh_brings_its_own_rights_and_no_others(chart: CanaryChart, name: str) -> None:
    found = grants(chart.without_crds({"rbac": {"meshes": [name]}})["ClusterRole", FULLNAME])
    assert found == ALWAYS | CONFIGS | KEDA | SOURCES | MESHES[name]


def test_without_config_tracking_secrets_can_only_be_read_by_name(chart: CanaryChart) -> None:
    values = {
        "configTracking": {"enabled": False},
        "rbac": {"keda": False, "keptn": False, "externalMetrics": False, "deliverers": [], "meshes": []},
    }
    assert grants(chart.without_crds(values)["ClusterRole", FULLNAME]) == ALWAYS | {(CORE, "secrets"): {"get"}}


def test_workloads_can_only_be_deleted_where_fresh_baselines_may_be(chart: CanaryChart) -> None:
    found = grants(chart.without_crds({"rbac": {"freshBaselines": False}})["ClusterRole", FULLNAME])
    assert found == ALL | {(CORE, "services"): WRITE, (APPS, "deployments"): WRITE}


def test_nothing_but_the_names_of_external_metrics_is_granted_by_a_wildcard(chart: CanaryChart) -> None:
    election = {"enabled": True, "replicaCount": 2}
    roles = [item for (kind, _), item in chart.without_crds({"leaderElection": election}).items() if kind in {"ClusterRole", "Role"}]
    assert len(roles) == 4
    for role in roles:
        for rule in role["rules"]:
            assert set(rule) <= {"apiGroups", "resources", "resourceNames", "verbs"}
            named = [] if rule["apiGroups"] == [EXTERNAL] else rule["resources"]  # there they are the names of the users' metrics
            assert "*" not in [*rule["apiGroups"], *named, *rule["verbs"]]


def test_every_router_and_target_has_the_rights_that_it_asks_for(chart: CanaryChart) -> None:
    found = grants(chart.without_crds()["ClusterRole", FULLNAME])
    asked: list[Resource] = [*DeploymentTarget().resources()]
    for provider in routers.providers():
        asked += routers.router(provider).resources()
    for one in asked:
        assert found[one.group, one.plural] >= WRITE, f"{one.title}: add it to templates/_rules.tpl, and its mesh to rbac.meshes"


def test_no_right_is_for_a_kind_that_the_code_does_not_know(chart: CanaryChart) -> None:
    modules = (resource, keptn, deliverers, provenance)
    known = {(one.group, one.plural) for module in modules for one in vars(module).values() if isinstance(one, Resource)}
    known.add((externalmetrics.GROUP, "*"))
    for group, name in grants(chart.without_crds()["ClusterRole", FULLNAME]):
        assert (group, name.partition("/")[0]) in known


def test_the_lease_is_one_lease_in_one_namespace(chart: CanaryChart) -> None:
    objects = chart.without_crds({"leaderElection": {"enabled": True}})
    role, binding = objects["Role", f"{FULLNAME}-leader-election"], objects["RoleBinding", f"{FULLNAME}-leader-election"]
    create, rest = role["rules"]
    assert create["verbs"] == ["create"]
    assert (rest["resourceNames"], rest["verbs"]) == (["flagger-leader-election"], ["get", "patch"])
    assert role["metadata"]["namespace"] == binding["metadata"]["namespace"] == "prod"
    assert not any("leases" in key for key in grants(objects["ClusterRole", FULLNAME]))
    assert "Role" not in {kind for kind, _ in chart.without_crds()}


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        ({}, "ClusterRole"),
        ({"namespace": "apps"}, "Role"),
        ({"namespace": "apps", "rbac": {"scope": "namespaces"}}, "Role"),
        ({"namespace": "apps", "rbac": {"scope": "cluster"}}, "ClusterRole"),
    ],
)
def test_rights_reach_as_far_as_the_watch(chart: CanaryChart, values: dict[str, Any], kind: str) -> None:
    objects = chart.without_crds(values)
    role, binding = objects[kind, FULLNAME], objects[f"{kind}Binding", FULLNAME]
    assert grants(role) == ALL
    assert binding["roleRef"] == {"apiGroup": "rbac.authorization.k8s.io", "kind": kind, "name": FULLNAME}
    assert binding["subjects"] == [{"kind": "ServiceAccount", "name": FULLNAME, "namespace": "prod"}]
    if kind == "Role":
        assert role["metadata"]["namespace"] == binding["metadata"]["namespace"] == "apps"
        assert not any("ClusterRole" in name for name, _ in objects), "a tenant may make no cluster-wide role"


def verbs(role: dict[str, Any]) -> set[str]:
    return {verb for rule in role["rules"] for verb in rule["verbs"]}


def resources(roles: Iterable[dict[str, Any]]) -> set[tuple[str, str]]:
    return {key for role in roles for key in grants(role)}


def test_the_clusters_roles_for_people_learn_of_our_kinds(chart: CanaryChart) -> None:
    objects = chart.without_crds()
    view, edit = objects["ClusterRole", f"{FULLNAME}-view"], objects["ClusterRole", f"{FULLNAME}-edit"]
    prefix = "rbac.authorization.k8s.io/aggregate-to-"
    assert {key.removeprefix(prefix) for key in view["metadata"]["labels"] if key.startswith(prefix)} == {"view", "edit", "admin"}
    assert {key.removeprefix(prefix) for key in edit["metadata"]["labels"] if key.startswith(prefix)} == {"edit", "admin"}
    assert verbs(view) == READ
    assert resources([view]) == resources([edit]) == {(kind.group, kind.plural) for kind in KINDS}
    assert grants(edit)[OURS, "canaryruns"] == {"delete", "deletecollection"}, "evidence is not written by people"
    assert not any(name.endswith(("-view", "-edit")) for _, name in chart.without_crds({"rbac": {"aggregate": False}}))


def test_rights_and_account_can_be_somebody_elses_business(chart: CanaryChart) -> None:
    objects = chart.without_crds({"rbac": {"create": False}, "serviceAccount": {"create": False, "name": "mine"}})
    assert set(objects) == {("Deployment", FULLNAME)}
    assert objects["Deployment", FULLNAME]["spec"]["template"]["spec"]["serviceAccountName"] == "mine"
    unnamed = chart.without_crds({"serviceAccount": {"create": False}})
    assert unnamed["ClusterRoleBinding", FULLNAME]["subjects"][0]["name"] == "default"


def test_more_rules_are_added_as_they_are(chart: CanaryChart) -> None:
    extra = {"apiGroups": ["traefik.io"], "resources": ["traefikservices"], "verbs": ["get"]}
    assert extra in chart.without_crds({"rbac": {"extraRules": [extra]}})["ClusterRole", FULLNAME]["rules"]
