"""When what is tried again: the memory of one sink, in this process.

It is only shown in the API, not kept there: a new process tries once at once, since somebody may have restarted it for that.
"""

from __future__ import annotations

from collections.abc import Iterable

from canary.gitops import breaker
from canary.gitops.queue import Item, Key

HOURLY = 3600.0
"""Seconds after which what is blocked is tried again."""
ASKED = 300.0
"""Seconds after which a breaker looks whether a person has said that it is to be tried again."""


def pause(reason: str) -> float:
    """Seconds until what is blocked for this reason is looked at again."""
    return ASKED if reason == breaker.REASON else HOURLY


class Agenda:
    """When each effect of one sink is tried next.

    A `round` ends when somebody mends the sink or its Secret; what was planned in an earlier round counts no more, also when it is written down late.
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
