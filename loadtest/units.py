"""Durations, sizes and truth values as people write them in manifests and flags.

Durations and truth values follow Go, because flags and metadata that were written for Flagger use its forms.
A library for durations was rejected: the ones on offer accept forms that Go refuses, and this is a table and a loop.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Final

_SECONDS: Final = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "μs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
_PART: Final = re.compile(r"([0-9]+(?:\.[0-9]*)?|\.[0-9]+)(ns|us|µs|μs|ms|s|m|h)")
_SIZE: Final = re.compile(r"([0-9]+)\s*(|B|KiB|MiB|K|M|Ki|Mi)")
_FACTOR: Final = {"": 1, "B": 1, "KiB": 1024, "MiB": 1024**2, "K": 1000, "M": 1000**2, "Ki": 1024, "Mi": 1024**2}
_TRUE: Final = frozenset({"1", "t", "T", "TRUE", "true", "True"})
_FALSE: Final = frozenset({"0", "f", "F", "FALSE", "false", "False"})


def parse_duration(text: str) -> float:
    """Seconds of a Go duration such as `1h`, `2m30s` or `500ms`; `0` needs no unit.

    Raises ValueError for anything else and for negative values: nothing here has a use for them.
    """
    if text == "0":
        return 0.0
    position, seconds = 0, 0.0
    while match := _PART.match(text, position):
        seconds += float(match[1]) * _SECONDS[match[2]]
        position = match.end()
    if not position or position != len(text):
        raise ValueError(f"{text!r} is no duration; write a number with a unit, such as 30s, 5m or 1h30m")
    return seconds


def parse_positive_duration(text: str) -> float:
    """The same, but zero is refused with ValueError: a limit of nothing would stop every task."""
    seconds = parse_duration(text)
    if seconds <= 0:
        raise ValueError(f"{text!r} must be longer than nothing")
    return seconds


def parse_size(text: str) -> int:
    """Bytes of `65536`, `64KiB`, `1MiB` (or Ki, Mi, K, M). Raises ValueError."""
    match = _SIZE.fullmatch(text)
    if match is None:
        raise ValueError(f"{text!r} is no size; write bytes, or a number with KiB or MiB")
    return int(match[1]) * _FACTOR[match[2]]


def parse_bool(text: str) -> bool:
    """True or False of the spellings that Go's strconv.ParseBool takes. Raises ValueError for others."""
    if text in _TRUE:
        return True
    if text in _FALSE:
        return False
    raise ValueError(f"{text!r} is neither true nor false")


def is_true(text: str | None) -> bool:
    """Whether metadata such as `logCmdOutput` says yes; absent or unreadable is no, as upstream."""
    return text in _TRUE


def now() -> datetime:
    """The time of day, aware and in UTC; the one clock that is shown to people."""
    return datetime.now(UTC)


def format_time(moment: datetime) -> str:
    """RFC 3339 with milliseconds and Z, such as 2026-01-02T03:04:05.678Z."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def parse_time(text: str) -> datetime:
    """The reverse of `format_time`. Raises ValueError, also when the zone is missing."""
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError(f"{text!r} names no time zone")
    return moment.astimezone(UTC)
