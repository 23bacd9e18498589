"""Two operators, one leader: the lease has upstream's name, and a release goes on when its leader dies."""

import time

import pytest

from tests.e2e.objects import SUCCESS, canary
from tests.e2e.operators import Operator
from tests.e2e.stage import Parts, staged
from tests.testbed.waiting import until

pytestmark = [pytest.mark.mesh, pytest.mark.timeout(240)]

LEASE = "flagger-leader-election"
DURATION = 15.0


@pytest.fixture
def replicas(cluster, mesh, namespace, crds, tmp_path):
    """Two replicas that watch one namespace, where their lease is, too."""
    both = [Operator(cluster, tmp_path, f"--namespace={namespace}", "--enable-leader-election=true") for _ in range(2)]
    for one in both:
        one.start()
    try:
        for one in both:
            one.wait_ready()
        yield both
    finally:
        for one in both:
            one.stop()


def _lease(cluster, namespace):
    return cluster.api.get(f"/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases/{LEASE}")["spec"]


def _leaders(replicas):
    return [one for one in replicas if one.process.running and one.metrics("canary_leader") == {"": 1.0}]


def test_a_follower_takes_over_from_a_leader_that_was_killed_in_the_middle_of_a_release(cluster, mesh, namespace, replicas):
    [leader] = until("one leader", lambda: _leaders(replicas) if len(_leaders(replicas)) == 1 else None, 20)
    [follower] = [one for one in replicas if one is not leader]
    first = _lease(cluster, namespace)
    assert first["leaseDurationSeconds"] == DURATION
    with staged(Parts(cluster, mesh, leader, None), namespace) as stage:
        stage.deploy("app:1")
        analysis = {"interval": "3s", "stepWeight": 10, "maxWeight": 50, "threshold": 9, "metrics": [SUCCESS | {"interval": "8s"}]}
        stage.apply(canary("app", namespace, analysis))
        stage.wait_phase("Initialized")
        stage.expose_by_contour()
        with stage.traffic(rate=40) as traffic:
            stage.deploy("app:2")
            stage.wait_weight(20)
            leader.kill()
            killed = time.monotonic()
            weight = stage.status["canaryWeight"]
            until("the follower to lead", lambda: follower.metrics("canary_leader") == {"": 1.0}, 40)
            waited = time.monotonic() - killed
            assert waited > DURATION - 4, f"taken over after {waited:.1f} s: the lease was not respected"
            assert waited < DURATION + 8, f"taken over after {waited:.1f} s"
            second = _lease(cluster, namespace)
            assert second["holderIdentity"] != first["holderIdentity"]
            assert second["leaseTransitions"] == first["leaseTransitions"] + 1
            assert [moved for at, moved in stage.moves() if killed + 0.2 < at < killed + waited - 1] == []
            stage.wait_end("Succeeded")
            assert stage.weights() == [10, 20, 30, 40, 50], weight
            assert traffic.stop().failures == {}


def test_a_leader_that_is_told_to_stop_hands_over_at_once(cluster, namespace, replicas):
    [leader] = until("one leader", lambda: _leaders(replicas) if len(_leaders(replicas)) == 1 else None, 20)
    [follower] = [one for one in replicas if one is not leader]
    began = time.monotonic()
    assert leader.stop() == 0
    until("the follower to lead", lambda: follower.metrics("canary_leader") == {"": 1.0}, 10)
    assert time.monotonic() - began < 8
    follower.wait_ready()
