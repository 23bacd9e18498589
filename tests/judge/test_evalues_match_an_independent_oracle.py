"""Against other people's arithmetic. Reference numbers: `BernoulliTest` of the PyPI package ville 0.1.0 (BSD-3), a beta-binomial
mixture with a flat prior; it is no dependency, the numbers were recorded once.
"""

from __future__ import annotations

import math

import pytest

from canary.core.judge.evalue import Counts, log_ratio, two_arms

VILLE = [
    (100, 5, 0.01, 1.2286873771994067),
    (1480, 31, 0.003, 29.251368622187613),
    (40, 0, 0.1, 0.5008485596087437),
    (2000, 4, 0.002, -5.969526866550293),
    (300, 150, 0.45, -1.1210439649605917),
    (25, 20, 0.6, 0.6593725772241168),
]


@pytest.mark.parametrize(("n", "x", "null", "expected"), VILLE)
def test_one_sample_evidence_mixed_over_all_alternatives_equals_villes(n: int, x: int, null: float, expected: float):
    points = 10_000
    mean = math.fsum(math.exp(log_ratio(n, x, (k + 0.5) / points, null)) for k in range(points)) / points
    assert math.log(mean) == pytest.approx(expected, abs=5e-4)


@pytest.mark.parametrize(("n", "x", "null", "expected"), VILLE)
def test_one_sample_evidence_equals_the_closed_form(n: int, x: int, null: float, expected: float):
    closed = math.lgamma(x + 1) + math.lgamma(n - x + 1) - math.lgamma(n + 2) - x * math.log(null) - (n - x) * math.log1p(-null)
    assert closed == pytest.approx(expected, abs=1e-9)


def test_a_primary_that_is_known_perfectly_leaves_the_one_sample_test():
    primaries = 10**13
    seen = Counts(1480, 31, primaries, primaries // 1000)
    two = two_arms(seen, 0.021, 0.001, ratio=1.0, margin=0.002)
    assert two == pytest.approx(log_ratio(1480, 31, 0.021, 0.003), abs=1e-3)
