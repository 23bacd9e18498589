"""When to release: what an analysis can do with the traffic of each hour of the week.

Hours of the same name (Tuesday, 14 to 15) of several weeks are one slot. An analysis that begins in a slot goes on into the next ones, so how long it
takes is added up along the week; what it can see is computed for the slot's own traffic.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, tzinfo
from typing import Any, Final

from canary.api.analysis import Analysis
from canary.api.sequential import Judge
from canary.core.forecast.advice import checks_of, with_judge
from canary.core.forecast.chances import Limit, expected, luck
from canary.core.forecast.counted import copied, schedule
from canary.core.judge.latency import TAIL
from canary.core.judge.plan import after_copies, copying, detection, promotion
from canary.core.judged_checks import config_of

HOUR: Final = 3600.0
SLOTS: Final = 168
DAYS: Final = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_SURE: Final = 0.9
"""Chance of a rollback from which a fault counts as seen by counted checks."""
RARE: Final = 0.01
"""Chance of a false rollback up to which an hour is fit for releases."""
_LUCK: Final = 0.1
"""Chance of a false rollback from which a rollback says nothing."""
_HALVINGS: Final = 16
_MINUTE: Final = 60.0
_LEAST_EXCESS: Final = 1e-4


@dataclass(frozen=True, slots=True)
class Hour:
    """One hour of the past. `began` in Unix seconds; `total` requests of both versions, the rest of the primary alone.

    `buckets`: upper bound in milliseconds to the number of requests that took at most so long.
    """

    began: float
    total: float
    requests: float
    errors: float
    buckets: Mapping[float, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Load:
    """What a slot of the week is like. `traffic` in requests a second, `errors` the primary's share of failures."""

    traffic: float
    errors: float
    buckets: Mapping[float, float]

    def slower(self, bound: float) -> float:
        """Share of the primary's requests over `bound` ms, read as Prometheus reads a quantile: linear within a bucket."""
        known = sorted(self.buckets.items())
        if not known or known[-1][1] <= 0:
            return 0.0
        total, low, below = known[-1][1], 0.0, 0.0
        for upper, count in known:
            if bound <= upper:
                part = 0.0 if math.isinf(upper) else (bound - low) / (upper - low)
                return max(0.0, 1 - (below + part * (count - below)) / total)
            low, below = upper, count
        return 0.0

    @property
    def tail(self) -> float | None:
        """The share of slow requests at the bound where the judge shows health; None without a histogram."""
        finite = [bound for bound in sorted(self.buckets) if not math.isinf(bound)]
        shares = [share for bound in finite if (share := self.slower(bound)) <= TAIL]
        return shares[0] if shares else None


@dataclass(frozen=True, slots=True)
class Slot:
    """An analysis that begins in this hour of the week (0: Monday, midnight). `seconds`: how long it takes, None for more than a week.

    `detectable`: smallest excess failures (share) that it sees; None for none. `false_failures` and `false_rollback`: failed checks and chance of a
    rollback of a healthy version. `requests`: what one check sees at the first step. `copying`: how many of the seconds the canary has copies of
    requests only (None: it has none at all).
    """

    number: int
    traffic: float
    errors: float
    seconds: float | None
    detectable: float | None
    false_failures: float
    false_rollback: float
    requests: float
    users_per_hour: int | None = None
    copying: float | None = None

    @property
    def name(self) -> str:
        return f"{DAYS[self.number // 24]} {self.number % 24:02d}:00"

    def to_dict(self) -> dict[str, Any]:
        """JSON shape."""
        return {
            "slot": self.name,
            "requestsPerSecond": round(self.traffic, 3),
            "errorRate": self.errors,
            "seconds": None if self.seconds is None else round(self.seconds),
            "detectableExcess": self.detectable,
            "falseFailedChecks": round(self.false_failures, 3),
            "falseRollback": round(self.false_rollback, 5),
            "requestsPerCheck": round(self.requests, 1),
            "maxExcessPerHourNeeded": self.users_per_hour,
            "secondsOfCopies": None if self.copying is None else round(self.copying),
        }


def loads(hours: Sequence[Hour], zone: tzinfo) -> dict[int, Load]:
    """The week's slots, each the mean of its hours; slots without any hour are missing."""
    grouped: dict[int, list[Hour]] = {}
    for hour in hours:
        local = datetime.fromtimestamp(hour.began, zone)
        grouped.setdefault(local.weekday() * 24 + local.hour, []).append(hour)
    return {number: _load(found) for number, found in sorted(grouped.items())}


def _load(hours: Sequence[Hour]) -> Load:
    requests = sum(hour.requests for hour in hours)
    buckets: dict[float, float] = {}
    for hour in hours:
        for bound, count in hour.buckets.items():
            buckets[bound] = buckets.get(bound, 0.0) + count
    errors = min(1.0, sum(hour.errors for hour in hours) / requests) if requests > 0 else 0.0
    return Load(sum(hour.total for hour in hours) / HOUR / len(hours), errors, buckets)


class Week:
    """Slots of the week under an analysis. `spacing` seconds between scrapes, `phi` failures that come as one; `copied` percent of copies come first."""

    def __init__(self, analysis: Analysis, loads: Mapping[int, Load], *, spacing: float, phi: float = 1.0) -> None:
        self._analysis, self._loads, self._spacing, self._phi = analysis, loads, spacing, phi
        self._checks = checks_of(analysis)
        self._weights, self.copied = schedule(analysis), copied(analysis)
        judged = analysis if analysis.judge is not Judge.THRESHOLD else with_judge(analysis, Judge.SEQUENTIAL)
        self._config = config_of(judged)

    @property
    def deadline(self) -> float | None:
        """Seconds that an analysis has; None when counted checks decide, which always end."""
        return self._config.max_duration if self._analysis.judge is Judge.SEQUENTIAL else None

    def slots(self) -> list[Slot]:
        """All that are known."""
        return [self._slot(number, load) for number, load in self._loads.items()]

    def _slot(self, number: int, load: Load) -> Slot:
        chances = expected(self._analysis, self._with(load, load.errors), traffic=load.traffic, spacing=self._spacing)
        first = luck(self._with(load, load.errors), rate=load.traffic * self._weights[0] / 100, spacing=self._spacing)
        sequential = self._analysis.judge is Judge.SEQUENTIAL
        users, stage = None, self._copying(load)
        if sequential:
            seconds, users = self._by_evidence(number, load, stage or 0.0)
        else:
            seconds = chances.steps * self._analysis.interval_seconds
        return Slot(
            number=number,
            traffic=load.traffic,
            errors=load.errors,
            seconds=seconds,
            detectable=self._detectable(load, by_luck=chances.rolled_back),
            false_failures=0.0 if sequential else chances.failed,
            false_rollback=self._config.alpha if sequential else chances.rolled_back,
            requests=first.requests,
            users_per_hour=users,
            copying=stage,
        )

    def _with(self, load: Load, errors: float) -> list[tuple[Limit, float]]:
        return [(limit, errors if limit.slow_ms is None else load.slower(limit.slow_ms)) for limit in self._checks]

    def _copying(self, load: Load) -> float | None:
        """Seconds of copies before the first user."""
        if not self.copied or (self.deadline is not None and load.traffic <= 0):
            return None
        if self.deadline is None:
            return self._analysis.interval_seconds
        about = {"traffic": load.traffic, "error_rate": load.errors, "phi": self._phi, "spacing": self._spacing}
        return copying(self._config, copied=self.copied, slow_share=load.tail, **about).seconds

    def _by_evidence(self, number: int, load: Load, stage: float) -> tuple[float | None, int | None]:
        """How long until health is shown, along the week; and the maxExcessPerHour that would show it in time, when this does not.

        Only what comes after `stage` seconds of copies counts.
        """
        if load.traffic <= 0:
            return None, None
        config = after_copies(self._config, stage) if stage else self._config
        need = promotion(config, traffic=load.traffic, error_rate=load.errors, slow_share=load.tail, phi=self._phi)
        if need.requests is None:
            return None, need.users_per_hour
        left, seconds = float(need.requests), stage
        while seconds < SLOTS * HOUR:
            at = int(seconds // HOUR)
            there, until = self._loads.get((number + at) % SLOTS), (at + 1) * HOUR
            rate = 0.0 if there is None else there.traffic * self._config.compared_weight / 100
            if rate * (until - seconds) >= left:
                return max(seconds + left / rate, stage + _MINUTE, self._config.min_duration), need.users_per_hour
            left -= rate * (until - seconds)
            seconds = until
        return None, need.users_per_hour

    def _detectable(self, load: Load, *, by_luck: float) -> float | None:
        if load.traffic <= 0:
            return None
        by_checks = None if by_luck > _LUCK else _smallest(lambda excess: self._caught(load, load.errors + excess), 1 - load.errors)
        if self._analysis.judge is Judge.THRESHOLD:
            return by_checks
        by_evidence = _smallest(lambda excess: self._shown(load, load.errors + excess), 1 - load.errors)
        if self._analysis.judge is Judge.SEQUENTIAL or by_checks is None:
            return by_evidence
        return by_checks if by_evidence is None else min(by_checks, by_evidence)

    def _caught(self, load: Load, errors: float) -> bool:
        found = expected(self._analysis, self._with(load, errors), traffic=load.traffic, spacing=self._spacing)
        return found.rolled_back >= _SURE

    def _shown(self, load: Load, errors: float) -> bool:
        """Whether evidence takes a version back within the run, half-way up the schedule."""
        weight = min(self._weights[len(self._weights) // 2], self._config.compared_weight)
        found = detection(self._config, rate=errors, traffic=load.traffic, error_rate=load.errors, weight=weight, spacing=self._spacing)
        longest = (
            self._config.max_duration if self._analysis.judge is Judge.SEQUENTIAL else len(self._weights) * self._analysis.interval_seconds
        )
        return (found is not None and found.seconds <= longest) or self._shown_on_copies(load, errors)

    def _shown_on_copies(self, load: Load, errors: float) -> bool:
        """Whether it takes it back before users meet it."""
        stage = self._copying(load)
        if stage is None:
            return False
        about = {"traffic": load.traffic, "error_rate": load.errors, "spacing": self._spacing}
        found = detection(self._config, rate=errors, weight=0, copied=self.copied, **about)
        return found is not None and found.seconds <= stage

    def good(self, slots: Sequence[Slot]) -> list[Slot]:
        """Slots in which an analysis ends in time, does not take back healthy versions, and sees nearly as much as in the best one."""
        deadline = self.deadline
        known = [slot for slot in slots if slot.seconds is not None and slot.detectable is not None]
        fair = [slot for slot in known if slot.false_rollback <= RARE and (deadline is None or (slot.seconds or 0) <= deadline)]
        best = min((slot.detectable or 1.0 for slot in fair), default=0.0)
        return [slot for slot in fair if (slot.detectable or 1.0) <= 2 * best]

    @property
    def analysis(self) -> Analysis:
        return self._analysis


def _smallest(seen: Callable[[float], bool], most: float) -> float | None:
    """The smallest excess that is seen, to about 5 %, between one in ten thousand and everything."""
    low, high = math.log(_LEAST_EXCESS), math.log(max(most - 1e-9, 2 * _LEAST_EXCESS))
    if not seen(math.exp(high)):
        return None
    for _ in range(_HALVINGS):
        if high - low < 0.05:
            break
        middle = (low + high) / 2
        if seen(math.exp(middle)):
            high = middle
        else:
            low = middle
    return math.exp(high)


def windows(slots: Sequence[Slot]) -> list[str]:
    """`Mon-Fri 08:00-20:00`: hours that follow one another, and days that have the same ones."""
    by_day: dict[int, tuple[tuple[int, int], ...]] = {}
    for day in range(7):
        hours = sorted(slot.number % 24 for slot in slots if slot.number // 24 == day)
        if hours:
            by_day[day] = _stretches(hours)
    said, day = [], 0
    while day < 7:
        until = day
        while until + 1 < 7 and by_day.get(until + 1) == by_day.get(day):
            until += 1
        if day in by_day:
            days = DAYS[day] if until == day else f"{DAYS[day]}-{DAYS[until]}"
            said.append(f"{days} " + ", ".join(f"{begin:02d}:00-{end:02d}:00" for begin, end in by_day[day]))
        day = until + 1
    return said


def _stretches(hours: Sequence[int]) -> tuple[tuple[int, int], ...]:
    found: list[tuple[int, int]] = []
    for hour in hours:
        if found and found[-1][1] == hour:
            found[-1] = (found[-1][0], hour + 1)
        else:
            found.append((hour, hour + 1))
    return tuple(found)
