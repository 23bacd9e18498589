"""Simulated traffic of two versions, and what scrapes show of it.

Time is continuous, because steps and scrapes need not fall together: requests of a stretch are drawn under the weight in force, and handed out
with the next scrape. A run is determined by its seed.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

import numpy as np

from canary.core.forecast.service import Fault, Service
from canary.core.judge import Arm, Tick
from canary.core.judge.samples import EMPTY
from canary.core.weights import TOTAL, beside

EPOCH: Final = 1_700_000_000.0
PAST: Final = 3600.0
"""Seconds of the primary's past that the judge is shown."""


@dataclass(slots=True)
class _Pending:
    """What one version has done since the last scrape."""

    total: int = 0
    errors: int = 0
    buckets: list[int] = field(default_factory=list)

    def take(self, bounds: Sequence[float]) -> Arm:
        counts = itertools.accumulate(self.buckets) if self.buckets else [0] * len(bounds)
        arm = Arm(self.total, self.errors, dict(zip(bounds, counts, strict=True)))
        self.total, self.errors, self.buckets = 0, 0, []
        return arm


class _Law(NamedTuple):
    """The share of requests that fail, and those of each bucket."""

    errors: float
    parts: np.ndarray


class World:
    """One release of a service with a fault. `t` is seconds since it began; `harmed` the bad responses that the canary caused so far.

    `fresh`: what the canary is compared with is a fresh baseline, which gets as much of the traffic as the canary and is as young.
    """

    def __init__(self, service: Service, fault: Fault, seed: int, *, fresh: bool = False) -> None:
        self._service, self._fresh = service, fresh
        self._random = np.random.default_rng([seed, 1])
        self._past = np.random.default_rng([seed, 2])
        self._bounds = (*service.bounds, math.inf)
        young = () if service.young is None else (service.young,)
        self._laws = {"canary": self._law(fault), "primary": self._law(), "baseline": self._law()}
        self._young = self._laws | {"canary": self._law(*young, fault), "baseline": self._law(*young)}
        self._pending = {name: _Pending() for name in self._laws}
        self._excess = fault.excess(service)
        self.t = 0.0
        self.harmed = 0.0
        self.served = 0
        self.primary = EMPTY

    def history(self) -> list[Tick]:
        """The primary's last hour."""
        spacing = self._service.spacing
        count = max(1, int(PAST / spacing))
        ticks = []
        for at in range(1 - count, 1):
            arm = _Pending()
            self._draw(arm, self._laws["primary"], int(self._past.poisson(self._service.traffic * spacing)), self._past)
            ticks.append(Tick(EPOCH + at * spacing, None, arm.take(self._bounds), 0))
        return ticks

    def go_on(self, seconds: float, weight: int, copied: int = 0) -> None:
        """Let time pass under this weight, or with so many of the requests copied (percent).

        A copy is drawn by itself. That its request would have failed, too, is left out: proxies do not tell, and healthy versions are then
        taken back rather too often than too rarely.
        """
        laws = self._young if self.t < self._service.young_for else self._laws
        self.t += seconds
        total = int(self._random.poisson(self._service.traffic * seconds))
        if copied:
            parts = {"canary": int(self._random.binomial(total, copied / 100)), "primary": total}
        else:
            mine = int(self._random.binomial(total, weight / 100)) if weight else 0
            self.served += mine
            self.harmed += mine * self._excess
            parts = {"canary": mine} | self._others(total - mine, weight)
        for name, count in parts.items():
            self._draw(self._pending[name], laws[name], count, self._random)

    def _others(self, total: int, weight: int) -> dict[str, int]:
        """Who answers what does not go to the canary."""
        if not self._fresh or not 0 < weight < TOTAL:
            return {"primary": total}
        theirs = int(self._random.binomial(total, beside(weight) / (TOTAL - weight)))
        return {"baseline": theirs, "primary": total - theirs}

    def scrape(self, weight: int) -> Tick:
        """What happened since the last scrape, of the canary and what it is compared with; `primary` is what the primary did."""
        arms = {name: pending.take(self._bounds) for name, pending in self._pending.items()}
        self.primary = arms["primary"]
        other = arms["baseline" if self._fresh else "primary"]
        return Tick(EPOCH + self.t, arms["canary"], other, weight, baseline=beside(weight) if self._fresh else 0)

    def _draw(self, into: _Pending, law: _Law, n: int, random: np.random.Generator) -> None:
        if not n:
            return
        into.total += n
        into.errors += failures(n, law.errors, self._service.burst, random)
        drawn = random.multinomial(n, law.parts).tolist()
        into.buckets = [a + b for a, b in zip(into.buckets, drawn, strict=True)] if into.buckets else drawn

    def _law(self, *faults: Fault) -> _Law:
        """How a version with these faults answers."""
        errors, slow = self._service.errors, 1.0
        for fault in faults:
            errors, slow = fault.rate(errors), slow * fault.slow
        return _Law(errors, self._split(slow))

    def _split(self, factor: float) -> np.ndarray:
        above = [self._service.latency.above(bound, factor) for bound in self._bounds]
        parts: np.ndarray = np.clip(-np.diff([1.0, *above]), 0.0, 1.0)
        parts /= parts.sum()
        return parts


def failures(n: int, rate: float, burst: float, random: np.random.Generator) -> int:
    """How many of `n` requests fail at this rate, in bursts of `burst` on average (geometric); independently for at most 1."""
    if not n:
        return 0
    if burst <= 1:
        return int(random.binomial(n, rate))
    bursts = int(random.poisson(n * rate / burst))
    return min(n, int(random.geometric(1 / burst, bursts).sum())) if bursts else 0
