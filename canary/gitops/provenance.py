"""Which commit a workload was delivered from: asked when a run begins, because by its end the repository has moved on.

The workload may say so itself (an annotation); else whoever delivers it does: Flux's labels lead to a Kustomization or a HelmRelease, Argo CD's tracking to an
Application. Read past the cache, once a run: to watch the deliverers of a whole cluster for that was rejected. What cannot be read, or is not
installed, or not allowed, is not known; a run never waits for this.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from typing import Any

from canary.api.canaryrun import SourceInfo
from canary.core.errors import CanaryError
from canary.kube.cluster import Cluster
from canary.kube.resource import Object, Resource

log = logging.getLogger(__name__)

ANNOTATION = "canary.dev/source-revision"
KUSTOMIZATIONS = Resource("kustomize.toolkit.fluxcd.io", "v1", "kustomizations", "Kustomization")
HELM_RELEASES = Resource("helm.toolkit.fluxcd.io", "v2", "helmreleases", "HelmRelease")
GIT_REPOSITORIES = Resource("source.toolkit.fluxcd.io", "v1", "gitrepositories", "GitRepository")
APPLICATIONS = Resource("argoproj.io", "v1alpha1", "applications", "Application")
ARGO_NAMESPACE = "argocd"
_OID = re.compile(r"(?:^|[@:/])([0-9a-f]{64}|[0-9a-f]{40})$")


async def source_of(cluster: Cluster, workload: Object) -> SourceInfo | None:
    """The commit; None when nobody says. Never raises for what the cluster answers."""
    meta = workload.get("metadata") or {}
    labels, annotations = meta.get("labels") or {}, meta.get("annotations") or {}
    if revision := oid(annotations.get(ANNOTATION, "")):
        return SourceInfo(revision=revision, via="annotation")
    try:
        return (
            await _kustomization(cluster, labels, via="Kustomization")
            or await _helm_release(cluster, labels)
            or await _application(cluster, workload, labels, annotations)
        )
    except CanaryError as error:
        log.info("the commit of %s/%s is not known: %s", meta.get("namespace"), meta.get("name"), error)
        return None


def oid(text: Any) -> str:
    """The commit in `main@sha1:<id>`, `main/<id>` or a bare id; empty for anything else."""
    found = _OID.search(text.strip().lower()) if isinstance(text, str) else None
    return found[1] if found else ""


async def _kustomization(cluster: Cluster, labels: Mapping[str, str], *, via: str) -> SourceInfo | None:
    group = KUSTOMIZATIONS.group
    name, namespace = labels.get(f"{group}/name"), labels.get(f"{group}/namespace")
    if not name or not namespace:
        return None
    body = await cluster.read(KUSTOMIZATIONS, namespace, name)
    status = body.get("status") or {}
    # Flux calls a revision applied only when all of it is healthy; the workload changes, and the run begins, while it is being attempted.
    revision = oid(status.get("lastAttemptedRevision")) or oid(status.get("lastAppliedRevision"))
    ref = (body.get("spec") or {}).get("sourceRef") or {}
    if ref.get("kind") != "GitRepository":  # of an OCI artifact Flux keeps the commit apart, when it knows it
        revision = oid(status.get("lastAppliedOriginRevision"))
        return SourceInfo(revision=revision, via=via) if revision else None
    if not revision:
        return None
    return SourceInfo(revision=revision, repository=await _repository(cluster, ref, namespace), via=via)


async def _repository(cluster: Cluster, ref: Mapping[str, Any], namespace: str) -> str:
    try:
        body = await cluster.read(GIT_REPOSITORIES, ref.get("namespace") or namespace, str(ref.get("name")))
    except CanaryError:
        return ""
    return str((body.get("spec") or {}).get("url") or "")


async def _helm_release(cluster: Cluster, labels: Mapping[str, str]) -> SourceInfo | None:
    """By way of the Kustomization that delivered the HelmRelease: the chart has revisions of its own, which are no commits."""
    group = HELM_RELEASES.group
    name, namespace = labels.get(f"{group}/name"), labels.get(f"{group}/namespace")
    if not name or not namespace:
        return None
    body = await cluster.read(HELM_RELEASES, namespace, name)
    return await _kustomization(cluster, (body.get("metadata") or {}).get("labels") or {}, via="HelmRelease")


async def _application(cluster: Cluster, workload: Object, labels: Mapping[str, str], annotations: Mapping[str, str]) -> SourceInfo | None:
    meta = workload.get("metadata") or {}
    tracking = annotations.get("argocd.argoproj.io/tracking-id", "")
    name, _, rest = tracking.partition(":")
    if tracking and not rest.endswith(f":{meta.get('namespace')}/{meta.get('name')}"):  # copied along with the rest of the manifest
        name = ""
    name = name or ("" if tracking else labels.get("argocd.argoproj.io/instance", ""))
    if not name:
        return None
    namespace, _, plain = name.rpartition("_")
    body = await cluster.read(APPLICATIONS, namespace or ARGO_NAMESPACE, plain)
    status, spec = body.get("status") or {}, body.get("spec") or {}
    sources = spec.get("sources") or [spec.get("source") or {}]
    operation = ((status.get("operationState") or {}).get("syncResult")) or {}
    for result in (operation, status.get("sync") or {}):  # the sync under way, as with Flux
        for number, text in enumerate(result.get("revisions") or [result.get("revision")]):
            if revision := oid(text):
                url = str((sources[number] if number < len(sources) else {}).get("repoURL") or "")
                return SourceInfo(revision=revision, repository=url, via="Application")
    return None
