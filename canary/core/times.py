"""Between the clock of a snapshot (Unix seconds) and the timestamps of a status.

The rules have no clock: `now` comes with the snapshot, so a tick can be replayed. Kubernetes writes whole seconds; when a
step was taken must be known to the millisecond, because intervals go down to one second.
"""

from __future__ import annotations

from datetime import UTC, datetime


def whole(now: float) -> datetime:
    """The moment in whole seconds, as Kubernetes writes times."""
    return datetime.fromtimestamp(int(now), UTC)


def precise(now: float) -> datetime:
    """The moment in whole milliseconds (cut, never rounded up: a step must not seem to lie in the future)."""
    return datetime.fromtimestamp(int(now), UTC).replace(microsecond=int(now * 1000) % 1000 * 1000)


def remaining(since: datetime | None, *, interval: float, now: float) -> float:
    """Seconds until `interval` has passed since then; 0 when it has, or when there is no then.

    A moment in the future (a clock that was set back) counts as now: the wait is never longer than one interval.
    """
    if since is None:
        return 0.0
    return max(0.0, min(interval, since.timestamp() + interval - now))
