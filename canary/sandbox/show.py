"""How the story is told: to a program, line by line, or to a person, as it happens; and how it is ended at any moment.

Data goes to stdout, so that a pipe gets the story and nothing else. The terminal view is in `view`, which alone knows rich.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractAsyncContextManager
from typing import Any, Protocol

from canary.sandbox.account import Happening
from canary.sandbox.telling import Telling

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Show(Protocol):
    """What is told of the story."""

    def of(self, story: Telling) -> AbstractAsyncContextManager[object]:
        """Open the view of this story, for as long as it lasts."""
        ...

    def on(self, happening: Happening) -> None:
        """Show one thing that happened."""
        ...

    def clearing(self, what: str) -> None:
        """The story is over; this is done now, and may take a moment."""
        ...


class LineShow:
    """One line for each thing: JSON for programs, text for logs."""

    def __init__(self, *, as_json: bool) -> None:
        self._write = _json if as_json else _text

    def of(self, story: Telling) -> AbstractAsyncContextManager[object]:  # noqa: ARG002
        """Nothing to open."""
        return contextlib.nullcontext()

    def on(self, happening: Happening) -> None:
        """Print it."""
        sys.stdout.write(self._write(happening) + "\n")
        sys.stdout.flush()

    def clearing(self, what: str) -> None:
        """Programs need not know."""


async def perform(story: Telling, show: Show) -> int:
    """Tell the story and clear the stage. 0: it ended as it should, 1: it did not, 128 + n: stopped by signal n. Raises CanaryError.

    The first signal ends the story in order; the next one kills what is still running. Either way nothing is left.
    """
    received: list[int] = []
    work = asyncio.ensure_future(_perform(story, show))

    def interrupted(number: int) -> None:
        received.append(number)
        if len(received) == 1:
            work.cancel()
        else:
            story.venue.kill()

    with _handlers(interrupted):
        try:
            return await work
        except asyncio.CancelledError:
            if not received:
                raise
            return 128 + received[0]


async def _perform(story: Telling, show: Show) -> int:
    try:
        async with show.of(story):
            async for happening in story.tell():
                show.on(happening)
        return 0 if story.good else 1
    finally:
        show.clearing(story.venue.clearing())
        await story.venue.stop()


@contextlib.contextmanager
def _handlers(act: Callable[[int], None]) -> Iterator[None]:
    loop = asyncio.get_running_loop()
    for number in _SIGNALS:
        loop.add_signal_handler(number, act, int(number))
    try:
        yield
    finally:
        for number in _SIGNALS:
            loop.remove_signal_handler(number)


def _json(happening: Happening) -> str:
    return json.dumps(happening)


def _text(happening: Happening) -> str:
    """For a log that people read."""
    at = f"{happening['at']:7.2f}" if "at" in happening else " " * 7
    where = f"{happening['ring']}: " if "ring" in happening else ""
    return f"{at}  {happening['event']:<8}  {where}{_sentence(happening)}"


def _sentence(happening: Happening) -> str:
    match happening["event"]:
        case "part":
            return f"{happening['name']}: {happening['version']}"
        case "canary":
            failed = happening["failed_checks"]
            return f"{happening['phase'] or 'new'}, weight {happening['weight']} %" + (f", failed checks {failed}" if failed else "")
        case "message":
            return f"{'! ' if happening['type'] == 'Warning' else ''}{happening['text']}"
        case "git":
            return f"{happening['commit'][:8]} {happening['text']}"
        case "release":
            return f"{happening['commit'][:8]} the {happening['scenario']} release: {happening['image']}"
        case "outcome":
            return outcome(happening)
        case "ring":
            waited = f", {happening['waited']:.1f} s after the ring before had succeeded" if happening["waited"] is not None else ""
            return f"{happening['commit'][:8]} its branch moves to: {happening['subject']}{waited}"
        case "standing":
            return f"{happening['release']} {happening['phase']}: {happening['why']}"
        case "note":
            return str(happening["text"])
        case "rest":
            rests = "and no other run has begun" if happening["rests"] else "but the cluster does not rest"
            return f"target and primary run {happening['image']}, {rests}"
        case "summary":
            return "; ".join(f"{_scene(run)}: {run['outcome'] or 'not ended'}" for run in happening["runs"])
    return json.dumps({key: value for key, value in happening.items() if key not in {"event", "at"}})


def _scene(run: dict[str, Any]) -> str:
    return f"{run['scenario']} in {run['ring']}" if "ring" in run else str(run["scenario"])


def outcome(run: dict[str, Any]) -> str:
    """One release in one line."""
    git = ", ".join(f"{kind} {commit[:8]}" for kind, commit in run["git"].items() if commit)
    why = f", because {run['reason']}" if run.get("reason") else ""
    return f"{run['scenario']}: {run['outcome']}{why}; {run['requests']} requests, {run['failed_requests']} failed; git: {git or 'nothing'}"
