"""What many simulated releases come to, and how sure that is."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any, Final

from canary.core.forecast.release import Outcome

_Z: Final = 1.96


@dataclass(frozen=True, slots=True)
class Summary:
    """Shares in 0..1, times in seconds (None when nothing ended so). `harmed`: bad responses until the end of the run, on average.

    `afterwards`: bad responses an hour once such a version is promoted. `on_copies`: taken back before any user had met it. `copying`: how long
    the others had copies of requests only.
    """

    runs: int
    rolled_back: float
    promoted: float
    undecided: float
    by_evidence: float
    to_rollback: float | None
    to_rollback_p90: float | None
    to_promotion: float | None
    harmed: float
    afterwards: float
    failed_checks: float
    served: float
    on_copies: float = 0.0
    copying: float | None = None

    @property
    def rollback_interval(self) -> tuple[float, float]:
        """95 % interval of the chance of a rollback (Wilson)."""
        return wilson(self.rolled_back, self.runs)

    def to_dict(self) -> dict[str, Any]:
        """JSON shape; times in seconds."""
        low, high = self.rollback_interval
        return {
            "runs": self.runs,
            "rolledBack": self.rolled_back,
            "rolledBackInterval": [round(low, 4), round(high, 4)],
            "rolledBackByEvidence": self.by_evidence,
            "promoted": self.promoted,
            "undecided": self.undecided,
            "secondsToRollback": self.to_rollback,
            "secondsToRollbackP90": self.to_rollback_p90,
            "secondsToPromotion": self.to_promotion,
            "harmed": round(self.harmed, 2),
            "harmedPerHourIfPromoted": round(self.afterwards, 1),
            "failedChecks": round(self.failed_checks, 2),
            "canaryRequests": round(self.served),
            "rolledBackOnCopies": self.on_copies,
            "secondsOfCopies": self.copying,
        }


def summary(outcomes: Sequence[Outcome], *, afterwards: float) -> Summary:
    """Of at least one outcome."""
    runs = len(outcomes)
    back = sorted(one.seconds for one in outcomes if one.verdict == "rollback")
    on = sorted(one.seconds for one in outcomes if one.verdict == "promote")
    return Summary(
        runs=runs,
        rolled_back=len(back) / runs,
        promoted=len(on) / runs,
        undecided=(runs - len(back) - len(on)) / runs,
        by_evidence=sum(one.by == "evidence" for one in outcomes) / runs,
        to_rollback=_at(back, 0.5),
        to_rollback_p90=_at(back, 0.9),
        to_promotion=_at(on, 0.5),
        harmed=fmean(one.harmed for one in outcomes),
        afterwards=afterwards,
        failed_checks=fmean(one.failed_checks for one in outcomes),
        served=fmean(one.served for one in outcomes),
        on_copies=sum(one.on_copies and one.verdict == "rollback" for one in outcomes) / runs,
        copying=_at(sorted(one.copying for one in outcomes if one.copying is not None), 0.5),
    )


def _at(ordered: Sequence[float], share: float) -> float | None:
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else None


def wilson(share: float, runs: int) -> tuple[float, float]:
    """95 % confidence interval of a share seen in so many runs."""
    if not runs:
        return 0.0, 1.0
    centre = (share + _Z**2 / (2 * runs)) / (1 + _Z**2 / runs)
    half = _Z / (1 + _Z**2 / runs) * math.sqrt(share * (1 - share) / runs + _Z**2 / (4 * runs**2))
    return max(0.0, centre - half), min(1.0, centre + half)
