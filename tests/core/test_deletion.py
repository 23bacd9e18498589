"""Deletion, the finalizer, suspension, and what could not be observed (reference 2.8, 2.15, Q13, Q44, Q45)."""

from __future__ import annotations

import pytest

from canary.api.status import Phase
from canary.core.model import PauseScaler, Readiness, Revert, SetFinalizer, Unknown
from canary.core.telling import Severity
from tests.core.simulate import FINALIZER, Copy, World


def leaving(*, revert: bool = True, has_scaler: bool = False) -> World:
    """A canary at rest that is being deleted."""
    world = World(spec={"revertOnDeletion": revert}, has_scaler=has_scaler)
    world.run()
    world.forget()
    world.deleted = True
    return world


def target(world: World) -> Copy:
    assert isinstance(world.target, Copy)
    return world.target


def test_the_target_serves_again_before_anything_is_removed() -> None:
    world = leaving(has_scaler=True)
    assert world.finalizers == [FINALIZER]
    first = world.tick()
    revived = (PauseScaler(paused=False), Revert("target"))
    assert (first.status.phase, first.effects, first.wake_after) == (Phase.TERMINATING, revived, 0)
    second = world.tick()
    assert second.effects == revived
    assert not world.gone
    world.settle()
    third = world.tick()
    assert third.effects[-3:] == (Revert("services"), Revert("routes"), SetFinalizer(present=False))
    assert world.gone
    assert target(world).ready > 0
    assert world.kinds()[0] == "Terminating"
    assert world.kinds()[-1] == "Terminated"


def test_q13_nothing_else_ticks_during_deletion() -> None:
    world = leaving()
    world.release("B")
    world.tick()
    decision = world.tick()
    assert all(isinstance(effect, Revert | PauseScaler | SetFinalizer) for effect in decision.effects)


def test_u19_a_target_past_its_deadline_keeps_the_primary_and_alerts() -> None:
    world = leaving()
    world.tick()
    world.tick()
    world.pass_deadline("app")
    decision = world.tick()
    assert not world.gone
    assert decision.wake_after == 10
    assert [notice.severity for notice in decision.notices] == [Severity.ERROR]


def test_q45_deletion_does_not_hang_when_nothing_serves_any_more() -> None:
    world = leaving()
    world.primary = None
    world.broken.add(target(world).revision)
    for _ in range(6):
        world.tick()
        world.settle()
        world.pass_deadline("app")
        if world.gone:
            break
    assert world.gone


def test_q45_deletion_does_not_hang_on_an_application_that_went_first() -> None:
    world = leaving()
    world.target = Unknown("NotFound", "deployment app not found")
    world.primary = None
    world.tick()
    world.tick()
    assert world.gone


def test_a_target_that_cannot_be_read_is_waited_for() -> None:
    world = leaving()
    world.target = Unknown("Unavailable", "timeout")
    world.tick()
    assert world.tick().wake_after == 10
    assert not world.gone


def test_a_daemon_set_without_nodes_does_not_hang_the_deletion() -> None:
    world = leaving()
    world.kind = "DaemonSet"
    world.generation += 1
    assert world.primary is not None
    world.primary.replicas = world.primary.ready = 0
    world.tick()
    target(world).replicas, target(world).readiness = 0, Readiness.READY
    decision = world.decide()
    assert SetFinalizer(present=False) in decision.effects


def test_a_primary_that_its_autoscaler_scaled_to_zero_does_not_let_the_target_stay_there() -> None:
    world = leaving(has_scaler=True)
    assert world.primary is not None
    world.primary.replicas = world.primary.ready = 0
    world.run()
    assert world.gone
    assert target(world).ready > 0


def test_q44_without_revert_the_coming_outage_is_said_aloud_and_nothing_is_done() -> None:
    world = leaving(revert=False)
    decision = world.tick()
    assert (decision.effects, decision.wake_after) == ((), None)
    assert decision.status == world.status
    assert [(notice.severity, notice.once) for notice in decision.notices] == [(Severity.ERROR, True)]


def test_turning_revert_off_while_deleting_lets_it_go() -> None:
    world = leaving()
    world.edit_spec(revertOnDeletion=False)
    world.tick()
    assert world.gone


def test_a_run_that_is_deleted_is_canceled() -> None:
    world = World(spec={"revertOnDeletion": True}).bootstrap()
    world.release("B")
    world.run(until=Phase.PROGRESSING)
    world.tick()
    world.deleted = True
    world.run()
    assert world.gone
    assert list(world.runs.values()) == ["Canceled"]


# ------------------------------------------------------------------------------------------------ suspend


def test_a_suspended_canary_says_so_once_and_does_nothing() -> None:
    world = World().bootstrap()
    world.release("B")
    world.run(until=Phase.PROGRESSING)
    world.tick()
    world.forget()
    world.edit_spec(suspend=True)
    decision = world.tick()
    assert (decision.effects, decision.wake_after) == ((), None)
    assert [(notice.kind, notice.once) for notice in decision.notices] == [("Suspended", True)]
    assert decision.status.phase is Phase.PROGRESSING
    assert decision.status.observed_generation == world.generation
    assert decision.status.condition("Reconciling") is None
    assert decision.status.condition("Ready") is not None


def test_a_suspended_run_resumes_where_the_live_weights_are() -> None:
    world = World().bootstrap()
    world.release("B")
    world.run(until=Phase.PROGRESSING)
    world.tick()
    world.edit_spec(suspend=True)
    world.tick()
    world.edit_spec(suspend=False)
    world.now += 10
    world.tick()
    assert world.status.canary_weight == 20


def test_deletion_is_not_suspended() -> None:
    world = World(spec={"suspend": True, "revertOnDeletion": True})
    world.tick()
    assert world.finalizers == [FINALIZER]
    world.deleted = True
    world.run()
    assert world.gone


def test_a_new_suspended_canary_gets_no_status() -> None:
    world = World(spec={"suspend": True})
    assert world.tick().status.to_dict() == {"phase": "", "failedChecks": 0, "canaryWeight": 0, "iterations": 0}


# ------------------------------------------------------------------------------------------------ not observed


@pytest.mark.parametrize(("reason", "stalled"), [("NotFound", True), ("Forbidden", True), ("Rejected", True), ("Unavailable", False)])
def test_a_missing_target_ends_the_tick_with_one_warning_and_stalls_only_if_it_is_the_users_fault(reason: str, stalled: bool) -> None:
    world = World()
    world.target = Unknown(reason, "deployment app.test")
    decision = world.tick()
    assert (decision.effects, decision.wake_after) == ((), 10)
    assert [(notice.warning, notice.once) for notice in decision.notices] == [(True, True)]
    assert decision.status.phase is Phase.INITIALIZING
    assert (decision.status.condition("Stalled") is not None) is stalled
    assert decision.status.condition("Promoted") is not None


def test_being_found_again_ends_the_stall() -> None:
    world = World()
    world.target, kept = Unknown("NotFound", "x"), world.target
    world.tick()
    world.target = kept
    world.run()
    assert world.status.condition("Stalled") is None
    assert world.status.phase is Phase.INITIALIZED


def test_a_request_of_flux_is_answered_once() -> None:
    world = World().bootstrap()
    world.annotations["reconcile.fluxcd.io/requestedAt"] = "2027-01-15T08:00:00Z"
    world.tick()
    assert world.status.last_handled_reconcile_at == "2027-01-15T08:00:00Z"
    world.tick()
    assert world.writes == 1
