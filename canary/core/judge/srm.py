"""Does the canary get, or report, its share of the requests?

A dead pod reports no errors: without this check "no traffic, no errors" would be promoted. Two one-sided bets against "the
canary's share lies within 20 % of its weight" (whole-percent weights and propagation stay inside that). A rejection means that
telemetry or routing is wrong; it holds and says so, it never rolls back.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Final

from canary.core.judge.evalue import log_ratio
from canary.core.judge.process import TICK_CAP, Process

TOLERANCE: Final = 0.2
REJECTED: Final = 1000.0
_RELEASED: Final = 2.0
"""Evidence below which a rejection is withdrawn: not before the data say that all is well again."""
_LOW: Final = (0.1, 0.5, 0.7)
_HIGH: Final = (1.4, 2.0, 4.0)


class SampleRatio:
    """Share of requests seen from the canary against its weight."""

    __slots__ = ("_high", "_low", "canary_n", "expected", "rejected")

    def __init__(self) -> None:
        self._low = Process(len(_LOW), cap=TICK_CAP, ceiling=REJECTED * 10)
        self._high = Process(len(_HIGH), cap=TICK_CAP, ceiling=REJECTED * 10)
        self.canary_n = 0
        self.expected = 0.0
        self.rejected = False

    @property
    def value(self) -> float:
        return (self._low.value + self._high.value) / 2

    def observe(self, canary: int, total: int, *, weight: int, share: float) -> None:
        """Take one tick with a steady weight (percent, between 0 and 100) of which both arms are known."""
        wanted = weight / 100
        self.canary_n += canary
        self.expected += total * wanted
        if not total:
            return
        low, high = wanted * (1 - TOLERANCE), min(wanted * (1 + TOLERANCE), 1 - 1e-9)
        self._low.bet([log_ratio(total, canary, wanted * part, low) for part in _LOW], share=share)
        rates = [min(wanted * part, math.sqrt(high)) for part in _HIGH]
        self._high.bet([log_ratio(total, canary, rate, high) if rate > high else 0.0 for rate in rates], share=share)
        self.rejected = self.value >= (_RELEASED if self.rejected else REJECTED)

    def state(self) -> list[Any]:
        return [self._low.state(), self._high.state(), self.canary_n, self.expected, self.rejected]

    def restore(self, state: Sequence[Any]) -> None:
        self._low.restore(state[0])
        self._high.restore(state[1])
        self.canary_n, self.expected = int(state[2]), float(state[3])
        self.rejected = bool(state[4])
