"""The example application of these tests: a Deployment `podinfo`, its configs, its Canary."""

from __future__ import annotations

import copy
import os
from pathlib import Path
from typing import Any

import yaml

from canary.api.canary import Canary
from canary.core.hashing import revision_of
from canary.core.release import Options, Release
from canary.kube.merge import merge_diff
from canary.kube.resource import CONFIG_MAPS, DEPLOYMENTS, SECRETS, Object
from canary.targets.ports import discovered_ports
from tests.fakes.cluster import FakeCluster
from tests.fakes.json_patch import merge_patch

UID = "11111111-2222-3333-4444-555555555555"
GOLDEN = Path(__file__).parent / "golden"

DEPLOYMENT = yaml.safe_load("""
apiVersion: apps/v1
kind: Deployment
metadata:
  name: podinfo
  namespace: test
  labels: {app: podinfo, app.kubernetes.io/part-of: shop, kustomize.toolkit.fluxcd.io/name: apps}
  annotations:
    deployment.kubernetes.io/revision: "7"
    app.kubernetes.io/owner: team-a
    kustomize.toolkit.fluxcd.io/checksum: abc
    kubectl.kubernetes.io/last-applied-configuration: '{"kind": "Deployment"}'
spec:
  minReadySeconds: 3
  revisionHistoryLimit: 5
  progressDeadlineSeconds: 60
  replicas: 2
  strategy: {type: RollingUpdate, rollingUpdate: {maxUnavailable: 0}}
  selector: {matchLabels: {app: podinfo, tier: web}}
  template:
    metadata:
      labels: {app: podinfo, tier: web, kustomize.toolkit.fluxcd.io/name: apps}
      annotations:
        prometheus.io/scrape: "true"
        flagger-id: copied-by-mistake
        kustomize.toolkit.fluxcd.io/checksum: abc
    spec:
      aFieldOfTomorrow: {kept: true}
      affinity:
        podAntiAffinity:
          preferredDuringSchedulingIgnoredDuringExecution:
            - weight: 100
              podAffinityTerm:
                labelSelector: {matchLabels: {app: podinfo}}
                topologyKey: kubernetes.io/hostname
          requiredDuringSchedulingIgnoredDuringExecution:
            - labelSelector:
                matchExpressions: [{key: app, operator: In, values: [other, podinfo]}]
              topologyKey: kubernetes.io/hostname
        podAffinity:
          requiredDuringSchedulingIgnoredDuringExecution:
            - labelSelector: {matchLabels: {app: podinfo}}
              topologyKey: kubernetes.io/hostname
      topologySpreadConstraints:
        - maxSkew: 1
          topologyKey: kubernetes.io/zone
          whenUnsatisfiable: ScheduleAnyway
          labelSelector: {matchLabels: {app: podinfo, team: podinfo}}
      imagePullSecrets: [{name: registry}]
      initContainers:
        - name: migrate
          image: podinfo-migrate:6.0.0
          env: [{name: TOKEN, valueFrom: {secretKeyRef: {name: token, key: token}}}]
      containers:
        - name: podinfod
          image: podinfo:6.0.0
          ports: [{name: http, containerPort: 9898}, {name: http-metrics, containerPort: 9797}, {containerPort: 9999}]
          env:
            - {name: COLOR, valueFrom: {configMapKeyRef: {name: colors, key: color}}}
            - {name: TWICE, value: "1"}
            - {name: TWICE, value: "2"}
          envFrom:
            - configMapRef: {name: flags}
            - secretRef: {name: registry-env}
      volumes:
        - {name: plain, configMap: {name: files}}
        - {name: hidden, secret: {secretName: certs}}
        - name: both
          projected:
            sources:
              - configMap: {name: projected-map}
              - secret: {name: projected-secret}
              - configMap: {name: absent, optional: true}
""")


def deployment(patch: Object | None = None, *, name: str = "podinfo") -> Object:
    """The Deployment, with a merge patch over it."""
    obj = merge_patch(copy.deepcopy(DEPLOYMENT), copy.deepcopy(patch or {}))
    obj["metadata"]["name"] = name
    return obj


def plain(patch: Object | None = None) -> Object:
    """A Deployment that uses no configs."""
    obj = deployment(patch)
    spec = obj["spec"]["template"]["spec"]
    spec.pop("volumes", None)
    for container in (*spec["containers"], *spec["initContainers"]):
        container.pop("env", None)
        container.pop("envFrom", None)
    return obj


def status(replicas: int = 2, **more: Any) -> Object:
    """The status of a Deployment whose pods are all there."""
    counts = dict.fromkeys(("replicas", "updatedReplicas", "availableReplicas", "readyReplicas"), replicas)
    return {"observedGeneration": 1, **counts, **more}


def config_map(name: str, data: dict[str, str] | None, **more: Any) -> Object:
    return {"metadata": {"name": name, "namespace": "test", **more.pop("metadata", {})}, **({"data": data} if data else {}), **more}


def secret(name: str, data: dict[str, str], type: str = "Opaque", **more: Any) -> Object:
    return {"metadata": {"name": name, "namespace": "test", **more.pop("metadata", {})}, "data": data, "type": type, **more}


def add_configs(fake: FakeCluster) -> None:
    """Everything that the Deployment needs, except what is optional."""
    for name in ("colors", "flags", "files", "projected-map"):
        fake.add(CONFIG_MAPS, config_map(name, {"color": "red"}))
    for name in ("token", "certs", "projected-secret"):
        fake.add(SECRETS, secret(name, {"apiKey": "dGVzdA=="}))
    fake.add(SECRETS, secret("registry-env", {"x": "eA=="}, type="kubernetes.io/dockerconfigjson"))


def canary(spec: Object | None = None, *, name: str = "podinfo", uid: str = UID) -> Canary:
    """The Canary, with a merge patch over its spec."""
    base: Object = {
        "provider": "kubernetes",
        "targetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "podinfo"},
        "service": {"port": 9898},
        "analysis": {"interval": "15s", "threshold": 5, "iterations": 5},
    }
    return Canary.model_validate(
        {"metadata": {"name": name, "namespace": "test", "uid": uid}, "spec": merge_patch(base, copy.deepcopy(spec or {}))}
    )


def release(spec: Object | None = None, *, of: Canary | None = None, value: str = "podinfo", **options: Any) -> Release:
    """The release of `of`, or of the Canary with this spec; ports are discovered on the Deployment above."""
    it = of or canary(spec)
    return Release(it, "kubernetes", "app", value, discovered_ports(it.spec.service, DEPLOYMENT["spec"]["template"]), Options(**options))


def image(tag: str) -> Object:
    """A merge patch that gives the Deployment another image; lists are replaced whole, so it names all of the container."""
    container = copy.deepcopy(DEPLOYMENT["spec"]["template"]["spec"]["containers"][0])
    return {"spec": {"template": {"spec": {"containers": [{**container, "image": f"podinfo:{tag}"}]}}}}


def revision(fake: FakeCluster, name: str = "podinfo") -> str:
    return revision_of(fake.stored(DEPLOYMENTS, "test", name)["spec"]["template"])


def as_recorded(name: str, found: Any) -> None:
    """Compare with `golden/<name>.yaml`; `CANARY_UPDATE_GOLDEN=1` writes it anew: read the diff."""
    path = GOLDEN / f"{name}.yaml"
    if os.environ.get("CANARY_UPDATE_GOLDEN"):
        path.write_text(yaml.dump(found, Dumper=_Plain, sort_keys=True, width=140))
    recorded = yaml.safe_load(path.read_text())
    assert found == recorded, merge_diff({"found": recorded}, {"found": found})


class _Plain(yaml.SafeDumper):
    """No anchors: everything is written out."""

    def ignore_aliases(self, data: Any) -> bool:
        return True
