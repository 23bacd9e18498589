"""Every statement that reference 2.1 to 2.15 marks as [M], one test each, named after it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from canary.api.status import Phase
from canary.core.hashing import webhook_checksum
from canary.core.model import EnsureRoutes, MetricAsk, Sample, ScaleTarget, SetRoutes
from tests.core.simulate import CrashError, World, replace_world, rev

MATCH = [{"headers": {"x-canary": {"exact": "insider"}}}]


def moves(world: World) -> list[SetRoutes]:
    return [effect for effect in world.effects if isinstance(effect, SetRoutes)]


@pytest.mark.parametrize("schedule", [{"stepWeight": 10, "maxWeight": 30}, {"iterations": 2, "match": MATCH}, {"iterations": 2}])
def test_2_1_all_state_is_recovered_from_the_cluster(schedule: dict[str, Any]) -> None:
    """A new process after every tick, and one that dies before every single effect and write, end where an undisturbed one ends."""
    calm = World(analysis={"interval": "10s", "threshold": 2, **schedule}).bootstrap()
    calm.release("B")
    calm.run()
    for crash_at in range(8):
        world = World(analysis={"interval": "10s", "threshold": 2, **schedule}).bootstrap()
        world.release("B")
        for _ in range(80):
            try:
                replace_world(world)  # nothing hidden in the rules: a copy of the API's contents is all there is
                world.tick(crash_at=crash_at)
            except CrashError:
                pass
            world.settle()
            decision = world.tick()
            world.settle()
            if decision.wake_after is None:
                break
            world.now += decision.wake_after
        assert world.status.phase is Phase.SUCCEEDED
        assert world.steps()[-1] == calm.steps()[-1]
        assert world.primary == calm.primary


def test_2_3_detection_and_first_weight_are_on_different_ticks() -> None:
    world = World().bootstrap()
    world.release("B")
    accepted = world.tick()
    assert accepted.status.phase is Phase.PROGRESSING
    assert ScaleTarget(up=True) in accepted.effects
    assert not moves(world)
    world.settle()
    world.tick()
    assert [move.routes.canary for move in moves(world)] == [10]


def test_2_3_the_first_analysis_tick_runs_pre_rollout_hooks_and_takes_the_first_step_without_metrics() -> None:
    world = World()
    world.hook("smoke", "pre-rollout")
    world.hook("load", "rollout")
    world.bootstrap()
    world.release("B")
    world.run(until=Phase.PROGRESSING)
    world.forget()
    world.tick()
    assert world.calls() == [("smoke", "Progressing")]
    assert not any(isinstance(ask, MetricAsk) for ask in world.asked)
    assert [move.routes.canary for move in moves(world)] == [10]


def test_2_3_the_last_step_is_analysed_once_before_promotion() -> None:
    world = World(analysis={"interval": "10s", "threshold": 2, "stepWeight": 100, "metrics": [{"name": "request-success-rate"}]})
    world.bootstrap()
    world.release("B")
    world.run(until=Phase.PROMOTING)
    assert sum(isinstance(ask, MetricAsk) for ask in world.asked) == 1
    assert world.status.checks[0].weight == 100


def test_2_3_rollback_happens_on_the_tick_after_the_check_that_reached_the_threshold() -> None:
    world = World(analysis={"interval": "10s", "threshold": 1, "stepWeight": 10, "metrics": [{"name": "request-success-rate"}]})
    world.bootstrap()
    world.release("B")
    world.run(until=Phase.PROGRESSING)
    world.tick()
    world.now += 10
    world.metrics["request-success-rate"] = Sample(error="down")
    failing = world.tick()
    assert (failing.status.phase, failing.status.failed_checks) == (Phase.PROGRESSING, 1)
    assert world.routes is not None
    assert world.routes.canary == 10, "the check itself moves nothing"
    assert failing.wake_after == 0
    world.run()
    assert world.status.phase is Phase.FAILED


@pytest.mark.parametrize("gate", ["confirm-rollout", "confirm-traffic-increase", "confirm-promotion"])
def test_2_3_gates_are_never_counted_as_failed_checks(gate: str) -> None:
    world = World()
    world.hook("gate", gate, answer=False)
    world.bootstrap()
    world.release("B")
    for _ in range(12):
        world.tick()
        world.settle()
        world.now += 10
    assert world.calls(gate)
    assert world.status.failed_checks == 0
    assert world.status.phase in (Phase.WAITING, Phase.PROGRESSING, Phase.WAITING_PROMOTION)


def test_2_3_while_the_target_is_not_ready_nothing_is_measured() -> None:
    """Upstream evaluates no threshold either; ours then rolls back sooner, and hears a rollback hook (Q8)."""
    world = World()
    world.hook("smoke", "pre-rollout")
    world.bootstrap()
    world.release("B")
    world.run(until=Phase.PROGRESSING, settle=False)
    world.forget()
    for _ in range(5):
        decision = world.tick()
        assert not decision.checks_run
        world.now += 10
    assert not world.asked
    assert not moves(world)
    assert world.status.failed_checks == 0


def failed_world() -> World:
    """Revision B failed; the target keeps its spec and has no pods."""
    world = World().bootstrap()
    world.release("B")
    world.metrics["request-success-rate"] = Sample(50.0)
    world.run()
    assert world.status.phase is Phase.FAILED
    world.metrics.clear()
    world.forget()
    return world


def test_2_7_after_failed_the_target_stays_at_zero_with_the_bad_spec() -> None:
    world = failed_world()
    world.run()
    assert world.status.phase is Phase.FAILED
    assert world.target == replace(world.target, revision=rev("B"), replicas=0, ready=0)


def test_2_7_applying_the_promoted_spec_again_is_no_release() -> None:
    world = failed_world()
    world.release("A")
    world.run()
    assert world.status.phase is Phase.FAILED
    assert not moves(world)
    assert ScaleTarget(up=True) not in world.effects


def test_2_7_the_same_bad_spec_after_that_is_a_release_again() -> None:
    world = failed_world()
    world.release("A")
    world.run()
    world.release("B")
    world.run(until=Phase.PROGRESSING)
    assert world.status.phase is Phase.PROGRESSING


def test_2_7_any_change_of_the_template_retries() -> None:
    world = failed_world()
    world.release("B-annotated")
    world.run()
    assert world.status.phase is Phase.SUCCEEDED
    assert world.status.last_promoted_spec == rev("B-annotated")


def test_2_9_the_payloads_checksum_changes_with_the_accepted_revision() -> None:
    world = World().bootstrap()
    before = webhook_checksum(world.status.tracked_configs, world.status.last_applied_spec)
    world.release("B")
    world.run()
    assert webhook_checksum(world.status.tracked_configs, world.status.last_applied_spec) != before


def test_1_2_promoted_is_what_kubectl_wait_waits_for() -> None:
    world = World().bootstrap()
    assert promoted(world) == "True"
    world.release("B")
    world.run(until=Phase.PROGRESSING)
    assert promoted(world) == "Unknown"
    world.run()
    assert promoted(world) == "True"
    world.release("C")
    world.metrics["request-success-rate"] = Sample(0.0)
    world.run()
    assert promoted(world) == "False"


def promoted(world: World) -> str:
    condition = world.status.condition("Promoted")
    assert condition is not None
    assert condition.reason == world.status.phase.value
    return condition.status


def test_live_weights_and_not_the_status_are_the_starting_point() -> None:
    """3.1: a manual edit of the weights is honoured; the interval begins anew."""
    world = World(analysis={"interval": "10s", "threshold": 2, "stepWeight": 10}).bootstrap()
    world.release("B")
    world.run(until=Phase.PROGRESSING)
    world.tick()
    assert world.routes is not None
    world.routes = replace(world.routes, primary=50, canary=50)
    world.now += 10
    world.tick()
    assert world.status.canary_weight == 50
    world.now += 10
    world.tick()
    assert world.status.canary_weight == 60


def test_drift_is_repaired_on_every_tick_in_every_phase_with_the_weights_kept() -> None:
    world = World().bootstrap()
    world.release("B")
    for _ in range(40):
        decision = world.tick()
        world.settle()
        assert any(isinstance(effect, EnsureRoutes) for effect in decision.effects)
        repaired = next(effect for effect in decision.effects if isinstance(effect, EnsureRoutes))
        assert world.routes is not None
        assert repaired.routes.primary + repaired.routes.canary == 100
        if decision.wake_after is None:
            break
        world.now += decision.wake_after
