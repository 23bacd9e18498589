"""Judges by evidence in the running engine: the API, the routes and the status are real, time jumps from look to look."""

import asyncio
import json

import pytest

from canary.api.canary import parse_canary
from canary.api.status import CheckStatus, Evidence
from canary.engine import settle
from canary.engine.telemetry import Telemetry
from canary.kube.resource import CANARY_RUNS
from tests.core.counting import Traffic
from tests.engine.world import NS, Process, Stage

KEY = (NS, "app")
DEAD = "prometheus:9090 cannot be reached"


class Clock:
    """Unix time that the test moves on."""

    def __init__(self):
        self.now = 1_800_000_000.0

    def __call__(self):
        return self.now


class Paced(Process):
    """Hands each tick's wish to be woken to the test, which then moves the clock on instead of waiting."""

    done, wished = 0, None

    async def tick(self, key):
        self.wished = await super().tick(key)
        self.done += 1
        return None


async def ready(stage, **analysis):
    """A canary at rest, on a clock of its own, and the proxies that count its requests."""
    stage.metrics.clock = Clock()
    stage.metrics.traffic = Traffic(start=stage.metrics.clock.now, weight=lambda: stage.weights().get("app-canary", 0))
    await stage.deploy()
    await stage.canary(**{"interval": "30s", "stepWeight": 10, "maxWeight": 50, "sequential": {"minDuration": "1m"}} | analysis)


async def play(stage, process, *, seconds, until=()):
    """Ticks in jumps of what they ask for, for so long or until a phase."""
    clock = stage.metrics.clock
    end = clock.now + seconds
    while clock.now < end and stage.status().get("phase") not in until:
        before = process.done
        process.scheduler.wake(KEY)
        await stage.until(lambda before=before: process.done > before, 60)
        await asyncio.sleep(0.02)  # watches bring what the tick has done
        # the engine takes off what the tick took in real seconds, which pass for nothing here; at rest it wishes nothing
        clock.now += 5.0 if process.wished is None else process.wished + 0.1
    return stage.status()


async def release(stage, process, *, seconds=3000, until=("Succeeded", "Failed"), **errors):
    await play(stage, process, seconds=200, until=("Initialized",))
    stage.metrics.traffic.errors.update(errors)
    await stage.deploy("app:2")
    await play(stage, process, seconds=60, until=("Progressing",))
    return await play(stage, process, seconds=seconds, until=until)


@pytest.fixture
async def stage(monkeypatch):
    monkeypatch.setattr(settle, "SETTLE", 0.05)  # that wait is for real meshes, in real seconds
    async with Stage() as one:
        yield one


@pytest.mark.parametrize("judge", ["guarded", "sequential"])
async def test_a_bad_release_is_rolled_back_and_everything_says_why(stage, judge):
    await ready(stage, judge=judge)
    async with stage.process(kind=Paced) as process:
        status = await release(stage, process, canary=0.5)
        assert status["phase"] == "Failed"
        reason = status["failureReason"]
        assert reason.startswith("Rolled back after")
        assert "canary requests failed" in reason
        assert stage.weights() == {"app-primary": 100, "app-canary": 0}
        assert stage.image("app-primary") == "app:1"
        [run] = stage.view.list(CANARY_RUNS)
        assert (run["status"]["phase"], run["status"]["reason"]) == ("Failed", reason)
        assert "judge/errorRate" in {check["name"] for check in run["status"]["checks"]}
        assert "judge" not in status["run"], "what only the judge needs goes with the run"
        shown = {check["name"]: check for check in status["checks"]}
        assert shown["judge/errorRate"]["verdict"] == "Fail"
        exported = process.telemetry.text().decode()
        assert 'canary_analysis_evidence{kind="fail",metric="judge/errorRate",name="app",namespace="test"}' in exported
        assert 'canary_analysis_excess_upper{metric="judge/errorRate"' in exported


async def test_a_healthy_release_is_promoted(stage):
    await ready(stage, judge="sequential")
    async with stage.process(kind=Paced) as process:
        status = await release(stage, process)
        assert status["phase"] == "Succeeded", status
        assert stage.image("app-primary") == "app:2"
        [run] = stage.view.list(CANARY_RUNS)
        assert run["status"]["reason"].startswith("Promoted: error rate is at most")


@pytest.mark.slow
async def test_a_dead_source_for_many_ticks_changes_no_verdict(stage):
    await ready(stage, judge="sequential")
    async with stage.process(kind=Paced) as process:
        await release(stage, process, seconds=40, until=())
        weights = stage.weights()
        stage.metrics.traffic.dead = DEAD
        status = await play(stage, process, seconds=450)
        assert (status["phase"], status.get("failedChecks")) == ("Progressing", 0)
        assert stage.weights() == weights
        assert DEAD in status["run"]["judge"]["reason"]
        stage.metrics.traffic.dead = ""
        status = await play(stage, process, seconds=3000, until=("Succeeded", "Failed"))
        assert status["phase"] == "Succeeded"


@pytest.mark.slow
@pytest.mark.parametrize("judge", ["guarded", "sequential"])
async def test_an_outage_of_both_rolls_nothing_back(stage, judge):
    await ready(stage, judge=judge)
    async with stage.process(kind=Paced) as process:
        stage.metrics.values["request-success-rate"] = 60.0  # of both: the fake answers alike for the primary
        status = await release(stage, process, seconds=450, canary=0.4, primary=0.4)
        assert (status["phase"], status.get("failedChecks")) == ("Progressing", 0)


async def test_another_process_goes_on_with_the_same_evidence(stage):
    await ready(stage, judge="sequential")
    async with stage.process(kind=Paced) as process:
        await release(stage, process, seconds=60, until=())
        before = stage.status()["run"]["judge"]
        assert json.loads(before["state"])["v"] == 2
    async with stage.process(kind=Paced) as process:
        stage.metrics.traffic.errors["canary"] = 0.5
        status = await play(stage, process, seconds=600, until=("Succeeded", "Failed"))
        assert status["phase"] == "Failed"


async def test_a_mesh_that_does_not_tell_versions_apart_is_refused(stage):
    await ready(stage, judge="guarded")
    async with stage.process(kind=Paced, provider="kubernetes") as process:
        await play(stage, process, seconds=5)
        await stage.until(lambda: (stage.condition("Stalled") or {}).get("status") == "True", 10)
        assert "kubernetes has neither" in stage.condition("Stalled")["message"]


def test_series_of_evidence_come_and_go_with_it():
    telemetry = Telemetry(mesh_provider="contour")
    body = {
        "metadata": {"name": "app", "namespace": "test"},
        "spec": {
            "targetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "app"},
            "analysis": {"interval": "1s", "threshold": 1, "stepWeight": 5},
        },
    }
    evidence = Evidence(fail=-0.3, passed=1.4, upper=0.0017, lower=-1.0, needed=None)
    check = CheckStatus(name="judge/errorRate", verdict="Pass", source="judge", value=0.1, evidence=evidence)
    canary = parse_canary(body)
    running = canary.model_copy(update={"status": canary.status.model_copy(update={"phase": "Progressing", "checks": (check,)})})
    telemetry.observe(running, None)
    text = telemetry.text().decode()
    assert 'canary_analysis_evidence{kind="pass",metric="judge/errorRate",name="app",namespace="test"} 1.4' in text
    assert 'canary_analysis_excess_upper{metric="judge/errorRate",name="app",namespace="test"} 0.0017' in text
    assert "canary_analysis_requests_needed{" not in text
    telemetry.forget("test", "app")
    assert "canary_analysis_evidence{" not in telemetry.text().decode()
