"""`canary rings`: where releases stand in rings of clusters, moving rings, and answering clusters that ask."""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from canary.cli.exits import NO

if TYPE_CHECKING:
    from canary.gitops.rings.session import Seen, Session

_STYLES = {
    "passed": "green",
    "open": "cyan",
    "baking": "cyan",
    "failed": "bold red",
    "halted": "bold red",
    "waiting": "dim",
    "superseded": "dim",
}


def _time(ctx: click.Context, param: click.Parameter, value: str | None) -> float | None:  # noqa: ARG001
    if value is None:
        return None
    try:
        moment = datetime.fromisoformat(value)
    except ValueError as error:
        raise click.BadParameter(f"{value!r} is no time; write it like 2027-01-18T09:00:00Z") from error
    if moment.tzinfo is None:
        raise click.BadParameter(f"{value!r} has no time zone; write it like 2027-01-18T09:00:00Z")
    return moment.timestamp()


def _seconds(ctx: click.Context, param: click.Parameter, value: str) -> float:  # noqa: ARG001
    from canary.api.common import parse_duration

    try:
        found = parse_duration(value)
    except ValueError as error:
        raise click.BadParameter(str(error)) from error
    if found <= 0:
        raise click.BadParameter(f"{value!r} must be longer than nothing")
    return found


@click.command()
@click.argument("action", type=click.Choice(["show", "apply", "serve"]), default="show")
@click.option(
    "--repo",
    default=".",
    metavar="DIR|URL",
    show_default=True,
    help="Clone to read, or server to fetch from (and, with apply, to push to).",
)
@click.option(
    "--plan",
    "plans",
    multiple=True,
    required=True,
    metavar="FILE",
    help="Plan on this machine or, when there is no such file, in the repository; may be repeated.",
)
@click.option("--branch", default="main", show_default=True, help="Branch of the repository that plans are read from.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a plan.")
@click.option("--at", callback=_time, metavar="TIME", help="With show: as of this moment, such as 2027-01-18T09:00:00Z. [default: now]")
@click.option(
    "--cache",
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder that keeps the mirror of a URL; it remembers histories of clusters. [default: a temporary one]",
)
@click.option(
    "--credentials",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Folder with the keys of a Git Secret as files, such as username and password.",
)
@click.option("--host", default="127.0.0.1", show_default=True, help="With serve: address to listen on.")
@click.option("--port", type=click.IntRange(0, 65535), default=8081, show_default=True, help="With serve: port to listen on.")
@click.option("--interval", callback=_seconds, default="60s", show_default=True, help="With serve: how often Git is read.")
@click.option(
    "--stale", callback=_seconds, default="10m", show_default=True, help="With serve: how old an answer may be before gates close."
)
@click.option("--write", is_flag=True, help="With serve: also do what apply does, each time.")
def rings(*, action: str, plans: Sequence[str], **flags: Any) -> None:
    """Show where each release stands in each ring of clusters, and why.

    apply moves the rings' branches or edits their overlays, and writes down why; serve answers the confirm-rollout and rollback gates of clusters.
    The exit code of show and apply is 1 when a release is halted or something could not be written.
    """
    with _errors(), contextlib.ExitStack() as stack:
        if flags["at"] is not None and action != "show":
            raise click.UsageError("--at goes with show")
        cache = flags["cache"] or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="canary-rings-")))
        if action == "serve":
            asyncio.run(_serve(flags, plans, cache))
            return
        now = time.time if flags["at"] is None else lambda: float(flags["at"])
        seen = asyncio.run(_look(flags, plans, cache, now, write=action == "apply"))
    if flags["as_json"]:
        _print_json(seen)
    else:
        _print(seen)
    if any(one.decision.halted or any(done.failure for done in one.done) for one in seen):
        sys.exit(NO)


@contextlib.contextmanager
def _errors() -> Iterator[None]:
    """Errors of Git and of plans as errors of ours."""
    from canary.api.errors import InvalidObject
    from canary.core.errors import CanaryError, Rejected
    from canary.gitops.failures import GitFailed

    try:
        yield
    except InvalidObject as error:
        raise Rejected(str(error)) from error
    except GitFailed as error:
        raise CanaryError(f"the repository cannot be read: {error.failure.text}") from error


async def _session(flags: dict[str, Any], plans: Sequence[str], cache: Path) -> Session:
    from canary.gitops.rings.session import opened

    return await opened(flags["repo"], plans, branch=flags["branch"], cache=cache, credentials=flags["credentials"])


async def _look(flags: dict[str, Any], plans: Sequence[str], cache: Path, now: Callable[[], float], *, write: bool) -> list[Seen]:
    session = await _session(flags, plans, cache)
    return await (session.act(now) if write else session.look(now))


async def _serve(flags: dict[str, Any], plans: Sequence[str], cache: Path) -> None:
    """Until a signal: SIGINT, SIGTERM."""
    import logging
    import signal

    from aiohttp import web

    from canary.gitops.rings.gatehouse import Gatehouse

    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(asctime)s %(message)s")
    house = Gatehouse(await _session(flags, plans, cache), time.time, stale=flags["stale"], write=flags["write"])
    app = web.Application()
    house.add_to(app.router)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    stopped = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    try:
        site = web.TCPSite(runner, flags["host"], flags["port"])
        await site.start()
        polling = asyncio.create_task(house.keep_polling(flags["interval"]))
        click.echo(f"gates are at {runner.addresses[0][0]}:{runner.addresses[0][1]}", err=True)
        await asyncio.wait({asyncio.create_task(stopped.wait()), polling}, return_when=asyncio.FIRST_COMPLETED)
        polling.cancel()
        await asyncio.gather(polling, return_exceptions=True)
    finally:
        await runner.cleanup()


# ------------------------------------------------------------------------------------------------------- output


def _print_json(seen: Sequence[Seen]) -> None:
    from canary.gitops.rings.report import data

    for one in seen:
        click.echo(json.dumps(data(one), indent=1, ensure_ascii=False))


def _print(seen: Sequence[Seen]) -> None:
    """A table on a terminal; columns by tabs elsewhere."""
    for one in seen:
        rows = [
            (standing.release, standing.ring, standing.phase.value, f"{standing.succeeded}/{standing.members}", standing.why)
            for row in one.decision.standings
            for standing in row
        ]
        if sys.stdout.isatty():
            _table(one, rows)
        else:
            for row in rows:
                click.echo("\t".join(row))
        _tell(one)


def _table(one: Seen, rows: Sequence[tuple[str, ...]]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    canary = one.plan.spec.canary
    table = Table(
        title=f"{one.plan.metadata.name}: {canary.namespace}/{canary.name}, mode {one.plan.spec.mode.value}", title_justify="left"
    )
    for name in ("release", "ring", "phase", "clusters", "why"):
        table.add_column(name, justify="right" if name == "clusters" else "left")
    last = ""
    for release, ring, phase, clusters, why in rows:
        if last and release != last:
            table.add_section()
        table.add_row(Text(release if release != last else ""), Text(ring), Text(phase, _STYLES[phase]), clusters, Text(why))
        last = release
    Console().print(table)


def _tell(one: Seen) -> None:
    for done in one.done:
        click.echo(f"error: {done.what}: {done.failure.text}" if done.failure else f"{done.what}: {done.commit}", err=True)
    if not one.done:
        for move in one.decision.moves:
            click.echo(f"to do: ring {move.ring} {'back ' if move.back else ''}to {move.release} ({move.commit[:12]})", err=True)
    for problem in one.view.problems:
        click.echo(f"note: {problem}", err=True)
