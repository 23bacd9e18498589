"""`onFailure: hold` under evidence, and what a person can answer to a run whose evidence was inconclusive."""

import pytest

from canary.api.status import Phase
from canary.core import judged
from canary.core.model import CloseRun, CountersAsk
from tests.core.simulate import replace_world
from tests.core.test_evidence_decides import Scripted, go, judge, released
from tests.core.test_evidence_guards import released as guarded

BROKEN = {"errors": {"canary": 0.5}}
SLOW = {"rate": 1}


def promoted(world):
    return world.status.condition("Promoted")


def condemned(**analysis):
    world = go(released(traffic=BROKEN, onFailure="hold", **analysis), 600)
    assert world.status.run.held == judge(world).reason
    return world


def inconclusive(**analysis):
    world = go(released(sequential={"maxDuration": "10m"}, traffic=SLOW, **analysis), 1500)
    assert judge(world).verdict == "inconclusive"
    return world


# ------------------------------------------------------------------------------------------------ held


def test_evidence_against_is_held_with_its_whole_sentence_and_one_alarm():
    world = condemned()
    assert promoted(world).reason == "Held"
    assert "canary requests failed" in promoted(world).message
    told = [notice.message for notice in world.notices if notice.kind == "AnalysisHeld"]
    assert not [text for text in (*told, promoted(world).message, judge(world).reason) if "Rolled back" in text]
    again = replace_world(world)
    again.notices = []
    for _ in range(3):
        again.now += 60
        again.tick()
    assert again.notices == []
    assert world.kinds().count("AnalysisHeld") == 1
    assert "EvidenceAgainst" not in world.kinds(), "nobody is told of a rollback that does not happen"


def test_a_guard_is_held_too():
    world = go(guarded(traffic=BROKEN, onFailure="hold", interval="60s"), 900)
    assert (world.status.phase, world.routes.canary) == (Phase.PROGRESSING, 10)
    assert world.status.run.held.startswith("Evidence against it after ")
    assert world.kinds().count("AnalysisHeld") == 1


def test_retry_forgets_the_evidence_and_begins_anew_at_the_present_weight():
    world = condemned()
    weight = world.routes.canary
    world.traffic.errors["canary"] = 0.001
    world.command("retry@1", by="alice")
    world.tick()
    assert (world.status.run.judge, world.routes.canary) == (None, weight)
    go(world, 1500)
    assert world.status.phase is Phase.SUCCEEDED


def test_a_retry_of_a_version_that_is_still_bad_is_held_again():
    world = condemned()
    world.command("retry@1")
    go(world, 900)
    assert world.status.run.held
    assert world.kinds().count("AnalysisHeld") == 2


def test_a_status_of_an_earlier_version_that_was_held_stays_held():
    """It stored the judge's verdict and nothing else."""
    world = condemned()
    world.status = world.status.model_copy(update={"run": world.status.run.model_copy(update={"held": ""})})
    world.forget()
    go(world, 60)
    assert (world.status.run.held, world.status.phase) == (judge(world).reason, Phase.PROGRESSING)
    assert world.kinds() == ["AnalysisHeld"]


@pytest.mark.parametrize(("against", "phase"), [(1000.0, Phase.PROGRESSING), (1.0, Phase.FAILED)])
def test_only_evidence_is_held_not_the_deadline_that_was_asked_to_roll_back(monkeypatch, against, phase):
    class Judge(Scripted):
        def observe(self, tick, *_):
            decision = super().observe(tick)
            return type(decision)(decision.verdict, decision.weight, decision.reason, {}, against)

    monkeypatch.setattr(judged, "SequentialJudge", Judge)
    monkeypatch.setattr(Scripted, "says", ("continue", 5))
    world = go(released(onFailure="hold"), 16)
    monkeypatch.setattr(Scripted, "says", ("rollback", 0))
    go(world, 120)
    assert world.status.phase is phase


def test_a_deadline_that_rolls_back_does_so_also_where_failures_are_held():
    world = go(released(sequential={"maxDuration": "10m", "onInconclusive": "rollback"}, traffic=SLOW, onFailure="hold"), 1500)
    assert world.status.phase is Phase.FAILED
    assert "onInconclusive" in world.status.failure_reason


# ------------------------------------------------------------------------------------------------ inconclusive


def test_an_inconclusive_run_is_looked_at_further_and_its_condition_stands_still():
    world = inconclusive()
    assert (promoted(world).reason, promoted(world).status) == ("Inconclusive", "Unknown")
    assert "promote@" in promoted(world).message
    message, looks = promoted(world).message, sum(isinstance(ask, CountersAsk) for ask in world.asked)
    go(world, 300)
    assert promoted(world).message == message
    assert sum(isinstance(ask, CountersAsk) for ask in world.asked) > looks


def test_a_person_may_promote_what_the_evidence_could_not_decide():
    world = inconclusive()
    world.command("promote@1", by="alice")
    go(world, 120)
    assert world.status.phase is Phase.SUCCEEDED
    [closed] = [effect for effect in world.effects if isinstance(effect, CloseRun)]
    assert closed.reason.startswith("Promoted: promote by alice, against the verdict: Inconclusive")


def test_a_person_may_give_it_more_time():
    world = inconclusive()
    world.command("retry@1")
    world.tick()
    assert promoted(world).reason == "Progressing"
    go(world, 300)
    assert judge(world).verdict != "inconclusive"


def test_under_guard_no_deadline_asks_for_a_person():
    world = guarded(sequential={"maxDuration": "2m"}, traffic=SLOW, interval="60s", stepWeight=1)
    go(world, 600)
    assert judge(world).verdict == "inconclusive"
    assert promoted(world).reason == "Progressing"
    world.command("promote@1")
    go(world, 60)
    assert "CommandRefused" in world.kinds()
