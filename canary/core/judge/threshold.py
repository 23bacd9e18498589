"""The author's absolute bound as a one-sample test: sooner than a comparison at low traffic, because nothing about the primary need
be learnt. It speaks only while the primary itself keeps well within the bound: in an outage the hypothesis it tests is simply
false, so the veto is what protects a healthy canary. The veto can only suppress roll-backs; it costs no error probability.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from canary.core.judge.baseline import Rate
from canary.core.judge.evalue import Counts, log_ratio
from canary.core.judge.process import TICK_CAP, Process

ALTERNATIVES: Final = (0.02, 0.07, 0.24, 0.69)
"""How far towards failing every request the alternatives lie: 3, 8, 25 and 70 % for a limit of 1 %."""
_TRUST: Final = 100.0
"""Requests for which the primary's long-run rate stands in beside those seen."""
_RECALL: Final = 200.0
"""Most that the breach is remembered with, so that the end of an outage is noticed within minutes."""


class Threshold:
    """Bad requests of the canary against a fixed limit (a share)."""

    __slots__ = (
        "_against",
        "_breach",
        "_favour",
        "canary_n",
        "canary_x",
        "limit",
        "moot",
        "phi",
        "primary_n",
        "primary_x",
        "rate",
        "vetoed",
    )

    def __init__(self, limit: float, strict: float) -> None:
        self.limit = limit
        self.rate = Rate(min(limit / 10, 0.001))
        self.phi = 1.0
        self.vetoed = False
        self.moot = False
        self._against = Process(len(ALTERNATIVES), cap=TICK_CAP)
        self._breach = Process(len(ALTERNATIVES), cap=TICK_CAP, ceiling=_RECALL)
        self._favour = Process(1, ceiling=4 * strict)
        self.canary_n = self.canary_x = self.primary_n = self.primary_x = 0

    @property
    def fail(self) -> float:
        return min(1.0, self._against.value) if self.vetoed else self._against.value

    @property
    def passed(self) -> float:
        return self._favour.value

    @property
    def breached(self) -> float:
        """Evidence that the canary breaches the limit, veto or not: a reason to wait, never to roll back."""
        return self._breach.value

    def begin(self) -> None:
        """The run begins. A limit that the primary broke long before says nothing about this release, not even "wait"."""
        self.moot = self.rate.lasting > self.limit

    def begin_anew(self) -> None:
        """Forget what speaks in favour, and the counts; what speaks against stays."""
        self._favour.begin_anew()
        self.canary_n = self.canary_x = self.primary_n = self.primary_x = 0

    def observe(self, surely: Counts, maybe: Counts, *, share: float, seconds: float, phi: float) -> None:
        """Take one tick. `phi` is the burst size that the comparison with the primary has found."""
        self.phi = phi
        n = surely.canary_n
        self.canary_n, self.canary_x = self.canary_n + n, self.canary_x + surely.canary_x
        self.primary_n, self.primary_x = self.primary_n + surely.primary_n, self.primary_x + surely.primary_x
        self.rate.add(surely.primary_n, surely.primary_x, seconds)
        self.vetoed = self._primary_fails()
        if n:
            logs = [log_ratio(n, surely.canary_x, self.limit + far * (1 - self.limit), self.limit) for far in ALTERNATIVES]
            self._breach.bet(logs, share=share, temper=1 / phi)
            if not self.vetoed:
                self._against.bet(logs, share=share, temper=1 / phi)
            healthy = min(self.rate.value, self.limit / 2)
            self._favour.bet((log_ratio(n, maybe.canary_x, healthy, self.limit),), share=share, temper=1 / phi)
        if self.vetoed:
            self._against.forfeit(0.5)

    def _primary_fails(self) -> bool:
        """Over half the limit in the run, lately, or for long. A single failure at low traffic counts until 100 others went well."""
        half, usual = self.limit / 2, self.rate.lasting
        seen = (self.rate.recent, (self.primary_n, self.primary_x))
        return self.rate.value > half or any(x + _TRUST * usual > half * (n + _TRUST) for n, x in seen)

    def state(self) -> list[Any]:
        counts = [self.canary_n, self.canary_x, self.primary_n, self.primary_x]
        return [
            self._against.state(),
            self._breach.state(),
            self._favour.state(),
            self.rate.state(),
            counts,
            self.phi,
            self.vetoed,
            self.moot,
        ]

    def restore(self, state: Sequence[Any]) -> None:
        self._against.restore(state[0])
        self._breach.restore(state[1])
        self._favour.restore(state[2])
        self.rate.restore(state[3])
        self.canary_n, self.canary_x, self.primary_n, self.primary_x = (int(number) for number in state[4])
        self.phi, self.vetoed, self.moot = float(state[5]), bool(state[6]), bool(state[7])
