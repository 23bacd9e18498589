"""`metrics[].role`: one critical value ends a run whatever the threshold; an informational check is shown and never counted."""

from __future__ import annotations

from typing import Any

import pytest

from canary.api.analysis import Metric
from canary.api.status import Phase, Verdict
from canary.core.model import MetricSource, Sample
from canary.core.verdicts import Tally, judge
from tests.core.simulate import World
from tests.core.test_evidence_decides import go
from tests.core.test_evidence_decides import released as sequential
from tests.core.test_evidence_guards import PRIMARYS
from tests.core.test_evidence_guards import released as guarded

RATE = {"name": "request-success-rate", "thresholdRange": {"min": 99}}
QUEUE = {"name": "queue", "templateRef": {"name": "queue"}, "thresholdRange": {"max": 10}}


def due(*metrics: dict[str, Any], **analysis: Any) -> World:
    """A run at weight 10 whose next checks are due."""
    world = World(analysis={"interval": "10s", "threshold": 5, "stepWeight": 10, "metrics": list(metrics), **analysis}).bootstrap()
    world.release("B")
    world.run(until=Phase.PROGRESSING)
    world.tick()
    world.now += 10
    world.forget()
    return world


# ------------------------------------------------------------------------------------------------ critical


def test_one_failed_look_at_a_critical_check_rolls_back_whatever_the_threshold() -> None:
    world = due({**QUEUE, "role": "critical"}, RATE)
    world.metrics["queue"] = Sample(11.0)
    began = world.now
    world.run()
    assert (world.status.phase, world.now) == (Phase.FAILED, began), "at once"
    assert world.status.failure_reason == "critical check failed: queue 11.00 > 10"
    assert world.kinds()[:2] == ["CheckFailed", "CriticalCheckFailed"]
    assert "ThresholdReached" not in world.kinds()


def test_the_critical_check_is_named_even_if_another_failed_before_it() -> None:
    world = due(RATE, {**QUEUE, "role": "critical"})
    world.metrics |= {"queue": Sample(11.0), "request-success-rate": Sample(50.0)}
    world.run()
    assert world.status.failure_reason == "critical check failed: queue 11.00 > 10"
    assert world.notices[0].message == "Halt app.test advancement queue 11.00 > 10"


def test_a_check_without_a_role_is_counted_as_ever() -> None:
    world = due(QUEUE)
    world.metrics["queue"] = Sample(11.0)
    world.tick()
    assert (world.status.phase, world.status.failed_checks) == (Phase.PROGRESSING, 1)
    assert "critical" not in world.status.checks[0].to_dict()


@pytest.mark.parametrize(("sample", "failed"), [(Sample(), 1), (Sample(error="refused"), 1)])
def test_ignorance_is_never_critical(sample: Sample, failed: int) -> None:
    world = due({**QUEUE, "role": "critical"})
    world.metrics["queue"] = sample
    world.tick()
    assert (world.status.phase, world.status.failed_checks) == (Phase.PROGRESSING, failed)
    holding = due({**QUEUE, "role": "critical", "noData": "hold", "onError": "hold"})
    holding.metrics["queue"] = sample
    holding.tick()
    assert holding.status.failed_checks == 0


def test_a_critical_failure_is_held_where_failures_are_held() -> None:
    world = due({**QUEUE, "role": "critical"}, onFailure="hold")
    world.metrics["queue"] = Sample(11.0)
    world.run()
    assert world.status.phase is Phase.PROGRESSING
    assert world.status.run is not None
    assert world.status.run.held == "critical check failed: queue 11.00 > 10"
    assert world.kinds().count("AnalysisHeld") == 1
    assert (world.status.checks[0].critical, world.status.failed_checks) == (True, 1)


@pytest.mark.parametrize("analysis", [{"iterations": 3, "stepWeight": None}, {"mirror": True}, {"judge": "guarded"}])
def test_a_critical_check_speaks_in_every_kind_of_release(analysis: dict[str, Any]) -> None:
    fields = {"interval": "10s", "threshold": 5, "stepWeight": 10, "metrics": [{**QUEUE, "role": "critical"}], **analysis}
    given = {key: value for key, value in fields.items() if value is not None}
    world = World(analysis=given, provider="kubernetes" if "iterations" in given else "istio").bootstrap()
    if "judge" in given:
        world = guarded(metrics=[{**QUEUE, "role": "critical"}], threshold=5)
    else:
        world.release("B")
    world.metrics["queue"] = Sample(11.0)
    world.run(until=Phase.FAILED)
    assert world.status.failure_reason == "critical check failed: queue 11.00 > 10"


def test_the_primary_that_fails_too_spares_a_critical_check() -> None:
    world = guarded(metrics=[{**RATE, "role": "critical"}])
    world.metrics |= {"request-success-rate": Sample(90.0), PRIMARYS: Sample(95.0)}
    go(world, 400)
    assert (world.status.phase, world.status.failed_checks) == (Phase.PROGRESSING, 0)
    world.metrics[PRIMARYS] = Sample(99.9)
    go(world, 40)
    assert world.status.failure_reason == "critical check failed: success rate 90.00% < 99%"


def test_a_critical_template_ends_a_release_that_evidence_decides() -> None:
    world = sequential(metrics=[{**QUEUE, "role": "critical"}], threshold=5)
    go(world, 60)
    assert world.status.phase is Phase.PROGRESSING
    world.metrics["queue"] = Sample(11.0)
    began = world.now
    world.run(until=Phase.FAILED)
    assert world.now - began <= world.canary.spec.analysis.interval_seconds
    assert world.status.failure_reason == "critical check failed: queue 11.00 > 10"


def test_a_built_in_check_stays_a_limit_where_evidence_decides() -> None:
    plain, critical = sequential(metrics=[RATE]), sequential(metrics=[{**RATE, "role": "critical"}])
    for world in (plain, critical):
        world.metrics["request-success-rate"] = Sample(0.0)
        go(world, 900)
    assert [decision.status.canary_weight for decision in plain.decisions] == [d.status.canary_weight for d in critical.decisions]
    assert critical.status.phase is Phase.SUCCEEDED, "the check itself is not asked"


# ------------------------------------------------------------------------------------------------ informational


@pytest.mark.parametrize("sample", [Sample(0.0), Sample(), Sample(error="refused")])
def test_informational_is_the_same_as_dry_run(sample: Sample) -> None:
    worlds = []
    for words in ({"role": "informational"}, {"dryRun": True}, {"role": "critical", "dryRun": True}):
        world = due({**RATE, **words}, threshold=1)
        world.metrics["request-success-rate"] = sample
        world.run()
        assert world.status.phase is Phase.SUCCEEDED
        worlds.append(world)
    first, *others = worlds
    assert all(decision.status.checks[0].dry_run for decision in first.decisions if decision.checks_run and decision.status.checks)
    for other in others:
        assert other.decisions == first.decisions
        assert other.asked == first.asked


def test_an_informational_limit_is_none_for_the_evidence_and_is_shown() -> None:
    world = go(sequential(metrics=[{**RATE, "role": "informational"}]), 200)
    names = {check.name for check in world.status.checks}
    assert "judge/errorThreshold" not in names
    assert "request-success-rate" in names


@pytest.mark.parametrize(
    ("words", "fatal", "counts"),
    [
        ({}, False, Tally.FAILED),
        ({"role": "critical"}, True, Tally.FAILED),
        ({"role": "informational"}, False, Tally.ADVANCE),
        ({"role": "critical", "dryRun": True}, False, Tally.ADVANCE),
    ],
)
def test_what_a_value_out_of_bounds_does(words: dict[str, Any], fatal: bool, counts: Tally) -> None:
    judged = judge(Metric.model_validate({**QUEUE, **words}), MetricSource.TEMPLATE, Sample(11.0))
    assert (judged.verdict, judged.fatal, judged.counts) == (Verdict.FAIL, fatal, counts)
    assert not judge(Metric.model_validate({**QUEUE, **words}), MetricSource.TEMPLATE, Sample(9.0)).fatal
