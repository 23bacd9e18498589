"""The load tester's chart on a real API server: admission, upgrades, and taking over a release of Flagger's chart."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.charts.helm import ROOT
from tests.testbed.cluster import Cluster

CHART = ROOT / "charts" / "loadtester"
pytestmark = pytest.mark.cluster

# What Flagger's chart installs, as far as it binds a successor: names, selector, labels, strategy left to its default.
PREDECESSOR = """
apiVersion: apps/v1
kind: Deployment
metadata:
  name: {{ .Release.Name }}-loadtester
spec:
  selector:
    matchLabels:
      app: loadtester
  template:
    metadata:
      labels:
        app: loadtester
        app.kubernetes.io/name: loadtester
    spec:
      containers:
        - name: loadtester
          image: "flagger-loadtester:0.38.0"
          command: [./loadtester, -port=8080]
          ports:
            - name: http
              containerPort: 8080
---
apiVersion: v1
kind: Service
metadata:
  name: {{ .Release.Name }}-loadtester
spec:
  ports:
    - port: 80
      targetPort: http
      name: http
  selector:
    app: loadtester
"""


@pytest.fixture
def restricted(cluster: Cluster, namespace: str) -> str:
    """A namespace that admits only pods of the restricted standard."""
    cluster.kubectl("label", "namespace", namespace, "pod-security.kubernetes.io/enforce=restricted")
    return namespace


def install(cluster: Cluster, namespace: str, folder: Path, values: dict[str, Any], *, chart: Path = CHART, release: str = "load") -> str:
    """`helm upgrade --install`, as Flux does it; these values only, not those of the release before."""
    file = folder / "values.json"
    file.write_text(json.dumps(values))
    return cluster.helm("upgrade", "--install", "--reset-values", release, chart, "--namespace", namespace, "--values", file)


def addresses(cluster: Cluster, namespace: str, service: str) -> set[str]:
    """The ready pods behind a Service."""
    slices = cluster.api.get(
        f"/apis/discovery.k8s.io/v1/namespaces/{namespace}/endpointslices?labelSelector=kubernetes.io/service-name%3D{service}"
    )
    endpoints = [endpoint for item in slices["items"] for endpoint in item["endpoints"] or []]
    return {endpoint["addresses"][0] for endpoint in endpoints if endpoint["conditions"]["ready"]}


@pytest.mark.parametrize(
    "values",
    [
        {},
        {"replicaCount": 2, "auth": {"existingSecret": "token"}, "rbac": {"create": True, "rules": []}},
        {
            "podDisruptionBudget": {"enabled": True},
            "networkPolicy": {"enabled": True},
            "cmd": {"allow": ["hey"]},
            "service": {"type": "NodePort"},
        },
    ],
    ids=["defaults", "token", "guarded"],
)
def test_a_restricted_namespace_admits_the_pod_and_the_service_finds_it(
    cluster: Cluster, restricted: str, tmp_path: Path, values: dict[str, Any]
) -> None:
    cluster.kubectl("create", "secret", "generic", "token", "--from-literal=token=s3cret", "--namespace", restricted)
    notes = install(cluster, restricted, tmp_path, {"fullnameOverride": "load-tester", **values})
    assert f"http://load-tester.{restricted}/" in notes
    cluster.wait_deployment(restricted, "load-tester")
    found = cluster.wait("the endpoints", lambda: addresses(cluster, restricted, "load-tester"))
    assert len(found) == values.get("replicaCount", 1)


def test_the_api_server_keeps_what_the_chart_asked_for(cluster: Cluster, restricted: str, tmp_path: Path) -> None:
    install(cluster, restricted, tmp_path, {})
    changes = cluster.helm("get", "manifest", "load", "--namespace", restricted)
    (tmp_path / "manifest.yaml").write_text(changes)
    # kubectl diff ends with an error as soon as one field of the stored objects differs from the manifest.
    assert cluster.kubectl("diff", "--namespace", restricted, "-f", tmp_path / "manifest.yaml") == ""


def test_a_release_of_flaggers_chart_is_taken_over_by_an_upgrade(cluster: Cluster, namespace: str, tmp_path: Path) -> None:
    old = tmp_path / "loadtester"
    (old / "templates").mkdir(parents=True)
    (old / "Chart.yaml").write_text("apiVersion: v1\nname: loadtester\nversion: 0.38.0\n")
    (old / "templates" / "all.yaml").write_text(PREDECESSOR)
    install(cluster, namespace, tmp_path, {}, chart=old)
    cluster.wait_deployment(namespace, "load-loadtester")
    before = cluster.get("deployments", "load-loadtester", namespace)["metadata"]["uid"]
    install(cluster, namespace, tmp_path, {})
    after = cluster.get("deployments", "load-loadtester", namespace)
    assert after["metadata"]["uid"] == before
    (container,) = after["spec"]["template"]["spec"]["containers"]
    assert container["image"].startswith("canary-loadtester:")
    assert "command" not in container
    cluster.wait_deployment(namespace, "load-loadtester")
    assert len(cluster.wait("the endpoints", lambda: addresses(cluster, namespace, "load-loadtester"))) == 1


@pytest.mark.parametrize("how", ["helm", "server-side"])
def test_persistence_can_be_switched_on_and_off_in_place(cluster: Cluster, namespace: str, tmp_path: Path, how: str) -> None:
    strategies = []
    for enabled in (False, True, False):
        values = {"persistence": {"enabled": enabled, "existingClaim": "none"}}
        if how == "helm":
            install(cluster, namespace, tmp_path, values)
        else:
            (tmp_path / "values.json").write_text(json.dumps(values))
            cluster.apply(
                cluster.helm("template", "load", CHART, "--namespace", namespace, "--values", tmp_path / "values.json"), manager="argocd"
            )
        spec = cluster.get("deployments", "load-loadtester", namespace)["spec"]
        strategies.append(spec["strategy"]["rollingUpdate"])
        claimed = any("persistentVolumeClaim" in volume for volume in spec["template"]["spec"]["volumes"])
        assert claimed is enabled
    default = {"maxSurge": "25%", "maxUnavailable": "25%"}
    assert strategies == [default, {"maxSurge": 0, "maxUnavailable": "100%"}, default]


def test_two_releases_in_one_namespace_stay_apart(cluster: Cluster, namespace: str, tmp_path: Path) -> None:
    for release in ("left", "right"):
        install(cluster, namespace, tmp_path, {}, release=release)
    for release in ("left", "right"):
        cluster.wait_deployment(namespace, f"{release}-loadtester")
    left = cluster.wait("the endpoints", lambda: addresses(cluster, namespace, "left-loadtester"))
    right = cluster.wait("the endpoints", lambda: addresses(cluster, namespace, "right-loadtester"))
    assert (len(left), len(right)) == (1, 1)
    assert left != right
