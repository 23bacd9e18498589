"""Which part of the traffic the canary had, over a run of the past, and when it had copies of requests instead.

The operator exports the weight. That traffic is mirrored is exported by nobody, and the weight is 0 then: it is told by what the canary answers
meanwhile. Rejected: to take the time between the phase Progressing and the first weight, in which hooks and gates may wait for hours.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from statistics import median
from typing import Final

from canary.core.counted import GONE

GRID: Final = 15.0
"""Seconds between the moments at which totals are compared."""
_WINDOW: Final = 120.0
"""Seconds in which copies must have come: scrapes of both versions fall apart by up to a minute."""
_PART: Final = 0.25
"""Part of the promised copies that counts as copying: most may be lost, and a few requests of a hook are none."""

Totals = Mapping[float, float]
"""A counter at moments of the grid (Unix seconds)."""


@dataclass(frozen=True, slots=True)
class Weights:
    """The canary's share of the traffic (percent) over time: moments (Unix seconds, rising) and the weight from then on.

    `copies`: stretches (after the first moment, up to the second) in which it had copies of requests; there its weight is 0.
    """

    points: tuple[tuple[float, int], ...]
    copies: tuple[tuple[float, float], ...] = ()

    def at(self, moment: float) -> int:
        """The weight in force; 0 before the first point."""
        found = bisect_right(self.points, moment, key=lambda point: point[0])
        return self.points[found - 1][1] if found else 0

    def copying(self, moment: float) -> bool:
        """Whether the canary had copies then."""
        return self.at(moment) == 0 and any(first < moment <= last for first, last in self.copies)

    def run(self, first: float, last: float) -> tuple[float, float] | None:
        """Begin and end of the first run in this stretch: from the last moment without a weight, or the first copy, to the next moment without either.

        None when there is none.
        """
        weighted = self._weighted(first, last)
        staged = next(((began, ended) for began, ended in self.copies if ended > first and began <= last), None)
        if staged is None or (weighted is not None and weighted[0] < staged[0]):
            return None if weighted is None else (max(first, weighted[0]), min(last, weighted[1]))
        follows = self._weighted(staged[1], last) if self.at(staged[1]) else None
        return max(first, staged[0]), min(last, follows[1] if follows else staged[1])

    def _weighted(self, first: float, last: float) -> tuple[float, float] | None:
        begins = next((at for at, (moment, weight) in enumerate(self.points) if weight > 0 and first <= moment <= last), None)
        if begins is None:
            return None
        began = self.points[begins - 1][0] if begins and self.points[begins - 1][1] == 0 else self.points[begins][0]
        return began, next((moment for moment, weight in self.points[begins:] if weight == 0), last)


def with_copies(weights: Weights, canary: Totals, primary: Totals, *, copied: int) -> Weights:
    """The same with the stretches in which the canary answered about `copied` percent of as many requests as the primary, at weight 0.

    What comes soon after a weight is left out: the last scrapes of a run tell of it when it is over.
    """
    mine, theirs = _Grown(canary), _Grown(primary)
    busy = [moment for moment, weight in weights.points if weight > 0]
    stretches: list[list[float]] = []
    for moment in mine.moments:
        lately = bisect_right(busy, moment) > bisect_right(busy, moment - GONE)
        if lately or weights.at(moment) or weights.at(moment - GONE):
            continue
        if not any(mine.since(begin) >= _PART * theirs.since(begin) * copied / 100 > 0 for begin in (moment, moment - _WINDOW)):
            continue
        if stretches and moment - stretches[-1][-1] <= GONE:
            stretches[-1].append(moment)
        else:
            stretches.append([moment])
    return replace(weights, copies=tuple((mine.begin(seen) - GRID, _until(seen[-1], busy)) for seen in stretches))


class _Grown:
    """What a counter gained, at the moments at which it did. One that is new began at nothing."""

    def __init__(self, totals: Totals) -> None:
        self.moments: list[float] = []
        self._sums = [0.0]
        for before, after in pairwise(sorted(totals)):
            more = totals[after] - (totals[before] if after - before <= GRID else 0.0)
            if more > 0:
                self.moments.append(after)
                self._sums.append(self._sums[-1] + more)

    def begin(self, moments: Sequence[float]) -> float:
        """The first of these moments at which about as much came as at the others: before copies, hooks may send a few requests."""
        gains = [self._sums[at + 1] - self._sums[at] for at in (bisect_left(self.moments, moment) for moment in moments)]
        return next(moment for moment, gain in zip(moments, gains, strict=True) if gain >= _PART * median(gains))

    def since(self, begin: float) -> float:
        """In the window that begins there."""
        return self._sums[bisect_right(self.moments, begin + _WINDOW)] - self._sums[bisect_left(self.moments, begin)]


def _until(ended: float, busy: Sequence[float]) -> float:
    """Up to the first weight, if it follows."""
    return next((moment for moment in busy if ended < moment <= ended + GONE), ended)
