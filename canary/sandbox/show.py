"""How the story is shown: to a program, line by line, or to a person, as it happens.

The terminal view is one rich `Live` that is redrawn a few times a second from the story's own state; nothing is computed twice for the sake of
the view. Data goes to stdout, so that a pipe gets the story and nothing else.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
import sys
import time
from collections import deque
from typing import TYPE_CHECKING, Any, Protocol

from canary.core.errors import CanaryError
from canary.sandbox.story import IMAGES, Happening, Story
from canary.sandbox.world import World

if TYPE_CHECKING:
    from rich.console import RenderableType

FRAMES = 8
"""Redraws a second."""


class Show(Protocol):
    """What is told of the story."""

    def begin(self, story: Story | None) -> contextlib.AbstractContextManager[object]:
        """Open the view; without a story something is still being prepared."""
        ...

    def on(self, happening: Happening) -> None:
        """Show one thing that happened."""
        ...


class LineShow:
    """One line for each thing: JSON for programs, text for logs."""

    def __init__(self, *, as_json: bool) -> None:
        self._json = as_json

    def begin(self, story: Story | None) -> contextlib.AbstractContextManager[object]:  # noqa: ARG002
        return contextlib.nullcontext()

    def on(self, happening: Happening) -> None:
        if self._json:
            print(json.dumps(happening), flush=True)  # noqa: T201
            return
        rest = " ".join(f"{key}={value}" for key, value in happening.items() if key not in {"event", "at"})
        print(f"{happening.get('at', ''):>7} {happening['event']:<9} {rest}", flush=True)  # noqa: T201


def headless_show(*, as_json: bool) -> Show:
    """For pipes and CI."""
    return LineShow(as_json=as_json)


def terminal_show() -> Show:
    """For a person."""
    return TerminalShow()


class TerminalShow:
    """A weight bar, the checks against their bounds, traffic, Git, and the operator's own words."""

    def __init__(self) -> None:
        self._story: Story | None = None
        self._words: deque[tuple[float, str, str]] = deque(maxlen=9)
        self._commits: deque[str] = deque(maxlen=6)
        self._seen = (0.0, (0, 0))
        self._summary: Happening | None = None

    def begin(self, story: Story | None) -> contextlib.AbstractContextManager[object]:
        from rich.console import Console
        from rich.live import Live

        self._story = story
        if story is None:
            return Console().status("starting an API server, Envoy, Prometheus, a load tester and a Git server ...")
        return Live(get_renderable=self._render, refresh_per_second=FRAMES, transient=False)

    def on(self, happening: Happening) -> None:
        at = happening.get("at", 0.0)
        match happening["event"]:
            case "message":
                style = "yellow" if happening.get("type") == "Warning" else "default"
                self._words.append((at, str(happening["text"]), style))
            case "release":
                self._words.append((at, f"a developer pushes {happening['image'].rpartition('/')[2]}", "bold cyan"))
                self._commits.append(f"[cyan]{happening['commit'][:8]}[/] {happening['image'].rpartition('/')[2]}")
            case "outcome":
                git = happening["git"]
                if git["record"]:
                    self._commits.append(f"[green]{git['record'][:8]}[/] record: {happening['outcome']}")
                if git["revert"]:
                    self._commits.append(f"[red]{git['revert'][:8]}[/] revert of the image")
            case "summary":
                self._summary = happening

    def _render(self) -> RenderableType:
        from rich.console import Group
        from rich.panel import Panel
        from rich.table import Table

        assert self._story is not None
        columns = Table.grid(expand=True, padding=(0, 1))
        columns.add_column(ratio=3)
        columns.add_column(ratio=2)
        columns.add_row(Panel(self._release(), title="release", title_align="left"), Panel(self._git(), title="git", title_align="left"))
        parts: list[RenderableType] = [columns, Panel(self._log(), title="the operator's words", title_align="left")]
        if self._summary:
            parts.append(self._verdict())
        return Group(*parts)

    def _release(self) -> RenderableType:
        from rich.console import Group
        from rich.text import Text

        story = self._story
        assert story is not None
        canary = story.canary
        if canary is None:
            return Text("waiting for the first version ...", style="dim")
        weight, phase = canary.status.canary_weight, str(canary.status.phase)
        filled = round(weight / 100 * 40)
        colour = {"Failed": "red", "Succeeded": "green"}.get(phase, "cyan")
        bar = Text.assemble(("█" * filled, colour), ("░" * (40 - filled), "dim"), f" {weight:3d} %")
        head = Text.assemble((f"podinfo.{canary.metadata.namespace}", "bold"), "  ", (phase, f"bold {colour}"))
        failed, limit = canary.status.failed_checks, canary.spec.analysis.threshold_count
        checks = [self._check(check) for check in canary.status.checks]
        traffic = self._traffic()
        return Group(head, bar, *checks, Text(f"failed checks {failed} of {limit}", style="red" if failed else "dim"), traffic)

    @staticmethod
    def _check(check: Any) -> RenderableType:
        from rich.text import Text

        mark = {"Pass": ("✔", "green"), "Fail": ("✗", "red"), "NoData": ("?", "yellow"), "Error": ("!", "magenta")}[str(check.verdict)]
        value = "no data" if check.value is None else f"{check.value:.1f}"
        low, high = (check.bound.min, check.bound.max) if check.bound else (None, None)
        bound = f"≥ {low:g}" if low is not None else f"≤ {high:g}" if high is not None else ""
        return Text.assemble(mark, f" {check.name:<24}{value:>9}  ", (bound, "dim"))

    def _traffic(self) -> RenderableType:
        from rich.text import Text

        assert self._story is not None
        if time.monotonic() - self._seen[0] > 1.0:
            with contextlib.suppress(OSError):
                self._seen = (time.monotonic(), self._story.traffic())
        total, failed = self._seen[1]
        return Text.assemble(f"{total} requests through Envoy, ", (f"{failed} failed", "red" if failed else "green"))

    def _git(self) -> RenderableType:
        from rich.text import Text

        return Text.from_markup("\n".join(self._commits) or "[dim]nothing yet[/]")

    def _log(self) -> RenderableType:
        from rich.text import Text

        lines = [Text.assemble((f"{at:6.1f} s  ", "dim"), (text, style)) for at, text, style in self._words]
        return Text("\n").join(lines)

    def _verdict(self) -> RenderableType:
        from rich.table import Table

        assert self._summary is not None
        table = Table(expand=True)
        for title in ("scenario", "outcome", "highest weight", "requests", "failed", "why", "record", "revert"):
            table.add_column(title)
        for run in self._summary["runs"]:
            colour = "green" if run["outcome"] == "Succeeded" else "red"
            git = run["git"]
            table.add_row(
                run["scenario"],
                f"[{colour}]{run['outcome']}[/]",
                f"{max(run['weights'], default=0)} %",
                str(run["requests"]),
                str(run["failed_requests"]),
                run["failed_check"] or "",
                (git["record"] or "")[:8],
                (git["revert"] or "")[:8],
            )
        return table


async def tell_in_sandbox(manifest: str, show: Show, *, deadline: float) -> int:
    """Set the stage, tell the story, clear the stage; 0 when it ended as it should, 130 on Ctrl-C."""
    task = asyncio.current_task()
    assert task is not None
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, task.cancel)
    try:
        with show.begin(None):
            world = World(IMAGES)
            await world.start()
        async with world:
            story = Story(world, manifest, deadline=deadline)
            with show.begin(story):
                async for happening in story.tell():
                    show.on(happening)
            return 0 if story.good else 1
    except asyncio.CancelledError:
        print("stopped", file=sys.stderr)  # noqa: T201
        return 130
    except (CanaryError, TimeoutError) as error:
        print(f"error: {error}", file=sys.stderr)  # noqa: T201
        if hint := getattr(error, "hint", ""):
            print(f"hint: {hint}", file=sys.stderr)  # noqa: T201
        return 1
