"""How many more requests a bet takes until it pays: the first passage of a random walk with drift.

Evidence of health grows by a little with every request, and every bad request throws it back. The mean of the requests that it takes is half
as much again as what most runs take, for the few that are unlucky take very long; so the forecast is the median: as many runs take more as take less.
Wald's law (inverse Gaussian) says how many arrive by when, and for several bets at once the last one counts. Looks come once a tick, so that a
walk arrives a little beyond its end: by 0.583 standard deviations of a tick (Siegmund, "Sequential Analysis", 1985: corrected diffusion).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

_MOST: Final = 10**9
_EXACT: Final = 0.002
"""Relative width at which the search for the median stops."""
_FAR: Final = 8.0
_BEYOND: Final = 0.583


@dataclass(frozen=True, slots=True)
class Walk:
    """`wanted` nats are still to be gained; each canary request brings `gain` on average, with `variance`, independently."""

    wanted: float
    gain: float
    variance: float

    def seen_every(self, requests: float) -> Walk:
        """The same, looked at only after each so many requests."""
        beyond = _BEYOND * math.sqrt(self.variance * requests)
        return replace(self, wanted=self.wanted + beyond) if self.wanted > 0 else self

    @property
    def mean(self) -> float:
        """Requests until it arrives, on average."""
        return self.wanted / self.gain if self.gain * _MOST > self.wanted else math.inf

    def arrived(self, requests: float) -> float:
        """Chance that it has arrived within so many requests."""
        if self.wanted <= 0:
            return 1.0
        if requests <= 0:
            return 0.0
        wide = math.sqrt(2 * self.variance * requests)
        before, after = (self.wanted - self.gain * requests) / wide, (self.wanted + self.gain * requests) / wide
        # exp(...) * erfc(...) as one exponent: the first overflows where the second vanishes
        again = math.exp(2 * self.gain * self.wanted / self.variance) * math.erfc(after) if after < _FAR else 0.0
        return min(1.0, 0.5 * (math.erfc(before) + again))


def median(walks: Sequence[Walk]) -> int | None:
    """Requests within which half of all runs see every walk arrive; None when that would take more than a thousand million."""
    left = [walk for walk in walks if walk.wanted > 0]
    if not left:
        return 0
    high = max(walk.mean for walk in left)
    if high > _MOST:
        return None
    while _all(left, high) < 0.5:
        high *= 2
    low = 0.0
    while high - low > max(0.5, _EXACT * high):
        middle = (low + high) / 2
        low, high = (low, middle) if _all(left, middle) >= 0.5 else (middle, high)
    return math.ceil(high)


def _all(walks: Sequence[Walk], requests: float) -> float:
    return math.prod(walk.arrived(requests) for walk in walks)
