"""What the judge is shown: integers that happened since the last look, of canary and primary.

Rates are no input on purpose: `rate()` extrapolates, counts requests again at each look and hides how many there were.
`counters.CounterBook` makes these values from raw counters.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Arm:
    """Requests of one version in one tick, as differences, not running totals.

    `buckets` maps an upper bound in milliseconds to how many of the tick's requests took at most so long (cumulative, as in
    Prometheus); it may be empty, and `math.inf` may or may not be among the bounds.
    """

    total: int
    errors: int
    buckets: Mapping[float, int] = field(default_factory=dict)

    def timed(self) -> int:
        """How many requests the buckets cover; 0 without buckets."""
        if not self.buckets:
            return 0
        top = max(self.buckets)
        return max(self.buckets[top], 0 if top == math.inf else self.total)


@dataclass(frozen=True, slots=True)
class Tick:
    """One scrape interval. `ts` is its end in seconds (any epoch); an arm is None when there is no data, which is not no traffic.

    `weight` is the canary's share of traffic in percent during the tick. `pairs` has canary and primary of what templates count, by the
    name of the metric; None when that is not known. `copied`: percent of the primary's requests that the canary got a copy of, while the
    traffic was mirrored and not split; its weight is 0 then. `baseline`: percent of the traffic that a fresh baseline had; it is what `primary`
    counts then, and the primary's own requests are in neither arm.
    """

    ts: float
    canary: Arm | None
    primary: Arm | None
    weight: int
    pairs: Mapping[str, tuple[Arm | None, Arm | None]] | None = None
    copied: int = 0
    baseline: int = 0

    @property
    def part(self) -> float:
        """The canary's part of all requests that both arms get, in percent: of a hundred requests and forty copies, 28.6."""
        if self.baseline:
            return 100 * self.weight / (self.weight + self.baseline)
        return 100 * self.copied / (100 + self.copied) if self.copied else self.weight

    @property
    def whole(self) -> int:
        """How many percent of the service's requests the arms have between them."""
        return self.weight + self.baseline if self.baseline else 100


EMPTY = Arm(0, 0)
"""An arm that is known to have served nothing."""
