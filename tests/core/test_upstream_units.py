"""Behaviours that upstream's unit tests pin (reference 5.3), as far as they are rules. The rest is tested beside its plug-in."""

from __future__ import annotations

from typing import Any

import pytest

from canary.api.status import Phase, Verdict
from canary.core.model import (
    EnsurePrimary,
    EnsureServices,
    MetricAsk,
    MetricSource,
    Promote,
    Readiness,
    Routes,
    Sample,
    ScaleTarget,
    SetRoutes,
)
from canary.core.telling import Counter
from tests.core.simulate import Copy, World, rev

MATCH = [{"headers": {"x-canary": {"exact": "insider"}}}]
KINDS = pytest.mark.parametrize("kind", ["Deployment", "DaemonSet"])


def target(world: World) -> Copy:
    assert isinstance(world.target, Copy)
    return world.target


@KINDS
def test_u01_the_first_tick_creates_the_primary_and_the_second_scales_the_target_to_zero(kind: str) -> None:
    world = World(kind=kind)
    first = world.tick()
    assert [type(effect) for effect in first.effects] == [EnsureServices, EnsurePrimary]
    assert target(world).replicas == 2
    world.settle()
    second = world.tick()
    assert second.effects[-1] == ScaleTarget(up=False)
    assert second.status.last_applied_spec == second.status.last_promoted_spec == rev("A")


@KINDS
def test_u02_a_new_template_scales_the_target_up_on_the_detecting_tick(kind: str) -> None:
    world = World(kind=kind).bootstrap()
    world.release("B")
    assert ScaleTarget(up=True) in world.tick().effects
    assert target(world).replicas > 0


@KINDS
def test_u03_failed_checks_at_the_threshold_fail_the_release(kind: str) -> None:
    world = World(kind=kind).bootstrap()
    world.edit(metrics=[{"name": "errors", "query": "q", "threshold": 1.0}])
    world.metrics["errors"] = Sample(50.0)
    world.release("B")
    world.run()
    assert world.status.phase is Phase.FAILED
    assert (world.status.canary_weight, world.status.failed_checks, world.status.iterations) == (0, 0, 0)
    assert world.routes == Routes(100, 0)
    assert target(world).replicas == 0


@pytest.mark.parametrize("until", [Phase.PROMOTING, Phase.FINALISING])
def test_u04_u05_a_primary_stuck_in_promotion_leaves_all_traffic_on_the_target(until: Phase) -> None:
    world = World().bootstrap()
    world.broken.add(rev("B") if until is Phase.PROMOTING else "none")
    world.release("B")
    target(world).readiness = Readiness.READY
    world.broken.clear()
    world.run(until=until)
    replicas = target(world).replicas
    if until is Phase.PROMOTING:
        world.tick()
    assert world.primary is not None
    world.primary.ready, world.primary.readiness = 0, Readiness.STUCK
    world.run(settle=False)
    assert world.status.phase is Phase.FAILED
    assert world.status.canary_weight == 100
    assert world.routes == Routes(0, 100)
    assert target(world).replicas == replicas
    assert "PromotionFailed" in world.kinds()


def test_u06_skip_analysis_promotes_as_soon_as_the_target_is_ready() -> None:
    world = World(spec={"skipAnalysis": True})
    world.hook("smoke", "pre-rollout")
    world.hook("load", "rollout")
    world.hook("wish", "rollback")
    world.hook("promotion", "confirm-promotion")
    world.hook("traffic", "confirm-traffic-increase")
    world.hook("go", "confirm-rollout")
    world.bootstrap()
    began = world.now
    world.release("B")
    world.run()
    assert world.status.phase is Phase.SUCCEEDED
    assert world.now == began, "no interval is waited for"
    assert world.status.last_promoted_spec == rev("B")
    assert {name for name, _ in world.calls()} == {"go"}
    assert not any(isinstance(ask, MetricAsk) for ask in world.asked)
    assert not any(isinstance(e, SetRoutes) and e.routes.canary for e in world.effects)


@KINDS
def test_u09_a_second_change_in_the_middle_of_a_run_restarts_at_zero(kind: str) -> None:
    world = World(kind=kind).bootstrap()
    world.release("B")
    world.run(until=Phase.PROGRESSING)
    world.tick()
    assert world.routes == Routes(90, 10)
    first_run = world.status.run
    world.metrics["request-success-rate"] = Sample(0.0)
    world.now += 10
    world.tick()
    world.release("C")
    world.settle()
    decision = world.tick()
    assert world.routes == Routes(100, 0)
    assert (decision.status.phase, decision.status.failed_checks) == (Phase.PROGRESSING, 0)
    assert decision.status.last_applied_spec == rev("C")
    assert first_run is not None
    assert decision.status.run is not None
    assert decision.status.run.id != first_run.id
    assert world.runs[first_run.id] == "Canceled"


def test_u10_a_config_change_in_the_middle_of_a_run_is_detected_and_promoted() -> None:
    world = World()
    world.configs = {"configmap/app": "1"}
    world.bootstrap()
    world.release("B")
    world.run(until=Phase.PROGRESSING)
    world.tick()
    world.release("B", configs={"configmap/app": "2"})
    world.run()
    assert "AnalysisRestarted" in world.kinds()
    assert world.primary is not None
    assert world.primary.configs == {"configmap/app": "2"}
    assert Promote(rev("B"), {"configmap/app": "2"}) in world.effects
    assert world.status.tracked_configs == {"configmap/app": "2"}


def test_a_config_change_alone_is_a_release() -> None:
    world = World()
    world.configs = {"configmap/app": "1"}
    world.bootstrap()
    world.configs = {"configmap/app": "2"}
    world.run()
    assert world.status.phase is Phase.SUCCEEDED
    assert "NewRevision" in world.kinds()
    assert world.primary is not None
    assert world.primary.configs == {"configmap/app": "2"}


def test_u12_ab_testing_routes_at_once_and_promotes_at_n() -> None:
    world = World(analysis={"interval": "10s", "threshold": 2, "iterations": 2, "match": MATCH}).bootstrap()
    world.release("B")
    world.run(until=Phase.PROGRESSING)
    world.tick()
    assert world.routes == Routes(0, 100)
    assert world.status.iterations == 1
    assert world.status.canary_weight == 0, "upstream reports no weight for an A/B test"
    world.run()
    assert [phase for phase, *_ in world.steps()][-3:] == ["Promoting", "Finalising", "Succeeded"]


@KINDS
@pytest.mark.parametrize(("schedule", "mirrors"), [({"stepWeight": 10, "mirror": True}, True), ({"iterations": 1, "match": MATCH}, False)])
def test_u14_the_same_for_daemon_sets(kind: str, schedule: dict[str, Any], mirrors: bool) -> None:
    world = World(analysis={"interval": "10s", "threshold": 2, **schedule}, kind=kind).bootstrap()
    world.release("B")
    world.run()
    assert world.status.phase is Phase.SUCCEEDED
    assert any(isinstance(e, SetRoutes) and e.routes.mirrored for e in world.effects) is mirrors


def test_u16_order_and_phases_of_hooks_and_events() -> None:
    world = World(analysis={"interval": "10s", "threshold": 2, "stepWeight": 50, "maxWeight": 50})
    for kind in ("confirm-rollout", "pre-rollout", "rollout", "confirm-traffic-increase", "confirm-promotion", "post-rollout"):
        world.hook(kind, kind)
    world.tick()
    assert [(notice.kind, notice.phase) for notice in world.notices] == [("ProvidersReady", Phase.NONE)]
    world.settle()
    world.tick()
    assert (world.notices[-1].kind, world.notices[-1].phase) == ("Initialized", Phase.INITIALIZED)
    world.run()
    world.forget()
    world.release("B")
    world.run()
    assert world.calls() == [
        ("confirm-rollout", "Initialized"),
        ("pre-rollout", "Progressing"),
        ("confirm-traffic-increase", "Progressing"),
        ("rollout", "Progressing"),
        ("confirm-traffic-increase", "Progressing"),
        ("confirm-promotion", "Progressing"),
        ("post-rollout", "Succeeded"),
    ]
    assert [(notice.kind, notice.phase.value) for notice in world.notices] == [
        ("HookPassed", "Initialized"),
        ("NewRevision", "Progressing"),
        ("AnalysisStarted", "Progressing"),
        ("HookPassed", "Progressing"),
        ("HookPassed", "Progressing"),
        ("WeightAdvanced", "Progressing"),
        ("HookPassed", "Progressing"),
        ("HookPassed", "Progressing"),
        ("Promoting", "Progressing"),
        ("RoutedToPrimary", "Promoting"),
        ("HookPassed", "Succeeded"),
        ("Promoted", "Succeeded"),
    ]


def test_u19_the_finalizer_comes_and_goes_with_revert_on_deletion() -> None:
    world = World(spec={"revertOnDeletion": True})
    world.run()
    assert world.finalizers
    world.edit_spec(revertOnDeletion=False)
    world.run()
    assert not world.finalizers


def test_u21_builtin_query_and_template_of_one_entry_all_run_in_upstreams_order() -> None:
    metrics = [
        {"name": "own", "templateRef": {"name": "t"}, "query": "q", "threshold": 1.0},
        {"name": "request-success-rate", "query": "q", "threshold": 99.0},
        {"name": "request-duration", "threshold": 500.0},
    ]
    world = World(analysis={"interval": "10s", "threshold": 9, "stepWeight": 50, "metrics": metrics}).bootstrap()
    world.release("B")
    world.run(until=Phase.PROGRESSING)
    world.tick()
    world.now += 10
    world.forget()
    world.tick()
    assert world.asked == [
        MetricAsk(0, MetricSource.QUERY),
        MetricAsk(1, MetricSource.BUILTIN),
        MetricAsk(1, MetricSource.QUERY),
        MetricAsk(2, MetricSource.BUILTIN),
        MetricAsk(0, MetricSource.TEMPLATE),
    ]
    assert [check.source for check in world.status.checks][-1] == "template/test/t"


def test_u21_an_undefined_metric_fails() -> None:
    world = World(analysis={"interval": "10s", "threshold": 1, "stepWeight": 50, "metrics": [{"name": "undefined"}]}).bootstrap()
    world.release("B")
    world.run()
    assert world.status.phase is Phase.FAILED
    assert not any(isinstance(ask, MetricAsk) for ask in world.asked)
    assert world.status.checks[0].verdict is Verdict.ERROR


@pytest.mark.parametrize(
    ("spec", "sample", "counter"),
    [
        ({}, Sample(100.0), Counter(success=True, analysis="completed", strategy="canary")),
        ({}, Sample(0.0), Counter(success=False, analysis="completed", strategy="canary")),
        ({"skipAnalysis": True}, Sample(0.0), Counter(success=True, analysis="skipped", strategy="canary")),
    ],
)
def test_u22_one_count_per_outcome(spec: dict[str, Any], sample: Sample, counter: Counter) -> None:
    world = World(spec=spec).bootstrap()
    world.metrics["request-success-rate"] = sample
    world.release("B")
    world.run()
    assert [decision.counter for decision in world.decisions if decision.counter] == [counter]


def test_u22_only_analysis_ticks_go_into_the_duration_histogram() -> None:
    world = World().bootstrap()
    world.release("B")
    world.run()
    assert sum(decision.checks_run for decision in world.decisions) == 4, "three steps and the promotion"


@pytest.mark.parametrize(
    ("replicas", "ready", "readiness", "advances"),
    [
        (2, 2, Readiness.READY, True),
        (2, 1, Readiness.READY, True),
        (2, 1, Readiness.WAITING, False),
        (2, 0, Readiness.READY, False),
        (0, 0, Readiness.READY, False),
    ],
)
def test_u24_a_target_must_be_ready_with_a_pod(replicas: int, ready: int, readiness: Readiness, advances: bool) -> None:
    world = World().bootstrap()
    world.release("B")
    world.run(until=Phase.PROGRESSING)
    copy = target(world)
    copy.replicas, copy.ready, copy.readiness = replicas, ready, readiness
    decision = world.tick()
    assert decision.checks_run is advances
    assert (ScaleTarget(up=True) in decision.effects) is (replicas == 0), "a target without pods is woken, not awaited"


def test_u28_changes_are_detected_against_applied_and_promoted() -> None:
    world = World().bootstrap()

    def starts(name: str) -> bool:
        world.release(name)
        before = world.status.run
        world.tick()
        return world.status.run != before

    assert not starts("A")
    assert starts("B")
    world.metrics["request-success-rate"] = Sample(0.0)
    world.run()
    assert world.status.phase is Phase.FAILED
    assert not starts("B"), "a bad revision is not retried"
    assert not starts("A"), "back to the promoted one is no change"
    assert starts("B"), "but then the bad one is"
