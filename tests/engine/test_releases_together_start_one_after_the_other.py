"""Runs that begin at one moment wake their targets at a pace that a small control plane follows; nothing else waits for that."""

import pytest

from canary.api.canary import parse_canary
from canary.api.status import Phase, RunStatus
from canary.core.model import ALL_TO_PRIMARY, Decision, Readiness, ScaleTarget, SetRoutes, Snapshot, Unknown, Workload
from canary.engine import starts
from canary.engine.starts import BURST, RATE, Starts
from tests.engine.world import Stage

UP = ScaleTarget(up=True)


class Clock:
    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def turns(clock):
    return Starts(timer=clock)


def workload(pods=0):
    return Workload(name="app", revision="v2:b", replicas=pods, ready_replicas=pods, readiness=Readiness.READY)


def snapshot(*, target=None, run=None, kind="Deployment"):
    canary = parse_canary(
        {
            "apiVersion": "flagger.app/v1beta1",
            "kind": "Canary",
            "metadata": {"name": "app", "namespace": "test", "uid": "u", "resourceVersion": "1"},
            "spec": {
                "targetRef": {"apiVersion": "apps/v1", "kind": kind, "name": "app"},
                "service": {"port": 80},
                "analysis": {"interval": "10s", "threshold": 1, "stepWeight": 10},
            },
        }
    )
    status = canary.status.model_copy(update={"run": RunStatus(id=run) if run else None})
    return Snapshot(
        canary=canary.model_copy(update={"status": status}),
        now=0.0,
        provider="contour",
        target=target or workload(),
        primary=workload(1),
        configs=None,
        routes=ALL_TO_PRIMARY,
    )


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
    at_rest = snapshot(run="done")
    assert turns.waits(("test", "other"), at_rest, Decision(status=at_rest.canary.status, effects=(UP,))) == 0


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
