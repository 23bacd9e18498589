"""What the workers of all sinks share: the API, the queue, a clock, turns at a server; and the memory of when what is tried again."""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator, Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

from canary.gitops.command import Patience
from canary.gitops.queue import Item, Key, Queue
from canary.kube.cluster import Cluster
from canary.kube.resource import Object

AT_ONCE = 8
"""Sinks that talk to one host at the same time: each is a tree of processes."""
HOURLY = 3600.0
"""Seconds after which what is blocked is tried again."""
OnEffect = Callable[[str, str, int], None]
"""(effect, result, how many runs wait)."""
Warn = Callable[[Object, str, str], None]
"""(run, message, kind): an event on the run's Canary."""


class Turns:
    """One sink at a time per repository (many namespaces write to one, and would only race each other), a handful per host.

    No limit over all hosts: one that is down must not delay the others.
    """

    def __init__(self) -> None:
        self._repositories: dict[str, asyncio.Lock] = {}
        self._hosts: dict[str, asyncio.Semaphore] = {}

    @contextlib.asynccontextmanager
    async def at(self, url: str) -> AsyncIterator[None]:
        """Wait for a turn at this repository."""
        place = re.match(r"(\w+://[^/]*|[^/:]*)", url)
        host = place[0] if place else url
        async with self._repositories.setdefault(url, asyncio.Lock()), self._hosts.setdefault(host, asyncio.Semaphore(AT_ONCE)):
            yield


@dataclass(frozen=True, slots=True, kw_only=True)
class Tools:
    """See the module."""

    cluster: Cluster
    queue: Queue
    folder: Path
    on_effect: OnEffect
    warn: Warn
    clock: Callable[[], float]
    patience: Patience
    turns: Turns = field(default_factory=Turns)


class Agenda:
    """When each effect of one sink is tried next.

    Remembered here and only shown in the API: a new process tries once at once, since somebody may have restarted it for that. A `round` ends
    when somebody mends the sink or its Secret; what was planned in an earlier round counts no more, also when it is written down late.
    """

    def __init__(self) -> None:
        self.round = 0
        self._next: dict[Key, tuple[int, float]] = {}

    def mended(self) -> None:
        """Everything is due."""
        self.round += 1

    def at(self, item: Item) -> float:
        """Unix time of the next attempt; 0 for one that was not tried in this round."""
        number, at = self._next.get(item.id, (-1, 0.0))
        return at if number == self.round else 0.0

    def plan(self, items: Iterable[Item], *, at: float, in_round: int) -> None:
        """Not before `at`, by what was known in that round."""
        self._next |= {item.id: (in_round, at) for item in items}

    def keep(self, items: Iterable[Item]) -> None:
        """Forget all others."""
        known = {item.id for item in items}
        self._next = {one: when for one, when in self._next.items() if one in known}
