"""One simulated release under the manifest's rules: the real judge, the real verdicts, the operator's pace.

The operator looks at the counters once a scrape and takes a step once an interval. Evidence ends a release at any look; checks, the schedule and
promotions wait for a step. Hooks, gates and checks of other sources are taken to agree.

Where the spec asks for mirrored traffic the release begins with copies of requests: bad answers to them harm nobody, and nobody is promoted on them.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

from canary.api.analysis import Analysis, Metric
from canary.api.sequential import Judge, Steps
from canary.core.forecast.counted import Counted, Counts, Step, builtins, copied, measured, schedule, verdict
from canary.core.forecast.service import Fault, Service
from canary.core.forecast.world import World
from canary.core.judge import Arm, Baseline, Decision, JudgeConfig, SequentialJudge, Tick
from canary.core.judged_checks import config_of
from canary.core.verdicts import Judged, excused

_SOON: Final = 1e-6


@dataclass(frozen=True, slots=True)
class Outcome:
    """How one release ended: `rollback`, `promote` or `undecided`, after so many seconds; `harmed` bad responses until then.

    `by` says what took it back: `checks` or `evidence`. `on_copies`: it ended before it met any user; else `copying` is how many seconds that
    stage took (None: there was none).
    """

    verdict: str
    seconds: float
    harmed: float
    served: int
    failed_checks: int = 0
    by: str = ""
    on_copies: bool = False
    copying: float | None = None


@dataclass(slots=True)
class Rules:
    """An analysis, made ready for many releases. The judge's view of the past is kept by seed: it is the same for every fault."""

    analysis: Analysis
    service: Service
    config: JudgeConfig | None = None
    _began: dict[int, dict[str, Any]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.analysis.judge is not Judge.THRESHOLD:
            self.config = config_of(self.analysis)

    @property
    def fresh(self) -> bool:
        """Whether a fresh baseline takes the primary's place."""
        return self.config is not None and self.config.baseline is Baseline.FRESH

    @property
    def horizon(self) -> float:
        """Seconds after which a release without a verdict counts as undecided."""
        steps = (
            len(schedule(self.analysis)) + (copied(self.analysis) > 0) + self.analysis.threshold_count + 1
        ) * self.analysis.interval_seconds
        if self.config is None:
            return steps
        longest = self.config.max_duration + self.analysis.interval_seconds
        return longest if self.analysis.judge is Judge.SEQUENTIAL else max(2 * steps, longest)

    def judge(self, world: World, seed: int) -> SequentialJudge | None:
        if self.config is None:
            return None
        if seed not in self._began:
            self._began[seed] = SequentialJudge(self.config, world.history()).state()
        return SequentialJudge.restore(self.config, self._began[seed])


class Release:
    """One run, event by event."""

    def __init__(self, rules: Rules, fault: Fault, seed: int) -> None:
        self._rules, self._analysis = rules, rules.analysis
        self._world = World(rules.service, fault, seed, fresh=rules.fresh)
        self._judge = rules.judge(self._world, seed)
        self._counted = Counted(self._analysis)
        self._metrics = builtins(self._analysis)
        self._seen: deque[Tick] = deque()
        self._longest = max((metric.interval_seconds for metric in self._metrics), default=0.0)
        self._decision: Decision | None = None
        self._deciding = self._analysis.judge is Judge.SEQUENTIAL
        self._copied = copied(self._analysis)
        self._anchors = self._copied > 0 or rules.fresh
        self._copying: float | None = None
        self.weight = 0 if self._copied else self._first()

    def run(self) -> Outcome:
        """To its end."""
        spacing, interval, horizon = self._rules.service.spacing, self._analysis.interval_seconds, self._rules.horizon
        scrape, step = spacing, interval
        while self._world.t < horizon - _SOON:
            due = min(scrape, step)
            self._world.go_on(due - self._world.t, self.weight, self._copied)
            if scrape <= due + _SOON:
                scrape += spacing
                if end := self._look():
                    return end
            if step <= due + _SOON:
                step += interval
                if end := self._step():
                    return end
        return self._end("undecided")

    def _first(self) -> int:
        if not self._deciding:
            return schedule(self._analysis)[0]
        assert self._judge is not None
        return self._allowed(self._judge.weight)

    def _look(self) -> Outcome | None:
        tick = replace(self._world.scrape(self.weight), copied=self._copied)
        self._seen.append(replace(tick, primary=self._world.primary))
        while self._seen[0].ts <= tick.ts - self._longest - self._rules.service.spacing:
            self._seen.popleft()
        if self._judge is None or self._anchors:  # other counters in each stage: its first look only anchors
            self._anchors = False
            return None
        self._decision = decision = self._judge.observe(tick)
        if decision.verdict == "rollback":
            return self._end("rollback", by="evidence")
        if self._deciding and self._analysis.sequential.steps is Steps.ADAPTIVE and decision.verdict == "continue":
            self._move(max(self.weight, self._allowed(decision.weight)))
        return self._end("undecided") if self._deciding and decision.verdict == "inconclusive" else None

    def _step(self) -> Outcome | None:
        if self._deciding:
            return self._by_evidence()
        found, weight = self._counted.step([self._judged(metric) for metric in self._metrics], self.weight)
        if found in (Step.ROLLBACK, Step.PROMOTE):
            return self._end(found.value, by="checks" if found is Step.ROLLBACK else "")
        self._move(weight)
        return None

    def _by_evidence(self) -> Outcome | None:
        decision = self._decision
        if decision is None or decision.verdict not in ("continue", "promote"):
            return None
        if decision.verdict == "promote":
            return self._end("promote")
        if self._analysis.sequential.steps is Steps.FIXED and (decision.weight or not self._copied):
            self._move(next((weight for weight in schedule(self._analysis) if weight > self.weight), self.weight))
        return None

    def _move(self, weight: int) -> None:
        """To this weight; copies end with the first user."""
        if weight and self._copied:
            self._copied, self._anchors, self._copying = 0, True, self._world.t
        self.weight = weight

    def _judged(self, metric: Metric) -> Judged:
        judged = verdict(metric, measured(metric, self._window(metric, "canary")))
        if self._judge is None:
            return judged
        return excused(judged, verdict(metric, measured(metric, self._window(metric, "primary"))))

    def _window(self, metric: Metric, arm: str) -> Counts:
        """What `rate` sees: the differences between the scrapes in the window, the first of which only anchors."""
        now = self._seen[-1].ts if self._seen else 0.0
        inside = [tick for tick in self._seen if tick.ts > now - metric.interval_seconds + _SOON]
        return added([getattr(tick, arm) for tick in inside[1:]])

    def _allowed(self, weight: int) -> int:
        return min(weight, self._analysis.max_weight_effective)

    def _end(self, found: str, by: str = "") -> Outcome:
        world = self._world
        return Outcome(found, world.t, world.harmed, world.served, self._counted.failed, by, self._copied > 0, self._copying)


def added(arms: Sequence[Arm | None]) -> Counts:
    """All requests of several scrapes of one version."""
    known = [arm for arm in arms if arm is not None]
    buckets: dict[float, int] = {}
    for arm in known:
        for bound, count in arm.buckets.items():
            buckets[bound] = buckets.get(bound, 0) + count
    return Counts(sum(arm.total for arm in known), sum(arm.errors for arm in known), buckets or None)
