"""What the readiness of a copy means to users: does it serve, may traffic go there, may the other copy be taken away.

`Readiness` is upstream's notion, with its percentages rounded down (Q27): one pod at 50 % is ready with none available. The
promise that the last healthy copy is never taken away needs a stricter one: at least one pod that is available now.
"""

from __future__ import annotations

from canary.core.model import Readiness, Workload

PODLESS_KIND = "Service"
"""Core and Knative Services: nothing of ours to scale, and ready means serving."""
NODE_BOUND_KIND = "DaemonSet"
"""Has as many pods as there are fitting nodes; none is a legitimate number."""


def serves(workload: Workload | None, *, kind: str) -> bool:
    """Whether requests sent there are answered by at least one available pod."""
    if workload is None:
        return False
    if kind == PODLESS_KIND:
        return workload.readiness is Readiness.READY
    return workload.ready_replicas > 0


def primary_ready(primary: Workload | None, *, kind: str, has_scaler: bool) -> bool:
    """Whether the primary may carry the traffic: ready, and with a pod unless having none is what was asked for.

    No pods are right for an autoscaler that scales to zero and for a DaemonSet without nodes; a Deployment that somebody
    scaled to zero is not ready (upstream means to test this and never does, Q26).
    """
    if primary is None or primary.readiness is not Readiness.READY:
        return False
    empty_by_design = primary.replicas == 0 and (has_scaler or kind == NODE_BOUND_KIND)
    return serves(primary, kind=kind) or empty_by_design


def parked(target: Workload, *, kind: str) -> bool:
    """Whether the target is scaled to zero. Its readiness then says nothing: none of none is all."""
    return kind != PODLESS_KIND and target.replicas == 0


def without_nodes(target: Workload, primary: Workload | None, *, kind: str) -> bool:
    """Whether this is a DaemonSet that has no pods because no node fits, rather than because it is parked."""
    return kind == NODE_BOUND_KIND and target.replicas == 0 and primary is not None and primary.replicas == 0
