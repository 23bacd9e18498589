"""Which commit a workload was delivered from: asked when a run begins, because by its end the repository has moved on.

The workload may say so itself (an annotation); else whoever delivers it does: Flux's labels lead to a Kustomization or a HelmRelease, Argo CD's tracking to an
Application. Read past the cache, once a run: to watch the deliverers of a whole cluster for that was rejected. What cannot be read, or is not
installed, or not allowed, is not known; a run never waits for this.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Collection, Mapping
from typing import Any

from canary.api.canaryrun import SourceInfo
from canary.core.errors import CanaryError
from canary.gitops.deliverers import HELM_RELEASES, KUSTOMIZATIONS, Deliverer, deliverer_of, owner_of
from canary.gitops.forges.address import same_repository
from canary.kube.cluster import Cluster
from canary.kube.resource import Object, Resource

log = logging.getLogger(__name__)

ANNOTATION = "canary.dev/source-revision"
GIT_REPOSITORIES = Resource("source.toolkit.fluxcd.io", "v1", "gitrepositories", "GitRepository")
_OID = re.compile(r"(?:^|[@:/])([0-9a-f]{64}|[0-9a-f]{40})$")


async def source_of(cluster: Cluster, workload: Object, *, repositories: Collection[str] = ()) -> SourceInfo | None:
    """The commit; None when nobody says. Never raises for what the cluster answers.

    `repositories`: URLs of those that somebody writes to. Of an Application with several sources, the one that is such a repository counts.
    """
    meta = workload.get("metadata") or {}
    if revision := oid((meta.get("annotations") or {}).get(ANNOTATION, "")):
        return SourceInfo(revision=revision, via="annotation")
    engine = deliverer_of(workload)
    try:
        if engine is None:
            return None
        body = await cluster.read(engine.resource, engine.namespace, engine.name)
        if engine.resource == KUSTOMIZATIONS:
            return await _kustomization(cluster, engine, body, via="Kustomization")
        return await _helm_release(cluster, body) if engine.resource == HELM_RELEASES else _application(body, repositories)
    except CanaryError as error:
        log.info("the commit of %s/%s is not known: %s", meta.get("namespace"), meta.get("name"), error)
        return None


def oid(text: Any) -> str:
    """The commit in `main@sha1:<id>`, `main/<id>` or a bare id; empty for anything else."""
    found = _OID.search(text.strip().lower()) if isinstance(text, str) else None
    return found[1] if found else ""


async def _kustomization(cluster: Cluster, engine: Deliverer, body: Object, *, via: str) -> SourceInfo | None:
    status = body.get("status") or {}
    # Flux calls a revision applied only when all of it is healthy; the workload changes, and the run begins, while it is being attempted.
    revision = oid(status.get("lastAttemptedRevision")) or oid(status.get("lastAppliedRevision"))
    ref = (body.get("spec") or {}).get("sourceRef") or {}
    if ref.get("kind") != "GitRepository":  # of an OCI artifact Flux keeps the commit apart, when it knows it
        revision = oid(status.get("lastAppliedOriginRevision"))
        return SourceInfo(revision=revision, via=via) if revision else None
    if not revision:
        return None
    return SourceInfo(revision=revision, repository=await _repository(cluster, ref, engine.namespace), via=via)


async def _repository(cluster: Cluster, ref: Mapping[str, Any], namespace: str) -> str:
    try:
        body = await cluster.read(GIT_REPOSITORIES, ref.get("namespace") or namespace, str(ref.get("name")))
    except CanaryError:
        return ""
    return str((body.get("spec") or {}).get("url") or "")


async def _helm_release(cluster: Cluster, release: Object) -> SourceInfo | None:
    """By way of the Kustomization that delivered the HelmRelease: the chart has revisions of its own, which are no commits."""
    owner = owner_of(release)
    if owner is None:
        return None
    return await _kustomization(cluster, owner, await cluster.read(owner.resource, owner.namespace, owner.name), via="HelmRelease")


def _application(body: Object, repositories: Collection[str]) -> SourceInfo | None:
    status, spec = body.get("status") or {}, body.get("spec") or {}
    sources = spec.get("sources") or [spec.get("source") or {}]
    operation = ((status.get("operationState") or {}).get("syncResult")) or {}
    for result in (operation, status.get("sync") or {}):  # the sync under way, as with Flux
        found = []
        for number, text in enumerate(result.get("revisions") or [result.get("revision")]):
            if revision := oid(text):
                url = str((sources[number] if number < len(sources) else {}).get("repoURL") or "")
                found.append(SourceInfo(revision=revision, repository=url, via="Application"))
        if found:
            return next((one for one in found if any(same_repository(one.repository, url) for url in repositories)), found[0])
    return None
