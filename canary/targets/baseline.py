"""The fresh baseline: the primary once more, begun with the canary and as large (`analysis.baseline: fresh`).

Its pod template is the primary's as it is, so it is the old version with the old version's configs; only the label that tells copies apart is its
own. It says for which run it was made, because one of an earlier run is of another age and perhaps of another version. It has no autoscaler: it
follows the target, and is compared with it only as long as both are as large.

Rejected: to make it from the target's former template (nobody keeps that), and to patch one that is there (its pods would be of two ages).
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from typing import Any

from canary.api.annotations import RUN
from canary.api.canary import Canary
from canary.core.baseline import TAKEN
from canary.core.errors import Conflict, NotFound, Rejected
from canary.core.model import Readiness, Unknown, Workload
from canary.core.release import Release
from canary.kube.cluster import Cluster
from canary.kube.resource import DEPLOYMENTS, SERVICES, Object, Resource
from canary.targets.objects import annotations_of, clone, labels_of, of_canary, owned, owned_head
from canary.targets.pod_template import to_baseline
from canary.targets.primary import COPIED_FIELDS, naming_of, replicas_of
from canary.targets.readiness import deployment_readiness

_HINT = "delete or rename it, or set analysis.baseline to primary"


def observe(cluster: Cluster, canary: Canary, *, now: float) -> tuple[Workload | Unknown | None, bool]:
    """The fresh baseline, and whether anything of it is ours. Without its Service nobody reaches it, so it does not count as serving."""
    spec, namespace = canary.spec, canary.metadata.namespace
    deployment = cluster.get(DEPLOYMENTS, namespace, spec.baseline_name)
    service = cluster.get(SERVICES, namespace, spec.apex_baseline_name)
    there = [(resource, obj) for resource, obj in ((DEPLOYMENTS, deployment), (SERVICES, service)) if obj is not None]
    foreign = [_taken(resource, obj) for resource, obj in there if not of_canary(obj, canary.metadata.name)]
    left = len(there) > len(foreign)
    if foreign:
        return Unknown(TAKEN, f"{foreign[0]}; {_HINT}"), left
    if deployment is None:
        return None, left
    ready = deployment_readiness(deployment, threshold=spec.analysis.canary_ready_percent, deadline=spec.progress_deadline, now=now)
    if service is None and ready[0] is Readiness.READY:
        ready = Readiness.WAITING, f"service {spec.apex_baseline_name} is not there yet"
    return _workload(deployment, ready, reached=service is not None), left


async def ensure(cluster: Cluster, release: Release, *, run_id: str, replicas: int) -> None:
    """Make the Deployment for this run, if there is none, and keep its number of pods. One of another run is left alone: it must go first.

    Raises Rejected when it is not ours, Conflict without a primary to make it from.
    """
    live = cluster.get(DEPLOYMENTS, release.namespace, release.baseline)
    if live is None:
        primary = cluster.get(DEPLOYMENTS, release.namespace, release.primary)
        if primary is None:
            raise Conflict(f"deployment {release.primary}.{release.namespace} is gone: there is nothing to make a fresh baseline from")
        await cluster.create(DEPLOYMENTS, new_baseline(release, primary, run_id=run_id, replicas=replicas))
    elif not owned(release, live):
        raise Rejected(_taken(DEPLOYMENTS, live), hint=_HINT)
    elif annotations_of(live).get(RUN) == run_id and replicas_of(live) != replicas:
        await cluster.merge(DEPLOYMENTS, release.namespace, release.baseline, {"spec": {"replicas": replicas}})


async def remove(cluster: Cluster, release: Release) -> None:
    """Delete what is ours: first the Deployment, and when that is gone the Service.

    Nobody is routed there any more, but a proxy may be late. Pods that are told to stop finish their requests and leave the Service's endpoints
    meanwhile, while a Service that is gone takes those from under them at once. Routes may name it until its Deployment is gone, so that they need
    a tick in between. A crash there leaves what costs nothing.
    """
    for resource, name in ((DEPLOYMENTS, release.baseline), (SERVICES, release.apex_baseline)):
        live = cluster.get(resource, release.namespace, name)
        if live is None or not owned(release, live):
            continue
        if not live["metadata"].get("deletionTimestamp"):
            with contextlib.suppress(NotFound):  # gone already, and the cache does not know it yet
                await cluster.delete(resource, release.namespace, name, uid=live["metadata"].get("uid", ""))
        return


def new_baseline(release: Release, primary: Object, *, run_id: str, replicas: int) -> Object:
    """The Deployment as it is made from the primary."""
    naming = naming_of(release)
    labels = {**labels_of(primary), naming.label: naming.baseline_value}
    head = DEPLOYMENTS.head(release.namespace, release.baseline)
    body = owned_head(release, head, labels=labels, annotations={RUN: run_id})
    body["spec"] = {
        **{field: clone(primary["spec"][field]) for field in COPIED_FIELDS if field in primary["spec"]},
        "replicas": replicas,
        "selector": {"matchLabels": {naming.label: naming.baseline_value}},
        "template": to_baseline(primary["spec"]["template"], naming),
    }
    return body


def _workload(deployment: Mapping[str, Any], ready: tuple[Readiness, str], *, reached: bool) -> Workload:
    available = (deployment.get("status") or {}).get("availableReplicas") or 0
    return Workload(
        name=deployment["metadata"]["name"],
        revision=annotations_of(deployment).get(RUN, ""),
        replicas=replicas_of(deployment),
        ready_replicas=available if reached else 0,
        readiness=ready[0],
        message=ready[1],
    )


def _taken(resource: Resource, obj: Mapping[str, Any]) -> str:
    meta = obj["metadata"]
    return f"{resource.kind} {meta['name']}.{meta['namespace']} exists already and is not ours"
