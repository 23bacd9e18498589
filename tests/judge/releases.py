"""Releases for tests: a small seeded service with two versions."""

from __future__ import annotations

import math
import random
from collections.abc import Mapping
from typing import Any

from canary.core.judge import Arm, Decision, JudgeConfig, SequentialJudge, Tick

START = 1_700_000_000.0
SETTINGS: dict[str, Any] = {"minDuration": 0, "maxWeight": 50, "thresholds": {"errorRate": 1, "slowMs": [500, 1]}}
ENDED = ("rollback", "promote")


def config(**changes: Any) -> JudgeConfig:
    return JudgeConfig.from_spec(SETTINGS | changes)


class Service:
    """Requests of both versions; `rate` per second, `errors` of each version as shares, `slow` the share over 250 ms."""

    def __init__(
        self,
        seed: int,
        *,
        rate: float = 100.0,
        primary: float = 0.001,
        canary: float = 0.001,
        slow: float = 0.01,
        canary_slow: float | None = None,
        spacing: float = 15.0,
    ):
        self.seed, self.random = seed, random.Random(seed)
        self.rate, self.primary, self.canary, self.spacing = rate, primary, canary, spacing
        self.slow, self.canary_slow = slow, slow if canary_slow is None else canary_slow
        self.now = START

    def arm(self, mean: float, errors: float, slow: float) -> Arm:
        n = self.some(mean)
        late = self.among(n, slow)
        return Arm(n, self.among(n, errors), {100: n - late - self.among(n - late, 0.3), 250: n - late, 500: n, 1000: n, float("inf"): n})

    def some(self, mean: float) -> int:
        """Poisson, near enough."""
        return (
            max(0, round(self.random.gauss(mean, mean**0.5))) if mean > 30 else sum(self.random.random() < mean / 200 for _ in range(200))
        )

    def among(self, n: int, share: float) -> int:
        """Binomial, exact for small numbers."""
        if n * share > 30 and n * (1 - share) > 30:
            return min(n, max(0, round(self.random.gauss(n * share, (n * share * (1 - share)) ** 0.5))))
        if n * share > 30:
            return n - self.among(n, 1 - share)
        if share <= 0:
            return 0
        # gaps between successes are geometric: exponential where they are long
        found, at, draw, log, rate = 0, 0, self.random.random, math.log, max(share, 1e-12)
        while True:
            at += 1 + int(-log(1.0 - draw()) / rate) if share < 0.05 else self._gap(share)
            if at > n:
                return found
            found += 1

    def _gap(self, share: float) -> int:
        gap = 1
        while self.random.random() >= share:
            gap += 1
        return gap

    def history(self, ticks: int = 240) -> list[Tick]:
        mean = self.rate * self.spacing
        return [Tick(START - (ticks - k) * self.spacing, Arm(0, 0), self.arm(mean, self.primary, self.slow), 0) for k in range(ticks)]

    def tick(self, weight: int) -> Tick:
        self.now += self.spacing
        mean = self.rate * self.spacing
        canary = self.arm(mean * weight / 100, self.canary, self.canary_slow)
        return Tick(self.now, canary, self.arm(mean * (1 - weight / 100), self.primary, self.slow), weight)


_LEARNED: dict[Any, Any] = {}


def begun(config: JudgeConfig, service: Service, *, ticks: int = 240) -> SequentialJudge:
    """`SequentialJudge(config, service.history(ticks))` for a new service, whose chance then stands where that leaves it.

    Equal pasts are drawn and learnt from once: a seed decides them, and neither weights nor durations nor the kind of baseline have a part in it.
    """
    of = (service.seed, service.rate, service.primary, service.slow, service.spacing, ticks)
    key = (of, config.margin, config.thresholds, config.pass_alpha, config.max_excess_per_hour)
    if key not in _LEARNED:
        judge = SequentialJudge(config, service.history(ticks))
        _LEARNED[key] = (judge.state(), service.random.getstate())
        return judge
    state, chance = _LEARNED[key]
    service.random.setstate(chance)
    return SequentialJudge.restore(config, state)


def release(judge: SequentialJudge, service: Service, *, ticks: int = 240, change: Mapping[int, Any] | None = None) -> list[Decision]:
    """Decisions until the run ends; `change` maps a tick's number to a function applied to the tick."""
    weight, found = judge.weight, []
    for number in range(1, ticks + 1):
        tick = service.tick(weight)
        if change and number in change:
            tick = change[number](tick)
        found.append(judge.observe(tick))
        weight = found[-1].weight
        if found[-1].verdict in ENDED:
            break
    return found
