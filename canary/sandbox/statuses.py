"""What Deployments and Pods of the sandbox say about themselves, in the words of the real controllers.

Apart from the node, because the node is about processes: these are values that an operator reads, and nothing runs to make them.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from canary.kube.resource import Object


def pod_status(*, image: str, ready: bool, pulled: bool) -> Object:
    """The status of a pod with one container."""
    waiting = {"waiting": {"reason": "ContainerCreating" if pulled else "ImagePullBackOff"}}
    state: dict[str, Any] = {"running": {}} if ready else waiting
    return {
        "phase": "Running" if ready else "Pending",
        "podIP": "127.0.0.1",
        "conditions": [{"type": "Ready", "status": str(ready)}],
        "containerStatuses": [{"name": "main", "image": image, "ready": ready, "restartCount": 0, "state": state}],
    }


def deployment_status(deployment: Object, *, want: int, replicas: int, updated: int, updated_ready: int, ready: int) -> Object:
    """The status of a Deployment that wants `want` pods. Of its `replicas` pods `ready` answer; `updated` are of the newest template."""
    enough = ready >= want
    complete = updated_ready == updated == want == replicas
    return {
        "observedGeneration": deployment["metadata"]["generation"],
        "replicas": replicas,
        "updatedReplicas": updated,
        "readyReplicas": ready,
        "availableReplicas": ready,
        "unavailableReplicas": max(0, want - ready, updated - updated_ready),
        "conditions": [
            _condition(
                deployment, "Available", state=enough, reason="MinimumReplicasAvailable" if enough else "MinimumReplicasUnavailable"
            ),
            _condition(deployment, "Progressing", state=True, reason="NewReplicaSetAvailable" if complete else "ReplicaSetUpdated"),
        ],
    }


def _condition(deployment: Object, kind: str, *, state: bool, reason: str) -> dict[str, str]:
    """A condition whose times move only when it changes: operators count from them."""
    old = next((one for one in (deployment.get("status") or {}).get("conditions") or () if one["type"] == kind), None)
    if old and (old["status"], old["reason"]) == (str(state), reason):
        return dict(old)
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    same = old and old["status"] == str(state)
    return {
        "type": kind,
        "status": str(state),
        "reason": reason,
        "message": reason,
        "lastUpdateTime": now,
        "lastTransitionTime": old["lastTransitionTime"] if old and same else now,
    }
