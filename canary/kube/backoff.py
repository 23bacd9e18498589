"""Pauses between attempts, for everything that tries again by itself: watches and the event recorder."""

from __future__ import annotations

import random


class Backoff:
    """Growing, jittered pauses in seconds: half of the nominal pause at least, so that replicas spread and nobody hammers."""

    def __init__(self, *, first: float = 0.5, most: float = 30.0) -> None:
        self._first = first
        self._most = most
        self._next = first

    def pause(self) -> float:
        """The next pause."""
        nominal, self._next = self._next, min(self._most, self._next * 2)
        return nominal * random.uniform(0.5, 1.0)

    def reset(self) -> None:
        """Something worked."""
        self._next = self._first
