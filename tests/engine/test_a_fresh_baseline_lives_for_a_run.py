"""A fresh baseline in the running engine: made with the target, compared, removed; nobody's other objects are touched, and it costs no release."""

import asyncio

import pytest

from canary.core.errors import Forbidden, Rejected
from canary.core.model import Decision, EnsureRoutes, Readiness, RemoveBaseline, Routes, SetRoutes, Workload
from canary.engine import settle
from canary.engine.settle import SETTLE, Settling
from canary.kube.resource import CANARY_RUNS, DEPLOYMENTS, HTTP_ROUTES, SERVICES
from canary.routers.gatewayapi import GatewayApiRouter as GatewayRouter
from tests.core.counting import Traffic
from tests.engine.test_evidence_ends_releases import Clock, Paced, play, release
from tests.engine.test_traffic_waits_for_the_mesh import KEY, snapshot
from tests.engine.test_traffic_waits_for_the_mesh import Clock as Timer
from tests.engine.world import NS, Stage
from tests.testbed.workload import deployment

FRESH = {"judge": "sequential", "baseline": "fresh", "maxWeight": 33, "sequential": {"minDuration": "1m"}}
NAME = "app-baseline"


async def ready(stage, **analysis):
    """A canary at rest, on a clock of its own, and the proxies that count its requests."""
    stage.metrics.clock = Clock()
    weight, share = (lambda name=name: stage.weights().get(name, 0) for name in ("app-canary", NAME))
    stage.metrics.traffic = Traffic(start=stage.metrics.clock.now, weight=weight, baseline=share)
    await stage.deploy()
    await stage.canary(**{"interval": "30s", "stepWeight": 10} | FRESH | analysis)


def there(stage):
    """Which of the two objects exist."""
    return [resource.kind for resource in (DEPLOYMENTS, SERVICES) if stage.view.get(resource, NS, NAME) is not None]


class Heard(Paced):
    """Remembers what is said."""

    def __init__(self, *args, **more):
        super().__init__(*args, **more)
        self.said = []

    async def __aenter__(self):
        process = await super().__aenter__()
        post = self.notifier.post

        def remembered(canary, notices):
            self.said += notices
            post(canary, notices)

        self.notifier.post = remembered
        return process


@pytest.fixture
async def stage(monkeypatch):
    monkeypatch.setattr(settle, "SETTLE", 0.05)  # that wait is for real meshes, in real seconds
    async with Stage() as one:
        yield one


async def until_routed(stage, process, *, seconds=400):
    for _ in range(seconds // 5):
        await play(stage, process, seconds=5)
        if stage.weights().get(NAME):
            return
    raise AssertionError(stage.status())


# ------------------------------------------------------------------------------------------------ its life


@pytest.mark.slow
@pytest.mark.parametrize(("errors", "phase"), [({}, "Succeeded"), ({"canary": 0.3}, "Failed")])
async def test_it_is_made_compared_and_removed(stage, errors, phase):
    await ready(stage)
    async with stage.process(kind=Heard) as process:
        await play(stage, process, seconds=200, until=("Initialized",))
        stage.metrics.traffic.errors.update(errors)
        await stage.deploy("app:2")
        await until_routed(stage, process)
        assert stage.image(NAME) == "app:1"
        assert stage.view.get(DEPLOYMENTS, NS, NAME)["metadata"]["annotations"]["canary.dev/run"] == stage.status()["run"]["id"]
        weights = stage.weights()
        assert sum(weights.values()) == 100
        assert weights[NAME] == weights["app-canary"] <= weights["app-primary"]
        assert stage.status()["run"]["baseline"] == {"compared": "fresh", "weight": weights[NAME]}
        status = await play(stage, process, seconds=3000, until=("Succeeded", "Failed"))
        assert status["phase"] == phase, status
        await play(stage, process, seconds=120)
        assert there(stage) == []
        assert stage.weights() == {"app-primary": 100, "app-canary": 0}
        [run] = stage.view.list(CANARY_RUNS)
        assert run["status"]["baseline"] == {"compared": "fresh"}
        assert "fresh baseline" in run["status"]["reason"]


@pytest.mark.slow
async def test_routes_name_it_before_it_has_a_share_and_until_its_deployment_is_gone(stage):
    """A proxy answers 503 for the share of a backend that it does not know yet, or any more; and a whole route may fail for one that is gone."""
    await ready(stage)
    seen = []

    def note(what):
        routes = stage.weights()
        if not seen or seen[-1] != (what, routes):
            seen.append((what, routes))

    async with stage.process(kind=Heard) as process:
        apply, delete = process.client.apply, process.client.delete

        async def applied(resource, body, **more):
            answer = await apply(resource, body, **more)
            if resource is HTTP_ROUTES:
                note("routes")
            return answer

        async def deleted(resource, namespace, name, **more):
            if name == NAME:
                note(resource.kind)
            return await delete(resource, namespace, name, **more)

        process.client.apply, process.client.delete = applied, deleted
        status = await release(stage, process)
        assert status["phase"] == "Succeeded"
        await play(stage, process, seconds=200)
    named = [routes.get(NAME) for what, routes in seen if what == "routes"]
    first, last = named.index(0), len(named) - 1
    shares = [share for share in named if share]
    assert shares, seen
    assert named[:first] == [None] * first
    assert named[first + 1] > 0, "its share came after it was named"
    assert named[last] is None
    assert named[last - 1] == 0, "it was still named when its share was gone"
    removed = [(what, NAME in routes) for what, routes in seen if what != "routes"]
    assert removed == [("Deployment", True), ("Service", False)]


@pytest.mark.slow
async def test_one_that_is_never_ready_costs_a_warning_and_no_release(stage):
    await ready(stage)
    stage.unready.add(NAME)
    async with stage.process(kind=Heard) as process:
        await release(stage, process, seconds=100, until=())
        assert stage.weights() == {"app-primary": 100, "app-canary": 0, NAME: 0}, "the first step waits"
        conditions = [{"type": "Progressing", "status": "False", "reason": "ProgressDeadlineExceeded"}]
        await stage.user.merge(DEPLOYMENTS, NS, NAME, {"status": {"conditions": conditions}}, subresource="status")
        status = await play(stage, process, seconds=3000, until=("Succeeded", "Failed"))
        assert status["phase"] == "Succeeded"
        assert status["run"]["baseline"]["compared"] == "primary"
        [said] = [notice for notice in process.said if notice.kind == "BaselineGivenUp"]
        assert "exceeded its progress deadline" in said.message
        await play(stage, process, seconds=100)
        assert there(stage) == []


@pytest.mark.slow
@pytest.mark.parametrize("resource", [DEPLOYMENTS, SERVICES], ids=["Deployment", "Service"])
async def test_somebody_elses_object_of_its_name_stops_the_release_and_stays(stage, resource):
    await ready(stage)
    body = deployment(NAME, namespace=NS, image="other:1")
    if resource is SERVICES:
        body = {**SERVICES.head(NS, NAME), "spec": {"selector": {"app": "other"}, "ports": [{"port": 80}]}}
    made = await stage.user.create(resource, body)
    async with stage.process(kind=Heard) as process:
        await release(stage, process, seconds=60, until=())
        status = stage.status()
        assert status["phase"] == "Initialized"
        stalled = stage.condition("Stalled")
        assert stalled["reason"] == "BaselineTaken"
        assert f"{resource.kind} {NAME}.{NS} exists already and is not ours; delete or rename it" in stalled["message"]
        assert stage.view.get(resource, NS, NAME)["metadata"]["uid"] == made["metadata"]["uid"]
        assert stage.view.get(DEPLOYMENTS, NS, "app")["spec"]["replicas"] == 0
        await stage.user.delete(resource, NS, NAME)
        status = await play(stage, process, seconds=3000, until=("Succeeded", "Failed"))
        assert status["phase"] == "Succeeded"


@pytest.mark.slow
@pytest.mark.parametrize("error", [Forbidden("exceeded quota: pods"), Rejected("denied by policy", hint="ask the platform team")])
async def test_what_a_quota_or_a_policy_refuses_is_done_without(stage, error):
    await ready(stage)
    async with stage.process(kind=Heard) as process:
        create = process.client.create

        async def refused(resource, body):
            if body["metadata"].get("name") == NAME:
                raise error
            return await create(resource, body)

        process.client.create = refused
        status = await release(stage, process)
        assert status["phase"] == "Succeeded"
        assert status["run"]["baseline"]["compared"] == "primary"
        assert error.message in status["run"]["baseline"]["reason"]
        assert [notice.kind for notice in process.said].count("BaselineGivenUp") == 1


@pytest.mark.slow
async def test_a_mesh_that_cannot_route_to_it_costs_no_release(stage, monkeypatch):
    """Such as one in which somebody else has an object of its name: neither the step nor a rollback may fail for that."""
    await ready(stage)
    wanted = GatewayRouter.wanted

    def refused(self, release, live, routes):
        if routes.baseline:
            raise Rejected("DestinationRule app-baseline exists already and is not ours", hint="delete or rename it")
        return wanted(self, release, live, routes)

    monkeypatch.setattr(GatewayRouter, "wanted", refused)
    async with stage.process(kind=Heard) as process:
        status = await release(stage, process)
        assert status["phase"] == "Succeeded"
        assert "is not ours; delete or rename it" in status["run"]["baseline"]["reason"]
        assert not stage.weights().get(NAME)
        await play(stage, process, seconds=200)
        assert there(stage) == []


@pytest.mark.slow
async def test_without_the_right_to_delete_releases_go_on(stage):
    await ready(stage)
    async with stage.process(kind=Heard) as process:
        delete = process.client.delete

        async def refused(resource, *args, **more):
            if resource in (DEPLOYMENTS, SERVICES):
                raise Forbidden("deployments.apps is forbidden")
            return await delete(resource, *args, **more)

        process.client.delete = refused
        assert (await release(stage, process))["phase"] == "Succeeded"
        await stage.deploy("app:3")
        await play(stage, process, seconds=60, until=("Progressing",))
        status = await play(stage, process, seconds=3000, until=("Succeeded", "Failed"))
        assert status["phase"] == "Succeeded"
        assert "forbidden" in status["run"]["baseline"]["reason"], "one of another run is not compared with"
        assert stage.image("app-primary") == "app:3"
        process.client.delete = delete
        await play(stage, process, seconds=120)
        assert there(stage) == []


@pytest.mark.slow
async def test_what_an_operator_has_left_behind_is_removed_by_the_next(stage):
    await ready(stage)
    async with stage.process(kind=Paced) as process:
        await play(stage, process, seconds=200, until=("Initialized",))
        await stage.deploy("app:2")
        await until_routed(stage, process)
    body = stage.view.get(DEPLOYMENTS, NS, "app-primary")["spec"]["template"]
    await stage.user.merge(DEPLOYMENTS, NS, "app", {"spec": {"template": {"spec": {"containers": body["spec"]["containers"]}}}})
    async with stage.process(kind=Paced) as process:
        await play(stage, process, seconds=200)
        assert stage.status()["phase"] == "Initialized", "the release was taken back"
        assert stage.weights() == {"app-primary": 100, "app-canary": 0}
        assert there(stage) == []


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("first", [0, 5, 10])
async def test_whatever_write_the_operator_dies_at_nothing_is_left(monkeypatch, first):
    """Writes come one after another: to die after one leaves what dying before the next does. Before the first nothing has happened."""
    monkeypatch.setattr(settle, "SETTLE", 0.05)

    async def one(crash_at):
        async with Stage() as stage:
            await ready(stage)
            async with stage.process(kind=Paced) as process:
                await play(stage, process, seconds=200, until=("Initialized",))
            async with stage.process(kind=Paced, crash_at=crash_at or 1, after=crash_at > 0) as dying:
                await stage.deploy("app:2")
                clock = stage.metrics.clock
                for _ in range(400):
                    if dying.died.is_set():
                        break
                    dying.scheduler.wake((NS, "app"))
                    await asyncio.sleep(0.03)
                    clock.now += 5
                assert dying.died.is_set(), crash_at
            async with stage.process(kind=Paced) as second:
                status = await play(stage, second, seconds=3000, until=("Succeeded", "Failed"))
                assert status["phase"] == "Succeeded", (crash_at, status)
                await play(stage, second, seconds=120)
                assert there(stage) == [], crash_at
                assert stage.weights() == {"app-primary": 100, "app-canary": 0}
                assert status["run"]["baseline"]["compared"] == "fresh", (crash_at, status["run"])

    await asyncio.gather(*(one(crash_at) for crash_at in range(first, first + 5)))


# ------------------------------------------------------------------------------------------------ the mesh is given time


@pytest.fixture
def timer():
    return Timer()


@pytest.fixture
def settling(timer):
    return Settling(timer=timer)


def beside(found, *, pods=1, readiness=Readiness.READY, run="run-1"):
    from dataclasses import replace

    return replace(found, baseline=Workload(NAME, run, 1, pods, readiness), baseline_left=True)


def decided(found, *effects):
    return Decision(status=found.canary.status, effects=effects)


def test_a_baseline_that_becomes_ready_waits_for_the_mesh(settling, timer):
    settling.damped(KEY, beside(snapshot(), pods=0, readiness=Readiness.WAITING))
    seen, left = settling.damped(KEY, beside(snapshot()))
    assert (seen.baseline.readiness, seen.target.readiness, left) == (Readiness.WAITING, Readiness.READY, SETTLE)
    timer.now += SETTLE
    assert settling.damped(KEY, beside(snapshot()))[0].baseline.readiness is Readiness.READY
    assert settling.damped(KEY, beside(snapshot(), run="run-2"))[1] == SETTLE, "another copy of the same name"


def test_a_baseline_goes_once_its_traffic_is_gone_for_long_enough(settling, timer):
    named = snapshot(routes=Routes(80, 20, baseline=20))
    assert settling.removal_waits(KEY, named, decided(named, SetRoutes(Routes(100, 0)))) == (decided(named, SetRoutes(Routes(100, 0))), 0.0)
    free = snapshot()
    timer.now += 0.5
    whole = decided(free, EnsureRoutes(Routes(100, 0)), RemoveBaseline())
    kept, left = settling.removal_waits(KEY, free, whole)
    assert kept.effects == (EnsureRoutes(Routes(100, 0)),), "the rest does not wait"
    assert left == pytest.approx(SETTLE - 0.5)
    timer.now += SETTLE
    assert settling.removal_waits(KEY, free, whole) == (whole, 0.0)
    assert settling.removal_waits(KEY, free, whole) == (whole, 0.0)


def test_a_new_process_removes_at_once_what_nobody_routes_to(settling):
    free = snapshot()
    assert settling.removal_waits(KEY, free, decided(free, RemoveBaseline())) == (decided(free, RemoveBaseline()), 0.0)


def test_a_canary_that_was_deleted_is_forgotten(settling):
    named = snapshot(routes=Routes(80, 20, baseline=20))
    settling.removal_waits(KEY, named, decided(named))
    settling.forget(KEY)
    free = snapshot()
    assert settling.removal_waits(KEY, free, decided(free, RemoveBaseline()))[1] == 0
