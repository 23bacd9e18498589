"""The gates over HTTP, as a stock Flagger asks them: the status decides, the body says why, and what is not known is closed."""

from __future__ import annotations

import asyncio
import contextlib
import time

import pytest
import yaml
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from canary.gitops.rings.gatehouse import Gatehouse
from canary.gitops.rings.session import opened
from tests.rings.repository import Fleet, manifest

pytestmark = pytest.mark.slow

PLAN = {
    "apiVersion": "canary.dev/v1alpha1",
    "kind": "RolloutPlan",
    "metadata": {"name": "podinfo"},
    "spec": {
        "canary": {"namespace": "prod", "name": "podinfo"},
        "rings": [{"name": "first"}, {"name": "second"}, {"name": "third"}],
        "halt": {"inFlight": "abort"},
    },
}
PATH = "fleet/plans/podinfo.yaml"
HOOK = {"name": "podinfo", "namespace": "prod", "phase": "Progressing", "checksum": "85d557f47b", "metadata": {}}


class Clock:
    def __init__(self):
        self.ahead = 600.0

    def __call__(self):
        return time.time() + self.ahead


@contextlib.asynccontextmanager
async def asked(fleet, clock, **options):
    session = await opened(fleet.url, [PATH], branch="main", cache=fleet.folder / "cache")
    house = Gatehouse(session, clock, **{"stale": 600.0, **options})
    app = web.Application()
    house.add_to(app.router)
    async with TestClient(TestServer(app)) as client:

        async def ask(path, body=HOOK):
            async with client.post(path, json=body) as reply:
                return reply.status, await reply.text()

        async def get(path):
            async with client.get(path) as reply:
                return reply.status, await (reply.json() if path == "/rings" else reply.text())

        yield house, ask, get


@pytest.fixture
def fleet(server, tmp_path):
    fleet = Fleet(server, tmp_path, {"apps/podinfo.yaml": manifest("6.0.0"), PATH: yaml.safe_dump(PLAN)})
    fleet.release("6.1.0")
    return fleet


async def test_clusters_are_let_in_ring_by_ring(fleet):
    async with asked(fleet, Clock()) as (house, ask, get):
        assert (await ask("/confirm-rollout/first-0"))[0] == 503
        await house.poll()
        status, text = await ask("/confirm-rollout/first-0")
        assert (status, text.endswith("may begin in ring first")) == (200, True)
        status, text = await ask("/confirm-rollout/second-1")
        assert (status, text.endswith("in ring second: ring first has not passed")) == (403, True)
        fleet.say("first-0", "6.1.0")
        await house.poll()
        assert (await ask("/confirm-rollout", HOOK | {"metadata": {"cluster": "second-1"}}))[0] == 200
        assert (await ask("/rollback/second-1"))[0] == 403
        fleet.say("second-0", "6.1.0", result="Failed")
        await house.poll()
        assert (await ask("/confirm-rollout/second-1"))[0] == 403
        status, text = await ask("/rollback/second-1")
        assert (status, "1 of 5 clusters failed (second-0)" in text) == (200, True)
        _, shown = await get("/rings")
        assert [one["phase"] for one in shown["plans"][0]["releases"][0]["rings"]] == ["passed", "halted", "waiting"]
        assert shown["plans"][0]["releases"][0]["haltedIn"] == ["second"]


async def test_gates_close_when_git_cannot_be_read_for_too_long(fleet, server):
    clock = Clock()
    async with asked(fleet, clock) as (house, ask, get):
        await house.poll()
        server.stop()
        clock.ahead += 560
        await house.poll()
        assert (await ask("/confirm-rollout/first-0"))[0] == 200
        assert (await get("/healthz"))[0] == 200
        clock.ahead += 41
        status, text = await ask("/confirm-rollout/first-0")
        assert (status, text.startswith("closed: the server cannot be reached")) == (503, True)
        assert (await ask("/rollback/first-0"))[0] == 503
        assert (await get("/healthz"))[0] == 503


async def test_a_plan_that_is_broken_on_the_branch_leaves_the_last_good_one_to_grow_old(fleet):
    clock = Clock()
    async with asked(fleet, clock) as (house, ask, _):
        await house.poll()
        fleet.write({PATH: "kind: RolloutPlan\nspec: {rings: []}\n"})
        await house.poll()
        assert house.trouble
        assert (await ask("/confirm-rollout/first-0"))[0] == 200
        clock.ahead += 601
        assert (await ask("/confirm-rollout/first-0"))[0] == 503


async def test_what_is_no_hook_is_refused(fleet):
    async with asked(fleet, Clock()) as (house, ask, _):
        await house.poll()
        for body in ([], {}, {"name": 1, "namespace": "prod"}, HOOK | {"metadata": {"a": 1}}, HOOK | {"metadata": []}):
            status, text = await ask("/confirm-rollout/first-0", body)
            assert (status, bool(text)) == (400 if body != HOOK | {"metadata": []} else 200, True)
        assert await ask("/confirm-rollout") == (400, "name the cluster: in the path, or as metadata.cluster")
        assert (await ask("/confirm-rollout/first-0", HOOK | {"name": "other"}))[0] == 403
        assert (await ask("/confirm-rollout/unheard-of"))[0] == 403
        assert (await ask("/confirm-rollout/first-0", HOOK | {"metadata": {"release": "9.9.9-00000000"}}))[0] == 403


async def test_a_server_that_may_write_moves_rings_as_it_polls(fleet):
    fleet.write({PATH: yaml.safe_dump({**PLAN, "spec": {**PLAN["spec"], "mode": "branch"}})})
    async with asked(fleet, Clock(), write=True) as (house, _, _):
        polling = asyncio.create_task(house.keep_polling(0.05))
        async with asyncio.timeout(20):
            while not fleet.head("first"):
                await asyncio.sleep(0.05)
        polling.cancel()
        await asyncio.gather(polling, return_exceptions=True)
    assert fleet.head("first") == fleet.git("rev-parse", "main~1")
