"""The promise behind every error bound: a bet against a true hypothesis multiplies its stake by at most 1 on average."""

from __future__ import annotations

import math
import random

import pytest

from canary.core.judge import evalue
from canary.core.judge.comparison import EFFECTS, RATIOS, SLOW_EFFECTS, Border
from canary.core.judge.evalue import Counts, log_ratio, ratio_only, two_arms
from canary.core.judge.process import Process
from tests.judge.enumeration import binomial, expectation

FAIR = 1 + 1e-6


def _null_point(rng: random.Random, ratio: float, margin: float, *, worse: bool) -> tuple[float, float]:
    """Rates on the border or inside the null: canary at most (or, `worse`, at least) ratio * primary + margin."""
    primary = rng.choice([rng.random() ** 3, rng.random() * 0.02]) * (1 - margin) / ratio
    border = ratio * primary + margin
    if rng.random() < 0.5:
        return border, primary
    return (border + rng.random() * (1 - border) if worse else border * rng.random()), primary


@pytest.mark.parametrize("seed", range(6))
def test_a_comparison_with_margin_never_expects_more_than_its_stake(seed: int):
    rng = random.Random(seed)
    for _ in range(35):
        n, m = rng.randint(1, 25), rng.randint(1, 45)
        ratio, margin = rng.choice([1.0, 1.25, 2.0]), rng.choice([0.0, 0.002, 0.005, 0.1])
        guess = rng.choice([1e-6, 0.001, 0.05, rng.random() * 0.45])
        canary, primary = _null_point(rng, ratio, margin, worse=False)
        alternative = min(0.999, ratio * guess + margin + rng.choice(EFFECTS))
        if alternative > ratio * guess + margin:
            assert (
                expectation(
                    lambda seen, a=alternative, g=guess, r=ratio, d=margin: two_arms(seen, a, g, ratio=r, margin=d), n, m, canary, primary
                )
                <= FAIR
            )


@pytest.mark.parametrize("seed", range(6))
def test_a_proof_of_health_never_expects_more_than_its_stake(seed: int):
    rng = random.Random(100 + seed)
    for _ in range(35):
        n, m = rng.randint(1, 25), rng.randint(1, 45)
        ratio, margin = rng.choice([1.0, 1.25, 2.0]), rng.choice([0.002, 0.005, 0.1])
        guess = rng.choice([1e-6, 0.001, 0.05, rng.random() * 0.4])
        canary, primary = _null_point(rng, ratio, margin, worse=True)
        assert expectation(lambda seen, g=guess, r=ratio, d=margin: two_arms(seen, g, g, ratio=r, margin=d), n, m, canary, primary) <= FAIR


@pytest.mark.parametrize("limit", [1.0, 1.5, 3.0])
def test_a_comparison_by_ratio_alone_never_expects_more_than_its_stake(limit: float):
    rng = random.Random(7)
    for _ in range(80):
        n, m = rng.randint(1, 30), rng.randint(1, 60)
        worse = limit > 1 and rng.random() < 0.5
        canary, primary = _null_point(rng, limit, 0.0, worse=worse)
        alternative = 1.0 if worse else limit * rng.choice(RATIOS)
        assert expectation(lambda seen, a=alternative: ratio_only(seen, a, limit=limit), n, m, canary, primary) <= FAIR


@pytest.mark.parametrize("worse", [False, True])
def test_a_fixed_limit_never_expects_more_than_its_stake(worse: bool):
    rng = random.Random(8)
    for _ in range(200):
        n, limit = rng.randint(1, 80), rng.choice([0.005, 0.01, 0.2])
        true = limit + rng.random() * (1 - limit) if worse else limit * rng.choice([1, rng.random()])
        alternative = limit * rng.random() if worse else limit + rng.random() * (0.999 - limit)
        e = math.fsum(p * math.exp(log_ratio(n, x, max(alternative, 1e-6), limit)) for x, p in enumerate(binomial(n, true)) if p > 0)
        assert e <= FAIR


def test_a_tick_in_which_the_rate_changes_is_still_fair():
    """Half of the requests of both arms at one rate, half at another; the border holds for their means."""
    log_e = lambda seen: two_arms(seen, 0.2, 0.05, ratio=1.0, margin=0.02)  # noqa: E731
    for low, high in ((0.0, 0.1), (0.01, 0.5), (0.3, 0.9)):
        halves = [(low + 0.02, low), (high + 0.02, high)]
        mixed = [_convolved([binomial(6, halves[k][arm]) for k in range(2)]) for arm in range(2)]
        e = math.fsum(px * py * math.exp(log_e(Counts(12, x, 12, y))) for x, px in enumerate(mixed[0]) for y, py in enumerate(mixed[1]))
        assert e <= FAIR


def test_all_alternatives_of_a_border_are_fair_at_the_border():
    for border in (Border(), Border(1.25, 0.005, SLOW_EFFECTS, relative=True), Border(2.0, None)):
        for primary in (0.001, 0.03, 0.3):
            canary = border.ratio * primary + (border.margin or 0.0)
            mean = lambda seen, b=border: math.log(math.fsum(map(math.exp, b.against(seen, 0.01))) / b.alternatives)  # noqa: E731
            assert expectation(mean, 12, 24, canary, primary) <= FAIR


def test_the_border_point_is_the_closest_one():
    """Against a search by brute force: any other point of the border lies farther from the alternative."""
    rng = random.Random(3)
    for _ in range(20):
        n, m, guess, margin, ratio = (
            rng.randint(1, 500),
            rng.randint(1, 5000),
            rng.random() * 0.3 + 1e-4,
            rng.choice([0.0, 0.002, 0.05]),
            rng.choice([1.0, 1.25]),
        )
        alternative = ratio * guess + margin + rng.random() * 0.3
        found = evalue._closest((n, alternative), (m, guess), ratio, margin)
        assert found is not None
        cost = lambda p, r=ratio, d=margin, a=alternative, g=guess, n=n, m=m: n * _kl(a, r * p + d) + m * _kl(g, p)  # noqa: E731
        low, high = guess, (alternative - margin) / ratio
        assert low <= found <= high
        assert cost(found) <= min(cost(low + (high - low) * k / 2000) for k in range(1, 2000)) + 1e-12


def test_no_information_is_no_evidence():
    assert two_arms(Counts(0, 0, 500, 3), 0.1, 0.01, ratio=1.0, margin=0.002) == 0.0
    assert two_arms(Counts(50, 5, 0, 0), 0.1, 0.01, ratio=1.0, margin=0.002) == 0.0
    assert ratio_only(Counts(0, 0, 9, 1), 3.0, limit=1.0) == 0.0
    assert ratio_only(Counts(9, 0, 9, 0), 3.0, limit=1.0) == 0.0


def test_evidence_over_many_ticks_keeps_its_bound_when_looked_at_each_time():
    """Ville's inequality, simulated: of 400 healthy canaries few ever reach 1/alpha, though the stake is spread over starts."""
    rng = random.Random(11)
    reached = 0
    for _ in range(400):
        process = Process(1)
        for _ in range(60):
            x = sum(rng.random() < 0.1 for _ in range(5))
            process.bet([log_ratio(5, x, 0.3, 0.1)], share=1 / 60)
            if process.value >= 20:
                reached += 1
                break
    assert reached <= 400 / 20 + 3 * math.sqrt(20)


def _convolved(parts: list[list[float]]) -> list[float]:
    one, other = parts
    return [
        math.fsum(one[k] * other[total - k] for k in range(len(one)) if 0 <= total - k < len(other))
        for total in range(len(one) + len(other) - 1)
    ]


def _kl(a: float, b: float) -> float:
    return a * math.log(a / b) + (1 - a) * math.log((1 - a) / (1 - b))
