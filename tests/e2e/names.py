"""Names of Services, for programs outside of pods: a forward proxy in the place of cluster DNS.

On the test bed no name of a Service resolves. Programs that honour `http_proxy` (the operator's webhooks, the load tester's `hey`, curl)
reach `http://load-tester.prod/` and `http://podinfo:9898/` through this proxy: named hosts go to their port on the loopback, everything else
to the mesh's gateway with the Host header as it is, where an HTTPProxy or HTTPRoute for that host leads on.
"""

import asyncio
import threading
from collections.abc import Mapping
from contextlib import suppress
from types import TracebackType
from typing import Self

import aiohttp
from aiohttp import web

from tests.e2e.operators import free_port
from tests.testbed.mesh import Mesh

_HOP = {"connection", "proxy-connection", "keep-alive", "transfer-encoding", "content-length", "te", "upgrade"}


class Names:
    """Runs in a thread while its block lasts. `hosts`: host name without a port to base URL."""

    def __init__(self, hosts: Mapping[str, str] | None = None) -> None:
        self.hosts = dict(hosts or {})
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.requests: list[tuple[str, str]] = []
        self._ready = threading.Event()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._work, name="names", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        assert self._ready.wait(10), "the proxy did not start"
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)

    def _work(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_until_complete(self._start())
        self._ready.set()
        self._loop.run_forever()
        self._loop.run_until_complete(self._stop())
        self._loop.close()

    async def _start(self) -> None:
        self._session = aiohttp.ClientSession(
            auto_decompress=False, skip_auto_headers=("Accept-Encoding",), connector=aiohttp.TCPConnector(limit=0)
        )
        self._runner = web.ServerRunner(web.Server(self._answer, access_log=None))
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", self.port).start()

    async def _stop(self) -> None:
        await self._runner.cleanup()
        await self._session.close()

    async def _answer(self, request: web.BaseRequest) -> web.StreamResponse:
        host = request.headers["Host"]
        self.requests.append((request.method, f"http://{host}{request.rel_url.path}"))
        base = self.hosts.get(host.partition(":")[0], Mesh.gateway_url)
        headers = {name: value for name, value in request.headers.items() if name.lower() not in _HOP}
        url = base + request.rel_url.raw_path + (f"?{request.rel_url.raw_query_string}" if request.rel_url.raw_query_string else "")
        with suppress(ConnectionResetError):
            try:
                async with self._session.request(
                    request.method, url, data=await request.read(), headers=headers, allow_redirects=False
                ) as answer:
                    kept = {name: value for name, value in answer.headers.items() if name.lower() not in _HOP}
                    return web.Response(status=answer.status, body=await answer.read(), headers=kept)
            except (aiohttp.ClientError, OSError) as error:
                return web.Response(status=502, text=f"{base}: {error}\n")
        return web.Response(status=502)
