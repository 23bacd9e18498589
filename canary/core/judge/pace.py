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
_REACHED: Final = 600.0
"""Seconds that one tick covers at most, unless ticks are that rare."""
_SILENCE: Final = 7.0
"""Requests expected and not seen that make silence suspect: one chance in a thousand."""
_GAPS: Final = 4
"""Ticks without a request of a version after which it is said to be silent: looks may come four times as often as its pods are scraped."""
_UNHEARD: Final = 2
"""The same for a promotion, which can wait."""
_MINUTE: Final = 60.0


class _Wait:
    """Requests that should have been seen since the last one was, and the ticks in which they should have been."""

    __slots__ = ("expected", "ticks")

    def __init__(self, expected: float = 0.0, ticks: int = 0) -> None:
        self.expected, self.ticks = expected, ticks

    def count(self, expected: float, *, seen: bool) -> None:
        """Take a tick."""
        if seen:
            self.expected, self.ticks = 0.0, 0
        elif expected > 0:
            self.expected, self.ticks = self.expected + expected, self.ticks + 1

    def over(self, ticks: int) -> bool:
        return self.expected >= _SILENCE and self.ticks >= ticks


class Pace:
    """Clock of the run, fed by the timestamps of ticks."""

    __slots__ = ("_dark", "_quiet", "_seconds", "_silent", "_total", "began", "last", "spacing", "top_since", "weight")

    def __init__(self, history: Sequence[Tick]) -> None:
        gaps = [after.ts - before.ts for before, after in itertools.pairwise(history) if after.ts > before.ts]
        self.spacing = median(gaps) if gaps else 0.0
        self._total = self._seconds = 0.0
        self._silent, self._dark, self._quiet = _Wait(), _Wait(), _Wait()
        self.began: float | None = None
        self.last: float | None = None
        self.top_since: float | None = None
        self.weight: int | None = None
        for before, after in itertools.pairwise(history):
            if after.primary is not None and after.ts > history[-1].ts - _LATELY:
                self._traffic(after.primary.total, self._covered(after.ts - before.ts))

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

    def silence(self, other: str = "primary") -> str:
        """Which version should have been seen by now, in words; empty when none is missing. `other` is what the canary is compared with."""
        if self._quiet.over(_GAPS):
            return "no request of either version has been seen, though there was traffic before"
        if self._silent.over(_GAPS):
            return "no request has reached the canary, or none of its telemetry has reached us"
        return f"no request of the {other} has been seen, though it should have its share" if self._dark.over(_GAPS) else ""

    @property
    def unheard(self) -> bool:
        """Whether the canary has not been seen lately, though it may be too early to call that silence."""
        return self._silent.over(_UNHEARD) or self._quiet.over(_UNHEARD)

    def advance(self, tick: Tick) -> float:
        """Take the time of a tick; seconds that it covers."""
        if self.last is None:
            self.began = tick.ts
            seconds = self.interval
        else:
            seconds = tick.ts - self.last
            self.spacing = self.spacing + 0.1 * (seconds - self.spacing) if self.spacing else seconds
            seconds = self._covered(seconds)
        self.last = tick.ts
        return seconds

    def _covered(self, seconds: float) -> float:
        """Seconds of requests in a tick that comes so long after the one before: counters go on while nobody looks, but nobody looks back for ever.

        Looks are often uneven, so the usual spacing is no measure of a tick: traffic would be taken for twice what it is.
        """
        return min(seconds, max(_REACHED, 3 * self.interval))

    def count(self, canary: int, primary: int, weight: float, seconds: float, *, copies: bool = False, whole: int = 100) -> None:
        """Take the requests of a tick of which both arms are known. `weight`: the canary's part of them, in percent; its copies are no traffic.

        `whole`: how many percent of the service's traffic they are.
        """
        self._quiet.count((self.traffic or 0.0) * seconds * whole / 100, seen=canary + primary > 0)
        self._traffic((primary if copies else canary + primary) * 100 / whole, seconds)
        self._silent.count(primary * weight / (100 - weight) if weight < 100 else 0.0, seen=canary > 0 or weight <= 0)
        self._dark.count(canary * (100 - weight) / weight if weight > 0 else 0.0, seen=primary > 0 or weight >= 100)

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

    def _traffic(self, total: float, seconds: float) -> None:
        if seconds <= 0:
            return
        keep = 0.5 ** (seconds / max(_TRAFFIC, 2 * seconds))
        self._total, self._seconds = self._total * keep + total, self._seconds * keep + seconds

    def state(self) -> list[Any]:
        waits = [[wait.expected, wait.ticks] for wait in (self._silent, self._dark, self._quiet)]
        return [self.began, self.last, self.top_since, self.weight, self.spacing, self._total, self._seconds, *waits]

    def restore(self, state: Sequence[Any]) -> None:
        self.began, self.last, self.top_since, self.weight, self.spacing, self._total, self._seconds, *waits = state
        self._silent, self._dark, self._quiet = (_Wait(float(expected), int(ticks)) for expected, ticks in waits)
