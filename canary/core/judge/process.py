"""From e-values of ticks to evidence that may be read at any time: mixtures over alternatives and over the time the change began.

A plain product of e-values remembers a long healthy start as a debt and answers late when a fault appears at 30 % weight. So the
stake is spread over starting times: half on the first tick, the other half evenly over the horizon (a sum of e-processes, as in
e-detectors: Shin, Ramdas, Rinaldo 2023). It costs 0.7 nats when the change is there from the start and about 6 when it comes
later. Rejected: windows of fixed length, which have no guarantee, and resets, which pay for themselves only by luck.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Final

TICK_CAP: Final = math.log(10)
"""One tick multiplies the evidence against a canary by at most 10: no single tick rolls back, whatever happened in it."""
_EXPONENT: Final = 60.0
_LATER: Final = 0.02
"""Part of what is not staked yet that may be counted on: it is spread over the horizon."""


class Process:
    """Evidence E >= 0 with expectation at most 1 under the null at every stopping time; starts at 1.

    `cap` bounds the factor of one tick (natural log). `ceiling` bounds what can be banked: lowering an e-process is always
    allowed, and evidence of health from an hour ago must not outvote the last minute.
    """

    __slots__ = ("_cap", "_ceiling", "_rest", "_stakes")

    def __init__(self, alternatives: int, *, cap: float = _EXPONENT, ceiling: float = math.inf) -> None:
        self._cap = min(cap, _EXPONENT)
        self._ceiling = ceiling
        self._stakes = [0.0] * alternatives
        self._rest = 1.0

    @property
    def value(self) -> float:
        return sum(self._stakes) + self._rest

    @property
    def debt(self) -> float:
        """Nats by which bets must still grow before the evidence is what it would be had all been staked: what waits counts a little."""
        staked = sum(self._stakes) if self._rest < 1.0 else 0.5
        return -math.log(max(staked, _LATER * self._rest, math.exp(-_EXPONENT)))

    def bet(self, logs: Sequence[float], *, share: float, temper: float = 1.0) -> None:
        """Take one tick: a log e-value per alternative, the share of the horizon that the tick covers (0..1), and the exponent
        (0..1) that tempers requests which do not fail independently.
        """
        rest, cap, exp = self._rest, self._cap, math.exp
        fresh = 0.5 if rest == 1.0 else min(rest, 0.5 * share)
        self._rest = rest - fresh
        fresh /= len(self._stakes)
        if temper != 1.0:
            logs = [log * temper for log in logs]
        stakes = [(stake + fresh) * exp(min(cap, log)) for stake, log in zip(self._stakes, logs, strict=True)]
        if self._ceiling < math.inf:
            total = sum(stakes)
            if total > self._ceiling:
                stakes = [stake * (self._ceiling / total) for stake in stakes]
        self._stakes = stakes

    def forfeit(self, part: float = 1.0) -> None:
        """Give up all evidence so far, or part of it (allowed at any time); later ticks go on from what is left."""
        self._stakes = [stake * (1 - part) for stake in self._stakes]

    def begin_anew(self) -> None:
        """Start over at 1, with nothing staked: a new e-process, which is fair from any stopping time on. What it had gathered is gone."""
        self._stakes, self._rest = [0.0] * len(self._stakes), 1.0

    def state(self) -> list[float]:
        """The stakes and what has not been staked yet, for JSON."""
        return [*self._stakes, self._rest]

    def restore(self, state: Sequence[Any]) -> None:
        """Continue from `state()`. Raises ValueError when it belongs to another number of alternatives."""
        if len(state) != len(self._stakes) + 1:
            raise ValueError(f"evidence of {len(state) - 1} alternatives cannot continue one of {len(self._stakes)}")
        *stakes, rest = (float(number) for number in state)
        self._stakes, self._rest = stakes, rest
