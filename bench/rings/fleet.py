"""The plan, the clusters and the releases of a simulation, all from one seed."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field

from canary.api.rolloutplan import RolloutPlan, parse_rollout_plan

HOUR, DAY = 3600.0, 86400.0
BEGIN = 1_800_000_000.0
NAMES = ("innovators", "early-adopters", "early-majority", "late-majority", "laggards")


@dataclass(frozen=True, slots=True)
class Faults:
    """How often things go wrong: shares of runs, of clusters, of reads. Times in seconds."""

    crash: float = 0.05
    lost_reply: float = 0.05
    stale: float = 0.05
    forger: float = 0.01
    partitions: int = 40
    partition_length: float = 4 * HOUR
    dead: float = 0.004
    ahead: float = 0.01
    skew: float = 240.0


@dataclass(frozen=True, slots=True)
class Scenario:
    """What is simulated."""

    sizes: tuple[int, ...] = (5, 50, 445, 1500, 3000)
    releases: int = 20
    every: float = 5 * DAY
    bad: tuple[tuple[int, float], ...] = ((3, 1.0), (7, 0.2), (11, 0.05), (16, 0.2))
    """Number of a release, and the share of clusters on which it fails."""
    mode: str = "gate"
    then: str = "hold"
    """What a halt does to rings that have the release: hold, or (mode branch) revert."""
    poll: float = 60.0
    run: float = 600.0
    seed: int = 1
    faults: Faults = field(default_factory=Faults)

    @property
    def names(self) -> tuple[str, ...]:
        return NAMES[: len(self.sizes)]


def plan(scenario: Scenario) -> RolloutPlan:
    """Rings that grow, bake 1 to 12 h, and forgive laggards more the later they come."""
    rules = (
        {"maxConcurrent": 2, "bakeTime": "1h", "pass": {"minSamples": 10 * scenario.sizes[0]}},
        {"maxConcurrent": "20%", "bakeTime": "12h", "pass": {"succeeded": "95%", "missing": "5%", "missingAfter": "6h"}},
        {"maxConcurrent": "10%", "bakeTime": "4h", "pass": {"succeeded": "95%", "missing": "5%", "missingAfter": "6h"}},
        {"maxConcurrent": "10%", "bakeTime": "2h", "pass": {"succeeded": "95%", "missing": "5%", "missingAfter": "12h"}},
        {"maxConcurrent": "10%", "bakeTime": "1h", "pass": {"succeeded": "90%", "missing": "10%", "missingAfter": "24h"}},
    )
    rings = [{"name": name, **rule} for name, rule in zip(scenario.names, rules, strict=False)]
    window = {"cron": "0 6 * * *", "duration": "14h"}
    rings[-1] |= {"windows": [window]}
    spec = {
        "canary": {"namespace": "prod", "name": "podinfo"},
        "mode": scenario.mode,
        "rings": rings,
        "halt": {"failed": 2, "then": scenario.then},
    }
    return parse_rollout_plan({"metadata": {"name": "podinfo"}, "spec": spec})


@dataclass(slots=True)
class Cluster:
    """One cluster: its clock's error, whether it is dead or lies, and what it does. `running`: release and when it began."""

    name: str
    ring: str
    skew: float
    dead: bool = False
    forger: bool = False
    away_until: float = 0.0
    running: str = ""
    began: float = 0.0
    done: set[str] = field(default_factory=set)
    waiting: bool = False


def clusters(scenario: Scenario, dice: random.Random) -> list[Cluster]:
    """All of them; the first ring has neither dead clusters nor clocks that are far ahead, since all of it is waited for."""
    faults = scenario.faults
    found = []
    for number, (ring, size) in enumerate(zip(scenario.names, scenario.sizes, strict=True)):
        dead = int(size * faults.dead) if number else 0
        for index in range(size):
            far = number > 0 and dice.random() < faults.ahead
            skew = HOUR if far else dice.uniform(-faults.skew, faults.skew)
            found.append(Cluster(f"{ring}-{index}", ring, skew, dead=index < dead, forger=dice.random() < faults.forger))
    return found


def members(scenario: Scenario, everyone: Sequence[Cluster]) -> dict[str, tuple[str, ...]]:
    return {ring: tuple(sorted(one.name for one in everyone if one.ring == ring)) for ring in scenario.names}
