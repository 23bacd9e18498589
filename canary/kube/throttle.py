"""Token buckets: the client's own limit (`--kubeconfig-qps`) and the event recorder's.

Reservations instead of polling: `reserve` always answers at once with how long to wait, so callers are served in the order
in which they came and nobody spins. A semaphore with a timer was rejected: it keeps a task alive while nothing happens.
"""

from __future__ import annotations

import time
from collections.abc import Callable


class TokenBucket:
    """`burst` tokens at first, `rate` more a second, never more than `burst`. Not safe across threads."""

    __slots__ = ("_at", "_burst", "_clock", "_rate", "_tokens")

    def __init__(self, *, rate: float, burst: float, clock: Callable[[], float] = time.monotonic) -> None:
        if rate <= 0 or burst < 1:
            raise ValueError(f"a token bucket needs a rate over 0 and a burst of at least 1, not {rate} and {burst}")
        self._rate = rate
        self._burst = float(burst)
        self._clock = clock
        self._tokens = self._burst
        self._at = clock()

    def pace(self, rate: float) -> None:
        """Another rate (over 0) from now on; a debt is paid at the new one."""
        self._fill()
        self._rate = rate

    def reserve(self) -> float:
        """Take one token, into debt if need be. Returns the seconds after which it is really ours (0: now)."""
        self._fill()
        self._tokens -= 1
        return max(0.0, -self._tokens / self._rate)

    def take(self) -> bool:
        """Take one token if there is one."""
        self._fill()
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True

    def wait(self) -> float:
        """Seconds until `take` would succeed (0: now). Takes nothing."""
        self._fill()
        return max(0.0, (1 - self._tokens) / self._rate)

    def _fill(self) -> None:
        now = self._clock()
        self._tokens = min(self._burst, self._tokens + (now - self._at) * self._rate)
        self._at = now
