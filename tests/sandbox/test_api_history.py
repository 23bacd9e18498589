"""What happens when the history that a watcher needs is gone, and when the server goes away."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from canary.sandbox.server import ApiServer
from tests.conformance.driver import DEFINITIONS, Driver, widget
from tests.conformance.informer import informer

PATH = "/api/v1/namespaces/default/configmaps"


@pytest.fixture
async def server() -> AsyncIterator[ApiServer]:
    server = ApiServer(history=8, bookmark_interval=0.05)
    await server.start()
    yield server
    await server.stop()


@pytest.fixture
async def session(server: ApiServer) -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(server.url) as session:
        yield session


def change(server: ApiServer, count: int) -> None:
    for number in range(count):
        server.cluster.patch("v1", "ConfigMap", "c", {"data": {"n": f"{number}-{server.cluster.store.revision}"}}, namespace="default")


async def first_event(session: aiohttp.ClientSession, query: str) -> dict[str, Any]:
    async with session.get(f"{PATH}?watch=1&{query}") as response:
        return dict(json.loads(await asyncio.wait_for(response.content.readline(), 30)))


async def test_history_is_bounded(server: ApiServer, session: aiohttp.ClientSession) -> None:
    made = server.cluster.create("v1", "ConfigMap", {"metadata": {"name": "c"}}, namespace="default")
    version = made["metadata"]["resourceVersion"]
    change(server, 5)
    assert (await first_event(session, f"resourceVersion={version}"))["type"] == "MODIFIED"
    change(server, 30)
    event = await first_event(session, f"resourceVersion={version}")
    assert (event["type"], event["object"]["code"]) == ("ERROR", 410)


async def test_busy_kind_does_not_expire_a_quiet_one(server: ApiServer, session: aiohttp.ClientSession) -> None:
    start = server.cluster.store.revision
    server.cluster.create("v1", "Secret", {"metadata": {"name": "s"}}, namespace="default")
    server.cluster.create("v1", "ConfigMap", {"metadata": {"name": "c"}}, namespace="default")
    change(server, 40)
    async with session.get(f"/api/v1/namespaces/default/secrets?watch=1&resourceVersion={start}") as response:
        assert json.loads(await response.content.readline())["type"] == "ADDED"


async def test_compaction_expires_versions_pages_and_exact_lists(server: ApiServer, session: aiohttp.ClientSession) -> None:
    for name in ("a", "b", "c"):
        server.cluster.create("v1", "ConfigMap", {"metadata": {"name": name}}, namespace="default")
    page = await (await session.get(f"{PATH}?limit=1")).json()
    version, token = page["metadata"]["resourceVersion"], page["metadata"]["continue"]
    change(server, 1)
    server.compact()
    assert (await first_event(session, f"resourceVersion={version}"))["object"]["reason"] == "Expired"
    for query in (f"limit=1&continue={token}", f"resourceVersion={version}&resourceVersionMatch=Exact"):
        async with session.get(f"{PATH}?{query}") as response:
            assert (response.status, (await response.json())["reason"]) == (410, "Expired")
    assert (await session.get(f"{PATH}?resourceVersion={version}")).status == 200


async def test_running_watch_survives_compaction(server: ApiServer, session: aiohttp.ClientSession) -> None:
    server.cluster.create("v1", "ConfigMap", {"metadata": {"name": "c"}}, namespace="default")
    async with session.get(f"{PATH}?watch=1") as response:
        assert json.loads(await response.content.readline())["type"] == "ADDED"
        server.compact()
        change(server, 1)
        assert json.loads(await asyncio.wait_for(response.content.readline(), 30))["type"] == "MODIFIED"


async def test_watcher_that_fell_behind_is_told(server: ApiServer, session: aiohttp.ClientSession) -> None:
    server.cluster.create("v1", "ConfigMap", {"metadata": {"name": "c"}}, namespace="default")
    async with session.get(f"{PATH}?watch=1") as response:
        assert json.loads(await response.content.readline())["type"] == "ADDED"
        change(server, 40)  # all between two turns of the loop: the watcher could not keep up
        event = json.loads(await asyncio.wait_for(response.content.readline(), 30))
        assert (event["type"], event["object"]["code"]) == ("ERROR", 410)
        assert await response.content.readline() == b""


async def test_bookmarks_come_regularly(server: ApiServer, session: aiohttp.ClientSession) -> None:
    async with session.get(f"{PATH}?watch=1&allowWatchBookmarks=true") as response:
        versions = []
        for _ in range(3):
            event = json.loads(await asyncio.wait_for(response.content.readline(), 30))
            assert event["type"] == "BOOKMARK"
            versions.append(int(event["object"]["metadata"]["resourceVersion"]))
            server.cluster.create("v1", "Secret", {"metadata": {"generateName": "s-"}}, namespace="default")
    assert versions == sorted(set(versions))


async def test_broken_watches_can_be_resumed(server: ApiServer, session: aiohttp.ClientSession) -> None:
    made = server.cluster.create("v1", "ConfigMap", {"metadata": {"name": "c"}}, namespace="default")
    async with session.get(f"{PATH}?watch=1&resourceVersion={made['metadata']['resourceVersion']}") as response:
        await asyncio.sleep(0.05)
        assert server.break_watches() == 1
        assert await asyncio.wait_for(response.content.readline(), 30) == b""
    change(server, 1)
    assert (await first_event(session, f"resourceVersion={made['metadata']['resourceVersion']}"))["type"] == "MODIFIED"


async def test_client_that_leaves_leaves_no_watcher_behind(server: ApiServer, session: aiohttp.ClientSession) -> None:
    async with session.get(f"{PATH}?watch=1") as response:
        await asyncio.sleep(0.05)
        response.close()
    async with asyncio.timeout(30):
        while server.break_watches():
            await asyncio.sleep(0.02)


async def test_watch_ends_with_its_kind(server: ApiServer, session: aiohttp.ClientSession) -> None:
    server.cluster.create("apiextensions.k8s.io/v1", "CustomResourceDefinition", DEFINITIONS[1])
    async with session.get("/apis/conformance.test/v1/gadgets?watch=1") as response:
        await asyncio.sleep(0.05)
        server.cluster.delete("apiextensions.k8s.io/v1", "CustomResourceDefinition", "gadgets.conformance.test")
        assert await asyncio.wait_for(response.content.readline(), 30) == b""
    assert (await session.get("/apis/conformance.test/v1/gadgets")).status == 404


async def test_kopf_lists_again_after_410(tmp_path: Path) -> None:
    server = ApiServer()
    await server.start()
    try:
        for definition in DEFINITIONS:
            server.cluster.create("apiextensions.k8s.io/v1", "CustomResourceDefinition", definition)
        async with Driver(kubeconfig=server.kubeconfig(tmp_path / "kubeconfig"), namespace="default", server=server) as api:
            await api.create("widgets", widget("stays"))
            await api.create("widgets", widget("goes"))
            async with informer(api) as seen:
                await seen.until((None, "stays", "red"))
                await seen.until((None, "goes", "red"))
                seen.calls.clear()
                server.break_watches()  # and everything below before kopf can come back
                server.cluster.patch("conformance.test/v1", "Widget", "stays", {"spec": {"colour": "blue"}}, namespace="default")
                server.cluster.delete("conformance.test/v1", "Widget", "goes", namespace="default")
                server.compact()
                await seen.until((None, "stays", "blue"))
                await api.create("widgets", widget("new"))
                await seen.until(("ADDED", "new", "red"))
            assert ("DELETED", "goes", "red") not in seen.calls  # lost in the gap, as on a real server
    finally:
        await server.stop()


async def test_state_survives_a_restart(server: ApiServer) -> None:
    server.cluster.create("v1", "ConfigMap", {"metadata": {"name": "c"}}, namespace="default")
    await server.stop()
    await server.start()
    async with aiohttp.ClientSession(server.url) as session:
        assert (await session.get(f"{PATH}/c")).status == 200
