"""Which tick of a canary a moment belongs to.

The peer runs each canary by a ticker: one tick at once, then one every interval, at fixed distances however long a tick takes. The tickers
are started by a loop that has the same interval, so all canaries tick in the same moment. The first word that is heard of the first of them,
while it is alone, is the anchor of all ticks: a moment belongs to the tick whose beginning lies before it. Rejected: an anchor for each canary (when a
hundred start at once, the first word of one may be two seconds late); clusters of moments with a gap between them (a query that times out
after 5 s leaves a gap inside a tick that is as long as the one behind it).
"""

import math
from dataclasses import dataclass

INTERVAL = 10.0
"""Seconds; the shortest interval that the peer knows."""
EARLY = 1.0
"""Seconds that a tick may come before its time: the first one was slow, so the anchor is late."""
LATEST = 9.0
"""Seconds into a tick, counted from EARLY before its time, after which nothing may be heard: that would belong to either of two ticks."""


@dataclass(frozen=True, slots=True)
class Rhythm:
    """The ticks. Times are seconds of the monotonic clock."""

    anchor: float

    def number(self, at: float) -> int:
        """The tick that this moment belongs to; the anchor is in tick 0."""
        return math.floor((at - self.anchor + EARLY) / INTERVAL)

    def begins(self, number: int) -> float:
        """When a tick begins, if the first one was not slow."""
        return self.anchor + number * INTERVAL

    def offset(self, at: float) -> float:
        """Seconds since the beginning of the tick, 0 up to the interval."""
        return (at - self.anchor + EARLY) % INTERVAL

    def clear(self, at: float) -> bool:
        """Whether it is beyond doubt which tick the moment belongs to."""
        return 0.2 <= self.offset(at) <= LATEST
