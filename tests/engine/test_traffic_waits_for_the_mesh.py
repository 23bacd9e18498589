"""Copies count as ready, and targets are parked, only when a mesh has had the time to follow."""

from dataclasses import replace

import pytest

from canary.api.canary import parse_canary
from canary.core.model import (
    ALL_TO_PRIMARY,
    Decision,
    EnsureRoutes,
    Readiness,
    Routes,
    ScaleTarget,
    SetRoutes,
    Snapshot,
    Unknown,
    Workload,
)
from canary.core.telling import Notice
from canary.engine.settle import SETTLE, Settling, moves_only, without_waiting

KEY = ("test", "app")
PARKING = (ScaleTarget(up=False),)


class Clock:
    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def settling(clock):
    return Settling(timer=clock)


def copy(readiness=Readiness.READY, *, pods=1, revision="v2:a"):
    return Workload(name="app", revision=revision, replicas=1, ready_replicas=pods, readiness=readiness)


def snapshot(*, target=None, primary=None, routes=ALL_TO_PRIMARY, interval="10s", has_weights=True):
    canary = parse_canary(
        {
            "apiVersion": "flagger.app/v1beta1",
            "kind": "Canary",
            "metadata": {"name": "app", "namespace": "test", "uid": "u", "resourceVersion": "1"},
            "spec": {
                "targetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "app"},
                "service": {"port": 80},
                "analysis": {"interval": interval, "threshold": 1, "stepWeight": 10},
            },
        }
    )
    return Snapshot(
        canary=canary,
        now=0.0,
        provider="contour",
        target=target or copy(),
        primary=primary or copy(),
        configs=None,
        routes=routes,
        can_mirror=False,
        has_weights=has_weights,
        has_scaler=False,
    )


def decision(snap, *effects):
    return Decision(status=snap.canary.status, effects=effects)


def test_what_a_new_process_finds_ready_is_ready(settling):
    found = snapshot()
    assert settling.damped(KEY, found) == (found, 0.0)


def test_a_copy_that_becomes_ready_waits_for_the_mesh(settling, clock):
    settling.damped(KEY, snapshot(target=copy(Readiness.WAITING, pods=0)))
    seen, left = settling.damped(KEY, snapshot())
    assert (seen.target.readiness, seen.primary.readiness) == (Readiness.WAITING, Readiness.READY)
    assert left == SETTLE
    clock.now += 1.5
    assert settling.damped(KEY, snapshot())[1] == pytest.approx(SETTLE - 1.5)
    clock.now += 0.5
    assert settling.damped(KEY, snapshot())[0].target.readiness is Readiness.READY


def test_pods_of_another_revision_wait_even_when_nobody_saw_them_start(settling):
    settling.damped(KEY, snapshot())
    assert settling.damped(KEY, snapshot(primary=copy(revision="v2:b")))[1] == SETTLE


def test_a_parked_target_is_not_ready_when_it_wakes(settling):
    settling.damped(KEY, snapshot(target=copy(pods=0)))
    assert settling.damped(KEY, snapshot())[0].target.readiness is Readiness.WAITING


def test_what_is_not_ready_or_not_seen_stays_as_it_is(settling):
    for seen in (copy(Readiness.STUCK), Unknown("NotFound", "gone")):
        found = snapshot(target=seen)
        assert settling.damped(KEY, found) == (found, 0.0)


def test_a_short_interval_waits_for_half_of_itself(settling):
    settling.damped(KEY, snapshot(target=copy(Readiness.WAITING), interval="1s"))
    assert settling.damped(KEY, snapshot(interval="1s"))[1] == 0.5


def test_a_target_is_parked_once_its_traffic_is_gone_for_long_enough(settling, clock):
    under_way = snapshot(routes=Routes(80, 20))
    assert settling.parking_waits(KEY, under_way, decision(under_way, EnsureRoutes(Routes(80, 20)))) == 0
    back = snapshot()
    clock.now += 0.1
    assert settling.parking_waits(KEY, back, decision(back, *PARKING)) == pytest.approx(SETTLE - 0.1)
    clock.now += SETTLE
    assert settling.parking_waits(KEY, back, decision(back, *PARKING)) == 0
    assert settling.parking_waits(KEY, back, decision(back, *PARKING)) == 0


def test_a_decision_that_moves_and_parks_moves_first(settling):
    under_way = snapshot(routes=Routes(80, 20))
    cancel = decision(under_way, SetRoutes(ALL_TO_PRIMARY), *PARKING)
    assert settling.parking_waits(KEY, under_way, cancel) == SETTLE
    assert moves_only(cancel).effects == (SetRoutes(ALL_TO_PRIMARY),)


def test_mirrored_traffic_is_traffic(settling):
    mirrored = snapshot(routes=replace(ALL_TO_PRIMARY, mirrored=True))
    assert settling.parking_waits(KEY, mirrored, decision(mirrored, *PARKING)) == SETTLE


def test_without_weights_nothing_waits(settling):
    plain = snapshot(routes=Routes(0, 100), has_weights=False)
    assert settling.parking_waits(KEY, plain, decision(plain, *PARKING)) == 0


def test_a_canary_that_was_deleted_is_forgotten(settling):
    under_way = snapshot(target=copy(Readiness.WAITING), routes=Routes(80, 20))
    settling.damped(KEY, under_way)
    settling.parking_waits(KEY, under_way, decision(under_way))
    settling.forget(KEY)
    assert settling.damped(KEY, snapshot())[1] == 0
    assert settling.parking_waits(KEY, snapshot(), decision(snapshot(), *PARKING)) == 0


def test_a_wait_for_the_mesh_is_not_told():
    found = snapshot()
    told = Notice("Advance app.test canary weight 10", "WeightAdvanced", found.canary.status.phase)
    waits = Notice("Halt app.test advancement canary app.test not ready", "NotReady", found.canary.status.phase)
    assert without_waiting(replace(decision(found), notices=(waits, told))).notices == (told,)
