"""Time and crashes: steps keep their distance whatever happens, and nothing is decided twice (design 2.6, 5)."""

from __future__ import annotations

from datetime import UTC, datetime
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from canary.api.status import Phase
from canary.core.model import CloseRun, OpenRun, Promote, Readiness, Routes, Sample, ScaleTarget, SetRoutes
from canary.core.times import precise, remaining, whole
from tests.core.simulate import Copy, CrashError, World, rev


def progressing(**analysis: object) -> World:
    world = World(analysis={"interval": "10s", "threshold": 2, "stepWeight": 10, **analysis}).bootstrap()
    world.release("B")
    world.run(until=Phase.PROGRESSING)
    return world


def weight(world: World) -> int:
    assert isinstance(world.routes, Routes)
    return world.routes.canary


def test_a_tick_that_comes_early_takes_no_step_and_says_when_to_come_back() -> None:
    world = progressing()
    world.tick()
    world.now += 4
    decision = world.tick()
    assert (weight(world), decision.wake_after) == (10, pytest.approx(6))
    assert not decision.checks_run


def test_events_do_not_make_a_release_faster() -> None:
    world = progressing()
    for _ in range(95):
        world.tick()
        world.now += 1
    assert weight(world) == 100


def test_the_first_step_follows_readiness_at_once() -> None:
    world = progressing()
    world.target.readiness = Readiness.WAITING
    world.now += 3
    assert world.tick().wake_after == 10
    world.settle()
    world.now += 1
    world.tick()
    assert weight(world) == 10


@pytest.mark.parametrize("schedule", [{"stepWeight": 10}, {"stepWeights": [10, 20, 30, 40, 50]}, {"stepWeight": 10, "mirror": True}])
def test_a_crash_loop_never_steps_faster_than_the_interval(schedule: dict[str, object]) -> None:
    """The process dies in every tick after moving traffic and before the status is written, ten times a second."""
    world = progressing(**{"stepWeight": 0, **schedule})
    began, seen = world.now, [(world.now, 0)]
    for _ in range(600):
        decision = world.decide()
        try:
            world.tick(crash_at=len(decision.effects) if any(isinstance(e, SetRoutes) for e in decision.effects) else None)
        except CrashError:
            pass
        if weight(world) != seen[-1][1]:
            seen.append((world.now, weight(world)))
        world.now += 0.1
    assert len(seen) > 3, "it does get on"
    assert all(later - earlier >= 9.9 for (earlier, _), (later, _) in pairwise(seen[1:]))
    assert all(b - a <= 10 for (_, a), (_, b) in pairwise(seen))
    assert world.now - began > 50


def test_a_status_that_cannot_be_written_stops_the_steps() -> None:
    world = progressing()
    for _ in range(20):
        with pytest.raises(CrashError):
            world.tick(crash_at=99)
        world.now += 10
    assert weight(world) == 10


def test_a_crash_after_the_step_is_taken_as_the_step() -> None:
    world = progressing()
    world.tick()
    world.now += 10
    with pytest.raises(CrashError):
        world.tick(crash_at=99)
    assert (weight(world), world.status.canary_weight) == (20, 10)
    world.now += 1
    world.tick()
    assert (weight(world), world.status.canary_weight) == (20, 20)
    assert "WeightsMoved" in world.kinds()
    world.now += 10
    world.tick()
    assert weight(world) == 30


def test_promotion_steps_keep_the_interval_over_crashes_too() -> None:
    world = progressing(stepWeight=100, stepWeightPromotion=25)
    world.run(until=Phase.PROMOTING)
    world.tick()
    world.settle()
    world.tick()
    assert weight(world) == 75
    world.now += 10
    with pytest.raises(CrashError):
        world.tick(crash_at=99)
    assert weight(world) == 50
    world.tick()
    world.now += 9
    world.tick()
    assert weight(world) == 50
    world.run()
    assert world.status.phase is Phase.SUCCEEDED


def test_a_clock_set_back_costs_at_most_one_interval() -> None:
    world = progressing()
    world.tick()
    world.now -= 3600
    assert world.tick().wake_after == 10
    world.now += 3600 + 10
    world.tick()
    assert weight(world) == 20


def test_a_run_is_opened_after_its_id_is_stored_and_before_traffic_moves() -> None:
    world = World().bootstrap()
    world.release("B")
    accepted = world.tick()
    assert accepted.status.run is not None
    assert not any(isinstance(effect, OpenRun) for effect in accepted.effects)
    world.settle()
    first = world.tick()
    order = [type(effect) for effect in first.effects if isinstance(effect, OpenRun | SetRoutes)]
    assert order == [OpenRun, SetRoutes]
    assert world.runs == {accepted.status.run.id: ""}
    assert len(accepted.status.run.id) == 16


def test_an_acceptance_that_crashed_leaves_no_orphan() -> None:
    world = World().bootstrap()
    world.release("B")
    with pytest.raises(CrashError):
        world.tick(crash_at=99)
    world.now += 5
    world.run()
    assert world.status.run is not None
    assert list(world.runs) == [world.status.run.id]


def test_outcomes_are_written_before_the_status_becomes_terminal() -> None:
    world = progressing(stepWeight=100)
    world.run()
    last = next(decision for decision in world.decisions if decision.status.phase is Phase.SUCCEEDED)
    assert last.status.run is not None
    assert CloseRun(last.status.run.id, "Succeeded", "") in last.effects
    assert (last.status.run.outcome, last.status.run.finished_at) == ("Succeeded", whole(world.now))


def test_the_phase_is_stored_before_the_primary_is_touched() -> None:
    world = progressing(stepWeight=100)
    decisions = world.run(until=Phase.PROMOTING)
    assert not any(isinstance(effect, Promote) for decision in decisions for effect in decision.effects)
    assert Promote(rev("B"), None) in world.tick().effects


def test_a_crash_in_the_copy_is_resumed_by_copying_again() -> None:
    world = progressing(stepWeight=100)
    world.run(until=Phase.PROMOTING)
    with pytest.raises(CrashError):
        world.tick(crash_at=99)
    world.metrics["request-success-rate"] = Sample(0.0)
    assert Promote(rev("B"), None) in world.tick().effects
    world.settle()
    world.run()
    assert world.status.phase is Phase.SUCCEEDED


def test_a_crashed_rollback_is_completed_and_not_decided_anew() -> None:
    world = progressing()
    world.tick()
    world.target.readiness = Readiness.STUCK
    world.tick()
    assert world.status.run is not None
    assert world.status.run.rolling_back
    assert weight(world) == 0, "traffic first"
    assert isinstance(world.target, Copy)
    assert world.target.replicas > 0
    decision = world.decide()
    with pytest.raises(CrashError):
        world.tick(crash_at=len(decision.effects))
    world.tick()
    assert world.status.phase is Phase.FAILED
    assert "canary not ready" in world.status.failure_reason
    assert world.kinds().count("Stuck") == 1


def test_a_new_revision_during_a_rollback_is_released_after_it() -> None:
    world = progressing()
    world.tick()
    world.target.readiness = Readiness.STUCK
    world.tick()
    world.release("C")
    world.run(until=Phase.FAILED)
    assert world.status.last_applied_spec == rev("B")
    world.run()
    assert (world.status.phase, world.status.last_promoted_spec) == (Phase.SUCCEEDED, rev("C"))


def test_a_run_without_a_record_is_named_and_goes_on_where_it_stands() -> None:
    world = progressing()
    world.tick()
    world.status = world.status.model_copy(update={"run": None})
    world.now += 10
    world.tick()
    assert world.status.run is not None
    assert weight(world) == 10
    world.tick()
    assert weight(world) == 20


def test_a_target_scaled_to_zero_in_the_middle_of_a_run_is_woken() -> None:
    world = progressing()
    world.tick()
    assert isinstance(world.target, Copy)
    world.target.replicas = world.target.ready = 0
    world.now += 10
    decision = world.tick()
    assert ScaleTarget(up=True) in decision.effects
    assert not decision.checks_run


def test_idle_canaries_sleep_until_something_changes() -> None:
    world = World().bootstrap()
    assert world.tick().wake_after is None
    world.release("B")
    world.run()
    assert world.tick().wake_after is None


# ------------------------------------------------------------------------------------------------ times


@given(st.floats(0, 4e9))
def test_moments_are_cut_and_never_lie_in_the_future(now: float) -> None:
    assert 0 <= now - precise(now).timestamp() < 0.0011
    assert whole(now) == datetime.fromtimestamp(int(now), UTC)


@given(st.floats(0, 4e9), st.floats(1, 3600), st.floats(-1e5, 1e5))
def test_the_wait_is_never_negative_and_never_longer_than_the_interval(now: float, interval: float, ago: float) -> None:
    left = remaining(precise(max(0.0, now - ago)), interval=interval, now=now)
    assert 0 <= left <= interval
    assert remaining(None, interval=interval, now=now) == 0
