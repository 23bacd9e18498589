"""Counters of pods as integers that happened since the last look, each request once.

Prometheus' counters only grow, until a process restarts. The book keeps the last scrape of each pod and hands out differences, so
that duplicates, re-queries, a second replica, reordering and gaps change nothing but when a request is counted. Rejected: `rate()`
and `increase()`, which extrapolate and count requests again at each look; and `sum` over pods before differencing, which turns a
pod that goes into a negative difference.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal, Self

from canary.core.judge.native import COARSEST, FINEST, Native, bound, merged
from canary.core.judge.samples import Arm, Tick

Side = Literal["canary", "primary"]
STALE: Final = 60.0
"""Seconds without a scrape after which another replica's samples of the pod are taken."""
_VERSION: Final = 1
_MOST_BOUNDS: Final = 160


@dataclass(frozen=True, slots=True)
class Sample:
    """All counters of one process at one scrape: running totals since it started.

    arm: which version the requests went to.
    pod: the process that counts (pod name, or source and destination pod for source-side telemetry). Its counters reset together.
    ts: timestamp of the scrape in seconds, not of the query.
    requests: response class to counter, for example {"200": 1480, "503": 3}; classes that start with an error prefix are errors.
    buckets: classic histogram, upper bound in milliseconds to cumulative counter; `math.inf` may be there. Or `native`.
    started: when the process started, in seconds, if known. Tells a new pod from one that was only not seen, and a restart
        from a glitch.
    replica: which Prometheus of an HA pair scraped it, if known.
    """

    arm: Side
    pod: str
    ts: float
    requests: Mapping[str, float]
    buckets: Mapping[float, float] = field(default_factory=dict)
    native: Native | None = None
    started: float | None = None
    replica: str = ""


@dataclass(frozen=True, slots=True)
class Deltas:
    """What happened since the last update. An arm is None when no pod of it has a newer scrape: no information, not no traffic."""

    canary: Arm | None
    primary: Arm | None

    def tick(self, ts: float, weight: int) -> Tick:
        return Tick(ts, self.canary, self.primary, weight)


@dataclass(slots=True)
class _Pod:
    """Last scrape of one pod."""

    arm: Side
    ts: float
    started: float | None
    replica: str
    requests: dict[str, float]
    buckets: dict[float, float]
    native: dict[int, float]


@dataclass(slots=True)
class _Sum:
    """Differences of one arm in one update."""

    total: float = 0.0
    errors: float = 0.0
    buckets: dict[float, float] = field(default_factory=dict)
    shared: set[float] | None = None
    native: dict[int, float] = field(default_factory=dict)


class CounterBook:
    """Turns scrapes into differences.

    `since` is when the run began (seconds): a pod first seen that started later counts from 0, an older one is an anchor and counts
    from its next scrape. Without `since`, or for samples without `started`, everything in the first update that has samples of
    an arm is an anchor and what appears later is new. `errors` are the prefixes of classes that count as errors.
    """

    def __init__(self, *, since: float | None = None, errors: Sequence[str] = ("5", "error")) -> None:
        self._since = since
        self._errors = tuple(errors)
        self._pods: dict[str, _Pod] = {}
        self._seen: set[str] = set()
        self._schema: int | None = None
        self._range: tuple[int, int] | None = None

    def update(self, samples: Iterable[Sample]) -> Deltas:
        """Take scrapes, in any order and as often as you like; what is new in them. Raises ValueError for impossible samples."""
        ordered = sorted((_checked(sample) for sample in samples), key=lambda sample: sample.ts)
        self._coarsen(ordered)
        known = set(self._seen)
        sums: dict[str, _Sum] = {}
        for sample in ordered:
            self._seen.add(sample.arm)
            found = self._difference(sample, known)
            if found is not None:
                self._add(sums.setdefault(sample.arm, _Sum()), *found)
        return Deltas(*(self._arm(sums.get(arm)) for arm in ("canary", "primary")))

    # ---------------------------------------------------------------------------------------------------- one sample

    def _difference(self, sample: Sample, known: set[str]) -> tuple[_Pod, _Pod] | None:
        """The pod now and what to subtract from it; None when the sample says nothing that is countable."""
        key = f"{sample.arm}/{sample.pod}"
        last = self._pods.get(key)
        if last is not None and (sample.ts <= last.ts or self._other(last, sample)):
            return None
        native = {} if sample.native is None or self._schema is None else merged(sample.native, self._schema)
        now = _Pod(sample.arm, sample.ts, sample.started, sample.replica, dict(sample.requests), dict(sample.buckets), native)
        self._pods[key] = now
        if last is None:
            return (now, _nothing(now)) if self._new(sample, known) else None
        if not _restarted(last, now):
            _keep_absent(last, now)
            return now, last
        if last.replica != now.replica and (last.started is None or now.started is None):
            return None  # clocks of replicas differ: a lower value may be an older one, so it only anchors
        return now, _nothing(now)

    def _other(self, last: _Pod, sample: Sample) -> bool:
        """Whether it comes from the replica that is not followed, while the one that is has not gone silent."""
        return last.replica != sample.replica and sample.ts - last.ts < STALE

    def _new(self, sample: Sample, known: set[str]) -> bool:
        if sample.started is not None and self._since is not None:
            return sample.started >= self._since
        return sample.arm in known

    # ------------------------------------------------------------------------------------------------------ one arm

    def _add(self, into: _Sum, now: _Pod, last: _Pod) -> None:
        grew = False
        for name, value in now.requests.items():
            more = value - last.requests.get(name, 0.0)
            grew = grew or more > 0
            into.total += more
            if name.startswith(self._errors):
                into.errors += more
        gained = {at: value - last.buckets.get(at, 0.0) for at, value in now.buckets.items()}
        if grew or any(gained.values()):
            into.shared = set(gained) if into.shared is None else into.shared & set(gained)
        for at, more in gained.items():
            into.buckets[at] = into.buckets.get(at, 0.0) + more
        for index, count in now.native.items():
            into.native[index] = into.native.get(index, 0.0) + count - last.native.get(index, 0.0)

    def _arm(self, found: _Sum | None) -> Arm | None:
        if found is None:
            return None
        total, errors = round(found.total), round(found.errors)
        if found.native:
            return Arm(total, errors, self._cumulative(found))
        bounds = sorted(found.buckets if found.shared is None else found.shared)
        return Arm(total, errors, {at: round(found.buckets[at]) for at in bounds})

    # ------------------------------------------------------------------------------------------- native histograms

    def _coarsen(self, samples: Sequence[Sample]) -> None:
        """Move to the coarsest schema seen, and widen the grid to all buckets seen."""
        histograms = [sample.native for sample in samples if sample.native is not None]
        if not histograms:
            return
        coarsest = min(histogram.schema for histogram in histograms)
        if self._schema is None or coarsest < self._schema:
            self._recount(coarsest)
        assert self._schema is not None
        indexes = [index for histogram in histograms for index in merged(histogram, self._schema)]
        if indexes:
            low, high = min(indexes) - 1, max(indexes)
            self._range = (low, high) if self._range is None else (min(low, self._range[0]), max(high, self._range[1]))
        while self._range is not None and self._range[1] - self._range[0] >= _MOST_BOUNDS and self._schema > COARSEST:
            self._recount(self._schema - 1)

    def _recount(self, to: int) -> None:
        before, self._schema = self._schema, to
        if before is None:
            return
        for pod in self._pods.values():
            pod.native = merged(Native(before, pod.native), to)
        if self._range is not None:
            low, high = (-(-index // (1 << (before - to))) for index in self._range)
            self._range = (low - 1, high)

    def _cumulative(self, found: _Sum) -> dict[float, int]:
        """All bounds of the grid seen so far, so that both arms have the same; below and above it there is nothing."""
        assert self._range is not None
        assert self._schema is not None
        low, high = self._range
        total = max(0, round(found.total))
        above = 0.0
        slower: dict[int, float] = {}
        for index in range(high, low - 1, -1):
            slower[index] = above
            above += found.native.get(index, 0.0)
        return {bound(index, self._schema): max(0, total - round(slower[index])) for index in range(low, high + 1)}

    # ---------------------------------------------------------------------------------------------------- the state

    def state(self) -> dict[str, Any]:
        """JSON: the last scrape of each pod. It grows with pods and classes; it may be dropped and refilled from Prometheus."""
        pods = [
            [key, pod.ts, pod.started, pod.replica, pod.requests, _listed(pod.buckets), sorted(map(list, pod.native.items()))]
            for key, pod in sorted(self._pods.items())
        ]
        grid = None if self._range is None else list(self._range)
        return {
            "v": _VERSION,
            "since": self._since,
            "errors": list(self._errors),
            "seen": sorted(self._seen),
            "schema": self._schema,
            "range": grid,
            "pods": pods,
        }

    @classmethod
    def restore(cls, state: Mapping[str, Any]) -> Self:
        """Continue from `state()`. Raises ValueError for a state of another version."""
        if state.get("v") != _VERSION:
            raise ValueError(f"counters of version {state.get('v')!r}; this book writes {_VERSION}: start a new one")
        book = cls(since=state["since"], errors=state["errors"])
        book._seen, book._schema = set(state["seen"]), state["schema"]
        book._range = None if state["range"] is None else (state["range"][0], state["range"][1])
        for key, ts, started, replica, requests, buckets, native in state["pods"]:
            arm: Side = "canary" if key.startswith("canary/") else "primary"
            classic = {float("inf") if at is None else float(at): value for at, value in buckets}
            book._pods[key] = _Pod(arm, ts, started, replica, dict(requests), classic, {int(at): value for at, value in native})
        return book


def _restarted(last: _Pod, now: _Pod) -> bool:
    """A later start, or any counter that fell: the process began anew, and with it all its counters."""
    if last.started is not None and now.started is not None and now.started > last.started:
        return True
    fell = any(value < last.requests.get(name, 0.0) for name, value in now.requests.items())
    fell = fell or any(value < last.buckets.get(at, 0.0) for at, value in now.buckets.items())
    return fell or any(value < last.native.get(at, 0.0) for at, value in now.native.items())


def _keep_absent(last: _Pod, now: _Pod) -> None:
    """A class that is missing from one scrape keeps its value; otherwise its return would count everything again."""
    for name, value in last.requests.items():
        now.requests.setdefault(name, value)
    for index, value in last.native.items():
        now.native.setdefault(index, value)
    if not now.buckets:
        now.buckets = dict(last.buckets)


def _nothing(pod: _Pod) -> _Pod:
    return _Pod(pod.arm, pod.ts, pod.started, pod.replica, {}, {}, {})


def _checked(sample: Sample) -> Sample:
    """Raises ValueError, naming the sample, when it cannot be a scrape of counters."""
    where = f"sample of {sample.arm} pod {sample.pod!r} at {sample.ts}"
    if sample.arm not in ("canary", "primary"):
        raise ValueError(f"{where}: the arm must be canary or primary")
    values = [*sample.requests.values(), *sample.buckets.values(), *(sample.native.positive.values() if sample.native else ())]
    if not all(0 <= value < float("inf") for value in (*values, abs(sample.ts))):
        raise ValueError(f"{where}: counters are finite numbers of at least 0; drop samples that Prometheus marks stale")
    if sample.native is not None and not COARSEST <= sample.native.schema <= FINEST:
        raise ValueError(f"{where}: native histograms have a schema from {COARSEST} to {FINEST}; custom bounds belong in `buckets`")
    return sample


def _listed(buckets: Mapping[float, float]) -> list[list[float | None]]:
    """JSON has no infinity."""
    return [[None if at == float("inf") else at, value] for at, value in sorted(buckets.items())]
