"""What Git says about one plan at one moment, as values: releases in order, where rings are, what clusters reported, what people decided.

The rules see nothing else. Whoever fills a view (a mirror of a repository, or a simulation) has already thrown away what is not to be believed.
"""

from __future__ import annotations

import bisect
import enum
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

SKEW = 300.0
"""Seconds by which clocks of clusters may be ahead of ours."""


class Outcome(enum.StrEnum):
    """How a cluster's last run of a release ended. DEGRADED: it had succeeded, and broke afterwards."""

    SUCCEEDED = "succeeded"
    FAILED = "failed"
    DEGRADED = "degraded"


@dataclass(frozen=True, slots=True)
class Candidate:
    """One release in the order of the source branch: the commit that introduced it, and that commit's time (Unix seconds)."""

    release: str
    commit: str
    at: float
    images: frozenset[str] = frozenset()
    subject: str = ""


@dataclass(frozen=True, slots=True)
class Record:
    """What one cluster said last about one release. Times are Unix seconds by that cluster's clock.

    `replaced`: when another release took its place there; infinity while none has.
    """

    cluster: str
    release: str
    outcome: Outcome
    started: float
    finished: float
    samples: int = 0
    replaced: float = math.inf


@dataclass(frozen=True, slots=True)
class Tally:
    """The records of one release in one ring, counted once and asked often. `good` are (finished, samples) in order of time.

    `degraded`: those of the bad that had succeeded before.
    """

    good: tuple[tuple[float, int], ...] = ()
    bad: tuple[tuple[float, str], ...] = ()
    said: frozenset[str] = frozenset()
    replaced: int = 0
    degraded: frozenset[str] = frozenset()

    def named(self, cluster: str) -> str:
        """A cluster that failed, for people."""
        return f"{cluster} degraded" if cluster in self.degraded else cluster

    def good_until(self, at: float) -> int:
        """How many had succeeded at this moment, by their own clocks."""
        return bisect.bisect_right(self.good, (at, math.inf))

    def failed(self, since: float = -math.inf) -> int:
        """How many failed after this moment."""
        return len(self.bad) - bisect.bisect_right(self.bad, (since, "\U0010ffff"))


NOTHING = Tally()


def tally(records: Iterable[Record], *, bake: float) -> Tally:
    """Count the records of one release by members of one ring; one a cluster. A success that was replaced before it had baked proves nothing."""
    every, won = tuple(records), Outcome.SUCCEEDED
    wins = [one for one in every if one.outcome is won]
    good = sorted([(one.finished, one.samples) for one in wins if one.replaced >= one.finished + bake])
    bad = sorted([(one.finished, one.cluster) for one in every if one.outcome is not won]) if len(wins) < len(every) else []
    degraded = frozenset([one.cluster for one in every if one.outcome is Outcome.DEGRADED]) if bad else frozenset[str]()
    return Tally(tuple(good), tuple(bad), frozenset([one.cluster for one in every]), len(wins) - len(good), degraded)


@dataclass(frozen=True, slots=True)
class Head:
    """Where a ring is: its branch's newest commit, or its overlay's folder at the source's commit.

    `position` is the index of its release among the candidates; past their end when the release is older than they are. `astray`: why the
    ring is not ours to move, or empty.
    """

    commit: str = ""
    release: str = ""
    position: int = 0
    astray: str = ""


@dataclass(frozen=True, slots=True)
class Approval:
    """A person's consent to open a ring for a release; `at` is when it was committed."""

    at: float
    by: str = ""


@dataclass(frozen=True, slots=True)
class Exemption:
    """An emergency: windows and freezes do not hold for a release, and rings before `ring` (if named) are not waited for."""

    at: float
    ring: str = ""
    by: str = ""


@dataclass(frozen=True, slots=True)
class Rollback:
    """A recorded rollback: the ring goes back to a release, and takes only releases that came after the rollback."""

    at: float
    release: str
    by: str = ""


@dataclass(frozen=True, slots=True)
class View:
    """All of it. `tallies` by ring and release, `approvals` by release and ring, `candidates` newest first.

    `published` holds the files of the state branch by path. `problems` are sentences about what was not believed or not understood.
    """

    candidates: Sequence[Candidate] = ()
    members: Mapping[str, Sequence[str]] = field(default_factory=dict)
    tallies: Mapping[tuple[str, str], Tally] = field(default_factory=dict)
    heads: Mapping[str, Head] = field(default_factory=dict)
    approvals: Mapping[tuple[str, str], Approval] = field(default_factory=dict)
    exemptions: Mapping[str, Exemption] = field(default_factory=dict)
    resumed: Mapping[str, float] = field(default_factory=dict)
    rollbacks: Mapping[str, Rollback] = field(default_factory=dict)
    published: Mapping[str, bytes] = field(default_factory=dict)
    problems: Sequence[str] = ()
    source: str = ""

    def tally(self, ring: str, release: str) -> Tally:
        """What the ring's members said about a release."""
        return self.tallies.get((ring, release), NOTHING)
