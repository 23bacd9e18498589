"""Pairs of counters that a MetricTemplate has for a judge by evidence: everything that a version did, and the bad part of it.

Asked for as the mesh's own counters are (`arms`), and in the same look. Only selectors are taken, no expressions: of a sum or a rate nobody
knows any more which process restarted, and how many there were.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Final

from canary.api.analysis import Metric
from canary.api.canary import Canary
from canary.api.metrictemplate import MetricTemplate, MetricTemplateSpec
from canary.core.arms import ArmQueries, ArmSeries
from canary.core.counted import Counters, past
from canary.core.errors import CanaryError
from canary.core.judge import Sample as Scrape
from canary.core.judge import Tick
from canary.core.judge.counters import Side
from canary.core.paired import ALL, BAD, whole_of
from canary.metrics.arms import Ask, affordable, count, points_of, process_of, reached, told, window
from canary.metrics.gotemplate import TemplateError

MOST: Final = 3
"""Pairs of one canary: the judge remembers each in the status, which is small."""
SIDES: Final[tuple[Side, ...]] = ("canary", "primary")
_ANY: Final = ArmQueries(ArmSeries("", ""), ArmSeries("", ""), code="")
"""Tells processes apart by the same labels as those of a mesh."""


def arm_of(side: Side, *, baseline: bool) -> str:
    """Which version a side's variables name: where a baseline runs, the old version on the side of the primary is that one."""
    return "baseline" if baseline and side == "primary" else side


def templates(canary: Canary, find: Callable[[Metric], MetricTemplate]) -> dict[str, MetricTemplate]:
    """Those that have a pair, by the name of their metric. One that is not found, or is informational, has none: its check says so."""
    found: dict[str, MetricTemplate] = {}
    for metric in canary.spec.analysis.metrics:
        if metric.template_ref is None or metric.informational:
            continue
        try:
            template = find(metric)
        except CanaryError:
            continue
        if template.spec.paired:
            found[metric.name] = template
    return found


async def counters(asks: Mapping[Side, Ask], spec: MetricTemplateSpec, *, at: float, since: float) -> Counters:
    """What both versions counted since then, as `arms.counters`; the classes are those of `canary.core.paired`."""
    try:
        found = await asyncio.gather(*(_scrapes(asks[side], side, spec, at=at, reach=reached(at, since)) for side in SIDES))
    except (CanaryError, TemplateError, ValueError) as error:
        return Counters(at, error=told(error))
    return Counters(at, tuple(scrape for scrapes in found for scrape in scrapes))


async def history(asks: Mapping[Side, Ask], spec: MetricTemplateSpec, *, at: float) -> tuple[Tick, ...]:
    """The primary's last hour; nothing when it cannot be had, which the looks will say."""
    ask = asks["primary"]
    try:
        points = sum(await asyncio.gather(*(count(ask, one, at) for one in (spec.total, spec.bad))))
        if not (reach := affordable(points)):
            return ()
        ticks = past(await _scrapes(ask, "primary", spec, at=at, reach=reach))
        return tuple(replace(tick, primary=whole_of(tick.primary)) for tick in ticks)
    except (CanaryError, TemplateError, ValueError):
        return ()


async def _scrapes(ask: Ask, side: Side, spec: MetricTemplateSpec, *, at: float, reach: float) -> list[Scrape]:
    answers = await asyncio.gather(*(ask(f"{text.strip()}[{window(reach)}]", at) for text in (spec.total, spec.bad)))
    rows: defaultdict[tuple[str, str, float], defaultdict[str, float]] = defaultdict(lambda: defaultdict(float))
    for name, answer in zip((ALL, BAD), answers, strict=True):
        for labels, ts, value in points_of(answer):
            rows[(*process_of(labels, _ANY), ts)][name] += value
    return [Scrape(side, pod, ts, row, replica=replica) for (pod, replica, ts), row in rows.items()]
