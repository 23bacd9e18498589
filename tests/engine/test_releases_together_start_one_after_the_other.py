"""Runs that begin at one moment wake their targets at a pace that a small control plane follows; nothing else waits for that."""

from dataclasses import replace

import pytest

from canary.api.status import Phase, RunStatus
from canary.core.model import ALL_TO_PRIMARY, Decision, Readiness, ScaleTarget, SetRoutes, Unknown, Workload
from canary.engine import starts
from canary.engine.starts import BURST, RATE, Starts
from tests.engine.test_traffic_waits_for_the_mesh import Clock
from tests.engine.test_traffic_waits_for_the_mesh import snapshot as at_rest
from tests.engine.world import Stage

UP = ScaleTarget(up=True)


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def turns(clock):
    return Starts(timer=clock)


def workload(pods=0):
    return Workload(name="app", revision="v2:b", replicas=pods, ready_replicas=pods, readiness=Readiness.READY)


def snapshot(*, target=None, run=None, kind="Deployment"):
    found = at_rest(target=target or workload(), primary=workload(1))
    spec, status = found.canary.spec, found.canary.status
    changes = {
        "spec": spec.model_copy(update={"target_ref": spec.target_ref.model_copy(update={"kind": kind})}),
        "status": status.model_copy(update={"run": RunStatus(id=run) if run else None}),
    }
    return replace(found, canary=found.canary.model_copy(update=changes))


def beginning(before, *effects, run="new"):
    status = before.canary.status.model_copy(update={"phase": Phase.PROGRESSING, "run": RunStatus(id=run)})
    return Decision(status=status, effects=effects or (UP,))


def begin(turns, number, before=None):
    before = before or snapshot()
    return turns.waits(("test", f"app-{number}"), before, beginning(before))


def test_some_begin_at_once_and_the_others_at_the_pace(turns, clock):
    waits = [begin(turns, number) for number in range(BURST + 3)]
    assert waits == [0.0] * BURST + [pytest.approx(number / RATE) for number in (1, 2, 3)]
    clock.now += 2 / RATE
    assert [begin(turns, BURST + number) for number in range(3)] == [0.0, pytest.approx(0), pytest.approx(1 / RATE)]


def test_after_a_calm_nobody_waits(turns, clock):
    for number in range(BURST):
        begin(turns, number)
    clock.now += BURST / RATE
    assert begin(turns, "later") == 0


def test_who_asks_again_keeps_the_turn(turns, clock):
    for number in range(BURST):
        begin(turns, number)
    first = begin(turns, "a")
    assert begin(turns, "b") > first
    for _ in range(10):
        clock.now += first / 20
        assert begin(turns, "a") < first
    clock.now += first
    assert begin(turns, "a") == 0


def test_a_turn_is_given_up_with_the_wish_and_with_the_canary(turns):
    for number in range(BURST):
        begin(turns, number)
    first = begin(turns, "a")
    calm = snapshot()
    assert turns.waits(("test", "app-a"), calm, Decision(status=calm.canary.status)) == 0
    turns.forget(("test", "app-b"))
    assert begin(turns, "a") > first


@pytest.mark.parametrize(
    ("before", "effects", "run"),
    [
        (snapshot(run="same"), (UP,), "same"),
        (snapshot(target=workload(1)), (UP,), "new"),
        (snapshot(target=Unknown("NotFound", "gone")), (UP,), "new"),
        (snapshot(kind="Service"), (UP,), "new"),
        (snapshot(), (ScaleTarget(up=False), SetRoutes(ALL_TO_PRIMARY)), "new"),
    ],
    ids=["woken in the middle of a run", "not parked", "not seen", "nothing to wake", "parked for good"],
)
def test_nothing_but_the_beginning_of_a_run_waits(turns, before, effects, run):
    for number in range(BURST + 5):
        begin(turns, number)
    assert turns.waits(("test", "other"), before, beginning(before, *effects, run=run)) == 0


def test_a_target_that_is_woken_because_its_primary_is_gone_does_not_wait(turns):
    for number in range(BURST + 5):
        begin(turns, number)
    calm = snapshot(run="done")
    assert turns.waits(("test", "other"), calm, Decision(status=calm.canary.status, effects=(UP,))) == 0


async def test_nothing_of_a_run_is_written_before_its_turn(monkeypatch, clock):
    monkeypatch.setattr(starts, "BURST", 1)
    names = ("app", "other")
    async with Stage() as stage, stage.process() as process:
        process.ticker.starts = Starts(timer=clock)
        for name in names:
            await stage.deploy(name=name)
            await stage.canary(name)
        for name in names:
            await stage.phase("Initialized", name=name)
        for name in names:
            await stage.deploy("app:2", name=name)
        await stage.until(
            lambda: len(process.ticker.starts._turns) == 1 and "Progressing" in {stage.status(name)["phase"] for name in names}
        )
        (waiting,) = (name for _, name in process.ticker.starts._turns)
        (early,) = {*names} - {waiting}
        await stage.phase("Succeeded", name=early)
        assert (stage.status(waiting)["phase"], stage.status(waiting).get("run")) == ("Initialized", None)
        clock.now += 1 / RATE
        await stage.phase("Succeeded", name=waiting)
