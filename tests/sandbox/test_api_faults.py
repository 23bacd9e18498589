"""The seam for disturbances, and the count of requests."""

import asyncio
from collections.abc import AsyncIterator

import aiohttp
import pytest

from canary.sandbox.calls import Call
from canary.sandbox.errors import ApiError
from canary.sandbox.faults import Drop
from canary.sandbox.server import ApiServer

PATH = "/api/v1/namespaces/default/configmaps"


@pytest.fixture
async def server() -> AsyncIterator[ApiServer]:
    server = ApiServer()
    await server.start()
    yield server
    await server.stop()


@pytest.fixture
async def session(server: ApiServer) -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(server.url, headers={"User-Agent": "tester/2 (more words)"}) as session:
        yield session


def names(server: ApiServer) -> list[str]:
    return [one["metadata"]["name"] for one in server.cluster.list_all("v1", "ConfigMap", namespace="default")]


async def test_hook_sees_what_is_asked(server: ApiServer, session: aiohttp.ClientSession) -> None:
    seen: list[Call] = []

    async def hook(call: Call) -> None:
        seen.append(call)

    server.hook = hook
    await session.post(PATH, json={"metadata": {"name": "c"}})
    await session.get(f"{PATH}/c", params={"resourceVersion": "0"})
    await session.get("/apis/apps/v1/deployments")
    await session.get("/version")
    assert [str(call) for call in seen] == ["create configmaps default", "get configmaps default/c", "list deployments"]
    assert (seen[1].query["resourceVersion"], seen[1].agent, seen[1].address.namespace) == ("0", "tester/2", "default")


async def test_hook_may_refuse(server: ApiServer, session: aiohttp.ClientSession) -> None:
    async def hook(call: Call) -> ApiError | None:
        return ApiError(429, "TooManyRequests", "slow down", details={"retryAfterSeconds": 1}) if call.verb == "create" else None

    server.hook = hook
    async with session.post(PATH, json={"metadata": {"name": "c"}}) as response:
        assert (response.status, (await response.json())["reason"]) == (429, "TooManyRequests")
    assert names(server) == []
    server.hook = None
    assert (await session.post(PATH, json={"metadata": {"name": "c"}})).status == 201


async def test_hook_may_delay_one_request_and_not_another(server: ApiServer, session: aiohttp.ClientSession) -> None:
    gate = asyncio.Event()

    async def hook(call: Call) -> None:
        if call.address.name == "slow":
            await gate.wait()

    server.hook = hook
    slow = asyncio.ensure_future(session.get(f"{PATH}/slow"))
    assert (await session.get(f"{PATH}/fast")).status == 404
    assert not slow.done()
    gate.set()
    assert (await slow).status == 404


@pytest.mark.parametrize(("after", "expected"), [(False, []), (True, ["c"])])
async def test_connection_breaks_before_or_after_the_effect(
    server: ApiServer, session: aiohttp.ClientSession, after: bool, expected: list[str]
) -> None:
    async def hook(_call: Call) -> Drop:
        return Drop(after_effect=after)

    server.hook = hook
    with pytest.raises(aiohttp.ClientError):
        await session.post(PATH, json={"metadata": {"name": "c"}})
    assert names(server) == expected
    server.hook = None
    assert (await session.get(PATH)).status == 200


async def test_requests_are_counted(server: ApiServer, session: aiohttp.ClientSession) -> None:
    for _ in range(3):
        await session.get(f"{PATH}/none")
    await session.patch("/apis/apps/v1/namespaces/default/deployments/none/scale", json={}, headers={"User-Agent": "other/1"})
    assert server.requests.counts == {("get", "configmaps", "tester/2"): 3, ("patch", "deployments/scale", "other/1"): 1}
    assert server.requests.total() == 4
    assert server.requests.total(verb="get") == server.requests.total(agent="tester") == 3
    assert server.requests.total(resource="deployments/scale", verb="get") == 0
    server.requests.clear()
    assert server.requests.total() == 0


async def test_fault_of_the_server_is_a_status(server: ApiServer, session: aiohttp.ClientSession, caplog: pytest.LogCaptureFixture) -> None:
    async def hook(_call: Call) -> None:
        raise RuntimeError("broken hook")

    server.hook = hook
    async with session.get(PATH) as response:
        assert (response.status, (await response.json())["reason"]) == (500, "InternalError")
    assert "broken hook" in caplog.text
