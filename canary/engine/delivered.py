"""What a snapshot says about whoever delivers the target: from the watch cache, so that a canary at rest costs no request."""

from __future__ import annotations

from canary.api.canary import Canary
from canary.api.status import Phase
from canary.core.delivery import WriteBack
from canary.gitops.converged import write_back
from canary.gitops.deliverers import insists_on_replicas
from canary.kube.cluster import Cluster
from canary.kube.resource import CANARY_RUNS, Object
from canary.targets.base import Target

RESTING = frozenset({Phase.INITIALIZED, Phase.SUCCEEDED, Phase.FAILED})


def target_of(cluster: Cluster, canary: Canary, target: Target) -> Object | None:
    """The target's object."""
    ref = canary.spec.target_ref
    resource = next((one for one in target.resources() if one.kind == ref.kind), None)
    return cluster.get(resource, canary.metadata.namespace, ref.name) if resource else None


def delivered(cluster: Cluster, canary: Canary, target: Target) -> tuple[WriteBack | None, str]:
    """`Snapshot.write_back` and `Snapshot.replicas_by`."""
    if canary.status.phase not in RESTING or (workload := target_of(cluster, canary, target)) is None:
        return None, ""
    run = canary.status.run
    body = cluster.get(CANARY_RUNS, canary.metadata.namespace, run.id) if run and canary.status.phase is Phase.FAILED else None
    return write_back(body, workload) if body else None, insists_on_replicas(workload)
