"""Whether a Deployment is ready, still rolling out, or stuck: one pure function over its status (reference 2.10).

`kubectl rollout status` logic alone was rejected: it knows neither a threshold nor the Canary's own deadline, which counts
from the moment the Deployment lost its minimum availability, whatever the Deployment's own deadline says. Zero pods of zero
are ready here, as upstream; what that means for traffic (Q26) is decided by the rules, which see the number of pods.

`matters` tells the few changes of a rollout that a rule can see from the many that it cannot: while pods are replaced or started one by one, every
count moves and nothing follows from it. Of the ticks of a fleet that is released at once a fifth looked at such a change.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from canary.core.model import Readiness

_ROLLOUT = "deployment.kubernetes.io/revision"

Verdict = tuple[Readiness, str]
"""Readiness and the reason; the reason is empty when ready."""


def deployment_readiness(deployment: Mapping[str, Any], *, threshold: int, deadline: float, now: float) -> Verdict:
    """Readiness of a Deployment.

    `threshold`: percent of the updated pods that must be available, rounded down, so that 1 pod at 50 % needs none (Q27, as
    upstream). `deadline`: seconds that it may lack its minimum availability before it is stuck. `now`: Unix time.
    """
    status: Mapping[str, Any] = deployment.get("status") or {}
    if deployment["metadata"].get("generation", 0) > status.get("observedGeneration", 0):
        return Readiness.WAITING, "waiting for rollout to finish: observed deployment generation less than desired generation"
    progressing = _condition(status, "Progressing")
    if progressing.get("reason") == "ProgressDeadlineExceeded":
        return Readiness.STUCK, f'deployment "{deployment["metadata"]["name"]}" exceeded its progress deadline'
    message = _shortfall(deployment.get("spec") or {}, status, threshold)
    if not message:
        return Readiness.READY, ""
    stuck = bool(progressing) and _unavailable_since(status, deadline, now)
    return (Readiness.STUCK if stuck else Readiness.WAITING), message


def _shortfall(spec: Mapping[str, Any], status: Mapping[str, Any], threshold: int) -> str:
    """What is missing, or nothing."""
    updated, available, total = (status.get(key) or 0 for key in ("updatedReplicas", "availableReplicas", "replicas"))
    desired = spec.get("replicas")
    if desired is not None and updated < desired:
        return f"waiting for rollout to finish: {updated} out of {desired} new replicas have been updated"
    if total > updated:
        return f"waiting for rollout to finish: {total - updated} old replicas are pending termination"
    needed = updated * threshold // 100
    if available < needed:
        return f"waiting for rollout to finish: {available} of {needed} (readyThreshold {threshold}%) updated replicas are available"
    return ""


def _unavailable_since(status: Mapping[str, Any], deadline: float, now: float) -> bool:
    """Whether the minimum availability has been missing for longer than `deadline`; an unreadable time is no proof of it."""
    condition = _condition(status, "Available")
    if condition.get("status") != "False" or condition.get("reason") != "MinimumReplicasUnavailable":
        return False
    try:
        since = datetime.fromisoformat(condition["lastUpdateTime"]).timestamp()
    except (KeyError, TypeError, ValueError):
        return False
    return since + deadline < now


def matters(old: Mapping[str, Any], new: Mapping[str, Any]) -> bool:
    """Whether anything changed in a Deployment that rules look at, with whatever thresholds; texts about what is lacking may be older."""
    return _asked(old) != _asked(new) or _seen(old) != _seen(new)


def _asked(deployment: Mapping[str, Any]) -> tuple[object, ...]:
    """What people and controllers want of it. The controller of Deployments numbers its rollouts in an annotation."""
    meta = deployment["metadata"]
    notes = {key: value for key, value in (meta.get("annotations") or {}).items() if key != _ROLLOUT}
    return meta.get("uid"), meta.get("generation"), meta.get("deletionTimestamp"), meta.get("labels"), meta.get("ownerReferences"), notes


def _seen(deployment: Mapping[str, Any]) -> tuple[object, ...]:
    """Its status as far as `deployment_readiness`, and whether it serves, depend on it."""
    spec, status = deployment.get("spec") or {}, deployment.get("status") or {}
    updated, available, total = (status.get(key) or 0 for key in ("updatedReplicas", "availableReplicas", "replicas"))
    behind = deployment["metadata"].get("generation", 0) > status.get("observedGeneration", 0)
    replacing = updated < (spec.get("replicas") or 0) or total > updated
    available_condition = _condition(status, "Available")
    return (
        behind,
        replacing,
        None if behind or replacing else (updated, available),
        available > 0,
        _condition(status, "Progressing").get("reason") == "ProgressDeadlineExceeded",
        bool(_condition(status, "Progressing")),
        available_condition.get("status"),
        available_condition.get("reason"),
    )


def _condition(status: Mapping[str, Any], kind: str) -> Mapping[str, Any]:
    return next((condition for condition in status.get("conditions") or () if condition.get("type") == kind), {})
