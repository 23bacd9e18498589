"""A run of the past, tick by tick, through the judge and the rules as they are now.

The weights are those that were, not those that the judge would have chosen: traffic that was not sent cannot be judged. So a replay says what
would have been decided on these requests; how the weights would have gone is what `simulate` is for. Copies of requests, where they came
first, are judged as copies.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from canary.api.analysis import Analysis, Metric
from canary.api.sequential import Baseline, Judge
from canary.api.status import Verdict
from canary.core.counted import FIRST_WINDOW, LONGEST, Counters, Marks, Past, Stage, fresh
from canary.core.forecast.advice import with_judge
from canary.core.forecast.counted import Counted, Step
from canary.core.judge import Arm, Decision, JudgeConfig, SequentialJudge, Tick
from canary.core.judged_checks import config_of
from canary.core.looked import USUAL_SPACING, Seen, looked, noted, spacing_of
from canary.core.paired import paired
from canary.core.verdicts import Judged, Tally, excused
from canary.core.weights import beside


@dataclass(frozen=True, slots=True)
class Look:
    """One look at the counters: what happened since the last one, `elapsed` seconds after the run began, and what the judge said."""

    tick: Tick
    elapsed: float
    decision: Decision
    note: str = ""

    @property
    def reason(self) -> str:
        """What the operator would have said."""
        return noted(self.decision.reason, self.note)

    @property
    def against(self) -> float:
        """Evidence against the canary: of all metrics together, as the judge weighs it."""
        return self.decision.fail

    @property
    def favour(self) -> float:
        """The weakest evidence of health among the metrics that must show it."""
        return min((float(one["pass"]) for one in self.decision.evidence.values() if one.get("required")), default=1.0)

    def to_dict(self) -> dict[str, Any]:
        """JSON shape."""
        decision, tick = self.decision, self.tick
        pairs = (tick.pairs or {}).items()
        return {
            "event": "look",
            "at": tick.ts,
            "elapsed": round(self.elapsed, 3),
            "weight": tick.weight,
            "copied": tick.copied,
            "baseline": tick.baseline,
            "canary": _arm(tick.canary),
            "primary": _arm(tick.primary),
            "pairs": {name: {"canary": _arm(canary), "primary": _arm(primary)} for name, (canary, primary) in pairs},
            "verdict": decision.verdict,
            "wantedWeight": decision.weight,
            "reason": self.reason,
            "against": decision.fail,
            "evidence": {name: dict(numbers) for name, numbers in decision.evidence.items()},
        }


@dataclass(frozen=True, slots=True)
class Check:
    """One check at one step; `primary` is the same of the primary, where it was asked."""

    metric: Metric
    judged: Judged
    value: float | None
    primary: Judged | None = None

    @property
    def text(self) -> str:
        return f"{self.metric.name} has no data" if self.judged.verdict is Verdict.NO_DATA else self.judged.text


@dataclass(frozen=True, slots=True)
class Stepped:
    """One step: its checks, what the threshold judge would have done, and how many failed so far."""

    moment: float
    elapsed: float
    weight: int
    checks: tuple[Check, ...]
    threshold: Step
    failed: int
    limit: int

    def to_dict(self) -> dict[str, Any]:
        """JSON shape."""
        checks = [
            {"name": one.metric.name, "value": one.value, "verdict": one.judged.verdict.value, "text": one.text} for one in self.checks
        ]
        head = {"event": "step", "at": self.moment, "elapsed": round(self.elapsed, 3), "weight": self.weight, "checks": checks}
        return head | {"threshold": self.threshold.value, "failedChecks": self.failed, "limit": self.limit}


@dataclass(frozen=True, slots=True)
class End:
    """How a judge ended the run: `rollback` or `promote`, when, and why."""

    verdict: str
    elapsed: float
    reason: str


@dataclass(slots=True)
class Replay:
    """One run. Feed it looks and steps in the order of time; `own` is the end by the manifest's judge, `threshold` that by counted checks.

    `baseline`: what the canary was compared with in fact.
    """

    analysis: Analysis
    began: float
    past: Past
    baseline: Baseline = Baseline.PRIMARY
    own: End | None = None
    threshold: End | None = None
    last: Look | None = None
    totals: dict[str, list[int]] = field(default_factory=lambda: {"canary": [0, 0], "primary": [0, 0], "copies": [0, 0]})
    _config: JudgeConfig = field(init=False)
    _judge: SequentialJudge = field(init=False)
    _marks: Marks = field(default_factory=Marks)
    _counted_at: float = 0.0
    _all: Counted = field(init=False)
    _mine: Counted = field(init=False)

    def __post_init__(self) -> None:
        judged = self.analysis if self.analysis.judge is not Judge.THRESHOLD else with_judge(self.analysis, Judge.SEQUENTIAL)
        self._config = config_of(judged, baseline=self.baseline)
        self._judge = SequentialJudge(self._config, self.past.ticks, self.past.pairs)
        self._all, self._mine = Counted(self.analysis), Counted(self.analysis)
        self._counted_at = self.began

    @property
    def alpha(self) -> float:
        return self._config.alpha

    @property
    def spacing(self) -> float:
        """Seconds between two looks, as the operator chooses them."""
        return min(spacing_of(self.past) or USUAL_SPACING, USUAL_SPACING, self.analysis.interval_seconds)

    def seen(self, weight: int, copied: int = 0) -> Seen:
        """Of which requests a look under this weight is, or at copies of so many percent."""
        if copied:
            return Seen(Stage.COPIES, weight, copied=copied)
        if self.baseline is Baseline.FRESH and weight:
            return Seen(Stage.BASELINE if beside(weight) else Stage.ALONE, weight, beside(weight))
        return Seen(Stage.USERS, weight)

    def since(self, moment: float, seen: Seen) -> float:
        """From when scrapes are needed for a look at `moment` (the operator's own reach)."""
        since = self._marks.of_stage(seen.stage).since
        return moment - (FIRST_WINDOW if since <= 0 else min(LONGEST, max(1.0, moment - since + 1)))

    def anchor(self, counters: Counters, seen: Seen) -> None:
        """The first look: what was counted before the run. Raises ValueError for impossible counters."""
        marks = Marks(stage=seen.stage)
        self._marks = paired(counters, marks, fresh(counters, marks).marks).marks

    def look(self, counters: Counters, seen: Seen) -> Look | None:
        """Take what is new; None while there is no news and it is too early to call that silence."""
        marks, spacing = self._marks.of_stage(seen.stage), spacing_of(self.past)
        found = looked(counters, marks, seen, now=counters.at, counted=self._counted_at, spacing=spacing)
        self._marks = found.marks
        if found.tick is None:
            return None
        tick, self._counted_at = found.tick, found.tick.ts
        decision = self._judge.observe(tick, found.lacking)
        self._sum(tick)
        self.last = look = Look(tick, tick.ts - self.began, decision, found.note)
        if self.own is None and self.analysis.judge is not Judge.THRESHOLD:
            final = ("rollback", "promote") if self.analysis.judge is Judge.SEQUENTIAL else ("rollback",)
            if decision.verdict in final:
                self.own = End(decision.verdict, look.elapsed, decision.reason)
        return look

    @property
    def stepping(self) -> bool:
        """Whether the checks of a step can still change anything."""
        mine = self.analysis.judge is Judge.GUARDED or any(not metric.builtin for metric in self.analysis.metrics)
        return self.threshold is None or (self.own is None and mine)

    @property
    def over(self) -> bool:
        """Whether the manifest's judge and the threshold judge have both come to their end."""
        return self.own is not None and self.threshold is not None

    def step(self, moment: float, checks: Sequence[Check], weight: int) -> Stepped:
        """Take the checks of one step."""
        if self.threshold is None:
            step, _ = self._all.step([one.judged for one in checks], weight)
        else:
            step = Step(self.threshold.verdict)
        elapsed = moment - self.began
        failed = next((one.text for one in checks if one.judged.counts is Tally.FAILED), "")
        if self.threshold is None and step in (Step.ROLLBACK, Step.PROMOTE):
            reason = (
                f"{self._all.failed} failed checks, the last: {failed}"
                if step is Step.ROLLBACK
                else f"{self._all.failed} failed checks of {self._all.limit}"
            )
            self.threshold = End(step.value, elapsed, reason)
        if self.own is None:
            self._own_step(elapsed, checks, weight, failed)
        return Stepped(moment, elapsed, weight, tuple(checks), step, self._all.failed, self._all.limit)

    def _own_step(self, elapsed: float, checks: Sequence[Check], weight: int, failed: str) -> None:
        """What the manifest's own judge makes of the checks that it counts."""
        judge = self.analysis.judge
        if judge is Judge.THRESHOLD:
            self.own = self.threshold
            return
        counted = [one for one in checks if judge is Judge.GUARDED or not one.metric.builtin]
        mine = [excused(one.judged, one.primary) if judge is Judge.GUARDED else one.judged for one in counted]
        step, _ = self._mine.step(mine, weight)
        if step is Step.ROLLBACK or (step is Step.PROMOTE and judge is Judge.GUARDED):
            reason = (
                f"{self._mine.failed} failed checks, the last: {failed}"
                if step is Step.ROLLBACK
                else "all steps passed, and no evidence against it"
            )
            self.own = End(step.value, elapsed, reason)

    def _sum(self, tick: Tick) -> None:
        """Copies of the canary stand apart: nobody got their answers."""
        for name, arm in (("copies" if tick.copied else "canary", tick.canary), ("primary", tick.primary)):
            if arm is not None:
                self.totals[name][0] += arm.total
                self.totals[name][1] += arm.errors

    def to_dict(self) -> dict[str, Any]:
        """The summary, for JSON."""
        return {
            "event": "summary",
            "judge": self.analysis.judge.value,
            "verdict": self.own.verdict if self.own else "undecided",
            "elapsed": None if self.own is None else round(self.own.elapsed, 3),
            "reason": self.own.reason if self.own else self.undecided(),
            "threshold": None
            if self.threshold is None
            else {"verdict": self.threshold.verdict, "elapsed": round(self.threshold.elapsed, 3)},
            "canary": _counts(self.totals["canary"]),
            "primary": _counts(self.totals["primary"]),
            "copies": _counts(self.totals["copies"]),
        }

    def undecided(self) -> str:
        """Why there is no verdict."""
        if not (self.totals["canary"][0] or self.totals["copies"][0]):
            return "No requests of the canary were found in this time."
        if self.last is not None and self.analysis.judge is not Judge.THRESHOLD:
            return self.last.reason
        return f"The time ended before the schedule did, with {self._all.failed} of {self._all.limit} failed checks."


def _arm(arm: Arm | None) -> Mapping[str, int] | None:
    return None if arm is None else _counts([arm.total, arm.errors])


def _counts(pair: Sequence[int]) -> dict[str, int]:
    return {"requests": pair[0], "failed": pair[1]}
