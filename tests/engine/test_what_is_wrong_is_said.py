"""One clear message on the object for what a user gets wrong, once, and never at the cost of other canaries."""

import json

import pytest

from canary.kube.resource import CANARIES, EVENTS, SERVICES
from tests.engine.world import NS, Stage


@pytest.fixture
async def stage():
    async with Stage() as it:
        yield it


async def events(stage):
    return [event for event in await stage.user.list(EVENTS, NS) if event["involvedObject"]["kind"] == "Canary"]


async def change(stage, patch):
    await stage.user.merge(CANARIES, NS, "app", {"spec": patch})


async def test_a_missing_target_is_named_and_found_when_it_comes(stage):
    await stage.canary()
    async with stage.process():
        await stage.until(lambda: stage.condition("Stalled"), what="the condition")
        condition = stage.condition("Stalled")
        assert condition["status"] == "True"
        assert "deployment app.test" in condition["message"].lower()
        await stage.deploy()
        await stage.phase("Initialized")
        assert stage.condition("Stalled") is None


@pytest.mark.parametrize(
    ("patch", "says"),
    [
        ({"analysis": {"threshold": 2.5}}, "spec.analysis.threshold: must be a whole number, not 2.5"),
        ({"service": {"gatewayRefs": None}}, "spec.service.gatewayRefs is empty"),
        ({"provider": "linkerd"}, "linkerd"),
        ({"provider": "nginx"}, "nginx"),
        ({"targetRef": {"kind": "DaemonSet"}}, "DaemonSet"),
        ({"service": {"port": 0}}, "spec.service.port: 0 is no port"),
    ],
)
async def test_a_mistake_is_told_in_the_users_own_words_and_mended_by_mending_it(stage, patch, says):
    await stage.deploy()
    await stage.canary()
    await change(stage, patch)
    async with stage.process():
        await stage.until(lambda: stage.condition("Stalled"), what="the condition")
        assert says in stage.condition("Stalled")["message"]
        assert stage.status()["phase"]
        assert "canaryWeight" in stage.status()
        mended = {
            "provider": None,
            "targetRef": {"kind": "Deployment"},
            "service": {"port": 80, "gatewayRefs": [{"name": "gw"}]},
            "analysis": {"threshold": 2, "stepWeight": 50, "iterations": None},
        }
        await change(stage, mended)
        await stage.phase("Initialized")
        assert stage.condition("Stalled") is None
    said = [event for event in await events(stage) if says in event["message"]]
    assert len(said) == 1
    assert said[0]["type"] == "Warning"


async def test_one_broken_canary_does_not_stop_the_others(stage):
    for name in ("app", "other"):
        await stage.deploy(name=name)
        await stage.canary(name)
    await change(stage, {"analysis": {"threshold": 2.5}})
    async with stage.process():
        await stage.phase("Initialized", name="other")
        await stage.until(lambda: stage.condition("Stalled"))


async def test_a_service_of_another_canary_is_refused(stage):
    await stage.deploy()
    await stage.canary()
    other = await stage.canary("else")
    owner = {"apiVersion": "flagger.app/v1beta1", "kind": "Canary", "name": "else", "uid": other["metadata"]["uid"], "controller": True}
    body = {"metadata": {"name": "app", "namespace": NS, "ownerReferences": [owner]}, "spec": {"ports": [{"port": 80}]}}
    await stage.user.create(SERVICES, {"apiVersion": "v1", "kind": "Service", **body})
    async with stage.process():
        await stage.until(lambda: stage.condition("Stalled"))
        assert "else" in stage.condition("Stalled")["message"]


async def test_the_first_status_holds_what_argo_cd_computes_with(stage):
    seen = []
    stage.view.on_change(lambda resource, kind, body, old: seen.append(body.get("status")) if resource == CANARIES else None)
    await stage.deploy()
    await stage.canary()
    async with stage.process():
        await stage.phase("Initialized")
    first = next(status for status in seen if status)
    assert first["phase"]
    assert first["canaryWeight"] == 0
    assert all(condition["message"] for condition in first["conditions"])


async def test_a_settled_fleet_writes_nothing(stage):
    for number in range(5):
        await stage.deploy(name=f"app-{number}")
        await stage.canary(f"app-{number}")
    async with stage.process() as process:
        for number in range(5):
            await stage.phase("Initialized", name=f"app-{number}")
        await stage.until(lambda: process.telemetry.ticks.labels("ok")._value.get() >= 10)
        writes, requests = process.writes, json.dumps(sorted(map(str, process.client.requests.counts.items())))
        for number in range(5):
            process.scheduler.wake(("test", f"app-{number}"), delay=0)
        await stage.until(lambda: process.telemetry.ticks.labels("ok")._value.get() >= 15)
        assert process.writes == writes
        assert json.dumps(sorted(map(str, process.client.requests.counts.items()))) == requests
