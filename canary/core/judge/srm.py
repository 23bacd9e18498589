"""Does the canary get, or report, its share of the requests?

A dead pod reports no errors: without this check "no traffic, no errors" would be promoted. Two one-sided bets against "the
canary's share lies within 20 % of its weight" (whole-percent weights and propagation stay inside that) say when it does not. A
rejection means that telemetry or routing is wrong; it holds and says so, it never rolls back.

That alone would promote what could not be looked at: bets that have had no time say nothing, and health at the top weight is shown within
four ticks. So a third bet must win before a promotion: against "half of the canary's requests, or more, are not seen".

Copies are checked in the same way, as a part of requests and copies together. The bets stay fair: let a border be the share l, so that at it
each request is copied with probability l / (1 - l), and a bet on the share al. A request and its copy multiply the stake by
(1 - al)(1 - 2l + al) / (1 - l)^2 on average, which is 1 - ((1 - a)l / (1 - l))^2 and never above 1.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Final

from canary.core.judge.evalue import log_ratio
from canary.core.judge.process import TICK_CAP, Process

TOLERANCE: Final = 0.2
REJECTED: Final = 1000.0
DOUBTED: Final = 20.0
"""Evidence of a wrong share from which nobody is promoted: by Ville's inequality a right share meets with that in at most 1 of 20
releases, and only for as long as it lasts. Not less than a rejection may take: at 10 a tick that needs five ticks, a promotion four.
"""
UNSEEN: Final = 0.5
"""Part of the canary's requests that could be unseen until the contrary is shown."""
_RELEASED: Final = 2.0
"""Evidence below which a rejection is withdrawn: not before the data say that all is well again."""
_LOW: Final = (0.1, 0.5, 0.7)
_HIGH: Final = (1.4, 2.0, 4.0)


class SampleRatio:
    """Share of requests seen from the canary against its weight. `strict` is the evidence that shows something, as for health.

    Ticks are compared from one that has requests of both versions to the next: scrapes of both need not come in the same tick.
    """

    __slots__ = ("_aligned", "_high", "_low", "_seen", "_strict", "_window", "canary_n", "expected", "rejected")

    def __init__(self, strict: float) -> None:
        self._strict = strict
        self._low = Process(len(_LOW), cap=TICK_CAP, ceiling=REJECTED * 10)
        self._high = Process(len(_HIGH), cap=TICK_CAP, ceiling=REJECTED * 10)
        self._seen = Process(1, cap=TICK_CAP, ceiling=strict * math.e**3)
        self._window = (0, 0, 0.0)
        self._aligned = False
        self.canary_n = 0
        self.expected = 0.0
        self.rejected = False

    @property
    def value(self) -> float:
        """Evidence of a wrong share."""
        return (self._low.value + self._high.value) / 2

    @property
    def doubted(self) -> bool:
        """Whether so much speaks for a wrong share that nobody should be promoted."""
        return self.rejected or self.value >= DOUBTED

    @property
    def seen(self) -> float:
        """Evidence that more than half of the canary's requests are seen."""
        return self._seen.value

    @property
    def shown(self) -> bool:
        """Whether that is shown."""
        return self.seen >= self._strict

    def observe(self, canary: int, primary: int, *, weight: float, share: float) -> None:
        """Take one tick with a steady weight (percent, between 0 and 100) of which both arms are known."""
        before = self._window
        self._window = (before[0] + canary, before[1] + primary, before[2] + share)
        if self._window[0] and self._window[1]:
            self._close(weight)
            self._aligned = True

    def interrupt(self, weight: float) -> None:
        """What comes next does not go on from what was seen so far (under `weight`): a scrape of one version is missing, or the weight has changed."""
        self._close(weight)
        self._aligned = False

    def _close(self, weight: float) -> None:
        """Bet on the ticks that were gathered. Those before both versions were first seen may cover more of one than of the other."""
        canary, primary, share = self._window
        self._window = (0, 0, 0.0)
        if self._aligned and canary + primary and 0 < weight < 100:
            self._bet(canary, canary + primary, wanted=weight / 100, share=min(1.0, share))

    def _bet(self, canary: int, total: int, *, wanted: float, share: float) -> None:
        self.canary_n += canary
        self.expected += total * wanted
        low, high = wanted * (1 - TOLERANCE), min(wanted * (1 + TOLERANCE), 1 - 1e-9)
        self._low.bet([log_ratio(total, canary, wanted * part, low) for part in _LOW], share=share)
        rates = [min(wanted * part, math.sqrt(high)) for part in _HIGH]
        self._high.bet([log_ratio(total, canary, rate, high) if rate > high else 0.0 for rate in rates], share=share)
        seen = (1 - UNSEEN) * wanted
        self._seen.bet((log_ratio(total, canary, wanted, seen / (seen + 1 - wanted)),), share=share)
        self.rejected = self.value >= (_RELEASED if self.rejected else REJECTED)

    def state(self) -> list[Any]:
        bets = [self._low.state(), self._high.state(), self._seen.state()]
        return [*bets, self.canary_n, self.expected, self.rejected, self._aligned, list(self._window)]

    def restore(self, state: Sequence[Any]) -> None:
        low, high, seen, canary_n, expected, rejected, aligned, window = state
        for process, stored in ((self._low, low), (self._high, high), (self._seen, seen)):
            process.restore(stored)
        self.canary_n, self.expected = int(canary_n), float(expected)
        self.rejected, self._aligned = bool(rejected), bool(aligned)
        self._window = (int(window[0]), int(window[1]), float(window[2]))
