"""The operator's chart on a real API server: admission, upgrades in place, and taking over a release of Flagger's chart."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.charts.canary_chart import EVERYTHING, changed
from tests.charts.rbac import CHART, may, rendered
from tests.testbed.cluster import Cluster, KubectlError
from tests.testbed.documents import document
from tests.testbed.thirdparty import third_party_crds

pytestmark = pytest.mark.cluster

# What Flagger's chart installs, as far as it binds a successor: names, labels, selector, strategy, account, kinds without an owner.
PREDECESSOR = """
apiVersion: v1
kind: ServiceAccount
metadata:
  name: flagger
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata:
  name: flagger
rules:
  - apiGroups: [""]
    resources: [secrets]
    verbs: [get]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata:
  name: flagger
roleRef:
  apiGroup: rbac.authorization.k8s.io
  kind: ClusterRole
  name: flagger
subjects:
  - kind: ServiceAccount
    name: flagger
    namespace: {{ .Release.Namespace }}
---
apiVersion: apps/v1
kind: Deployment
metadata:
  name: flagger
  labels:
    app.kubernetes.io/name: flagger
spec:
  replicas: 1
  STRATEGY
  selector:
    matchLabels:
      app.kubernetes.io/name: flagger
      app.kubernetes.io/instance: {{ .Release.Name }}
  template:
    metadata:
      labels:
        app.kubernetes.io/name: flagger
        app.kubernetes.io/instance: {{ .Release.Name }}
    spec:
      serviceAccountName: flagger
      containers:
        - name: flagger
          image: flagger:1.44.0
          command: [./flagger, -log-level=info, -mesh-provider=contour]
          ports:
            - name: http
              containerPort: 8080
"""


@pytest.fixture
def restricted(cluster: Cluster, namespace: str) -> str:
    """A namespace that admits only pods of the restricted standard."""
    cluster.kubectl("label", "namespace", namespace, "pod-security.kubernetes.io/enforce=restricted")
    return namespace


@pytest.fixture(scope="module")
def monitors(cluster: Cluster) -> None:
    """The kinds of the Prometheus operator."""
    cluster.crds(*third_party_crds("prometheus-operator"))


def install(
    cluster: Cluster, namespace: str, folder: Path, values: dict[str, Any], *flags: str, chart: Path = CHART, release: str = ""
) -> str:
    """`helm upgrade --install`, as Flux does it; these values only. The release is named after the namespace: it makes cluster-wide roles."""
    file = folder / "values.json"
    file.write_text(json.dumps(values))
    command = (
        "upgrade",
        "--install",
        "--reset-values",
        release or f"canary-{namespace}",
        chart,
        "--namespace",
        namespace,
        "--values",
        file,
    )
    return cluster.helm(*command, *flags)


WITHOUT_CRDS = {"crds": {"install": False}}
PAIR = {"leaderElection": {"enabled": True, "replicaCount": 2}, "podDisruptionBudget": {"enabled": True}}
SETS: dict[str, dict[str, Any]] = {
    "defaults": {},
    "pair": PAIR,
    "guarded": {"networkPolicy": {"enabled": True, "egress": [{"to": [{"ipBlock": {"cidr": "10.0.0.0/8"}}]}]}},
    "flaggers-user": {"securityContext": {"context": {"runAsUser": 10001}}},
}


@pytest.mark.parametrize("values", SETS.values(), ids=SETS.keys())
def test_a_restricted_namespace_admits_the_pods(cluster: Cluster, restricted: str, tmp_path: Path, values: dict[str, Any]) -> None:
    notes = install(cluster, restricted, tmp_path, {**WITHOUT_CRDS, **values})
    assert f"kubectl -n {restricted} rollout status deployment/canary-{restricted}" in notes
    found = cluster.wait_deployment(restricted, f"canary-{restricted}")
    assert found["status"]["readyReplicas"] == values.get("leaderElection", {}).get("replicaCount", 1)


def test_a_pod_that_is_not_restricted_would_have_been_refused(cluster: Cluster, restricted: str, tmp_path: Path) -> None:
    install(cluster, restricted, tmp_path, {**WITHOUT_CRDS, "securityContext": {"enabled": False}})
    path = f"/apis/apps/v1/namespaces/{restricted}/deployments/canary-{restricted}"

    def refusal() -> str:
        return next(c["message"] for c in cluster.api.get(path)["status"]["conditions"] if c["type"] == "ReplicaFailure")

    assert "violates PodSecurity" in cluster.wait("the refusal", refusal)


@pytest.mark.parametrize("scope", [{}, {"namespace": "default"}], ids=["cluster", "namespace"])
def test_the_api_server_takes_every_object(cluster: Cluster, restricted: str, monitors: None, scope: dict[str, Any]) -> None:
    values = changed(
        {**EVERYTHING, **scope}, podMonitor={"namespace": ""}, dashboards={"namespace": ""}, linkerdAuthPolicy={"create": False}
    )
    values["extraDeploy"] = []
    items = rendered(cluster, restricted, "canary", values)
    assert {"PodMonitor", "ServiceMonitor", "NetworkPolicy", "ConfigMap", "PodDisruptionBudget"} <= {item["kind"] for item in items}
    for item in items:
        cluster.kubectl("create", "--dry-run=server", "--validate=strict", "-f", "-", input=json.dumps(item))


def test_the_api_server_keeps_what_the_chart_asked_for(cluster: Cluster, restricted: str, monitors: None, tmp_path: Path) -> None:
    values = {**WITHOUT_CRDS, **PAIR, "podMonitor": {"enabled": True}, "serviceMonitor": {"enabled": True}, "dashboards": {"enabled": True}}
    install(cluster, restricted, tmp_path, values)
    (tmp_path / "manifest.yaml").write_text(cluster.helm("get", "manifest", f"canary-{restricted}", "--namespace", restricted))
    # kubectl diff ends with an error as soon as one field of the stored objects differs from the manifest.
    assert cluster.kubectl("diff", "--namespace", restricted, "-f", tmp_path / "manifest.yaml") == ""


@pytest.mark.parametrize("how", ["helm", "server-side"])
def test_leader_election_can_be_switched_on_and_off_in_place(cluster: Cluster, restricted: str, tmp_path: Path, how: str) -> None:
    name, seen = f"canary-{restricted}", []
    for values in ({}, PAIR, {}):
        if how == "helm":
            install(cluster, restricted, tmp_path, {**WITHOUT_CRDS, **values})
        else:
            cluster.apply(rendered(cluster, restricted, name, values), manager="argocd")
        spec = cluster.get("deployments", name, restricted)["spec"]
        seen.append((spec["replicas"], spec["strategy"]["type"]))
    assert seen == [(1, "Recreate"), (2, "RollingUpdate"), (1, "Recreate")]


def predecessor(cluster: Cluster, namespace: str, folder: Path, strategy: str = "") -> dict[str, Any]:
    """Flagger as its chart installs it, kinds included; the Deployment."""
    chart = folder / "flagger"
    (chart / "templates").mkdir(parents=True)
    (chart / "Chart.yaml").write_text("apiVersion: v1\nname: flagger\nversion: 1.44.0\n")
    (chart / "templates" / "all.yaml").write_text(PREDECESSOR.replace("STRATEGY", strategy))
    install(cluster, namespace, folder, {}, chart=chart, release="flagger")
    cluster.crds(*third_party_crds("flagger"))  # as `helm install` makes them from a chart's crds/ folder: without an owner
    return cluster.wait_deployment(namespace, "flagger")


def assert_kinds_are_ours(cluster: Cluster) -> None:
    for path in (CHART / "files" / "crds").iterdir():
        source = document(path.read_text())
        kept = cluster.get("customresourcedefinitions", source["metadata"]["name"])
        assert "deletionTimestamp" not in kept["metadata"]
        assert [version["name"] for version in kept["spec"]["versions"]] == [version["name"] for version in source["spec"]["versions"]]


@pytest.mark.parametrize("strategy", ["strategy: {type: Recreate}", ""], ids=["alone", "elected"])
def test_a_release_of_flaggers_chart_becomes_ours_by_an_upgrade(cluster: Cluster, namespace: str, tmp_path: Path, strategy: str) -> None:
    before = predecessor(cluster, namespace, tmp_path, strategy)
    values = {"nameOverride": "flagger", "image": {"tag": "9"}}
    with pytest.raises(KubectlError, match="cannot be imported into the current release"):
        install(cluster, namespace, tmp_path, values, release="flagger")
    install(cluster, namespace, tmp_path, values, "--take-ownership", release="flagger")
    after = cluster.wait_deployment(namespace, "flagger")
    assert after["metadata"]["uid"] == before["metadata"]["uid"]
    (container,) = after["spec"]["template"]["spec"]["containers"]
    assert (container["name"], container["image"]) == ("canary", "canary-operator:9")
    assert "command" not in container
    assert may(cluster, namespace, "flagger", group="flagger.app", resource="canaries", subresource="status", verb="patch", namespace="x")
    assert_kinds_are_ours(cluster)
    cluster.helm("uninstall", "flagger", "--namespace", namespace)
    assert_kinds_are_ours(cluster)


def test_flagger_can_be_taken_over_beside_it_and_removed_afterwards(cluster: Cluster, namespace: str, tmp_path: Path) -> None:
    predecessor(cluster, namespace, tmp_path)
    cluster.kubectl("scale", "deployment/flagger", "--replicas=0", "-n", namespace)
    install(cluster, namespace, tmp_path, {}, "--take-ownership")
    cluster.wait_deployment(namespace, f"canary-{namespace}")
    cluster.helm("uninstall", "flagger", "--namespace", namespace)
    assert cluster.wait_deployment(namespace, f"canary-{namespace}")["status"]["readyReplicas"] == 1
    assert_kinds_are_ours(cluster)


def test_the_clusters_own_roles_learn_of_our_kinds(cluster: Cluster, namespace: str, tmp_path: Path) -> None:
    install(cluster, namespace, tmp_path, WITHOUT_CRDS)
    for role, verb, resource in (("view", "list", "canaryruns.canary.dev"), ("edit", "patch", "canaries.flagger.app")):
        cluster.kubectl("create", "serviceaccount", role, "-n", namespace)
        cluster.kubectl("create", "rolebinding", role, f"--clusterrole={role}", f"--serviceaccount={namespace}:{role}", "-n", namespace)
        kind, _, group = resource.partition(".")
        asked = {"group": group, "resource": kind, "namespace": namespace}
        cluster.wait(f"{role} may {verb}", lambda role=role, verb=verb, asked=asked: may(cluster, namespace, role, verb=verb, **asked))
    assert not may(cluster, namespace, "view", group="flagger.app", resource="canaries", verb="patch", namespace=namespace)
    assert not may(cluster, namespace, "edit", group="canary.dev", resource="canaryruns", verb="patch", namespace=namespace)
