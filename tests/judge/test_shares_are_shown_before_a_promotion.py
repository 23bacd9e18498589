"""What is not seen may fail: nobody is promoted while shares of traffic look wrong, nor before most of the canary's requests are known to be seen."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import numpy as np
import pytest

from bench.judge.cells import CELLS
from bench.judge.rivals import ours
from canary.core.judge import Arm, SequentialJudge, Tick
from canary.core.judge.srm import DOUBTED, REJECTED, SampleRatio
from tests.judge.releases import START, Service, config, release

HALF = CELLS["half its share seen 100 rps"]


def _half(tick: Tick) -> Tick:
    arm = tick.canary
    assert arm is not None
    return replace(tick, canary=Arm(arm.total // 2, arm.errors // 2, {at: n // 2 for at, n in arm.buckets.items()}))


@pytest.mark.parametrize("seed", [10053, 10147, 10149, 10334, 10339])
def test_evidence_of_a_wrong_share_that_is_not_complete_yet_keeps_a_version_from_being_promoted(seed: int):
    """Health was shown at the fourth look at the top weight, and rejecting the share takes five: these runs were promoted."""
    assert ours(HALF, seed).verdict == "inconclusive"


@pytest.mark.parametrize(
    "kind",
    [
        {"rate": 1000.0, "lost": 0.3},
        {"lost": 0.5},
        {"rate": 1.0, "spec": {"maxExcessPerHour": 60}},
        {"rate": 0.1, "spec": {"maxExcessPerHour": 60}},
        {"spec": {"maxWeight": 100}},
        {"spec": {"steps": "fixed", "stepWeights": [25, 50, 100], "interval": "30s", "maxWeight": 100}},
    ],
    ids=["lost scrapes", "more lost scrapes", "low traffic", "hardly any traffic", "all of the traffic", "a quick schedule"],
)
@pytest.mark.slow
def test_half_a_canary_is_not_promoted_where_shares_can_hardly_be_compared(kind: dict):
    """Nothing spoke against its share, for nothing could: evidence that there is none is not evidence of none."""
    assert "promote" not in {ours(replace(HALF, **kind), 7000 + seed).verdict for seed in range(6)}


def test_a_doubt_says_what_was_counted_and_how_unlikely_it_is():
    service = Service(3)
    judge = SequentialJudge(config(), service.history())
    found = release(judge, service, change=dict.fromkeys(range(1, 241), _half))
    doubts = [one for one in found if DOUBTED <= one.evidence["sampleRatio"]["fail"] < REJECTED]
    assert doubts
    assert {one.verdict for one in doubts if one.weight == 50} == {"hold"}
    assert "Had it its share, that would be so in fewer than 1 of " in doubts[-1].reason
    assert found[-1].evidence["sampleRatio"]["pass"] < 1


@pytest.mark.slow
def test_the_deadline_promotes_nobody_whose_share_is_in_doubt():
    """`onInconclusive: promote` is for too few data, not for wrong ones."""

    def last(seconds: int):
        service = Service(2, rate=2.0)
        judge = SequentialJudge(config(maxDuration=seconds, onInconclusive="promote", maxExcessPerHour=60), service.history())
        change = dict.fromkeys(range(1, 241), _half)
        return release(judge, service, ticks=seconds // 15 + 1, change=change)[-1]

    ends = [last(15 * looks) for looks in range(4, 60, 3)]
    doubted = [one for one in ends if DOUBTED <= one.evidence["sampleRatio"]["fail"] < REJECTED]
    assert doubted
    assert {one.verdict for one in doubted} == {"inconclusive"}


@pytest.mark.parametrize("top", [50, 100])
def test_scrapes_that_never_come_together_do_not_promote_and_say_so(top: int):
    """The canary is scraped every other time, and how much such a scrape covers is not known."""
    service = Service(4)
    judge = SequentialJudge(config(maxWeight=top), service.history())
    found = release(judge, service, change={k: lambda tick: replace(tick, canary=None) for k in range(2, 241, 2)})
    assert {one.verdict for one in found} <= {"continue", "hold", "inconclusive"}
    assert max(one.weight for one in found) == 50
    if top == 50:
        assert any("the scrapes of both versions have not come together yet" in one.reason for one in found)


def test_the_last_step_to_all_of_the_traffic_waits_for_the_shares():
    service = Service(4)
    judge = SequentialJudge(config(maxWeight=100), service.history())
    change = {k: lambda tick: replace(tick, primary=None) if tick.weight == 100 else tick for k in range(1, 241)}
    found = release(judge, service, change=change)
    first = next(one for one in found if one.weight == 100)
    assert first.evidence["sampleRatio"]["pass"] >= 20
    assert found[-1].verdict == "promote"


def test_where_half_may_fail_nothing_needs_to_be_shown_of_the_other_half():
    """At one request in 100 s `maxExcessPerHour: 60` tolerates that all of them fail."""
    service = Service(5, rate=0.01)
    judge = SequentialJudge(config(maxExcessPerHour=60, maxDuration="2h"), service.history(400))
    last = release(judge, service, ticks=480)[-1]
    assert last.verdict == "promote"
    assert last.evidence["sampleRatio"]["pass"] < 20


def test_two_versions_that_neither_report_for_a_while_are_still_comparable():
    """Both then come back with as many ticks' requests, or both without."""
    service = Service(4)
    judge = SequentialJudge(config(), service.history())
    change = {k: lambda tick: replace(tick, canary=None, primary=None) for k in range(2, 241, 2)}
    assert release(judge, service, change=change)[-1].verdict == "promote"


# ------------------------------------------------------------------------------------------------------------- the bets


@pytest.mark.parametrize("weight", [1, 5, 20, 50, 80, 99])
@pytest.mark.parametrize("part", [0.0, 0.3, 0.5])
def test_the_bet_on_being_seen_is_fair_while_half_or_less_is_seen(weight: int, part: float):
    """By enumeration, through the same door as ticks."""
    wanted, n = weight / 100, 40
    share = part * wanted / (part * wanted + 1 - wanted)
    expected = 0.0
    for x in range(n + 1):
        shares = SampleRatio(20)
        shares.observe(1, 1, weight=weight, share=0.01)
        shares.observe(x, n - x, weight=weight, share=0.01)
        shares.interrupt(weight)
        expected += math.comb(n, x) * share**x * (1 - share) ** (n - x) * shares.seen
    assert expected <= 1 + 1e-9


@pytest.mark.parametrize(("weight", "rate", "cut"), [(50, 100, 0.0), (50, 1.5, 0.0), (5, 15, 0.5), (5, 15, 0.0), (40, 3, 0.3)])
def test_right_shares_are_seldom_doubted_however_scrapes_come(weight: int, rate: float, cut: float):
    """At most one release in 20, by Ville's inequality. Windows end when both versions were seen, or when a scrape is lost (`cut`)."""
    rng, doubted, runs = np.random.default_rng(weight), 0, 150
    for _ in range(runs):
        shares, worst = SampleRatio(20), False
        for _ in range(120):
            total = int(rng.poisson(rate))
            mine = int(rng.binomial(total, weight / 100))
            if rng.random() < cut:
                shares.interrupt(weight)
                continue
            shares.observe(mine, total - mine, weight=weight, share=1 / 240)
            worst = worst or shares.doubted
        doubted += worst
    assert doubted <= 0.05 * runs


def test_looks_that_see_the_versions_in_turn_compare_as_well_as_those_that_see_both():
    apart, together = SampleRatio(20), SampleRatio(20)
    for _ in range(20):
        apart.observe(33, 0, weight=50, share=0.004)
        apart.observe(0, 100, weight=50, share=0.004)
        together.observe(33, 100, weight=50, share=0.008)
    assert apart.value == pytest.approx(together.value)
    assert apart.rejected
    assert apart.expected == pytest.approx(19 * 133 / 2)


def test_what_came_under_another_weight_is_no_part_of_a_comparison():
    shares = SampleRatio(20)
    shares.observe(50, 50, weight=50, share=0.01)
    shares.observe(0, 40, weight=50, share=0.01)
    shares.interrupt(50)
    assert shares.canary_n == 0
    assert shares.expected == 20, "what was complete under the old weight counts"
    shares.observe(9, 1, weight=90, share=0.01)
    assert shares.expected == 20, "the first look under the new one may cover both"
    shares.observe(90, 10, weight=90, share=0.01)
    assert shares.expected == 110


def test_shares_go_on_bit_for_bit():
    whole, broken = SampleRatio(20), SampleRatio(20)
    for canary, primary in [(5, 90), (0, 100), (0, 80), (7, 0), (4, 100), (9, 120)] * 4:
        whole.observe(canary, primary, weight=5, share=0.004)
        state, broken = json.loads(json.dumps(broken.state())), SampleRatio(20)
        broken.restore(state)
        broken.observe(canary, primary, weight=5, share=0.004)
        assert broken.state() == whole.state()


# ------------------------------------------------------------------------------------------------------------- silence


def _in_turn(looks: int, *, canary: int = 700, primary: int = 700) -> list[Tick]:
    """Pods that are scraped half as often as one looks, each version at its own time."""
    tail = {at: 1.0 for at in (500, math.inf)} | {100: 0.7, 250: 0.99}
    arms = [Arm(n, 0, {at: int(n * part) for at, part in tail.items()}) for n in (canary, primary)]
    return [Tick(START + 15 * k, *((arms[0], Arm(0, 0)) if k % 2 else (Arm(0, 0), arms[1])), 50) for k in range(1, looks + 1)]


def test_versions_that_are_scraped_in_turn_are_neither_silent_nor_held():
    judge = SequentialJudge(config(), Service(1).history())
    found = [judge.observe(tick) for tick in _in_turn(60)]
    assert {one.verdict for one in found} == {"continue", "promote"}


def test_a_canary_that_has_just_fallen_silent_is_not_promoted():
    """Health was shown, and only the minute at the top weight is missing: two looks without a word are too few for an alarm and reason to wait."""
    service = Service(1, rate=1000)
    judge = SequentialJudge(config(), service.history())
    weight, found = judge.weight, []
    while not (weight == 50 and found[-1].evidence["latency"]["pass"] >= 20 and found[-1].evidence["errorRate"]["pass"] >= 20):
        found.append(judge.observe(service.tick(weight)))
        weight = found[-1].weight
    later = [judge.observe(replace(service.tick(50), canary=Arm(0, 0))) for _ in range(8)]
    assert "promote" not in {one.verdict for one in later[1:]}
    assert later[1].reason == "Holding: no request of the canary has been seen lately."
    assert "no request has reached the canary" in later[3].reason
