"""When did which canary enter which phase: one watch, with the time of arrival of every change.

Rejected: polling lists (a second of error with a hundred canaries, and the API server would spend its time on the instrument).
"""

import json
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from bench.load import CANARIES
from bench.watch import Watch
from tests.testbed.cluster import Cluster


class ReleaseFailedError(Exception):
    """A release that had to succeed did not; the message holds the canary's status."""


@dataclass(frozen=True, slots=True)
class Moment:
    """A change that arrived `at` (seconds of the monotonic clock)."""

    at: float
    phase: str
    weight: int


class Timeline:
    """Watches the bench's canaries from its construction until `close`."""

    def __init__(self, cluster: Cluster) -> None:
        self._moments: dict[str, list[Moment]] = {}
        self._statuses: dict[str, dict[str, Any]] = {}
        self._changed = threading.Condition()
        self._watch = Watch(cluster, CANARIES, self._take)

    def close(self) -> None:
        """End the watch."""
        self._watch.close()

    def first(self, name: str, phase: str, *, after: float) -> float | None:
        """When this canary first entered `phase` after a moment; None when it has not."""
        return next((moment.at for moment in self._moments.get(name, ()) if moment.phase == phase and moment.at > after), None)

    def wait(self, phase: str, after: Mapping[str, float], *, timeout: float, alarm: Callable[[], None]) -> dict[str, float]:
        """Seconds from each canary's moment in `after` until it first entered `phase`.

        `alarm` is called every second; what it raises ends the wait. Raises TimeoutError, and ReleaseFailedError on a failed release.
        """
        deadline = time.monotonic() + timeout
        while True:
            found = {name: self.first(name, phase, after=at) for name, at in after.items()}
            done = {name: at - after[name] for name, at in found.items() if at is not None}
            if len(done) == len(after):
                return done
            alarm()
            self._check(after, open_=[name for name in after if name not in done])
            if time.monotonic() > deadline:
                raise TimeoutError(f"{len(done)} of {len(after)} canaries were {phase} after {timeout:g} s")
            with self._changed:
                self._changed.wait(1.0)

    def _check(self, after: Mapping[str, float], *, open_: list[str]) -> None:
        if self._watch.problem:
            raise ReleaseFailedError(f"the watch of the canaries ended: {self._watch.problem}")
        for name in open_:
            if self.first(name, "Failed", after=after[name]) is not None:
                raise ReleaseFailedError(f"the release of {name} failed: {json.dumps(self._statuses[name])}")

    def _take(self, body: dict[str, Any]) -> None:
        at = time.monotonic()
        name, status = body["metadata"]["name"], body.get("status") or {}
        moment = Moment(at, status.get("phase") or "", int(status.get("canaryWeight") or 0))
        with self._changed:
            self._statuses[name] = status
            moments = self._moments.setdefault(name, [])
            if not moments or (moments[-1].phase, moments[-1].weight) != (moment.phase, moment.weight):
                moments.append(moment)
            self._changed.notify_all()
