"""`canary replay`: a run of the past through the judge and the checks of today, from what Prometheus still has."""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Protocol

import click

from canary.cli.exits import NO, OK, UNDECIDED
from canary.cli.forecasting import Manifest, Server, mesh_option, queries_of, read_manifest, server_option, set_option
from canary.cli.forecasting import required_manifest_option as manifest_option
from canary.core.errors import NotFound

if TYPE_CHECKING:
    from rich.console import Console

    from canary.core.forecast.replay import Look, Replay, Stepped
    from canary.core.forecast.weights import Weights

COPIES = "copies"
"""In place of a weight: the time in which the canary had copies of requests."""
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
    help="The canary's weights: 5,10,20 (an interval each, from --from), or 0s=5,10m=20; copies stands for a time of mirrored traffic. [default: flagger_canary_weight of the same Prometheus]",
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
    from canary.cli.past import Questions, RunOfThePast, weights_of
    from canary.core.forecast.counted import copied, require_weights

    analysis = manifest.canary.spec.analysis
    require_weights(analysis)
    questions = Questions(manifest, queries_of(manifest.canary, flags["mesh_provider"]))
    async with Server(flags["metrics_server"], manifest.canary) as server:
        weights = _listed(flags["weights"], manifest, between) if flags["weights"] else await weights_of(server, questions, between)
        run = weights.run(*between)
        if run is None:
            copies = ", and no copies came to it" if copied(analysis) else ""
            raise NotFound(
                f"the weight of {manifest.name} was 0 all the time{copies}: no release to replay",
                hint="choose another time with --from and --to, or give the weights with --weights",
            )
        past = RunOfThePast(server, questions, weights, run)
        replayed = await past.begun()
        view.head(manifest, flags["metrics_server"], replayed, run, past.notes(told=bool(flags["weights"])))
        async for event in past.events(replayed):
            view.show(event)
    view.end(replayed)
    return _CODES.get(replayed.own.verdict, UNDECIDED) if replayed.own else UNDECIDED


def _listed(text: str, manifest: Manifest, between: tuple[float, float]) -> Weights:
    """Weights of the command line."""
    from itertools import pairwise

    from canary.api.common import parse_duration
    from canary.core.forecast.counted import copied
    from canary.core.forecast.weights import Weights

    points, words = [], []
    for number, part in enumerate(text.split(",")):
        after, equals, weight = part.strip().rpartition("=")
        try:
            offset = parse_duration(after) if equals else number * manifest.canary.spec.analysis.interval_seconds
            points.append((between[0] + offset, 0 if weight == COPIES else int(weight)))
        except ValueError as error:
            raise click.UsageError(f"--weights: {part!r} is neither a percentage nor a time and a percentage, such as 10m=20") from error
        words.append(weight)
    if any(not 0 <= weight <= 100 for _, weight in points) or points != sorted(points, key=lambda point: point[0]):
        raise click.UsageError(f"--weights {text!r}: percentages between 0 and 100, in the order of time, are needed")
    if COPIES in words and not copied(manifest.canary.spec.analysis):
        raise click.UsageError(f"--weights {text!r}: this Canary gets no copies; add --set mirror=true")
    moments = [*(moment for moment, _ in points), max(between[1], points[-1][0])]
    copies: list[tuple[float, float]] = []
    for word, (began, ended) in zip(words, pairwise(moments), strict=True):
        if word == COPIES:
            longer = copies and copies[-1][1] == began
            copies[-1:] = [(copies[-1][0], ended)] if longer else [*copies[-1:], (began, ended)]
    return Weights(tuple(points), tuple(copies))


# ---------------------------------------------------------------------------------------------------- what people see


class _View(Protocol):
    """Where events go."""

    def head(self, manifest: Manifest, server: str, replayed: Replay, run: tuple[float, float], notes: Sequence[str]) -> None:
        """Say what is replayed, and what the past does not tell."""
        ...

    def show(self, event: Look | Stepped) -> None:
        """Show one event."""
        ...

    def end(self, replayed: Replay) -> None:
        """Show the summary."""
        ...


class _Json:
    """One object a line."""

    def head(self, manifest: Manifest, server: str, replayed: Replay, run: tuple[float, float], notes: Sequence[str]) -> None:
        head = {"event": "run", "canary": manifest.name, "metricsServer": server, "from": run[0], "to": run[1]}
        click.echo(json.dumps(head | {"lookSeconds": replayed.spacing, "pastTicks": len(replayed.past.ticks), "notes": list(notes)}))

    def show(self, event: Look | Stepped) -> None:
        click.echo(json.dumps(event.to_dict()))

    def end(self, replayed: Replay) -> None:
        click.echo(json.dumps(replayed.to_dict()))


class _Text:
    """A line for each event, and plots at the end. rich colours them on a terminal, and only there."""

    def __init__(self) -> None:
        self._console: Console | None = None
        self._looks: list[Look] = []
        self._width = 5

    def _print(self, text: str, style: str = "") -> None:
        if self._console is None:
            from rich.console import Console

            self._console = Console(highlight=False, soft_wrap=True, markup=False)
        self._console.print(text, style=style or None)

    def head(self, manifest: Manifest, server: str, replayed: Replay, run: tuple[float, float], notes: Sequence[str]) -> None:
        from canary.core.forecast.counted import copied
        from canary.core.forecast.words import minutes

        self._width = len(COPIES) if copied(replayed.analysis) else self._width
        self._print(
            f"{manifest.name} from {_utc(run[0])} for {minutes(run[1] - run[0])}, judge: {replayed.analysis.judge.value}, asked of {server}"
        )
        self._print(
            f"The primary's past has {len(replayed.past.ticks)} ticks; a look each {replayed.spacing:g} s, a step each {replayed.analysis.interval_seconds:g} s."
        )
        for note in notes:
            self._print(note)
        bound = 1 / replayed.alpha
        self._print(
            f"'against' is what all metrics say together, and takes back at {bound:.0f}; 'for' is what the least convincing one says.\n"
        )

    def show(self, event: Look | Stepped) -> None:
        from canary.core.forecast.replay import Look

        if isinstance(event, Look):
            self._looks.append(event)
            tick = event.tick
            arms = f"canary {_ratio(tick.canary):>16}  {'baseline' if tick.baseline else 'primary'} {_ratio(tick.primary):>18}"
            evidence = f"against {_number(event.against):>7}  for {_number(event.favour):>7}"
            share = COPIES if tick.copied else f"{tick.weight:3d} %"
            text = f"{_utc(tick.ts)[11:19]}  {share:>{self._width}}  {arms}  {evidence}  {event.decision.verdict}"
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
    shares = {name: [_share(getattr(look.tick, name)) for look in looks] for name in ("canary", "primary")}
    highest = max((value for values in shares.values() for value in values if value is not None), default=0.0)
    bound = math.log10(1 / alpha)
    evidence = [max(0.0, math.log10(max(1e-9, look.against))) for look in looks]
    rows: list[tuple[str, Sequence[float | None], float, str]] = [
        ("weight", [float(look.tick.weight) for look in looks], 100.0, f"{looks[-1].tick.weight} %"),
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
