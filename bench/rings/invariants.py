"""What must hold after every event, checked from the raw history and not by asking the rules again."""

from __future__ import annotations

import bisect
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from canary.api.rolloutplan import Ring, RolloutPlan, at_least, at_most
from canary.gitops.rings.view import SKEW, Outcome, Record

INFINITE = float("inf")


class Broken(AssertionError):  # noqa: N818 - reads as what happened
    """An invariant does not hold."""


@dataclass(slots=True)
class Invariants:
    """I1 to I9. `delay`: poll, fetch and stale read together, in seconds; `records` is the raw history by ring and release."""

    plan: RolloutPlan
    sizes: Mapping[str, int]
    records: Mapping[tuple[str, str], Mapping[str, Record]]
    delay: float
    opened: dict[tuple[str, str], float] = field(default_factory=dict)
    halted_at: dict[str, float] = field(default_factory=dict)
    running: Counter[tuple[str, str]] = field(default_factory=Counter)
    started: set[tuple[str, str]] = field(default_factory=set)
    outcomes: dict[tuple[str, str], str] = field(default_factory=dict)
    effects: dict[str, bytes] = field(default_factory=dict)
    checks: Counter[str] = field(default_factory=Counter)

    def start(self, cluster: str, ring: str, release: str, at: float) -> None:
        """A cluster begins a release."""
        self._require("I1", self.gate(ring, release, at + SKEW), f"{cluster} began {release} at {at:.0f} before ring {ring} was open")
        halted = self.halted_at.get(release, float("inf"))
        self._require("I2", at <= halted + self.delay, f"{cluster} began {release} {at - halted:.0f} s after its halt")
        self.running[ring, release] += 1
        rules = next(one for one in self.plan.spec.rings if one.name == ring)
        if at < self.opened[ring, release] + rules.patience - SKEW - self.delay:
            room = at_most(rules.max_concurrent, self.sizes[ring]) or 1
            self._require("I3", self.running[ring, release] <= room, f"{self.running[ring, release]} of {ring} run {release}; {room} may")
        self._require("I4", (cluster, release) not in self.started, f"{cluster} began {release} twice")
        self.started.add((cluster, release))

    def recorded(self, cluster: str, ring: str, release: str, outcome: str, at: float) -> None:
        """A cluster's outcome is in Git."""
        known = self.outcomes.setdefault((cluster, release), outcome)
        self._require("I4", known == outcome, f"{cluster} says {outcome} of {release} after {known}")
        self.running[ring, release] -= 1
        if outcome == "failed" and release not in self.halted_at and self._failed(release) >= at_least(
            self.plan.spec.halt.failed, sum(self.sizes.values())
        ):  # fmt: skip
            self.halted_at[release] = at

    def published(self, path: str, content: bytes) -> None:
        """Somebody is about to write a file of the state branch."""
        known = self.effects.setdefault(path, content)
        self._require("I5", known == content, f"two readers write different bytes to {path}")

    def wrote(self, path: str) -> None:
        """A file of the state branch is written."""
        self._require("I8", f"file {path}" not in self.effects, f"{path} was written twice")
        self.effects[f"file {path}"] = b""

    def moved(self, ring: str, release: str, at: float, *, before: str) -> None:
        """A ring's branch was moved."""
        self._require("I7", self.gate(ring, release, at + SKEW), f"ring {ring} was moved to {release} without the records for it")
        key = f"move {ring} from {before} to {release}"
        self._require("I8", key not in self.effects, f"{key}: twice")
        self.effects[key] = b""

    def went_back(self, ring: str, bad: str, good: str, at: float) -> None:
        """A ring's branch was moved to an older release."""
        self._require("I9", bad in self.halted_at, f"ring {ring} went back from {bad}, which was not halted")
        rules = next(one for one in self.plan.spec.rings if one.name == ring)
        passed = self._passed(rules, good, at + SKEW, self.opened[ring, good])
        self._require("I9", passed is not None, f"ring {ring} went back to {good}, which it had not passed")

    def finished(self, release: str) -> None:
        """At the end, for a healthy release that nothing replaced: all rings have passed it."""
        last = self.plan.spec.rings[-1]
        passed = self.gate(last.name, release, INFINITE) and self._passed(last, release, INFINITE, self.opened[last.name, release])
        self._require("I6", bool(passed), f"healthy release {release} did not complete")

    # ------------------------------------------------------------------------------------------------ oracle

    def gate(self, ring: str, release: str, at: float) -> bool:
        """Whether every ring before had passed until `at`; once true it is remembered, with the moment since when."""
        if (ring, release) in self.opened:
            return True
        since = 0.0
        for one in self.plan.spec.rings:
            if one.name == ring:
                self.opened[ring, release] = since
                return True
            moment = self._passed(one, release, at, since)
            if moment is None:
                return False
            since = max(since, moment)
        return False

    def _passed(self, ring: Ring, release: str, at: float, since: float) -> float | None:
        """By the words of the rule: the first moment until `at` at which enough had succeeded, nobody was missing who may not be (or no more than may,
        and they had had their time since the ring opened), and no success was younger than the bake time.
        """
        found = self.records.get((ring.name, release), {}).values()
        good = sorted(one.finished for one in found if one.outcome is Outcome.SUCCEEDED and one.replaced >= one.finished + ring.bake)
        bad = sum(one.outcome is not Outcome.SUCCEEDED for one in found)
        members = self.sizes[ring.name]
        if bad > at_most(ring.passing.failed, members) or any(one.outcome is Outcome.DEGRADED for one in found):
            return None
        for moment in sorted({*(time + ring.bake for time in good), since + ring.patience}):
            then = bisect.bisect_right(good, moment)
            missing = members - then - bad
            enough = then >= at_least(ring.passing.succeeded, members)
            patient = not missing or (missing <= at_most(ring.passing.missing, members) and moment >= since + ring.patience - SKEW)
            if moment <= at and enough and patient and (not then or good[then - 1] + ring.bake <= moment):
                return moment
        return None

    def _failed(self, release: str) -> int:
        return sum(
            one.outcome is not Outcome.SUCCEEDED
            for ring in self.plan.spec.rings
            for one in self.records.get((ring.name, release), {}).values()
        )

    def _require(self, name: str, holds: bool, message: str) -> None:
        self.checks[name] += 1
        if not holds:
            raise Broken(f"{name}: {message}")
