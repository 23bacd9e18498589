"""What lies in Git: an application as plain manifests, one as a chart with its HelmRelease, and one whose manifest names its replicas."""

from __future__ import annotations

from typing import Any

import yaml

from tests.e2e.objects import canary
from tests.flux.controllers import helm_release
from tests.flux.prometheus_stub import check
from tests.testbed.workload import deployment

SOURCE = "fleet"
CHART = "charts/shop"
ANALYSIS = {"interval": "1s", "iterations": 2, "threshold": 1}


def plain(name: str, namespace: str, image: str, *, replicas: int | None = None, env: dict[str, str] | None = None) -> str:
    """A Deployment and its Canary."""
    body = deployment(name, namespace=namespace, image=image, env=env)
    del body["spec"]["replicas"]
    if replicas is not None:
        body["spec"]["replicas"] = replicas
    return _yaml(body, _canary(name, namespace))


def release(name: str, namespace: str) -> str:
    """The HelmRelease of the chart."""
    return _yaml(helm_release(name, source=SOURCE, chart=f"./{CHART}", namespace=namespace, values={"unused": True}))


def chart(name: str, namespace: str, image: str) -> dict[str, str]:
    """The chart: its Deployment takes its image from the values, its Canary comes along."""
    body = deployment(name, namespace=namespace, image="IMAGE")
    del body["spec"]["replicas"]
    return {
        f"{CHART}/Chart.yaml": f"apiVersion: v2\nname: {name}\nversion: 0.1.0\n",
        f"{CHART}/templates/deployment.yaml": _yaml(body).replace("IMAGE", "{{ .Values.image.repository }}:{{ .Values.image.tag }}"),
        f"{CHART}/templates/canary.yaml": _yaml(_canary(name, namespace)),
        **values(image),
    }


def values(image: str) -> dict[str, str]:
    """The file that a release of the chart changes."""
    repository, _, tag = image.partition(":")
    return {f"{CHART}/values.yaml": f"image:\n  repository: {repository}\n  tag: {tag} # the only place\n"}


def _canary(name: str, namespace: str) -> dict[str, Any]:
    return canary(name, namespace, ANALYSIS | {"metrics": [check(name)]}, provider="kubernetes")


def _yaml(*items: dict[str, Any]) -> str:
    return yaml.safe_dump_all(items, sort_keys=False)
