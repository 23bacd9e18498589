"""One kind of bad request of the canary compared with the primary's: evidence for and against, bounds, forecast.

Used once for failures and once per bucket bound for slowness. The two sides may count differently (`Counts` each): where the
buckets do not have the bound, the evidence against the canary counts what is surely slow and that for it what may be.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, Self

from canary.core.judge.baseline import Dispersion, Rate
from canary.core.judge.bounds import Excess
from canary.core.judge.evalue import Counts, divergence, fluctuation, information, ratio_only, two_arms
from canary.core.judge.passage import Walk
from canary.core.judge.process import TICK_CAP, Process

EFFECTS: Final = (0.002, 0.008, 0.03, 0.12, 0.5)
"""Excess failures beyond the margin that are bet on; the smallest near the margin, or small faults take three times as long."""
SLOW_EFFECTS: Final = (0.02, 0.08, 0.30)
"""Extra slow requests, as shares of those that would not be slow."""
RATIOS: Final = (1.5, 3.0, 10.0, 30.0, 100.0)
"""Multiples of the tolerated ratio that are bet on when failures alone decide."""
_START: Final = 1.3
"""Nats that the stake on later starts costs, and that a primary of which only counts are known costs."""
_SHRINK: Final = 20.0
_PAIRED: Final = 6
"""Requests of the primary that one bet needs."""


@dataclass(frozen=True, slots=True)
class Border:
    """The line between tolerated and not: canary = ratio * primary + margin; without margin failures alone decide.

    `relative` reads effects as parts of what is not yet bad (latency), otherwise they are added (failures).
    """

    ratio: float = 1.0
    margin: float | None = 0.002
    effects: tuple[float, ...] = EFFECTS
    relative: bool = False

    def against(self, seen: Counts, primary: float) -> list[float]:
        """Log e-values against "no worse", one per alternative."""
        if self.margin is None:
            return [ratio_only(seen, self.ratio * times, limit=self.ratio) for times in RATIOS]
        base = self.ratio * primary + self.margin
        room = 1 - base if self.relative else 1.0
        rates = [base + effect * room for effect in self.effects]
        return [two_arms(seen, rate, primary, ratio=self.ratio, margin=self.margin) if rate < 1 else 0.0 for rate in rates]

    def in_favour(self, seen: Counts, primary: float, margin: float | None) -> float:
        """Log e-value against "worse", the alternative being that both are equal."""
        if margin is None:
            return ratio_only(seen, 1.0, limit=self.ratio)
        return two_arms(seen, primary, primary, ratio=self.ratio, margin=margin)

    @property
    def alternatives(self) -> int:
        return len(RATIOS) if self.margin is None else len(self.effects)


@dataclass(frozen=True, slots=True)
class _Batch:
    """Ticks that are bet on together: at a request or two per tick, one arm is often empty and the tick would say nothing. When
    a batch ends depends on numbers of requests only, never on how they went.
    """

    surely: Counts
    maybe: Counts
    share: float
    seconds: float
    settled: bool

    def state(self) -> list[Any]:
        return [*self.surely.listed(), *self.maybe.listed(), self.share, self.seconds, self.settled]

    @classmethod
    def restored(cls, state: Sequence[Any]) -> Self:
        share, seconds, settled = state[8:]
        return cls(Counts(*map(int, state[:4])), Counts(*map(int, state[4:8])), float(share), float(seconds), bool(settled))


class Comparison:
    """Evidence of one kind of bad request. `fail` and `passed` are e-processes; `settled` counts the requests that PASS used."""

    __slots__ = (
        "_against",
        "_border",
        "_excess",
        "_favour",
        "_waiting",
        "canary_n",
        "canary_x",
        "dispersion",
        "primary_n",
        "primary_x",
        "rate",
        "settled",
        "tolerated",
    )

    def __init__(self, border: Border, *, prior: float, strict: float, passing: bool) -> None:
        self._border = border
        self.tolerated = border.margin
        self.rate = Rate(prior)
        self.dispersion = Dispersion()
        self._against = Process(border.alternatives, cap=TICK_CAP)
        self._favour = Process(1, ceiling=strict * math.e**3) if passing else None
        self._excess = Excess(strict) if passing else None
        self._waiting: _Batch | None = None
        self.canary_n = self.canary_x = self.primary_n = self.primary_x = self.settled = 0

    @property
    def fail(self) -> float:
        return self._against.value

    @property
    def passed(self) -> float:
        return 1.0 if self._favour is None else self._favour.value

    @property
    def excess(self) -> Excess | None:
        return self._excess

    def remember(self, n: int, x: int, seconds: float, *, running: bool = False) -> None:
        """A tick of the primary: from the past, or (`running`) after it has been bet on."""
        self.rate.add(n, x, seconds)
        self.dispersion.add(n, x, seconds, running=running)

    def observe(self, surely: Counts, maybe: Counts, *, share: float, seconds: float, settled: bool) -> None:
        """Take one tick; it counts as evidence of health only when `settled`: the canary is warm and loaded."""
        self.canary_n += surely.canary_n
        self.canary_x += surely.canary_x
        self.primary_n += surely.primary_n
        self.primary_x += surely.primary_x
        waiting = self._waiting
        if waiting is not None:
            surely, maybe = waiting.surely + surely, waiting.maybe + maybe
            share, seconds, settled = waiting.share + share, waiting.seconds + seconds, waiting.settled and settled
        batch = _Batch(surely, maybe, share, seconds, settled)
        enough = surely.canary_n >= 1 and surely.primary_n >= _PAIRED
        self._waiting = None if enough else batch
        if enough:
            self._bet(batch)

    def _bet(self, batch: _Batch) -> None:
        """Bet on a batch with what was known before it, then learn from it."""
        primary, temper = self.rate.value, 1 / self.dispersion.phi
        share, surely, maybe = min(1.0, batch.share), batch.surely, batch.maybe
        self._against.bet(self._border.against(surely, primary), share=share, temper=temper)
        if self._excess is not None:
            n, x = self.canary_n - surely.canary_n, self.canary_x - surely.canary_x
            canary = (x + primary * _SHRINK) / (n + _SHRINK)
            self._excess.play(maybe, canary=canary, primary=primary, share=share, temper=temper)
        if self._favour is not None and batch.settled and self.dispersion.known:
            log = self._border.in_favour(maybe, primary, self.tolerated)
            self._favour.bet((log,), share=share, temper=1 / self.dispersion.cautious)
            self.settled += maybe.canary_n
        self.remember(surely.primary_n, surely.primary_x, batch.seconds, running=True)

    def forfeit_health(self) -> None:
        """Give up what PASS has gathered: the data it came from cannot be trusted."""
        if self._favour is not None:
            self._favour.forfeit()
            self.settled = 0

    def begin_anew(self) -> None:
        """Forget what speaks in favour, and the counts; what speaks against stays, and so does what is known of the primary."""
        if self._favour is not None:
            self._favour.begin_anew()
        self._waiting = None
        self.settled = self.canary_n = self.canary_x = self.primary_n = self.primary_x = 0
        if self._excess is not None:
            self._excess.begin_anew()

    def ahead(self, strict: float, primaries: float, per_tick: float) -> Walk:
        """What PASS has still to gain, and by how much a canary request brings it on when both versions are equal; `per_tick` come at a time."""
        if self._favour is None or self._favour.value >= strict:
            return Walk(0.0, 1.0, 1.0)
        wanted = math.log(strict) + self._favour.debt
        border, phi = Border(self._border.ratio, self.tolerated), self.dispersion.cautious
        return _walk(wanted, self.rate.value, border, primaries, phi=phi).seen_every(per_tick)

    def state(self) -> list[Any]:
        parts: list[Any] = [self._against.state(), self.rate.state(), self.dispersion.state()]
        parts.append([self.canary_n, self.canary_x, self.primary_n, self.primary_x])
        parts.append(None if self._waiting is None else self._waiting.state())
        if self._favour is not None and self._excess is not None:
            parts += [self._favour.state(), self._excess.state(), self.settled, self.tolerated]
        return parts

    def restore(self, state: Sequence[Any]) -> None:
        self._against.restore(state[0])
        self.rate.restore(state[1])
        self.dispersion.restore(state[2])
        self.canary_n, self.canary_x, self.primary_n, self.primary_x = (int(number) for number in state[3])
        self._waiting = None if state[4] is None else _Batch.restored(state[4])
        if self._favour is not None and self._excess is not None:
            self._favour.restore(state[5])
            self._excess.restore(state[6])
            self.settled, self.tolerated = int(state[7]), state[8]


def required(strict: float, rate: float, *, border: Border, primaries: float, phi: float = 1.0) -> int | None:
    """Canary requests until evidence of health reaches `strict`, when both versions fail at `rate` and each canary request comes
    with `primaries` of the primary. None when that would take more than a thousand million.
    """
    mean = _walk(math.log(strict) + _START, rate, border, primaries, phi=phi).mean
    return None if math.isinf(mean) else math.ceil(mean)


def _walk(wanted: float, rate: float, border: Border, primaries: float, *, phi: float) -> Walk:
    """The evidence of health of a canary that is equal to the primary.

    Tempering by 1/phi divides the gain by phi. The variance, too: bursts multiply it by phi, and tempering divides it by phi squared.
    """
    if border.margin is None:
        equal, limit = 1 / (1 + primaries), border.ratio / (border.ratio + primaries)
        gain = rate * (1 + primaries) * divergence(equal, limit)
        variance = rate * (math.log(equal / limit) ** 2 + primaries * math.log((1 - equal) / (1 - limit)) ** 2)
    else:
        gain = information(rate, rate, ratio=border.ratio, margin=border.margin, primaries=primaries)
        variance = fluctuation(rate, ratio=border.ratio, margin=border.margin, primaries=primaries)
    return Walk(wanted, gain / phi, variance / phi)
