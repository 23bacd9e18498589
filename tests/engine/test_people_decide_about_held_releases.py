"""`onFailure: hold` in the running engine: real objects, two processes one after the other, and a person who annotates."""

import pytest

from canary.kube.resource import CANARIES, CANARY_RUNS, EVENTS
from tests.engine.world import NS, Stage


@pytest.fixture
async def stage():
    async with Stage() as it:
        yield it


async def held(stage, process):
    """A bad version, condemned and held at its weight."""
    await stage.deploy()
    await stage.canary(onFailure="hold", threshold=1)
    async with process:
        await stage.phase("Initialized")
        await stage.deploy("app:2")
        await stage.until(lambda: stage.status().get("canaryWeight") == 50)
        stage.metrics.values["request-success-rate"] = 50.0
        await stage.until(lambda: "held" in stage.status().get("run", {}), what="the verdict")
    assert stage.weights() == {"app-primary": 50, "app-canary": 50}


async def say(stage, command, **more):
    notes = {"canary.dev/command": command} | {f"canary.dev/{key}": value for key, value in more.items()}
    await stage.user.merge(CANARIES, NS, "app", {"metadata": {"annotations": notes}})


async def alarms(stage):
    events = await stage.user.list(EVENTS, NS)
    return [event.get("count") or 1 for event in events if "until a person decides" in event["message"]]


async def test_one_process_raises_the_alarm_and_the_next_obeys_the_person(stage):
    await held(stage, stage.process())
    async with stage.process() as process:
        await stage.until(lambda: b'canary_waits_for_person{name="app",namespace="test",reason="Held"} 1.0' in process.telemetry.text())
        assert stage.condition("Promoted")["reason"] == "Held"
        await say(stage, "abort@1", by="alice", reason="not ours")
        await stage.phase("Failed")
        await stage.until(lambda: b"canary_waits_for_person{" not in process.telemetry.text())
    assert stage.status()["lastCommand"] == "abort@1"
    assert stage.status()["failureReason"].startswith("abort by alice: not ours (it was held: failed checks threshold reached 1")
    assert stage.weights() == {"app-primary": 100, "app-canary": 0}
    assert stage.image("app-primary") == "app:1"
    assert await alarms(stage) == [1]


@pytest.mark.slow
async def test_a_promotion_by_command_is_in_the_record_of_the_run(stage):
    await held(stage, stage.process())
    async with stage.process():
        await say(stage, "promote@1", by="alice")
        await stage.phase("Succeeded")
    [run] = await stage.user.list(CANARY_RUNS, NS)
    assert run["status"]["phase"] == "Succeeded"
    assert "promote by alice, against the verdict: failed checks threshold reached 1" in str(run["status"])
    assert stage.image("app-primary") == "app:2"


@pytest.mark.slow
async def test_a_retry_goes_on_where_it_stood(stage):
    await held(stage, stage.process())
    stage.metrics.values["request-success-rate"] = 100.0
    async with stage.process():
        await say(stage, "retry@1")
        await stage.phase("Succeeded")
    assert stage.status()["run"]["decided"] == "retry by a person"
