"""`judge: guarded`: the checks and the schedule decide as ever; evidence may roll back sooner, and ignorance or a common outage only waits.

And `judge: threshold`, the default, which must not know that any of this exists.
"""

import random

import pytest

from canary.api.status import Phase
from canary.core.model import CountersAsk, MetricAsk, MetricSource, PastAsk, Sample
from tests.core.counting import watched
from tests.core.simulate import World
from tests.core.test_evidence_decides import DEAD, checks, go, judge, weights

CHECK = {"name": "request-success-rate", "thresholdRange": {"min": 99}}
ANALYSIS = {"interval": "30s", "threshold": 3, "stepWeight": 10, "maxWeight": 50, "judge": "guarded", "metrics": [CHECK]}
PRIMARYS = "primary's request-success-rate"


def released(*, traffic=None, **analysis):
    world = watched(World(analysis=ANALYSIS | analysis).bootstrap(), **(traffic or {}))
    world.release("B")
    world.settle()
    world.run(until=Phase.PROGRESSING)
    world.forget()
    return world


def primary_asks(world):
    return [ask for ask in world.asked if isinstance(ask, MetricAsk) and ask.source is MetricSource.PRIMARY]


def moves(world):
    """(when, weight) of each change, from the beginning of the run."""
    found = []
    for decision in world.decisions:
        if decision.status.run is not None and decision.status.run.last_tick_time is not None:
            state = (decision.status.run.last_tick_time.timestamp(), decision.status.run.weight)
            if not found or found[-1][1] != state[1]:
                found.append(state)
    return found


# ------------------------------------------------------------------------------------------------ the schedule


def test_a_healthy_release_takes_the_same_steps_at_the_same_times():
    guarded, plain = go(released(), 900), go(released(judge="threshold"), 900)
    assert guarded.status.phase is plain.status.phase is Phase.SUCCEEDED
    assert moves(guarded) == moves(plain)
    assert weights(guarded) == weights(plain) == [10, 20, 30, 40, 50, 0]


@pytest.mark.parametrize("seed", range(8))
def test_it_never_advances_faster_than_the_checks_alone(seed):
    """Whatever checks say, evidence holds or excuses: after any time no more steps have been taken."""
    chosen = random.Random(seed)
    story = [chosen.choice([100.0, 100.0, 100.0, 97.0, None, "refused"]) for _ in range(60)]
    mine = [chosen.choice([100.0, 97.0]) for _ in range(60)]
    worlds = []
    for kind in ("threshold", "guarded"):
        world = released(judge=kind, threshold=40, traffic={"seed": seed, "errors": {"canary": chosen.choice([0.001, 0.003])}})
        began = world.now

        def now(tell, world=world, began=began):
            said = tell[int((world.now - began) // 30) % 60]
            return Sample(error=said) if isinstance(said, str) else Sample(said)

        world.metrics[CHECK["name"]] = lambda now=now: now(story)
        world.metrics[PRIMARYS] = lambda now=now: now(mine)
        worlds.append((go(world, 1200), began))
    (plain, since), (guarded, later) = worlds
    theirs, ours = [(at - since, weight) for at, weight in moves(plain)], [(at - later, weight) for at, weight in moves(guarded)]
    for at, weight in ours:
        assert weight <= max((one for when, one in theirs if when <= at), default=0)
    assert len(ours) > 1


# ------------------------------------------------------------------------------------------------ evidence


def test_it_rolls_back_before_the_checks_would():
    guarded = released(traffic={"errors": {"canary": 0.2}}, threshold=5, interval="60s")
    plain = released(traffic={"errors": {"canary": 0.2}}, threshold=5, interval="60s", judge="threshold")
    for world in (guarded, plain):
        world.metrics[CHECK["name"]] = Sample(80.0)
    took = []
    for world in (guarded, plain):
        began = world.now
        go(world, 1200)
        assert world.status.phase is Phase.FAILED
        took.append(world.now - began)
    assert took[0] <= 60 < 300 <= took[1]
    assert guarded.status.failure_reason.startswith("Rolled back after")
    assert guarded.traffic.harmed < plain.traffic.harmed or plain.traffic.harmed == 0


def test_it_sees_what_the_checks_do_not():
    """A fault below the fixed bound, well beyond the margin."""
    world = released(traffic={"errors": {"canary": 0.008}, "rate": 400}, stepWeight=5, interval="60s")
    go(world, 3000)
    assert world.status.phase is Phase.FAILED
    assert world.status.failed_checks == 0


def test_evidence_never_promotes_and_owes_nothing_at_a_deadline():
    world = released(sequential={"maxDuration": "2m", "onInconclusive": "rollback"}, traffic={"rate": 1}, interval="60s")
    go(world, 900)
    assert world.status.phase is Phase.SUCCEEDED
    assert weights(world)[:5] == [10, 20, 30, 40, 50]
    assert not {"Inconclusive", "EvidenceHolds"} & set(world.kinds())


def test_a_dead_counter_does_not_stop_checks_that_pass():
    world = released()
    world.traffic.dead = DEAD
    go(world, 900)
    assert world.status.phase is Phase.SUCCEEDED


def test_hold_on_failure_keeps_the_weight_that_evidence_speaks_against():
    world = go(released(traffic={"errors": {"canary": 0.5}}, onFailure="hold", interval="60s"), 900)
    assert (world.status.phase, world.routes.canary) == (Phase.PROGRESSING, 10)
    assert judge(world).verdict == "rollback"


# ------------------------------------------------------------------------------------------------ excuses


def failing(sample, primary=None, **analysis):
    world = released(**analysis)
    world.metrics[CHECK["name"]] = sample
    if primary is not None:
        world.metrics[PRIMARYS] = primary
    return go(world, 400)


@pytest.mark.parametrize("sample", [Sample(), Sample(error="refused"), Sample(float("nan"))])
def test_ignorance_is_a_wait(sample):
    world = failing(sample)
    assert (world.status.phase, world.routes.canary, world.status.failed_checks) == (Phase.PROGRESSING, 10, 0)
    assert "CheckHeld" in world.kinds()
    assert not primary_asks(world)


def test_what_the_primary_does_as_well_is_a_wait():
    world = failing(Sample(90.0), Sample(95.0))
    assert (world.status.phase, world.routes.canary, world.status.failed_checks) == (Phase.PROGRESSING, 10, 0)
    text = "success rate 90.00% < 99%; the primary fails, too: success rate 95.00% < 99%"
    assert checks(world)[CHECK["name"]].message == text
    assert checks(world)[CHECK["name"]].verdict == "Fail"
    assert [notice.message for notice in world.notices if notice.kind == "CheckHeld"][0].endswith(text)


@pytest.mark.parametrize("primary", [Sample(99.5), Sample(), Sample(error="refused")])
def test_what_the_primary_does_not_do_as_well_counts(primary):
    world = failing(Sample(90.0), primary)
    assert world.status.phase is Phase.FAILED
    assert world.status.failure_reason == "failed checks threshold reached 3 (success rate 90.00% < 99%)"


def test_the_primary_is_asked_only_about_failures():
    world = go(released(), 200)
    assert not primary_asks(world)
    assert {check.verdict for check in world.status.checks} == {"Pass"}


def test_a_failed_template_counts_whatever_the_primary_does():
    template = {"name": "queue", "templateRef": {"name": "queue"}, "thresholdRange": {"max": 10}}
    world = released(metrics=[template])
    world.metrics["queue"] = Sample(11.0)
    go(world, 400)
    assert world.status.phase is Phase.FAILED


def test_a_check_that_can_never_be_asked_counts():
    world = go(released(metrics=[{"name": "mine"}]), 400)
    assert world.status.phase is Phase.FAILED


# ------------------------------------------------------------------------------------------------ the default


@pytest.mark.parametrize("value", [100.0, 90.0, None])
@pytest.mark.parametrize(
    "steps", [{"stepWeight": 10}, {"stepWeights": [1, 5, 100], "stepWeight": None}, {"iterations": 3, "stepWeight": None}]
)
def test_without_a_judge_every_decision_is_what_it_was(value, steps):
    """`judge: threshold` and no judge at all: the same asks, effects, notices and status, and nobody counts requests."""
    worlds = []
    for extra in ({}, {"judge": "threshold", "sequential": {"alpha": 0.1}}):
        fields = {key: one for key, one in {**ANALYSIS, **steps, "judge": None, **extra}.items() if one is not None}
        world = World(analysis=fields).bootstrap()
        world.metrics[CHECK["name"]] = Sample(value)
        world.release("B")
        world.run()
        worlds.append(world)
    bare, named = worlds
    assert bare.decisions == named.decisions
    assert bare.asked == named.asked
    assert not [ask for ask in named.asked if isinstance(ask, CountersAsk | PastAsk)]
    assert not primary_asks(named)
    assert all(decision.status.run is None or decision.status.run.judge is None for decision in named.decisions)
    assert "judge" not in named.status.run.to_dict()
    assert all("evidence" not in check.to_dict() for check in named.status.checks)
