"""`baseline: fresh`: a copy of the old version begins with the canary, gets as many requests, is compared with it, and leaves nothing behind."""

import pytest

from canary.api.status import Phase
from canary.core.counted import Marks, Stage
from canary.core.model import (
    CountersAsk,
    EnsureBaseline,
    EnsureRoutes,
    PastAsk,
    Promote,
    Readiness,
    RemoveBaseline,
    Routes,
    ScaleTarget,
    SetRoutes,
    Unknown,
)
from canary.core.weights import beside
from tests.core.counting import watched
from tests.core.simulate import Copy, CrashError, World, replace_world, rev

ANALYSIS = {
    "interval": "30s",
    "threshold": 3,
    "stepWeight": 10,
    "judge": "sequential",
    "baseline": "fresh",
    "sequential": {"minDuration": "1m"},
    "metrics": [{"name": "request-success-rate", "thresholdRange": {"min": 99}}],
}
WARM = (0.6, 0.97, 0.995, 0.999, 1.0)
COLD = (0.2, 0.6, 0.85, 0.95, 1.0)


def accepted(*, traffic=None, spec=None, **analysis):
    """A canary whose next revision has just been accepted."""
    world = watched(World(analysis=ANALYSIS | analysis, spec=spec or {}).bootstrap(), **(traffic or {}))
    world.release("B")
    world.forget()
    for _ in range(5):
        world.tick()
        if world.status.phase is Phase.PROGRESSING:
            return world
    raise AssertionError(world.status)


def released(**more):
    """The same, with the pods of canary and baseline ready."""
    world = accepted(**more)
    world.tick()
    world.settle()
    return world


def go(world, seconds, *, until=None, settle=True):
    """Tick as the scheduler would, for this long or until the phase."""
    end = world.now + seconds
    while world.now <= end:
        decision = world.tick()
        if settle:
            world.settle()
        if decision.wake_after is None or world.status.phase is until:
            break
        world.now += decision.wake_after
    return world


def until(world, holds, *, ticks=400):
    for _ in range(ticks):
        if holds(world):
            return world
        decision = world.tick()
        world.settle()
        world.now += decision.wake_after or 1
    raise AssertionError(f"never: {world.routes} {world.status}")


def routed(world):
    return [e.routes for d in world.decisions for e in d.effects if isinstance(e, SetRoutes | EnsureRoutes)]


def kinds(decision):
    return [type(effect).__name__ for effect in decision.effects]


def given_up(world):
    return [notice for notice in world.notices if notice.kind == "BaselineGivenUp"]


# ------------------------------------------------------------------------------------------------ its life


def test_it_begins_in_the_tick_that_wakes_the_target():
    world = accepted()
    [tick] = [d for d in world.decisions if any(isinstance(e, ScaleTarget) and e.up for e in d.effects)]
    [made] = [e for e in tick.effects if isinstance(e, EnsureBaseline)]
    assert made.run_id == tick.status.run.id == world.baseline.revision
    assert kinds(tick).index("EnsureBaseline") < kinds(tick).index("ScaleTarget"), "what is in the way stops it before anything has begun"
    assert world.baseline.replicas == world.primary.replicas == 2
    assert world.status.run.baseline.compared == "fresh"
    assert "app-baseline.test" in world.notices[-1].message
    assert "fresh copy of the old version" in world.notices[-1].alert


def test_the_first_step_waits_for_it():
    world = accepted()
    world.tick()
    world.settle("app")
    world.now += 31
    go(world, 200, settle=False)
    assert world.routes.canary == 0
    assert world.status.phase is Phase.PROGRESSING
    assert any("baseline app-baseline.test not ready" in notice.message for notice in world.notices)
    world.settle()
    until(world, lambda w: w.routes.canary > 0)
    assert world.routes.baseline > 0


def test_it_has_as_much_as_the_canary_and_never_more_than_is_left_to_the_primary():
    world = go(released(), 1200)
    assert world.status.phase is Phase.SUCCEEDED
    seen = routed(world)
    for routes in seen:
        assert routes.baseline in (0, beside(routes.canary)), routes
    assert max(routes.canary for routes in seen) == 33, "the top weight without maxWeight"
    assert Routes(67, 33, baseline=33) in seen


def test_the_share_leaves_every_copy_its_part():
    for weight in range(101):
        share = beside(weight)
        assert 0 <= share <= weight
        assert share <= 100 - weight - share
    assert [beside(weight) for weight in (0, 1, 20, 33, 34, 50, 95, 100)] == [0, 1, 20, 33, 33, 25, 2, 0]


def test_it_is_gone_once_the_release_is_and_only_after_the_routes():
    """`simulate` refuses to take it away under its traffic."""
    world = go(released(), 1200)
    assert world.status.phase is Phase.SUCCEEDED
    assert world.baseline is None
    assert not world.baseline_service
    [removed] = [number for number, d in enumerate(world.decisions) if any(isinstance(e, RemoveBaseline) for e in d.effects)]
    promoted = next(number for number, d in enumerate(world.decisions) if any(isinstance(e, Promote) for e in d.effects))
    last = max(n for n, d in enumerate(world.decisions) for e in d.effects if isinstance(e, SetRoutes | EnsureRoutes) and e.routes.baseline)
    assert last < promoted, "the new version is copied onto the primary when the baseline has no share any more"
    assert last < removed
    assert world.status.run.baseline.weight == 0
    assert world.status.run.baseline.compared == "fresh", "which arm was compared stays visible"


def test_a_rollback_takes_its_share_and_then_it_away():
    world = go(released(traffic={"errors": {"canary": 0.3}}), 900)
    assert world.status.phase is Phase.FAILED
    assert (world.routes.primary, world.routes.canary, world.routes.baseline) == (100, 0, 0)
    assert "fresh baseline" in world.status.failure_reason
    go(world, 200)
    assert world.baseline is None
    assert not world.baseline_service


def test_it_follows_the_size_of_the_target():
    world = until(released(), lambda w: w.routes.baseline > 0)
    world.target.replicas = 5
    world.tick()
    assert world.baseline.replicas == 5
    assert world.routes.baseline == beside(world.routes.canary), "while it grows it answers as before"


def test_one_that_was_deleted_by_hand_is_made_again():
    world = until(released(), lambda w: w.routes.baseline > 0)
    world.baseline, world.baseline_service = None, False
    world.tick()
    assert world.routes.baseline == 0
    assert world.baseline.revision == world.status.run.id
    go(world, 1200)
    assert world.status.phase is Phase.SUCCEEDED
    assert not given_up(world)


def test_a_newer_revision_gets_one_of_its_own():
    world = until(released(), lambda w: w.routes.baseline > 0)
    first = world.status.run.id
    world.release("C")
    until(world, lambda w: w.baseline is not None and w.baseline.revision != first)
    assert world.baseline.revision == world.status.run.id
    go(world, 1500)
    assert world.status.phase is Phase.SUCCEEDED
    assert world.primary.revision == rev("C")


def test_what_an_earlier_run_has_left_is_never_compared_with():
    world = watched(World(analysis=ANALYSIS).bootstrap())
    world.baseline, world.baseline_service = Copy("app-baseline", "another-run", 2, 2), True
    world.release("B")
    go(world, 1500)
    assert world.status.phase is Phase.SUCCEEDED
    made = [e for e in world.effects if isinstance(e, EnsureBaseline)]
    assert {e.run_id for e in made} == {world.status.run.id}
    assert world.baseline is None


@pytest.mark.parametrize("phase", [Phase.INITIALIZED, Phase.SUCCEEDED, Phase.FAILED])
def test_whatever_is_left_at_rest_is_taken_away(phase):
    world = World(analysis=ANALYSIS).bootstrap()
    world.status = world.status.model_copy(update={"phase": phase})
    world.baseline_service = True
    decision = world.tick()
    assert "RemoveBaseline" in kinds(decision)
    assert decision.wake_after is not None, "it is looked at again"
    world.now += decision.wake_after
    assert world.tick().wake_after is None


def test_routes_that_cannot_be_read_may_still_name_it():
    world = World(analysis=ANALYSIS).bootstrap()
    world.baseline_service = True
    for unreadable in (Unknown("RouteNotAccepted", "not yet"), Routes(100, 0, baseline=10)):
        world.routes = unreadable
        assert "RemoveBaseline" not in kinds(world.decide())


def test_routes_that_are_made_again_with_it_are_left_before_it_goes():
    """The object with the weights is gone, and so is the primary: the tick that makes routes anew sends all to the target, in a second step."""
    world = until(released(), lambda w: w.routes.baseline > 0)
    world.primary = world.routes = None
    decision = world.tick()
    assert [e.routes.baseline > 0 for e in decision.effects if isinstance(e, SetRoutes | EnsureRoutes)] == [True, False]
    assert "RemoveBaseline" not in kinds(decision)
    go(world, 30)
    assert world.baseline is None
    assert not world.baseline_service


def test_without_the_option_nothing_of_it_is_said_stored_or_done():
    plain = watched(World(analysis={key: value for key, value in ANALYSIS.items() if key != "baseline"}).bootstrap())
    plain.release("B")
    go(plain, 1500)
    assert plain.status.phase is Phase.SUCCEEDED
    assert not [e for e in plain.effects if isinstance(e, EnsureBaseline | RemoveBaseline)]
    assert all(routes.baseline == 0 for routes in routed(plain))
    assert "baseline" not in plain.status.to_dict()["run"]
    assert max(routes.canary for routes in routed(plain)) >= 50


def test_where_nothing_is_compared_there_is_none():
    world = watched(World(analysis=ANALYSIS, spec={"skipAnalysis": True}).bootstrap())
    world.release("B")
    go(world, 600)
    assert world.status.phase is Phase.SUCCEEDED
    assert world.baseline is None
    assert not [e for e in world.effects if isinstance(e, EnsureBaseline)]
    assert world.status.run.baseline is None


# ------------------------------------------------------------------------------------------------ what it may not do


def test_one_that_is_in_the_way_and_not_ours_stops_the_release_before_it_begins():
    world = watched(World(analysis=ANALYSIS).bootstrap())
    world.baseline = Unknown("BaselineTaken", "Deployment app-baseline.test exists already and is not ours; delete or rename it")
    world.release("B")
    decision = world.tick()
    assert world.status.phase is Phase.INITIALIZED
    assert world.target.replicas == 0
    assert world.status.condition("Stalled").reason == "BaselineTaken"
    assert "delete or rename it" in world.status.condition("Stalled").message
    assert not [e for e in decision.effects if isinstance(e, EnsureBaseline | RemoveBaseline)]
    world.baseline = None
    go(world, 1500)
    assert world.status.phase is Phase.SUCCEEDED


@pytest.mark.parametrize("when", ["before its traffic", "in the run"])
def test_one_that_is_stuck_never_costs_the_release(when):
    world = accepted()
    world.tick()
    world.settle(*(["app"] if when == "before its traffic" else []))
    if when == "in the run":
        until(world, lambda w: w.routes.baseline > 0)
        world.broken.add("baseline")
        world.crash_pods("app-baseline")
        world.tick()
    world.broken.add("baseline")
    world.pass_deadline("app-baseline")
    go(world, 2400)
    assert world.status.phase is Phase.SUCCEEDED
    [notice] = given_up(world)
    assert notice.warning
    assert "0 of 2 pods available" in notice.message
    run = world.status.run
    assert (run.baseline.compared, run.baseline.reason) == ("primary", "0 of 2 pods available")
    assert world.baseline is None
    asked = [ask for ask in world.asked if isinstance(ask, CountersAsk)]
    assert not asked[-1].baseline


def test_what_was_given_up_stays_so_for_the_run():
    world = until(released(), lambda w: w.routes.baseline > 0)
    world.baseline.readiness = Readiness.STUCK
    world.tick()
    assert world.routes.baseline == 0
    world.edit(interval="31s")
    go(world, 300)
    assert not [e for d in world.decisions[-5:] for e in d.effects if isinstance(e, EnsureBaseline)]
    assert len(given_up(world)) == 1


def test_the_option_taken_out_of_the_spec_takes_it_away():
    world = until(released(), lambda w: w.routes.baseline > 0)
    world.edit(baseline="primary")
    go(world, 120)
    assert world.routes.baseline == 0
    assert world.baseline is None
    assert world.status.run.baseline.compared == "primary"
    go(world, 2400)
    assert world.status.phase is Phase.SUCCEEDED


def test_nobody_meets_one_that_has_lost_its_pods_and_evidence_waits_until_it_is_back():
    world = until(released(), lambda w: w.routes.baseline >= 5)
    weight = world.routes.canary
    world.broken.add("baseline")
    world.crash_pods("app-baseline")
    assert world.served() < 1
    world.tick()
    assert (world.routes.canary, world.routes.baseline) == (weight, 0), "in the tick that sees it"
    assert world.served() == 1
    counted = sum(isinstance(ask, CountersAsk) for ask in world.asked)
    go(world, 200)
    assert world.routes.canary == weight, "the weight waits"
    assert world.status.run.judge.verdict == "hold"
    assert "has no pod that answers" in world.status.run.judge.reason
    assert Marks.parse(world.status.run.judge.marks).stage is Stage.ALONE
    assert sum(isinstance(ask, CountersAsk) for ask in world.asked) == counted
    world.broken.clear()
    world.settle()
    world.tick()
    assert world.routes.baseline == beside(weight)
    go(world, 1800)
    assert world.status.phase is Phase.SUCCEEDED
    shares = next(check for check in world.status.checks if check.name == "judge/sampleRatio")
    assert shares.verdict == "Pass"


def test_pods_that_come_back_answer_when_all_are_there():
    world = until(released(), lambda w: w.routes.baseline > 0)
    world.crash_pods("app-baseline")
    world.tick()
    world.baseline.ready = 1
    world.tick()
    assert world.routes.baseline == 0
    world.settle()
    world.tick()
    assert world.routes.baseline > 0


def test_a_verdict_that_is_held_keeps_the_shares_as_they_are():
    world = released(traffic={"errors": {"canary": 0.3}}, onFailure="hold")
    until(world, lambda w: w.status.run.held)
    before = world.routes
    go(world, 200)
    assert world.routes == before
    assert before.baseline > 0


def test_a_canary_with_everything_has_nothing_to_be_compared_with():
    """A fixed schedule of a guarded release may go that far; counted checks decide there."""
    world = released(judge="guarded", stepWeight=99, maxWeight=100)
    until(world, lambda w: w.routes.canary == 99)
    assert world.routes.baseline == 0
    until(world, lambda w: "no share of the traffic is left" in w.status.run.judge.reason)
    go(world, 300)
    assert world.status.phase is Phase.SUCCEEDED


def test_weights_that_were_moved_by_hand_take_the_baselines_share_along():
    world = until(released(), lambda w: w.routes.baseline > 0)
    world.routes = Routes(60, 40)
    world.tick()
    assert world.routes == Routes(60, 40, baseline=30)
    go(world, 1500)
    assert world.status.phase is Phase.SUCCEEDED


def test_a_long_refusal_is_cut_short():
    world = until(released(), lambda w: w.routes.baseline > 0)
    world.baseline = Unknown("BaselineRefused", "denied by policy " * 200)
    world.tick()
    assert len(world.status.run.baseline.reason) == 500


def test_deleting_the_canary_takes_its_share_away_first():
    world = until(released(), lambda w: w.routes.baseline > 0)
    world.edit_spec(revertOnDeletion=True)
    world.tick()
    world.deleted = True
    world.tick()
    assert world.routes.baseline == 0
    go(world, 200)
    assert world.gone
    assert world.baseline is None


# ------------------------------------------------------------------------------------------------ what is compared


def test_looks_compare_with_it_from_its_first_requests_on():
    world = go(released(), 1200)
    asked = [ask for ask in world.asked if isinstance(ask, CountersAsk)]
    assert not asked[0].baseline
    assert sum(ask.baseline for ask in asked) > 3
    first = next(ask for ask in asked if ask.baseline)
    assert first.since == 0, "marks of other requests say nothing of these"
    assert sum(isinstance(ask, PastAsk) for ask in world.asked) == 1


def test_the_share_of_requests_is_that_of_the_two():
    world = go(released(), 1200)
    shares = next(check for check in world.status.checks if check.name == "judge/sampleRatio")
    assert shares.verdict == "Pass"
    assert 90 < shares.value < 110
    errors = next(check for check in world.status.checks if check.name == "judge/errorRate")
    assert "fresh baseline" in errors.message


def test_failures_of_the_primary_alone_are_not_the_yardstick():
    """The old version that has run for long fails, the fresh copy does not; so a canary that fails as the primary does is taken back."""
    world = go(released(traffic={"errors": {"canary": 0.1, "primary": 0.1, "baseline": 0.001}}, metrics=[]), 1200)
    assert world.status.phase is Phase.FAILED


@pytest.mark.parametrize("seed", range(3))
def test_a_version_that_warms_up_as_any_fresh_pod_is_promoted_against_a_fresh_baseline_only(seed):
    def promoted(baseline):
        world = accepted(baseline=baseline, metrics=[], maxWeight=33)
        began = world.now

        def times(arm, ts):
            return COLD if arm in ("canary", "baseline") and ts < began + 400 else WARM

        watched(world, times=times, seed=seed)
        world.tick()
        world.settle()
        go(world, 1500)
        return world.status.phase is Phase.SUCCEEDED

    assert promoted("fresh")
    assert not promoted("primary")


# ------------------------------------------------------------------------------------------------ crashes


@pytest.mark.parametrize(("errors", "end"), [(0.001, Phase.SUCCEEDED), (0.3, Phase.FAILED)])
def test_crashes_at_every_tick_change_no_end_and_leave_nothing(errors, end):
    """Each tick dies once, at one effect or another; the next process goes on from what is stored."""
    world = watched(World(analysis=ANALYSIS).bootstrap(), errors={"canary": errors})
    world.release("B")
    for number in range(2000):
        if number % 2 == 0:
            with pytest.raises(CrashError):
                world.tick(crash_at=number // 2 % (len(world.decide().effects) + 1))
        decision = world.tick()
        world.settle()
        if decision.wake_after is None:
            break
        world.now += decision.wake_after
    assert world.status.phase is end
    assert world.baseline is None
    assert not world.baseline_service
    assert world.routes == Routes(100, 0)


def test_a_decision_that_is_repeated_makes_nothing_twice():
    world = until(released(), lambda w: w.routes.baseline > 0)
    for _ in range(3):
        decision = world.decide()
        once = replace_world(world)
        once.apply_all(decision.effects)
        copy, routes = once.baseline.view(), once.routes
        once.apply_all(decision.effects)
        assert (once.baseline.view(), once.routes) == (copy, routes)
        assert world.decide() == decision
        world.tick()
        world.now += 10
