"""Raw counters of both versions, as scraped: what evidence is made of.

Range selectors in instant queries, because they alone give every scrape with its own time; all of one look have the same evaluation time.
What cannot be had is an error in the answer, never an exception: a judge without data holds, it does not fall.

Latency comes from a classic histogram, or from a native one where there is no classic one. To ask for both at once was rejected: where a
server keeps both, that is the same requests twice.
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
from canary.metrics import histograms
from canary.metrics.gotemplate import TemplateError

Ask = Callable[[str, float], Awaitable[list[Any]]]
"""A query template and its evaluation time (Unix, seconds) to all series of the answer. Raises CanaryError, TemplateError."""

MOST_POINTS: Final = 60_000
"""Raw points of the primary's past; where there would be more, less of the past is asked for. Some 3 MB of JSON."""
A_HISTOGRAM: Final = 64
"""Raw points that one sample of a native histogram is taken for: so many buckets of it may have something in them."""
LEAST_PAST: Final = 300.0
"""Seconds of the past below which it says too little, and is left out."""
_REPLICA: Final = ("prometheus_replica", "__replica__")


NO_BASELINE: Final = "this mesh does not count the baseline's requests by themselves"
"""Why there are no counters where they are to be compared with a baseline that has none of its own."""


async def counters(ask: Ask, queries: ArmQueries, *, at: float, since: float, baseline: bool = False) -> Counters:
    """The scrapes of both versions from `since` (0: none was counted yet) up to `at`. What fails is `Counters.error`.

    `baseline`: the old version's are those of the baseline, on the side of the primary, whose own are not asked for.
    """
    reach = reached(at, since)
    old = queries.baseline if baseline else queries.primary
    if old is None:
        return Counters(at, error=NO_BASELINE)
    sides: tuple[tuple[Side, ArmSeries], ...] = (("canary", queries.canary), ("primary", old))
    try:
        found = await asyncio.gather(*(_scrapes(ask, queries, side, series, at=at, reach=reach) for side, series in sides))
    except (CanaryError, TemplateError, ValueError) as error:
        return Counters(at, error=told(error))
    notes = dict.fromkeys(note for _, note in found if note)
    return Counters(at, tuple(scrape for scrapes, _ in found for scrape in scrapes), note="; ".join(notes))


async def history(ask: Ask, queries: ArmQueries, *, at: float) -> Past:
    """The primary's last hour, or less of it where it is too much. No data is no error: the primary may be new."""
    try:
        points = await _points(ask, queries.primary, at=at)
        if not (reach := affordable(points)):
            return Past()
        scrapes, _ = await _scrapes(ask, queries, "primary", queries.primary, at=at, reach=reach)
        return Past(past(scrapes))
    except (CanaryError, TemplateError, ValueError) as error:
        return Past(error=told(error))


def reached(at: float, since: float) -> float:
    """Seconds that a look reaches back, which saw everything up to `since` (0: nothing yet)."""
    return FIRST_WINDOW if since <= 0 else min(LONGEST, max(1.0, at - since + 1))


def affordable(points: float) -> int:
    """Seconds of the past to ask for, if all of it has so many raw points; 0 when it would say too little."""
    reach = PAST if points <= MOST_POINTS else PAST * MOST_POINTS / points
    return math.floor(reach) if points and reach >= LEAST_PAST else 0


async def _points(ask: Ask, series: ArmSeries, *, at: float) -> float:
    """How many raw points the past has."""
    requests, buckets = await asyncio.gather(*(count(ask, one, at) for one in (series.requests, series.buckets)))
    if requests and not buckets and series.native:
        buckets = A_HISTOGRAM * await count(ask, series.native, at)
    return requests + buckets


async def count(ask: Ask, selector: str, at: float) -> float:
    """How many raw points a selector has in the past."""
    answer = await ask(f"sum(count_over_time({selector}[{PAST:.0f}s]))", at)
    return float(answer[0]["value"][1]) if answer else 0.0


@dataclass(slots=True)
class _Row:
    """One process's counters at one scrape."""

    requests: defaultdict[str, float] = field(default_factory=lambda: defaultdict(float))
    buckets: defaultdict[float, float] = field(default_factory=lambda: defaultdict(float))


_Rows = defaultdict[tuple[str, str, float], _Row]
"""By process, replica of Prometheus, and time."""


async def _scrapes(ask: Ask, queries: ArmQueries, side: Side, series: ArmSeries, *, at: float, reach: float) -> tuple[list[Scrape], str]:
    """The scrapes of one version, and why they say nothing about latency, where they should."""
    asked = (f"{series.requests}[{window(reach)}]", f"{series.buckets}[{window(reach)}]")
    requests, buckets = await asyncio.gather(*(ask(text, at) for text in asked))
    rows: _Rows = defaultdict(_Row)
    for labels, ts, value in points_of(requests):
        rows[(*process_of(labels, queries), ts)].requests[_class(labels.get(queries.code, ""))] += value
    if buckets:
        note = _classic(rows, buckets, queries)
    elif requests and series.native:
        note = _native(rows, await ask(f"{series.native}[{window(reach)}]", at), queries)
    else:
        note = ""
    _begin(rows)
    return [Scrape(side, pod, ts, row.requests, row.buckets, replica=replica) for (pod, replica, ts), row in rows.items()], note


def _classic(rows: _Rows, buckets: Sequence[Mapping[str, Any]], queries: ArmQueries) -> str:
    """Add the buckets of a classic histogram; what is wrong with them, if they are none."""
    bounded = [series for series in buckets if "le" in (series.get("metric") or {})]
    for labels, ts, value in points_of(bounded):
        rows[(*process_of(labels, queries), ts)].buckets[float(labels["le"]) * queries.unit_ms] += value
    return "" if bounded else _neither(buckets, "its series have no label le, which would say the bounds of its buckets")


def _native(rows: _Rows, answer: Sequence[Mapping[str, Any]], queries: ArmQueries) -> str:
    """Add the buckets of a native histogram; what is wrong with it, if it is none."""
    samples = [
        (process_of(series.get("metric") or {}, queries), float(ts), histograms.parsed(body))
        for series in answer
        for ts, body in series.get("histograms") or ()
    ]
    bounds = histograms.grid(one for _, _, one in samples)
    for process, ts, one in samples:
        row = rows[(*process, ts)]
        for bound, count in histograms.below(one, bounds).items():
            row.buckets[bound * queries.unit_ms] += count
    return _neither(answer, "its series hold plain numbers, as those of a summary do") if answer and not samples else ""


def _neither(answer: Sequence[Mapping[str, Any]], why: str) -> str:
    name = (answer[0].get("metric") or {}).get("__name__", "what should count durations")
    return f"latency is not compared: {name} is neither a classic nor a native histogram, {why}"


def _begin(rows: _Rows) -> None:
    """Give scrapes without a histogram that of the first one that has it, where it did not begin at zero between the two.

    It holds more than the requests that came meanwhile when a server has just begun to store histograms of another kind: its first
    sample would count all that the process ever did as new. So the requests of one scrape are lost, and none is invented.
    """
    processes: defaultdict[tuple[str, str], list[_Row]] = defaultdict(list)
    for (pod, replica, _), row in sorted(rows.items(), key=lambda item: item[0][2]):
        processes[pod, replica].append(row)
    for seen in processes.values():
        first = next((at for at, row in enumerate(seen) if row.buckets), 0)
        if first and max(seen[first].buckets.values()) > sum(seen[first].requests.values()) - sum(seen[first - 1].requests.values()):
            for row in seen[:first]:
                row.buckets = seen[first].buckets.copy()


def window(seconds: float) -> str:
    """A range in whole milliseconds."""
    return f"{math.ceil(seconds * 1000)}ms"


def points_of(result: Sequence[Mapping[str, Any]]) -> Iterable[tuple[Mapping[str, str], float, float]]:
    """Labels, time and value of every point. Raises ValueError when the answer is none of a range selector."""
    for series in result:
        labels = series.get("metric") or {}
        if "values" not in series and "histograms" in series:
            raise ValueError(f"{labels.get('__name__', 'a counter')} is a native histogram where a counter is needed")
        if "values" not in series:
            raise ValueError("the metrics server gave no raw samples for a range selector: it is no Prometheus, or hides them")
        for ts, text in series["values"]:
            value = float(text)
            if math.isfinite(value):
                yield labels, float(ts), value


def process_of(labels: Mapping[str, str], queries: ArmQueries) -> tuple[str, str]:
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


def told(error: Exception) -> str:
    """What could not be had, with its way out."""
    if isinstance(error, CanaryError):
        return f"{error.message}; {error.hint}" if error.hint else error.message
    return str(error)
