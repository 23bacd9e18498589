"""Time and traffic as the judge sees them: spacing of ticks, requests per second, and how long things have been so.

Nothing is assumed to be 15 s: reaction time, minutes at the top weight and the prior over starts are all measured in ticks or in
shares of the deadline.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from statistics import median
from typing import Any, Final

from canary.core.judge.samples import Tick

_USUAL: Final = 15.0
_REACTION: Final = 3
"""Ticks from a fault to the reaction: the cap on one tick makes it three."""
_TRAFFIC: Final = 120.0
"""Half-life of the measured traffic, in seconds; never under two ticks."""
_LATELY: Final = 900.0
_SILENCE: Final = 7.0
"""Requests expected and not seen that make silence suspect: one chance in a thousand."""
_MINUTE: Final = 60.0


class Pace:
    """Clock of the run, fed by the timestamps of ticks."""

    __slots__ = ("_dark", "_quiet", "_seconds", "_silent", "_total", "began", "last", "spacing", "top_since", "weight")

    def __init__(self, history: Sequence[Tick]) -> None:
        gaps = [after.ts - before.ts for before, after in itertools.pairwise(history) if after.ts > before.ts]
        self.spacing = median(gaps) if gaps else 0.0
        self._total = self._seconds = self._silent = self._dark = self._quiet = 0.0
        self.began: float | None = None
        self.last: float | None = None
        self.top_since: float | None = None
        self.weight: int | None = None
        recent = [tick for tick in history if tick.ts > history[-1].ts - _LATELY]
        for tick in recent if gaps else ():
            if tick.primary is not None:
                self._traffic(tick.primary.total, self.spacing)

    @property
    def elapsed(self) -> float:
        return 0.0 if self.began is None or self.last is None else self.last - self.began

    @property
    def interval(self) -> float:
        return self.spacing or _USUAL

    @property
    def reaction(self) -> float:
        """Seconds from a fault to its roll-back, at best."""
        return _REACTION * self.interval

    @property
    def traffic(self) -> float | None:
        """Requests per second of both versions; None while unknown."""
        return self._total / self._seconds if self._seconds else None

    @property
    def silence(self) -> str:
        """Which version should have been seen by now, in words; empty when none is missing."""
        if self._quiet >= _SILENCE:
            return "no request of either version has been seen, though there was traffic before"
        if self._silent >= _SILENCE:
            return "no request has reached the canary, or none of its telemetry has reached us"
        return "no request of the primary has been seen, though it should have its share" if self._dark >= _SILENCE else ""

    def advance(self, tick: Tick) -> float:
        """Take the time of a tick; seconds that it covers (at most two intervals count, or a gap would pass for traffic)."""
        if self.last is None:
            self.began = tick.ts
            seconds = self.interval
        else:
            seconds = tick.ts - self.last
            self.spacing = self.spacing + 0.1 * (seconds - self.spacing) if self.spacing else seconds
            if seconds > 3 * self.interval:
                seconds = self.interval
        self.last = tick.ts
        return seconds

    def count(self, canary: int, primary: int, weight: int, seconds: float) -> None:
        """Take the requests of a tick of which both arms are known."""
        self._quiet = 0.0 if canary or primary else self._quiet + (self.traffic or 0.0) * seconds
        self._traffic(canary + primary, seconds)
        if canary or weight <= 0:
            self._silent = 0.0
        elif weight < 100:
            self._silent += primary * weight / (100 - weight)
        if primary or weight >= 100:
            self._dark = 0.0
        elif weight > 0:
            self._dark += canary * (100 - weight) / weight

    def stay(self, *, at_top: bool) -> float:
        """Seconds for which the weight has been at its top, up to now."""
        if not at_top or self.last is None:
            self.top_since = None
            return 0.0
        if self.top_since is None:
            self.top_since = self.last
        return self.last - self.top_since

    @property
    def loaded(self) -> float:
        """Seconds at the top weight before a promotion: a minute, and three ticks."""
        return max(_MINUTE, _REACTION * self.interval)

    def _traffic(self, total: int, seconds: float) -> None:
        if seconds <= 0:
            return
        keep = 0.5 ** (seconds / max(_TRAFFIC, 2 * seconds))
        self._total, self._seconds = self._total * keep + total, self._seconds * keep + seconds

    def state(self) -> list[Any]:
        waits = [self._silent, self._dark, self._quiet]
        return [self.began, self.last, self.top_since, self.weight, self.spacing, self._total, self._seconds, *waits]

    def restore(self, state: Sequence[Any]) -> None:
        self.began, self.last, self.top_since, self.weight, self.spacing, self._total, self._seconds, *waits = state
        self._silent, self._dark, self._quiet = waits
