"""The objects that tests apply: an application, its services, and the routes that split its traffic.

Plain dictionaries, as a user's YAML would be; nothing here knows the product.
"""

from collections.abc import Mapping
from typing import Any

Item = dict[str, Any]
POD_PORT = 9898
GATEWAY = {"name": "contour", "namespace": "projectcontour"}


def deployment(
    name: str,
    *,
    namespace: str,
    image: str = "app:1",
    replicas: int = 1,
    env: Mapping[str, str] | None = None,
    annotations: Mapping[str, str] | None = None,
) -> Item:
    """A Deployment of pods labelled app=NAME; `env` and pod `annotations` steer how they answer (see podserver)."""
    container = {
        "name": "app",
        "image": image,
        "ports": [{"name": "http", "containerPort": POD_PORT}],
        "env": [{"name": key, "value": value} for key, value in (env or {}).items()],
    }
    template = {
        "metadata": {"labels": {"app": name}, "annotations": dict(annotations or {})},
        "spec": {"containers": [container], "terminationGracePeriodSeconds": 0},
    }
    spec = {"replicas": replicas, "selector": {"matchLabels": {"app": name}}, "template": template}
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name, "namespace": namespace}, "spec": spec}


def service(name: str, *, namespace: str, app: str | None = None) -> Item:
    """A ClusterIP Service, port 80 to the pods labelled app=APP (default: its own name)."""
    spec = {"selector": {"app": app or name}, "ports": [{"name": "http", "port": 80, "targetPort": POD_PORT}]}
    return {"apiVersion": "v1", "kind": "Service", "metadata": {"name": name, "namespace": namespace}, "spec": spec}


def http_proxy(name: str, *, namespace: str, host: str, weights: Mapping[str, int]) -> Item:
    """A root HTTPProxy (Contour) that splits a host over services by weight."""
    services = [{"name": target, "port": 80, "weight": weight} for target, weight in weights.items()]
    spec = {"virtualhost": {"fqdn": host}, "routes": [{"conditions": [{"prefix": "/"}], "services": services}]}
    return {"apiVersion": "projectcontour.io/v1", "kind": "HTTPProxy", "metadata": {"name": name, "namespace": namespace}, "spec": spec}


def root_proxy(name: str, *, namespace: str, host: str, include: str) -> Item:
    """A root HTTPProxy that hands a host to another HTTPProxy, as Flagger's (which has no virtual host) needs."""
    spec = {"virtualhost": {"fqdn": host}, "includes": [{"name": include, "namespace": namespace, "conditions": [{"prefix": "/"}]}]}
    return {"apiVersion": "projectcontour.io/v1", "kind": "HTTPProxy", "metadata": {"name": name, "namespace": namespace}, "spec": spec}


def http_route(name: str, *, namespace: str, host: str, weights: Mapping[str, int]) -> Item:
    """A Gateway API HTTPRoute on the mesh's Gateway that splits a host over services by weight."""
    backends = [{"name": target, "port": 80, "weight": weight} for target, weight in weights.items()]
    spec = {"parentRefs": [dict(GATEWAY)], "hostnames": [host], "rules": [{"backendRefs": backends}]}
    return {
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": "HTTPRoute",
        "metadata": {"name": name, "namespace": namespace},
        "spec": spec,
    }
