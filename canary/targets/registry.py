"""From `spec.targetRef` to the code that releases that kind. An unknown kind is an error, never a default.

Upstream treats every unknown kind as a Deployment and logs a line; the user then waits for a canary that never starts. Entry
points were rejected: unlike meshes, target kinds are few, and each needs rules of its own.
"""

from __future__ import annotations

from functools import cache

from canary.api.canary import TargetRef
from canary.core.errors import Rejected
from canary.targets.base import Target
from canary.targets.deployment import DeploymentTarget

SUPPORTED = ("Deployment",)
_PLANNED = {"DaemonSet": "DaemonSet", "Service": "core Service"}


def target(ref: TargetRef) -> Target:
    """The `Target` for this kind; one instance per kind, shared by all canaries. Raises Rejected for a kind we cannot release."""
    if ref.kind == "Deployment":
        return _deployment()
    kind = "Knative Service" if ref.is_knative else _PLANNED.get(ref.kind)
    problem = f"{kind} is not supported yet" if kind else f"kind {ref.kind!r} is not known"
    raise Rejected(f"spec.targetRef: {problem}", hint=f"use a target of kind {' or '.join(SUPPORTED)}")


@cache
def _deployment() -> DeploymentTarget:
    return DeploymentTarget()
