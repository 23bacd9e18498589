"""Releases as scrapes of pods: odd buckets, uneven looks, restarts. What the bench does not simulate, through the public contract alone."""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from canary.core.judge import Arm, CounterBook, Decision, JudgeConfig, Sample, SequentialJudge, Tick

BEGAN = 1_755_000_003.5
ENDED = ("rollback", "promote")
CLIENT = (5, 10, 25, 50, 75, 100, 250, 500, 750, 1000, 2500, 5000, 7500, 10000)
"""Bounds in milliseconds of the usual client libraries."""
DECADES = (1, 10, 100, 1000, 10000)
LINEAR = tuple(range(20, 820, 20))
ONE = (150,)
ODD = (33.3, 77.7, 210.5, 640.25)

CACHED = ((0.8, 6.0, 0.4), (0.2, 180.0, 0.35))
"""Two kinds of request: (share, median in ms, sigma), hits and misses."""


@dataclass
class Fleet:
    """Pods of two versions. Rates are shares; `slower` multiplies the canary's latency; `restarts` is the chance per pod and look."""

    seed: int
    rate: float = 120.0
    primary: float = 0.002
    canary: float = 0.002
    slower: float = 1.0
    bounds: Mapping[str, Sequence[float]] = field(default_factory=lambda: {"canary": CLIENT, "primary": CLIENT})
    infinity: bool = True
    pods: Mapping[str, int] = field(default_factory=lambda: {"canary": 2, "primary": 3})
    restarts: float = 0.0
    told: bool = True
    """Whether samples say when their process started."""
    unseen: float = 0.0
    """Part of the canary's requests that no counter shows."""

    def __post_init__(self) -> None:
        self.rng = np.random.default_rng([self.seed, 77])
        self.now = BEGAN
        self.counters: dict[tuple[str, int], list[Any]] = {}
        for arm, count in self.pods.items():
            for pod in range(count):
                self.counters[arm, pod] = self._fresh(arm, BEGAN - 500 if arm == "primary" else BEGAN)

    def history(self, gaps: Iterator[float], seconds: float = 3600.0) -> list[Tick]:
        """The primary's past, in looks of the same kind."""
        found, at = [], BEGAN - seconds
        while at < BEGAN - 1:
            gap = next(gaps)
            at += gap
            found.append(Tick(min(at, BEGAN - 0.5), None, self._arm("primary", int(self.rng.poisson(self.rate * gap))), 0))
        return found

    def scrape(self, gap: float, weight: int) -> list[Sample]:
        """Let `gap` seconds pass at a weight, and scrape every pod."""
        self.now += gap
        total = int(self.rng.poisson(self.rate * gap))
        mine = int(self.rng.binomial(total, weight / 100))
        work = {"canary": int(self.rng.binomial(mine, 1 - self.unseen)), "primary": total - mine}
        samples = []
        for arm, count in self.pods.items():
            parts = self.rng.multinomial(work[arm], [1 / count] * count)
            for pod in range(count):
                samples.append(self._serve(arm, pod, int(parts[pod]), gap))
        return samples

    def _serve(self, arm: str, pod: int, n: int, gap: float) -> Sample:
        if self.restarts and self.rng.random() < self.restarts:
            self.counters[arm, pod] = self._fresh(arm, self.now - gap * float(self.rng.uniform(0.05, 0.9)))
        counters, done = self.counters[arm, pod], self._arm(arm, n)
        counters[0] = {"200": counters[0]["200"] + done.total - done.errors, "500": counters[0]["500"] + done.errors}
        counters[1] = {at: count + done.buckets[at] for at, count in counters[1].items()}
        ts = self.now - float(self.rng.uniform(0, 0.4))
        return Sample(arm, f"{arm}-{pod}", ts, dict(counters[0]), dict(counters[1]), started=counters[2] if self.told else None)

    def _fresh(self, arm: str, started: float) -> list[Any]:
        return [{"200": 0, "500": 0}, dict.fromkeys(self._bounds(arm), 0), started]

    def _bounds(self, arm: str) -> list[float]:
        return [*self.bounds[arm], *([math.inf] if self.infinity and self.bounds[arm] else [])]

    def _arm(self, arm: str, n: int) -> Arm:
        share, factor = (self.canary, self.slower) if arm == "canary" else (self.primary, 1.0)
        bounds = self._bounds(arm)
        counts = self.rng.multinomial(n, _parts(tuple(bounds), factor)).cumsum()
        return Arm(n, int(self.rng.binomial(n, share)), dict(zip(bounds, counts.tolist(), strict=False)))


@functools.cache
def _parts(bounds: tuple[float, ...], factor: float) -> Any:
    """Chances of a request to end between two bounds."""
    parts = np.clip(np.diff([0.0, *(_below(bound, factor) for bound in bounds), 1.0]), 0, 1)
    return parts / parts.sum()


def _below(bound: float, factor: float) -> float:
    if bound == math.inf:
        return 1.0
    return sum(part * 0.5 * (1 + math.erf(math.log(bound / (median * factor)) / sigma / math.sqrt(2))) for part, median, sigma in CACHED)


def every(*gaps: float) -> Iterator[float]:
    """The same gaps over and over, in seconds."""
    return itertools.cycle(gaps)


def run(fleet: Fleet, gaps: Sequence[float], *, known: bool = True, **settings: Any) -> list[Decision]:
    """Decisions of a release until it ends, looked at with these gaps; every judge and book is restored from its state at every look."""
    config = JudgeConfig.from_spec({"minDuration": 0, "maxDuration": max(3600, 40 * max(gaps))} | settings)
    past = fleet.history(every(*gaps), max(3600.0, 45 * max(gaps))) if known else []
    judge, book, pause = SequentialJudge(config, past), CounterBook(since=BEGAN - 1), every(*gaps)
    book.update(fleet.scrape(0.0, 0))
    weight, found = judge.weight, []
    while fleet.now - BEGAN <= config.max_duration + max(gaps):
        samples = fleet.scrape(next(pause), weight)
        judge, book = SequentialJudge.restore(config, judge.state()), CounterBook.restore(book.state())
        found.append(judge.observe(book.update(samples).tick(fleet.now, weight)))
        weight = found[-1].weight
        if found[-1].verdict in ENDED:
            break
    return found
