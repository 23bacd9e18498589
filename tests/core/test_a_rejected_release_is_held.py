"""A revision that was rejected and taken back in Git, and comes again, waits: no pods, no traffic, no gate, until it changes or a person says so."""

from __future__ import annotations

from dataclasses import replace

import pytest

from canary.api.status import Phase
from canary.core import conditions
from canary.core.conditions import BREAKER_OPEN, Facts, ReadyPolicy
from canary.core.model import Sample, Snapshot
from tests.core.simulate import World, rev

WHY = "this release was rejected by run r1"


class Rejecting(World):
    """A world whose Git has taken back revision `B`."""

    rejects = True

    def snapshot(self) -> Snapshot:
        snapshot = super().snapshot()
        bad = self.rejects and getattr(snapshot.target, "revision", "") == rev("B")
        return replace(snapshot, rejected=WHY if bad else "")


@pytest.fixture
def world() -> Rejecting:
    world = Rejecting()
    world.bootstrap()
    return world


def condition(world: Rejecting) -> tuple[str, str, str] | None:
    found = world.status.condition(BREAKER_OPEN)
    return (found.status, found.reason, found.message) if found else None


def test_it_waits_without_pods_and_says_so_once(world: Rejecting) -> None:
    world.hook("oncall", "confirm-rollout")
    world.release("B")
    for _ in range(5):
        world.tick()
        world.settle()
    assert world.status.phase is Phase.WAITING
    assert world.status.run is None
    assert condition(world) == ("True", "RejectedRelease", WHY)
    assert [notice.message for notice in world.notices if notice.kind == "BreakerOpen"] == [
        f"Halt app.test advancement waiting for a person: {WHY}"
    ]
    assert world.calls("confirm-rollout") == [], "nobody is asked to approve what will not run"
    assert world.routes.canary == 0  # type: ignore[union-attr]
    assert not world.runs


def test_going_back_ends_it(world: Rejecting) -> None:
    world.release("B")
    world.tick()
    world.release("A")
    world.run()
    assert world.status.phase is Phase.INITIALIZED
    assert condition(world) is None


def test_another_release_is_tried_at_once(world: Rejecting) -> None:
    world.release("B")
    world.tick()
    world.release("C")
    world.run(until=Phase.PROGRESSING)
    assert condition(world) is None


def test_it_is_tried_when_a_person_says_so(world: Rejecting) -> None:
    world.release("B")
    world.tick()
    assert world.status.phase is Phase.WAITING
    world.rejects = False
    world.run(until=Phase.PROGRESSING)
    assert condition(world) is None


def test_the_revision_that_has_just_failed_is_no_news(world: Rejecting) -> None:
    """Between our commit and the moment at which somebody applies it the target still is what was rejected."""
    world.rejects = False
    world.release("B")
    world.metrics = {"request-success-rate": Sample(1.0)}
    world.run(until=Phase.FAILED)
    world.rejects = True
    world.run()
    assert world.status.phase is Phase.FAILED
    assert condition(world) is None


@pytest.mark.parametrize(("policy", "kind"), [(ReadyPolicy.WORKLOAD, None), (ReadyPolicy.ANALYSIS, "Stalled")])
def test_who_waits_for_the_verdict_does_not_wait_in_vain(policy: ReadyPolicy, kind: str | None) -> None:
    found = conditions.compute((), Facts(phase=Phase.WAITING, serving=True, rejected=WHY), now=1.0, policy=policy)
    types = {one.type for one in found}
    assert BREAKER_OPEN in types
    assert ("Stalled" in types) is (kind is not None)
    assert "Reconciling" not in types
