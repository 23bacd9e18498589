"""`needed`: as many runs take more requests as take less, and the forecast follows what has been seen."""

from __future__ import annotations

import itertools
import math
import random
from dataclasses import replace
from statistics import median as middle

import pytest

from bench.judge.cells import CELLS
from bench.judge.rivals import ours
from canary.core.judge import Arm, SequentialJudge
from canary.core.judge.evalue import Counts, fluctuation, information, two_arms
from canary.core.judge.passage import Walk, median
from canary.core.judge.process import Process
from tests.judge.releases import Service, config, release

USUAL = Walk(wanted=3.7, gain=0.001, variance=0.002)


@pytest.mark.parametrize("walk", [USUAL, Walk(3.7, 0.001, 0.0005), Walk(0.2, 0.01, 0.1), Walk(5.0, 1e-5, 2e-5)])
@pytest.mark.parametrize("part", [0.1, 0.5, 1.0, 3.0])
def test_chances_of_arrival_are_those_of_the_inverse_gaussian(walk: Walk, part: float):
    assert walk.arrived(part * walk.mean) == pytest.approx(_wald(walk, part * walk.mean), rel=1e-4, abs=1e-9)


def _wald(walk: Walk, upto: float) -> float:
    """Wald's density, added up over a grid of logarithms."""
    shape, width = walk.wanted**2 / walk.variance, 0.002
    found = 0.0
    for k in range(6000):
        at = upto * math.exp(-(k + 0.5) * width)
        density = math.sqrt(shape / (2 * math.pi * at**3)) * math.exp(-shape * (at - walk.mean) ** 2 / (2 * walk.mean**2 * at))
        found += density * at * width
    return found


@pytest.mark.parametrize("every", [1, 10, 40])
def test_a_walk_that_is_looked_at_now_and_then_arrives_as_foretold(every: int):
    dice, walk, arrivals = random.Random(4), Walk(5.0, 0.02, 0.04), []
    for _ in range(1500):
        at, requests = 0.0, 0
        while at < walk.wanted:
            at += dice.gauss(every * walk.gain, math.sqrt(every * walk.variance))
            requests += every
        arrivals.append(requests)
    foretold = median([walk.seen_every(every)])
    assert foretold is not None
    assert sum(one <= foretold for one in arrivals) == pytest.approx(0.5 * len(arrivals), abs=0.07 * len(arrivals))


def test_the_median_is_below_the_mean_and_of_several_walks_the_last_counts():
    alone, twice = median([USUAL]), median([USUAL, USUAL])
    assert alone is not None
    assert twice is not None
    assert 0.5 * USUAL.mean < alone < USUAL.mean
    assert alone < twice < 3 * alone
    assert USUAL.arrived(twice) ** 2 == pytest.approx(0.5, abs=0.01)
    assert median([USUAL, Walk(0.1, 1.0, 1.0)]) == pytest.approx(alone, rel=0.01)


def test_bursts_stretch_it_by_their_size():
    alone, stretched = median([USUAL]), median([Walk(3.7, 0.001 / 10, 0.002 / 10)])
    assert alone is not None
    assert stretched == pytest.approx(10 * alone, rel=0.01)


def test_nothing_is_needed_for_what_is_shown_and_no_number_suffices_for_what_cannot_be():
    assert median([Walk(0.0, 1.0, 1.0)]) == median([]) == 0
    assert median([USUAL, Walk(3.7, 0.0, 0.0)]) is None
    assert median([Walk(3.7, 1e-12, 1e-12)]) is None
    assert median([Walk(3.7, 0.1, 1e-5)]) == pytest.approx(37, abs=1), "almost certain, and no overflow"


@pytest.mark.parametrize(("rate", "ratio", "margin"), [(0.001, 1.0, 0.002), (0.2, 1.25, 0.005), (0.04, 1.0, 0.1)])
def test_mean_and_variance_of_a_bet_are_exact(rate: float, ratio: float, margin: float):
    """One request of each version, all four outcomes."""
    mean = square = 0.0
    for mine, theirs in itertools.product((0, 1), repeat=2):
        chance = math.prod(rate if bad else 1 - rate for bad in (mine, theirs))
        gained = two_arms(Counts(1, mine, 1, theirs), rate, rate, ratio=ratio, margin=margin)
        mean, square = mean + chance * gained, square + chance * gained**2
    assert information(rate, rate, ratio=ratio, margin=margin, primaries=1.0) == pytest.approx(mean, rel=1e-9)
    assert fluctuation(rate, ratio=ratio, margin=margin, primaries=1.0) == pytest.approx(square - mean**2, rel=1e-9)


def test_the_forecast_ends_where_the_run_does():
    service = Service(3, rate=20)
    found = release(SequentialJudge(config(maxExcessPerHour=600), service.history()), service)
    last = found[-1]
    assert last.verdict == "promote"
    assert last.needed == last.evidence["errorRate"]["settled"]
    before = [one for one in found if one.evidence["errorRate"]["settled"] < last.needed]
    assert all(one.needed > one.evidence["errorRate"]["settled"] for one in before)


@pytest.mark.parametrize(("cell", "runs"), [("healthy 0.1% 100 rps", 30), pytest.param("healthy 0.1% 1 rps", 60, marks=pytest.mark.slow)])
def test_as_many_healthy_runs_take_more_as_take_less(cell: str, runs: int):
    factors = [one.forecast for one in (ours(CELLS[cell], 5000 + seed) for seed in range(runs)) if one.forecast is not None]
    assert len(factors) >= 0.9 * runs
    assert 0.7 <= middle(factors) <= 1.4
    assert sum(0.5 <= one <= 2 for one in factors) >= 0.65 * len(factors)


def test_a_stake_that_is_lost_altogether_is_still_a_number():
    process = Process(1)
    process.bet((0.0,), share=1.0)
    process.bet((0.0,), share=1.0)
    process.forfeit()
    assert process.value == 0
    assert 0 < process.debt < math.inf


def test_a_run_whose_health_is_forfeit_goes_on_after_the_hour():
    """Half of the canary's requests are not seen: in the end nothing is left to stake, and the forecast must not fail."""
    service = Service(3, rate=20)
    judge = SequentialJudge(config(), service.history())
    weight = judge.weight
    for _ in range(300):
        tick = service.tick(weight)
        assert tick.canary is not None
        half = Arm(tick.canary.total // 2, 0, {bound: count // 2 for bound, count in tick.canary.buckets.items()})
        decision = judge.observe(replace(tick, canary=half))
        weight = decision.weight
    assert decision.verdict == "inconclusive"
    assert decision.needed is None or decision.needed > decision.evidence["errorRate"]["settled"]
