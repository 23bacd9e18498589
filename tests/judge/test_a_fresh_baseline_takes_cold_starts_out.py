"""Versions that are slow while they are young, judged beside the primary, after a warm-up, and beside a copy of the old version of their age.

What ADR 22 says of it is counted here: nothing is wrong with the canary of the first tests, except its age.
"""

from __future__ import annotations

from collections import Counter
from math import exp

import pytest

from canary.core.judge import Tick
from canary.core.weights import beside
from tests.judge.releases import START, Service, begun, config, release

pytestmark = pytest.mark.slow

RUNS = 60
WARM, COLD, MINUTES = 0.01, 0.08, 5.0
"""Share of slow requests of an old process, what a new one adds to that, and how long it takes until a third of the addition is left."""


class Ageing(Service):
    """A service whose fresh pods are slow; `fresh` gives the baseline the place of the primary, `worse` is what the new version adds for good."""

    def __init__(self, seed: int, *, fresh: bool, worse: float = 0.0, **more: float) -> None:
        super().__init__(seed, slow=WARM, **more)
        self.fresh, self.worse = fresh, worse

    def tick(self, weight: int) -> Tick:
        self.now += self.spacing
        mean, young = self.rate * self.spacing, COLD * exp(-(self.now - START) / 60 / MINUTES)
        share = beside(weight) if self.fresh else 100 - weight
        canary = self.arm(mean * weight / 100, self.canary, WARM + young + self.worse)
        old = self.arm(mean * share / 100, self.primary, WARM + (young if self.fresh else 0.0))
        return Tick(self.now, canary, old, weight, baseline=share if self.fresh else 0)


def outcomes(*, fresh: bool, worse: float = 0.0, **settings: object) -> Counter[str]:
    """How many of RUNS releases ended how."""
    found: Counter[str] = Counter()
    for seed in range(RUNS):
        compared = {"baseline": "fresh", "maxWeight": 33} if fresh else {}
        service = Ageing(seed, fresh=fresh, worse=worse)
        judge = begun(config(minDuration=600, thresholds={}, **compared, **settings), service)
        found[release(judge, service)[-1].verdict] += 1
    return found


def test_beside_a_primary_that_is_warm_healthy_versions_are_taken_back() -> None:
    assert outcomes(fresh=False)["rollback"] == RUNS


def test_a_warm_up_helps_those_who_have_guessed_its_length() -> None:
    assert outcomes(fresh=False, warmup=60)["rollback"] == RUNS
    assert RUNS / 4 <= outcomes(fresh=False, warmup=300)["rollback"] <= 3 * RUNS / 4


def test_beside_a_fresh_copy_they_are_promoted() -> None:
    found = outcomes(fresh=True)
    assert found["rollback"] == 0
    assert found["promote"] >= 0.95 * RUNS, found


def test_a_version_that_is_slower_for_good_is_taken_back_beside_a_fresh_copy() -> None:
    assert outcomes(fresh=True, worse=0.05)["rollback"] == RUNS
