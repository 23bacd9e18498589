"""Comparisons that the author adds: what a template counts in all, and how much of it is bad, of both versions.

Each is one more comparison of an error rate, with the margin of the others: it may convict by itself, and it must show health. They come and
go with what the source offers, since the judge's settings do not know the templates.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from canary.core.judge.comparison import Border, Comparison
from canary.core.judge.evalue import Counts
from canary.core.judge.samples import EMPTY, Arm, Tick

PREFIX: Final = "pair/"
"""Before the name of the metric, wherever it stands among the judge's own."""
WEIGHT: Final = 0.4
"""Of all pairs together, as much as of failures."""
_PRIOR: Final = 0.001


class Pairs:
    """One comparison for each pair, by the name of its metric. `history` has the primary's past."""

    __slots__ = ("_border", "_strict", "_tolerated", "each")

    def __init__(self, border: Border, *, strict: float, history: Mapping[str, Sequence[Tick]]) -> None:
        self._border = border
        self._strict = strict
        self._tolerated: float | None = border.margin
        self.each: dict[str, Comparison] = {}
        for name, ticks in history.items():
            one, previous = self._new(name), None
            for tick in ticks:
                if tick.primary is not None:
                    seconds = 0.0 if previous is None else max(0.0, tick.ts - previous)
                    previous = tick.ts
                    one.remember(tick.primary.total, tick.primary.errors, seconds)
            one.dispersion.begin()

    def _new(self, name: str) -> Comparison:
        one = self.each[name] = Comparison(self._border, prior=_PRIOR, strict=self._strict, passing=True)
        one.tolerated = self._tolerated
        return one

    def tolerate(self, excess: float) -> None:
        """Widen what is tolerated when health is shown, where the margin is one of percentage points."""
        if self._tolerated is not None:
            self._tolerated = max(self._tolerated, excess)
        for one in self.each.values():
            one.tolerated = self._tolerated

    def observe(self, seen: Mapping[str, tuple[Arm | None, Arm | None]], *, share: float, seconds: float, settled: bool) -> None:
        """Take one tick: exactly these pairs there are. An arm that has not reported adds nothing; the other one waits for it."""
        for name in [name for name in self.each if name not in seen]:
            del self.each[name]
        for name, (canary, primary) in seen.items():
            one = self.each.get(name) or self._new(name)
            c, p = canary or EMPTY, primary or EMPTY
            if canary is not None or primary is not None:
                counts = Counts(c.total, c.errors, p.total, p.errors)
                one.observe(counts, counts, share=share, seconds=seconds, settled=settled)

    @property
    def weights(self) -> dict[str, float]:
        """Parts in the evidence against, by name with its prefix."""
        return {f"{PREFIX}{name}": WEIGHT / len(self.each) for name in self.each}

    def uncounted(self) -> list[str]:
        """Names of those that have counted nothing of the canary."""
        return [name for name, one in self.each.items() if not one.canary_n]

    def state(self) -> dict[str, Any]:
        return {name: one.state() for name, one in self.each.items()}

    def restore(self, state: Mapping[str, Any]) -> None:
        self.each = {}
        for name, stored in state.items():
            self._new(name).restore(stored)
