"""Many canaries' questions in one query, and its answer split: pure.

Who may be asked together is decided here by what can be proved of names alone. A name with a dot (a dot matches any character), an interval
that is no plain duration, two names whose series could be taken for each other's: such a canary is asked on its own. Sorting series out
by a regular expression here, after the answer, was rejected: sums would be added up in another order than in the canary's own query.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from canary.api.canary import Canary
from canary.core.grouped import GroupedQuery
from canary.metrics.base import Refused
from canary.metrics.gotemplate import TemplateError, render
from canary.metrics.render import render_query

MOST: Final = 64
"""Canaries in one query."""
LONGEST: Final = 4096
"""Characters of all names in one query. They stand in it up to six times."""

PAUSE: Final = 60.0
LONGEST_PAUSE: Final = 3600.0
"""Seconds without batches after one that failed; doubled each time, until one works."""
PAUSES: Final = 1024
"""Kinds of batches remembered for that."""

_NAME = re.compile(r"[a-z0-9_-]+")
"""Means itself, and nothing else, in a regular expression and between quotes."""
_INTERVAL = re.compile(r"([0-9]+(ms|[smhdwy]))+")

Names = tuple[str, ...]
"""What each key of a grouped query holds for one canary."""


def names(grouped: GroupedQuery, canary: Canary, interval: str) -> Names | None:
    """How this canary is called in the answer; None when it must be asked on its own."""
    if not _INTERVAL.fullmatch(interval):
        return None
    try:
        found = tuple(render_query(key.name, canary, interval=interval) for key in grouped.keys)
    except TemplateError:
        return None  # its own query says what is wrong
    return found if all(_NAME.fullmatch(name) for name in found) else None


def composed(grouped: GroupedQuery, members: Sequence[Names]) -> list[list[Names]]:
    """`members` in as few queries as their number, their length and their likeness allow (first fit, in order)."""
    parts: list[_Part] = []
    for member in dict.fromkeys(members):
        part = next((part for part in parts if part.takes(member)), None)
        if part is None:
            part = _Part(grouped)
            parts.append(part)
        part.add(member)
    return [part.members for part in parts]


class _Part:
    """One query in the making."""

    def __init__(self, grouped: GroupedQuery) -> None:
        self.members: list[Names] = []
        self._twins = [re.compile(key.twin) if key.twin else None for key in grouped.keys]
        self._names: list[set[str]] = [set() for _ in grouped.keys]
        self._length = 0

    def takes(self, member: Names) -> bool:
        """Whether there is room for it, and nobody whose series could be its own."""
        if len(self.members) >= MOST or self._length + _length(member) > LONGEST:
            return False
        return not any(
            twin and any(_alike(one, name, twin) for one in taken)
            for name, twin, taken in zip(member, self._twins, self._names, strict=True)
        )

    def add(self, member: Names) -> None:
        """Take it."""
        self.members.append(member)
        self._length += _length(member)
        for name, taken in zip(member, self._names, strict=True):
            taken.add(name)


def _length(member: Names) -> int:
    return sum(len(name) for name in member)


def _alike(one: str, other: str, twin: re.Pattern[str]) -> bool:
    short, long = sorted((one, other), key=len)
    return long.startswith(short) and bool(twin.fullmatch(long, len(short)))


def question(grouped: GroupedQuery, members: Sequence[Names], interval: str) -> str:
    """The PromQL about all of them. Sorted, so that the same canaries make the same text."""
    columns = zip(*members, strict=True)
    values = {key.label: "|".join(sorted(set(column))) for key, column in zip(grouped.keys, columns, strict=True)}
    values["interval"] = interval
    return render(grouped.template, {name: partial(str, value) for name, value in values.items()})


def split(grouped: GroupedQuery, members: Sequence[Names], answer: Sequence[Any]) -> dict[Names, list[Any]]:
    """The part of the answer that each member's own query would have been given.

    Series of others are left out: alternatives of two labels select more than the pairs that were meant. Raises Refused when a series has
    not exactly the labels that were asked for: then the source did not understand, and its silence about somebody would mean nothing.
    """
    labels = [key.label for key in grouped.keys]
    found: defaultdict[Names, list[Any]] = defaultdict(list)
    for series in answer:
        metric = series.get("metric") if isinstance(series, dict) else None
        if not isinstance(metric, dict) or set(metric) != set(labels):
            raise Refused(f"the answer is not grouped by {', '.join(labels)}")
        found[tuple(metric[label] for label in labels)].append(series)
    return {member: found.get(member, []) for member in members}


@dataclass(slots=True)
class _Pause:
    until: float
    seconds: float


class Pauses:
    """Kinds of batches that fail, while single questions may do well. `clock` in seconds, monotonic."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._pauses: dict[Hashable, _Pause] = {}

    def __len__(self) -> int:
        return len(self._pauses)

    def __contains__(self, kind: Hashable) -> bool:
        """Whether there are to be none of this kind now."""
        pause = self._pauses.get(kind)
        return pause is not None and self._clock() < pause.until

    def failed(self, kind: Hashable) -> None:
        """One failed. Others that were under way beside it count no further, whatever becomes of them."""
        if kind in self:
            return
        before = self._pauses.pop(kind, None)
        while len(self._pauses) >= PAUSES:
            self._pauses.pop(next(iter(self._pauses)))
        seconds = min(LONGEST_PAUSE, before.seconds * 2) if before else PAUSE
        self._pauses[kind] = _Pause(self._clock() + seconds, seconds)

    def worked(self, kind: Hashable) -> None:
        """One was answered."""
        if kind not in self:
            self._pauses.pop(kind, None)
