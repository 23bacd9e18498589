"""Cron expressions: five fields, as in crontab(5), for windows in which something may happen and times in which nothing may.

Written out rather than taken from a library: forty lines, no dependency, and messages that name the field. Names of months and days are accepted,
`@daily` and its kin are not. When both the day of the month and the day of the week are restricted, either is enough, as cron has it.
"""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass
from datetime import date
from typing import Final

_DAYS: Final = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
_MONTHS: Final = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_FIELDS: Final = (("minute", 0, 59), ("hour", 0, 23), ("day of the month", 1, 31), ("month", 1, 12), ("day of the week", 0, 7))
_PART = re.compile(r"(\*|(\w+)(?:-(\w+))?)(?:/([0-9]+))?")


@dataclass(frozen=True, slots=True)
class Cron:
    """When it matches: minutes, hours and months, and days by either rule. Days of the week count from Sunday, 0."""

    minutes: tuple[int, ...]
    hours: tuple[int, ...]
    days: frozenset[int]
    months: frozenset[int]
    weekdays: frozenset[int]
    either: bool

    def on(self, day: date) -> bool:
        """Whether it matches at any time of this day."""
        of_month, of_week = day.day in self.days, (day.weekday() + 1) % 7 in self.weekdays
        return day.month in self.months and ((of_month or of_week) if self.either else (of_month and of_week))


@functools.lru_cache(maxsize=256)
def parse_cron(text: str) -> Cron:
    """The expression. Raises ValueError that names the field."""
    words = text.split()
    if len(words) != len(_FIELDS):
        raise ValueError(f"{text!r} is no cron expression: five fields are needed, minute, hour, day, month and day of the week")
    fields = [_field(word, *field) for word, field in zip(words, _FIELDS, strict=True)]
    minutes, hours, days, months, weekdays = fields
    either = not words[2].startswith("*") and not words[4].startswith("*")
    week = frozenset(day % 7 for day in weekdays)
    return Cron(tuple(sorted(minutes)), tuple(sorted(hours)), frozenset(days), frozenset(months), week, either)


def _field(word: str, name: str, low: int, high: int) -> set[int]:
    found: set[int] = set()
    for part in word.split(","):
        match = _PART.fullmatch(part)
        if match is None:
            raise ValueError(f"{part!r} is no {name} of a cron expression")
        first = low if match[1] == "*" else _number(match[2], name, low, high)
        last = high if match[1] == "*" or (match[4] and not match[3]) else _number(match[3], name, low, high) if match[3] else first
        step = int(match[4] or 1)
        if first > last or step < 1:
            raise ValueError(f"{part!r} of a cron expression is an empty range ({name})")
        found.update(range(first, last + 1, step))
    return found


def _number(text: str, name: str, low: int, high: int) -> int:
    names = {"month": {word: at for at, word in enumerate(_MONTHS, 1)}, "day of the week": {word: at for at, word in enumerate(_DAYS)}}
    value = names.get(name, {}).get(text.lower(), int(text) if text.isascii() and text.isdigit() else -1)
    if not low <= value <= high:
        raise ValueError(f"{text!r} is no {name} of a cron expression: {low} to {high}")
    return value
