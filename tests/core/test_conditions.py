"""Conditions as kstatus, Argo CD and `kubectl wait` read them (ux 8.2, 8.3; reference 2.12.2)."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from canary.api.common import Condition
from canary.api.status import CanaryStatus, Phase
from canary.core import conditions
from canary.core.conditions import Facts, ReadyPolicy, compute
from canary.core.model import Unknown
from tests.core.simulate import Sample, World

NOW = 1_800_000_000.0
PHASES = [phase for phase in Phase if phase is not Phase.NONE]


def kstatus(status: CanaryStatus, *, generation: int, deleting: bool = False) -> str:
    """The rules of kstatus for a custom resource, in their order."""
    if deleting:
        return "Terminating"
    if status.observed_generation is not None and status.observed_generation != generation:
        return "InProgress"
    for condition in status.conditions:
        if condition.type == "Reconciling" and condition.status == "True":
            return "InProgress"
        if condition.type == "Stalled" and condition.status == "True":
            return "Failed"
    ready = status.condition("Ready")
    return "Current" if ready is None or ready.status == "True" else "InProgress"


def argo(status: dict[str, Any]) -> str:
    """What the health check that ships with Argo CD makes of a status, with Lua's errors for what it cannot add or join."""
    if float(status["canaryWeight"]) < 0:
        raise AssertionError
    for condition in status["conditions"]:
        assert isinstance(condition["message"], str)
        assert condition["message"]
    phase = status["phase"]
    if phase == "Failed":
        return "Degraded"
    if phase in ("Progressing", "Finalising", "Promoting"):
        return "Progressing"
    return "Healthy" if phase in ("Succeeded", "Initialized") else "Unknown"


def at(phase: Phase, *, policy: ReadyPolicy, serving: bool | None = True, stall: Unknown | None = None) -> CanaryStatus:
    found = compute((), Facts(phase=phase, serving=serving, stall=stall), now=NOW, policy=policy)
    return CanaryStatus(phase=phase, conditions=found, observed_generation=1)


@pytest.mark.parametrize(
    ("phase", "promoted", "ready", "reconciling", "stalled", "seen"),
    [
        (Phase.INITIALIZING, "Unknown", "Unknown", True, False, "InProgress"),
        (Phase.INITIALIZED, "True", "True", False, False, "Current"),
        (Phase.SUCCEEDED, "True", "True", False, False, "Current"),
        (Phase.PROGRESSING, "Unknown", "Unknown", True, False, "InProgress"),
        (Phase.PROMOTING, "Unknown", "Unknown", True, False, "InProgress"),
        (Phase.FINALISING, "Unknown", "Unknown", True, False, "InProgress"),
        (Phase.WAITING, "Unknown", "Unknown", True, False, "InProgress"),
        (Phase.WAITING_PROMOTION, "Unknown", "Unknown", True, False, "InProgress"),
        (Phase.FAILED, "False", "False", False, True, "Failed"),
    ],
)
def test_the_table_of_the_analysis_policy(phase: Phase, promoted: str, ready: str, reconciling: bool, stalled: bool, seen: str) -> None:
    status = at(phase, policy=ReadyPolicy.ANALYSIS)
    found = {condition.type: condition for condition in status.conditions}
    assert (found["Promoted"].status, found["Promoted"].reason) == (promoted, phase.value)
    assert found["Ready"].status == ready
    assert ("Reconciling" in found, "Stalled" in found) == (reconciling, stalled), "absent, never False"
    assert kstatus(status, generation=1) == seen


@pytest.mark.parametrize("phase", PHASES)
@pytest.mark.parametrize("serving", [True, False])
def test_the_workload_policy_asks_whether_users_are_served(phase: Phase, serving: bool) -> None:
    status = at(phase, policy=ReadyPolicy.WORKLOAD, serving=serving)
    ready = status.condition("Ready")
    assert ready is not None
    wanted = "Unknown" if phase is Phase.INITIALIZING else str(serving)
    assert ready.status == wanted
    assert status.condition("Stalled") is None


@pytest.mark.parametrize("phase", PHASES)
def test_nobody_who_waits_for_the_application_waits_for_an_analysis_in_the_workload_policy(phase: Phase) -> None:
    seen = kstatus(at(phase, policy=ReadyPolicy.WORKLOAD), generation=1)
    assert seen == ("InProgress" if phase in (Phase.INITIALIZING, Phase.TERMINATING) else "Current")


def test_a_rollback_is_not_a_broken_application_in_the_workload_policy() -> None:
    assert kstatus(at(Phase.FAILED, policy=ReadyPolicy.WORKLOAD), generation=1) == "Current"
    assert kstatus(at(Phase.FAILED, policy=ReadyPolicy.ANALYSIS), generation=1) == "Failed"


@pytest.mark.parametrize("policy", list(ReadyPolicy))
def test_the_users_mistake_stalls_in_both_policies(policy: ReadyPolicy) -> None:
    status = at(Phase.PROGRESSING, policy=policy, stall=Unknown("NotFound", "deployment app not found"))
    assert status.condition("Reconciling") is None
    stalled = status.condition("Stalled")
    assert stalled is not None
    assert (stalled.reason, stalled.message) == ("NotFound", "deployment app not found")
    assert kstatus(status, generation=1) == "Failed"


@pytest.mark.parametrize("phase", [Phase.WAITING, Phase.WAITING_PROMOTION])
def test_a_gate_is_named_as_the_reason(phase: Phase) -> None:
    condition = at(phase, policy=ReadyPolicy.ANALYSIS).condition("Reconciling")
    assert condition is not None
    assert condition.reason == "GateWaiting"


def test_transition_times_move_only_when_the_status_flips() -> None:
    first = compute((), Facts(Phase.PROGRESSING, serving=True), now=NOW)
    again = compute(first, Facts(Phase.PROGRESSING, serving=True), now=NOW + 60)
    assert again == first
    promoting = compute(first, Facts(Phase.PROMOTING, serving=True), now=NOW + 60)
    assert promoting[0].last_transition_time == first[0].last_transition_time, "still Unknown"
    assert promoting[0].last_update_time == datetime.fromtimestamp(NOW + 60, UTC)
    done = compute(promoting, Facts(Phase.SUCCEEDED, serving=True), now=NOW + 90)
    assert done[0].last_transition_time == datetime.fromtimestamp(NOW + 90, UTC)
    assert done[1] == first[1], "Ready did not change"


def test_unobserved_readiness_stays_what_it_was() -> None:
    known = compute((), Facts(Phase.PROGRESSING, serving=True), now=NOW)
    assert compute(known, Facts(Phase.PROGRESSING, serving=None), now=NOW + 60) == known
    unknown = compute((), Facts(Phase.PROGRESSING, serving=None), now=NOW)
    assert unknown[1].status == "Unknown"


def test_every_status_that_is_ever_written_suits_argo_and_kstatus() -> None:
    world = World(spec={"revertOnDeletion": True})
    world.hook("rollout", "confirm-rollout", answer=False)
    world.hook("promotion", "confirm-promotion", answer=False)
    world.hook("bye", "post-rollout")
    seen: set[str] = set()

    def watch(ticks: int) -> None:
        for _ in range(ticks):
            if world.gone:
                return
            decision = world.tick()
            world.settle()
            seen.add(world.status.phase.value)
            argo(world.status.to_dict())
            kstatus(world.status, generation=world.generation)
            assert world.status.observed_generation == world.generation
            world.now += decision.wake_after or 10

    watch(4)
    world.release("B")
    watch(3)
    world.hooks["rollout"] = True
    watch(8)
    world.hooks["promotion"] = True
    watch(8)
    world.release("C")
    world.metrics["request-success-rate"] = Sample(0.0)
    watch(12)
    world.deleted = True
    watch(5)
    assert seen == {phase.value for phase in PHASES} - {"Terminated"}


def test_the_first_status_has_phase_weight_and_conditions_together() -> None:
    first = World().tick().status.to_dict()
    assert first["phase"] == "Initializing"
    assert first["canaryWeight"] == 0
    assert argo(first) == "Unknown"


def test_last_transition_time_is_the_time_of_the_last_write() -> None:
    world = World().bootstrap()
    before = world.status.last_transition_time
    world.now += 60
    world.tick()
    assert world.status.last_transition_time == before, "nothing to write"
    world.release("B")
    world.tick()
    assert world.status.last_transition_time == datetime.fromtimestamp(int(world.now), UTC)


def test_a_tick_that_cannot_begin_shows_why_on_the_object() -> None:
    status = conditions.stalled(CanaryStatus(), reason="InvalidSpec", message="stepWeight: 2.5 is no whole number", generation=3, now=NOW)
    assert argo(status.to_dict()) == "Unknown"
    assert kstatus(status, generation=3) == "Failed"
    assert (status.phase, status.observed_generation) == (Phase.INITIALIZING, 3)
    again = conditions.stalled(status, reason="InvalidSpec", message="stepWeight: 2.5 is no whole number", generation=3, now=NOW + 9)
    assert again is status, "no second write"


def test_a_stall_written_by_the_shell_ends_with_the_next_decision() -> None:
    world = World().bootstrap()
    world.status = conditions.stalled(world.status, reason="Rejected", message="x", generation=1, now=world.now)
    assert world.status.condition("Stalled") is not None
    world.tick()
    assert world.status.condition("Stalled") is None


def test_suspension_keeps_promoted_and_ready() -> None:
    known = compute((), Facts(Phase.PROGRESSING, serving=True), now=NOW)
    kept = conditions.suspended(known)
    assert [each.type for each in kept] == ["Promoted", "Ready"]
    assert all(isinstance(each, Condition) for each in kept)
