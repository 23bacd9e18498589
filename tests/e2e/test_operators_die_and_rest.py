"""Operators that are killed, stopped, doubled, or left alone. Each test has operators of its own, which watch one namespace.

Half of the twenty kills follow within milliseconds of a write that the operator makes, because that is where a crash hurts: between moving
traffic and storing that it was moved, between a rollback and its record, between a push and the note that it was pushed. The seed is printed;
CANARY_KILL_SEED repeats a run.
"""

import json
import os
import random
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime

import pytest

from canary.sandbox.gitserver import GitServer
from tests.e2e.objects import SUCCESS, Item, canary
from tests.e2e.operators import Operator, operator
from tests.e2e.stage import Stage
from tests.testbed.waiting import until
from tests.testbed.workload import deployment

pytestmark = [pytest.mark.mesh, pytest.mark.timeout(600)]
OPERATOR_FLAGS = None  # each test starts its own

KILLS = 20
INTERVAL = 2.0
STEP, TOP = 2, 40
CHECKS = {"interval": f"{INTERVAL:g}s", "metrics": [SUCCESS | {"interval": "6s"}], "maxWeight": TOP}


# ------------------------------------------------------------------------------------------------ killed


def test_twenty_kills_change_nothing(stage: Stage):
    seed = int(os.environ.get("CANARY_KILL_SEED") or random.SystemRandom().randrange(1_000_000))
    print(f"CANARY_KILL_SEED={seed}")
    try:
        with _git(stage) as git, operator(stage.cluster, stage.folder, f"--namespace={stage.namespace}") as running:
            stage.operator = running
            _survive(stage, git, random.Random(seed))
    except Exception as error:
        error.add_note(f"repeat with CANARY_KILL_SEED={seed}")
        raise


def _survive(stage: Stage, git: GitServer, dice: random.Random) -> None:
    good, bad = stage.called("good"), stage.called("bad")
    repository = git.create("fleet", {f"apps/{one.name}.yaml": _manifest(one.name, one.namespace) for one in (good, bad)})
    stage.apply(_sink(repository))
    for one, analysis in ((good, {"stepWeight": STEP, "threshold": 20}), (bad, {"stepWeight": TOP, "threshold": 12})):
        one.bootstrap(CHECKS | analysis)
        one.expose_by_contour()
    with good.traffic(rate=25) as users, bad.traffic(rate=20):
        good.deploy("app:2")
        bad.deploy("app:2", env={"ERROR_RATE": "0.5"})
        _kill(stage.operator, [good, bad], dice)
        good.wait_end("Succeeded")
        bad.wait_end("Failed")
        until("Git to hear of it", lambda: _all_told(stage), 60)
        time.sleep(1)
        assert users.collect(25).images == {"app:2": 25}
        assert users.stop().failures == {}
    assert stage.operator.starts == KILLS + 1
    _assert_steady(good)
    _assert_rolled_back(bad)
    _assert_told_once(git)


def _kill(running: Operator, stages: list[Stage], dice: random.Random) -> None:
    """Twenty lives, each ended by SIGKILL: while starting, at any time, or right after a write."""
    for end in dice.sample(["starting"] * 3 + ["any"] * 7 + ["write"] * 10, KILLS):
        if end == "starting":
            time.sleep(dice.uniform(0.1, 1.0))
        else:
            running.wait_ready()
            if end == "any":
                time.sleep(dice.uniform(0.05, 1.0))
            else:
                _wait_for_a_write(stages, timeout=1.5)
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
    return len(effects) == 4 and all(effect["state"] == "Done" for effect in effects)


def _run_of(stage: Stage) -> Item:
    [run] = [run for run in stage.items("canaryruns") if run["spec"]["canaryRef"]["name"] == stage.name]
    return run


def _assert_steady(good: Stage) -> None:
    """Every step was taken once, one after the other, and never sooner than an interval after the one before."""
    weights = [weight for _, weight in good.moves()]
    assert weights == [*range(0, TOP + 1, STEP), 0][1 if weights[0] else 0 :], weights
    steps = [at for at, weight in good.moves() if weight]
    shortest = min(later - earlier for earlier, later in zip(steps, steps[1:]))
    assert shortest > INTERVAL - 0.5, f"two steps within {shortest:.2f} s"
    ticks = [datetime.fromisoformat(at) for _, at in good.canary.history(_last_tick, since=good.mark) if at]
    gaps = [(later - earlier).total_seconds() for earlier, later in zip(ticks, ticks[1:])]
    assert min(gaps) > INTERVAL - 0.01, gaps
    assert "Failed" not in good.phases()
    assert good.image_of("good-primary") == "app:2"
    assert _run_of(good)["status"]["phase"] == "Succeeded"


def _last_tick(item: Item) -> str:
    status = item.get("status") or {}
    return (status.get("run") or {}).get("lastTickTime", "") if status.get("phase") == "Progressing" else ""


def _assert_rolled_back(bad: Stage) -> None:
    assert [weight for _, weight in bad.moves() if weight] == [TOP]
    assert not {"Promoting", "Succeeded"} & set(bad.phases()), bad.phases()
    assert bad.image_of("bad-primary") == "app:1"
    assert bad.replicas("bad") == 0
    assert "failed checks threshold reached 12" in bad.status["failureReason"]
    run = _run_of(bad)
    assert (run["status"]["phase"], run["status"]["failedChecks"]) == ("Failed", 12)


def _assert_told_once(git: GitServer) -> None:
    """One record of each run and one revert, in the tree and in the history; and the record of the run that was taken back names it, once."""
    files = git.git("fleet", "ls-tree", "-r", "--name-only", "canary-outcomes").split()
    records = [name for name in files if name.endswith(".json") and not name.endswith("promoted.json")]
    outcomes = {name.split("/")[2]: json.loads(git.git("fleet", "show", f"canary-outcomes:{name}"))["outcome"] for name in records}
    assert outcomes == {"good": "succeeded", "bad": "failed"}
    assert len(records) == 2, files
    history = git.git("fleet", "log", "--format=%(trailers:key=Canary-Effect,valueonly,separator=%x2C)", "canary-outcomes").splitlines()
    history = [effect for effect in history if effect]
    assert len(history) == len(set(history)) == 3, history
    [bad] = [name for name in records if "/bad/" in name]
    revert = git.git("fleet", "rev-parse", "main").strip()
    assert json.loads(git.git("fleet", "show", f"canary-outcomes:{bad}"))["effects"] == {"revertCommit": revert}
    commits = git.git("fleet", "log", "--format=%s", "main").splitlines()
    assert len(commits) == 2, commits  # the developer's, and one revert
    assert "image: app:1" in git.git("fleet", "show", "main:apps/bad.yaml")
    assert "image: app:2" in git.git("fleet", "show", "main:apps/good.yaml")


@contextmanager
def _git(stage: Stage) -> Iterator[GitServer]:
    server = GitServer(stage.folder / "git")
    server.start()
    try:
        yield server
    finally:
        server.stop()


def _sink(url: str) -> Item:
    head = {"apiVersion": "canary.dev/v1alpha1", "kind": "GitSink", "metadata": {"name": "fleet"}}
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


# ------------------------------------------------------------------------------------------------ doubled

LEASE = "flagger-leader-election"
DURATION = 15.0
LEADS = {"": 1.0}


@contextmanager
def _replicas(stage: Stage) -> Iterator[tuple[Operator, Operator]]:
    """The leader and the follower of two replicas."""
    both = [Operator(stage.cluster, stage.folder, f"--namespace={stage.namespace}", "--enable-leader-election=true") for _ in range(2)]
    for one in both:
        one.start()
    try:
        for one in both:
            one.wait_ready()
        until("one leader", lambda: sum(one.metrics("canary_leader") == LEADS for one in both) == 1, 20)
        leader, follower = sorted(both, key=lambda one: one.metrics("canary_leader") != LEADS)
        stage.operator = leader
        yield leader, follower
    finally:
        for one in both:
            one.stop()


def _lease(stage: Stage) -> Item:
    spec: Item = stage.cluster.api.get(f"/apis/coordination.k8s.io/v1/namespaces/{stage.namespace}/leases/{LEASE}")["spec"]
    return spec


def test_a_follower_takes_over_from_a_leader_that_was_killed_in_the_middle_of_a_release(stage: Stage):
    with _replicas(stage) as (leader, follower):
        first = _lease(stage)
        assert first["leaseDurationSeconds"] == DURATION
        stage.bootstrap({"interval": "3s", "stepWeight": 10, "maxWeight": 50, "threshold": 9, "metrics": [SUCCESS | {"interval": "8s"}]})
        stage.expose_by_contour()
        with stage.traffic(rate=25) as traffic:
            stage.deploy("app:2")
            stage.wait_weight(20)
            leader.kill()
            killed = time.monotonic()
            until("the follower to lead", lambda: follower.metrics("canary_leader") == LEADS, 40)
            waited = time.monotonic() - killed
            assert DURATION - 4 < waited < DURATION + 8, f"taken over after {waited:.1f} s"
            second = _lease(stage)
            assert second["holderIdentity"] != first["holderIdentity"]
            assert second["leaseTransitions"] == first["leaseTransitions"] + 1
            assert [weight for at, weight in stage.moves() if killed + 0.2 < at < killed + waited - 1] == []
            stage.wait_end("Succeeded")
            stage.assert_clients_saw(traffic, [10, 20, 30, 40, 50])
            assert traffic.stop().failures == {}


def test_a_leader_that_is_told_to_stop_hands_over_at_once(stage: Stage):
    with _replicas(stage) as (leader, follower):
        began = time.monotonic()
        assert leader.stop() == 0
        until("the follower to lead", lambda: follower.metrics("canary_leader") == LEADS, 12)
        assert time.monotonic() - began < 10, "it waited for the lease to expire"
        follower.wait_ready()


# ------------------------------------------------------------------------------------------------ at rest

FLEET = 20
SECONDS = 20.0
BINDINGS = "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings"


def test_twenty_canaries_at_rest_send_no_request_beyond_their_watches(stage: Stage):
    with (
        _account(stage) as kubeconfig,
        operator(stage.cluster, stage.folder, f"--namespace={stage.namespace}", kubeconfig=kubeconfig) as running,
    ):
        stage.operator = running
        for number in range(FLEET):
            name = f"app-{number}"
            analysis = {"interval": "1s", "stepWeight": 10}
            stage.apply(deployment(name, namespace=stage.namespace), canary(name, stage.namespace, analysis))
        until("the fleet to be initialized", lambda: _phases(stage) == ["Initialized"] * FLEET, 60)
        until("silence", lambda: _silent(running), 30)
        cpu, ours, theirs = running.process.use().cpu_seconds, running.metrics("canary_api_requests_total"), _served(stage)
        time.sleep(SECONDS)
        used = running.process.use().cpu_seconds - cpu
        assert running.metrics("canary_api_requests_total") == ours
        assert _served(stage) == theirs, "the API server saw requests that the operator does not count"
        assert used < 0.05 * SECONDS, f"{used:.2f} s of CPU in {SECONDS:g} s"
        stage.apply(_released("app-7", stage.namespace))
        until("a release to be noticed", lambda: _phases(stage).count("Progressing") == 1, 5)
        assert _served(stage) > theirs, "the instrument does not count"


@contextmanager
def _account(stage: Stage) -> Iterator[object]:
    """A service account of its own: the API server then counts the operator's requests apart from everybody else's."""
    api, namespace = stage.cluster.api, stage.namespace
    api.call(
        "POST",
        f"/api/v1/namespaces/{namespace}/serviceaccounts",
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "canary"}},
    )
    api.call("POST", BINDINGS, _binding(namespace))
    try:
        yield stage.cluster.kubeconfig_for_service_account(namespace, "canary")
    finally:
        api.call("DELETE", f"{BINDINGS}/e2e-{namespace}")


def _silent(running: Operator) -> bool:
    before = running.metrics("canary_api_requests_total")
    time.sleep(2)
    return running.metrics("canary_api_requests_total") == before


def _phases(stage: Stage) -> list[str]:
    return [(item.get("status") or {}).get("phase", "") for item in stage.items("canaries")]


def _served(stage: Stage) -> float:
    """Requests of service accounts that the API server has begun to execute, watches included; everybody else here is an administrator."""
    lines = stage.cluster.api.text("GET", "/metrics").splitlines()
    family = "apiserver_flowcontrol_dispatched_requests_total{"
    mine = [line for line in lines if line.startswith(family) and 'flow_schema="service-accounts"' in line]
    return sum(float(line.rpartition(" ")[2]) for line in mine)


def _released(name: str, namespace: str) -> Item:
    body = deployment(name, namespace=namespace, image="app:2")
    del body["spec"]["replicas"]
    return body


def _binding(namespace: str) -> Item:
    return {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "ClusterRoleBinding",
        "metadata": {"name": f"e2e-{namespace}"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin"},
        "subjects": [{"kind": "ServiceAccount", "name": "canary", "namespace": namespace}],
    }
