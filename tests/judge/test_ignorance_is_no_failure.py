"""Missing data hold and say so; they never roll back, whatever is missing and for how long."""

from __future__ import annotations

from dataclasses import replace

import pytest

from canary.core.judge import Arm, SequentialJudge, Tick
from tests.judge.releases import START, Service, config, release


@pytest.mark.parametrize(
    ("canary", "primary", "words"),
    [(False, True, "the canary has not reported"), (True, False, "the primary has not reported"), (False, False, "neither")],
)
def test_an_arm_without_data_holds_with_that_reason(canary: bool, primary: bool, words: str):
    service = Service(1)
    judge = SequentialJudge(config(), service.history())
    judge.observe(service.tick(1))
    tick = service.tick(1)
    decision = judge.observe(replace(tick, canary=tick.canary if canary else None, primary=tick.primary if primary else None))
    assert (decision.verdict, decision.weight) == ("hold", 1)
    assert words in decision.reason


def test_no_data_until_the_deadline_is_inconclusive_with_that_reason():
    judge = SequentialJudge(config(), Service(1).history())
    found = [judge.observe(Tick(START + 15 * k, None, None, 5)) for k in range(1, 242)]
    assert {one.verdict for one in found} == {"hold", "inconclusive"}
    assert found[-1].verdict == "inconclusive"
    assert "has reported" in found[-1].reason
    assert {one.weight for one in found} == {5}


def test_a_silent_canary_is_noticed_by_the_requests_it_should_have_had():
    judge = SequentialJudge(config(), Service(1).history())
    found = [judge.observe(Tick(START + 15 * k, Arm(0, 0), Arm(1400, 1), 5)) for k in range(1, 5)]
    assert found[-1].verdict == "hold"
    assert "no request has reached the canary" in found[-1].reason


@pytest.mark.parametrize(
    ("canary", "primary", "words"), [(70, 0, "no request of the primary has been seen"), (0, 0, "no request of either version")]
)
def test_zeros_where_traffic_was_are_told(canary: int, primary: int, words: str):
    judge = SequentialJudge(config(), Service(1).history())
    found = [judge.observe(Tick(START + 15 * k, Arm(canary, 0), Arm(primary, 0), 5)) for k in range(1, 5)]
    assert found[-1].verdict == "hold"
    assert words in found[-1].reason


def test_a_quiet_service_is_not_silent():
    judge = SequentialJudge(config(), Service(1, rate=0.05).history())
    found = [judge.observe(Tick(START + 15 * k, Arm(0, 0), Arm(k % 2, 0), 50)) for k in range(1, 9)]
    assert {one.verdict for one in found} == {"continue"}


def test_a_canary_without_a_histogram_is_not_promoted():
    service = Service(1)
    judge = SequentialJudge(config(), service.history())
    found = release(
        judge, service, ticks=60, change={k: lambda tick: replace(tick, canary=replace(tick.canary, buckets={})) for k in range(1, 61)}
    )
    assert "promote" not in {one.verdict for one in found}
    assert "its histogram is missing" in found[-1].reason


def test_a_service_without_histograms_is_judged_by_its_failures():
    service = Service(1)
    bare = lambda tick: replace(tick, canary=replace(tick.canary, buckets={}), primary=replace(tick.primary, buckets={}))  # noqa: E731
    judge = SequentialJudge(config(), [bare(tick) for tick in service.history()])
    found = release(judge, service, change=dict.fromkeys(range(1, 241), bare))
    assert found[-1].verdict == "promote"
    assert "latency" not in found[-1].evidence
    assert "Latency was not compared" in found[-1].reason


def test_twenty_minutes_of_silence_delay_a_release_and_no_more():
    service = Service(3)
    judge = SequentialJudge(config(), service.history())
    found = release(judge, service, change={k: lambda tick: replace(tick, canary=None, primary=None) for k in range(5, 85)})
    assert {one.verdict for one in found[4:84]} == {"hold"}
    assert found[-1].verdict == "promote"


def test_missing_scrapes_are_no_mismatch_of_shares():
    """A scrape that is missed comes back with twice the requests; that is no sign of wrong routing."""
    service = Service(4)
    judge = SequentialJudge(config(minDuration="30m"), service.history())
    change = {}
    for k in range(3, 110, 3):
        change[k] = lambda tick: replace(tick, canary=None)
        change[k + 1] = lambda tick: replace(
            tick, canary=Arm(2 * tick.canary.total, 2 * tick.canary.errors, {at: 2 * n for at, n in tick.canary.buckets.items()})
        )
    found = release(judge, service, ticks=110, change=change)
    assert found[-1].evidence["sampleRatio"]["fail"] < 5


@pytest.mark.parametrize(("choice", "verdict"), [("hold", "inconclusive"), ("rollback", "rollback"), ("promote", "inconclusive")])
def test_the_deadline_without_data_never_promotes(choice: str, verdict: str):
    judge = SequentialJudge(config(onInconclusive=choice, maxDuration="5m"), Service(1).history())
    found = [judge.observe(Tick(START + 15 * k, None, None, 5)) for k in range(1, 30)]
    assert found[-1].verdict == verdict


@pytest.mark.parametrize(("choice", "verdict"), [("hold", "inconclusive"), ("rollback", "rollback"), ("promote", "promote")])
def test_the_deadline_with_too_few_data_does_as_the_author_says(choice: str, verdict: str):
    service = Service(1, rate=1.0)
    judge = SequentialJudge(config(onInconclusive=choice, maxDuration="5m"), service.history())
    last = release(judge, service, ticks=22)[-1]
    assert last.verdict == verdict
    assert last.reason.startswith("Inconclusive after 5 min: ")
