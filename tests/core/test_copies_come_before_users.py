"""`judge: sequential` and `guarded` with `mirror: true`: copies of requests are judged before any user meets the new version."""

import re
from types import SimpleNamespace

import pytest

from canary.api.status import JudgeStatus, Phase
from canary.core import judged
from canary.core.counted import Marks, Stage
from canary.core.model import CountersAsk, Routes, SetRoutes
from tests.core.test_evidence_decides import checks, go, judge, released, weights


def mirrored(world):
    return [effect.routes.mirrored for decision in world.decisions for effect in decision.effects if isinstance(effect, SetRoutes)]


def staged(**more):
    """A release whose traffic is mirrored now."""
    return copying(released(mirror=True, **more))


def gated(**more):
    world = released(mirror=True, webhooks=[{"name": "gate", "type": "confirm-traffic-increase", "url": "http://gate/"}], **more)
    world.hooks["gate"] = True
    return world


def copying(world):
    """Until traffic is mirrored."""
    return until(world, mirrored=True)


def users(world):
    """Until copies are over."""
    return until(world, mirrored=False)


def until(world, *, mirrored):
    end = world.now + 1500
    while world.routes.mirrored is not mirrored:
        go(world, 1)
        assert world.now < end, judge(world)
    return world


def test_copies_come_first_and_a_healthy_version_goes_on_to_users_and_is_promoted():
    world = staged()
    assert world.routes == Routes(100, 0, mirrored=True)
    began = world.now
    users(world)
    copied = world.now - began
    assert 30 <= copied <= 300, "at least an interval, no longer than health takes"
    go(world, 1500)
    assert world.status.phase is Phase.SUCCEEDED
    assert mirrored(world)[:2] == [True, False]
    assert weights(world)[:1] == [0]
    assert [ask.copies for ask in world.asked if isinstance(ask, CountersAsk)].count(True) >= 2


def test_the_first_weight_is_the_one_that_nothing_is_known_of():
    """Copies bound no harm to users."""
    world = staged(traffic={"rate": 1000})
    users(world)
    assert world.routes.canary <= 2
    assert judge(world).weight == world.routes.canary


@pytest.mark.parametrize("judge_", ["sequential", "guarded"])
@pytest.mark.parametrize("rate", [0.5, 0.05])
def test_a_version_that_fails_copies_is_rolled_back_before_anybody_meets_it(judge_, rate):
    world = staged(judge=judge_, interval="5m", traffic={"errors": {"canary": rate}})
    go(world, 280)
    assert world.status.phase is Phase.FAILED
    assert max(weights(world)) == 0
    assert world.traffic.harmed == 0
    assert "on copies of requests" in world.status.failure_reason
    assert "No user was affected" in world.status.failure_reason
    assert not world.routes.mirrored


def test_a_version_that_answers_copies_well_and_users_badly_is_found_among_few_users():
    world = staged(traffic={"rate": 1000})
    users(world)
    world.traffic.errors["canary"] = 0.5
    go(world, 600)
    assert world.status.phase is Phase.FAILED
    assert "users were affected" in world.status.failure_reason
    assert max(weights(world)) <= 2


def test_health_is_shown_anew_by_users():
    world = staged()
    users(world)
    go(world, 40)
    assert checks(world)["judge/errorRate"].samples < 1000, "copies are not among them"
    assert checks(world)["judge/errorRate"].evidence.passed < 1.3


def test_lost_copies_hold_and_say_so():
    world = staged(traffic={"rate": 200})
    world.traffic.lost = 0.5
    go(world, 1200)
    assert world.status.phase is Phase.PROGRESSING
    assert max(weights(world)) == 0
    assert judge(world).verdict == "hold"
    assert "where copies of 100 % of the requests promise about" in judge(world).reason


def test_the_check_of_shares_speaks_of_a_share_in_both_stages():
    world = staged()
    go(world, 45)
    copies = checks(world)["judge/sampleRatio"].message
    users(world)
    go(world, 90)
    for message in (copies, checks(world)["judge/sampleRatio"].message):
        assert re.fullmatch(r"\d+ requests of the canary where its share promises \d+", message)


def test_no_copy_at_all_holds_and_says_so():
    world = staged()
    world.traffic.lost = 1.0
    go(world, 1200)
    assert max(weights(world)) == 0
    assert "no request has reached the canary" in judge(world).reason


def test_copies_of_a_part_of_the_requests_are_expected_as_such():
    world = staged(mirrorWeight=20)
    world.copied = 20
    users(world)
    assert world.status.phase is Phase.PROGRESSING
    go(world, 1800)
    assert world.status.phase is Phase.SUCCEEDED


def test_with_little_traffic_copies_end_after_a_quarter_of_the_deadline():
    world = staged(traffic={"rate": 1})
    began = world.now
    users(world)
    assert 880 <= world.now - began <= 960
    assert world.routes.canary > 0


def test_a_gate_holds_copies_and_users_alike():
    world = gated()
    world.hooks["gate"] = False
    go(world, 300)
    assert world.routes == Routes(100, 0)
    world.hooks["gate"] = True
    copying(world)
    world.hooks["gate"] = False
    go(world, 1200)
    assert world.routes == Routes(100, 0, mirrored=True)
    world.hooks["gate"] = True
    go(world, 1500)
    assert world.status.phase is Phase.SUCCEEDED


def test_at_the_deadline_nobody_is_promoted_who_has_met_no_user():
    world = gated(sequential={"minDuration": "1m", "maxDuration": "5m", "onInconclusive": "promote"})
    copying(world)
    world.hooks["gate"] = False
    go(world, 900)
    assert world.status.phase is Phase.PROGRESSING
    assert judge(world).verdict == "inconclusive"
    assert "no traffic of its own" in judge(world).reason


@pytest.mark.parametrize("crash", [lambda n: 0 if n % 3 == 0 else None, lambda n: 1 if n % 4 == 1 else None])
def test_a_crash_in_the_stage_of_copies_changes_no_outcome(crash):
    world = released(mirror=True)
    go(world, 2400, crash=crash)
    assert world.status.phase is Phase.SUCCEEDED
    assert True in mirrored(world)


def test_where_nothing_can_be_copied_weights_come_at_once():
    world = released(mirror=True)
    world.can_mirror = False
    go(world, 120)
    assert not any(mirrored(world))
    assert world.routes.canary > 0


def test_marks_of_one_stage_say_nothing_in_the_other():
    marks = Marks(5000, {"a": 4000}, Stage.COPIES)
    assert Marks.parse(marks.text()) == marks
    assert marks.of_stage(Stage.COPIES) is marks
    assert marks.of_stage(Stage.USERS) == Marks()
    assert Marks.parse(Marks(5000, {"a": 4000}).text()) == Marks(5000, {"a": 4000})


@pytest.mark.parametrize("copies", [False, True])
def test_a_weight_from_before_the_first_copy_ends_no_copies(copies):
    """As it is after a crash between moving traffic and storing the status."""
    stored = JudgeStatus(verdict="continue", weight=5, marks=Marks(5000, {"a": 4000}, Stage.COPIES if copies else Stage.USERS).text())
    turn = SimpleNamespace(
        run=SimpleNamespace(judge=stored), routes=Routes(100, 0, mirrored=True), analysis=SimpleNamespace(max_weight_effective=50)
    )
    assert judged.wish(turn) == (judged.Wish(weight=5) if copies else judged.Wish())
