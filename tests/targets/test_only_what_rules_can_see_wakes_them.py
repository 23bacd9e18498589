"""A rollout changes its Deployment many times; what wakes a canary is what one of its rules could answer to."""

import copy

import pytest
from hypothesis import given
from hypothesis import strategies as st

from canary.core.model import Readiness
from canary.targets.readiness import deployment_readiness, matters

NOW = 1_800_000_000.0
SINCE = ("2027-01-15T07:40:00Z", "2027-01-15T07:59:00Z")
COUNTS = st.integers(0, 3)
CONDITIONS = st.fixed_dictionaries(
    {},
    optional={
        "Progressing": st.sampled_from(["ReplicaSetUpdated", "NewReplicaSetAvailable", "ProgressDeadlineExceeded"]),
        "Available": st.sampled_from(["MinimumReplicasUnavailable", "MinimumReplicasAvailable"]),
    },
)


def status_of(counts, conditions, observed):
    named = [
        {"type": kind, "reason": reason, "status": str(reason != "MinimumReplicasUnavailable"), "lastUpdateTime": SINCE[0]}
        for kind, reason in conditions.items()
    ]
    updated, available, total = counts
    return {
        "observedGeneration": observed,
        "updatedReplicas": updated,
        "availableReplicas": available,
        "replicas": total,
        "conditions": named,
    }


STATUS = st.builds(status_of, st.tuples(COUNTS, COUNTS, COUNTS), CONDITIONS, st.integers(6, 7))


def deployment(status, *, desired=2, **meta):
    return {
        "metadata": {"name": "app", "uid": "u", "generation": 7, "resourceVersion": "1"} | meta,
        "spec": {"replicas": desired},
        "status": status,
    }


@given(before=STATUS, after=STATUS, desired=st.sampled_from([None, 0, 1, 2, 3]), threshold=st.integers(0, 100))
def test_what_does_not_matter_changes_no_answer_of_the_rules(before, after, desired, threshold):
    old, new = (deployment(status, desired=desired) for status in (before, after))
    if matters(old, new):
        return
    told = [deployment_readiness(one, threshold=threshold, deadline=600, now=NOW)[0] for one in (old, new)]
    assert told[0] is told[1]
    assert (before["availableReplicas"] > 0) == (after["availableReplicas"] > 0)


FULL = status_of((2, 2, 2), {"Progressing": "NewReplicaSetAvailable", "Available": "MinimumReplicasAvailable"}, 7)


@pytest.mark.parametrize(
    ("change", "wakes"),
    [
        ({"observedGeneration": 6}, True),
        ({"availableReplicas": 1}, True),
        ({"updatedReplicas": 1}, True),
        ({"replicas": 3}, True),
        ({"unavailableReplicas": 1}, False),
        ({"readyReplicas": 1}, False),
        ({"conditions": []}, True),
    ],
)
def test_a_ready_one_that_lacks_something_wakes(change, wakes):
    assert matters(deployment(FULL), deployment(FULL | change)) is wakes


def test_the_steps_of_a_rollout_wake_at_its_beginning_and_at_its_end_alone():
    steps = [(2, 2, 2), (0, 2, 2), (1, 2, 3), (1, 2, 2), (2, 2, 3), (2, 2, 2)]
    woke = [matters(deployment(FULL | one), deployment(FULL | two)) for one, two in zip(counted(steps), counted(steps[1:]), strict=False)]
    assert woke == [True, False, False, False, True]


def counted(steps):
    return [{"updatedReplicas": updated, "availableReplicas": available, "replicas": total} for updated, available, total in steps]


@pytest.mark.parametrize(
    ("meta", "wakes"),
    [
        ({"generation": 8}, True),
        ({"labels": {"a": "b"}}, True),
        ({"annotations": {"a": "b"}}, True),
        ({"annotations": {"deployment.kubernetes.io/revision": "2"}}, False),
        ({"deletionTimestamp": "2027-01-15T07:40:00Z"}, True),
        ({"uid": "another"}, True),
        ({"ownerReferences": [{"uid": "x"}]}, True),
        ({"resourceVersion": "2", "managedFields": [{}]}, False),
    ],
)
def test_what_people_write_wakes(meta, wakes):
    assert matters(deployment(FULL), deployment(copy.deepcopy(FULL), **meta)) is wakes


def test_going_out_of_service_wakes_even_while_pods_are_replaced():
    replaced = status_of((1, 1, 2), {}, 7)
    assert deployment_readiness(deployment(replaced), threshold=100, deadline=600, now=NOW)[0] is Readiness.WAITING
    assert matters(deployment(replaced), deployment(replaced | {"availableReplicas": 0}))
