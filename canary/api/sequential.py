"""`analysis.judge` and `analysis.sequential`: whether evidence against the primary takes part in a verdict, and how.

The keys are those of `canary.core.judge.JudgeConfig.from_spec`, which reads their values and knows their defaults; here are their types, their
ranges as the API server checks them, and what they mean in one sentence each. Defaults in the models were rejected: a manifest would
come back with twelve fields that nobody wrote.
"""

from __future__ import annotations

import enum
from typing import Annotated, Any, Final

from pydantic import Field, Strict, WithJsonSchema

from canary.api.common import Model, Number, seconds_or

JUDGED_TOP_WEIGHT: Final = 50
"""Where an adaptive release tops out without `maxWeight`: both versions are then equally well observed."""
FRESH_TOP_WEIGHT: Final = 33
"""The same with a fresh baseline: canary, baseline and what is left to the primary are then loaded alike."""
HIGHEST_TOP_WEIGHT: Final = 95
"""Above this, too little of the traffic is left to compare with."""
HIGHEST_ALPHA: Final = 0.5
"""Error probabilities from here on are refused."""
DEFAULT_MIN_SECONDS: Final = 600.0
DEFAULT_MAX_SECONDS: Final = 3600.0

DURATION_PATTERN: Final = r"^([0-9]+(\.[0-9]+)?(ms|s|m|h))+$"
Duration = Annotated[str, Strict(), WithJsonSchema({"type": "string", "pattern": DURATION_PATTERN})]
"""Go duration text in hours, minutes, seconds and milliseconds."""


class Judge(enum.StrEnum):
    """Who decides: counted checks (as upstream), these with evidence as a guard, or the evidence."""

    THRESHOLD = "threshold"
    GUARDED = "guarded"
    SEQUENTIAL = "sequential"


class Baseline(enum.StrEnum):
    """What evidence compares the new version with: the primary, or a copy of it that is begun with the canary."""

    PRIMARY = "primary"
    FRESH = "fresh"


_FRESH: Final = "!has(self.baseline) || self.baseline != 'fresh' || "
FRESH_RULES: Final = [
    {
        "rule": f"{_FRESH}has(self.judge) && self.judge != 'threshold'",
        "message": "baseline: fresh is compared by evidence: add judge: guarded or sequential",
    },
    {
        "rule": f"{_FRESH}!has(self.mirror) || !self.mirror",
        "message": "baseline: fresh gets requests and no copies of them: remove mirror, or baseline",
    },
    {
        "rule": f"{_FRESH}!has(self.match) || size(self.match) == 0",
        "message": "baseline: fresh needs requests like the canary's, and match sends other ones there: remove match, or baseline",
    },
    {
        "rule": f"{_FRESH}!has(self.iterations) || self.iterations <= 0.0",
        "message": "baseline: fresh needs a weighted release, and iterations make another: use stepWeight or stepWeights",
    },
    {
        "rule": f"{_FRESH}!has(self.sessionAffinity)",
        "message": "baseline: fresh does not go with sessionAffinity: a cookie keeps users on the canary and nobody on the baseline",
    },
]
"""What contradicts a fresh baseline, for the API server; `canary.api.validation` says the same of objects that it has not seen."""


class OnInconclusive(enum.StrEnum):
    """What follows when `maxDuration` passes without a verdict."""

    HOLD = "hold"
    ROLLBACK = "rollback"
    PROMOTE = "promote"


class Steps(enum.StrEnum):
    """Who sets the weight: the evidence, or the schedule, which the evidence may hold."""

    ADAPTIVE = "adaptive"
    FIXED = "fixed"


def _range(**bounds: Any) -> Any:
    return Field(json_schema_extra=bounds)


class Margin(Model):
    """How much worse than the primary is tolerated."""

    error_rate: Annotated[Number | None, _range(minimum=0, maximum=99)] = None
    """Failed requests beyond the primary's, in percentage points; 0.2 when absent."""
    error_ratio: Annotated[Number | None, _range(minimum=1, maximum=1000, exclusiveMinimum=True)] = None
    """Failed requests as a multiple of the primary's, alone or (with errorRate) before it is added."""
    slow_ratio: Annotated[Number | None, _range(minimum=1, maximum=1000)] = None
    """Share of slow requests as a multiple of the primary's; 1.25 when absent."""
    slow_share: Annotated[Number | None, _range(minimum=0, maximum=99)] = None
    """Slow requests added to that multiple, in percentage points; 0.5 when absent."""


class Sequential(Model):
    """How evidence against the primary is weighed; all fields have defaults that need no tuning."""

    alpha: Annotated[Number | None, _range(minimum=0.0001, maximum=0.25)] = None
    """Chance that a tolerable version is ever rolled back; 0.01 when absent."""
    pass_alpha: Annotated[Number | None, _range(minimum=0.0001, maximum=0.25)] = None
    """Chance that a version beyond the margin is promoted; 0.05 when absent."""
    margin: Margin | None = None
    """How much worse than the primary is tolerated."""
    harm_budget: Annotated[Number | None, _range(minimum=1, maximum=1000000)] = None
    """Users whose requests may fail before a bad version is noticed at its present weight; 25 when absent."""
    max_excess_per_hour: Annotated[Number | None, _range(minimum=0, maximum=1000000)] = None
    """Bad responses per hour beyond the primary's that are tolerated where traffic is too low to show less; 0 (off) when absent."""
    warmup: Duration = ""
    """Time after the first look during which the canary's requests count as neither good nor bad and its weight stays; 0s when absent."""
    min_duration: Duration = ""
    """Shortest time from the first look to a promotion, however good the evidence; 10m when absent."""
    max_duration: Duration = ""
    """Time from the first look after which a run without a verdict is inconclusive; 60m when absent."""
    on_inconclusive: OnInconclusive = OnInconclusive.HOLD
    """What a run without a verdict at maxDuration does: hold (the default) and call a person, rollback, or promote unless there is doubt."""
    steps: Steps = Steps.ADAPTIVE
    """Who sets the weight: adaptive (the default), within harmBudget, or fixed, the schedule of the analysis."""

    @property
    def max_seconds(self) -> float:
        """`maxDuration` in seconds; an hour when it is missing or no duration."""
        return seconds_or(self.max_duration, DEFAULT_MAX_SECONDS)

    @property
    def min_seconds(self) -> float:
        """`minDuration` in seconds; ten minutes (or `maxDuration`, if that is shorter) when it is missing or no duration."""
        return seconds_or(self.min_duration, min(DEFAULT_MIN_SECONDS, self.max_seconds))
