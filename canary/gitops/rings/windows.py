"""Windows and freezes: whether something may happen at a moment, and when it next may.

Pure functions of Unix time. Windows begin at wall-clock times of their zone, so that 9 o'clock stays 9 o'clock when clocks change. A freeze always
wins over a window.
"""

from __future__ import annotations

import functools
import math
import zoneinfo
from collections.abc import Iterator, Sequence
from datetime import UTC, date, datetime, timedelta

from canary.api.cron import parse_cron
from canary.api.rolloutplan import Window
from canary.core.errors import Rejected

HORIZON = 366
"""Days ahead that are searched for the next window."""
_DAY = 86400.0


@functools.lru_cache(maxsize=64)
def zone(name: str) -> zoneinfo.ZoneInfo:
    """The time zone. Raises Rejected when this machine does not know it."""
    try:
        return zoneinfo.ZoneInfo(name)
    except (zoneinfo.ZoneInfoNotFoundError, OSError, ValueError) as error:
        raise Rejected(f"time zone {name!r} is not known here", hint="write it like Europe/Copenhagen, or install tzdata") from error


def within(windows: Sequence[Window], at: float) -> bool:
    """Whether this moment is in one of the windows."""
    return end_of(windows, at) > at


def end_of(windows: Sequence[Window], at: float) -> float:
    """When the windows that this moment is in end; the moment itself when it is in none."""
    end = at
    for one in windows:
        length = one.seconds
        end = max([end, *(start + length for start in _starts(one, at - length, at) if start + length > at)])
    return end


def may(windows: Sequence[Window], freezes: Sequence[Window], at: float) -> bool:
    """Whether something may happen at this moment; without windows always, except in a freeze."""
    return (not windows or within(windows, at)) and not within(freezes, at)


def next_time(windows: Sequence[Window], freezes: Sequence[Window], at: float) -> float:
    """The first moment from `at` on when something may happen; infinity when there is none within a year."""
    horizon = at + HORIZON * _DAY
    while at < horizon:
        thawed = end_of(freezes, at)
        if thawed > at:
            at = thawed
        elif not windows or within(windows, at):
            return at
        else:
            at = min((_next_start(one, at, horizon) for one in windows), default=math.inf)
    return math.inf


def _next_start(one: Window, after: float, horizon: float) -> float:
    return next(_starts(one, after, horizon), math.inf)


def _starts(one: Window, after: float, until: float) -> Iterator[float]:
    """Beginnings in (after, until], in order."""
    place = zone(one.tz)
    day = datetime.fromtimestamp(after, place).date()
    last = datetime.fromtimestamp(until, place).date()
    while day <= last:
        yield from (start for start in _of_day(one.cron, one.tz, day) if after < start <= until)
        day += timedelta(days=1)


@functools.lru_cache(maxsize=4096)
def _of_day(cron: str, tz: str, day: date) -> tuple[float, ...]:
    rule = parse_cron(cron)
    if not rule.on(day):
        return ()
    place = zone(tz)
    local = [datetime(day.year, day.month, day.day, hour, minute, tzinfo=place) for hour in rule.hours for minute in rule.minutes]
    return tuple(sorted({moment.astimezone(UTC).timestamp() for moment in local}))
