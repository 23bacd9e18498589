"""How much worse the canary can be, and must be: bounds of its excess over the primary that hold at every look.

Each bound is a ladder of nulls. The upper one is the smallest excess that a bet against "worse than that" has excluded, the lower
one the largest that a bet against "no worse than that" has. Only a few rungs are played at a time: a rung far below the current
one needs so much more data that what it missed is lost in the noise. A formula for the interval was rejected: at rates of one in
a thousand the normal one is wrong by more than the margin.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

from canary.core.judge.evalue import Counts, two_arms
from canary.core.judge.process import TICK_CAP, Process

UPPER: Final = (
    0.95,
    0.7,
    0.5,
    0.35,
    0.25,
    0.17,
    0.12,
    0.083,
    0.057,
    0.04,
    0.028,
    0.019,
    0.013,
    0.009,
    0.0062,
    0.0043,
    0.003,
    0.002,
    0.0014,
    0.001,
    0.0007,
    0.0005,
)
LOWER: Final = (0.0, 0.0005, 0.001, 0.002, 0.004, 0.008, 0.016, 0.032, 0.064, 0.125, 0.25, 0.5)
_LOOSE: Final = 10.0
"""Evidence that suffices for moving weights (90 %)."""
_PLAYED: Final = 4


class Ladder:
    """One bound. `excluded(level)` is the last rung whose evidence has reached the level, or None."""

    __slots__ = ("_cap", "_first", "_live", "_loose", "_rungs", "_strict", "_tight")

    def __init__(self, rungs: Sequence[float], *, strict: float, cap: float) -> None:
        self._rungs = rungs
        self._strict = strict
        self._cap = cap
        self._first = 0
        self._loose = 0
        self._tight = 0
        self._live: list[Process] = []

    @property
    def loose(self) -> float | None:
        """The last rung excluded with 90 % certainty."""
        return self._rungs[self._loose - 1] if self._loose else None

    @property
    def exhausted(self) -> bool:
        """Whether no rung is left to exclude."""
        return self._loose == len(self._rungs)

    @property
    def tight(self) -> float | None:
        """The last rung excluded at the strict level."""
        return self._rungs[self._tight - 1] if self._tight else None

    def play(self, log_e: Callable[[float], float], *, share: float, temper: float) -> None:
        """Bet on the next rungs; `log_e` gives the log e-value against one of them."""
        while len(self._live) < _PLAYED and self._first + len(self._live) < len(self._rungs):
            self._live.append(Process(1, cap=self._cap, ceiling=4 * self._strict))
        for at, process in enumerate(self._live):
            process.bet((log_e(self._rungs[self._first + at]),), share=share, temper=temper)
        reached = [process.value for process in self._live]
        self._loose = max(self._loose, self._first + _prefix(reached, _LOOSE))
        passed = _prefix(reached, self._strict)
        self._tight = self._first = self._first + passed
        del self._live[:passed]

    def state(self) -> list[Any]:
        return [self._first, self._loose, *(process.state() for process in self._live)]

    def restore(self, state: Sequence[Any]) -> None:
        first, loose, *live = state
        self._first = self._tight = int(first)
        self._loose = int(loose)
        self._live = [Process(1, cap=self._cap, ceiling=4 * self._strict) for _ in live]
        for process, stored in zip(self._live, live, strict=True):
            process.restore(stored)


def _prefix(values: Sequence[float], level: float) -> int:
    """How many of the first rungs are excluded, counting those below one that is: excluding less implies excluding more."""
    return max((at + 1 for at, value in enumerate(values) if value >= level), default=0)


class Excess:
    """Upper and lower bound of canary minus primary, as shares."""

    __slots__ = ("_lower", "_strict", "_upper")

    def __init__(self, strict: float) -> None:
        self._strict = strict
        self._upper = Ladder(UPPER, strict=strict, cap=60.0)
        self._lower = Ladder(LOWER, strict=strict, cap=TICK_CAP)

    @property
    def working(self) -> float:
        """Upper bound for moving weights (90 %); 1.0 while nothing is known: it may fail every request; 0.0 below the last rung."""
        if self._upper.exhausted:
            return 0.0
        return 1.0 if self._upper.loose is None else self._upper.loose

    @property
    def upper(self) -> float:
        return 1.0 if self._upper.tight is None else self._upper.tight

    @property
    def lower(self) -> float:
        """-1.0 while nothing is known."""
        return -1.0 if self._lower.tight is None else self._lower.tight

    def begin_anew(self) -> None:
        """Forget what bounds the excess from above; what shows that there is one stays."""
        self._upper = Ladder(UPPER, strict=self._strict, cap=60.0)

    def play(self, seen: Counts, *, canary: float, primary: float, share: float, temper: float) -> None:
        """Take one tick; `canary` and `primary` are the rates that earlier ticks suggest."""
        above = max(canary, primary)
        self._upper.play(lambda d: two_arms(seen, min(above, primary + d / 2), primary, ratio=1.0, margin=d), share=share, temper=temper)
        if canary > primary:
            self._lower.play(lambda d: _against(seen, canary, primary, d), share=share, temper=temper)

    def state(self) -> list[Any]:
        return [self._upper.state(), self._lower.state()]

    def restore(self, state: Sequence[Any]) -> None:
        self._upper.restore(state[0])
        self._lower.restore(state[1])


def _against(seen: Counts, canary: float, primary: float, d: float) -> float:
    return two_arms(seen, canary, primary, ratio=1.0, margin=d) if canary > primary + d else 0.0
