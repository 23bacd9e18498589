"""The rules of rings: from what Git says and the time, which ring may take which release, why not, and what to write.

A pure function, so that every cluster, a person at a terminal and a simulation of 5,000 clusters come to the same decision from the same
commits. Rings are never skipped: a release may begin in a ring only if it has passed every ring before. Rings never go back by themselves: a
release that is older than the one a ring has is not taken, unless a rollback is recorded, or the plan asks for it when a release is halted. What is not
known closes.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from canary.api.rolloutplan import ApprovalKind, Mode, Ring, RolloutPlan, Supersede, Then
from canary.gitops.rings import state
from canary.gitops.rings.halts import Halt, halt_of
from canary.gitops.rings.standing import Phase, Standing, count, judge, moment
from canary.gitops.rings.view import SKEW, Candidate, Exemption, Head, View
from canary.gitops.rings.windows import next_time

CONSIDERED = 20
"""Releases that are looked at, newest first."""


@dataclass(frozen=True, slots=True)
class Move:
    """Take a ring to a release. `expected`: what the ring's branch must still be; `back`: to an older one."""

    ring: str
    release: str
    commit: str
    expected: str
    back: bool = False


@dataclass(frozen=True, slots=True)
class Publish:
    """Write a file of the state branch; `content` is the same whoever writes it."""

    path: str
    content: bytes


@dataclass(frozen=True, slots=True)
class Decision:
    """What holds now. `standings` by release (newest first) and ring; `targets`: the release that each ring should have, by ring.

    `halted`: why, by release; `where`: the rings in which it began. `wake_at`: when a decision may differ without a new commit; infinity for never.
    """

    standings: tuple[tuple[Standing, ...], ...]
    targets: dict[str, str]
    moves: tuple[Move, ...]
    publish: tuple[Publish, ...]
    halted: dict[str, str]
    where: dict[str, tuple[str, ...]]
    wake_at: float

    def standing(self, release: str, ring: str) -> Standing | None:
        """Where a release stands in a ring; None when it was not looked at."""
        return next((one for row in self.standings for one in row if (one.release, one.ring) == (release, ring)), None)


def decide(plan: RolloutPlan, view: View, now: float) -> Decision:
    """The decision. Raises Rejected for a time zone that is not known."""
    walk = _Walk(plan, view, now)
    targets = {ring.name: one for ring in plan.spec.rings if (one := walk.target(ring))}
    rows = tuple(walk.explained(one, targets) for one in walk.shown(targets))
    moves = tuple(move for ring in plan.spec.rings if (move := walk.move(ring, targets.get(ring.name))))
    publish = (*walk.files_of_halts(), *walk.folds(rows))
    halted = {release: halt.why for release, halt in walk.halts.items()}
    where = {release: halt.rings for release, halt in walk.halts.items()}
    return Decision(rows, {name: one.release for name, one in targets.items()}, moves, publish, halted, where, walk.wake_at)


class _Walk:
    """One evaluation; remembers standings, because a ring's depends on all before it."""

    def __init__(self, plan: RolloutPlan, view: View, now: float) -> None:
        self.plan, self.view, self.now = plan, view, now
        self.rings = plan.spec.rings
        self.candidates = view.candidates[:CONSIDERED]
        self.wake_at = math.inf
        self._numbers = {ring.name: number for number, ring in enumerate(self.rings)}
        self._rows: dict[str, tuple[Standing, ...]] = {}
        self.halts: dict[str, Halt] = {one.release: halt for one in self.candidates if (halt := halt_of(plan, view, one))}

    def row(self, one: Candidate) -> tuple[Standing, ...]:
        """The release in all rings."""
        if one.release not in self._rows:
            before: Standing | None = None
            found = []
            for number, ring in enumerate(self.rings):
                before = self._standing(number, ring, one, before)
                found.append(before)
            self._rows[one.release] = tuple(found)
        return self._rows[one.release]

    def shown(self, targets: Mapping[str, Candidate]) -> Iterator[Candidate]:
        """Releases that matter: from the newest to the first that has passed all rings, and those that rings have or should have."""
        held = {head.release for head in self.view.heads.values()} | {one.release for one in targets.values()}
        done = False
        for one in self.candidates:
            if not done or one.release in held:
                yield one
            done = done or (one.release not in self.halts and self.row(one)[-1].passed)

    def explained(self, one: Candidate, targets: Mapping[str, Candidate]) -> tuple[Standing, ...]:
        """A row for readers: where another release goes first, this one does not begin, and it says so."""
        return tuple(self._superseded(one, standing, targets.get(standing.ring)) for standing in self.row(one))

    def _superseded(self, one: Candidate, standing: Standing, target: Candidate | None) -> Standing:
        if standing.phase not in {Phase.OPEN, Phase.WAITING} or target is one or one.release in self.halts:
            return standing
        first = next(iter(self._eligible()), None)
        other = target if target and self.candidates.index(target) < self.candidates.index(one) else first
        if other is None or other is one or (other is first and self.plan.spec.supersede is Supersede.NEWEST_GOOD):
            return standing
        word = "waits for" if self.candidates.index(other) > self.candidates.index(one) else "superseded by"
        return replace(standing, phase=Phase.SUPERSEDED, why=f"{word} {other.release}", opens=False)

    def target(self, ring: Ring) -> Candidate | None:
        """What the ring should have now: the newest release that may begin there; None when none may."""
        found, retreat = self._opened(ring), self._retreat(ring)
        if retreat and (found is None or self.candidates.index(found) > self.view.heads[ring.name].position):
            return retreat
        return found

    def _opened(self, ring: Ring) -> Candidate | None:
        at = self._numbers[ring.name]
        rollback = self.view.rollbacks.get(ring.name)
        for one in self._eligible():
            if rollback and one.at <= rollback.at:
                break
            if self.row(one)[at].opens:
                return one
        if rollback:
            return next((one for one in self.candidates if one.release == rollback.release), None)
        return None

    def _retreat(self, ring: Ring) -> Candidate | None:
        """Where a ring goes back to from a release that was halted, if the plan says so: the one before that it has passed, at any hour."""
        head = self.view.heads.get(ring.name)
        if head is None or head.astray or self.plan.spec.suspend or self.plan.spec.halt.then is Then.HOLD:
            return None
        halt, at = self.halts.get(head.release), self._numbers[ring.name]
        if halt is None or not halt.proven:
            return None
        older = self.candidates[head.position + 1 :]
        return next((one for one in older if one.release not in self.halts and self.row(one)[at].passed), None)

    def _eligible(self) -> Sequence[Candidate]:
        """Releases that may open rings, the preferred first, by the plan's rule of what a newer one does to an older one."""
        alive = [one for one in self.candidates if one.release not in self.halts]
        match self.plan.spec.supersede:
            case Supersede.NEWEST_GOOD:
                return alive
            case Supersede.LATEST:
                return alive[:1]
            case Supersede.QUEUE:
                last = self.view.heads.get(self.rings[-1].name, Head(position=len(self.candidates))).position
                unfinished = list(itertools.takewhile(lambda one: not self._arrived(one, last), alive))
                return unfinished[-1:] or alive[:1]

    def _arrived(self, one: Candidate, last: int) -> bool:
        """Whether a release is everywhere. The last ring may have been there before there were any records."""
        return self.row(one)[-1].passed or self.candidates.index(one) > last

    def move(self, ring: Ring, target: Candidate | None) -> Move | None:
        """How the ring comes to its target; None in mode gate, when it is there, and when it is not ours to move."""
        head = self.view.heads.get(ring.name, Head(position=len(self.view.candidates)))
        if target is None or self.plan.spec.mode is Mode.GATE or head.astray or self._follows_source(ring):
            return None
        position = next(at for at, one in enumerate(self.view.candidates) if one.commit == target.commit)
        rollback = self.view.rollbacks.get(ring.name)
        back = position > head.position
        recorded = rollback is not None and rollback.release == target.release and target.at <= rollback.at
        returning = recorded or target is self._retreat(ring)
        if position == head.position or back != returning:  # a rollback takes no ring forward, and nothing else takes one back
            return None
        return Move(ring.name, target.release, target.commit, head.commit, back)

    def _follows_source(self, ring: Ring) -> bool:
        return self.plan.spec.mode is Mode.BRANCH and ring.branch_name == self.plan.spec.source.branch

    # ------------------------------------------------------------------------------------------- one standing

    def _standing(self, number: int, ring: Ring, one: Candidate, before: Standing | None) -> Standing:
        halt, standing = self.halts.get(one.release), self._unhalted(number, ring, one, before)
        return self._stopped(ring, standing, halt) if halt else standing

    def _stopped(self, ring: Ring, one: Standing, halt: Halt) -> Standing:
        """A ring of a halted release: the halt began here, or the ring had passed, or it waits behind the halt."""
        after = self._afterwards(ring, halt) if self.view.heads.get(ring.name, Head()).release == one.release else ""
        if one.passed and ring.name not in halt.rings:
            return replace(one, why=f"{one.why}{after}", opens=False)
        if ring.name in halt.rings or not halt.rings:
            return replace(one, phase=Phase.HALTED, why=f"{halt.why}{after}", opens=False, passed_at=math.inf)
        return replace(one, phase=Phase.WAITING, why=f"{halt.behind}{after}", opens=False, passed_at=math.inf)

    def _afterwards(self, ring: Ring, halt: Halt) -> str:
        """What becomes of a ring that has a halted release."""
        if self.plan.spec.halt.then is Then.HOLD:
            return ""
        if self._follows_source(ring):
            return f"; it follows {self.plan.spec.source.branch}, so people revert there"
        if not halt.proven:
            return "; no record says so now, so it does not go back by itself"
        back = self._retreat(ring)
        return (
            f"; it goes back to {back.release}"
            if back
            else "; no release before this one has passed here, so it does not go back by itself"
        )

    def _unhalted(self, number: int, ring: Ring, one: Candidate, before: Standing | None) -> Standing:
        members = len(self.view.members.get(ring.name, ()))
        tally = self.view.tally(ring.name, one.release)
        found = count(tally, members, now=self.now, resumed=self.view.resumed.get(one.release, -math.inf))
        if found.succeeded < len(tally.good):
            self._wake(tally.good[found.succeeded][0] - SKEW)  # its clock is ahead; it counts when ours is there
        numbers = (members, found.succeeded, found.failed, found.missing)
        since, opens, waits = self._opening(number, ring, one, before)
        if since > self.now:
            self._wake(since)
            return Standing(ring.name, one.release, Phase.WAITING, waits, *numbers, since)
        phase, why, at = judge(ring, tally, found, since=since, now=self.now)
        self._wake(at)
        if not opens and phase is Phase.OPEN:
            why = f"{why}; {waits}"
        return Standing(ring.name, one.release, phase, why, *numbers, since, opens and phase is not Phase.FAILED, at)

    def _opening(self, number: int, ring: Ring, one: Candidate, before: Standing | None) -> tuple[float, bool, str]:
        """Since when the release may begin here (infinity: it may not), whether it may at this moment, and why not."""
        exempt = self.view.exemptions.get(one.release)
        since = min(one.at, self.now)  # whose clock is ahead has not released in the future
        if before and not self._skips(number, exempt):
            if not before.passed:
                return math.inf, False, f"ring {before.ring} has not passed"
            since = max(since, before.passed_at)
        if len(self.view.members.get(ring.name, ())) < ring.min_members:
            return math.inf, False, f"ring {ring.name} has fewer than {ring.min_members} clusters"
        if ring.approval is ApprovalKind.GIT:
            approval = self.view.approvals.get((one.release, ring.name))
            if approval is None:
                return math.inf, False, f"nobody has approved {one.release} for ring {ring.name}"
            since = max(since, min(approval.at, self.now))
        if self.plan.spec.suspend:
            return math.inf, False, "the plan is suspended"
        if exempt:
            return max(since, min(exempt.at, self.now)), True, ""
        return self._timing(ring, since)

    def _skips(self, number: int, exempt: Exemption | None) -> bool:
        names = [ring.name for ring in self.rings]
        return exempt is not None and exempt.ring in names and number <= names.index(exempt.ring)

    def _timing(self, ring: Ring, since: float) -> tuple[float, bool, str]:
        """Windows and freezes: when the ring opened first, and whether it may begin more right now."""
        windows, freezes = ring.windows, self.plan.spec.freezes
        if not windows and not freezes:
            return since, since <= self.now, ""
        first = next_time(windows, freezes, since)
        again = next_time(windows, freezes, self.now)
        if first <= self.now and again == self.now:
            return first, True, ""
        self._wake(again)
        when = moment(max(first, again)) if math.isfinite(max(first, again)) else "no time within a year"
        return first, False, f"outside of windows or in a freeze; next at {when}"

    def _wake(self, at: float) -> None:
        if at > self.now:
            self.wake_at = min(self.wake_at, at)

    # ------------------------------------------------------------------------------------------- state branch

    def files_of_halts(self) -> Iterator[Publish]:
        """Halts that nobody has written down yet."""
        for one in self.candidates:
            if one.release not in self.halts:
                continue
            resumed = self.view.resumed.get(one.release, -math.inf)
            path = state.halt_path(self.plan, one.release, resumed)
            if path not in self.view.published:
                yield Publish(path, state.halt(self.plan, self.view, one, self.halts[one.release].why, resumed=resumed))

    def folds(self, rows: Sequence[Sequence[Standing]]) -> Iterator[Publish]:
        """Why rings passed, as far as it is not written down under this very plan."""
        plan_id = state.plan_id(self.plan)
        for row in rows:
            for one, ring in zip(row, self.rings, strict=True):
                path = state.fold_path(self.plan, one.release, one.ring)
                if (
                    one.passed
                    and one.members
                    and one.release not in self.halts
                    and state.plan_of(self.view.published.get(path, b"")) != plan_id
                ):
                    yield Publish(path, state.fold(self.plan, self.view, ring, one))
