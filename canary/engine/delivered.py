"""What a snapshot says about whoever delivers the target: from the watch cache, so that a canary at rest costs no request."""

from __future__ import annotations

from canary.api.canary import Canary
from canary.api.status import Phase
from canary.core.delivery import Replicas, WriteBack
from canary.core.errors import CanaryError
from canary.gitops.converged import write_back
from canary.gitops.deliverers import deliverer_of, insists_on_replicas
from canary.kube.cluster import Cluster
from canary.kube.resource import CANARY_RUNS, Object, Resource
from canary.targets.base import Target

RESTING = frozenset({Phase.INITIALIZED, Phase.SUCCEEDED, Phase.FAILED})


def target_of(cluster: Cluster, canary: Canary, target: Target) -> Object | None:
    """The target's object."""
    resource = resource_of(canary, target)
    return cluster.get(resource, canary.metadata.namespace, canary.spec.target_ref.name) if resource else None


def delivered(cluster: Cluster, canary: Canary, target: Target) -> tuple[WriteBack | None, bool]:
    """`Snapshot.write_back` and `Snapshot.delivered`."""
    if canary.status.phase not in RESTING or (workload := target_of(cluster, canary, target)) is None:
        return None, False
    run = canary.status.run
    body = cluster.get(CANARY_RUNS, canary.metadata.namespace, run.id) if run and canary.status.phase is Phase.FAILED else None
    return write_back(body, workload) if body else None, deliverer_of(workload) is not None


async def replicas_by(cluster: Cluster, canary: Canary, target: Target) -> Replicas:
    """Who set the target's replicas last, read past the cache, which leaves out who owns which field."""
    resource = resource_of(canary, target)
    if resource is None:
        return Replicas("")
    try:
        return Replicas(insists_on_replicas(await cluster.read(resource, canary.metadata.namespace, canary.spec.target_ref.name)))
    except CanaryError:
        return Replicas(None)


def resource_of(canary: Canary, target: Target) -> Resource | None:
    """What the target is to the API; None when its kind is not known here."""
    return next((one for one in target.resources() if one.kind == canary.spec.target_ref.kind), None)
