"""U24: ready, waiting or stuck, from a Deployment's generation, counts, conditions and the Canary's deadline."""

from typing import Any

import pytest

from canary.core.model import Readiness
from canary.targets.readiness import deployment_readiness

NOW = 1_800_000_000.0
NOW_TEXT = "2027-01-15T08:00:00Z"
LONG_AGO = "2027-01-15T07:49:59Z"  # 601 s before
JUST_NOT = "2027-01-15T07:50:00Z"  # 600 s before
PROGRESSING = {"type": "Progressing", "status": "True", "reason": "ReplicaSetUpdated"}
EXCEEDED = {"type": "Progressing", "status": "False", "reason": "ProgressDeadlineExceeded"}


def lacking(since: Any, reason: str = "MinimumReplicasUnavailable", status: str = "False") -> dict[str, Any]:
    return {"type": "Available", "status": status, "reason": reason, "lastUpdateTime": since}


def verdict(*, generation: int = 1, desired: int | None = 4, threshold: int = 100, **status: Any) -> tuple[Readiness, str]:
    spec = {} if desired is None else {"replicas": desired}
    deployment = {"metadata": {"name": "podinfo", "generation": generation}, "spec": spec, "status": status}
    return deployment_readiness(deployment, threshold=threshold, deadline=600, now=NOW)


FULL: dict[str, Any] = {"observedGeneration": 1, "replicas": 4, "updatedReplicas": 4, "availableReplicas": 4}

TABLE = [
    # what the status says                                        threshold  readiness            part of the message
    ({}, 100, Readiness.READY, ""),
    ({"observedGeneration": 0}, 100, Readiness.WAITING, "observed deployment generation less than desired generation"),
    ({"observedGeneration": 2}, 100, Readiness.READY, ""),
    ({"updatedReplicas": 3}, 100, Readiness.WAITING, "3 out of 4 new replicas have been updated"),
    ({"replicas": 5}, 100, Readiness.WAITING, "1 old replicas are pending termination"),
    ({"availableReplicas": 3}, 100, Readiness.WAITING, "3 of 4 (readyThreshold 100%) updated replicas are available"),
    ({"availableReplicas": 2}, 50, Readiness.READY, ""),
    ({"availableReplicas": 1}, 50, Readiness.WAITING, "1 of 2 (readyThreshold 50%)"),
    ({"availableReplicas": 2}, 74, Readiness.READY, ""),  # 2.96 is rounded down
    ({"availableReplicas": 0}, 0, Readiness.READY, ""),
    ({"conditions": [EXCEEDED]}, 100, Readiness.STUCK, 'deployment "podinfo" exceeded its progress deadline'),
    ({"conditions": [EXCEEDED], "observedGeneration": 0}, 100, Readiness.WAITING, "observed deployment generation"),
    ({"conditions": [PROGRESSING, lacking(LONG_AGO)], "availableReplicas": 3}, 100, Readiness.STUCK, "3 of 4"),
    ({"conditions": [PROGRESSING, lacking(LONG_AGO)], "updatedReplicas": 3}, 100, Readiness.STUCK, "3 out of 4"),
    ({"conditions": [PROGRESSING, lacking(LONG_AGO)], "replicas": 5}, 100, Readiness.STUCK, "1 old replicas"),
    ({"conditions": [PROGRESSING, lacking(JUST_NOT)], "availableReplicas": 3}, 100, Readiness.WAITING, "3 of 4"),
    ({"conditions": [lacking(LONG_AGO)], "availableReplicas": 3}, 100, Readiness.WAITING, "3 of 4"),
    ({"conditions": [PROGRESSING, lacking(LONG_AGO, reason="Other")], "availableReplicas": 3}, 100, Readiness.WAITING, "3 of 4"),
    ({"conditions": [PROGRESSING, lacking(LONG_AGO, status="True")], "availableReplicas": 3}, 100, Readiness.WAITING, "3 of 4"),
    ({"conditions": [PROGRESSING, lacking(LONG_AGO)]}, 100, Readiness.READY, ""),  # all are there: the past does not matter
    ({"conditions": [PROGRESSING, lacking(None)], "availableReplicas": 3}, 100, Readiness.WAITING, "3 of 4"),
    ({"conditions": [PROGRESSING, lacking("soon")], "availableReplicas": 3}, 100, Readiness.WAITING, "3 of 4"),
]


@pytest.mark.parametrize(("status", "threshold", "readiness", "message"), TABLE)
def test_readiness(status: dict[str, Any], threshold: int, readiness: Readiness, message: str):
    found, text = verdict(threshold=threshold, **{**FULL, **status})
    assert found is readiness
    assert message in text
    assert bool(text) is (readiness is not Readiness.READY)


def test_one_pod_at_half_needs_none_because_thresholds_round_down():
    assert verdict(desired=1, threshold=50, observedGeneration=1, replicas=1, updatedReplicas=1)[0] is Readiness.READY


def test_a_deployment_without_a_status_is_waiting():
    assert verdict()[0] is Readiness.WAITING


def test_nobody_asks_for_pods_of_a_deployment_at_zero():
    assert verdict(desired=0, observedGeneration=1)[0] is Readiness.READY


def test_the_times_above_are_what_they_say():
    assert verdict(conditions=[PROGRESSING, lacking(NOW_TEXT)], **{**FULL, "availableReplicas": 0})[0] is Readiness.WAITING
