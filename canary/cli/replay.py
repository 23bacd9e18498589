"""`canary replay`: a run of the past through the judge and the checks of today, from what Prometheus still has."""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Protocol

import click

from canary.cli.exits import NO, OK, UNDECIDED
from canary.cli.forecasting import Manifest, Progress, Server, mesh_option, queries_of, read_manifest, server_option, set_option
from canary.cli.forecasting import required_manifest_option as manifest_option
from canary.core.errors import CanaryError, NotFound, Rejected

if TYPE_CHECKING:
    from rich.console import Console

    from canary.api.analysis import Metric
    from canary.core.counted import Counters
    from canary.core.forecast.replay import Check, Look, Replay, Stepped, Weights
    from canary.core.judge import Sample as Scrape
    from canary.routers.base import Router

CHUNK = 540.0
"""Seconds of raw counters that one question asks for; the operator's own questions reach back ten minutes at most."""
LONGEST_DAYS = 7.0
_CODES = {"promote": OK, "rollback": NO}
_COLOURS = {"promote": "green", "rollback": "bold red", "hold": "yellow", "inconclusive": "yellow", "failed": "red"}
_AGO = re.compile(r"(?:now)?-(.+)")


def moment(text: str, name: str, now: float) -> float:
    """Unix seconds from a time with its zone, Unix seconds, `now`, or `-2h`. Raises UsageError."""
    from canary.api.common import parse_duration

    if text == "now":
        return now
    if ago := _AGO.fullmatch(text):
        try:
            return now - parse_duration(ago[1])
        except ValueError as error:
            raise click.UsageError(f"{name}: {error}") from error
    try:
        found = datetime.fromtimestamp(float(text), UTC) if re.fullmatch(r"\d+(\.\d+)?", text) else datetime.fromisoformat(text)
    except (ValueError, OverflowError) as error:
        raise click.UsageError(f"{name} {text!r} is no time; write it like 2027-01-18T09:00:00Z, or -2h") from error
    if found.tzinfo is None:
        raise click.UsageError(f"{name} {text!r} has no time zone; write it like 2027-01-18T09:00:00Z")
    return found.timestamp()


@click.command()
@manifest_option
@server_option
@click.option("--from", "first", required=True, metavar="TIME", help="Where to begin: 2027-01-18T09:00:00Z, Unix seconds, or -2h.")
@click.option("--to", "last", default="now", show_default=True, metavar="TIME", help="Where to end.")
@click.option(
    "--weights", default="", metavar="LIST",
    help="The canary's weights: 5,10,20 (an interval each, from --from), or 0s=5,10m=20. [default: flagger_canary_weight of the same Prometheus]",
)  # fmt: skip
@mesh_option
@set_option
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line, ending with a summary.")
def replay(**flags: Any) -> None:
    """Judge a run of the past again, tick by tick, as the manifest says today.

    Raw counters of both versions, and the checks' queries, are asked as the operator asks them. Each line shows what the evidence said, each step what
    counted checks would have done. The weights are those that were. The exit code is 0 when the manifest's judge would have promoted the version, 1
    when it would have taken it back, and 3 when it would not have decided.
    """
    now = time.time()
    first, last = moment(flags["first"], "--from", now), min(now, moment(flags["last"], "--to", now))
    if not first < last <= first + LONGEST_DAYS * 86400:
        raise click.UsageError(f"--to must be after --from, and at most {LONGEST_DAYS:g} days")
    manifest = read_manifest(flags["manifest"], flags["settings"], mesh=flags["mesh_provider"])
    view = _Json() if flags["as_json"] else _Text()
    click.get_current_context().exit(asyncio.run(_replay(manifest, flags, (first, last), view)))


async def _replay(manifest: Manifest, flags: Mapping[str, Any], between: tuple[float, float], view: _View) -> int:
    from canary.core.forecast.counted import require_weights

    require_weights(manifest.canary.spec.analysis)
    router = queries_of(manifest.canary, flags["mesh_provider"])
    async with Server(flags["metrics_server"], manifest.canary) as server:
        weights = _listed(flags["weights"], manifest, between) if flags["weights"] else await _recorded(server, manifest, between)
        run = weights.run(*between)
        if run is None:
            raise NotFound(
                f"the weight of {manifest.name} was 0 all the time: no release to replay",
                hint="choose another time with --from and --to, or give the weights with --weights",
            )
        past = _Past(server, manifest, router, run)
        replayed = await past.begun()
        view.head(manifest, flags["metrics_server"], replayed, run)
        async for event in past.events(replayed, weights):
            view.show(event)
    view.end(replayed)
    return _CODES.get(replayed.own.verdict, UNDECIDED) if replayed.own else UNDECIDED


def _listed(text: str, manifest: Manifest, between: tuple[float, float]) -> Weights:
    """Weights of the command line."""
    from canary.api.common import parse_duration
    from canary.core.forecast.replay import Weights

    points = []
    for number, part in enumerate(text.split(",")):
        after, equals, weight = part.strip().rpartition("=")
        try:
            offset = parse_duration(after) if equals else number * manifest.canary.spec.analysis.interval_seconds
            points.append((between[0] + offset, int(weight)))
        except ValueError as error:
            raise click.UsageError(f"--weights: {part!r} is neither a percentage nor a time and a percentage, such as 10m=20") from error
    if any(not 0 <= weight <= 100 for _, weight in points) or points != sorted(points, key=lambda point: point[0]):
        raise click.UsageError(f"--weights {text!r}: percentages between 0 and 100, in the order of time, are needed")
    return Weights(tuple(points))


async def _recorded(server: Server, manifest: Manifest, between: tuple[float, float]) -> Weights:
    """Weights as the operator exported them. Raises NotFound when it did not."""
    from canary.core.forecast.replay import Weights

    spec, namespace = manifest.canary.spec, manifest.canary.metadata.namespace
    window = f"[{round((between[1] - between[0]) * 1000)}ms]"
    for label in ("namespace", "exported_namespace"):
        found = await server.series(f'flagger_canary_weight{{workload="{spec.target_ref.name}",{label}="{namespace}"}}{window}', between[1])
        points = sorted((float(ts), round(float(value))) for one in found for ts, value in one.get("values", ()))
        if points:
            changes = [
                point
                for at, point in enumerate(points)
                if at in (0, len(points) - 1) or points[at + 1][1] != point[1] or points[at - 1][1] != point[1]
            ]
            return Weights(tuple(changes))
    raise NotFound(
        f"the metrics server has no flagger_canary_weight of {manifest.name} in this time",
        hint="the operator's /metrics must be scraped; or give the weights with --weights",
    )


class _Past:
    """What Prometheus still has of one run, asked a stretch at a time."""

    def __init__(self, server: Server, manifest: Manifest, router: Router, run: tuple[float, float]) -> None:
        self._server, self._manifest, self._router = server, manifest, router
        self._began, self._ended = run
        self._scrapes: dict[tuple[str, str, float], Scrape] = {}
        self._known = 0.0
        self._progress = Progress()

    async def begun(self) -> Replay:
        """The run before its first look. Raises what the first questions raise."""
        from canary.core.counted import FIRST_WINDOW
        from canary.core.forecast.replay import Replay
        from canary.metrics import arms

        assert self._router.arm_queries is not None
        history = await arms.history(self._server.series, self._router.arm_queries, at=self._began)
        if history.error:
            raise self._server.lost or Rejected(f"the primary's past cannot be had: {history.error}")
        replayed = Replay(self._manifest.canary.spec.analysis, self._began, history)
        self._known = self._began - FIRST_WINDOW
        replayed.anchor(await self._counters(self._began, self._known))
        return replayed

    async def events(self, replayed: Replay, weights: Weights) -> AsyncIterator[Look | Stepped]:
        """Looks and steps, in the order of time, until the run ended or both judges have decided."""
        interval = self._manifest.canary.spec.analysis.interval_seconds
        look, step = self._began + replayed.spacing, self._began + interval
        while min(look, step) <= self._ended and not replayed.over:
            now = min(look, step)
            if look <= now:
                look += replayed.spacing
                counters = await self._counters(now, replayed.since(now))
                if replayed.own is None and (seen := replayed.look(counters, weights.at(now))) is not None:
                    yield seen
            if step <= now:
                step += interval
                if not replayed.stepping:
                    continue
                yield replayed.step(now, await self._checks(now), weights.at(now))
        self._progress.clear()

    async def _counters(self, at: float, since: float) -> Counters:
        """What the operator would have got at this moment."""
        from canary.core.counted import Counters
        from canary.metrics import arms

        assert self._router.arm_queries is not None
        while self._known < at:
            upto = min(self._known + CHUNK, max(at, self._ended))
            self._progress.show(f"asking for {upto - self._began:.0f} of {self._ended - self._began:.0f} s")
            found = await arms.counters(self._server.series, self._router.arm_queries, at=upto, since=self._known)
            self._progress.clear()
            if found.error:
                raise self._server.lost or Rejected(f"the counters cannot be had: {found.error}")
            self._scrapes |= {(one.arm, one.pod, one.ts): one for one in found.scrapes}
            self._known = upto
        self._scrapes = {key: one for key, one in self._scrapes.items() if one.ts > at - 2 * CHUNK}
        return Counters(at, tuple(one for one in self._scrapes.values() if since < one.ts <= at))

    async def _checks(self, at: float) -> list[Check]:
        found = await asyncio.gather(*(self._check(metric, at) for metric in self._manifest.canary.spec.analysis.metrics))
        return [check for checks in found for check in checks]

    async def _check(self, metric: Metric, at: float) -> list[Check]:
        """The checks of one metric: its built-in query, and those that its author wrote."""
        from canary.core.forecast.replay import Check
        from canary.core.model import MetricSource
        from canary.core.verdicts import judge

        assert self._router.arm_queries is not None
        found = []
        unit = self._router.duration_unit_ms if metric.name == "request-duration" else 1.0
        if metric.builtin:
            mine = await self._sample(metric, self._router.builtin_queries[metric.name], at, unit)
            theirs = await self._sample(metric, self._router.arm_queries.checks[metric.name], at, unit)
            primary = judge(metric, MetricSource.BUILTIN, theirs)
            found.append(Check(metric, judge(metric, MetricSource.BUILTIN, mine), mine.value, primary))
        if metric.query:
            sample = await self._sample(metric, metric.query, at, 1.0)
            found.append(Check(metric, judge(metric, MetricSource.QUERY, sample), sample.value))
        if template := self._template(metric):
            sample = await self._sample(metric, template, at, 1.0)
            found.append(Check(metric, judge(metric, MetricSource.TEMPLATE, sample), sample.value))
        return found

    def _template(self, metric: Metric) -> str:
        """The query of a MetricTemplate in the same file that asks a Prometheus; empty for others, which are taken to agree."""
        if metric.template_ref is None:
            return ""
        key = (metric.template_ref.namespace or self._manifest.canary.metadata.namespace, metric.template_ref.name)
        template = self._manifest.templates.get(key)
        return template.spec.query if template is not None and template.spec.provider.type == "prometheus" else ""

    async def _sample(self, metric: Metric, template: str, at: float, unit: float) -> Any:
        from dataclasses import replace

        from canary.core.model import Sample
        from canary.metrics.base import Unreachable
        from canary.metrics.gotemplate import TemplateError
        from canary.metrics.prometheus import picked

        try:
            variables = metric.template_variables
            sample = picked(await self._server.rendered(template, at, interval=metric.interval_effective, variables=variables), template)
        except Unreachable:
            raise
        except (CanaryError, TemplateError) as error:
            return Sample(error=str(error), query=template)
        return sample if sample.value is None else replace(sample, value=sample.value * unit)


# ---------------------------------------------------------------------------------------------------- what people see


class _View(Protocol):
    """Where events go."""

    def head(self, manifest: Manifest, server: str, replayed: Replay, run: tuple[float, float]) -> None:
        """Say what is replayed."""
        ...

    def show(self, event: Look | Stepped) -> None:
        """Show one event."""
        ...

    def end(self, replayed: Replay) -> None:
        """Show the summary."""
        ...


class _Json:
    """One object a line."""

    def head(self, manifest: Manifest, server: str, replayed: Replay, run: tuple[float, float]) -> None:
        head = {"event": "run", "canary": manifest.name, "metricsServer": server, "from": run[0], "to": run[1]}
        click.echo(json.dumps(head | {"lookSeconds": replayed.spacing, "pastTicks": len(replayed.past.ticks)}))

    def show(self, event: Look | Stepped) -> None:
        click.echo(json.dumps(event.to_dict()))

    def end(self, replayed: Replay) -> None:
        click.echo(json.dumps(replayed.to_dict()))


class _Text:
    """A line for each event, and plots at the end. rich colours them on a terminal, and only there."""

    def __init__(self) -> None:
        self._console: Console | None = None
        self._looks: list[Look] = []

    def _print(self, text: str, style: str = "") -> None:
        if self._console is None:
            from rich.console import Console

            self._console = Console(highlight=False, soft_wrap=True, markup=False)
        self._console.print(text, style=style or None)

    def head(self, manifest: Manifest, server: str, replayed: Replay, run: tuple[float, float]) -> None:
        from canary.core.forecast.words import minutes

        self._print(
            f"{manifest.name} from {_utc(run[0])} for {minutes(run[1] - run[0])}, judge: {replayed.analysis.judge.value}, asked of {server}"
        )
        self._print(
            f"The primary's past has {len(replayed.past.ticks)} ticks; a look each {replayed.spacing:g} s, a step each {replayed.analysis.interval_seconds:g} s."
        )
        bound = 1 / replayed.alpha
        self._print(
            f"'against' is what all metrics say together, and takes back at {bound:.0f}; 'for' is what the least convincing one says.\n"
        )

    def show(self, event: Look | Stepped) -> None:
        from canary.core.forecast.replay import Look

        if isinstance(event, Look):
            self._looks.append(event)
            arms = f"canary {_ratio(event.canary):>16}  primary {_ratio(event.primary):>18}"
            evidence = f"against {_number(event.against):>7}  for {_number(event.favour):>7}"
            text = f"{_utc(event.moment)[11:19]}  {event.weight:3d} %  {arms}  {evidence}  {event.decision.verdict}"
            self._print(text, _COLOURS.get(event.decision.verdict, ""))
            return
        checks = ", ".join(one.text for one in event.checks) or "no checks"
        text = f"{_utc(event.moment)[11:19]}  step: {checks}; threshold: {event.threshold.value} ({event.failed} of {event.limit} failed)"
        self._print(text, _COLOURS.get(event.threshold.value, "dim"))

    def end(self, replayed: Replay) -> None:
        from canary.core.forecast.words import minutes

        self._print("")
        for line in plots(self._looks, replayed.alpha, width=60):
            self._print(line)
        verdict = replayed.own.verdict if replayed.own else "undecided"
        after = f" after {minutes(replayed.own.elapsed)}" if replayed.own else ""
        reason = replayed.own.reason if replayed.own else replayed.undecided()
        self._print(f"\n{replayed.analysis.judge.value}: {verdict}{after}. {reason}", _COLOURS.get(verdict, "yellow"))
        if replayed.analysis.judge.value != "threshold":
            end = replayed.threshold
            text = f"{end.verdict} after {minutes(end.elapsed)}: {end.reason}" if end else "no verdict"
            self._print(f"threshold would have come to: {text}.")


def plots(looks: Sequence[Look], alpha: float, *, width: int) -> list[str]:
    """Weight, failures of both versions and evidence over the run, each in one line."""
    import math

    from canary.core.forecast.words import percent, spark, squeezed

    if not looks:
        return []
    shares = {name: [_share(getattr(look, name)) for look in looks] for name in ("canary", "primary")}
    highest = max((value for values in shares.values() for value in values if value is not None), default=0.0)
    bound = math.log10(1 / alpha)
    evidence = [max(0.0, math.log10(max(1e-9, look.against))) for look in looks]
    rows: list[tuple[str, Sequence[float | None], float, str]] = [
        ("weight", [float(look.weight) for look in looks], 100.0, f"{looks[-1].weight} %"),
        ("canary failing", shares["canary"], highest, f"top {percent(highest)}"),
        ("primary failing", shares["primary"], highest, f"top {percent(highest)}"),
        ("evidence against", evidence, bound, f"top {1 / alpha:.0f}"),
    ]
    return [f"{name:<17}{spark(squeezed(values, width), top=top)}  {text}" for name, values, top, text in rows]


def _share(arm: Any) -> float | None:
    return None if arm is None or not arm.total else arm.errors / arm.total


def _ratio(arm: Any) -> str:
    if arm is None:
        return "no news"
    share = _share(arm)
    return f"{arm.errors}/{arm.total}" + ("" if share is None else f" ({100 * share:.2g} %)")


def _number(value: float) -> str:
    return f"{value:.2g}" if value < 10 else f"{value:.0f}" if value < 1e6 else f"{value:.0e}"


def _utc(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
