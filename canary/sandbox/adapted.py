"""The story's Canary, for a cluster: which mesh, which host, which Prometheus; and what the mesh needs besides."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import yaml

from canary.sandbox.stage import APP, HOME
from canary.sandbox.survey import Options


@dataclass(frozen=True, slots=True)
class Adapted:
    """The manifest; whether nobody sends users' requests unless we do."""

    text: str
    needs_users: bool


def adapted(manifest: str, options: Options, *, gateway: str, without_hooks_to: str) -> Adapted:
    """The manifest with provider, hosts and parents filled in where it says nothing itself.

    Hooks to the host `without_hooks_to` are left out: with an operator in the cluster nothing answers there, and the users come from here.
    """
    documents = [body for body in yaml.safe_load_all(manifest) if body]
    canary = next(body for body in documents if body.get("kind") == "Canary")
    spec = canary["spec"]
    spec.setdefault("provider", options.mesh_provider)
    if options.metrics_server:
        spec.setdefault("metricsServer", options.metrics_server)
    _service(spec["service"], options, gateway)
    analysis = spec.get("analysis") or spec.get("canaryAnalysis") or {}
    hooks = analysis.get("webhooks") or []
    kept = [hook for hook in hooks if not (without_hooks_to and _host(hook).split(".")[0] == without_hooks_to)]
    if "webhooks" in analysis:
        analysis["webhooks"] = kept
    loads = any("hey" in str((hook.get("metadata") or {}).get("cmd", "")) for hook in kept)
    if options.mesh_provider == "contour":
        documents.append(_root_proxy(options.host))
    return Adapted(yaml.safe_dump_all(documents, sort_keys=False), not loads)


def _service(service: dict[str, Any], options: Options, gateway: str) -> None:
    service.setdefault("hosts", [options.host])
    namespace, _, name = gateway.partition("/")
    if options.mesh_provider == "istio" and gateway:
        service.setdefault("gateways", [gateway])
    elif options.mesh_provider == "gatewayapi:v1":
        service.setdefault("gatewayRefs", [{"name": name, "namespace": namespace}])


def _host(hook: Mapping[str, Any]) -> str:
    return urlsplit(str(hook.get("url", ""))).hostname or ""


def _root_proxy(host: str) -> dict[str, Any]:
    """Contour answers for a host only with a root HTTPProxy, which includes the generated one."""
    include = {"name": APP, "namespace": HOME, "conditions": [{"prefix": "/"}]}
    return {
        "apiVersion": "projectcontour.io/v1",
        "kind": "HTTPProxy",
        "metadata": {"name": f"{APP}-users", "namespace": HOME},
        "spec": {"virtualhost": {"fqdn": host}, "includes": [include]},
    }
