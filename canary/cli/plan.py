"""`canary plan`: when to release, and with what, from the real traffic of the last weeks."""

from __future__ import annotations

import asyncio
import json
import math
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, tzinfo
from typing import TYPE_CHECKING, Any

import click

from canary.cli.forecasting import Manifest, Progress, Server, mesh_option, queries_of, read_manifest, server_option, set_option
from canary.cli.forecasting import required_manifest_option as manifest_option
from canary.core.errors import CanaryError, NotFound

if TYPE_CHECKING:
    from canary.core.arms import ArmQueries
    from canary.core.counted import Past
    from canary.core.forecast.week import Hour, Slot, Week

DAY, HOUR = 86400.0, 3600.0
_SCRAPE = 15.0


@click.command()
@manifest_option
@server_option
@click.option("--weeks", default=2, show_default=True, type=click.IntRange(1, 12), help="How many weeks of the past to look at.")
@click.option(
    "--timezone", "zone", default="UTC", show_default=True, metavar="NAME", help="Time zone of the answer, such as Europe/Berlin."
)
@mesh_option
@set_option
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
def plan(**flags: Any) -> None:
    """Tell how long this analysis takes in each hour of the week, what it can see, and when to release.

    The primary's requests, failures and latency of the last weeks are asked by the hour. Nothing is changed.
    """
    zone = _zone(flags["zone"])
    manifest = read_manifest(flags["manifest"], flags["settings"], mesh=flags["mesh_provider"])
    hours, past = asyncio.run(_asked(manifest, flags))
    week, slots = _planned(manifest, hours, past, zone)
    if flags["as_json"]:
        click.echo(json.dumps(_data(manifest, week, slots, hours), indent=1))
    else:
        _show(manifest, week, slots, hours, flags["zone"])


def _zone(name: str) -> tzinfo:
    from zoneinfo import ZoneInfo

    if name == "UTC":
        return UTC
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError) as error:
        raise click.UsageError(f"--timezone {name!r} is not known; write it like Europe/Berlin") from error


async def _asked(manifest: Manifest, flags: Mapping[str, Any]) -> tuple[list[Hour], Past]:
    """The hours of the last weeks, and the last hour tick by tick."""
    from canary.core.forecast.counted import require_weights
    from canary.metrics import arms

    require_weights(manifest.canary.spec.analysis)
    queries = queries_of(manifest.canary, flags["mesh_provider"]).arm_queries
    assert queries is not None  # else it was refused
    now = time.time()
    last = now - now % HOUR
    progress, days = Progress(), 7 * flags["weeks"]
    async with Server(flags["metrics_server"], manifest.canary) as server:
        hours: dict[float, Hour] = {}
        for day in range(days):
            progress.show(f"day {day + 1} of {days}")
            hours |= await _day(server, queries, last - day * DAY)
        progress.clear()
        if not any(hour.requests for hour in hours.values()):
            raise NotFound(
                f"the metrics server has no requests of the primary of {manifest.name} in the last {flags['weeks']} weeks",
                hint="check --mesh-provider and the Canary's names: the counters are those of its Services",
            )
        return [hours[began] for began in sorted(hours)], await arms.history(server.series, queries, at=now)


async def _day(server: Server, queries: ArmQueries, at: float) -> dict[float, Hour]:
    """The 24 hours before `at`, which is a full hour, by when they began."""
    from canary.core.forecast.week import Hour
    from canary.metrics.gotemplate import TemplateError

    primary, beside = queries.primary, [queries.canary, *([queries.baseline] if queries.baseline else [])]
    asked = (
        f"sum by ({queries.code}) (increase({primary.requests}[1h]))[24h:1h]",
        f"sum by (le) (increase({primary.buckets}[1h]))[24h:1h]",
        *(f"sum(increase({one.requests}[1h]))[24h:1h]" for one in beside),
    )
    try:
        requests, buckets, *others = await asyncio.gather(*(server.series(text, at) for text in asked))
    except TemplateError as error:
        raise CanaryError(str(error)) from error
    total: dict[float, float] = {}
    failed: dict[float, float] = {}
    slow: dict[float, dict[float, float]] = {}
    for labels, ended, value in _points(requests):
        total[ended] = total.get(ended, 0.0) + value
        if labels.get(queries.code, "").startswith("5"):
            failed[ended] = failed.get(ended, 0.0) + value
    for labels, ended, value in _points(buckets):
        slow.setdefault(ended, {})[float(labels.get("le", "inf")) * queries.unit_ms] = value
    more: dict[float, float] = {}
    for _, ended, value in _points([series for answer in others for series in answer]):
        more[ended] = more.get(ended, 0.0) + value
    return {
        ended - HOUR: Hour(ended - HOUR, value + more.get(ended, 0.0), value, failed.get(ended, 0.0), slow.get(ended, {}))
        for ended, value in total.items()
    }


def _points(series: Sequence[Any]) -> list[tuple[Mapping[str, str], float, float]]:
    """Labels, time and value; what is no number is left out."""
    found = [(one.get("metric") or {}, float(ts), float(value)) for one in series for ts, value in one.get("values", ())]
    return [point for point in found if math.isfinite(point[2])]


def _planned(manifest: Manifest, hours: Sequence[Hour], past: Past, zone: tzinfo) -> tuple[Week, list[Slot]]:
    from itertools import pairwise
    from statistics import median

    from canary.core.forecast.week import Week, loads
    from canary.core.judge.baseline import Dispersion

    gaps = [later.ts - earlier.ts for earlier, later in pairwise(past.ticks)]
    spacing = median(gaps) if gaps else _SCRAPE
    bursts = Dispersion()
    for tick in past.ticks:
        if tick.primary is not None:
            bursts.add(tick.primary.total, tick.primary.errors, spacing)
    week = Week(manifest.canary.spec.analysis, loads(hours, zone), spacing=spacing, phi=bursts.cautious)
    return week, week.slots()


# ---------------------------------------------------------------------------------------------------- what people see


def _data(manifest: Manifest, week: Week, slots: Sequence[Slot], hours: Sequence[Hour]) -> dict[str, Any]:
    from canary.core.forecast.week import windows

    good = week.good(slots)
    return {
        "canary": manifest.name,
        "judge": manifest.canary.spec.analysis.judge.value,
        "hours": len(hours),
        "deadlineSeconds": week.deadline,
        "copied": week.copied,
        "baseline": manifest.canary.spec.analysis.baseline.value,
        "slots": [slot.to_dict() for slot in slots],
        "good": [slot.name for slot in good],
        "windows": windows(good),
        "advice": advice(week, slots),
    }


def _show(manifest: Manifest, week: Week, slots: Sequence[Slot], hours: Sequence[Hour], zone: str) -> None:
    from canary.api.sequential import Baseline
    from canary.core.forecast.week import DAYS, RARE, windows
    from canary.core.forecast.words import columns, count, minutes, percent

    judge = manifest.canary.spec.analysis.judge.value
    busiest, quietest = max(slots, key=lambda slot: slot.traffic), min(slots, key=lambda slot: slot.traffic)
    click.echo(f"{manifest.name}: {len(hours)} hours of the past, judge: {judge}")
    for name, slot in (("busiest", busiest), ("quietest", quietest)):
        sees = "nothing" if slot.detectable is None else f"+{percent(slot.detectable)} failures"
        click.echo(f"{name} hour {slot.name}: {count(slot.traffic)} requests/s, {percent(slot.errors)} fail; an analysis sees {sees}")
    if busiest.copying is not None and quietest.copying is not None:
        stages = f"{minutes(busiest.copying)} in the busiest hour, {minutes(quietest.copying)} in the quietest"
        click.echo(f"Copies of requests come before users: {stages}. The times below include that.")
    elif manifest.uncopied:
        click.echo(f"Not planned for: {manifest.uncopied}.")
    if manifest.canary.spec.analysis.baseline is Baseline.FRESH:
        click.echo("Compared with a fresh baseline, which gets as many requests as the canary.")
    click.echo(f"\nHow long an analysis takes that begins at this hour ({zone}; * is a good time, ! takes healthy versions back):")
    known, good = {slot.number: slot for slot in slots}, {slot.number for slot in week.good(slots)}
    rows = []
    for hour in range(24):
        cells = []
        for day in range(7):
            found = known.get(day * 24 + hour)
            text = "-" if found is None else "> 7 days" if found.seconds is None else minutes(found.seconds)
            cells.append(text + ("*" if day * 24 + hour in good else "!" if found is not None and found.false_rollback > RARE else " "))
        rows.append((f"{hour:02d}:00", *cells))
    click.echo("\n".join(columns(("", *(f"{day} " for day in DAYS)), rows)))
    said = windows(week.good(slots))
    click.echo(f"\nRelease {'; '.join(said)}." if said else "\nThere is no good time for this analysis.")
    for sentence in advice(week, slots):
        click.echo(f"- {sentence}")


def advice(week: Week, slots: Sequence[Slot]) -> list[str]:
    """What is wrong with this analysis for this traffic, in sentences."""
    from canary.core.forecast.chances import independent
    from canary.core.forecast.week import SLOTS
    from canary.core.forecast.words import duration, minutes, percent

    said = []
    if len(slots) < SLOTS:
        said.append(f"Only {len(slots)} of the week's {SLOTS} hours are known: the metrics server has no more of the past.")
    worst = max(slots, key=lambda slot: slot.false_failures)
    if worst.false_failures >= 1:
        cause = (
            "its checks often see no request"
            if worst.requests < 3
            else f"{percent(worst.errors)} of requests fail anyway, which is close to the bound"
        )
        text = f"Healthy versions fail {worst.false_failures:.1f} checks a run at {worst.name}, and {percent(worst.false_rollback)} are rolled back: {cause}."
        said.append(f"{text} `canary simulate` with this traffic tells what helps.")
    if week.deadline is None and not independent(week.analysis):
        said.append("Checks look back longer than a step takes, so they fail together: chances and times of this table are estimates.")
    deadline = week.deadline
    late = [slot for slot in slots if deadline is not None and (slot.seconds is None or slot.seconds > deadline)]
    if late and deadline is not None:
        text = f"In {len(late)} of {len(slots)} hours of the week health cannot be shown within maxDuration ({minutes(deadline)})"
        known = sorted(slot.seconds for slot in slots if slot.seconds is not None)
        users = [slot.users_per_hour for slot in late if slot.users_per_hour is not None]
        more = 1.3 if week.copied == 0 else 1.4  # a longer deadline may make copies longer, too
        options = [f"maxDuration: {duration(more * known[-1])} would do for all of them"] if len(known) == len(slots) else []
        options += [f"maxExcessPerHour: {max(users)} would do for all of them"] if len(users) == len(late) else []
        said.append(f"{text}; {'; '.join(options)}." if options else f"{text}; send load, or widen the margin.")
    return said
