"""Requests since the last look, from raw scrapes and a few bytes of memory.

A `CounterBook` that is kept in the status would grow with every proxy and bucket. So the book is made anew at each look, from the scrapes that
Prometheus still has: those up to the mark of their target are what to subtract from, those behind it are new. All that is stored is one
mark (the time of the last scrape that was counted) per target, so no request is counted twice or left out, whoever looks and however
often: after a crash the next process starts from the same marks. Where the subtrahend is out of reach (a target that is new, or was not
scraped for long), the first scrape only anchors: requests are lost, never invented.
"""

from __future__ import annotations

import enum
import hashlib
import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from statistics import median

from canary.core.judge import CounterBook, Deltas, Tick
from canary.core.judge import Sample as Scrape
from canary.core.judge.counters import STALE

LONGEST = 600.0
"""Seconds that a look reaches back at most: what a dead operator has missed beyond that stays unknown."""
FIRST_WINDOW = 120.0
"""Seconds in which the first look finds the last scrape of every target."""
PAST = 3600.0
"""Seconds of the primary's past that are asked for."""
MOST_TARGETS = 64
MOST_TICKS = 600
"""Ticks of the past that are told, the newest ones: an hour at 6 s."""
GONE = 180.0
"""Seconds without a scrape after which nothing is waited for."""
STORED = 5.0
"""Seconds after its time from which all that a scrape brought is surely stored."""
SEPARATOR = "\x1f"
"""Between the target and the rest of a scrape's labels, in `Scrape.pod`."""


@dataclass(frozen=True, slots=True)
class Counters:
    """Raw scrapes of both versions, asked for at `at` (Unix time, seconds). `error`: why there are none. `note`: what they do not tell.

    `pairs`: the same of what templates count, by the name of the metric (see `canary.core.paired`).
    """

    at: float
    scrapes: tuple[Scrape, ...] = ()
    error: str = ""
    note: str = ""
    pairs: Mapping[str, Counters] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Past:
    """The primary's last hour, tick by tick; `error` says why it is not known. `pairs`: of what templates count, as far as it is known."""

    ticks: tuple[Tick, ...] = ()
    error: str = ""
    pairs: Mapping[str, tuple[Tick, ...]] = field(default_factory=dict)


class Stage(enum.IntEnum):
    """Of which two kinds of requests a look is: the canary's and the primary's, or what stands in for one of them."""

    USERS = 0
    COPIES = 1
    """The canary gets copies of the primary's requests."""
    BASELINE = 2
    """A fresh baseline answers in the primary's place."""
    ALONE = 3
    """The fresh baseline has no requests: there is nothing to compare with."""


@dataclass(frozen=True, slots=True)
class Marks:
    """Time of the last counted scrape (Unix milliseconds) by target; `common` is that of the last look, for targets without room.

    `stage`: that of the look. Requests of another kind may be counted elsewhere, so that the marks of one stage say nothing in another: its
    first look anchors anew.
    """

    common: int = 0
    by_target: Mapping[str, int] = field(default_factory=dict)
    stage: Stage = Stage.USERS

    @classmethod
    def parse(cls, text: str) -> Marks:
        """From `text()`; no marks for a text that is none of ours."""
        try:
            common, marks, *stage = json.loads(text)
            known = {str(name): int(common) - int(age) for name, age in marks.items()}
            return cls(int(common), known, Stage(stage[0]) if stage else Stage.USERS)
        except (ValueError, TypeError, AttributeError):
            return cls()

    def text(self) -> str:
        """JSON, at most 1.5 KiB: ages in milliseconds before `common`."""
        ages = {name: self.common - at for name, at in self.by_target.items()}
        return json.dumps([self.common, ages, *([self.stage] if self.stage else [])], separators=(",", ":"))

    def of_stage(self, stage: Stage) -> Marks:
        """The same if they are of this stage, else none."""
        return self if self.stage is stage else Marks(stage=stage)

    @property
    def since(self) -> float:
        """Where the next look must begin to find the scrape of every mark, in seconds; 0 when there are none."""
        newest = max(self.by_target.values(), default=self.common)
        recent = [at for at in self.by_target.values() if newest - at <= GONE * 1000]
        return min(recent, default=self.common) / 1000

    def of(self, target: str) -> int | None:
        """The mark of a target; None when it was never seen."""
        found = self.by_target.get(_digest(target))
        return self.common if found is None and len(self.by_target) >= MOST_TARGETS else found

    def after(self, scrapes: Iterable[Scrape], *, at: float) -> Marks:
        """The marks once these scrapes are counted; the newest are kept."""
        merged = dict(self.by_target)
        for scrape in scrapes:
            name = _digest(target_of(scrape))
            merged[name] = max(merged.get(name, 0), _milliseconds(scrape.ts))
        return Marks(max(self.common, _milliseconds(at)), _newest(merged), self.stage)

    def merged(self, other: Marks) -> Marks:
        """The later mark of every target; the newest are kept."""
        names = self.by_target.keys() | other.by_target.keys()
        later = {name: max(self.by_target.get(name, 0), other.by_target.get(name, 0)) for name in names}
        return Marks(max(self.common, other.common), _newest(later), self.stage)


@dataclass(frozen=True, slots=True)
class Fresh:
    """What is new at a look: differences of both arms, time of the newest scrape (None: nothing new), and the next marks."""

    deltas: Deltas
    newest: float | None
    marks: Marks


def fresh(counters: Counters, marks: Marks) -> Fresh:
    """The requests of both versions that no look has counted yet. Without marks it is the first look, which only anchors.

    Raises ValueError for scrapes that cannot be counters.
    """
    anchors: list[Scrape] = []
    new: list[Scrape] = []
    by_target = {target: _whole(scrapes, at=counters.at) for target, scrapes in _by_target(counters.scrapes).items()}
    for target, scrapes in by_target.items():
        anchor = _anchor(scrapes, marks.of(target))
        anchors += _complete(target, [scrape for scrape in scrapes if scrape.ts == anchor], anchor)
        for ts in {scrape.ts for scrape in scrapes if scrape.ts > anchor}:
            new += _complete(target, [scrape for scrape in scrapes if scrape.ts == ts], ts)
    book = CounterBook()
    book.update(anchors)
    seen = [scrape for scrapes in by_target.values() for scrape in scrapes]
    return Fresh(book.update(new), max((scrape.ts for scrape in new), default=None), marks.after(seen, at=counters.at))


def past(scrapes: Sequence[Scrape]) -> tuple[Tick, ...]:
    """The primary's ticks, one per scrape; the last ones, where there are too many. The first scrape of a target only anchors.

    Raises ValueError for scrapes that cannot be counters.
    """
    by_target = _by_target(scrapes)
    times = {target: {scrape.ts for scrape in seen} for target, seen in by_target.items()}
    gaps = [later - earlier for seen in times.values() for earlier, later in pairwise(sorted(seen))]
    if not gaps:
        return ()
    book, ticks = CounterBook(), []
    begins = {target: min(seen) for target, seen in times.items()}
    anchors = [scrape for target, seen in by_target.items() for scrape in seen if scrape.ts == begins[target]]
    book.update(anchors + [one for target, ts in begins.items() for one in _complete(target, [], ts)])
    first, width = min(begins.values()), median(gaps)
    bins: defaultdict[int, list[Scrape]] = defaultdict(list)
    for target, seen in by_target.items():
        for scrape in seen:
            if scrape.ts > begins[target]:
                bins[int((scrape.ts - first) / width + 0.5)].append(scrape)
    for _, group in sorted(bins.items()):
        deltas = book.update(group)
        if deltas.primary is not None:
            ticks.append(Tick(max(scrape.ts for scrape in group), None, deltas.primary, 0))
    return tuple(ticks[-MOST_TICKS:])


def _newest(marks: Mapping[str, int]) -> dict[str, int]:
    return dict(sorted(marks.items(), key=lambda item: (-item[1], item[0]))[:MOST_TARGETS])


def target_of(scrape: Scrape) -> str:
    """The process whose scrape this is part of."""
    return scrape.pod.partition(SEPARATOR)[0]


def _by_target(scrapes: Iterable[Scrape]) -> dict[str, list[Scrape]]:
    """The scrapes of each target, as one replica of Prometheus saw them: always the same one, as long as it lives.

    Clocks and moments of replicas differ, so to follow now one and now the other would leave out what lies between them.
    """
    found: defaultdict[str, list[Scrape]] = defaultdict(list)
    for scrape in scrapes:
        found[target_of(scrape)].append(scrape)
    for target, seen in found.items():
        newest: defaultdict[str, float] = defaultdict(float)
        for scrape in seen:
            newest[scrape.replica] = max(newest[scrape.replica], scrape.ts)
        if len(newest) > 1:
            followed = min(replica for replica, ts in newest.items() if ts > max(newest.values()) - STALE)
            found[target] = [scrape for scrape in seen if scrape.replica == followed]
    return found


def _whole(scrapes: list[Scrape], *, at: float) -> list[Scrape]:
    """The scrapes of one target; without the newest, as long as it is young and lacks what the one before it had.

    A look asks for versions, statuses and durations in several questions, and what is stored between two of the answers is in one of them only.
    Whatever of such a scrape is missing would be lost, because the next look begins behind it: requests without their errors, if it were those.
    """
    *_, before, newest = [0.0, 0.0, *sorted({scrape.ts for scrape in scrapes})]
    if at - newest >= STORED or _named(scrapes, before) <= _named(scrapes, newest):
        return scrapes
    return [scrape for scrape in scrapes if scrape.ts < newest]


def _named(scrapes: Iterable[Scrape], ts: float) -> set[tuple[str, str]]:
    """What a scrape tells of: versions with the classes of their requests, and whether their durations are there."""
    now = [scrape for scrape in scrapes if scrape.ts == ts]
    return {(scrape.arm, name) for scrape in now for name in scrape.requests} | {(scrape.arm, "le") for scrape in now if scrape.buckets}


def _anchor(scrapes: Sequence[Scrape], mark: int | None) -> float:
    """Time of the scrape to subtract: the last one that was counted, else the first there is.

    Without a mark it is the last one: all of it was before the run, or before the target was known.
    """
    times = sorted(scrape.ts for scrape in scrapes)
    if mark is None:
        return times[-1]
    return max((ts for ts in times if _milliseconds(ts) <= mark), default=times[0])


def _complete(target: str, scrapes: list[Scrape], ts: float) -> list[Scrape]:
    """The same, with an empty scrape for each version: a target that was scraped and does not speak of a version has sent it nothing."""
    return [*scrapes, Scrape("canary", target, ts, {}), Scrape("primary", target, ts, {})]


def _milliseconds(ts: float) -> int:
    return round(ts * 1000)


def _digest(target: str) -> str:
    return hashlib.blake2b(target.encode(), digest_size=4).hexdigest()
