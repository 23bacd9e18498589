"""`onFailure: hold`: a verdict against a run waits for a person, and `canary.dev/command` is how the person answers."""

from __future__ import annotations

from typing import Any

import pytest

from canary.api.common import Condition
from canary.api.status import Phase, RunStatus
from canary.core.conditions import Facts, ReadyPolicy, compute
from canary.core.model import CloseRun, Routes, Sample
from canary.core.telling import Notice, Severity
from tests.core.simulate import Copy, CrashError, Readiness, World, replace_world, rev

RATE = {"name": "request-success-rate", "thresholdRange": {"min": 99}}
BAD, GOOD = Sample(50.0), Sample(100.0)
WHY = "failed checks threshold reached 1 (success rate 50.00% < 99%)"


def running(**analysis: Any) -> World:
    """A run at weight 10 whose next checks are due."""
    given = {"interval": "10s", "threshold": 1, "onFailure": "hold", "stepWeight": 10, "maxWeight": 30, "metrics": [RATE], **analysis}
    world = World(analysis=given).bootstrap()
    world.release("B")
    world.run(until=Phase.PROGRESSING)
    world.tick()
    world.settle()
    world.now += 10
    world.forget()
    return world


def held(**analysis: Any) -> World:
    """The same, condemned by its checks."""
    world = running(**analysis)
    world.metrics["request-success-rate"] = BAD
    world.run()
    world.metrics["request-success-rate"] = GOOD
    assert run(world).held
    return world


def run(world: World) -> RunStatus:
    assert world.status.run is not None
    return world.status.run


def alarms(world: World) -> list[Notice]:
    return [notice for notice in world.notices if notice.severity is Severity.ERROR]


def said(world: World, kind: str) -> list[str]:
    return [notice.message for notice in world.notices if notice.kind == kind]


def promoted(world: World) -> Condition:
    condition = world.status.condition("Promoted")
    assert condition is not None
    return condition


# ------------------------------------------------------------------------------------------------ waiting


def test_the_verdict_is_stored_and_the_status_says_what_failed_and_what_to_write() -> None:
    world = held()
    assert (world.status.phase, world.routes, run(world).held) == (Phase.PROGRESSING, Routes(90, 10), WHY)
    assert (promoted(world).status, promoted(world).reason) == ("Unknown", "Held")
    for words in ("canary.dev/command", "abort@", "retry@", "promote@", WHY):
        assert words in promoted(world).message
    (alarm,) = alarms(world)
    assert (alarm.kind, alarm.warning, alarm.with_checks) == ("AnalysisHeld", True, True)
    assert WHY in alarm.message
    assert "abort@" in alarm.alert
    assert world.decisions[-1].wake_after is None


def test_another_process_goes_on_waiting_and_raises_no_second_alarm() -> None:
    world = held()
    later = replace_world(world)
    later.notices = []
    for _ in range(3):
        later.now += 60
        assert later.tick().wake_after is None
    assert later.notices == []
    assert later.status == world.status


@pytest.mark.parametrize("crash_at", range(6))
def test_a_crash_in_the_tick_of_the_verdict_neither_loses_nor_doubles_the_alarm(crash_at: int) -> None:
    world = running()
    world.metrics["request-success-rate"] = BAD
    for _ in range(3):
        try:
            world.tick(crash_at=crash_at)
        except CrashError:
            world.tick()
    assert run(world).held == WHY
    assert len(alarms(world)) == 1


def test_a_raised_threshold_does_not_let_a_held_run_go_on() -> None:
    world = held()
    world.edit(threshold=10)
    world.run()
    assert (run(world).held, world.routes) == (WHY, Routes(90, 10))


def test_the_spec_may_decide_to_roll_back_after_all() -> None:
    world = held()
    world.edit(onFailure="rollback")
    world.run()
    assert (world.status.phase, world.status.failure_reason) == (Phase.FAILED, WHY)
    assert run(world).held == ""


def test_a_new_revision_starts_over_and_may_be_held_again_with_an_alarm_of_its_own() -> None:
    world = held()
    world.release("C")
    world.metrics["request-success-rate"] = BAD
    world.run()
    assert run(world).held
    assert len(alarms(world)) == 2


def test_the_last_copy_that_serves_keeps_the_traffic_of_a_held_run() -> None:
    world = held()
    world.primary = None
    world.run(ticks=3, until=Phase.PROGRESSING)
    assert world.served() == 1.0
    assert (world.status.phase, run(world).held, run(world).sole) == (Phase.PROGRESSING, WHY, True)


@pytest.mark.parametrize("readiness", [Readiness.STUCK])
def test_a_deadline_is_no_verdict_and_rolls_back(readiness: Readiness) -> None:
    world = running()
    assert isinstance(world.target, Copy)
    world.target.readiness = readiness
    world.run()
    assert world.status.phase is Phase.FAILED
    assert world.status.failure_reason.startswith("canary not ready")


def test_a_held_run_whose_target_loses_its_pods_for_good_is_rolled_back() -> None:
    world = held()
    world.crash_pods("app")
    world.pass_deadline("app")
    world.run()
    assert (world.status.phase, world.served()) == (Phase.FAILED, 1.0)


def test_who_waits_for_the_verdict_is_told_that_a_person_is_needed() -> None:
    facts = Facts(phase=Phase.PROGRESSING, serving=True, waiting=WHY)
    found = {one.type: one for one in compute((), facts, now=1.0, policy=ReadyPolicy.ANALYSIS)}
    assert (found["Stalled"].reason, found["Ready"].reason, found["Ready"].status) == ("Held", "Held", "Unknown")
    assert "Reconciling" not in found
    workload = {one.type: one for one in compute((), facts, now=1.0, policy=ReadyPolicy.WORKLOAD)}
    assert "Stalled" not in workload
    assert workload["Ready"].status == "True", "users are served"


def test_without_hold_nothing_of_this_is_in_the_status() -> None:
    world = running(onFailure="rollback")
    world.metrics["request-success-rate"] = BAD
    world.run()
    assert world.status.phase is Phase.FAILED
    assert not {"held", "decided"} & run(world).to_dict().keys()
    assert promoted(world).reason == "Failed"


# ------------------------------------------------------------------------------------------------ commands


def test_abort_rolls_a_held_run_back_and_says_who_and_why() -> None:
    world = held()
    world.command("abort@1", by="alice", reason="  the cache\n is cold ")
    world.run()
    assert (world.status.phase, world.routes) == (Phase.FAILED, Routes(100, 0))
    assert world.status.failure_reason == f"abort by alice: the cache is cold (it was held: {WHY})"
    assert world.status.last_command == "abort@1"
    assert said(world, "Aborted") == ["Rolling back app.test on command: abort by alice: the cache is cold"]


def test_abort_rolls_back_a_run_that_is_well() -> None:
    world = running(onFailure="rollback")
    world.command("abort@1")
    world.run()
    assert (world.status.phase, world.status.failure_reason) == (Phase.FAILED, "abort by a person")


def test_abort_does_not_wait_for_pods() -> None:
    world = running()
    world.crash_pods("app")
    world.command("abort@1")
    world.tick()
    assert (world.routes, run(world).rolling_back) == (Routes(100, 0), "abort by a person")


def test_abort_refuses_a_revision_that_waits_for_approval() -> None:
    world = World()
    world.hook("gate", "confirm-rollout", answer=False)
    world.bootstrap()
    world.release("B")
    world.tick()
    assert world.status.phase is Phase.WAITING
    world.command("abort@1", by="bob")
    world.run()
    assert (world.status.phase, world.status.failure_reason) == (Phase.FAILED, "abort by bob")
    assert world.status.last_applied_spec == rev("B"), "it is not tried again"


def test_retry_analyses_again_at_the_present_weight_one_interval_later() -> None:
    world = held()
    world.command("retry@1", by="alice")
    world.forget()
    decision = world.tick()
    assert (decision.wake_after, world.status.failed_checks, run(world).held, run(world).decided) == (10, 0, "", "retry by alice")
    assert (world.routes, world.asked) == (Routes(90, 10), [])
    assert promoted(world).reason == "Progressing"
    world.now += 10
    world.tick()
    assert world.status.canary_weight == 20
    world.run()
    assert world.status.phase is Phase.SUCCEEDED


def test_a_retry_that_fails_again_is_held_again_with_a_second_alarm() -> None:
    world = held()
    world.metrics["request-success-rate"] = BAD
    world.command("retry@1")
    world.run()
    assert run(world).held == WHY
    assert len(alarms(world)) == 2


def test_promote_overrules_the_verdict_and_the_outcome_says_so() -> None:
    world = held()
    world.command("promote@1", by="alice", reason="known fault")
    world.run()
    assert world.status.phase is Phase.SUCCEEDED
    (close,) = [effect for effect in world.effects if isinstance(effect, CloseRun)]
    assert close.reason == f"Promoted: promote by alice: known fault, against the verdict: {WHY}"
    assert run(world).held == ""
    assert said(world, "PromotedByCommand")


def test_promote_waits_for_a_closed_gate_and_is_obeyed_when_it_opens() -> None:
    world = held()
    world.hook("gate", "confirm-promotion", answer=False)
    world.command("promote@1")
    for _ in range(2):
        assert world.tick().wake_after == 10
        world.now += 10
    assert (world.status.phase, world.status.last_command, run(world).held) == (Phase.PROGRESSING, "", WHY)
    world.hooks["gate"] = True
    world.run()
    assert world.status.phase is Phase.SUCCEEDED


def test_promote_waits_until_the_target_is_ready() -> None:
    world = held()
    world.crash_pods("app")
    world.command("promote@1")
    world.tick()
    assert (world.status.phase, world.status.last_command) == (Phase.PROGRESSING, "")
    world.settle()
    world.run()
    assert world.status.phase is Phase.SUCCEEDED


def test_a_command_is_obeyed_once() -> None:
    world = held()
    world.command("abort@1")
    world.run()
    world.release("C")
    world.run()
    assert world.status.phase is Phase.SUCCEEDED
    assert len(said(world, "Aborted")) == 1


@pytest.mark.parametrize("crash_at", range(4))
@pytest.mark.parametrize(("verb", "end"), [("abort", Phase.FAILED), ("promote", Phase.SUCCEEDED), ("retry", Phase.SUCCEEDED)])
def test_a_crash_neither_loses_nor_repeats_a_command(verb: str, end: Phase, crash_at: int) -> None:
    world = held()
    world.command(f"{verb}@1")
    try:
        world.tick(crash_at=crash_at)
    except CrashError:
        world.tick()
    world.run()
    assert (world.status.phase, world.status.last_command) == (end, f"{verb}@1")


@pytest.mark.parametrize("verb", ["retry", "promote"])
def test_a_forgotten_command_decides_nothing_later(verb: str) -> None:
    world = running()
    world.command(f"{verb}@1")
    world.tick()
    assert "does not wait for a person" in said(world, "CommandRefused")[0]
    world.metrics["request-success-rate"] = BAD
    world.run()
    assert run(world).held == WHY, "a word from before the verdict is no answer to it"


@pytest.mark.parametrize("verb", ["abort", "retry", "promote"])
def test_a_command_to_a_canary_at_rest_is_refused_and_does_not_meet_the_next_revision(verb: str) -> None:
    world = World().bootstrap()
    world.command(f"{verb}@1")
    world.tick()
    assert "no run is under way" in said(world, "CommandRefused")[0]
    world.release("B")
    world.run()
    assert world.status.phase is Phase.SUCCEEDED
    assert len(said(world, "CommandRefused")) == 1


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("abbort@1", "unknown verb 'abbort'; use abort, retry, promote"),
        ("abort", "it has no nonce; write abort@"),
        ("abort@", "it has no nonce"),
        ("@1", "unknown verb ''"),
        ("x" * 5000, "unknown verb"),
    ],
)
def test_what_cannot_be_read_is_refused_once_with_a_sentence(text: str, words: str) -> None:
    world = held()
    world.command(text)
    for _ in range(3):
        world.tick()
    (message,) = said(world, "CommandRefused")
    assert words in message
    assert len(message) < 1024
    assert run(world).held == WHY


def test_abort_comes_too_late_for_a_promotion() -> None:
    world = running(onFailure="rollback")
    world.run(until=Phase.PROMOTING)
    world.command("abort@1")
    world.run()
    assert world.status.phase is Phase.SUCCEEDED
    assert "the promotion has begun" in said(world, "CommandRefused")[0]


def test_a_suspended_canary_answers_when_it_is_resumed() -> None:
    world = held()
    world.edit_spec(suspend=True)
    world.command("abort@1")
    world.tick()
    assert world.status.last_command == ""
    world.edit_spec(suspend=False)
    world.run()
    assert world.status.phase is Phase.FAILED


def test_the_evidence_of_the_run_says_who_decided() -> None:
    world = held()
    world.command("retry@1", by="alice")
    world.tick()
    assert run(world).history[-1].gates == ("command: retry by alice",)
    assert run(world).history[-1].failed == 0


def test_a_rollback_hook_is_heard_while_a_promotion_waits_for_its_gate() -> None:
    world = held()
    world.hook("gate", "confirm-promotion", answer=False)
    world.hook("panic", "rollback", answer=True)
    world.command("promote@1")
    world.run()
    assert (world.status.phase, world.status.failure_reason) == (Phase.FAILED, "rollback hook panic")
