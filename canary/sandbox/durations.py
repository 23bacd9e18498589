"""Ages as kubectl prints them: two units at most, coarser as time goes by."""

from datetime import UTC, datetime
from typing import Any


def age(stamp: Any, now: datetime) -> str:
    """Time since an RFC 3339 stamp, e.g. `95s`, `5m10s`, `3h`, `12d`; `<unknown>` without one."""
    if not isinstance(stamp, str) or not stamp:
        return "<unknown>"
    try:
        then = datetime.fromisoformat(stamp)
    except ValueError:
        return "<invalid>"
    return human((now - then.astimezone(UTC)).total_seconds())


def human(duration: float) -> str:
    """A duration in seconds."""
    seconds = int(duration)
    if seconds < 0:
        return "0s" if seconds >= -1 else "<invalid>"
    if seconds < 120:
        return f"{seconds}s"
    minutes, hours, days = seconds // 60, seconds // 3600, seconds // 86400
    if minutes < 10:
        return _two(minutes, "m", seconds % 60, "s")
    if minutes < 180:
        return f"{minutes}m"
    if hours < 8:
        return _two(hours, "h", minutes % 60, "m")
    if hours < 48:
        return f"{hours}h"
    if days < 8:
        return _two(days, "d", hours % 24, "h")
    if days < 730:
        return f"{days}d"
    return _two(days // 365, "y", days % 365, "d") if days < 2920 else f"{days // 365}y"


def _two(large: int, unit: str, small: int, smaller: str) -> str:
    return f"{large}{unit}{small}{smaller}" if small else f"{large}{unit}"
