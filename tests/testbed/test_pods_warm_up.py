"""The pod server's pods that are slow while they are young, without a cluster."""

import pytest

from tests.testbed.podserver import pod_of
from tests.testbed.workload import deployment

BORN = "2027-01-15T08:00:00Z"
AT = 1_800_000_000.0
"""The same moment as Unix time."""


def pod(env=None, **annotations):
    template = deployment("app", namespace="test", image="app:1", env=env)["spec"]["template"]
    notes = {f"testbed/{name.replace('_', '-')}": text for name, text in annotations.items()}
    meta = {"uid": "u", "namespace": "test", "name": "app-x", "creationTimestamp": BORN, "annotations": notes}
    _, found = pod_of({"metadata": meta, "spec": template["spec"], "status": {"podIP": "10.0.0.1"}})
    return found


COLD = {"COLD_SECONDS": "60", "COLD_MS": "200", "LATENCY_MS": "5"}


@pytest.mark.parametrize(
    ("age", "chance", "seconds"),
    [(0, 0.99, 0.205), (15, 0.7, 0.205), (15, 0.8, 0.005), (45, 0.2, 0.205), (45, 0.3, 0.005), (60, 0.0, 0.005), (3600, 0.0, 0.005)],
)
def test_a_young_pod_is_slow_less_and_less_often_and_an_old_one_is_not(age, chance, seconds):
    assert pod(COLD).pause(AT + age, chance) == pytest.approx(seconds)


def test_a_live_pod_can_be_told_that_it_is_warm():
    assert pod(COLD, cold_seconds="0").pause(AT, 0.0) == pytest.approx(0.005)
    assert pod(COLD, cold_ms="0").pause(AT, 0.0) == pytest.approx(0.005)


def test_without_a_word_of_it_a_pod_is_never_cold():
    assert pod().pause(AT, 0.0) == 0
    assert pod({"LATENCY_MS": "30"}).pause(AT, 0.0) == pytest.approx(0.03)
    assert pod({"ERROR_RATE": "0.5"}, error_rate="1").error_rate == 1
