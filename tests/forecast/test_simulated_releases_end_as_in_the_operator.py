"""Simulated releases against the operator's whole rules over a simulated mesh: other code, other dice, the same outcomes and times."""

from statistics import median

import pytest

from canary.api.analysis import Analysis
from canary.api.status import Phase
from canary.core.forecast.release import Release, Rules
from canary.core.forecast.service import HEALTHY, Latency, Service, parse_fault
from canary.core.model import Sample
from tests.core.counting import BOUNDS, watched
from tests.core.simulate import World

RUNS = 12
ANALYSIS = {
    "interval": "60s",
    "threshold": 5,
    "stepWeight": 10,
    "maxWeight": 50,
    "metrics": [{"name": "request-success-rate", "thresholdRange": {"min": 99}}],
}
FRESH = {"baseline": "fresh", "maxWeight": 33}
SEQUENTIAL = {"judge": "sequential", "sequential": {"minDuration": "3m"}}


def in_the_operator(analysis, share, seed):
    """(phase, seconds since the first weight) of one release; the check of the success rate is read off the same mesh."""
    world = watched(World(analysis=analysis).bootstrap(), errors={"canary": share}, seed=seed, proxies=1)
    world.release("B")
    world.settle()
    world.run(until=Phase.PROGRESSING)
    world.metrics["request-success-rate"] = lambda: rate(world)
    began = None
    for _ in range(2000):
        decision = world.tick()
        world.settle()
        if began is None and world.routes.canary:
            began = world.now
        if world.status.phase is not Phase.PROGRESSING:
            return world.status.phase, world.now - began
        world.now += decision.wake_after
    raise AssertionError("it does not end")


def rate(world):
    """Percent of the canary's requests of the last minute that went well."""
    world.traffic.go_on(world.now)
    seen = [one for one in world.traffic.scrapes if one.arm == "canary" and world.now - 60 < one.ts <= world.now]
    if len(seen) < 2:
        return Sample()
    good, bad = (seen[-1].requests.get(code, 0) - seen[0].requests.get(code, 0) for code in ("2", "5"))
    return Sample(100 * good / (good + bad)) if good + bad else Sample()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("more", "share", "ending"),
    [
        ({}, 0.05, "rollback"),
        ({}, 0.001, "promote"),
        ({"judge": "guarded"}, 0.02, "rollback"),
        ({"judge": "guarded"}, 0.001, "promote"),
        (SEQUENTIAL, 0.02, "rollback"),
        (SEQUENTIAL, 0.001, "promote"),
        (SEQUENTIAL | FRESH, 0.02, "rollback"),
        (SEQUENTIAL | FRESH, 0.001, "promote"),
    ],
)
def test_they_end_alike(more, share, ending):
    analysis = ANALYSIS | more
    theirs = [in_the_operator(analysis, share, seed) for seed in range(RUNS)]
    service = Service(100.0, 0.001, Latency(92.0, 0.53), tuple(BOUNDS[:-1]))
    fault = HEALTHY if share <= 0.001 else parse_fault(f"errors={100 * share:g}%")
    rules = Rules(Analysis.model_validate(analysis), service)
    ours = [Release(rules, fault, seed).run() for seed in range(2 * RUNS)]
    wanted = Phase.FAILED if ending == "rollback" else Phase.PROMOTING
    assert sum(phase is wanted for phase, _ in theirs) >= RUNS - 1
    assert sum(one.verdict == ending for one in ours) >= 2 * RUNS - 2
    theirs_seconds, ours_seconds = median(seconds for _, seconds in theirs), median(one.seconds for one in ours)
    assert ours_seconds == pytest.approx(theirs_seconds, rel=0.35, abs=30)
