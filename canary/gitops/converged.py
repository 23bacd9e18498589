"""What the rule about convergence needs to know: what the outbox says of the last revert, and what the engine says that it has applied.

The engine is read past the cache, at most two objects, and only while a revert is on its way; at rest nobody is asked.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

from canary.api.canaryrun import EffectState, RunPhase
from canary.core.delivery import Delivery, WriteBack, Written
from canary.core.errors import CanaryError
from canary.gitops.deliverers import APPLICATIONS, HELM_RELEASES, deliverer_of, owner_of
from canary.gitops.provenance import GIT_REPOSITORIES, charted, oid
from canary.gitops.wanted import PROPOSAL, REVERT
from canary.kube.cluster import Cluster
from canary.kube.resource import Object

_SILENT = {"NotWanted", "Superseded"}
"""Why a revert was skipped without leaving anything for a person: nobody asked for it, or somebody had moved on."""


def write_back(run: Object, workload: Object) -> WriteBack | None:
    """The revert of a failed run; None when nobody delivers the workload, or no sink reverts."""
    engine, status = deliverer_of(workload), run.get("status") or {}
    if engine is None or status.get("phase") != RunPhase.FAILED:
        return None
    ended = _seconds(status.get("finishedAt")) or 0.0
    failed = oid(((run.get("spec") or {}).get("source") or {}).get("revision"))
    found = sorted(_reverts(str(engine), status, ended, failed), key=lambda one: _ORDER.index(one.state))
    return found[0] if found else None


_ORDER = (Written.DONE, Written.OPEN, Written.LEFT)
"""Of several sinks the one that has done it counts, then one that may yet."""


def _reverts(by: str, status: Mapping[str, Any], ended: float, failed: str) -> Iterator[WriteBack]:
    for effect in status.get("effects") or ():
        kind, state = str(effect.get("name") or "").partition("/")[0], effect.get("state")
        reason, text = str(effect.get("reason") or ""), str(effect.get("error") or "")
        if kind not in {REVERT, PROPOSAL} or (reason in _SILENT and state == EffectState.SKIPPED):
            continue
        if state == EffectState.DONE:
            yield WriteBack(by, Written.DONE, ended, _seconds(effect.get("doneAt")), commit=oid(effect.get("ref")), failed=failed)
        elif state == EffectState.SKIPPED:
            there = reason == "AlreadyReverted"
            yield WriteBack(by, Written.DONE if there else Written.LEFT, ended, failed=failed, reason=reason, text=text)
        else:
            text = str(effect.get("ref") or "") if reason == "PullRequest" else text
            yield WriteBack(by, Written.OPEN, ended, failed=failed, reason=reason, text=text)


async def delivery_of(cluster: Cluster, workload: Object) -> Delivery:
    """What the workload's engine says. Never raises for what the cluster answers."""
    engine = deliverer_of(workload)
    if engine is None:
        return Delivery(error="nobody delivers the workload any more")
    try:
        body = await cluster.read(engine.resource, engine.namespace, engine.name)
        if engine.resource == APPLICATIONS:
            return _application(body)
        return await (_helm_release(cluster, body) if engine.resource == HELM_RELEASES else _kustomization(cluster, body))
    except CanaryError as error:
        return Delivery(error=error.message)


async def _kustomization(cluster: Cluster, body: Object) -> Delivery:
    spec, status = body.get("spec") or {}, body.get("status") or {}
    ref = spec.get("sourceRef") or {}
    git = ref.get("kind") == "GitRepository"  # of an OCI artifact Flux keeps the commit apart, when it knows it
    applied = oid(status.get("lastAppliedRevision" if git else "lastAppliedOriginRevision"))
    attempted = oid(status.get("lastAttemptedRevision")) if git else applied
    fetched = await _fetched(cluster, ref, body, applied) if git else None
    return _flux(body, applied, attempted or applied, fetched)


async def _helm_release(cluster: Cluster, body: Object) -> Delivery:
    """A chart of the same repository carries its commit in its version; of another chart the Kustomization speaks that delivers the HelmRelease."""
    meta, status = body.get("metadata") or {}, body.get("status") or {}
    ref = (((body.get("spec") or {}).get("chart") or {}).get("spec") or {}).get("sourceRef") or {}
    commit = _charted(status) if ref.get("kind") == "GitRepository" else ""
    owner = owner_of(body)
    above = await cluster.read(owner.resource, owner.namespace, owner.name) if owner is not None else None
    if commit and (above is None or _place(ref, body) == _place((above.get("spec") or {}).get("sourceRef") or {}, above)):
        return _flux(body, commit, commit, await _fetched(cluster, ref, body, commit))
    if above is None:
        return _flux(body, "", "", None)
    said = await _kustomization(cluster, above)
    # what the Kustomization has applied is the HelmRelease; whether Helm has followed, that one says
    behind = _ready(status).get("status") != "True" or status.get("observedGeneration", 0) < meta.get("generation", 0)
    own = _flux(body, "" if behind else said.applied, said.attempted, said.fetched)
    return own if own.trouble or not said.trouble else said


def _charted(status: Mapping[str, Any]) -> str:
    """The beginning of the commit in the version of the chart that is installed; empty when it carries none."""
    for release in status.get("history") or ():
        if release.get("status") == "deployed":
            return charted(release.get("chartVersion"))
    return ""


def _flux(body: Object, applied: str, attempted: str, fetched: float | None) -> Delivery:
    if (body.get("spec") or {}).get("suspend"):
        return Delivery(applied, attempted, fetched, trouble="spec.suspend is set", suspended=True)
    ready = _ready(body.get("status") or {})
    trouble = str(ready.get("message") or ready.get("reason") or "it is not ready") if ready.get("status") == "False" else ""
    return Delivery(applied, attempted, fetched, trouble=_line(trouble))


def _ready(status: Mapping[str, Any]) -> Mapping[str, Any]:
    return next((one for one in status.get("conditions") or () if one.get("type") == "Ready"), {})


async def _fetched(cluster: Cluster, ref: Mapping[str, Any], body: Object, applied: str) -> float | None:
    """When the source fetched this commit, if it has nothing newer."""
    namespace, name = _place(ref, body)
    try:
        source = await cluster.read(GIT_REPOSITORIES, namespace, name)
    except CanaryError:
        return None
    artifact = (source.get("status") or {}).get("artifact") or {}
    newest = oid(artifact.get("revision"))
    return _seconds(artifact.get("lastUpdateTime")) if applied and newest.startswith(applied) else None


def _place(ref: Mapping[str, Any], body: Object) -> tuple[str, str]:
    return str(ref.get("namespace") or (body.get("metadata") or {}).get("namespace") or ""), str(ref.get("name") or "")


def _application(body: Object) -> Delivery:
    """Synced says that the cluster is as the repository was when they were compared."""
    spec, status = body.get("spec") or {}, body.get("status") or {}
    sync, operation = status.get("sync") or {}, status.get("operationState") or {}
    compared, tried = _commit(sync), _commit(operation.get("syncResult") or {})
    if sync.get("status") == "Synced":
        return Delivery(compared, tried or compared, _seconds(status.get("reconciledAt")))
    trouble = str(operation.get("message") or operation.get("phase")) if operation.get("phase") in {"Failed", "Error"} else ""
    automated = (spec.get("syncPolicy") or {}).get("automated")
    if not trouble and (automated is None or automated.get("enabled") is False):
        return Delivery("", tried, trouble="it is not synced automatically: sync it", suspended=True)
    return Delivery("", tried, trouble=_line(trouble))


def _commit(said: Mapping[str, Any]) -> str:
    revisions = said.get("revisions") or [said.get("revision")]
    return next((commit for text in revisions if (commit := oid(text))), "")


def _seconds(text: Any) -> float | None:
    try:
        return datetime.fromisoformat(text).timestamp()
    except (TypeError, ValueError):
        return None


def _line(text: str) -> str:
    return " ".join(text.split())[:300]
