"""The objects of a script, and what can be read from those that the peer writes."""

from datetime import datetime, timedelta
from typing import Any

from bench.traces.script import Json, Script
from bench.traces.scripted import NAMESPACE, PORT
from tests.testbed.workload import deployment

CANARIES = f"/apis/flagger.app/v1beta1/namespaces/{NAMESPACE}/canaries"
TEMPLATES = f"/apis/flagger.app/v1beta1/namespaces/{NAMESPACE}/metrictemplates"
DEPLOYMENTS = f"/apis/apps/v1/namespaces/{NAMESPACE}/deployments"
PODS = f"/api/v1/namespaces/{NAMESPACE}/pods"
PROXIES = f"/apis/projectcontour.io/v1/namespaces/{NAMESPACE}/httpproxies"
VIRTUAL_SERVICES = f"/apis/networking.istio.io/v1beta1/namespaces/{NAMESPACE}/virtualservices"
READY = "kwok/ready"
"""Annotation of pods that the test bed's kubelet obeys."""


def target(script: Script) -> Json:
    """The Deployment at its first revision."""
    body = deployment(script.name, namespace=NAMESPACE)
    body["spec"]["progressDeadlineSeconds"] = script.deadline
    return body


def canary(script: Script) -> Json:
    """The Canary, its webhooks with addresses."""
    analysis = dict(script.analysis)
    if hooks := analysis.get("webhooks"):
        analysis["webhooks"] = [hook | {"url": f"http://127.0.0.1:{PORT}/hook/{script.name}/{hook['name']}"} for hook in hooks]
    spec = {
        "provider": script.provider,
        "targetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": script.name},
        "progressDeadlineSeconds": script.deadline,
        "service": {"port": 80, "targetPort": 9898},
        "analysis": analysis,
        **script.spec,
    }
    meta = {"name": script.name, "namespace": NAMESPACE}
    return {"apiVersion": "flagger.app/v1beta1", "kind": "Canary", "metadata": meta, "spec": spec}


def template(name: str) -> Json:
    """A MetricTemplate that asks for the metric of its own name; one serves all canaries."""
    query = f'trace{{run="{{{{ name }}}}",metric="{name}"}}'
    spec = {"provider": {"type": "prometheus", "address": f"http://127.0.0.1:{PORT}"}, "query": query}
    meta = {"name": name, "namespace": NAMESPACE}
    return {"apiVersion": "flagger.app/v1beta1", "kind": "MetricTemplate", "metadata": meta, "spec": spec}


def templates_of(script: Script) -> set[str]:
    """The names of the templates that a script's checks refer to, but for the one that is to be missing."""
    metrics = script.analysis.get("metrics", [])
    return {metric["templateRef"]["name"] for metric in metrics if "templateRef" in metric} - {"absent"}


def image(tag: str, *, unready: bool) -> Json:
    """A strategic merge patch of a Deployment: a new image, whose pods run and are not ready if so wished."""
    notes = {READY: "false"} if unready else {}
    return {"spec": {"template": {"metadata": {"annotations": notes}, "spec": {"containers": [{"name": "app", "image": tag}]}}}}


def state(body: Json) -> tuple[str, int, int, int]:
    """Phase, canaryWeight, failedChecks, iterations of a Canary."""
    status = body.get("status") or {}
    return (
        status.get("phase") or "",
        int(status.get("canaryWeight") or 0),
        int(status.get("failedChecks") or 0),
        int(status.get("iterations") or 0),
    )


def proxy_route(body: Json) -> tuple[int, bool]:
    """The canary's weight in an HTTPProxy's first route."""
    services: list[Json] = body["spec"]["routes"][0]["services"]
    return next((int(one.get("weight", 0)) for one in services if one["name"].endswith("-canary")), 0), False


def virtual_service_route(body: Json) -> tuple[int, bool]:
    """The canary's weight in a VirtualService's first route, and whether traffic is mirrored."""
    first: dict[str, Any] = body["spec"]["http"][0]
    weight = next((int(one.get("weight", 0)) for one in first["route"] if one["destination"]["host"].endswith("-canary")), 0)
    return weight, "mirror" in first


def stuck(body: Json, deadline: float, at: datetime) -> bool:
    """Whether the peer takes a rollout as stuck at a moment: its Deployment says so, or had no available pod for as long as the deadline."""
    for one in body.get("status", {}).get("conditions", []):
        if one["type"] == "Progressing" and one.get("reason") == "ProgressDeadlineExceeded":
            return True
        if one["type"] == "Available" and one["status"] == "False" and one.get("reason") == "MinimumReplicasUnavailable":
            return bool(datetime.fromisoformat(one["lastUpdateTime"]) + timedelta(seconds=deadline) < at)
    return False
