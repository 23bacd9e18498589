"""What users of the operator write: Canaries, MetricTemplates, and what they put around them. Plain dictionaries, as their YAML would be."""

from typing import Any

from tests.testbed.mesh import Mesh
from tests.testbed.workload import GATEWAY

Item = dict[str, Any]

COLLECTIONS = {
    "canaries": "/apis/flagger.app/v1beta1",
    "metrictemplates": "/apis/flagger.app/v1beta1",
    "canaryruns": "/apis/canary.dev/v1alpha1",
    "gitsinks": "/apis/canary.dev/v1alpha1",
    "deployments": "/apis/apps/v1",
    "pods": "/api/v1",
    "services": "/api/v1",
    "configmaps": "/api/v1",
    "events": "/api/v1",
    "resourcequotas": "/api/v1",
    "secrets": "/api/v1",
    "httpproxies": "/apis/projectcontour.io/v1",
    "httproutes": "/apis/gateway.networking.k8s.io/v1",
}
"""Plural name to the API that serves it."""

PLURALS = {
    "Canary": "canaries", "MetricTemplate": "metrictemplates", "GitSink": "gitsinks", "Deployment": "deployments", "Service": "services",
    "ConfigMap": "configmaps", "HTTPProxy": "httpproxies", "HTTPRoute": "httproutes", "ResourceQuota": "resourcequotas",
    "Secret": "secrets",
}  # fmt: skip

SUCCESS = {"name": "request-success-rate", "thresholdRange": {"min": 99}, "interval": "10s"}
DURATION = {"name": "request-duration", "thresholdRange": {"max": 500}, "interval": "10s"}
LENIENT = DURATION | {"thresholdRange": {"max": 5000}}
"""A fixed bound that no busy machine breaks, where it is the comparison that is to decide."""


def collection(plural: str, namespace: str) -> str:
    """Path of the objects of one namespace."""
    return f"{COLLECTIONS[plural]}/namespaces/{namespace}/{plural}"


def canary(name: str, namespace: str, analysis: Item, *, service: Item | None = None, **spec: Any) -> Item:
    """A Canary of the Deployment of the same name, with both built-in checks unless `analysis` has metrics of its own."""
    body = {
        "targetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": name},
        "progressDeadlineSeconds": 60,
        "service": {"port": 80, "targetPort": 9898} | (service or {}),
        "analysis": {"interval": "1s", "threshold": 5, "metrics": [SUCCESS, DURATION]} | analysis,
    }
    head = {"apiVersion": "flagger.app/v1beta1", "kind": "Canary", "metadata": {"name": name, "namespace": namespace}}
    return head | {"spec": body | spec}


def on_gateway(host: str) -> Item:
    """`service` of a canary on the Gateway API."""
    return {"hosts": [host], "gatewayRefs": [dict(GATEWAY)]}


def metric_template(name: str, namespace: str, query: str, *, address: str = Mesh.prometheus_url) -> Item:
    """A MetricTemplate on a Prometheus."""
    head = {"apiVersion": "flagger.app/v1beta1", "kind": "MetricTemplate", "metadata": {"name": name, "namespace": namespace}}
    return head | {"spec": {"provider": {"type": "prometheus", "address": address}, "query": query}}


def service_at(host: str, *, namespace: str, service: str, port: int = 80) -> Item:
    """A root HTTPProxy that makes one Service reachable by a host name: the place of cluster DNS on the test bed."""
    spec = {"virtualhost": {"fqdn": host}, "routes": [{"services": [{"name": service, "port": port}]}]}
    name = "at-" + host.replace(".", "-")
    return {"apiVersion": "projectcontour.io/v1", "kind": "HTTPProxy", "metadata": {"name": name, "namespace": namespace}, "spec": spec}


def hook(name: str, kind: str, url: str, **metadata: str) -> Item:
    """A webhook."""
    return {"name": name, "type": kind, "url": url, "timeout": "5s"} | ({"metadata": metadata} if metadata else {})
