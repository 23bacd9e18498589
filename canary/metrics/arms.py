"""Raw counters of both versions, as scraped: what evidence is made of.

Range selectors in instant queries, because they alone give every scrape with its own time; all of one look have the same evaluation time.
What cannot be had is an error in the answer, never an exception: a judge without data holds, it does not fall.
"""

from __future__ import annotations

import asyncio
import math
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from canary.core.arms import ArmQueries, ArmSeries
from canary.core.counted import FIRST_WINDOW, LONGEST, PAST, SEPARATOR, Counters, Past, past
from canary.core.errors import CanaryError
from canary.core.judge import Sample as Scrape
from canary.core.judge.counters import Side
from canary.metrics.gotemplate import TemplateError

Ask = Callable[[str, float], Awaitable[list[Any]]]
"""A query template and its evaluation time (Unix, seconds) to all series of the answer. Raises CanaryError, TemplateError."""

MOST_POINTS: Final = 60_000
"""Raw points of the primary's past; where there would be more, less of the past is asked for. Some 3 MB of JSON."""
LEAST_PAST: Final = 300.0
"""Seconds of the past below which it says too little, and is left out."""
_REPLICA: Final = ("prometheus_replica", "__replica__")


async def counters(ask: Ask, queries: ArmQueries, *, at: float, since: float) -> Counters:
    """The scrapes of both versions from `since` (0: none was counted yet) up to `at`. What fails is `Counters.error`."""
    reach = FIRST_WINDOW if since <= 0 else min(LONGEST, max(1.0, at - since + 1))
    sides: tuple[tuple[Side, ArmSeries], ...] = (("canary", queries.canary), ("primary", queries.primary))
    try:
        found = await asyncio.gather(*(_scrapes(ask, queries, side, series, at=at, reach=reach) for side, series in sides))
    except (CanaryError, TemplateError, ValueError) as error:
        return Counters(at, error=_told(error))
    return Counters(at, tuple(scrape for scrapes in found for scrape in scrapes))


async def history(ask: Ask, queries: ArmQueries, *, at: float) -> Past:
    """The primary's last hour, or less of it where it is too much. No data is no error: the primary may be new."""
    try:
        points = await _points(ask, queries.primary, at=at)
        reach = PAST if points <= MOST_POINTS else PAST * MOST_POINTS / points
        if not points or reach < LEAST_PAST:
            return Past()
        scrapes = await _scrapes(ask, queries, "primary", queries.primary, at=at, reach=math.floor(reach))
        return Past(past(scrapes))
    except (CanaryError, TemplateError, ValueError) as error:
        return Past(error=_told(error))


async def _points(ask: Ask, series: ArmSeries, *, at: float) -> float:
    """How many raw points the past has."""
    text = f"[{PAST:.0f}s]))"
    found = await asyncio.gather(*(ask(f"sum(count_over_time({one}{text}", at) for one in (series.requests, series.buckets)))
    return sum(float(answer[0]["value"][1]) for answer in found if answer)


@dataclass(slots=True)
class _Row:
    """One process's counters at one scrape."""

    requests: defaultdict[str, float] = field(default_factory=lambda: defaultdict(float))
    buckets: defaultdict[float, float] = field(default_factory=lambda: defaultdict(float))


async def _scrapes(ask: Ask, queries: ArmQueries, side: Side, series: ArmSeries, *, at: float, reach: float) -> list[Scrape]:
    asked = (f"{series.requests}[{_window(reach)}]", f"{series.buckets}[{_window(reach)}]")
    requests, buckets = await asyncio.gather(*(ask(text, at) for text in asked))
    rows: defaultdict[tuple[str, str, float], _Row] = defaultdict(_Row)
    for labels, ts, value in _points_of(requests):
        rows[(*_process(labels, queries), ts)].requests[_class(labels.get(queries.code, ""))] += value
    for labels, ts, value in _points_of(buckets):
        bound = float(labels.get("le", "inf")) * queries.unit_ms
        rows[(*_process(labels, queries), ts)].buckets[bound] += value
    return [Scrape(side, pod, ts, row.requests, row.buckets, replica=replica) for (pod, replica, ts), row in rows.items()]


def _window(seconds: float) -> str:
    return f"{math.ceil(seconds * 1000)}ms"


def _points_of(result: Sequence[Mapping[str, Any]]) -> Iterable[tuple[Mapping[str, str], float, float]]:
    """Labels, time and value of every point. Raises ValueError when the answer is none of a range selector."""
    for series in result:
        labels = series.get("metric") or {}
        if "values" not in series:
            raise ValueError("the metrics server gave no raw samples for a range selector: it is no Prometheus, or hides them")
        for ts, text in series["values"]:
            value = float(text)
            if math.isfinite(value):
                yield labels, float(ts), value


def _process(labels: Mapping[str, str], queries: ArmQueries) -> tuple[str, str]:
    """Who counted (target, and what else tells series of one target apart), and which replica of Prometheus saw it.

    Whatever is part of the rest restarts by itself: proxies forget single series. The job is none of it, so that a target that two jobs
    scrape is counted once.
    """
    who = next((labels[name] for name in queries.processes if labels.get(name)), "")
    target = "/".join([*(labels[name] for name in queries.scopes if labels.get(name)), who])
    replica = next((labels[name] for name in _REPLICA if labels.get(name)), "")
    left_out = {"__name__", "job", "le", queries.code, *_REPLICA, *queries.processes}
    rest = ",".join(f"{name}={value}" for name, value in sorted(labels.items()) if name not in left_out)
    return f"{target}{SEPARATOR}{rest}", replica


def _class(code: str) -> str:
    """2, 3, 4, 5, or what stands there instead of a status."""
    return code[:1] if code[:1].isdigit() else code


def _told(error: Exception) -> str:
    if isinstance(error, CanaryError):
        return f"{error.message}; {error.hint}" if error.hint else error.message
    return str(error)
