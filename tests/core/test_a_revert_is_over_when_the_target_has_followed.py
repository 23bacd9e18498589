"""The condition Converged: what the engine says, what the target is, and only both together."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

import pytest

from canary.api.common import Condition
from canary.api.status import Phase
from canary.core import conditions
from canary.core.delivery import (
    GRACE,
    SLOWEST,
    Answer,
    Delivery,
    DeliveryAsk,
    Replicas,
    ReplicasAsk,
    Target,
    WriteBack,
    Written,
    judge,
    needs_engine,
)
from canary.core.model import Ask, ScaleTarget, Snapshot
from tests.core.simulate import Copy, Sample, World

NOW = 1_800_000_000.0
BAD, REVERT, LATER = "b" * 40, "c" * 40, "d" * 40
BACK = WriteBack("Kustomization flux-system/apps", Written.DONE, ended=NOW - 60, commit=REVERT, failed=BAD)
FAILED = Target("app.prod", promoted=False, new=False)
PROMOTED, NEW = replace(FAILED, promoted=True), replace(FAILED, new=True)


def known(reason: str, *, age: float, status: str = "False") -> Condition:
    at = datetime.fromtimestamp(NOW - age, UTC)
    return Condition(type="Converged", status=status, reason=reason, message="x", last_update_time=at, last_transition_time=at)


def asked(said: Delivery | None, target: Target = FAILED, back: WriteBack = BACK, before: Condition | None = None) -> Answer | None:
    return judge(back, said, target, before, now=NOW)


def reason(*given: Any, **more: Any) -> str:
    answer = asked(*given, **more)
    return f"{answer.status}/{answer.reason}" if answer else ""


@pytest.mark.parametrize(
    ("said", "target", "expected"),
    [
        # the target is what was promoted
        (Delivery(REVERT), PROMOTED, "True/Converged"),
        (Delivery(REVERT[:12]), PROMOTED, "True/Converged"),
        (Delivery(BAD), PROMOTED, "False/WaitingForEngine"),  # mended by hand: the engine will put it back
        (Delivery(LATER, fetched=NOW - 5), PROMOTED, "True/Converged"),
        (Delivery(LATER, fetched=NOW - 600), PROMOTED, "False/WaitingForEngine"),
        (Delivery(LATER), PROMOTED, "False/WaitingForEngine"),
        (Delivery(), PROMOTED, "False/WaitingForEngine"),
        (Delivery(REVERT[:11]), PROMOTED, "False/WaitingForEngine"),  # too short to be a name
        # it is the failed revision
        (Delivery(BAD), FAILED, "False/WaitingForEngine"),
        (Delivery(REVERT), FAILED, "False/Settling"),
        (Delivery(LATER, fetched=NOW - 5), FAILED, "False/WaitingForEngine"),  # somebody else's commit, before the revert perhaps
        (Delivery(BAD, trouble="kustomize build failed"), FAILED, "False/EngineFailing"),
        (Delivery(BAD, trouble="spec.suspend is set", suspended=True), FAILED, "False/EngineSuspended"),
        (Delivery(error="forbidden"), FAILED, "False/EngineUnknown"),
        (Delivery(error="forbidden"), PROMOTED, "False/EngineUnknown"),
        # it is a third one
        (Delivery(REVERT), NEW, "False/RevertDrift"),
        (Delivery(BAD, attempted=REVERT), NEW, "False/RevertDrift"),
        (Delivery(LATER), NEW, ""),
        (Delivery(REVERT, attempted=LATER), NEW, ""),
        (Delivery(error="forbidden"), NEW, ""),
    ],
)
def test_the_table(said: Delivery, target: Target, expected: str) -> None:
    assert reason(said, target) == expected


@pytest.mark.parametrize(
    ("back", "expected"),
    [
        (WriteBack("x", Written.OPEN, NOW), "False/WritingBack"),
        (WriteBack("x", Written.OPEN, NOW, reason="PullRequest", text="https://git.example/1"), "False/PullRequestOpen"),
        (WriteBack("x", Written.OPEN, NOW, reason="Protected", text="no"), "False/Protected"),
        (WriteBack("x", Written.LEFT, NOW, reason="SameImages", text="only other fields differ"), "False/NotReverted"),
        (WriteBack("x", Written.LEFT, NOW, reason="Declined"), "False/NotReverted"),
    ],
)
def test_what_is_not_in_git_needs_no_look_at_the_engine(back: WriteBack, expected: str) -> None:
    assert not needs_engine(back, FAILED)
    assert reason(None, FAILED, back) == expected
    assert asked(None, NEW, back) is None
    answer = asked(None, FAILED, back)
    assert answer is not None
    assert answer.again is None


def test_a_person_may_mend_what_was_left_to_a_person() -> None:
    back = replace(BACK, state=Written.LEFT, commit="", reason="NoSite")
    assert needs_engine(back, PROMOTED)
    assert reason(Delivery(BAD), PROMOTED, back) == "False/WaitingForEngine"
    assert reason(Delivery(LATER), PROMOTED, back) == "True/Converged"
    assert reason(Delivery(LATER), PROMOTED, replace(back, failed="")) == "False/WaitingForEngine"
    assert reason(Delivery(LATER, fetched=NOW), PROMOTED, replace(back, failed="")) == "True/Converged"


def test_a_workload_that_does_not_follow_is_a_drift_after_a_while() -> None:
    assert reason(Delivery(REVERT), before=known("Settling", age=GRACE - 1)) == "False/Settling"
    assert reason(Delivery(REVERT), before=known("Settling", age=GRACE)) == "False/RevertDrift"
    assert reason(Delivery(REVERT), before=known("RevertDrift", age=1)) == "False/RevertDrift"
    assert reason(Delivery(REVERT), before=known("WaitingForEngine", age=1000)) == "False/Settling"


def test_a_failed_release_that_is_set_again_before_the_engine_has_come_is_told_as_such() -> None:
    back = replace(BACK, written=NOW - 50)
    later = Delivery(LATER, fetched=NOW - 50 + GRACE)
    assert reason(later, FAILED, back) == "False/Settling"
    assert reason(later, FAILED, back, before=known("Settling", age=GRACE - 1)) == "False/Settling"
    assert reason(later, FAILED, back, before=known("Settling", age=GRACE)) == "False/SetAgain"
    assert reason(later, FAILED, back, before=known("SetAgain", age=1)) == "False/SetAgain"
    assert reason(later, FAILED, back, before=known("RevertDrift", age=100)) == "False/Settling"
    assert reason(later, PROMOTED, back, before=known("SetAgain", age=1)) == "True/Converged"
    assert (
        reason(replace(later, fetched=NOW - 50 + GRACE - 1), FAILED, back, before=known("Settling", age=GRACE)) == "False/WaitingForEngine"
    )
    assert reason(replace(later, applied=BAD), FAILED, back, before=known("Settling", age=GRACE)) == "False/WaitingForEngine"
    assert (
        reason(replace(later, trouble="kustomize build failed"), FAILED, back, before=known("Settling", age=GRACE)) == "False/EngineFailing"
    )
    assert reason(later, FAILED, BACK, before=known("Settling", age=GRACE)) == "False/WaitingForEngine"
    assert reason(Delivery(REVERT), FAILED, back, before=known("SetAgain", age=100)) == "False/Settling"


def test_the_engine_is_asked_less_and_less_often() -> None:
    ages = [0, 10, 100, 1000, 100_000]
    waits = [answer.again for age in ages if (answer := asked(Delivery(BAD), before=known("WaitingForEngine", age=age)))]
    assert waits == sorted(waits, key=float)
    assert waits[0] == 5.0
    assert waits[-1] == SLOWEST


# ------------------------------------------------------------------------------------------------------- the rules
@dataclass
class Delivered(World):
    """A world in which somebody delivers the target; it answers what the engine says."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.back: WriteBack | None = None
        self.said = Delivery()
        self.replicas_by: str | None = ""

    def snapshot(self) -> Snapshot:
        return replace(super().snapshot(), write_back=self.back, delivered=True)

    def answer(self, ask: Ask) -> Any:
        answer = super().answer(ask)
        if isinstance(ask, ReplicasAsk):
            return Replicas(self.replicas_by)
        return self.said if isinstance(ask, DeliveryAsk) else answer

    def shown(self, kind: str = "Converged") -> str:
        found = self.status.condition(kind)
        return f"{found.status}/{found.reason}" if found else ""


@pytest.fixture
def world() -> Delivered:
    """A release that failed; its revert is a commit, and the engine still has the one before."""
    world = Delivered()
    world.bootstrap()
    world.metrics["request-success-rate"] = Sample(50.0)
    world.release("B")
    world.run(until=Phase.FAILED)
    world.run(ticks=2)
    world.back = replace(BACK, ended=world.now)
    world.said = Delivery(BAD)
    world.forget()
    return world


def test_it_is_followed_until_the_target_is_what_was_promoted(world: Delivered) -> None:
    decision = world.tick()
    assert world.shown() == "False/WaitingForEngine"
    assert decision.wake_after == 5.0
    world.said = Delivery(REVERT)
    world.release("A")
    assert world.tick().wake_after is None
    assert world.shown() == "True/Converged"
    assert world.kinds() == ["Converged"]
    assert world.status.phase is Phase.FAILED


def test_once_it_is_over_nobody_is_asked_any_more(world: Delivered) -> None:
    world.said = Delivery(REVERT)
    world.release("A")
    world.run(ticks=2)
    world.forget()
    world.now += 3600
    assert world.tick().wake_after is None
    assert world.asked == []
    assert world.writes == 0
    assert world.shown() == "True/Converged"


def test_a_process_that_dies_goes_on_waiting(world: Delivered) -> None:
    world.tick()
    again = world.crashed()
    assert again.tick().wake_after == 5.0
    assert again.writes == 1


def test_the_next_release_has_nothing_to_do_with_it(world: Delivered) -> None:
    world.said = Delivery(REVERT)
    world.release("A")
    world.run(ticks=2)
    world.metrics.clear()
    world.release("C")
    world.run(until=Phase.PROGRESSING)
    assert world.shown() == ""
    world.run()
    assert world.status.phase is Phase.SUCCEEDED
    assert world.shown() == ""


def test_what_an_engine_makes_of_a_revert_is_analysed_under_the_name_of_a_drift(world: Delivered) -> None:
    world.said = Delivery(BAD, attempted=REVERT)
    world.release("A-with-other-fields")
    world.run(until=Phase.PROGRESSING)
    assert world.shown() == "False/RevertDrift"
    assert world.kinds().count("RevertDrift") == 1
    world.metrics.clear()
    world.run(until=Phase.PROMOTING)
    assert world.shown() == "False/RevertDrift"
    world.run()
    assert world.status.phase is Phase.SUCCEEDED
    assert world.shown() == ""


def test_a_drift_that_fails_as_well_is_told_as_what_it_is_then(world: Delivered) -> None:
    world.said = Delivery(REVERT)
    world.release("A-with-other-fields")
    world.run(until=Phase.PROGRESSING)
    world.back = None
    world.run(until=Phase.FAILED)
    world.back = WriteBack(BACK.by, Written.LEFT, world.now, reason="SameImages")
    world.tick()
    assert world.shown() == "False/NotReverted"


def test_a_canary_that_nobody_delivers_has_no_such_condition(world: Delivered) -> None:
    world.back = None
    world.tick()
    assert world.shown() == ""
    assert world.asked == []


def test_a_suspended_or_stalled_canary_keeps_what_was_said(world: Delivered) -> None:
    world.tick()
    stalled = conditions.stalled(world.status, reason="Rejected", message="x", generation=1, now=world.now)
    assert stalled.condition("Converged") == world.status.condition("Converged")
    world.edit_spec(suspend=True)
    world.tick()
    assert world.shown() == "False/WaitingForEngine"


# ------------------------------------------------------------------------------------------------------- replicas
def scale(world: Delivered, replicas: int, *, by: str | None) -> None:
    assert isinstance(world.target, Copy)
    world.target.replicas = replicas
    world.replicas_by = by
    world.settle()


def test_an_engine_that_scales_up_what_is_parked_is_told_about_once_and_not_fought() -> None:
    world = Delivered()
    world.bootstrap()
    for _ in range(3):
        scale(world, 2, by="kustomize-controller (Kustomization a/b)")
        assert world.tick().wake_after is None
    assert not [effect for effect in world.effects if isinstance(effect, ScaleTarget)]
    assert world.shown("ReplicasContested") == "True/ReplicasInGit"
    assert world.writes == 1
    assert {notice.once for notice in world.notices} == {True}


def test_once_git_is_mended_the_target_is_parked_again() -> None:
    world = Delivered()
    world.bootstrap()
    scale(world, 2, by="kustomize-controller (Kustomization a/b)")
    world.tick()
    scale(world, 1, by="")
    world.tick()
    assert [effect for effect in world.effects if isinstance(effect, ScaleTarget)] == [ScaleTarget(up=False)]
    assert world.shown("ReplicasContested") == ""


def test_as_long_as_nobody_knows_who_it_was_nothing_changes() -> None:
    world = Delivered()
    world.bootstrap()
    scale(world, 2, by="kustomize-controller (Kustomization a/b)")
    world.tick()
    scale(world, 2, by=None)
    world.tick()
    assert world.shown("ReplicasContested") == "True/ReplicasInGit"
    assert not [effect for effect in world.effects if isinstance(effect, ScaleTarget)]


def test_a_parked_target_raises_no_question() -> None:
    world = Delivered()
    world.bootstrap()
    world.tick()
    assert world.asked == []


def test_a_person_who_scales_up_a_target_at_rest_is_left_alone() -> None:
    world = Delivered()
    world.bootstrap()
    scale(world, 1, by="")
    world.tick()
    assert not [effect for effect in world.effects if isinstance(effect, ScaleTarget)]
    assert world.shown("ReplicasContested") == ""


def test_a_new_revision_with_replicas_is_released_like_any_other() -> None:
    world = Delivered()
    world.bootstrap()
    scale(world, 2, by="kustomize-controller (Kustomization a/b)")
    world.release("B")
    world.run(until=Phase.PROGRESSING)
    assert world.shown("ReplicasContested") == ""
    world.replicas_by = ""
    world.run()
    assert world.status.phase is Phase.SUCCEEDED
