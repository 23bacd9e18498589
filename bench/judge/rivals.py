"""The judges that ours is compared with, each as a function from a run to an outcome.

`flagger` follows the peer's rule: success rate of the last minute at least 99 % and P99 of the last minute at most 500 ms
(interpolated in the bucket), a counter of failed checks over the whole run, five of them roll back; no requests is a failed
check; 5 to 50 % by 5 each minute; a failed check keeps the weight; the first minute only sets the weight.
`kayenta` is a rank test on the rates of all ticks so far, each minute from the fifth, with the same ramp: the 98 % interval of
Mann-Whitney's (Hodges-Lehmann) shift, failing at once. Spinnaker's advice is fewer looks at more points.
`ours` is the sequential judge.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from bench.judge.world import HOUR, Run, Scenario
from canary.core.forecast.counted import quantile
from canary.core.judge import Arm, JudgeConfig, SequentialJudge, Tick

STEP, TOP, MINUTE, ALLOWED = 5, 50, 60.0, 5
SETTINGS = {"minDuration": 0, "maxDuration": "60m", "maxWeight": TOP, "thresholds": {"errorRate": 1, "slowMs": [500, 1]}}
_Z = 2.326
_TIMED = 25


@dataclass(frozen=True)
class Outcome:
    """How a run ended. `after` in seconds; `harmed` counts the whole hour.

    `forecast`: canary requests that a promotion was said to take when the top weight was reached, over those that it took.
    """

    verdict: str
    after: float
    harmed: float
    forecast: float | None = None
    mismatched: bool = False
    held_without_data: bool = True
    cpu: float = 0.0
    """Seconds in the judge, over `ticks` ticks; measured in some runs only."""
    ticks: int = 0


def ours(scenario: Scenario, seed: int) -> Outcome:
    """Drive the real judge, as an operator does: it sets the weight for the next interval."""
    run = Run(scenario, seed)
    config = JudgeConfig.from_spec(SETTINGS | scenario.spec)
    judge = SequentialJudge(config, run.history())
    weight, ticks, cpu = judge.weight, 0, 0.0
    timed = seed % _TIMED == 0  # reading the clock costs as much as judging
    told: list[bool] = []
    mismatched, forecast = False, None
    while True:
        tick = run.tick(weight)
        began = time.process_time() if timed else 0.0
        decision = judge.observe(tick)
        cpu += time.process_time() - began if timed else 0.0
        ticks += timed
        mismatched = mismatched or decision.evidence["sampleRatio"]["fail"] >= 1000
        if tick.canary is None or tick.primary is None:
            waits = decision.verdict in ("hold", "inconclusive")
            told.append(waits and ("has not reported" in decision.reason or "neither" in decision.reason))
        if weight >= TOP:
            forecast = forecast or decision.needed
        weight = decision.weight
        if decision.verdict in ("rollback", "promote") or run.t >= HOUR + scenario.spacing:
            break
    used = decision.evidence["errorRate"]["settled"]
    factor = forecast / used if forecast and used and decision.verdict == "promote" else None
    left = {"rollback": 0, "promote": 100}.get(decision.verdict, weight)
    verdict = decision.verdict if decision.verdict in ("rollback", "promote") else "inconclusive"
    return Outcome(verdict, run.t, run.harmed + run.aftermath(left), factor, mismatched, all(told), cpu, ticks)


def flagger(scenario: Scenario, seed: int) -> Outcome:
    """Fixed thresholds and a counter."""
    run = Run(scenario, seed)
    run.history()
    weight, failed = STEP, 0
    recent: list[Tick] = []
    while run.t < HOUR:
        recent += [run.tick(weight) for _ in range(max(1, round(MINUTE / scenario.spacing)))]
        recent = [tick for tick in recent if tick.ts > recent[-1].ts - MINUTE]
        if failed >= ALLOWED:
            return Outcome("rollback", run.t, run.harmed)
        if not _passes([tick.canary for tick in recent if tick.canary is not None]):
            failed += 1
        elif weight >= TOP:
            return Outcome("promote", run.t, run.harmed + run.aftermath(100))
        else:
            weight += STEP
    return Outcome("inconclusive", run.t, run.harmed + run.aftermath(weight))


def _passes(arms: Sequence[Arm]) -> bool:
    total, errors = sum(arm.total for arm in arms), sum(arm.errors for arm in arms)
    if not total or 100 * (1 - errors / total) < 99:
        return False
    bounds = sorted(arms[0].buckets)
    return quantile([(bound, sum(arm.buckets[bound] for arm in arms)) for bound in bounds], 0.99) <= 500


def kayenta(scenario: Scenario, seed: int) -> Outcome:
    """A rank test on the series of both versions."""
    run = Run(scenario, seed)
    run.history()
    weight, minute = STEP, 0
    ticks: list[Tick] = []
    while run.t < HOUR:
        ticks += [run.tick(weight) for _ in range(max(1, round(MINUTE / scenario.spacing)))]
        minute += 1
        if minute >= 5 and _ranks_higher(ticks):
            return Outcome("rollback", run.t, run.harmed)
        if weight >= TOP:
            return Outcome("promote", run.t, run.harmed + run.aftermath(100))
        weight += STEP
    return Outcome("inconclusive", run.t, run.harmed + run.aftermath(weight))


def _ranks_higher(ticks: Sequence[Tick]) -> bool:
    for read in (_error_share, _tail_ms):
        one = [read(tick.canary) for tick in ticks if tick.canary is not None and tick.canary.total]
        other = [read(tick.primary) for tick in ticks if tick.primary is not None and tick.primary.total]
        if len(one) > 1 and len(other) > 1 and _shifted_up(np.array(one), np.array(other)):
            return True
    return False


def _error_share(arm: Arm | None) -> float:
    assert arm is not None
    return arm.errors / arm.total


def _tail_ms(arm: Arm | None) -> float:
    assert arm is not None
    return quantile(sorted(arm.buckets.items()), 0.99)


def _shifted_up(one: np.ndarray, other: np.ndarray) -> bool:
    """Whether the confidence interval of the Hodges-Lehmann shift lies above a quarter of its estimate, and above nothing."""
    shifts = np.sort(np.subtract.outer(one, other), axis=None)
    n, m = len(one), len(other)
    low = int(n * m / 2 - _Z * math.sqrt(n * m * (n + m + 1) / 12))
    return low >= 0 and bool(shifts[low] > max(0.0, 0.25 * float(np.median(shifts))))


JUDGES = {"ours": ours, "flagger": flagger, "kayenta": kayenta}
