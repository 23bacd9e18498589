"""Ticks in which a fresh baseline stands in the primary's place: shares, traffic, levels, replay."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from canary.core.judge import Arm, Baseline, JudgeConfig, JudgeConfigError, SequentialJudge, Tick
from canary.core.weights import beside
from tests.judge.releases import Service, config, release

FRESH = {"baseline": "fresh", "maxWeight": 33}


class Beside(Service):
    """A service whose canary is compared with a copy of the old version that gets as many requests."""

    def tick(self, weight: int) -> Tick:
        self.now += self.spacing
        mean, share = self.rate * self.spacing, beside(weight)
        canary = self.arm(mean * weight / 100, self.canary, self.canary_slow)
        return Tick(self.now, canary, self.arm(mean * share / 100, self.primary, self.slow), weight, baseline=share)


def run(seed: int, **more: float):
    """An hour at most."""
    service = Beside(seed, **more)
    ticks = 3600 // int(service.spacing)
    return release(SequentialJudge(config(**FRESH), service.history(ticks)), service, ticks=ticks)


@pytest.mark.parametrize(
    ("weight", "baseline", "part", "whole"), [(20, 20, 50, 40), (50, 25, 200 / 3, 75), (20, 0, 20, 100), (0, 0, 0, 100)]
)
def test_the_canarys_part_is_that_of_both_arms(weight: int, baseline: int, part: float, whole: int) -> None:
    tick = Tick(1.0, Arm(0, 0), Arm(0, 0), weight, baseline=baseline)
    assert tick.part == pytest.approx(part)
    assert tick.whole == whole


def test_the_top_is_where_all_copies_have_the_same_load() -> None:
    assert JudgeConfig.from_spec({"baseline": "fresh"}).max_weight == 33
    assert JudgeConfig.from_spec({"baseline": "fresh", "maxWeight": 60}).compared_weight == 33
    assert JudgeConfig.from_spec({"maxWeight": 60}).compared_weight == 50
    assert JudgeConfig.from_spec({}).baseline is Baseline.PRIMARY
    assert [JudgeConfig.from_spec({"baseline": "fresh"}).against(weight) for weight in (10, 33, 50, 99)] == [1, 1, 0.5, 0]
    assert JudgeConfig.from_spec({}).against(20) == 4
    with pytest.raises(JudgeConfigError, match=r"analysis\.sequential\.baseline: is 'new'; use one of primary, fresh"):
        JudgeConfig.from_spec({"baseline": "new"})


@pytest.mark.parametrize("weight", [2, 10, 33])
def test_traffic_is_that_of_the_whole_service(weight: int) -> None:
    service = Beside(3, rate=200.0)
    judge = SequentialJudge(config(**FRESH), service.history())
    for _ in range(12):
        judge.observe(service.tick(weight))
    assert judge._pace.traffic == pytest.approx(200, rel=0.25)


def test_shares_are_those_of_canary_and_baseline() -> None:
    service = Beside(4)
    judge = SequentialJudge(config(**FRESH), service.history())
    for _ in range(20):
        found = judge.observe(service.tick(10)).evidence["sampleRatio"]
    assert found["canaryRequests"] == pytest.approx(found["expected"], rel=0.1)
    assert found["fail"] < 20
    for _ in range(20):
        tick = service.tick(10)
        assert tick.canary is not None
        lost = replace(tick.canary, total=tick.canary.total // 3, errors=0, buckets={})
        decision = judge.observe(replace(tick, canary=lost))
    assert decision.evidence["sampleRatio"]["fail"] > 1000
    assert decision.verdict == "hold"


def test_what_the_primary_does_before_the_first_requests_is_not_held_against_the_baseline() -> None:
    service = Beside(5, primary=0.3)
    judge = SequentialJudge(config(**FRESH, thresholds={}), service.history())
    before = Tick(service.now + 15, None, Arm(1500, 450), 0)
    found = judge.observe(before).evidence["errorRate"]
    assert (found["primaryRequests"], found["primaryBad"]) == (0, 0)


def test_a_baseline_without_pods_is_waited_for_and_nothing_is_counted() -> None:
    service = Beside(6, canary=0.5)
    judge = SequentialJudge(config(**FRESH), service.history())
    judge.observe(service.tick(10))
    before = judge._panel.fail
    for number in range(1, 20):
        decision = judge.observe(Tick(service.now + 15 * number, None, None, 10), "the fresh baseline has no pod that answers")
        assert (decision.verdict, decision.weight) == ("hold", 10)
    assert decision.reason == "Holding: no verdict without data: the fresh baseline has no pod that answers."
    assert judge._panel.fail == before


def test_sentences_name_what_was_compared() -> None:
    [*_, last] = run(7, canary=0.3)
    assert last.verdict == "rollback"
    assert "fresh baseline" in last.reason
    assert "primary" not in last.reason
    [*_, last] = run(7)
    assert last.verdict == "promote"
    assert "above fresh baseline" in last.reason


@pytest.mark.parametrize(("more", "verdict"), [({"canary": 0.02}, "rollback"), ({"canary_slow": 0.08}, "rollback"), ({}, "promote")])
def test_faults_are_found_and_health_is_shown(more: dict[str, float], verdict: str) -> None:
    found = [run(seed, **more)[-1] for seed in range(10)]
    assert {one.verdict for one in found} == {verdict}
    assert all(one.weight == 33 for one in found if verdict == "promote")


@pytest.mark.slow
@pytest.mark.parametrize(("rate", "spacing"), [(10.0, 60.0), (100.0, 15.0)])
def test_a_version_that_is_no_worse_is_rarely_taken_back(rate: float, spacing: float) -> None:
    """At most one in a hundred is promised; of 150 more than six would come to pass once in some thousand.

    Little traffic takes the whole hour: looked at each minute, most looks at the canary still have one failure or none.
    """
    ends = [run(seed, rate=rate, spacing=spacing, primary=0.005, canary=0.005)[-1].verdict for seed in range(150)]
    assert ends.count("rollback") <= 6


@pytest.mark.slow
def test_a_version_beyond_the_margin_is_rarely_promoted() -> None:
    """Each of them takes the hour, whose requests are the same however often one looks."""
    ends = [run(seed, spacing=60.0, primary=0.002, canary=0.004)[-1].verdict for seed in range(60)]
    assert ends.count("promote") <= 9


@pytest.mark.parametrize("seed", range(3))
def test_a_judge_that_is_restored_at_every_tick_says_the_same(seed: int) -> None:
    plain, cut = Beside(seed, canary=0.008), Beside(seed, canary=0.008)
    one, other = (SequentialJudge(config(**FRESH), service.history()) for service in (plain, cut))
    weight = one.weight
    for number in range(60):
        gone = number in (20, 21)
        ticks = [service.tick(weight) for service in (plain, cut)]
        if gone:
            ticks = [replace(tick, canary=None, primary=None, baseline=0) for tick in ticks]
        other = SequentialJudge.restore(config(**FRESH), json.loads(json.dumps(other.state())))
        found = one.observe(ticks[0])
        assert other.observe(ticks[1]) == found
        weight = found.weight
        if found.verdict in ("rollback", "promote"):
            break


def test_a_run_that_loses_its_baseline_goes_on_with_what_it_knows() -> None:
    """The state is the same whatever is compared, so nothing begins anew."""
    service = Beside(9)
    judge = SequentialJudge(config(**FRESH), service.history())
    for _ in range(10):
        decision = judge.observe(service.tick(10))
    seen = decision.evidence["errorRate"]["canaryRequests"]
    judge = SequentialJudge.restore(config(maxWeight=33), json.loads(json.dumps(judge.state())))
    warm = Service(9)
    warm.now = service.now
    found = release(judge, warm)
    assert found[-1].verdict == "promote"
    assert found[0].evidence["errorRate"]["canaryRequests"] > seen
