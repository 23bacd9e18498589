"""All metrics of a run together.

Against the canary one suffices: a weighted average of e-processes is one again, under any dependence, and is never worse than
weighted Bonferroni. For it every metric must show health, each at the full level (intersection-union): no correction, less power.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, NamedTuple

from canary.core.judge.comparison import Border, Comparison
from canary.core.judge.config import JudgeConfig
from canary.core.judge.evalue import Counts
from canary.core.judge.latency import Latency, neighbours, slower
from canary.core.judge.pairs import PREFIX, Pairs
from canary.core.judge.passage import median
from canary.core.judge.samples import Arm, Tick
from canary.core.judge.threshold import Threshold

ERRORS, LATENCY, ERROR_LIMIT, SLOW_LIMIT = "errorRate", "latency", "errorThreshold", "latencyThreshold"
_WEIGHTS: Final = {ERRORS: 0.4, LATENCY: 0.4, ERROR_LIMIT: 0.2, SLOW_LIMIT: 0.1}
_PRIOR: Final = 0.001
_UNCOMPARED: Final = 100
"""Canary requests without a single bucket after which its latency counts as missing."""


@dataclass(frozen=True, slots=True)
class Reading:
    """One metric as of now. `upper`/`lower` bound the excess over the primary (for thresholds: the canary's own share).

    `bound` is the bucket bound in milliseconds; `unresolved` the neighbouring ones when the buckets do not have it.
    """

    name: str
    fail: float
    passed: float
    upper: float
    lower: float
    phi: float
    needed: int | None
    canary: tuple[int, int]
    primary: tuple[int, int]
    settled: int = 0
    required: bool = True
    bound: float | None = None
    limit: float | None = None
    vetoed: bool = False
    moot: bool = False
    unresolved: tuple[float, float | None] | None = None

    def to_dict(self, least: int) -> dict[str, Any]:
        """JSON shape of `Decision.evidence`. `least` is how many canary requests pass before any promotion, whatever they show."""
        found: dict[str, Any] = {"fail": self.fail, "pass": self.passed, "upper": self.upper, "lower": self.lower, "phi": self.phi}
        needed = None if self.needed is None else max(self.needed, least)
        found |= {"needed": needed, "settled": self.settled, "required": self.required}
        found |= {"canaryRequests": self.canary[0], "canaryBad": self.canary[1]}
        found |= {"primaryRequests": self.primary[0], "primaryBad": self.primary[1]}
        optional = {"boundMs": self.bound, "limit": self.limit, "vetoed": self.vetoed or None, "moot": self.moot or None}
        found |= {key: value for key, value in optional.items() if value is not None}
        return found | ({"unresolvedMs": list(self.unresolved)} if self.unresolved else {})


class Flow(NamedTuple):
    """Requests at the top weight: of the primary for each of the canary, and of the canary in a tick."""

    primaries: float
    per_tick: float


class Panel:
    """Feeds each tick to every metric and weighs what they say."""

    def __init__(self, config: JudgeConfig, history: Sequence[Tick], pairs: Mapping[str, Sequence[Tick]]) -> None:
        self._config = config
        self.strict = 1 / config.pass_alpha
        margin = config.margin
        border = Border(margin.error_ratio or 1.0, margin.error_rate)
        self.errors = Comparison(border, prior=_PRIOR, strict=self.strict, passing=True)
        self.pairs = Pairs(border, strict=self.strict, history=pairs)
        self.latency = Latency(margin, self.strict)
        limits = config.thresholds
        self.error_limit = None if limits.error_rate is None else Threshold(limits.error_rate, self.strict)
        self.slow_limit = None if limits.slow_share is None else Threshold(limits.slow_share, self.strict)
        self._unresolved: tuple[float, float | None] | None = None
        self._timed = not history or any(tick.primary is not None and tick.primary.buckets for tick in history)
        self.widened = False
        self._learn(history)

    def _learn(self, history: Sequence[Tick]) -> None:
        previous = None
        for tick in history:
            if tick.primary is None:
                continue
            seconds = 0.0 if previous is None else max(0.0, tick.ts - previous)
            previous = tick.ts
            self.errors.remember(tick.primary.total, tick.primary.errors, seconds)
            if self.error_limit is not None:
                self.error_limit.rate.add(tick.primary.total, tick.primary.errors, seconds)
            if self.slow_limit is not None and tick.primary.buckets:
                slow = slower(tick.primary, self._slow_ms)[1]
                self.slow_limit.rate.add(tick.primary.timed(), slow, seconds)
        self.errors.dispersion.begin()
        for limit in (self.error_limit, self.slow_limit):
            if limit is not None:
                limit.begin()
        if self._timed:
            self.latency.learn(list(history))

    @property
    def _slow_ms(self) -> float:
        return self._config.thresholds.slow_ms or 0.0

    def tolerate_users(self, traffic: float | None) -> None:
        """Widen what PASS tolerates to `maxExcessPerHour` bad responses at this traffic; once, before PASS takes its first bet.

        Not before it may bet: the traffic of a first tick is a few requests more or less, and half of them would allow twice the harm.
        """
        users = self._config.max_excess_per_hour
        if self.widened or not users or not traffic or not self.errors.dispersion.known:
            return
        self.widened = True
        excess = min(0.5, users / 3600 / traffic)
        if self.errors.tolerated is not None:
            self.errors.tolerated = max(self.errors.tolerated, excess)
        self.latency.tolerate(max(self.latency.tolerated, excess))
        self.pairs.tolerate(excess)

    def observe(self, canary: Arm, primary: Arm, *, share: float, seconds: float, settled: bool) -> None:
        """Take one tick of which both arms are known."""
        seen = Counts(canary.total, min(canary.errors, canary.total), primary.total, min(primary.errors, primary.total))
        self.errors.observe(seen, seen, share=share, seconds=seconds, settled=settled)
        if self._timed:
            self.latency.observe(canary, primary, share=share, seconds=seconds, settled=settled)
        if self.error_limit is not None:
            self.error_limit.observe(seen, seen, share=share, seconds=seconds, phi=self.errors.dispersion.phi)
        if self.slow_limit is not None and canary.buckets:
            self._slow(self.slow_limit, canary, primary, share=share, seconds=seconds)

    def _slow(self, limit: Threshold, canary: Arm, primary: Arm, *, share: float, seconds: float) -> None:
        self._unresolved = neighbours(canary, self._slow_ms)
        (surely, maybe), theirs = slower(canary, self._slow_ms), slower(primary, self._slow_ms)[1]
        phi = max((one.dispersion.phi for one in self.latency.comparisons), default=1.0)
        against = Counts(canary.timed(), surely, primary.timed(), theirs)
        favour = Counts(canary.timed(), maybe, primary.timed(), theirs)
        limit.observe(against, favour, share=share, seconds=seconds, phi=phi)

    def forfeit_health(self) -> None:
        """Give up all evidence of health so far."""
        for one in (self.errors, *self.latency.comparisons, *self.pairs.each.values()):
            one.forfeit_health()

    def begin_anew(self) -> None:
        """From now on the canary answers users: copies may have spoken against it, but what they showed in its favour is of no account."""
        for one in (self.errors, *self.latency.comparisons, *self.pairs.each.values()):
            one.begin_anew()
        for limit in (self.error_limit, self.slow_limit):
            if limit is not None:
                limit.begin_anew()

    @property
    def _parts(self) -> dict[str, float]:
        parts = {ERRORS: self.errors.fail}
        if self._timed:
            parts[LATENCY] = self.latency.fail
        if self.error_limit is not None:
            parts[ERROR_LIMIT] = self.error_limit.fail
        if self.slow_limit is not None:
            parts[SLOW_LIMIT] = self.slow_limit.fail
        return parts | {f"{PREFIX}{name}": one.fail for name, one in self.pairs.each.items()}

    @property
    def fail(self) -> float:
        """Evidence that something is worse than tolerated."""
        parts, weights = self._parts, _WEIGHTS | self.pairs.weights
        return sum(weights[name] * value for name, value in parts.items()) / sum(weights[name] for name in parts)

    @property
    def blamed(self) -> str:
        """The metric with the largest part in it."""
        parts, weights = self._parts, _WEIGHTS | self.pairs.weights
        return max(parts, key=lambda name: weights[name] * parts[name])

    @property
    def breached(self) -> Threshold | None:
        """A threshold that both versions breach: nobody is to blame, and nobody should be promoted."""
        both = [one for one in (self.error_limit, self.slow_limit) if one is not None and one.vetoed and not one.moot]
        return next((one for one in both if one.breached >= 5), None)

    @property
    def untimed(self) -> bool:
        """Whether the primary's latency is known and the canary's is not."""
        tail = self.latency.tail
        return tail is not None and tail.canary_n == 0 and self.errors.canary_n >= _UNCOMPARED

    @property
    def uncounted(self) -> list[str]:
        """Metrics whose templates count nothing of a canary that has traffic."""
        return self.pairs.uncounted() if self.errors.canary_n >= _UNCOMPARED else []

    @property
    def _passing(self) -> list[Comparison]:
        """All that must show health."""
        tail = self.latency.tail
        return [self.errors, *([] if tail is None else [tail]), *self.pairs.each.values()]

    @property
    def healthy(self) -> bool:
        """Whether every metric that takes part has shown health."""
        return all(one.passed >= self.strict for one in self._passing)

    def needed(self, flow: Flow) -> int | None:
        """Canary requests under a settled weight, in all, until every metric of them has shown health: the last one counts.

        Nobody knows how many requests make one of what a template counts.
        """
        parts = [self.errors] if self.latency.tail is None else [self.errors, self.latency.tail]
        return _in_all(self.errors.settled, median([one.ahead(self.strict, *flow) for one in parts]))

    def readings(self, flow: Flow) -> dict[str, Reading]:
        """Every metric as of now."""
        found = {ERRORS: self._read(ERRORS, self.errors, flow)}
        tail, worst = self.latency.tail, self.latency.worst
        if tail is not None and worst is not None:
            shown = self._read(LATENCY, tail, flow, fail=self.latency.fail, bound=self.latency.tail_bound)
            found[LATENCY] = shown if worst[1] is tail else _blame(shown, *worst)
        for name, limit in ((ERROR_LIMIT, self.error_limit), (SLOW_LIMIT, self.slow_limit)):
            if limit is not None:
                found[name] = self._limit(name, limit)
        return found | {f"{PREFIX}{name}": self._read(f"{PREFIX}{name}", one, flow) for name, one in self.pairs.each.items()}

    def _read(self, name: str, one: Comparison, flow: Flow, *, fail: float | None = None, bound: float | None = None) -> Reading:
        excess = one.excess
        assert excess is not None  # of the comparisons that can pass
        upper = min(excess.upper, one.tolerated) if one.tolerated and one.passed >= self.strict and name != LATENCY else excess.upper
        return Reading(
            name=name,
            fail=one.fail if fail is None else fail,
            passed=one.passed,
            upper=upper,
            lower=excess.lower,
            phi=one.dispersion.phi,
            needed=_in_all(one.settled, median([one.ahead(self.strict, *flow)])),
            canary=(one.canary_n, one.canary_x),
            primary=(one.primary_n, one.primary_x),
            settled=one.settled,
            bound=bound,
            limit=one.tolerated,
        )

    def _limit(self, name: str, one: Threshold) -> Reading:
        return Reading(
            name=name,
            fail=one.fail,
            passed=one.passed,
            upper=one.limit if one.passed >= self.strict else 1.0,
            lower=one.limit if one.fail >= 1 / self._config.alpha else 0.0,
            phi=one.phi,
            needed=None,
            canary=(one.canary_n, one.canary_x),
            primary=(one.primary_n, one.primary_x),
            required=False,
            bound=self._slow_ms if name == SLOW_LIMIT else None,
            limit=one.limit,
            vetoed=one.vetoed,
            moot=one.moot,
            unresolved=self._unresolved if name == SLOW_LIMIT else None,
        )

    def state(self) -> dict[str, Any]:
        found: dict[str, Any] = {"errors": self.errors.state(), "timed": self._timed, "widened": self.widened}
        if self.pairs.each:
            found["pairs"] = self.pairs.state()
        if self._timed:
            found |= {"latency": self.latency.state(), "slowTolerated": self.latency.tolerated}
        if self.error_limit is not None:
            found["errorLimit"] = self.error_limit.state()
        if self.slow_limit is not None:
            found |= {"slowLimit": self.slow_limit.state(), "unresolved": self._unresolved and list(self._unresolved)}
        return found

    def restore(self, state: Mapping[str, Any]) -> None:
        self.errors.restore(state["errors"])
        self.pairs.restore(state.get("pairs", {}))
        self._timed, self.widened = bool(state["timed"]), bool(state["widened"])
        if self._timed:
            self.latency.restore(state["latency"], float(state["slowTolerated"]))
        if self.error_limit is not None:
            self.error_limit.restore(state["errorLimit"])
        if self.slow_limit is not None:
            self.slow_limit.restore(state["slowLimit"])
            around = state["unresolved"]
            self._unresolved = None if around is None else (float(around[0]), around[1])


def _in_all(settled: int, more: int | None) -> int | None:
    return None if more is None else settled + more


def _blame(shown: Reading, bound: float, one: Comparison) -> Reading:
    """The same reading with the counts of the bound that speaks most against the canary, once that is suspicious."""
    if one.fail < 5:
        return shown
    return replace(shown, bound=bound, canary=(one.canary_n, one.canary_x), primary=(one.primary_n, one.primary_x))
