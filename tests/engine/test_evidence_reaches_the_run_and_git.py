"""What the rules collected of a run is in its CanaryRun and in its record, row by row, whatever write the operator died at."""

from __future__ import annotations

import json
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from canary.alerts.base import Alert
from canary.alerts.dispatch import Alerter
from canary.api.canaryrun import CanaryRun, parse_canary_run
from canary.api.status import CanaryStatus, Phase
from canary.core import evidence, model, telling
from canary.core.errors import Conflict, Retryable
from canary.core.release import Release
from canary.engine.act import Actor
from canary.engine.notify import Notifier
from canary.engine.observe import Sight
from canary.engine.runs import Runs
from canary.engine.settings import GlobalChat, Settings
from canary.engine.tracking import TrackingCluster
from canary.gitops import record
from canary.kube.resource import CANARY_RUNS
from tests.core.simulate import World
from tests.fakes.cluster import FakeCluster

RATE = "request-success-rate"
METRICS = [{"name": RATE, "thresholdRange": {"min": 99}}, {"name": "request-duration", "thresholdRange": {"max": 500}}]
OURS = model.OpenRun | model.SaveRun | model.CloseRun


@pytest.fixture
def fake() -> Iterator[FakeCluster]:
    fake = FakeCluster(watched=True)
    yield fake
    fake.assert_untouched()


def released(**analysis: Any) -> World:
    world = World(analysis={"interval": "10s", "threshold": 2, "stepWeight": 5, "metrics": METRICS, **analysis}).bootstrap()
    world.metrics = {RATE: model.Sample(99.5, query="rate", samples=12), "request-duration": model.Sample(12.0, query="latency")}
    world.release("B")
    return world


async def tick(world: World, fake: FakeCluster) -> model.Decision:
    """One tick whose CanaryRun effects go to an API; raises what that says, before anything is stored."""
    decision = world.decide()
    canary = world.canary
    sight = Sight(canary, world.snapshot(), Release(canary, "istio", "app", "app"), None, None, {}, TrackingCluster(fake))  # type: ignore[arg-type]
    ours = tuple(effect for effect in decision.effects if isinstance(effect, OURS))
    await Actor(Runs(fake)).apply(sight, model.Decision(decision.status, ours))
    world.decide = lambda: decision  # type: ignore[method-assign]
    try:
        return world.tick()
    finally:
        del world.decide  # type: ignore[method-assign]


async def to_the_end(world: World, fake: FakeCluster, *, ticks: int = 2000) -> CanaryRun:
    """Tick until nothing is left to do, past writes that fail."""
    for _ in range(ticks):
        try:
            decision = await tick(world, fake)
        except Retryable:
            fake.catch_up()
            continue
        world.settle()
        if decision.wake_after is None:
            break
        world.now += decision.wake_after
    (name,) = fake.names(CANARY_RUNS)
    return parse_canary_run(fake.stored(CANARY_RUNS, "test", name))


async def test_a_run_of_twenty_steps_has_twenty_rows_in_its_object_and_in_git(fake: FakeCluster) -> None:
    run = await to_the_end(released(), fake)
    steps = [row for row in run.status.history if row.to]
    assert [(row.weight, row.to) for row in steps] == [(weight, weight + 5) for weight in range(0, 100, 5)]
    assert len(fake.writes) == 2, "opened and closed"
    data = json.loads(record.encode(record.record(run, "c1")))
    assert "truncated" not in data
    assert [row["to"] for row in data["history"] if row.get("to")] == list(range(5, 101, 5))
    assert data["history"][1] == {"seq": 2, "time": "2027-01-15T08:00:20.000Z", "weight": 5, "to": 10, "checks": ["Pass 99.5", "Pass 12"]}
    assert [check["name"] for check in data["checks"]] == [RATE, "request-duration"], "the order of the verdicts of a row"
    assert data["checks"][0] == {
        "name": RATE,
        "bound": {"min": 99.0},
        "samples": 20,
        "worst": 99.5,
        "min": 99.5,
        "max": 99.5,
        "last": 99.5,
        "passed": 20,
        "failed": 0,
        "noData": 0,
        "errors": 0,
        "verdict": "Pass",
        "query": "rate",
        "source": "prometheus",
        "provider": "prometheus",
    }


async def test_a_failed_run_says_in_git_what_failed_at_which_weight_and_who_approved(fake: FakeCluster) -> None:
    world = released()
    world.hook("oncall", "confirm-traffic-increase")
    answers = iter([99.5, 50.0])
    world.metrics[RATE] = lambda: model.Sample(next(answers, 40.0), query="rate")
    run = await to_the_end(world, fake)
    assert run.status.outcome == "failed"
    rows = json.loads(record.encode(record.record(run, "c1")))["history"]
    assert [(row["weight"], row.get("to"), row.get("checks", [""])[0], row.get("failed", 0)) for row in rows] == [
        (0, 5, "", 0),
        (5, 10, "Pass 99.5", 0),
        (10, None, "Fail 50", 1),
        (10, None, "Fail 40", 2),
        (10, 0, "", 2),
    ]
    assert rows[1]["gates"] == ["oncall: yes"]


async def test_a_long_run_is_saved_in_between_and_has_every_row_once(fake: FakeCluster) -> None:
    run = await to_the_end(released(stepWeight=1), fake)
    assert [row.seq for row in run.status.history] == list(range(1, 103))
    assert run.status.phase == "Succeeded"
    assert 4 <= len(fake.writes) <= 8


async def test_while_it_goes_on_the_object_shows_what_was_saved_and_is_still_running(fake: FakeCluster) -> None:
    world = released(stepWeight=1)
    while len(fake.writes) < 2:
        await tick(world, fake)
        world.settle()
        world.now += 10
    (name,) = fake.names(CANARY_RUNS)
    run = parse_canary_run(fake.stored(CANARY_RUNS, "test", name))
    assert (run.status.phase, run.status.outcome, run.status.finished_at) == ("Running", "", None)
    assert run.status.effects == ()
    assert run.status.checks[0].passed == len(run.status.history) - 1
    assert world.status.run is not None
    assert world.status.run.history[0] == run.status.history[-1], "the last saved row stays, so that numbers go on"
    assert len(world.status.run.history) == 2


@pytest.mark.parametrize("number", range(6))
@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
async def test_a_write_that_kills_the_operator_loses_and_doubles_no_row(fake: FakeCluster, number: int, after: bool) -> None:
    """`after`: the write is carried out, and the process dies before it stores that in the status."""
    world, written = released(stepWeight=1), 0
    real_create, real_merge = fake.create, fake.merge

    def deadly(call: Any) -> Any:
        async def write(*args: Any, **more: Any) -> Any:
            nonlocal written
            written += 1
            if written == number + 1 and not after:
                raise Retryable("the process died here")
            answer = await call(*args, **more)
            if written == number + 1:
                raise Retryable("the process died here")
            return answer

        return write

    fake.create, fake.merge = deadly(real_create), deadly(real_merge)  # type: ignore[method-assign]
    run = await to_the_end(world, fake)
    assert written > number, "it did die"
    assert run.status.outcome == "succeeded"
    assert [row.seq for row in run.status.history] == list(range(1, 103))
    assert run.status.checks[0].passed == 100


async def test_a_cache_that_is_late_saves_no_row_twice(fake: FakeCluster) -> None:
    world = released(stepWeight=1)
    for _ in range(40):
        await tick(world, fake)
        world.settle()
        world.now += 10
    (name,) = fake.names(CANARY_RUNS)
    fake.lag(CANARY_RUNS, "test", name)
    run = None
    for _ in range(2):
        try:
            run = await to_the_end(world, fake)
        except Conflict:
            fake.catch_up()
    assert run is not None
    assert [row.seq for row in run.status.history] == list(range(1, 103))


@pytest.mark.slow
async def test_a_run_of_a_thousand_ticks_fits_into_its_object_and_its_record(fake: FakeCluster) -> None:
    world = released(stepWeight=10, threshold=2000)
    world.hook("oncall", "confirm-promotion", answer=False)
    for number in range(1000):
        world.metrics[RATE] = model.Sample(50.0 if number % 100 == 50 else 99.5, query="q" * 5000)
        decision = await tick(world, fake)
        world.settle()
        world.now += max(10.0, decision.wake_after or 0)
    world.hooks["oncall"] = True
    run = await to_the_end(world, fake)
    (name,) = fake.names(CANARY_RUNS)
    assert len(json.dumps(fake.stored(CANARY_RUNS, "test", name))) < 100 * 1024
    assert len([row for row in run.status.history if "Fail 50" in row.checks]) == 10
    assert len(json.dumps(world.status.to_dict())) < 6 * 1024
    text = record.encode(record.record(run, "c1"))
    assert len(text) <= record.MAX_BYTES
    data = json.loads(text)
    assert "truncated" not in data, "thinned by the rule, not cut off"
    assert data["history"][0]["seq"] == 1
    assert data["history"][-1]["seq"] == run.status.history[-1].seq
    assert len([row for row in data["history"] if "Fail 50" in row.get("checks", ())]) == 10
    assert len(fake.writes) < 80


async def test_rows_that_another_version_damaged_do_not_hold_a_run_up(fake: FakeCluster) -> None:
    world = released()
    for _ in range(6):
        await tick(world, fake)
        world.settle()
        world.now += 10
    (name,) = fake.names(CANARY_RUNS)
    fake.change(CANARY_RUNS, "test", name, {"status": {"history": [{"weight": "much"}]}})
    run = await to_the_end(world, fake)
    assert run.status.outcome == "succeeded"
    assert len([row for row in run.status.history if row.to]) == 20


async def test_a_run_that_an_earlier_version_began_is_closed_with_what_is_known(fake: FakeCluster) -> None:
    world = released()
    world.run(until=Phase.PROGRESSING)
    for _ in range(3):
        await tick(world, fake)
        world.settle()
        world.now += 10
    stored = world.status.to_dict()
    for field in ("checks", "history"):
        stored["run"].pop(field, None)
    world.status = CanaryStatus.from_dict(stored)
    world.release("A")  # canceled at once
    run = await to_the_end(world, fake)
    assert run.status.outcome == "canceled"
    assert run.status.checks[0].last == 99.5
    assert [(row.seq, row.to) for row in run.status.history] == [(1, 0)]
    assert evidence.size(run.status.history) < 100


async def test_the_alert_about_a_failed_analysis_carries_the_checks(fake: FakeCluster) -> None:
    sent: list[Alert] = []

    class Chat(Alerter):
        async def send(self, canary: Any, alert: Alert) -> None:
            sent.append(alert)

    world = released()
    world.metrics[RATE] = model.Sample(50.0, query="rate")
    await to_the_end(world, fake)
    recorder = SimpleNamespace(record=lambda *_, **__: None)
    notifier = Notifier(Settings(), recorder, Chat(fake, chat=GlobalChat()), SimpleNamespace())  # type: ignore[arg-type]
    for decision in world.decisions:
        notifier.post(world.canary.model_copy(update={"status": decision.status}), decision.notices)
    await notifier.close(deadline=5)
    (alert,) = [one for one in sent if one.severity is telling.Severity.ERROR]
    assert alert.message == "Rolling back app.test failed checks threshold reached 2"
    assert alert.fields == (("Check", f"{RATE}: Fail at canary weight 5"), ("Value", "50"), ("Bound", "at least 99"), ("Query", "rate"))
