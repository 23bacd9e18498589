"""What is simulated and replayed is what the operator does: both are held against its rules, tick by tick."""

import random

import pytest

from canary.api.analysis import Analysis
from canary.api.status import Phase
from canary.core.forecast.counted import Counted, Step, schedule, verdict
from canary.core.forecast.replay import Replay, Weights
from canary.core.model import Sample, SetRoutes
from canary.core.verdicts import excused
from tests.core.counting import watched
from tests.core.simulate import World

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


@pytest.mark.parametrize(("share", "verdict_wanted"), [(0.05, "rollback"), (0.001, "promote")])
def test_a_replay_of_what_the_operator_saw_says_what_the_operator_said(share, verdict_wanted):
    world = watched(World(analysis=JUDGED).bootstrap(), errors={"canary": share})
    world.release("B")
    world.settle()
    world.run(until=Phase.PROGRESSING)
    looks, weights, said = [], [], []
    ask = world.traffic.counters

    def counters(since, now, **more):
        looks.append(now)
        weights.append((now, world.routes.canary))
        return ask(since, now, **more)

    world.traffic.counters = counters
    while world.status.phase is Phase.PROGRESSING:
        decision = world.tick()
        world.settle()
        if len(looks) > len(said) and world.status.run.judge is not None:
            said.append((world.status.run.judge.verdict, world.status.run.judge.reason))
        weights.append((world.now + 0.001, world.routes.canary))
        world.now += decision.wake_after or 0.0

    replayed = Replay(Analysis.model_validate(JUDGED), looks[0], world.traffic.past(looks[0]))
    replayed.anchor(ask(0.0, looks[0]))
    known = Weights(tuple(sorted(weights)))
    ours = [replayed.look(ask(replayed.since(now) + 1, now), known.at(now)) for now in looks[1:]]
    assert replayed.own.verdict == verdict_wanted
    until = next(at for at, look in enumerate(ours) if look.decision.verdict == verdict_wanted)
    assert [(look.decision.verdict, look.decision.reason) for look in ours[: until + 1]] == said[1 : until + 2]
    assert until >= 2
