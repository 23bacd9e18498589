"""The rules of counted checks, outside of a cluster: what a step does, from the verdicts of its checks.

The arithmetic is the operator's (`core.weights`, `core.strategies`, `core.verdicts`); the twenty lines around it are repeated here, because the
operator's own need a snapshot of a cluster. A test holds both against one another.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from canary.api.analysis import Analysis, Metric, OnFailure
from canary.core.errors import Rejected
from canary.core.model import MetricSource, Routes, Sample
from canary.core.strategies import Strategy, strategy_of, weighted
from canary.core.verdicts import DURATION, SUCCESS_RATE, Judged, Tally, judge
from canary.core.weights import TOTAL, next_step

_P99: Final = 0.99


class Step(enum.StrEnum):
    """What a step comes to."""

    ADVANCE = "advance"
    FAILED = "failed"
    HOLD = "hold"
    ROLLBACK = "rollback"
    PROMOTE = "promote"


def require_weights(analysis: Analysis) -> None:
    """Raises Rejected for releases that have no weights to follow."""
    if strategy_of(analysis, has_weights=True) is not Strategy.CANARY:
        raise Rejected(
            "this Canary counts iterations (A/B test or blue/green), and has no weights to follow",
            hint="use a Canary with stepWeight or stepWeights",
        )
    if next_step(0, step_weight=analysis.step_weight, step_weights=analysis.step_weights) <= 0:
        raise Rejected("the analysis has no step", hint="set analysis.stepWeight or stepWeights above 0")


def schedule(analysis: Analysis) -> tuple[int, ...]:
    """The weights of a release that passes every check; after the check at the last one it is promoted."""
    weights: list[int] = []
    weight = 0
    while (following := _raised(analysis, weight)) is not None and len(weights) < TOTAL:
        weight = following
        weights.append(weight)
    return tuple(weights)


def copied(analysis: Analysis) -> int:
    """Percent of the requests that the canary gets a copy of before it gets any of its own; 0 without such a stage."""
    return min(TOTAL, analysis.mirror_weight or TOTAL) if analysis.mirror else 0


def _raised(analysis: Analysis, weight: int) -> int | None:
    step = next_step(weight, step_weight=analysis.step_weight, step_weights=analysis.step_weights)
    routes = weighted(Routes(TOTAL - weight, weight), step=step, maximum=analysis.max_weight_effective, mirror=False)
    return None if routes is None else routes.canary


class Counted:
    """Counts failed checks over a run: once in each step that has any, never back to nothing."""

    def __init__(self, analysis: Analysis) -> None:
        self._analysis = analysis
        self.failed = 0

    @property
    def limit(self) -> int:
        return self._analysis.threshold_count

    def step(self, found: Sequence[Judged], weight: int) -> tuple[Step, int]:
        """Take the verdicts of one step at this weight: what follows, and the weight after it."""
        tallies = [judged.counts for judged in found]
        if Tally.FAILED in tallies:
            self.failed += 1
            if self.failed < self.limit and not any(judged.fatal for judged in found):
                return Step.FAILED, weight
            return (Step.HOLD, weight) if self._analysis.on_failure is OnFailure.HOLD else (Step.ROLLBACK, 0)
        if Tally.HOLD in tallies:
            return Step.HOLD, weight
        raised = _raised(self._analysis, weight)
        return (Step.PROMOTE, weight) if raised is None else (Step.ADVANCE, raised)


@dataclass(frozen=True, slots=True)
class Counts:
    """Requests of one version in the window of a check; `buckets` cumulative, by upper bound in milliseconds."""

    total: int = 0
    errors: int = 0
    buckets: Mapping[float, int] | None = None


def measured(metric: Metric, seen: Counts) -> Sample:
    """What a built-in check would answer for these counts: NaN without requests is no data."""
    if not seen.total:
        return Sample()
    if metric.name == SUCCESS_RATE:
        return Sample(value=100 * (seen.total - seen.errors) / seen.total)
    return Sample(value=quantile(sorted((seen.buckets or {}).items()), _P99)) if seen.buckets else Sample()


def verdict(metric: Metric, sample: Sample) -> Judged:
    """The operator's verdict on a built-in check."""
    return judge(metric, MetricSource.BUILTIN, sample)


def builtins(analysis: Analysis) -> tuple[Metric, ...]:
    """The checks whose answer follows from requests: built in, and not only for show."""
    return tuple(metric for metric in analysis.metrics if metric.name in (SUCCESS_RATE, DURATION) and not metric.informational)


def others(analysis: Analysis) -> tuple[str, ...]:
    """Names of the checks that are about something else."""
    return tuple(metric.name for metric in analysis.metrics if not metric.builtin)


def quantile(buckets: Sequence[tuple[float, float]], q: float) -> float:
    """Prometheus' `histogram_quantile`: linear within the bucket, the last finite bound beyond it."""
    total = buckets[-1][1] if buckets else 0
    low, below = 0.0, 0.0
    for bound, count in buckets:
        if count >= q * total:
            return low if bound == float("inf") else low + (bound - low) * (q * total - below) / max(1e-12, count - below)
        low, below = bound, count
    return low
