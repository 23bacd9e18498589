"""Which commit a workload was delivered from: asked when a run begins, because by its end the repository has moved on.

The workload may say so itself (an annotation); else whoever delivers it does: Flux's labels lead to a Kustomization or a HelmRelease, Argo CD's tracking to an
Application. Read past the cache, once a run: to watch the deliverers of a whole cluster for that was rejected. What cannot be read, or is not
installed, or not allowed, is not known; a run never waits for this.

An engine always names its last revision, also when somebody else has changed the workload (`kubectl set image`, a script). So what it says has high
confidence only where the API server notes that it was the last to write the pod template. The engine's own list of what it has applied was rejected for that:
the object is in it, whoever changed it since. Where nobody knows, the outbox looks into the repository (`search`).
"""

from __future__ import annotations

import logging
import posixpath
import re
from collections.abc import Collection, Mapping
from typing import Any

from canary.api.canaryrun import SourceConfidence, SourceInfo
from canary.core.delivery import SHORT
from canary.core.errors import CanaryError
from canary.gitops.deliverers import HELM_RELEASES, KUSTOMIZATIONS, Deliverer, deliverer_of, owner_of, wrote_last
from canary.gitops.forges.address import same_repository
from canary.kube.cluster import Cluster
from canary.kube.resource import Object, Resource

log = logging.getLogger(__name__)

ANNOTATION = "canary.dev/source-revision"
GIT_REPOSITORIES = Resource("source.toolkit.fluxcd.io", "v1", "gitrepositories", "GitRepository")
_OID = re.compile(r"(?:^|[@:/])([0-9a-f]{64}|[0-9a-f]{40})$")
_EXACT = re.compile(r"v?\d+\.\d+\.\d+(?:[-+][-+.0-9A-Za-z]+)?")
"""A version that only one chart has; any other is a range, in which a newer chart may come without a commit."""


async def source_of(cluster: Cluster, resource: Resource, workload: Object, *, repositories: Collection[str] = ()) -> SourceInfo | None:
    """The commit, and how sure it is; None when nobody says. Never raises for what the cluster answers.

    `resource`: what the workload is. `repositories`: URLs of those that somebody writes to. Of an Application with several sources, the one that is such a
    repository counts.
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
            found = await _kustomization(cluster, engine, body)
        else:
            found = await _helm_release(cluster, body) if engine.resource == HELM_RELEASES else _application(body, workload, repositories)
    except CanaryError as error:
        log.info("the commit of %s/%s is not known: %s", meta.get("namespace"), meta.get("name"), error)
        return None
    if found is None or found.confidence is SourceConfidence.LOW or await _set_by(engine, cluster, resource, workload):
        return found
    return found.model_copy(update={"confidence": SourceConfidence.LOW})


def oid(text: Any) -> str:
    """The commit in `main@sha1:<id>`, `main/<id>` or a bare id; empty for anything else."""
    found = _OID.search(text.strip().lower()) if isinstance(text, str) else None
    return found[1] if found else ""


def charted(text: Any) -> str:
    """The beginning of the commit in the version of a chart that comes from Git; empty when it carries none."""
    commit = str(text or "").partition("+")[2].partition(".")[0]  # Helm may append a number of its own
    return commit if len(commit) >= SHORT else ""


async def _set_by(engine: Deliverer, cluster: Cluster, resource: Resource, workload: Object) -> bool:
    """Whether the engine has made the workload what it was when the run began. The cache does not keep who wrote what."""
    meta = workload.get("metadata") or {}
    try:
        live = await cluster.read(resource, str(meta.get("namespace")), str(meta.get("name")))
    except CanaryError:
        return False
    # another template by now: what the engine says is about that one
    same = (live.get("spec") or {}).get("template") == (workload.get("spec") or {}).get("template")
    return same and wrote_last(live, engine)


async def _kustomization(cluster: Cluster, engine: Deliverer, body: Object, *, via: str = "Kustomization") -> SourceInfo | None:
    spec, status = body.get("spec") or {}, body.get("status") or {}
    attempted, applied = status.get("lastAttemptedRevision"), status.get("lastAppliedRevision")
    ref, path = spec.get("sourceRef") or {}, _path(spec.get("path"))
    if ref.get("kind") != "GitRepository":
        # of an OCI artifact Flux keeps the commit apart, when it knows it, and only that of the last one that is applied
        revision = oid(status.get("lastAppliedOriginRevision"))
        confidence = _sure(attempted is None or attempted == applied)
        return SourceInfo(revision=revision, path=path, via=via, confidence=confidence) if revision else None
    # Flux calls a revision applied only when all of it is healthy; the workload changes, and the run begins, while it is being attempted.
    revision = oid(attempted) or oid(applied)
    if not revision:
        return None
    source = await _repository(cluster, ref, engine.namespace)
    return SourceInfo(revision=revision, repository=_url(source), path=path, via=via)


async def _repository(cluster: Cluster, ref: Mapping[str, Any], namespace: str) -> Object:
    try:
        return await cluster.read(GIT_REPOSITORIES, ref.get("namespace") or namespace, str(ref.get("name")))
    except CanaryError:
        return {}


async def _helm_release(cluster: Cluster, release: Object) -> SourceInfo | None:
    """By way of the Kustomization that delivered the HelmRelease: the chart has revisions of its own, which are mostly no commits."""
    chart = ((release.get("spec") or {}).get("chart") or {}).get("spec") or {}
    in_git = (chart.get("sourceRef") or {}).get("kind") == "GitRepository"
    owner = owner_of(release)
    if owner is None:
        return await _chart(cluster, release, chart) if in_git else None
    body = await cluster.read(owner.resource, owner.namespace, owner.name)
    found = await _kustomization(cluster, owner, body, via="HelmRelease")
    if in_git:
        with_it = _place(chart, release) == _place(body.get("spec") or {}, body)
    else:
        with_it = _EXACT.fullmatch(str(chart.get("version") or "")) is not None
    return found if found is None or with_it else found.model_copy(update={"confidence": SourceConfidence.LOW})


def _place(spec: Mapping[str, Any], body: Object) -> tuple[str, str]:
    """Namespace and name of the source that the spec of this object refers to."""
    ref = spec.get("sourceRef") or {}
    return str(ref.get("namespace") or (body.get("metadata") or {}).get("namespace") or ""), str(ref.get("name") or "")


async def _chart(cluster: Cluster, release: Object, chart: Mapping[str, Any]) -> SourceInfo | None:
    """The commit that the version of the chart carries. It is cut short there; the GitRepository has all of it, if it has not fetched another one."""
    history = (release.get("status") or {}).get("history") or [{}]
    short = charted(history[0].get("chartVersion"))
    source = await _repository(cluster, chart["sourceRef"], str((release.get("metadata") or {}).get("namespace") or ""))
    revision = oid(((source.get("status") or {}).get("artifact") or {}).get("revision"))
    if not short or not revision.startswith(short):
        return None
    return SourceInfo(revision=revision, repository=_url(source), path=_path(chart.get("chart")), via="HelmRelease")


def _application(body: Object, workload: Object, repositories: Collection[str]) -> SourceInfo | None:
    status, spec = body.get("status") or {}, body.get("spec") or {}
    sources = spec.get("sources") or [spec.get("source") or {}]
    operation = ((status.get("operationState") or {}).get("syncResult")) or {}
    # the sync under way, as with Flux; what it was only compared with has changed nothing
    for result, confidence in ((operation, _sure(_synced(operation, workload))), (status.get("sync") or {}, SourceConfidence.LOW)):
        found = []
        for number, text in enumerate(result.get("revisions") or [result.get("revision")]):
            if revision := oid(text):
                of = sources[number] if number < len(sources) else {}
                url, path = str(of.get("repoURL") or ""), _path(of.get("path"))
                found.append(SourceInfo(revision=revision, repository=url, path=path, via="Application", confidence=confidence))
        if found:
            return next((one for one in found if any(same_repository(one.repository, url) for url in repositories)), found[0])
    return None


def _synced(operation: Mapping[str, Any], workload: Object) -> bool:
    """Whether the sync was about the workload, too: a person may have synced some of the objects."""
    meta = workload.get("metadata") or {}
    mine = (workload.get("kind"), meta.get("namespace"), meta.get("name"))
    resources = operation.get("resources")
    return resources is None or any((one.get("kind"), one.get("namespace"), one.get("name")) == mine for one in resources)


def _sure(sure: bool) -> SourceConfidence:
    return SourceConfidence.HIGH if sure else SourceConfidence.LOW


def _url(source: Object) -> str:
    return str((source.get("spec") or {}).get("url") or "")


def _path(text: Any) -> str:
    """A folder of a repository, without what says only where that begins; empty for all of it."""
    return posixpath.normpath(f"/{text or ''}").strip("/.")
