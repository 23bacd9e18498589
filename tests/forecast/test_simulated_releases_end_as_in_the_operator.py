"""Simulated releases against the operator's whole rules over a simulated mesh: other code, other dice, the same outcomes and times."""

from statistics import median

import pytest

from canary.api.analysis import Analysis
from canary.api.status import Phase
from canary.core.forecast.release import Release, Rules
from canary.core.forecast.service import HEALTHY, Latency, Service, parse_fault
from canary.core.model import CountersAsk, Sample
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
GUARDED = {"judge": "guarded"}
SEQUENTIAL = {"judge": "sequential", "sequential": {"minDuration": "3m"}}


def in_the_operator(analysis, share, seed):
    """(phase, seconds since the first request or copy, seconds of copies) of one release; the check of the success rate is read off the same mesh."""
    world = watched(World(analysis=analysis).bootstrap(), errors={"canary": share}, seed=seed, proxies=1)
    world.release("B")
    world.settle()
    world.run(until=Phase.PROGRESSING)
    world.metrics["request-success-rate"] = lambda: rate(world)
    began = users = None
    for _ in range(2000):
        decision = world.tick()
        world.settle()
        if began is None and (world.routes.canary or world.routes.mirrored):
            began = world.now
        if users is None and world.routes.canary:
            users = world.now
        if world.status.phase is not Phase.PROGRESSING:
            assert (world.traffic.harmed == 0) == (users is None)
            assert any(ask.baseline for ask in world.asked if isinstance(ask, CountersAsk)) == (analysis.get("baseline") == "fresh")
            return world.status.phase, world.now - began, None if users is None else users - began
        world.now += decision.wake_after
    raise AssertionError("it does not end")


def rate(world):
    """Percent of the canary's requests of the last minute that went well."""
    world.traffic.go_on(world.now)
    counted = world.traffic.answers if world.routes.mirrored else world.traffic.scrapes
    seen = [one for one in counted if one.arm == "canary" and world.now - 60 < one.ts <= world.now]
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
        (GUARDED | FRESH, 0.02, "rollback"),
    ],
)
def test_they_end_alike(more, share, ending):
    analysis = ANALYSIS | more
    theirs = [in_the_operator(analysis, share, seed)[:2] for seed in range(RUNS)]
    ours = in_the_forecast(analysis, share)
    wanted = Phase.FAILED if ending == "rollback" else Phase.PROMOTING
    assert sum(phase is wanted for phase, _ in theirs) >= RUNS - 1
    assert sum(one.verdict == ending for one in ours) >= 2 * RUNS - 2
    theirs_seconds, ours_seconds = median(seconds for _, seconds in theirs), median(one.seconds for one in ours)
    assert ours_seconds == pytest.approx(theirs_seconds, rel=0.35, abs=30)


def in_the_forecast(analysis, share):
    service = Service(100.0, 0.001, Latency(92.0, 0.53), tuple(BOUNDS[:-1]))
    fault = HEALTHY if share <= 0.001 else parse_fault(f"errors={100 * share:g}%")
    rules = Rules(Analysis.model_validate(analysis), service)
    return [Release(rules, fault, seed).run() for seed in range(2 * RUNS)]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("more", "share", "ending"),
    [
        ({"threshold": 1}, 0.05, "rollback"),
        ({"judge": "guarded"}, 0.05, "rollback"),
        ({"judge": "guarded"}, 0.001, "promote"),
        (SEQUENTIAL, 0.02, "rollback"),
        (SEQUENTIAL, 0.001, "promote"),
        (SEQUENTIAL | {"sequential": {"minDuration": "3m", "steps": "fixed"}}, 0.001, "promote"),
    ],
)
def test_copies_come_first_and_take_as_long(more, share, ending):
    analysis = ANALYSIS | {"mirror": True} | more
    theirs = [in_the_operator(analysis, share, seed) for seed in range(RUNS // 2)]
    ours = in_the_forecast(analysis, share)
    assert {one.verdict for one in ours} == {ending}
    assert {phase for phase, *_ in theirs} == {Phase.FAILED if ending == "rollback" else Phase.PROMOTING}
    assert median(one.seconds for one in ours) == pytest.approx(median(seconds for _, seconds, _ in theirs), rel=0.35, abs=30)
    if ending == "rollback":
        assert all(one.on_copies and one.harmed == one.served == 0 for one in ours)
        assert {copies for *_, copies in theirs} == {None}
    else:
        assert not any(one.on_copies for one in ours)
        assert median(one.copying for one in ours) == pytest.approx(median(copies for *_, copies in theirs), rel=0.2, abs=30)


@pytest.mark.parametrize(("baseline", "ending"), [("primary", "rollback"), ("fresh", "promote")])
def test_a_fresh_baseline_is_as_young_as_the_canary(baseline, ending):
    """Healthy versions, twice as slow for their first five minutes."""
    service = Service(100.0, young=parse_fault("latency=2x"), young_for=300.0)
    rules = Rules(Analysis.model_validate(ANALYSIS | SEQUENTIAL | {"baseline": baseline, "maxWeight": 0}), service)
    ours = [Release(rules, HEALTHY, seed).run() for seed in range(5)]
    assert {one.verdict for one in ours} == {ending}


def test_beside_a_fresh_baseline_the_canary_has_a_third_at_most_and_checks_look_at_the_primary():
    analysis = Analysis.model_validate(ANALYSIS | SEQUENTIAL | {"baseline": "fresh", "maxWeight": 0})
    release = Release(Rules(analysis, Service(300.0, young=parse_fault("errors=50%"), young_for=60.0)), HEALTHY, 1)
    world = release._world
    world.go_on(30, 20)
    tick = world.scrape(20)
    assert tick.baseline == 20
    assert tick.canary.total == pytest.approx(1800, rel=0.2)
    assert tick.primary.total == pytest.approx(1800, rel=0.2), "the baseline"
    assert tick.canary.errors == pytest.approx(tick.primary.errors, rel=0.2)
    assert world.primary.total == pytest.approx(5400, rel=0.2)
    assert world.primary.errors < 30, "it is old"
    whole = Release(Rules(analysis, Service(300.0)), HEALTHY, 1)
    assert whole.run().verdict == "promote"
    assert whole.weight == 33


def test_a_version_that_only_copies_are_shown_is_never_promoted():
    """The deadline comes before health does, and `onInconclusive` promotes nobody who has met no user."""
    slow = {"interval": "5m", "sequential": {"maxDuration": "4m", "minDuration": "1m", "onInconclusive": "promote"}}
    ours = in_the_forecast(ANALYSIS | {"mirror": True, "judge": "sequential"} | slow, 0.001)
    assert {(one.verdict, one.served) for one in ours} == {("undecided", 0)}
