"""Where one release stands in one ring: may it begin there, what did the clusters say, has it passed, and when.

The moment at which a ring passed is computed from the records' own times and not from when somebody looked: every reader of the same commits gets the
same moment, and nothing has to be remembered. A ring has passed at the first moment at which enough of its clusters had succeeded, nothing was
missing that is not allowed to be, and no success was younger than the bake time. Laggards that succeed later do not take that back; failures do.
"""

from __future__ import annotations

import bisect
import enum
import itertools
import math
from dataclasses import dataclass
from datetime import UTC, datetime

from canary.api.rolloutplan import Ring, at_least, at_most
from canary.gitops.rings.halts import SHOWN
from canary.gitops.rings.view import SKEW, Tally


class Phase(enum.StrEnum):
    """WAITING: not open yet. OPEN: its clusters may release. BAKING: enough have succeeded, not long enough ago. HALTED: it was stopped here."""

    WAITING = "waiting"
    OPEN = "open"
    BAKING = "baking"
    PASSED = "passed"
    FAILED = "failed"
    HALTED = "halted"
    SUPERSEDED = "superseded"


@dataclass(frozen=True, slots=True)
class Standing:
    """One release in one ring. Times are Unix seconds, infinity for never.

    `since`: when it opened, or will; `opens`: whether clusters may begin now; `passed_at`: when it passed, or will; `why` explains `phase`.
    """

    ring: str
    release: str
    phase: Phase
    why: str
    members: int = 0
    succeeded: int = 0
    failed: int = 0
    missing: int = 0
    since: float = math.inf
    opens: bool = False
    passed_at: float = math.inf

    @property
    def passed(self) -> bool:
        """Whether the next ring may take the release as far as this ring is concerned."""
        return self.phase is Phase.PASSED


@dataclass(frozen=True, slots=True)
class Count:
    """What the members of a ring said until now."""

    members: int
    succeeded: int
    failed: int
    failing: tuple[str, ...]
    replaced: int
    degraded: int = 0

    @property
    def missing(self) -> int:
        """Members of which nothing counts."""
        return max(0, self.members - self.succeeded - self.failed)

    def __str__(self) -> str:
        text = f"{self.succeeded} of {self.members} succeeded"
        if self.failed:
            names = ", ".join(self.failing[:SHOWN]) + (" and others" if self.failed > SHOWN else "")
            text += f", {self.failed} failed ({names})"
        if self.replaced:
            text += f", {self.replaced} replaced before they had baked"
        return text


def count(tally: Tally, members: int, *, now: float, resumed: float) -> Count:
    """Successes whose time has come, and failures since the release was last resumed, whatever their time: clocks may be wrong, failures never wait."""
    bad = [cluster for at, cluster in tally.bad if at > resumed]
    failing = tuple(tally.named(cluster) for cluster in sorted(bad)[:SHOWN])
    return Count(
        members, tally.good_until(now + SKEW), len(bad), failing, tally.replaced, sum(cluster in tally.degraded for cluster in bad)
    )


def judge(ring: Ring, tally: Tally, found: Count, *, since: float, now: float) -> tuple[Phase, str, float]:
    """Phase of an open ring, why, and when it passes as things are (infinity: not by waiting)."""
    limit = at_most(ring.passing.failed, found.members)
    if found.failed > limit:
        return Phase.FAILED, f"{found}; {limit} may fail", math.inf
    if found.degraded:  # no budget allows it: the analysis let it pass, so the next ring's would, too
        return Phase.FAILED, f"{found}; what broke after it had succeeded has not baked", math.inf
    at = passes_at(ring, tally, found, since=since)
    if at <= now:
        return Phase.PASSED, f"{found}", at
    if math.isinf(at):
        return Phase.OPEN, f"{found}; {_lacking(ring, tally, found)}", at
    if found.missing and at == since + ring.patience:
        return Phase.BAKING, f"{found}; {found.missing} are waited for until {moment(at)}", at
    return Phase.BAKING, f"{found}; bakes until {moment(at)}", at


def passes_at(ring: Ring, tally: Tally, found: Count, *, since: float) -> float:
    """The first moment at which everything that is asked of the ring was true together; infinity when more must happen first."""
    rules, members, good = ring.passing, found.members, tally.good
    allowed, bake, patient = at_most(rules.missing, members), ring.bake, since + ring.patience
    samples = [0, *itertools.accumulate(number for _, number in good[: found.succeeded])] if rules.min_samples else None
    number = max(at_least(rules.succeeded, members), members - found.failed - allowed, 0)
    while number <= found.succeeded:
        at = max((good[number - 1][0] if number else since) + bake, since)
        if number + found.failed < members and at < patient:
            at = patient
        if number < found.succeeded and good[number][0] <= at:  # another success came by then, and has to bake as well
            number = max(number + 1, min(bisect.bisect_right(good, (at, math.inf)), found.succeeded))
        elif samples is None or samples[number] >= rules.min_samples:
            return at
        else:
            number += 1
    return math.inf


def _lacking(ring: Ring, tally: Tally, found: Count) -> str:
    needed = at_least(ring.passing.succeeded, found.members)
    if found.succeeded < needed:
        return f"{needed} are needed"
    allowed = at_most(ring.passing.missing, found.members)
    if found.missing > allowed:
        return f"{found.missing} have said nothing, {allowed} may"
    if found.missing and math.isinf(ring.patience):
        return f"{found.missing} have said nothing and are waited for"
    samples = sum(number for _, number in tally.good[: found.succeeded])
    return f"{samples} samples were taken, {ring.passing.min_samples} are needed"


def moment(at: float) -> str:
    """A time for people."""
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M:%SZ")
