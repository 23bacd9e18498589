"""First contact with statuses that upstream wrote (reference 7): no release starts by it, no request is dropped."""

from __future__ import annotations

from typing import Any

import pytest

from canary.api.status import CanaryStatus, Phase
from canary.core.hashing import is_foreign
from canary.core.model import Promote, Routes, ScaleTarget, SetRoutes
from tests.core.simulate import Copy, Readiness, World, rev

APPLIED, PROMOTED = "6bc547b787", "758df7c9fc"


def upstreams(phase: Phase, *, revision: str = "A", on_primary: str = "A", weight: int = 0, parked: bool = True, **fields: Any) -> World:
    """A world in the middle of being run by upstream: its hashes in the status, none of our fields."""
    world = World()
    world.target = Copy("app", rev(revision), 0 if parked else 2, 0 if parked else 2, running=rev(revision))
    world.primary = Copy("app-primary", rev(on_primary), 2, 2, running=rev(on_primary))
    world.routes = Routes(100 - weight, weight)
    world.apex_managed, world.apex_on_target = True, False
    world.reviewed.add((rev(on_primary), "None"))
    fields = {"canaryWeight": weight, "lastAppliedSpec": APPLIED, "lastPromotedSpec": PROMOTED, **fields}
    world.status = CanaryStatus.model_validate({"phase": phase.value, **fields})
    world.on_effect = lambda _, effect, before, after: check(effect, before, after)
    return world


def check(effect: object, before: float, after: float) -> None:
    assert after >= before, f"{effect} drops requests"


def moved(world: World) -> bool:
    return any(isinstance(effect, SetRoutes | ScaleTarget | Promote) for effect in world.effects)


@pytest.mark.parametrize("phase", [Phase.INITIALIZED, Phase.SUCCEEDED])
def test_at_rest_the_target_is_adopted_without_a_release(phase: Phase) -> None:
    world = upstreams(phase)
    world.run()
    assert world.status.phase is phase
    assert world.status.last_applied_spec == world.status.last_promoted_spec == rev("A")
    assert not moved(world)
    assert world.writes == 1
    world.tick()
    assert world.writes == 1
    world.release("B")
    world.run()
    assert world.status.last_promoted_spec == rev("B")


def test_at_rest_a_revision_that_the_primary_does_not_have_is_released() -> None:
    world = upstreams(Phase.SUCCEEDED, revision="B")
    world.run()
    assert world.status.phase is Phase.SUCCEEDED
    assert world.status.last_promoted_spec == rev("B")
    assert "NewRevision" in world.kinds()


def test_a_failed_revision_is_not_retried() -> None:
    world = upstreams(Phase.FAILED, revision="B")
    world.run()
    assert (world.status.phase, world.status.last_applied_spec, world.status.last_promoted_spec) == (Phase.FAILED, rev("B"), "")
    assert not moved(world)
    world.release("C")
    world.run()
    assert world.status.phase is Phase.SUCCEEDED


def test_a_failed_canary_that_is_back_at_the_promoted_revision_knows_it() -> None:
    world = upstreams(Phase.FAILED)
    world.run()
    assert world.status.last_promoted_spec == rev("A")
    assert world.status.phase is Phase.FAILED


@pytest.mark.parametrize(("phase", "weight"), [(Phase.PROGRESSING, 20), (Phase.WAITING_PROMOTION, 0)])
def test_an_analysis_under_way_starts_over_once(phase: Phase, weight: int) -> None:
    world = upstreams(phase, revision="B", weight=weight, parked=False, failedChecks=1)
    world.tick()
    assert (world.status.phase, world.status.last_applied_spec) == (Phase.PROGRESSING, rev("B"))
    assert (world.status.failed_checks, world.routes) == (0, Routes(100, 0))
    world.run()
    assert world.status.phase is Phase.SUCCEEDED
    assert world.kinds().count("AnalysisRestarted") == 1


def test_an_analysis_of_what_is_on_the_primary_already_is_ended() -> None:
    world = upstreams(Phase.PROGRESSING, revision="A", weight=20, parked=False)
    world.run()
    assert world.status.phase is Phase.INITIALIZED
    assert world.routes == Routes(100, 0)
    assert not any(isinstance(effect, Promote) for effect in world.effects)


@pytest.mark.parametrize("phase", [Phase.PROMOTING, Phase.FINALISING])
def test_a_promotion_is_finished_and_not_started_over(phase: Phase) -> None:
    world = upstreams(phase, revision="B", on_primary="B", weight=30 if phase is Phase.PROMOTING else 0, parked=False)
    world.run()
    assert (world.status.phase, world.status.last_promoted_spec) == (Phase.SUCCEEDED, rev("B"))
    assert not any(isinstance(effect, Promote) for effect in world.effects)
    assert world.routes == Routes(100, 0)


def test_a_promotion_whose_primary_is_still_rolling_out_keeps_its_traffic_on_the_target() -> None:
    world = upstreams(Phase.PROMOTING, revision="B", on_primary="B", weight=100, parked=False)
    assert world.primary is not None
    world.primary.ready, world.primary.readiness = 0, Readiness.WAITING
    world.tick()
    assert world.routes == Routes(0, 100)
    world.settle()
    world.run()
    assert world.status.phase is Phase.SUCCEEDED


def test_a_change_made_during_upstreams_promotion_is_released_after_it() -> None:
    world = upstreams(Phase.PROMOTING, revision="C", on_primary="B", weight=30, parked=False)
    world.run(until=Phase.SUCCEEDED)
    world.run()
    assert world.status.last_promoted_spec == rev("C")
    assert world.kinds().count("NewRevision") == 1


@pytest.mark.parametrize(("revision", "phase"), [("A", Phase.INITIALIZED), ("B", Phase.SUCCEEDED)])
def test_a_waiting_revision_goes_on_waiting_unless_it_was_taken_back(revision: str, phase: Phase) -> None:
    world = upstreams(Phase.WAITING, revision=revision)
    world.hook("gate", "confirm-rollout", answer=False)
    world.tick()
    assert world.status.phase is (Phase.INITIALIZED if revision == "A" else Phase.WAITING)
    world.hooks["gate"] = True
    world.run()
    assert world.status.phase is phase


def test_a_failed_promotion_of_upstreams_is_repaired_by_the_next_revision() -> None:
    world = upstreams(Phase.FAILED, revision="B", on_primary="B", weight=100, parked=False)
    assert world.primary is not None
    world.primary.ready, world.primary.readiness = 0, Readiness.STUCK
    world.run()
    assert world.routes == Routes(0, 100)
    world.release("C")
    world.settle("app")
    world.run(until=Phase.PROMOTING, settle=False)
    world.on_effect = None
    world.tick()
    world.settle()
    world.run()
    assert (world.status.phase, world.served()) == (Phase.SUCCEEDED, 1.0)


def test_tracked_configs_of_upstreams_are_kept() -> None:
    world = upstreams(Phase.SUCCEEDED, trackedConfigs={"configmap/app": "241889ca0604e333"})
    world.configs = {"configmap/app": "241889ca0604e333"}
    assert world.primary is not None
    world.primary.configs = dict(world.configs)
    world.run()
    assert not moved(world)
    assert world.status.tracked_configs == {"configmap/app": "241889ca0604e333"}


@pytest.mark.parametrize("phase", list(Phase))
def test_no_foreign_hash_survives_the_first_tick_that_can_act(phase: Phase) -> None:
    world = upstreams(phase, parked=False)
    for _ in range(6):
        world.tick()
        world.settle()
        world.now += 10
    assert not is_foreign(world.status.last_applied_spec) or phase in (Phase.NONE, Phase.INITIALIZING)
    assert world.served() == 1.0
