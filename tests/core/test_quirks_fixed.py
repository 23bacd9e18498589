"""Upstream's quirks that concern the rules (reference 6), one test each for what we do instead."""

from __future__ import annotations

from dataclasses import replace

import pytest

from canary.api.status import Phase
from canary.core.errors import Conflict
from canary.core.model import (
    EnsurePrimary,
    EnsureRoutes,
    EnsureServices,
    Promote,
    Readiness,
    Routes,
    Sample,
    ScaleTarget,
    SetRoutes,
    Unknown,
)
from canary.core.telling import Notice, Severity
from tests.core.simulate import Copy, World, rev

MATCH = [{"headers": {"x-canary": {"exact": "insider"}}}]


def target(world: World) -> Copy:
    assert isinstance(world.target, Copy)
    return world.target


def primary(world: World) -> Copy:
    assert world.primary is not None
    return world.primary


def alerts(world: World, severity: Severity) -> list[Notice]:
    return [notice for notice in world.notices if notice.severity is severity]


def at_weight(weight: int, **analysis: object) -> World:
    """Revision B under analysis with this share of the traffic."""
    world = World(analysis={"interval": "10s", "threshold": 2, "stepWeight": weight, **analysis}).bootstrap()
    world.release("B")
    world.run(until=Phase.PROGRESSING)
    world.tick()
    assert world.routes == Routes(100 - weight, weight)
    world.now += 10
    world.forget()
    return world


def failed_promotion() -> World:
    """B passed and was copied, and the primary never became ready with it; the target serves B."""
    world = World().bootstrap()
    world.release("B")
    world.run(until=Phase.PROMOTING)
    world.tick()
    primary(world).ready, primary(world).readiness = 0, Readiness.STUCK
    world.run(settle=False)
    assert world.status.phase is Phase.FAILED
    world.forget()
    return world


# ------------------------------------------------------------------------------------------------ Q1, Q2: failed promotions


def test_q1_the_revision_after_a_failed_promotion_does_not_take_the_only_healthy_copy_away() -> None:
    world = failed_promotion()
    world.on_effect = lambda _, effect, before, after: check(effect, before, after)
    world.release("C")
    world.settle("app")
    world.run(until=Phase.PROMOTING, settle=False)
    assert world.routes == Routes(0, 100)
    assert world.served() == 1.0
    world.tick()
    world.settle()
    world.run()
    assert world.status.phase is Phase.SUCCEEDED
    assert primary(world).revision == rev("C")
    assert (world.routes, target(world).replicas) == (Routes(100, 0), 0)


def check(effect: object, before: float, after: float) -> None:
    assert after >= before, effect


def test_q1_a_bad_revision_after_a_failed_promotion_keeps_the_target_that_serves() -> None:
    world = failed_promotion()
    world.release("C")
    world.settle("app")
    world.metrics["request-success-rate"] = Sample(0.0)
    world.run(settle=False)
    assert world.status.phase is Phase.FAILED
    assert (world.routes, world.status.canary_weight) == (Routes(0, 100), 100)
    assert target(world).replicas > 0
    assert ScaleTarget(up=False) not in world.effects


def test_q1_without_a_mesh_the_services_follow_the_copy_that_serves() -> None:
    world = World(analysis={"interval": "10s", "threshold": 2, "iterations": 1}, provider="kubernetes").bootstrap()
    world.release("B")
    world.run(until=Phase.PROMOTING)
    world.tick()
    primary(world).ready, primary(world).readiness = 0, Readiness.STUCK
    world.run(settle=False)
    assert world.status.phase is Phase.FAILED
    assert EnsureServices(apex=True, to_target=True) in world.effects
    assert world.served() == 1.0


def test_q1_the_check_passes_again_once_the_primary_recovers_by_itself() -> None:
    world = failed_promotion()
    world.settle()
    world.run()
    assert world.routes == Routes(0, 100), "nothing is known to be promoted: traffic stays"
    world.release("C")
    world.run(until=Phase.PROGRESSING)
    assert world.routes == Routes(100, 0), "a release starts from the primary"
    world.run()
    assert world.status.phase is Phase.SUCCEEDED


def test_q2_a_target_stuck_while_promoting_does_not_undo_a_promotion_that_succeeded() -> None:
    world = World().bootstrap()
    world.release("B")
    world.run(until=Phase.PROMOTING)
    world.tick()
    world.settle("app-primary")
    world.broken.add(rev("C"))
    world.release("C")
    world.pass_deadline("app")
    world.run(until=Phase.SUCCEEDED)
    assert world.status.last_promoted_spec == rev("B") == primary(world).revision
    assert world.routes == Routes(100, 0)
    world.run(until=Phase.PROGRESSING)
    assert world.status.last_applied_spec == rev("C"), "the other change is a release of its own"


def test_q2_after_a_failed_promotion_the_old_revision_is_a_release_that_repairs() -> None:
    world = failed_promotion()
    assert world.status.last_promoted_spec == ""
    world.release("A")
    world.settle("app")
    world.run(until=Phase.PROMOTING, settle=False)
    world.tick()
    world.settle()
    world.run()
    assert world.status.phase is Phase.SUCCEEDED
    assert primary(world).revision == rev("A")


def test_a_promotion_whose_target_dies_first_falls_back_on_what_the_primary_still_serves() -> None:
    world = World().bootstrap()
    world.release("B")
    world.run(until=Phase.PROMOTING)
    world.tick()
    primary(world).ready, primary(world).readiness = 1, Readiness.STUCK
    world.crash_pods("app")
    world.run(settle=False)
    assert world.status.phase is Phase.FAILED
    assert (world.routes, world.status.canary_weight) == (Routes(100, 0), 0)


def test_a_primary_that_loses_all_pods_while_finalising_gives_its_traffic_back_at_once() -> None:
    world = World().bootstrap()
    world.release("B")
    world.run(until=Phase.FINALISING)
    world.crash_pods("app-primary")
    world.tick()
    assert world.routes == Routes(0, 100)
    world.settle()
    world.run()
    assert world.status.phase is Phase.SUCCEEDED
    assert world.routes == Routes(100, 0)


def test_a_target_that_dies_while_promoting_does_not_hold_the_traffic() -> None:
    world = World(analysis={"interval": "10s", "threshold": 2, "iterations": 1, "match": MATCH}).bootstrap()
    world.release("B")
    world.run(until=Phase.PROMOTING)
    world.tick()
    world.settle()
    world.crash_pods("app")
    world.tick()
    assert world.routes == Routes(100, 0)


def test_a_primary_that_is_recreated_rather_than_rolled_leaves_nobody_without_an_answer() -> None:
    world = World(analysis={"interval": "10s", "threshold": 2, "iterations": 1}, provider="kubernetes", recreate=True).bootstrap()
    world.release("B")
    world.run(until=Phase.PROMOTING)
    world.tick()
    assert primary(world).ready == 0
    world.tick()
    assert world.served() == 1.0
    world.settle()
    world.run()
    assert world.status.phase is Phase.SUCCEEDED
    assert (world.served(), world.apex_on_target) == (1.0, False)


# ------------------------------------------------------------------------------------------------ Q3: deadline alerts


@pytest.mark.parametrize("skip", [False, True])
def test_q3_a_target_past_its_deadline_raises_an_error_alert(skip: bool) -> None:
    world = World(spec={"skipAnalysis": skip}).bootstrap()
    world.broken.add(rev("B"))
    world.release("B")
    world.run(until=Phase.PROGRESSING)
    world.pass_deadline("app")
    world.run()
    assert world.status.phase is Phase.FAILED
    assert [notice.kind for notice in alerts(world, Severity.ERROR)] == ["Stuck"]
    assert "progress deadline exceeded" in alerts(world, Severity.ERROR)[0].message


def test_q3_a_primary_past_its_deadline_raises_an_error_alert() -> None:
    world = at_weight(10)
    primary(world).readiness = Readiness.STUCK
    world.run()
    assert world.status.phase is Phase.FAILED
    assert [notice.kind for notice in alerts(world, Severity.ERROR)] == ["Stuck"]


def test_a_primary_stuck_before_anything_began_fails_the_pending_revision() -> None:
    world = World().bootstrap()
    primary(world).ready, primary(world).readiness = 1, Readiness.STUCK
    world.release("B")
    world.run()
    assert world.status.phase is Phase.FAILED
    assert world.status.last_applied_spec == rev("B"), "it is not tried again"
    assert alerts(world, Severity.ERROR)


# ------------------------------------------------------------------------------------------------ Q4: drift


def test_q4_repairing_drift_keeps_weights_and_mirroring() -> None:
    world = at_weight(30)
    repaired = [effect for effect in world.tick().effects if isinstance(effect, EnsureRoutes)]
    assert [(each.routes.primary, each.routes.canary) for each in repaired] == [(70, 30)]
    world.routes = Routes(100, 0, mirrored=True)
    repaired = [effect for effect in world.tick().effects if isinstance(effect, EnsureRoutes)]
    assert repaired[0].routes.mirrored


def test_q4_a_deleted_traffic_object_comes_back_with_the_weights_of_the_run() -> None:
    world = at_weight(30)
    world.routes = None
    world.now -= 5
    world.tick()
    assert world.routes == Routes(70, 30)


def test_q4_routes_that_cannot_be_read_stop_the_steps_and_not_the_rollback() -> None:
    world = at_weight(30)
    world.routes = Unknown("NotAccepted", "the gateway does not accept the route")
    decision = world.tick()
    assert not decision.checks_run
    assert "NotObserved" in world.kinds()
    world.routes = Unknown("NotAccepted", "the gateway does not accept the route")
    world.pass_deadline("app")
    target(world).readiness = Readiness.STUCK
    world.run()
    assert world.status.phase is Phase.FAILED
    assert world.routes == Routes(100, 0)


# ------------------------------------------------------------------------------------------------ Q6-Q9: odd phases


def test_q6_mirror_on_a_mesh_that_cannot_mirror_is_a_plain_weighted_release() -> None:
    world = World(analysis={"interval": "10s", "threshold": 2, "stepWeight": 50, "mirror": True}, can_mirror=False).bootstrap()
    world.release("B")
    world.run()
    assert world.status.phase is Phase.SUCCEEDED


def test_q7_waiting_for_promotion_reports_the_live_weight() -> None:
    world = World()
    world.hook("gate", "confirm-promotion", answer=False)
    world.bootstrap()
    world.release("B")
    world.run(until=Phase.WAITING_PROMOTION)
    assert (world.status.canary_weight, world.status.iterations) == (30, 0)
    assert world.routes == Routes(70, 30)


def test_q8_a_rollback_hook_is_heard_while_the_target_is_not_ready() -> None:
    world = World()
    world.hook("wish", "rollback")
    world.bootstrap()
    world.release("B")
    world.broken.add(rev("B"))
    world.run()
    assert world.status.phase is Phase.FAILED
    assert "RollbackSignaled" in world.kinds()


def test_q8_a_rollback_hook_is_heard_while_a_revision_waits_for_approval() -> None:
    world = World()
    world.hook("gate", "confirm-rollout", answer=False)
    world.hook("wish", "rollback", answer=False)
    world.bootstrap()
    world.release("B")
    world.tick()
    world.tick()
    assert world.status.phase is Phase.WAITING
    world.hooks["wish"] = True
    world.run()
    assert world.status.phase is Phase.FAILED
    assert world.status.last_applied_spec == rev("B")
    assert world.calls("rollback")[-1] == ("wish", "Waiting")


def test_q9_going_back_to_the_promoted_revision_cancels_the_run() -> None:
    world = at_weight(30)
    run = world.status.run
    world.release("A")
    world.settle()
    world.run()
    assert world.status.phase is Phase.INITIALIZED
    assert (world.routes, target(world).replicas) == (Routes(100, 0), 0)
    assert run is not None
    assert world.runs[run.id] == "Canceled"
    assert not any(isinstance(effect, Promote) for effect in world.effects)
    assert "RunCanceled" in world.kinds()
    world.release("B")
    world.run()
    assert world.status.phase is Phase.SUCCEEDED, "the canceled revision may be released again"


def test_q9_going_back_by_template_with_other_configs_is_not_going_back() -> None:
    world = World()
    world.configs = {"configmap/app": "1"}
    world.bootstrap()
    world.release("B")
    world.run(until=Phase.PROGRESSING)
    world.release("A", configs={"configmap/app": "2"})
    world.settle()
    world.tick()
    assert "AnalysisRestarted" in world.kinds()


def test_q9_undoing_the_config_that_started_the_run_cancels_it() -> None:
    world = World()
    world.configs = {"configmap/app": "1"}
    world.bootstrap()
    world.configs = {"configmap/app": "2"}
    world.run(until=Phase.PROGRESSING)
    world.configs = {"configmap/app": "1"}
    world.run()
    assert world.status.phase is Phase.INITIALIZED
    assert "RunCanceled" in world.kinds()


# ------------------------------------------------------------------------------------------------ Q10, Q11: schedules


def test_q10_a_weight_edited_by_hand_goes_on_with_the_next_higher_step() -> None:
    world = World(analysis={"interval": "10s", "threshold": 2, "stepWeights": [10, 20, 60]}).bootstrap()
    world.release("B")
    world.run(until=Phase.PROGRESSING)
    world.tick()
    world.routes = Routes(85, 15)
    world.now += 10
    world.tick()
    world.now += 10
    world.tick()
    assert world.routes == Routes(80, 20)


def test_q11_promoting_with_no_weight_left_goes_on() -> None:
    world = World(analysis={"interval": "10s", "threshold": 2, "stepWeight": 100, "stepWeightPromotion": 50}).bootstrap()
    world.release("B")
    world.run(until=Phase.PROMOTING)
    world.routes = Routes(100, 0)
    world.run()
    assert world.status.phase is Phase.SUCCEEDED


def test_q11_a_schedule_without_steps_says_so() -> None:
    world = World(analysis={"interval": "10s", "threshold": 2, "stepWeight": 0}).bootstrap()
    world.release("B")
    world.run(until=Phase.PROGRESSING)
    world.tick()
    assert "NoStep" in world.kinds()
    stalled = world.status.condition("Stalled")
    assert stalled is not None
    assert "stepWeight" in stalled.message
    world.edit(stepWeight=50)
    world.now += 10
    world.run()
    assert world.status.phase is Phase.SUCCEEDED
    assert world.status.condition("Stalled") is None


# ------------------------------------------------------------------------------------------------ Q12: deleted primary


def test_q12_a_deleted_primary_is_made_again_from_the_promoted_revision() -> None:
    world = World().bootstrap()
    world.primary = None
    decision = world.tick()
    assert EnsurePrimary(rev("A")) in decision.effects
    assert alerts(world, Severity.ERROR)
    world.settle()
    world.run()
    assert (world.status.phase, world.served()) == (Phase.INITIALIZED, 1.0)


@pytest.mark.parametrize("provider", ["istio", "kubernetes"])
def test_q12_no_primary_is_made_from_a_revision_that_failed(provider: str) -> None:
    world = World(analysis={"interval": "10s", "threshold": 1, "iterations": 1, "metrics": [{"name": "request-success-rate"}]})
    world.provider = provider
    world.bootstrap()
    world.release("B")
    world.metrics["request-success-rate"] = Sample(error="down")
    world.run()
    assert world.status.phase is Phase.FAILED
    world.forget()
    world.primary = None
    world.run()
    assert world.status.phase is Phase.FAILED
    assert world.primary is None
    assert not any(isinstance(effect, EnsurePrimary) for effect in world.effects)
    assert (world.served(), world.status.canary_weight) == (1.0, 100), "the only copy left serves"
    assert "PrimaryMissing" in world.kinds()
    world.release("A")
    world.settle()
    world.run()
    assert (primary(world).revision, world.status.canary_weight, world.served()) == (rev("A"), 0, 1.0)
    assert target(world).replicas == 0


def test_q12_in_the_middle_of_a_run_the_target_carries_on_and_becomes_the_primary_only_by_promotion() -> None:
    world = at_weight(30)
    world.primary = None
    world.tick()
    assert world.routes == Routes(0, 100)
    assert world.primary is None
    world.run()
    assert world.status.phase is Phase.SUCCEEDED
    assert primary(world).revision == rev("B")
    assert world.served() == 1.0
    assert (rev("B"), "None") in world.reviewed


def test_q12_the_guard_of_ensure_primary_is_the_revision_that_was_reviewed() -> None:
    world = World().bootstrap()
    world.primary = None
    decision = world.decide()
    world.release("B")
    with pytest.raises(Conflict):
        world.apply_all(decision.effects)


# ------------------------------------------------------------------------------------------------ Q21 and others


def test_q21_what_changed_before_the_copy_is_analysed_rather_than_promoted() -> None:
    world = World().bootstrap()
    world.release("B")
    world.run(until=Phase.PROMOTING)
    world.release("C")
    world.settle()
    decision = world.tick()
    assert not any(isinstance(effect, Promote) for effect in decision.effects)
    assert (decision.status.phase, decision.status.last_applied_spec) == (Phase.PROGRESSING, rev("C"))
    assert decision.status.last_promoted_spec == "", "a copy that crashed half-way cannot be told from none"


def test_q21_the_copy_names_the_revision_that_was_analysed() -> None:
    world = World()
    world.configs = {"configmap/app": "1"}
    world.bootstrap()
    world.release("B")
    world.run(until=Phase.PROMOTING)
    decision = world.decide()
    world.release("C")
    with pytest.raises(Conflict):
        world.apply_all(decision.effects)
    assert primary(world).revision == rev("A")


def test_q24_waiting_says_so_once() -> None:
    world = World()
    world.hook("gate", "confirm-rollout", answer=False)
    world.bootstrap()
    world.release("B")
    for _ in range(5):
        world.tick()
        world.now += 10
    assert world.kinds() == ["GateWaiting"]
    assert len(world.calls("confirm-rollout")) == 5


def test_q24_repeated_trouble_is_marked_to_be_told_once() -> None:
    world = World().bootstrap()
    world.release("B")
    world.run(until=Phase.PROGRESSING, settle=False)
    world.forget()
    world.tick()
    assert not world.notices, "a rollout that has just begun is no news"
    world.now += 10
    world.tick()
    assert [notice.once for notice in world.notices] == [True]


def test_q25_a_traffic_gate_alerts_once_per_wait() -> None:
    world = World()
    world.hook("gate", "confirm-traffic-increase", answer=False)
    world.bootstrap()
    world.release("B")
    world.run(until=Phase.PROGRESSING)
    world.tick()
    world.now += 10
    world.tick()
    waits = [notice for notice in world.notices if notice.kind == "GateWaiting"]
    assert len({notice.message for notice in waits}) == 1
    assert all(notice.once for notice in waits)
    world.hooks["gate"] = True
    world.now += 10
    world.tick()
    world.hooks["gate"] = False
    world.now += 10
    world.tick()
    messages = {notice.message for notice in world.notices if notice.kind == "GateWaiting"}
    assert len(messages) == 2, "waiting at the next weight is another wait, and another alert"


def test_q26_a_primary_scaled_to_zero_by_hand_stops_new_releases() -> None:
    world = World().bootstrap()
    primary(world).replicas = primary(world).ready = 0
    world.release("B")
    world.now += 10
    world.tick()
    assert world.status.phase is Phase.INITIALIZED
    assert "NotReady" in world.kinds()


def test_q26_a_primary_scaled_to_zero_by_its_autoscaler_does_not() -> None:
    world = World(has_scaler=True).bootstrap()
    primary(world).replicas = primary(world).ready = 0
    world.release("B")
    world.tick()
    assert world.status.phase is Phase.PROGRESSING


def test_q38_a_failed_canary_at_rest_is_not_written() -> None:
    world = World().bootstrap()
    world.release("B")
    world.metrics["request-success-rate"] = Sample(0.0)
    world.run()
    world.forget()
    for _ in range(5):
        world.now += 60
        world.tick()
    assert (world.status.phase, world.writes) == (Phase.FAILED, 0)


def test_q42_a_change_taken_back_while_it_waited_is_not_released() -> None:
    world = World()
    world.hook("gate", "confirm-rollout", answer=False)
    world.bootstrap()
    world.release("B")
    world.tick()
    assert world.status.phase is Phase.WAITING
    world.release("A")
    world.hooks["gate"] = True
    world.run()
    assert world.status.phase is Phase.INITIALIZED
    assert "NewRevision" not in world.kinds()
    assert "RevisionWithdrawn" in world.kinds()


def test_q42_going_back_to_the_failed_revision_while_another_waits_is_failed_again() -> None:
    world = World().bootstrap()
    world.release("B")
    world.metrics["request-success-rate"] = Sample(0.0)
    world.run()
    world.hook("gate", "confirm-rollout", answer=False)
    world.release("C")
    world.tick()
    assert world.status.phase is Phase.WAITING
    world.release("B")
    world.run()
    assert world.status.phase is Phase.FAILED


def test_q43_undoing_a_config_after_a_failure_is_no_release_and_doing_it_again_is() -> None:
    world = World()
    world.configs = {"configmap/app": "1"}
    world.bootstrap()
    world.configs = {"configmap/app": "2"}
    world.metrics["request-success-rate"] = Sample(0.0)
    world.run()
    assert world.status.phase is Phase.FAILED
    world.configs = {"configmap/app": "1"}
    world.run()
    assert world.status.phase is Phase.FAILED
    world.configs = {"configmap/app": "2"}
    world.tick()
    assert world.status.phase is Phase.PROGRESSING


def test_q51_skip_analysis_keeps_the_target_until_the_primary_is_ready() -> None:
    world = World(spec={"skipAnalysis": True}).bootstrap()
    world.release("B")
    world.run(until=Phase.PROMOTING)
    world.tick()
    for _ in range(3):
        world.tick()
        world.now += 10
    assert target(world).replicas > 0
    world.settle()
    world.run()
    assert target(world).replicas == 0


def test_the_bootstrap_never_takes_the_only_copy_away() -> None:
    """Upstream rolls back when the primary gets stuck at birth, and scales the target to zero."""
    world = World()
    world.tick()
    world.pass_deadline("app-primary")
    for _ in range(3):
        decision = world.tick()
        assert ScaleTarget(up=False) not in decision.effects
        world.now += 10
    assert world.status.phase is Phase.INITIALIZING
    assert alerts(world, Severity.ERROR)
    world.settle()
    world.run()
    assert world.status.phase is Phase.INITIALIZED


def test_a_bad_first_revision_is_mended_by_the_next_one() -> None:
    """Upstream never updates a primary that gets stuck at birth."""
    world = World()
    world.broken.add(rev("A"))
    target(world).ready = 0
    world.tick()
    world.pass_deadline("app-primary")
    world.tick()
    world.release("B")
    world.settle()
    world.run()
    assert world.status.phase is Phase.INITIALIZED
    assert primary(world).revision == world.status.last_promoted_spec == rev("B")


def test_skip_analysis_does_not_take_a_serving_target_away_in_the_bootstrap() -> None:
    world = World(spec={"skipAnalysis": True})
    world.tick()
    world.tick()
    assert target(world).replicas > 0
    world.settle()
    world.run()
    assert (world.status.phase, target(world).replicas) == (Phase.INITIALIZED, 0)


def test_skip_analysis_does_not_wait_in_the_bootstrap_when_nothing_is_lost() -> None:
    world = World(spec={"skipAnalysis": True})
    world.crash_pods("app")
    world.tick()
    world.tick()
    assert world.status.phase is Phase.INITIALIZED


def test_routes_move_before_the_target_goes_in_the_bootstrap() -> None:
    world = World()
    world.routes = Routes(0, 100)
    world.run()
    order = [type(effect) for effect in world.effects if isinstance(effect, SetRoutes | ScaleTarget)]
    assert order == [SetRoutes, ScaleTarget]
    assert world.routes == Routes(100, 0)


def test_a_primary_found_with_another_revision_is_not_called_promoted() -> None:
    """A canary that is created anew over a primary in use: what differs is released, not adopted."""
    world = World()
    world.primary = replace(target(world), name="app-primary", revision=rev("Z"))
    world.run(until=Phase.INITIALIZED)
    assert primary(world).revision == rev("Z")
    world.run()
    assert world.status.phase is Phase.SUCCEEDED
    assert primary(world).revision == rev("A")
    assert "NewRevision" in world.kinds()


def test_a_primary_that_its_autoscaler_scaled_to_zero_is_promoted_and_finalised_all_the_same() -> None:
    world = World(has_scaler=True).bootstrap()
    primary(world).replicas = primary(world).ready = 0
    world.release("B")
    for _ in range(40):
        decision = world.tick()
        primary(world).readiness = Readiness.READY
        world.settle("app")
        if decision.wake_after is None:
            break
        world.now += decision.wake_after
    assert world.status.phase is Phase.SUCCEEDED
    assert (world.routes, target(world).replicas) == (Routes(100, 0), 0)
