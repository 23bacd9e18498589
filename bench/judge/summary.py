"""What many runs of one cell come to."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, median

from bench.judge.rivals import Outcome


@dataclass(frozen=True)
class Summary:
    """Shares in 0..1, times in seconds (nan when nothing ended so)."""

    runs: int
    rolled_back: float
    promoted: float
    median_back: float
    p90_back: float
    median_on: float
    harmed: float
    mismatched: float
    said_why: float
    forecast: float
    cpu_ms: float

    @property
    def inconclusive(self) -> float:
        return max(0.0, 1 - self.rolled_back - self.promoted)


def summary(outcomes: Sequence[Outcome]) -> Summary:
    """`forecast` is the share of promoted runs whose forecast was within a factor of two."""
    back = sorted(one.after for one in outcomes if one.verdict == "rollback")
    on = [one.after for one in outcomes if one.verdict == "promote"]
    forecasts = [one.forecast for one in outcomes if one.forecast]
    return Summary(
        runs=len(outcomes),
        rolled_back=len(back) / len(outcomes),
        promoted=len(on) / len(outcomes),
        median_back=median(back) if back else math.nan,
        p90_back=back[min(len(back) - 1, int(0.9 * len(back)))] if back else math.nan,
        median_on=median(on) if on else math.nan,
        harmed=fmean(one.harmed for one in outcomes),
        mismatched=fmean(one.mismatched for one in outcomes),
        said_why=fmean(one.held_without_data for one in outcomes),
        forecast=fmean(0.5 <= one <= 2 for one in forecasts) if forecasts else math.nan,
        cpu_ms=1000 * sum(one.cpu for one in outcomes) / max(1, sum(one.ticks for one in outcomes)),
    )


def brief(one: Summary | None) -> str:
    """`rolled back/promoted/inconclusive % - min to roll-back - min to promotion - users harmed`."""
    if one is None:
        return "-"
    shares = "/".join(f"{round(100 * share, 1):g}" for share in (one.rolled_back, one.promoted, one.inconclusive))
    times = " - ".join("-" if math.isnan(seconds) else f"{seconds / 60:.1f}" for seconds in (one.median_back, one.median_on))
    return f"{shares} - {times} - {one.harmed:.3g}"
