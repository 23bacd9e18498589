"""The simulation: events on a virtual clock. Clusters poll, begin, crash, finish, push; liars lie; the network parts; releases come."""

from __future__ import annotations

import contextlib
import heapq
import itertools
import random
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field

from bench.rings.fleet import BEGIN, Cluster, Scenario, clusters, members, plan
from bench.rings.history import Stale, VirtualGit, text
from bench.rings.invariants import Invariants
from canary.api.rolloutplan import Ring
from canary.gitops.rings.decide import Decision, Move, Publish, decide
from canary.gitops.rings.gate import may_begin, turns
from canary.gitops.rings.standing import Phase
from canary.gitops.rings.view import Head, View

FETCH = 20.0
"""Seconds that a fetch or a push takes at most: readers that begin within them see the same version."""
STALE = 120.0
"""Seconds by which a read may be behind."""
BUCKETS = (-240.0, 0.0, 240.0)
"""Clocks of readers, in steps: each has decisions of its own."""


@dataclass(slots=True)
class Report:
    """What came of it."""

    events: int = 0
    decisions: int = 0
    pushes: int = 0
    refused: int = 0
    backs: int = 0
    forged: int = 0
    doubts: int = 0
    crashes: int = 0
    exposed: dict[str, int] = field(default_factory=dict)
    halt_seconds: dict[str, float] = field(default_factory=dict)
    passed: dict[str, float] = field(default_factory=dict)
    days: float = 0.0
    checks: Counter[str] = field(default_factory=Counter)


@dataclass(frozen=True, slots=True)
class Snapshot:
    """One version as readers see it, and its decisions by clock."""

    at: float
    version: int
    view: View
    decisions: dict[float, Decision] = field(default_factory=dict)
    turns: dict[tuple[int, str, bool], frozenset[str]] = field(default_factory=dict)
    kept: list[Decision] = field(default_factory=list)
    """All decisions, because `turns` knows them by identity."""


class World:
    """One run; `finish` raises Broken when an invariant does not hold."""

    def __init__(self, scenario: Scenario) -> None:
        self.scenario, self.dice = scenario, random.Random(scenario.seed)
        self.plan = plan(scenario)
        self.clusters = clusters(scenario, self.dice)
        self.git = VirtualGit(self.plan, members(scenario, self.clusters))
        sizes = dict(zip(scenario.names, scenario.sizes, strict=True))
        self.invariants = Invariants(self.plan, sizes, self.git.records, delay=2 * scenario.poll + FETCH + STALE)
        self.report = Report()
        self.now = BEGIN
        self._bad = {f"v{number}": share for number, share in scenario.bad}
        self._by_name = {one.name: one for one in self.clusters}
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._numbers = itertools.count()
        self._snapshots: deque[Snapshot] = deque()
        self._wake = float("inf")
        self._failures: dict[str, float] = {}

    def finish(self) -> Report:
        """Everything from the first release to the last quiet moment."""
        for number in range(self.scenario.releases):
            self.at(BEGIN + number * self.scenario.every, lambda number=number: self._release(f"v{number}"))  # type: ignore[misc]
        for _ in range(self.scenario.faults.partitions):
            self.at(BEGIN + self.dice.random() * self.scenario.releases * self.scenario.every, self._part)
        while self._events:
            self.now, _, event = heapq.heappop(self._events)
            self.report.events += 1
            event()
        return self._closed()

    def at(self, moment: float, event: Callable[[], None]) -> None:
        heapq.heappush(self._events, (moment, next(self._numbers), event))

    # ------------------------------------------------------------------------------------------------ events

    def _release(self, name: str) -> None:
        self.git.release(name, self.now)
        self._tick_soon()

    def _part(self) -> None:
        """A tenth of the clusters loses its network for a while."""
        until = self.now + self.dice.random() * self.scenario.faults.partition_length
        for one in self.dice.sample(self.clusters, max(1, len(self.clusters) // 10)):
            one.away_until = max(one.away_until, until)

    def _tick_soon(self, moment: float | None = None) -> None:
        moment = self.now + self.scenario.poll if moment is None else moment
        if moment < self._wake:
            self._wake = moment
            self.at(moment, self._tick)

    def _tick(self) -> None:
        """All that polls do which find nothing for themselves to begin: write what is decided, and wake who may begin."""
        if self.now >= self._wake:
            self._wake = float("inf")
        snapshot = self._read(fresh=True)
        decision = self._decision(snapshot, 0.0)
        self._write(snapshot, decision)
        woken = 0
        for ring in self.plan.spec.rings:
            release = decision.targets.get(ring.name, "")
            if not release or not may_begin(self.plan, snapshot.view, decision, ring, release):
                continue
            for name in sorted(self._turns(snapshot, decision, ring, release, self.now)):
                one = self._by_name[name]
                if not (one.dead or one.waiting or one.running or release in one.done) and self._has(one, release):
                    one.waiting = True
                    woken += 1
                    self.at(max(self.now + self.dice.random() * self.scenario.poll, one.away_until), lambda one=one: self._poll(one))  # type: ignore[misc]
        if decision.wake_at < float("inf"):
            self._tick_soon(max(decision.wake_at, self.now + 1))
        if self.git.version != snapshot.version:
            self._tick_soon()

    def _has(self, one: Cluster, release: str) -> bool:
        """Whether the cluster was delivered the release: in mode gate everybody gets the newest one, in mode branch what its ring's branch has."""
        if self.scenario.mode == "gate":
            return self.git.candidates[0].release == release
        head = self.git.heads.get(one.ring)
        return head is not None and head.release == release

    def _poll(self, one: Cluster) -> None:
        """A cluster reads Git by its own clock, perhaps an older version, and begins if its gate is open."""
        one.waiting = False
        if self.now < one.away_until:
            self._tick_soon(one.away_until)
            return
        snapshot = self._read(stale=self.dice.random() < self.scenario.faults.stale)
        clock = min(BUCKETS, key=lambda step: abs(step - one.skew))
        decision = self._decision(snapshot, clock)
        ring = next(each for each in self.plan.spec.rings if each.name == one.ring)
        release = decision.targets.get(one.ring, "")
        if one.running:
            return
        now = self.now + clock
        may = (
            release and release not in one.done and self._has(one, release) and may_begin(self.plan, snapshot.view, decision, ring, release)
        )
        if may and one.name in self._turns(snapshot, decision, ring, release, now):
            self.invariants.start(one.name, one.ring, release, self.now)
            one.running, one.began = release, self.now
            self.report.exposed[release] = self.report.exposed.get(release, 0) + (release in self._bad)
            length = self.scenario.run * self.dice.uniform(0.5, 1.5)
            if self.dice.random() < self.scenario.faults.crash:
                self.report.crashes += 1
                length += self.dice.uniform(30, 600)  # the next replica continues with the same run
            self.at(self.now + length, lambda: self._end(one, release))
        else:
            self._tick_soon()  # its clock is behind, or what it read is: it asks again
        if one.forger:
            self._forge(one, release)

    def _end(self, one: Cluster, release: str) -> None:
        """A run ends; its record is pushed when the network lets it, and once more when the reply was lost."""
        fails = self.dice.random() < self._bad.get(release, 0.0)
        outcome = "failed" if fails else "succeeded"
        content = text(one.name, release, outcome, started=one.began + one.skew, finished=self.now + one.skew)
        one.running = ""
        one.done.add(release)
        if fails:
            self._failures.setdefault(release, self.now)
        again = self.dice.random() < self.scenario.faults.lost_reply
        moment = max(self.now + self.dice.random() * FETCH, one.away_until)
        self.at(moment, lambda: self._push(one, release, outcome, content))
        if again:
            self.at(moment + 30, lambda: self.git.push_record(one.name, content, run=f"run-{release}"))

    def _push(self, one: Cluster, release: str, outcome: str, content: bytes) -> None:
        self.git.push_record(one.name, content, run=f"run-{release}")
        self.invariants.recorded(one.name, one.ring, release, outcome, self.now)
        self._tick_soon()

    def _forge(self, one: Cluster, release: str) -> None:
        """A liar writes in the next cluster's place, as itself and as that cluster under another run, and makes up a canary."""
        victim = self.dice.choice(self.clusters)
        if victim is one:
            return
        lies = (
            text(one.name, release, "succeeded", started=0, finished=self.now - 86400),
            text(victim.name, release, self.dice.choice(("succeeded", "failed")), started=0, finished=1, runId="another"),
            text(victim.name, release, "failed", started=0, finished=1, name="other"),
        )
        for number, content in enumerate(lies):
            self.report.forged += 1
            self.git.push_record(victim.name, content, run=f"forged-{one.name}-{number}")

    # ------------------------------------------------------------------------------------- reading and writing

    def _read(self, *, stale: bool = False, fresh: bool = False) -> Snapshot:
        last = self._snapshots[-1] if self._snapshots else None
        if last is None or (last.version != self.git.version and (fresh or last.at < self.now - FETCH)):
            self._snapshots.append(Snapshot(self.now, self.git.version, self.git.view()))
        while len(self._snapshots) > 1 and self._snapshots[1].at < self.now - STALE:
            self._snapshots.popleft()
        return self._snapshots[0] if stale else self._snapshots[-1]

    def _decision(self, snapshot: Snapshot, clock: float) -> Decision:
        known = snapshot.decisions.get(clock)
        if known is None or known.wake_at <= self.now + clock:
            known = decide(self.plan, snapshot.view, self.now + clock)
            self.report.decisions += 1
            snapshot.decisions[clock] = known
            snapshot.kept.append(known)
        return known

    def _turns(self, snapshot: Snapshot, decision: Decision, ring: Ring, release: str, now: float) -> frozenset[str]:
        standing = decision.standing(release, ring.name)
        key = (id(decision), ring.name, standing is not None and now >= standing.since + ring.patience)
        if key not in snapshot.turns:
            snapshot.turns[key] = turns(snapshot.view, decision, ring, release, now=now)
        return snapshot.turns[key]

    def _write(self, snapshot: Snapshot, decision: Decision) -> None:
        """Two writers who read the same version: the second finds everything done. A writer may die between any two pushes."""
        other = self._decision(snapshot, BUCKETS[-1])
        for files in (decision.publish, other.publish):
            for one in files:
                self.invariants.published(one.path, one.content)
        for moves in (decision, decision):
            for one in moves.publish:
                if self._dies():
                    break
                self._try(lambda one=one: self._publish(one))  # type: ignore[misc]
            for move in moves.moves:
                if self._dies():
                    break
                self._try(lambda move=move: self._move(move))  # type: ignore[misc]
        for row in decision.standings:
            if row[-1].phase is Phase.PASSED:
                self.report.passed.setdefault(row[0].release, self.now)
        for release in decision.halted:
            if release in self._failures:
                self.report.halt_seconds.setdefault(release, self.now - self._failures[release])

    def _move(self, move: Move) -> None:
        position = next(at for at, one in enumerate(self.git.candidates) if one.commit == move.commit)
        before = self.git.heads.get(move.ring, Head())
        self.git.move(move.ring, Head(move.commit, move.release, position), expected=move.expected)
        self.invariants.moved(move.ring, move.release, self.now, before=before.release)
        if move.back:
            self.report.backs += 1
            self.invariants.went_back(move.ring, before.release, move.release, self.now)

    def _dies(self) -> bool:
        """Whether the writer crashes here; another one looks after the next poll."""
        if dead := self.dice.random() < self.scenario.faults.crash:
            self.report.crashes += 1
            self._tick_soon()
        return dead

    def _publish(self, one: Publish) -> None:
        self.git.publish(one.path, one.content)
        self.invariants.wrote(one.path)

    def _try(self, push: Callable[[], None]) -> None:
        with contextlib.suppress(Stale):
            push()

    def _closed(self) -> Report:
        for number in range(self.scenario.releases):
            name = f"v{number}"
            if name not in self._bad:
                self.invariants.finished(name)
        report = self.report
        report.pushes, report.refused, report.doubts = self.git.pushes, self.git.refused, self.git.told
        report.days, report.checks = (self.now - BEGIN) / 86400, self.invariants.checks
        return report
