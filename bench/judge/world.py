"""Simulated services: traffic, failures, latency and telemetry of two versions, tick by tick.

A run is determined by (scenario, seed): totals per tick do not depend on who judges, and every judge draws from a generator with the
same seed, so that differences between judges are not luck.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np

from canary.core.forecast.world import failures
from canary.core.judge import Arm, Tick

ISTIO = (0.5, 1, 5, 10, 25, 50, 100, 250, 500, 1000, 2500, 5000, 10000)
"""Bounds in milliseconds that meshes use by default (upper end left out)."""
COARSE = (100, 250, 500, 1000)
SPARSE = (50, 300, 2000)
FINE = tuple(round(2 ** (k / 4), 3) for k in range(4 * 4, 12 * 4))
"""What a native histogram of schema 2 gives."""
EPOCH = 1_700_000_000.0
HOUR = 3600.0
HISTORY_SECONDS = HOUR

Shape = tuple[float, float]
"""Median in ms and sigma of a lognormal latency."""
USUAL: Shape = (80.0, 0.5)


@dataclass(frozen=True)
class Scenario:
    """A kind of release. Rates are shares; times are seconds since the run began, negative in the past."""

    name: str
    rate: float
    """Requests per second, both versions."""
    base: float = 0.001
    """The primary's share of failures."""
    canary: float | None = None
    """The canary's; None: the same."""
    slow: float = 1.0
    """Factor on the canary's latency."""
    outage: tuple[float, float, float] | None = None
    """(from, until, share): both versions fail at this share."""
    extra: float = 0.0
    """Additional failures of the canary at all times (on top of an outage)."""
    skew: bool = False
    """The canary's scrape shows an outage one tick before the primary's."""
    burst: float = 1.0
    """Mean size of bursts of failures (geometric)."""
    from_weight: int = 0
    """The canary's fault begins once it has this weight."""
    cold: tuple[float, float] | None = None
    """(seconds, share): failures of the canary at first."""
    lost: float = 0.0
    """Share of scrapes that are missing, of each arm."""
    silence: tuple[float, float] | None = None
    """(from, until): no scrape at all."""
    answered: float = 1.0
    """Part of the canary's requests that its telemetry shows."""
    swing: float = 0.0
    """Diurnal swing of traffic (0..1) over two hours."""
    spacing: float = 15.0
    bounds: tuple[float, ...] = COARSE
    shape: Shape = USUAL
    spec: dict[str, object] = field(default_factory=dict)
    """Settings of our judge beside the defaults."""
    past: bool = True
    """Whether the primary's last hour is known."""

    def canary_share(self, t: float, faulty: bool) -> float:
        if self.cold is not None and t <= self.cold[0]:
            return self.cold[1]
        share = self.primary_share(t + (self.spacing if self.skew else 0.0)) + self.extra
        return share if self.canary is None or not faulty else max(share, self.canary)

    def primary_share(self, t: float) -> float:
        return self.outage[2] if self.outage is not None and self.outage[0] < t <= self.outage[1] else self.base

    @property
    def limit(self) -> float:
        """The bound in ms beyond which a response counts as slow when harm is counted."""
        return 250.0


def cdf(bound: float, shape: Shape, factor: float = 1.0) -> float:
    """Share of requests that take at most `bound` ms."""
    median, sigma = shape
    return 0.5 * (1 + math.erf(math.log(bound / (median * factor)) / sigma / math.sqrt(2)))


class Run:
    """One release of a scenario: give it the weight, it gives the tick; it counts who was harmed."""

    def __init__(self, scenario: Scenario, seed: int) -> None:
        self.scenario = scenario
        self._totals = np.random.default_rng([seed, 1])
        self._rng = np.random.default_rng([seed, 2])
        self.t = 0.0
        self.faulty = scenario.from_weight == 0
        self.harmed = 0.0
        shares = [[*(cdf(bound, scenario.shape, factor) for bound in scenario.bounds), 1.0] for factor in (1.0, scenario.slow)]
        self._parts = [np.diff([0.0, *row]) for row in shares]
        self._slower = max(0.0, cdf(scenario.limit, scenario.shape) - cdf(scenario.limit, scenario.shape, scenario.slow))

    def history(self) -> list[Tick]:
        s = self.scenario
        if not s.past:
            return []
        count = int(HISTORY_SECONDS / s.spacing)
        times = [s.spacing * (at - count) for at in range(1, count + 1)]
        return [Tick(EPOCH + t, Arm(0, 0), self._arm(self._total(t), s.primary_share(t), 0), 0) for t in times]

    def tick(self, weight: int) -> Tick:
        """One interval at this weight (percent)."""
        s = self.scenario
        self.t += s.spacing
        self.faulty = self.faulty or weight >= s.from_weight
        total = self._total(self.t)
        mine = int(self._rng.binomial(total, weight / 100)) if weight else 0
        share, theirs = s.canary_share(self.t, self.faulty), s.primary_share(self.t)
        self.harmed += mine * self.excess(share, theirs)
        seen = mine if s.answered == 1 else int(self._rng.binomial(mine, s.answered))
        canary = self._arm(seen, share, 1 if self.faulty else 0)
        primary = self._arm(total - mine, theirs, 0)
        silent = s.silence is not None and s.silence[0] < self.t <= s.silence[1]
        hidden = [silent or bool(self._rng.random() < s.lost) for _ in range(2)] if s.lost or silent else [False, False]
        return Tick(EPOCH + self.t, None if hidden[0] else canary, None if hidden[1] else primary, weight)

    def excess(self, share: float, theirs: float) -> float:
        """Responses that are bad because of the canary, per request."""
        return max(0.0, share - theirs) + (self._slower if self.faulty else 0.0)

    def aftermath(self, weight: int) -> float:
        """Users harmed in what is left of the hour at this weight."""
        s = self.scenario
        left = max(0.0, HOUR - self.t)
        steady = s.extra + max(0.0, (s.canary or s.base) - s.base)
        return left * s.rate * weight / 100 * (steady + self._slower if self.faulty or weight >= s.from_weight else 0.0)

    def _total(self, t: float) -> int:
        s = self.scenario
        wave = 1 + s.swing * math.sin(2 * math.pi * t / (2 * HOUR)) if s.swing else 1.0
        return int(self._totals.poisson(s.rate * s.spacing * wave))

    def _arm(self, n: int, share: float, which: int) -> Arm:
        s = self.scenario
        buckets = self._rng.multinomial(n, self._parts[which]).cumsum()
        return Arm(n, failures(n, share, s.burst, self._rng), dict(zip((*s.bounds, math.inf), map(int, buckets), strict=True)))
