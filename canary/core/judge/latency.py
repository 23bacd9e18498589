"""Latency as counts: how many requests were slower than a bucket bound, which a histogram knows exactly.

P99 <= X means that at most 1 % of requests are slower than X. No quantile is interpolated in a test: the P99 of 40 requests is
their interpolated maximum. Bounds are chosen before the canary is looked at, from what the primary did; bounds in the body of the
distribution notice a shift about three times sooner than the tail does.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from typing import Any, Final

from canary.core.judge.comparison import SLOW_EFFECTS, Border, Comparison
from canary.core.judge.config import Margin
from canary.core.judge.evalue import Counts
from canary.core.judge.samples import Arm, Tick

LEAST, MOST = 0.0005, 0.60
"""Upper shares between which a bound tells something."""
TAIL: Final = 0.05
"""Evidence of health is taken at the first bound that at most this share exceeds."""
BOUNDS: Final = 4
"""Bounds compared at most: more would dilute the evidence, and the status must stay small."""
_REMEMBERED: Final = 48
"""Bounds that a choice is made from when it has to wait for data: the status must stay small."""
_FEW: Final = 100
"""Requests of the primary that a choice of bounds needs."""


def slower(arm: Arm, bound: float) -> tuple[int, int]:
    """Requests surely slower than `bound` milliseconds, and those that may be; equal when the buckets have the bound."""
    return _slower(arm.buckets, arm.timed(), bound)


def _slower(buckets: Mapping[float, int], total: int, bound: float) -> tuple[int, int]:
    """The same, of the `total` requests that the buckets cover: counted once for all bounds."""
    exact = buckets.get(bound)
    if exact is not None:
        slow = max(0, total - exact)
        return slow, slow
    above = min((at for at in buckets if at > bound), default=math.inf)
    below = max((at for at in buckets if at < bound), default=0.0)
    surely = max(0, total - buckets[above]) if above in buckets and above != math.inf else 0
    return surely, max(0, total - buckets.get(below, 0))


def neighbours(arm: Arm, bound: float) -> tuple[float, float | None] | None:
    """The bounds around one that the buckets do not have (None above the last); None when they have it or have none at all."""
    if not arm.buckets or bound in arm.buckets:
        return None
    finite = [at for at in arm.buckets if at != math.inf]
    return max((at for at in finite if at < bound), default=0.0), min((at for at in finite if at > bound), default=None)


def _remembered(arm: Arm) -> list[float]:
    """Bounds that a choice is made from."""
    finite = sorted(bound for bound in arm.buckets if bound != math.inf)
    return finite[:: -(-len(finite) // _REMEMBERED) or 1]


def choose(shares: Mapping[float, float]) -> tuple[list[float], float] | None:
    """Bounds to compare, and the one of them where health is shown; `shares` maps a bound to the primary's share above it."""
    finite = sorted(bound for bound in shares if bound != math.inf)
    if not finite:
        return None
    tail = next((bound for bound in finite if shares[bound] <= TAIL), finite[-1])
    telling = [bound for bound in finite if LEAST <= shares[bound] <= MOST and bound != tail]
    chosen = {tail, *_spread(telling, shares, BOUNDS - 1)}
    return sorted(chosen), tail


def _spread(bounds: list[float], shares: Mapping[float, float], count: int) -> list[float]:
    """At most `count` of them, evenly by the odds of their shares: neighbours say the same twice."""
    if len(bounds) <= count:
        return bounds
    odds = {bound: math.log(shares[bound] / (1 - shares[bound])) for bound in bounds}
    top, bottom = max(odds.values()), min(odds.values())
    wanted = [top + (bottom - top) * (at + 0.5) / count for at in range(count)]
    return sorted({min(bounds, key=lambda bound: abs(odds[bound] - want)) for want in wanted})


class Latency:
    """All bounds together. `None` comparisons until the primary has shown enough to choose bounds."""

    __slots__ = ("_margin", "_slow", "_strict", "_tail", "_timed", "bounds", "comparisons", "tolerated")

    def __init__(self, margin: Margin, strict: float) -> None:
        self._margin = margin
        self._strict = strict
        self._slow: Counter[float] = Counter()
        self._timed = 0
        self._tail = 0.0
        self.tolerated = margin.slow_share
        self.bounds: list[float] = []
        self.comparisons: list[Comparison] = []

    @property
    def chosen(self) -> bool:
        return bool(self.comparisons)

    @property
    def fail(self) -> float:
        """Average over bounds: valid under any dependence between them."""
        return sum(one.fail for one in self.comparisons) / len(self.comparisons) if self.comparisons else 1.0

    @property
    def tail(self) -> Comparison | None:
        return self.comparisons[self.bounds.index(self._tail)] if self.comparisons else None

    @property
    def tail_bound(self) -> float:
        return self._tail

    @property
    def worst(self) -> tuple[float, Comparison] | None:
        """The bound with the most evidence against the canary."""
        return max(zip(self.bounds, self.comparisons, strict=True), key=lambda pair: pair[1].fail, default=None)

    def learn(self, history: list[Tick]) -> None:
        """Choose from the primary's past, and remember its rates there."""
        for tick in history:
            self._count(tick.primary)
        self._choose()
        previous = None
        for tick in history if self.comparisons else ():
            if tick.primary is not None and (timed := tick.primary.timed()):
                seconds = 0.0 if previous is None else max(0.0, tick.ts - previous)
                previous = tick.ts
                for bound, one in zip(self.bounds, self.comparisons, strict=True):
                    one.remember(timed, _slower(tick.primary.buckets, timed, bound)[0], seconds)
        for one in self.comparisons:
            one.dispersion.begin()

    def tolerate(self, margin: float) -> None:
        """Widen what is tolerated when health is shown (never when a fault is)."""
        self.tolerated = margin
        if self.tail is not None:
            self.tail.tolerated = margin

    def observe(self, canary: Arm, primary: Arm, *, share: float, seconds: float, settled: bool) -> None:
        """Take one tick; ticks before the choice only serve the choice."""
        if not self.comparisons:
            self._count(primary)
            self._choose()
            return
        n, m = canary.timed(), primary.timed()
        for bound, one in zip(self.bounds, self.comparisons, strict=True):
            (c_surely, c_maybe), (b_surely, b_maybe) = _slower(canary.buckets, n, bound), _slower(primary.buckets, m, bound)
            against, favour = Counts(n, c_surely, m, b_maybe), Counts(n, c_maybe, m, b_surely)
            one.observe(against, favour, share=share, seconds=seconds, settled=settled)

    def _count(self, arm: Arm | None) -> None:
        if arm is not None and arm.buckets:
            timed = arm.timed()
            self._timed += timed
            for bound in self._slow or _remembered(arm):
                self._slow[float(bound)] += _slower(arm.buckets, timed, bound)[0]

    def _choose(self) -> None:
        if self._timed < _FEW:
            return
        shares = {bound: slow / self._timed for bound, slow in self._slow.items()}
        found = choose(shares)
        if found is None:
            return
        self.bounds, self._tail = found
        for bound in self.bounds:
            one = Comparison(self._border, prior=max(shares[bound], LEAST), strict=self._strict, passing=bound == self._tail)
            self.comparisons.append(one)
        self.tolerate(self.tolerated)
        self._slow.clear()

    @property
    def _border(self) -> Border:
        return Border(self._margin.slow_ratio, self._margin.slow_share, SLOW_EFFECTS, relative=True)

    def state(self) -> dict[str, Any]:
        if not self.comparisons:
            return {"timed": self._timed, "slow": sorted([bound, count] for bound, count in self._slow.items())}
        return {"bounds": self.bounds, "tail": self._tail, "each": [one.state() for one in self.comparisons]}

    def restore(self, state: Mapping[str, Any], tolerated: float) -> None:
        self.tolerated = tolerated
        if "bounds" not in state:
            self._timed = int(state["timed"])
            self._slow = Counter({float(bound): int(count) for bound, count in state["slow"]})
            return
        self.bounds, self._tail = [float(bound) for bound in state["bounds"]], float(state["tail"])
        self.comparisons = [
            Comparison(self._border, prior=LEAST, strict=self._strict, passing=bound == self._tail) for bound in self.bounds
        ]
        for one, stored in zip(self.comparisons, state["each"], strict=True):
            one.restore(stored)
