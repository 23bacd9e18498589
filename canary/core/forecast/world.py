"""Simulated traffic of two versions, and what scrapes show of it.

Time is continuous, because steps and scrapes need not fall together: requests of a stretch are drawn under the weight in force, and handed out
with the next scrape. A run is determined by its seed.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from canary.core.forecast.service import Fault, Service
from canary.core.judge import Arm, Tick
from canary.core.weights import beside

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


class World:
    """One release of a service with a fault. `t` is seconds since it began; `harmed` the bad responses that the canary caused so far.

    `fresh`: what the canary is compared with is a fresh baseline, which gets as much of the traffic as the canary.
    """

    def __init__(self, service: Service, fault: Fault, seed: int, *, fresh: bool = False) -> None:
        self._fresh = fresh
        self._service = service
        self._random = np.random.default_rng([seed, 1])
        self._past = np.random.default_rng([seed, 2])
        self._bounds = (*service.bounds, math.inf)
        self._rates = {"canary": fault.rate(service.errors), "primary": service.errors}
        self._parts = {"canary": self._split(fault.slow), "primary": self._split(1.0)}
        self._pending = {"canary": _Pending(), "primary": _Pending()}
        self._excess = fault.excess(service)
        self.t = 0.0
        self.harmed = 0.0
        self.served = 0

    def history(self) -> list[Tick]:
        """The primary's last hour."""
        spacing = self._service.spacing
        count = max(1, int(PAST / spacing))
        ticks = []
        for at in range(1 - count, 1):
            arm = _Pending()
            self._draw(arm, "primary", int(self._past.poisson(self._service.traffic * spacing)), self._past)
            ticks.append(Tick(EPOCH + at * spacing, None, arm.take(self._bounds), 0))
        return ticks

    def go_on(self, seconds: float, weight: int, copied: int = 0) -> None:
        """Let time pass under this weight, or with so many of the requests copied (percent).

        A copy is drawn by itself. That its request would have failed, too, is left out: proxies do not tell, and healthy versions are then
        taken back rather too often than too rarely.
        """
        self.t += seconds
        total = int(self._random.poisson(self._service.traffic * seconds))
        if copied:
            self._draw(self._pending["canary"], "canary", int(self._random.binomial(total, copied / 100)), self._random)
            self._draw(self._pending["primary"], "primary", total, self._random)
            return
        mine = int(self._random.binomial(total, weight / 100)) if weight else 0
        self.served += mine
        self.harmed += mine * self._excess
        self._draw(self._pending["canary"], "canary", mine, self._random)
        theirs = total - mine
        if self._fresh and weight:
            theirs = int(self._random.binomial(theirs, beside(weight) / (100 - weight))) if weight < 100 else 0
        self._draw(self._pending["primary"], "primary", theirs, self._random)

    def scrape(self, weight: int) -> Tick:
        """What happened since the last scrape."""
        canary, primary = (self._pending[name].take(self._bounds) for name in ("canary", "primary"))
        return Tick(EPOCH + self.t, canary, primary, weight, baseline=beside(weight) if self._fresh else 0)

    def _draw(self, into: _Pending, name: str, n: int, random: np.random.Generator) -> None:
        if not n:
            return
        into.total += n
        into.errors += failures(n, self._rates[name], self._service.burst, random)
        drawn = random.multinomial(n, self._parts[name]).tolist()
        into.buckets = [a + b for a, b in zip(into.buckets, drawn, strict=True)] if into.buckets else drawn

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
