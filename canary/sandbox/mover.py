"""Moves the branches of rings, as `canary rings apply` does when something runs it again and again: it is the same code.

Part of the program and not a process of its own, so that the story can tell what was decided and why without reading it from a log.
"""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

from canary.gitops.failures import GitFailed
from canary.gitops.rings.report import data
from canary.gitops.rings.session import Seen, opened

EVERY = 1.0
"""Seconds between rounds; a minute is enough for real rings, which bake for hours."""


class Mover:
    """Of one plan, which is read from the repository each time. `cache` keeps the mirror."""

    def __init__(self, url: str, plan: str, cache: Path) -> None:
        self.seen: Seen | None = None
        """What the last round saw."""
        self.problem = ""
        """Why the last round came to nothing, or empty."""
        self._url = url
        self._plan = plan
        self._cache = cache

    async def run(self) -> None:
        """Go on until cancelled. Raises CanaryError for a plan or a repository that cannot be followed."""
        session = await opened(self._url, [self._plan], branch="main", cache=self._cache)
        while True:
            try:
                (self.seen,) = await session.act(time.time)
                self.problem = next((f"{done.what}: {done.failure.text}" for done in self.seen.done if done.failure), "")
            except GitFailed as error:  # a push of somebody else came in between: the next round sees it
                self.problem = error.failure.text
            await asyncio.sleep(EVERY)

    def standings(self) -> list[dict[str, str]]:
        """What `canary rings show` says: for each release, the newest first, where it stands in each ring, and why."""
        return [
            {"release": one["release"], "ring": ring["ring"], "phase": ring["phase"], "why": ring["why"]}
            for one in (data(self.seen)["releases"] if self.seen else ())
            for ring in one["rings"]
        ]
