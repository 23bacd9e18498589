"""Who delivers a workload: Flux or Argo CD, as the marks say that they leave on what they apply. And which of its fields such an engine insists on.

The marks are in the workload, which is watched anyway, so knowing the engine costs no request. Who set which field is not kept in the cache:
`insists_on_replicas` and `wrote_last` want the object as the API server has it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from canary.kube.cluster import FIELD_MANAGER
from canary.kube.resource import Object, Resource

KUSTOMIZATIONS = Resource("kustomize.toolkit.fluxcd.io", "v1", "kustomizations", "Kustomization")
HELM_RELEASES = Resource("helm.toolkit.fluxcd.io", "v2", "helmreleases", "HelmRelease")
APPLICATIONS = Resource("argoproj.io", "v1alpha1", "applications", "Application")
ARGO_NAMESPACE = "argocd"
_MANAGERS = {KUSTOMIZATIONS: "kustomize-controller", HELM_RELEASES: "helm-controller", APPLICATIONS: "argocd"}
"""How the names begin by which the API server knows the engines."""


@dataclass(frozen=True, slots=True)
class Deliverer:
    """The object of the engine that applies a workload."""

    resource: Resource
    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.resource.kind} {self.namespace}/{self.name}"


def deliverer_of(workload: Object) -> Deliverer | None:
    """Whoever left a mark on the workload; None when nobody did."""
    meta = workload.get("metadata") or {}
    labels = meta.get("labels") or {}
    return _flux(labels, KUSTOMIZATIONS) or _flux(labels, HELM_RELEASES) or _argo(meta, labels)


def owner_of(release: Object) -> Deliverer | None:
    """The Kustomization that delivered a HelmRelease."""
    return _flux((release.get("metadata") or {}).get("labels") or {}, KUSTOMIZATIONS)


def _flux(labels: Mapping[str, str], resource: Resource) -> Deliverer | None:
    name, namespace = labels.get(f"{resource.group}/name"), labels.get(f"{resource.group}/namespace")
    return Deliverer(resource, namespace, name) if name and namespace else None


def _argo(meta: Mapping[str, Any], labels: Mapping[str, str]) -> Deliverer | None:
    tracking = (meta.get("annotations") or {}).get("argocd.argoproj.io/tracking-id", "")
    name, _, rest = tracking.partition(":")
    if tracking and not rest.endswith(f":{meta.get('namespace')}/{meta.get('name')}"):  # copied along with the rest of the manifest
        name = ""
    name = name or ("" if tracking else labels.get("argocd.argoproj.io/instance", ""))
    if not name:
        return None
    namespace, _, plain = name.rpartition("_")
    return Deliverer(APPLICATIONS, namespace or ARGO_NAMESPACE, plain)


def insists_on_replicas(workload: Object) -> str:
    """The engine that set `spec.replicas` last, with its object; empty when that was somebody else, or nobody delivers the workload.

    The API server notes who set a field. An autoscaler and `kubectl scale` write the subresource `scale`, and a person has other tools than an engine.
    """
    engine = deliverer_of(workload)
    if engine is None:
        return ""
    for entry in (workload.get("metadata") or {}).get("managedFields") or ():
        manager = str(entry.get("manager") or "")
        if entry.get("subresource") or manager == FIELD_MANAGER or manager.startswith("kubectl"):
            continue
        if "f:replicas" in ((entry.get("fieldsV1") or {}).get("f:spec") or {}):
            return f"{manager} ({engine})"
    return ""


def wrote_last(workload: Object, engine: Deliverer) -> bool:
    """Whether the engine was the last to change the pod template; the whole spec of a workload that has none.

    The times are whole seconds, so that of two in the same one nobody can say. Where nothing is noted it is not known, and so not true.
    """
    spec = workload.get("spec") or {}
    writers: list[tuple[str, str]] = []
    for entry in (workload.get("metadata") or {}).get("managedFields") or ():
        manager, owned = str(entry.get("manager") or ""), ((entry.get("fieldsV1") or {}).get("f:spec") or {})
        if not entry.get("subresource") and manager != FIELD_MANAGER and ("f:template" in owned or (owned and "template" not in spec)):
            writers.append((str(entry.get("time") or ""), manager))
    newest = max((at for at, _ in writers), default="")
    return bool(writers) and all(manager.startswith(_MANAGERS[engine.resource]) for at, manager in writers if at == newest)
