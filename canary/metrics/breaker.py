"""A source that does not answer costs one time-out, not one for every canary that asks it.

After three failures in a row (no connection, no answer in time, "not now") further questions are answered at once, with the last error, for
5 seconds; then one of them may try. If that fails, too, the wait doubles, up to a minute. Any answer ends it, an error message included: a
source that refuses a query is there.

One query that is too slow for its source must not lock out the others: while all failures were time-outs of one and the same query, only
that query is held back. Pure: the time is an argument, so that every order of events can be tested.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

THRESHOLD = 3
FIRST_WINDOW = 5.0
LONGEST_WINDOW = 60.0
SIZE = 1024
"""Failing sources remembered; a healthy one needs no memory."""


@dataclass(frozen=True, slots=True)
class Admission:
    """May this question be asked? `refusal` says why not. `probe`: it is the one that tries a source that was held to be dead."""

    refusal: str = ""
    probe: bool = False


@dataclass(frozen=True, slots=True)
class Failure:
    """What happened to a question. `wish`: seconds that the source asked to be left alone."""

    text: str
    message: str
    timed_out: bool = False
    wish: float = 0.0


class Breaker:
    """The memory of one source, from its first failure to its next answer. Times in seconds, monotonic."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._failures = 0
        self._slow: str | None = None
        """The query whose time-outs are all that happened so far."""
        self._last = ""
        self._window = 0.0
        self._until = 0.0
        self._probing = False

    def admit(self, text: str, now: float) -> Admission:
        """Ask before asking; follow with `failed`, with `abandoned`, or by forgetting this breaker."""
        if self._failures < THRESHOLD or (self._slow is not None and text != self._slow):
            return Admission()
        if now >= self._until and not self._probing:
            self._probing = True
            return Admission(probe=True)
        # no times in the sentence: it is told at every tick, and events count a sentence up only while it stays the same
        return Admission(f"{self.name} is unavailable: {self._last}")

    def failed(self, failure: Failure, admission: Admission, now: float) -> None:
        """The question failed because of the source."""
        self._failures += 1
        self._last = failure.message
        alike = self._failures == 1 or self._slow == failure.text
        self._slow = failure.text if failure.timed_out and alike else None
        if admission.probe:
            self._probing = False
            self._open(min(LONGEST_WINDOW, self._window * 2), failure, now)
        elif self._failures == THRESHOLD:  # those that come in later were asked before it
            self._open(FIRST_WINDOW, failure, now)

    def abandoned(self, admission: Admission) -> None:
        """The question was never answered because nobody waited for it: the next one may try."""
        if admission.probe:
            self._probing = False

    def _open(self, window: float, failure: Failure, now: float) -> None:
        self._window = window
        self._until = now + max(window, min(failure.wish, LONGEST_WINDOW))


class Breakers:
    """The breakers of all sources that fail, by the source's identity. `clock` in seconds, monotonic."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._breakers: dict[str, Breaker] = {}

    def __len__(self) -> int:
        return len(self._breakers)

    def __contains__(self, identity: str) -> bool:
        """Whether this source has failed since its last answer."""
        return identity in self._breakers

    def admit(self, identity: str, text: str) -> Admission:
        """See `Breaker.admit`."""
        found = self._breakers.get(identity)
        return found.admit(text, self._clock()) if found else Admission()

    def failed(self, identity: str, name: str, failure: Failure, admission: Admission) -> None:
        """See `Breaker.failed`."""
        if identity not in self._breakers:
            while len(self._breakers) >= SIZE:
                self._breakers.pop(next(iter(self._breakers)))
            self._breakers[identity] = Breaker(name)
        self._breakers[identity].failed(failure, admission, self._clock())

    def answered(self, identity: str) -> None:
        """The source is there."""
        self._breakers.pop(identity, None)

    def abandoned(self, identity: str, admission: Admission) -> None:
        """See `Breaker.abandoned`."""
        if found := self._breakers.get(identity):
            found.abandoned(admission)
