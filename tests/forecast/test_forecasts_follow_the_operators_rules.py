"""What is simulated and replayed is what the operator does: both are held against its rules, tick by tick."""

import random

import pytest

from canary.api.analysis import Analysis
from canary.api.status import Phase
from canary.core.forecast.counted import Counted, Step, schedule, verdict
from canary.core.forecast.replay import Replay
from canary.core.model import Sample, SetRoutes
from canary.core.verdicts import excused
from tests.core.counting import watched
from tests.core.simulate import World
from tests.metrics.test_pairs_of_counters_are_compared import WithJobs

CHECKED = {
    "interval": "10s",
    "threshold": 3,
    "stepWeight": 20,
    "maxWeight": 50,
    "metrics": [{"name": "request-success-rate", "thresholdRange": {"min": 99}}],
}
JUDGED = CHECKED | {"interval": "30s", "judge": "sequential", "sequential": {"minDuration": "1m"}}


def by_the_operator(analysis, values):
    """(weight, failed checks) after each step, and the phase that it ended in. `values` are of canary and primary at each step."""
    world = World(analysis=analysis).bootstrap()
    world.release("B")
    world.settle()
    if analysis.get("judge") == "guarded":
        watched(world, errors={"canary": 0.001})
    world.run(until=Phase.PROGRESSING)
    seen, left = [], list(values)
    while left and world.status.phase is Phase.PROGRESSING:
        due = world.routes.canary > 0 and world.status.run is not None
        mine, theirs = left[0]
        world.metrics = {"request-success-rate": mine, "primary's request-success-rate": theirs}
        before = (world.routes.canary, world.status.failed_checks)
        decision = world.tick()
        world.settle()
        if due and decision.checks_run:
            left.pop(0)
            taken_back = world.status.phase is not Phase.PROGRESSING or world.routes.canary == 0
            seen.append((before[0] if taken_back else world.routes.canary, world.status.failed_checks))
        if decision.wake_after is None:
            break
        world.now += decision.wake_after
    if world.status.phase is Phase.PROGRESSING and world.status.failed_checks >= analysis["threshold"]:
        world.tick()
    return seen, world.status.phase


def by_the_forecast(analysis, values):
    parsed = Analysis.model_validate(analysis)
    counted, [metric] = Counted(parsed), parsed.metrics
    weight, seen = schedule(parsed)[0], []
    for mine, theirs in values:
        judged = verdict(metric, mine)
        found = excused(judged, verdict(metric, theirs)) if analysis.get("judge") == "guarded" else judged
        step, after = counted.step([found], weight)
        if step in (Step.ROLLBACK, Step.PROMOTE):
            return [*seen, (weight, counted.failed)], {Step.ROLLBACK: Phase.FAILED, Step.PROMOTE: Phase.PROMOTING}[step]
        weight = after
        seen.append((weight, counted.failed))
    return seen, Phase.PROGRESSING


@pytest.mark.parametrize("judge", ["threshold", "guarded"])
@pytest.mark.parametrize("role", [None, "critical"])
@pytest.mark.parametrize("seed", range(12))
def test_steps_and_counts_are_the_operators(judge, role, seed):
    dice = random.Random(seed)
    samples = lambda: dice.choice([Sample(100.0), Sample(100.0), Sample(99.0), Sample(98.9), Sample()])  # noqa: E731
    values = [(samples(), samples()) for _ in range(12)]
    analysis = CHECKED | {"judge": judge} | ({"metrics": [CHECKED["metrics"][0] | {"role": role}]} if role else {})
    theirs, phase = by_the_operator(analysis, values)
    ours, ending = by_the_forecast(analysis, values)
    assert ours == theirs
    assert (ending is Phase.FAILED) == (phase is Phase.FAILED)
    assert len(ours) >= (1 if role else 3)


def test_a_schedule_is_what_a_release_without_a_failed_check_climbs():
    world = World(analysis=CHECKED).bootstrap()
    world.release("B")
    world.settle()
    world.run(until=Phase.SUCCEEDED)
    climbed = [effect.routes.canary for decision in world.decisions for effect in decision.effects if isinstance(effect, SetRoutes)]
    assert tuple(weight for weight in climbed if weight) == schedule(Analysis.model_validate(CHECKED)) == (20, 40, 60)


def by_the_operator_at_every_look(world):
    """What each look of a run was asked (moment, weight, copied), and what was said after it."""
    looks, said = [], []
    ask = world.traffic.counters

    def counters(since, now, **stage):
        looks.append((now, world.routes.canary, world.copied if stage.get("copies") else 0))
        return ask(since, now, **stage)

    world.traffic.counters = counters
    while world.status.phase is Phase.PROGRESSING and len(looks) < 200:
        decision = world.tick()
        world.settle()
        if len(looks) > len(said) and world.status.run.judge is not None:
            said.append((world.status.run.judge.verdict, world.status.run.judge.reason))
        world.now += decision.wake_after or 0.0
    world.traffic.counters = ask
    return looks, said


def again(world, analysis, looks):
    """The same looks, replayed."""
    parsed, began = Analysis.model_validate(analysis), looks[0][0]
    replayed = Replay(parsed, began, world.traffic.past(began), baseline=parsed.baseline)
    replayed.anchor(world.traffic.counters(0.0, began), replayed.seen(0))
    found = []
    for now, weight, copied in looks[1:]:
        seen = replayed.seen(weight, copied)
        stage = {"baseline": True} if seen.baseline else {"copies": copied > 0}
        found.append(replayed.look(world.traffic.counters(replayed.since(now, seen) + 1, now, **stage), seen))
    return replayed, found


@pytest.mark.parametrize(
    ("more", "share", "jobs", "verdict_wanted"),
    [
        ({}, 0.05, 0.001, "rollback"),
        ({}, 0.001, 0.001, "promote"),
        ({"mirror": True}, 0.05, 0.001, "rollback"),
        ({"mirror": True}, 0.001, 0.001, "promote"),
        ({}, 0.001, 0.05, "rollback"),
        ({"judge": "guarded", "mirror": True}, 0.05, 0.001, "rollback"),
    ],
)
def test_a_replay_of_what_the_operator_saw_says_what_the_operator_said(more, share, jobs, verdict_wanted):
    analysis = JUDGED | more
    world = watched(World(analysis=analysis).bootstrap())
    routes = lambda: getattr(world.routes, "canary", 0)  # noqa: E731
    copied = lambda: world.copied if getattr(world.routes, "mirrored", False) else 0  # noqa: E731
    world.traffic = WithJobs(start=world.now, weight=routes, copied=copied, errors={"canary": share}, jobs={"canary": jobs})
    world.traffic.jobs.copied = copied
    replayed = replayed_alike(world, analysis, verdict_wanted)
    assert (replayed.totals["copies"][0] > 0) == ("mirror" in more)


@pytest.mark.parametrize(("share", "verdict_wanted"), [(0.05, "rollback"), (0.001, "promote")])
def test_a_replay_beside_a_fresh_baseline_says_so_too(share, verdict_wanted):
    analysis = {name: value for name, value in JUDGED.items() if name != "maxWeight"} | {"baseline": "fresh"}
    world = watched(World(analysis=analysis).bootstrap(), errors={"canary": share})
    replayed = replayed_alike(world, analysis, verdict_wanted)
    assert replayed.last.tick.baseline == replayed.last.tick.weight > 0


def replayed_alike(world, analysis, verdict_wanted):
    world.release("B")
    world.settle()
    world.run(until=Phase.PROGRESSING)
    looks, said = by_the_operator_at_every_look(world)
    replayed, found = again(world, analysis, looks)
    assert replayed.own.verdict == verdict_wanted
    heard = [(look.decision.verdict, look.reason) if look else None for look in found]
    ending = next(at for at, one in enumerate(heard) if one and one[0] == verdict_wanted)
    for at, (ours, theirs) in enumerate(zip(heard[: ending + 1], said[1:], strict=False)):
        assert ours in (None, theirs), at
    assert len([one for one in heard[: ending + 1] if one]) >= 3
    return replayed
