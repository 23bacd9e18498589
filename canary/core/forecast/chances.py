"""Chances of counted checks, exactly: how often a check fails by luck, and what that does to a run.

Requests are taken to come and to fail independently (Poisson), so bad and good ones in a window are two independent counts. A formula with a normal
approximation was rejected: it is off by a factor at rates of one in a thousand, where these bounds lie.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

import numpy as np

from canary.api.analysis import Analysis, Metric, NoData
from canary.core.forecast.counted import builtins, copied, schedule
from canary.core.verdicts import SUCCESS_RATE

_WIDTH: Final = 9.0
"""Standard deviations around the mean that are summed up."""
_P99: Final = 0.01


@dataclass(frozen=True, slots=True)
class Limit:
    """A built-in check as a limit of a share: failures, or requests slower than `slow_ms` milliseconds. `window` in seconds."""

    name: str
    share: float
    window: float
    slow_ms: float | None = None
    no_data_fails: bool = True

    def requests(self, rate: float, spacing: float) -> float:
        """Requests that one check sees at `rate` a second: the differences between the scrapes in its window."""
        return rate * spacing * max(0, math.floor(self.window / spacing + 1e-9) - 1)


def limits(analysis: Analysis) -> tuple[Limit, ...]:
    """Built-in checks that say something about a share of requests; a 99th percentile says that 1 % may be slower."""
    return tuple(limit for metric in builtins(analysis) if (limit := _limit(metric)) is not None)


def _limit(metric: Metric) -> Limit | None:
    fails, window, bounds = metric.no_data is NoData.FAIL, metric.interval_seconds, metric.bounds
    if metric.name == SUCCESS_RATE:
        return None if bounds.min is None else Limit(metric.name, max(0.0, 1 - bounds.min / 100), window, None, fails)
    return None if bounds.max is None else Limit(metric.name, _P99, window, bounds.max, fails)


@lru_cache(maxsize=1024)
def exceeds(requests: float, bad: float, limit: float) -> float:
    """Chance that more than `limit` (a share) of the requests are bad, when `requests` are expected of which a share `bad` is; without requests
    nothing is exceeded.

    Kept for a while: a search for the smallest fault that one check catches asks for the other checks again and again.
    """
    if requests <= 0 or bad <= 0 or limit >= 1:
        return 0.0
    mean_bad, mean_good = requests * bad, requests * (1 - bad)
    counts = np.arange(max(1, _low(mean_bad)), _high(mean_bad) + 1)
    if limit <= 0:
        return -math.expm1(-mean_bad)
    # exceeded when good < bad (1 - limit) / limit; the largest such number of good ones:
    most = np.ceil(counts * (1 - limit) / limit - 1e-9).astype(int) - 1
    low = max(0, _low(mean_good))
    below = np.cumsum(_poisson(np.arange(low, _high(mean_good) + 1), mean_good))
    chance = np.where(most < low, 0.0, below[np.clip(most - low, 0, len(below) - 1)])
    return float(min(1.0, (_poisson(counts, mean_bad) * chance).sum()))


def _low(mean: float) -> int:
    return int(max(0.0, mean - _WIDTH * math.sqrt(mean) - 5))


def _high(mean: float) -> int:
    return int(mean + _WIDTH * math.sqrt(mean) + 30)


def _poisson(counts: np.ndarray, mean: float) -> np.ndarray:
    if mean <= 0:
        return np.where(counts == 0, 1.0, 0.0)
    first, last = int(counts[0]), int(counts[-1])
    start = math.lgamma(first + 1)
    factorials = start + np.concatenate([[0.0], np.cumsum(np.log(np.arange(first + 1, last + 1)))])
    terms: np.ndarray = np.exp(counts * math.log(mean) - mean - factorials)
    return terms


@dataclass(frozen=True, slots=True)
class Luck:
    """One step at one weight: requests seen, chance that its checks fail, and that there is nothing to check."""

    requests: float
    fails: float
    empty: float


def luck(checks: Sequence[tuple[Limit, float]], *, rate: float, spacing: float) -> Luck:
    """Of one step for a canary that gets `rate` requests a second; each check comes with the share of requests that are bad for it."""
    if not checks:
        return Luck(0.0, 0.0, 0.0)
    requests = min(limit.requests(rate, spacing) for limit, _ in checks)
    passes = math.prod(1 - exceeds(limit.requests(rate, spacing), bad, limit.share) for limit, bad in checks)
    empty = math.exp(-requests)
    # what exceeds counts no empty windows; in them all checks fail together
    fails = 1 - passes + (empty if any(limit.no_data_fails for limit, _ in checks) else 0.0)
    return Luck(requests, min(1.0, fails), empty)


@dataclass(frozen=True, slots=True)
class Run:
    """A whole run of counted checks: chance that it is rolled back, and failed checks and steps to expect."""

    rolled_back: float
    failed: float
    steps: float


def run(fails: Sequence[float], threshold: int) -> Run:
    """`fails` is the chance that a step fails at each weight of the schedule; a failed one is repeated, `threshold` of them end it."""
    reach = [1.0, *([0.0] * (threshold - 1))]
    back = failed = steps = 0.0
    for chance in fails:
        onward = [0.0] * threshold
        for count in range(threshold):
            here = reach[count]
            steps += here
            failed += here * chance
            onward[count] += here * (1 - chance)
            if count + 1 < threshold:
                reach[count + 1] += here * chance
            else:
                back += here * chance
        reach = onward
    return Run(back, failed, steps)


def expected(analysis: Analysis, checks: Sequence[tuple[Limit, float]], *, traffic: float, spacing: float) -> Run:
    """A run under the analysis' schedule, with these checks and the shares that are bad for them. Copies, where they come first, are one more step."""
    copies = (copied(analysis),) if copied(analysis) else ()
    fails = [luck(checks, rate=traffic * part / 100, spacing=spacing).fails for part in (*copies, *schedule(analysis))]
    blind, threshold = blind_steps(analysis, checks, spacing=spacing), analysis.threshold_count
    if blind >= threshold:
        return Run(1.0, threshold, threshold)
    found = run(fails, threshold - blind)
    return Run(found.rolled_back, found.failed + blind, found.steps + blind)


def blind_steps(analysis: Analysis, checks: Sequence[tuple[Limit, float]], *, spacing: float) -> int:
    """How many checks at the beginning of every release fail because the canary has not been scraped twice yet."""
    if not any(limit.no_data_fails for limit, _ in checks):
        return 0
    return max(0, math.ceil(2 * spacing / analysis.interval_seconds - 1e-9) - 1)


def independent(analysis: Analysis) -> bool:
    """Whether no request is seen by two steps; else what is computed here is an estimate, because checks fail together."""
    return all(limit.window <= analysis.interval_seconds for limit in limits(analysis))
