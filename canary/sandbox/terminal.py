"""The view for a person: the alternate screen while the story lasts, and its verdict on the ordinary one afterwards.

On the alternate screen nothing scrolls and a change of the window's size leaves no debris. Frames are drawn by a task of the story's own loop;
rich's refresh thread was rejected, because it would read the picture while the story changes it.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager

from rich.console import Console
from rich.live import Live

from canary.sandbox.account import Happening
from canary.sandbox.picture import Picture
from canary.sandbox.telling import Telling
from canary.sandbox.view import ASCII, UNICODE, frame, verdict

FRAMES = 8
"""Redraws a second."""
_MEASURE = 1.0
"""Seconds over which the rate of requests is taken."""


class TerminalShow:
    """Draws the picture that the happenings make."""

    def __init__(self, console: Console | None = None) -> None:
        self.console = console or Console(highlight=False)
        self.picture = Picture()
        self._glyphs = UNICODE if self.console.encoding.lower().startswith("utf") else ASCII
        self._measured = time.monotonic()

    def of(self, story: Telling) -> AbstractAsyncContextManager[object]:
        """Open the screen."""
        return self._open(story)

    def on(self, happening: Happening) -> None:
        """Remember it; the next frame shows it."""
        self.picture.on(happening)

    def clearing(self, what: str) -> None:
        """Say why the prompt is not back yet."""
        self.console.print(f"{what} ...", style="dim")

    @contextlib.asynccontextmanager
    async def _open(self, story: Telling) -> AsyncIterator[None]:
        self.picture.begins(story.scenes, story.venue.cast.first)
        with Live(console=self.console, screen=True, auto_refresh=False, redirect_stdout=False, redirect_stderr=False) as live:
            drawing = asyncio.ensure_future(self._draw(live, story))
            try:
                yield
            finally:
                drawing.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await drawing
        if self.picture.over:
            self.console.print(verdict(self.picture, elapsed=story.elapsed, good=story.good, glyphs=self._glyphs))

    async def _draw(self, live: Live, story: Telling) -> None:
        while True:
            self._look(story)
            width, height = self.console.size
            live.update(frame(self.picture, width=width, height=height, elapsed=story.elapsed, glyphs=self._glyphs), refresh=True)
            await asyncio.sleep(1 / FRAMES)

    def _look(self, story: Telling) -> None:
        """What no happening tells: the traffic, and the limit of failed checks."""
        witness = story.now
        if witness is None:
            return
        if witness.canary:
            self.picture.threshold = witness.canary.spec.analysis.threshold_count
        now = time.monotonic()
        if now - self._measured >= _MEASURE and witness.accounts and not witness.accounts[-1].outcome:
            self.picture.measure(witness.traffic(), now - self._measured)
            self._measured = now
