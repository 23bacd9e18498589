"""The operator is killed at twenty random moments of a good and of a bad release; neither their course nor Git shows it.

Half of the kills follow within milliseconds of a write that the operator makes, because that is where a crash hurts: between moving traffic
and storing that it was moved, between a rollback and its record, between a push and the note that it was pushed. The seed is printed;
CANARY_KILL_SEED repeats a run.
"""

import json
import os
import random
import time
from datetime import datetime
from pathlib import Path

import pytest

from canary.sandbox.gitserver import GitServer
from tests.e2e.objects import SUCCESS, Item, canary
from tests.e2e.operators import Operator, operator
from tests.e2e.stage import Parts, Stage, staged
from tests.testbed.waiting import until

pytestmark = [pytest.mark.mesh, pytest.mark.timeout(300)]

KILLS = 20
INTERVAL = 2.0
STEP, TOP = 2, 40
CHECKS = {"interval": f"{INTERVAL:g}s", "metrics": [SUCCESS | {"interval": "6s"}], "maxWeight": TOP}


@pytest.fixture
def git(tmp_path: Path):
    server = GitServer(tmp_path / "git")
    server.start()
    yield server
    server.stop()


def test_twenty_kills_change_nothing(cluster, mesh, namespace, git, tmp_path):
    seed = int(os.environ.get("CANARY_KILL_SEED") or random.SystemRandom().randrange(1_000_000))
    print(f"CANARY_KILL_SEED={seed}")
    repository = git.create("fleet", {f"apps/{name}.yaml": _manifest(name, namespace) for name in ("good", "bad")})
    with (
        operator(cluster, tmp_path, f"--namespace={namespace}") as running,
        staged(Parts(cluster, mesh, running, None), namespace, name="good") as good,
    ):
        bad = good.called("bad")
        good.apply(_sink(namespace, repository))
        for stage, analysis in ((good, {"stepWeight": STEP, "threshold": 20}), (bad, {"stepWeight": TOP, "threshold": 12})):
            stage.deploy("app:1")
            stage.apply(canary(stage.name, namespace, CHECKS | analysis))
        for stage in (good, bad):
            stage.wait_phase("Initialized")
            stage.expose_by_contour()
        with good.traffic(rate=50) as users, bad.traffic(rate=30):
            good.deploy("app:2")
            bad.deploy("app:2", env={"ERROR_RATE": "0.5"})
            _kill(running, [good, bad], random.Random(seed))
            good.wait_end("Succeeded")
            bad.wait_end("Failed")
            until("Git to hear of it", lambda: _all_told(good), 60)
            time.sleep(1)
            assert users.collect(50).images == {"app:2": 50}
            assert users.stop().failures == {}
        assert running.starts == KILLS + 1
        _assert_steady(good)
        _assert_rolled_back(bad)
        _assert_told_once(git, namespace)


def _kill(running: Operator, stages: list[Stage], dice: random.Random) -> None:
    """Twenty lives, each ended by SIGKILL: while starting, at any time, or right after a write."""
    ends = dice.sample(["starting"] * 3 + ["any"] * 7 + ["write"] * 10, KILLS)
    for end in ends:
        if end == "starting":
            time.sleep(dice.uniform(0.1, 1.0))
        else:
            running.wait_ready()
            if end == "any":
                time.sleep(dice.uniform(0.05, 2.0))
            else:
                _wait_for_a_write(stages, timeout=INTERVAL + 0.5)
                time.sleep(dice.uniform(0, 0.03))
        running.kill()
        running.start()
    running.wait_ready()


def _wait_for_a_write(stages: list[Stage], *, timeout: float) -> None:
    watches = [watch for stage in stages for watch in (stage.canary, stage.routes(), stage.watch("deployments", stage.name))]
    before = [len(watch.seen) for watch in watches]
    deadline = time.monotonic() + timeout
    while time.monotonic() < deadline and [len(watch.seen) for watch in watches] == before:
        time.sleep(0.002)


def _all_told(stage: Stage) -> bool:
    effects = [effect for run in stage.items("canaryruns") for effect in (run.get("status") or {}).get("effects", [])]
    return len(effects) == 3 and all(effect["state"] == "Done" for effect in effects)


def _assert_steady(good: Stage) -> None:
    """Every step was taken once, one after the other, and never sooner than an interval after the one before."""
    weights = [weight for _, weight in good.moves()]
    assert weights == [*range(0, TOP + 1, STEP), 0][1 if weights[0] else 0 :], weights
    steps = [at for at, weight in good.moves() if weight]
    shortest = min(later - earlier for earlier, later in zip(steps, steps[1:]))
    assert shortest > INTERVAL - 0.4, f"two steps within {shortest:.2f} s"
    ticks = [datetime.fromisoformat(at) for _, at in good.canary.history(_last_tick, since=good._mark) if at]
    gaps = [(later - earlier).total_seconds() for earlier, later in zip(ticks, ticks[1:])]
    assert min(gaps) > INTERVAL - 0.01, gaps
    assert "Failed" not in good.phases()
    assert good.image_of("good-primary") == "app:2"
    [run] = [run for run in good.items("canaryruns") if run["spec"]["canaryRef"]["name"] == "good"]
    assert run["status"]["phase"] == "Succeeded"


def _last_tick(item: Item) -> str:
    status = item.get("status") or {}
    return (status.get("run") or {}).get("lastTickTime", "") if status.get("phase") == "Progressing" else ""


def _assert_rolled_back(bad: Stage) -> None:
    assert [weight for _, weight in bad.moves() if weight] == [TOP]
    assert not {"Promoting", "Succeeded"} & set(bad.phases()[1:]), bad.phases()
    assert bad.image_of("bad-primary") == "app:1"
    assert bad.replicas("bad") == 0
    assert "failed checks threshold reached 12" in bad.status["failureReason"]
    [run] = [run for run in bad.items("canaryruns") if run["spec"]["canaryRef"]["name"] == "bad"]
    assert run["status"]["phase"] == "Failed"
    assert run["status"]["failedChecks"] == 12


def _assert_told_once(git: GitServer, namespace: str) -> None:
    """One record of each run and one revert, in the tree and in the history."""
    files = git.git("fleet", "ls-tree", "-r", "--name-only", "canary-outcomes").split()
    records = [name for name in files if name.endswith(".json") and not name.endswith("promoted.json")]
    assert sorted(name.split("/")[2] for name in records) == ["bad", "good"], files
    outcomes = {name.split("/")[2]: json.loads(git.git("fleet", "show", f"canary-outcomes:{name}"))["outcome"] for name in records}
    assert outcomes == {"good": "succeeded", "bad": "failed"}
    history = git.git("fleet", "log", "--format=%(trailers:key=Canary-Effect,valueonly,separator=%x2C)", "canary-outcomes").splitlines()
    history = [line for line in history if line]
    assert len(history) == len(set(history)) == 2, history
    reverts = git.git("fleet", "log", "--format=%s", "main").splitlines()
    assert len(reverts) == 2, reverts
    assert "image: app:1" in git.git("fleet", "show", "main:apps/bad.yaml")
    assert "image: app:2" in git.git("fleet", "show", "main:apps/good.yaml")


def _sink(namespace: str, url: str) -> Item:
    head = {"apiVersion": "canary.dev/v1alpha1", "kind": "GitSink", "metadata": {"name": "fleet", "namespace": namespace}}
    return head | {"spec": {"cluster": "test-bed", "repository": {"url": url}}}


def _manifest(name: str, namespace: str) -> str:
    """What the developer committed: the version that is being released."""
    return f"""apiVersion: apps/v1
kind: Deployment
metadata:
  name: {name}
  namespace: {namespace}
spec:
  selector:
    matchLabels:
      app: {name}
  template:
    metadata:
      labels:
        app: {name}
    spec:
      containers:
      - name: app
        image: app:2 # the only place that names the version
"""
