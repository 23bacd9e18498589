"""Hooks and metrics inside a tick: who is asked when, what counts, what is shown (reference 2.5, 2.9, 2.11)."""

from __future__ import annotations

from typing import Any

import pytest

from canary.api.status import Phase, Verdict
from canary.core import machine
from canary.core.model import HookAsk, HookResult, MetricAsk, MetricSource, ProvidersAsk, Routes, Sample
from canary.core.telling import Severity
from canary.core.turn import MissingAnswersError
from tests.core.simulate import Copy, Readiness, World, rev

TWO = [
    {"name": "request-success-rate", "thresholdRange": {"min": 99}},
    {"name": "request-duration", "thresholdRange": {"max": 500}},
    {"name": "errors", "templateRef": {"name": "errors", "namespace": "metrics"}, "thresholdRange": {"max": 1}, "interval": "30s"},
]


def due(**analysis: Any) -> World:
    """A run at weight 10 whose next analysis tick is due."""
    world = World(analysis={"interval": "10s", "threshold": 3, "stepWeight": 10, "metrics": TWO, **analysis}).bootstrap()
    world.release("B")
    world.run(until=Phase.PROGRESSING)
    world.tick()
    world.now += 10
    world.forget()
    return world


def test_metrics_of_a_tick_are_asked_together() -> None:
    world = due()
    asks = machine.needs(world.snapshot(), {})
    assert asks == (
        MetricAsk(0, MetricSource.BUILTIN),
        MetricAsk(1, MetricSource.BUILTIN),
        MetricAsk(2, MetricSource.TEMPLATE),
    )


def test_hooks_are_asked_one_at_a_time_and_the_first_failure_stops() -> None:
    world = due()
    world.hook("one", "rollout")
    world.hook("two", "", answer=False)
    world.hook("three", "rollout")
    snapshot = world.snapshot()
    first = machine.needs(snapshot, {})
    assert first == (HookAsk(0, Phase.PROGRESSING),)
    second = machine.needs(snapshot, {first[0]: HookResult(ok=True)})
    assert second == (HookAsk(1, Phase.PROGRESSING),)
    done = {first[0]: HookResult(ok=True), second[0]: HookResult(ok=False, message="no")}
    assert machine.needs(snapshot, done) == ()
    assert machine.decide(snapshot, done).status.failed_checks == 1


def test_deciding_with_answers_missing_is_a_bug_of_the_caller() -> None:
    with pytest.raises(MissingAnswersError, match="needs"):
        machine.decide(due().snapshot(), {})


def test_at_most_one_failed_check_is_counted_per_tick_and_all_are_shown() -> None:
    world = due()
    world.metrics = {"request-success-rate": Sample(50.0, query="q1"), "request-duration": Sample(900.0), "errors": Sample(error="down")}
    world.tick()
    assert world.status.failed_checks == 1
    assert [(check.name, check.verdict) for check in world.status.checks] == [
        ("request-success-rate", Verdict.FAIL),
        ("request-duration", Verdict.FAIL),
        ("errors", Verdict.ERROR),
    ]
    assert [notice.message for notice in world.notices] == ["Halt app.test advancement success rate 50.00% < 99%"]
    assert world.routes == Routes(90, 10)


def test_a_check_explains_itself() -> None:
    world = due()
    world.metrics["errors"] = Sample(0.5, query="sum(errors)", provider="datadog", samples=120)
    world.tick()
    check = world.status.checks[2]
    assert (check.value, check.query, check.samples, check.window, check.weight) == (0.5, "sum(errors)", 120, "30s", 10)
    assert check.bound is not None
    assert check.bound.max == 1
    assert check.source == "template/metrics/errors"
    assert check.message == "errors 0.50"
    assert check.time is not None
    assert check.time.timestamp() == world.now


def test_the_event_is_of_the_first_failure_in_upstreams_order() -> None:
    world = due(metrics=[TWO[2], TWO[0]])
    world.metrics = {"errors": Sample(5.0), "request-success-rate": Sample(1.0)}
    world.tick()
    assert "success rate" in world.notices[0].message, "built-ins come before templates, whatever the order of the list"


def test_no_values_say_what_is_probably_wrong() -> None:
    world = due()
    world.metrics["request-success-rate"] = Sample()
    world.tick()
    assert world.notices[0].message.startswith("Halt advancement no values found for prometheus metric request-success-rate")
    assert world.status.checks[0].verdict is Verdict.NO_DATA


def test_a_failed_rollout_hook_spares_the_metrics() -> None:
    world = due()
    world.hook("load", "rollout", answer=False)
    world.tick()
    assert not any(isinstance(ask, MetricAsk) for ask in world.asked)
    assert world.status.failed_checks == 1
    assert world.notices[0].message == "Halt app.test advancement external check load failed (rollout): said no"


@pytest.mark.parametrize("policy", [{"noData": "hold"}, {"onError": "hold"}])
def test_a_held_check_counts_nothing_and_takes_no_step(policy: dict[str, str]) -> None:
    world = due(metrics=[{**TWO[0], **policy}])
    world.metrics["request-success-rate"] = Sample() if "noData" in policy else Sample(error="down")
    decision = world.tick()
    assert (decision.status.failed_checks, decision.status.canary_weight) == (0, 10)
    assert decision.wake_after == 10
    assert world.kinds() == ["CheckHeld"]
    assert world.notices[0].once
    world.metrics.clear()
    world.now += 10
    world.tick()
    assert world.status.canary_weight == 20


def test_a_failure_beside_a_held_check_counts() -> None:
    world = due(metrics=[{**TWO[0], "noData": "hold"}, TWO[1]])
    world.metrics = {"request-success-rate": Sample(), "request-duration": Sample(900.0)}
    world.tick()
    assert world.status.failed_checks == 1


def test_no_data_may_pass() -> None:
    world = due(metrics=[{**TWO[0], "noData": "pass"}])
    world.metrics["request-success-rate"] = Sample()
    world.tick()
    assert (world.status.failed_checks, world.status.canary_weight) == (0, 20)
    assert world.status.checks[0].verdict is Verdict.NO_DATA


def test_a_dry_run_check_is_shown_and_fails_nothing() -> None:
    world = due(metrics=[{**TWO[0], "dryRun": True}])
    world.metrics["request-success-rate"] = Sample(0.0)
    world.tick()
    assert (world.status.failed_checks, world.status.canary_weight) == (0, 20)
    assert (world.status.checks[0].verdict, world.status.checks[0].dry_run) == (Verdict.FAIL, True)


def test_q17_failed_checks_never_decay_in_a_run() -> None:
    world = due(threshold=2)
    for value in (0.0, 100.0, 100.0):
        world.metrics["request-success-rate"] = Sample(value)
        world.tick()
        world.now += 10
    assert world.status.failed_checks == 1
    world.metrics["request-success-rate"] = Sample(0.0)
    world.run()
    assert world.status.phase is Phase.FAILED


def test_a_threshold_below_one_is_one() -> None:
    world = due(threshold=0)
    world.metrics["request-success-rate"] = Sample(0.0)
    world.run()
    assert world.status.phase is Phase.FAILED


def test_the_reason_of_a_failure_is_kept_and_told() -> None:
    world = due(threshold=1)
    world.metrics["request-success-rate"] = Sample(50.0)
    world.run()
    assert "threshold reached 1" in world.status.failure_reason
    assert "success rate 50.00% < 99%" in world.status.failure_reason
    promoted = world.status.condition("Promoted")
    assert promoted is not None
    assert world.status.failure_reason in promoted.message
    assert "Rolling back app.test failed checks threshold reached 1" in [notice.message for notice in world.notices]


# ------------------------------------------------------------------------------------------------ onFailure: hold


def held() -> World:
    world = due(threshold=1, onFailure="hold")
    world.metrics["request-success-rate"] = Sample(0.0)
    world.tick()
    world.settle()
    world.run()
    return world


def test_hold_keeps_the_weights_raises_the_alarm_once_and_waits() -> None:
    world = held()
    assert (world.status.phase, world.routes) == (Phase.PROGRESSING, Routes(90, 10))
    assert world.decisions[-1].wake_after is None
    asked = len(world.asked)
    for _ in range(3):
        world.now += 100
        world.tick()
    assert len(world.asked) == asked, "nothing is measured while a person decides"
    assert [notice.kind for notice in world.notices if notice.severity is Severity.ERROR] == ["AnalysisHeld"]


def test_hold_ends_with_a_new_revision() -> None:
    world = held()
    world.metrics.clear()
    world.release("C")
    world.run()
    assert world.status.phase is Phase.SUCCEEDED


def test_hold_ends_with_a_rollback_hook() -> None:
    world = held()
    world.hook("wish", "rollback", answer=False)
    assert world.tick().wake_after == 10
    world.hooks["wish"] = True
    world.now += 10
    world.run()
    assert world.status.phase is Phase.FAILED


def test_hold_does_not_hold_a_target_that_never_becomes_ready() -> None:
    world = held()
    assert isinstance(world.target, Copy)
    world.target.readiness = Readiness.STUCK
    world.run()
    assert world.status.phase is Phase.FAILED


# ------------------------------------------------------------------------------------------------ gates


def test_confirm_rollout_is_asked_with_the_current_phase_until_it_passes() -> None:
    world = World()
    world.hook("gate", "confirm-rollout", answer=False)
    world.bootstrap()
    world.release("B")
    for _ in range(3):
        assert world.tick().wake_after == 10
        world.now += 10
    assert world.calls() == [("gate", "Initialized"), ("gate", "Waiting"), ("gate", "Waiting")]
    warned = [notice for notice in world.notices if notice.severity is Severity.WARN]
    assert len(warned) == 1
    world.hooks["gate"] = True
    world.run(until=Phase.PROGRESSING)


def test_confirm_rollout_holds_skip_analysis_too() -> None:
    world = World(spec={"skipAnalysis": True})
    world.hook("gate", "confirm-rollout", answer=False)
    world.bootstrap()
    world.release("B")
    world.tick()
    assert world.status.phase is Phase.WAITING


def test_a_muted_gate_sends_no_alert_and_still_an_event() -> None:
    world = World()
    world.hook("gate", "confirm-rollout", answer=False, mute=True)
    world.bootstrap()
    world.release("B")
    world.tick()
    assert [(notice.kind, notice.severity) for notice in world.notices] == [("GateWaiting", None)]


def test_pre_rollout_failures_repeat_and_count() -> None:
    world = World(analysis={"interval": "10s", "threshold": 2, "stepWeight": 10})
    world.hook("smoke", "pre-rollout", answer=False)
    world.bootstrap()
    world.release("B")
    world.run()
    assert world.status.phase is Phase.FAILED
    assert len(world.calls("pre-rollout")) == 2
    assert world.status.run is not None
    assert world.status.run.max_weight_reached == 0


def test_a_closed_traffic_gate_halts_after_the_checks_and_changes_no_phase() -> None:
    world = due()
    world.hook("gate", "confirm-traffic-increase", answer=False)
    decision = world.tick()
    assert decision.checks_run
    assert (decision.status.phase, decision.status.canary_weight, decision.wake_after) == (Phase.PROGRESSING, 10, 10)
    assert world.notices[0].severity is Severity.WARN


def test_a_traffic_gate_is_asked_before_the_promotion_too_but_not_while_mirrored_or_waiting() -> None:
    world = World(analysis={"interval": "10s", "threshold": 2, "stepWeight": 100, "mirror": True})
    world.hook("traffic", "confirm-traffic-increase")
    world.hook("promotion", "confirm-promotion", answer=False)
    world.bootstrap()
    world.release("B")
    world.run(until=Phase.WAITING_PROMOTION)
    assert world.calls() == [("traffic", "Progressing"), ("traffic", "Progressing"), ("promotion", "Progressing")]
    world.forget()
    world.now += 10
    world.tick()
    assert world.calls() == [("promotion", "Progressing")]


def test_checks_go_on_while_promotion_waits_and_can_fail_it() -> None:
    world = World()
    world.hook("gate", "confirm-promotion", answer=False)
    world.bootstrap()
    world.release("B")
    world.run(until=Phase.WAITING_PROMOTION)
    world.metrics["request-success-rate"] = Sample(0.0)
    world.run()
    assert world.status.phase is Phase.FAILED


def test_q41_counting_strategies_poll_a_closed_promotion_gate_every_second_tick() -> None:
    world = World(analysis={"interval": "10s", "threshold": 2, "iterations": 3})
    world.hook("gate", "confirm-promotion", answer=False)
    world.bootstrap()
    world.release("B")
    world.run(until=Phase.WAITING_PROMOTION)
    assert world.status.iterations == 2
    world.forget()
    for _ in range(4):
        world.now += 10
        world.tick()
    assert len(world.calls("confirm-promotion")) == 2
    assert world.status.phase is Phase.WAITING_PROMOTION


def test_q41_blue_green_asks_the_promotion_gate_twice() -> None:
    world = World(analysis={"interval": "10s", "threshold": 2, "iterations": 1})
    world.hook("gate", "confirm-promotion")
    world.bootstrap()
    world.release("B")
    world.run()
    assert len(world.calls("confirm-promotion")) == 2


def test_a_rollback_hook_is_asked_before_everything_else_and_its_success_rolls_back() -> None:
    world = due()
    world.hook("load", "rollout")
    world.hook("wish", "rollback")
    world.run()
    assert world.calls() == [("wish", "Progressing")]
    assert world.status.phase is Phase.FAILED
    assert "rollback hook wish" in world.status.failure_reason
    assert [n.severity for n in world.notices if n.kind == "RollbackSignaled"] == [Severity.WARN]


def test_a_rollback_hook_that_does_not_signal_changes_nothing() -> None:
    world = due()
    world.hook("wish", "rollback", answer=False)
    world.tick()
    assert world.status.canary_weight == 20
    assert next((n.kind, n.warning, n.once) for n in world.notices) == ("RollbackNotSignaled", False, True)


def test_post_rollout_hooks_are_called_after_the_end_whatever_it_was_and_stop_at_the_first_failure() -> None:
    for sample, phase in ((Sample(100.0), "Succeeded"), (Sample(0.0), "Failed")):
        world = World()
        world.hook("one", "post-rollout", answer=False)
        world.hook("two", "post-rollout")
        world.bootstrap()
        world.metrics["request-success-rate"] = sample
        world.release("B")
        world.run()
        assert world.calls() == [("one", phase)]
        assert world.status.phase.value == phase
        assert world.status.run is not None
        assert not world.status.run.closing


def test_post_rollout_hooks_survive_a_crash_after_the_terminal_write() -> None:
    world = World()
    world.hook("bye", "post-rollout")
    world.bootstrap()
    world.release("B")
    world.run(until=Phase.SUCCEEDED)
    assert not world.calls("post-rollout")
    assert "Promoted" not in world.kinds(), "the end is told after the hooks, as upstream"
    asks = machine.needs(world.snapshot(), {})
    assert asks == (HookAsk(0, Phase.SUCCEEDED),)
    world.run()
    assert world.calls("post-rollout") == [("bye", "Succeeded")]
    assert world.kinds()[-2:] == ["HookPassed", "Promoted"]


# ------------------------------------------------------------------------------------------------ bootstrap, kubernetes


def test_u20_unreachable_providers_are_told_and_do_not_stop_the_bootstrap() -> None:
    world = World()
    world.providers = ("prometheus: connection refused",)
    world.run()
    assert world.status.phase is Phase.INITIALIZED
    assert ProvidersAsk() in world.asked
    told = [notice for notice in world.notices if notice.kind == "ProvidersUnreachable"]
    assert told
    assert told[0].warning
    assert told[0].once


def test_skip_analysis_does_not_probe_the_providers() -> None:
    world = World(spec={"skipAnalysis": True})
    world.run()
    assert not world.asked


def test_the_kubernetes_provider_ignores_match_and_counts_ten_checks_instead_of_weights() -> None:
    match = [{"headers": {"x": {"exact": "y"}}}]
    world = World(analysis={"interval": "10s", "threshold": 2, "stepWeight": 10, "match": match}, provider="kubernetes").bootstrap()
    world.release("B")
    world.run()
    assert world.status.phase is Phase.SUCCEEDED
    assert max(iterations for _, _, iterations in world.steps()) == 11
    assert {"SpecIgnored", "IterationsForced"} <= set(world.kinds())
    assert world.status.run is not None
    assert world.status.run.strategy == "blue-green"


def test_session_affinity_has_one_cookie_per_run_and_takes_it_back_afterwards() -> None:
    world = World(analysis={"interval": "10s", "threshold": 2, "stepWeight": 50, "sessionAffinity": {"cookieName": "c"}}).bootstrap()
    world.release("B")
    world.run(until=Phase.PROGRESSING)
    world.tick()
    cookie = world.status.session_affinity_cookie
    assert cookie.startswith("c=")
    assert isinstance(world.routes, Routes)
    assert world.routes.cookies.current == cookie
    world.run()
    status = world.status
    assert (status.session_affinity_cookie, status.previous_session_affinity_cookie) == ("", cookie)
    assert status.primary_session_affinity_cookie == ""
    assert world.routes.cookies.previous == cookie
    world.release("C")
    world.run(until=Phase.PROGRESSING)
    world.tick()
    assert world.status.session_affinity_cookie not in ("", cookie)
    assert rev("C") == world.status.last_applied_spec
