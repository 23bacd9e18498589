import asyncio
import contextlib

import pytest
from aiohttp import web

from canary.kube import auth
from canary.kube.backoff import Backoff
from canary.kube.cache import WatchedCluster
from canary.kube.client import ApiClient, Timeouts
from canary.sandbox import ApiServer
from tests.kube.scripted import Scripted


@pytest.fixture
async def api():
    """A scripted server."""
    scripted = Scripted()
    app = web.Application()
    app.router.add_route("*", "/{tail:.*}", scripted.handle)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    scripted.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    yield scripted
    await runner.cleanup()


@pytest.fixture
async def client_for():
    """Clients that are closed at the end."""
    async with contextlib.AsyncExitStack() as stack:

        def make(url, **options):
            token = options.pop("token", "")
            options.setdefault("timeouts", Timeouts(connect=1, total=3, silence=2))
            client = ApiClient(auth.fixed(url, token=token), **options)
            stack.push_async_callback(client.close)
            return client

        yield make


@pytest.fixture
async def client(api, client_for):
    return client_for(api.url)


async def eventually(check, *, within=15.0):
    """Wait until `check()` is true."""
    async with asyncio.timeout(within):
        while not check():
            await asyncio.sleep(0.01)


@pytest.fixture
async def sandbox():
    """An API server with a namespace `shop`."""
    server = ApiServer(bookmark_interval=0.2)
    await server.start()
    server.cluster.create("v1", "Namespace", {"metadata": {"name": "shop"}})
    yield server
    await server.stop()


@pytest.fixture
async def cluster_for(sandbox, client_for):
    """Watched clusters on the sandbox, impatient ones."""
    async with contextlib.AsyncExitStack() as stack:

        def make(**options):
            client = client_for(sandbox.url, timeouts=options.pop("timeouts", None) or Timeouts(connect=1, total=5, silence=5))
            options.setdefault("backoff", lambda: Backoff(first=0.01, most=0.05))
            made = WatchedCluster(client, **options)
            stack.push_async_callback(made.close)
            return made

        yield make


@pytest.fixture
async def watched(cluster_for):
    return cluster_for()
