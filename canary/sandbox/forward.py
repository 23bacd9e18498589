"""Names of a cluster, for programs that run outside of it: a small HTTP proxy (`http_proxy`), and a relay for one port.

An operator or a load tester on somebody's laptop can resolve neither `load-tester.prod` nor `podinfo`; in a pod they could. Everything that
users send passes here, so it is also counted here, as users see it: what the mesh answered, not what an application says that it did.
Rejected: `kubectl port-forward`, which goes to one pod and past the mesh, and edits of /etc/hosts, which need root and outlive us.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from aiohttp import ClientError, ClientSession, ClientTimeout, DummyCookieJar, TCPConnector, web
from yarl import URL

_HOP_BY_HOP = {"connection", "keep-alive", "proxy-connection", "transfer-encoding", "te", "trailer", "upgrade", "content-length", "host"}
_TIMEOUT = ClientTimeout(total=30)


@dataclass(frozen=True, slots=True)
class Place:
    """Where a name leads: a base URL, the Host header to send there (empty: the URL's own), and whether its requests are users'."""

    base: str
    host: str = ""
    counted: bool = False


class Forwarder:
    """The proxy. `places` maps host names, without ports, to where they lead; other names are left to the system's resolver."""

    def __init__(self, places: Mapping[str, Place]) -> None:
        self.requests = 0
        self.failed = 0
        self._places = places
        self._runner: web.ServerRunner | None = None
        self._session: ClientSession | None = None

    @property
    def url(self) -> str:
        """What to set `http_proxy` to."""
        assert self._runner is not None
        return f"http://127.0.0.1:{self._runner.addresses[0][1]}"

    async def start(self) -> None:
        """Listen on a free port of the loopback."""
        self._session = ClientSession(
            connector=TCPConnector(limit=0), timeout=_TIMEOUT, cookie_jar=DummyCookieJar(), auto_decompress=False, trust_env=False
        )
        self._runner = web.ServerRunner(web.Server(self._handle, access_log=None), shutdown_timeout=1.0)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()

    async def stop(self) -> None:
        """Stop listening."""
        if self._runner:
            await self._runner.cleanup()
        if self._session:
            await self._session.close()

    async def ask(self, url: str) -> int:
        """The status that a user would get for this URL, without counting it; 0 when nobody answers."""
        target = URL(url)
        place = self._places.get(target.host or "") or Place(str(target.origin()))
        with contextlib.suppress(ClientError, TimeoutError):
            return (await self._send(place, "GET", target.raw_path_qs, {}, b""))[0]
        return 0

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        if request.method == "CONNECT":
            return web.Response(status=501, text="this proxy forwards plain HTTP only\n")
        target = request.rel_url if request.rel_url.host else URL(f"http://{request.host}").join(request.rel_url)
        place = self._places.get(target.host or "") or Place(str(target.origin()))
        headers = {name: value for name, value in request.headers.items() if name.lower() not in _HOP_BY_HOP}
        try:
            status, content, answered = await self._send(place, request.method, target.raw_path_qs, headers, await request.read())
        except (ClientError, TimeoutError) as error:
            status, content, answered = 502, f"{target.host}: {error}\n".encode(), {}
        if place.counted:
            self.requests += 1
            self.failed += status >= 500
        return web.Response(status=status, body=content, headers=answered)

    async def _send(
        self, place: Place, method: str, path: str, headers: Mapping[str, str], body: bytes
    ) -> tuple[int, bytes, Mapping[str, Any]]:
        assert self._session is not None
        sent = {**headers, **({"Host": place.host} if place.host else {})}
        url = URL(place.base.rstrip("/") + path, encoded=True)
        async with self._session.request(method, url, headers=sent, data=body or None, allow_redirects=False) as answer:
            kept = {name: value for name, value in answer.headers.items() if name.lower() not in _HOP_BY_HOP}
            return answer.status, await answer.read(), kept


class Relay:
    """Makes one port of the loopback reachable at another address of this machine."""

    def __init__(self, host: str, target_port: int) -> None:
        self._host = host
        self._target = target_port
        self._server: asyncio.Server | None = None
        self._open: set[asyncio.Task[None]] = set()

    @property
    def port(self) -> int:
        """The port at that address."""
        assert self._server is not None
        return int(self._server.sockets[0].getsockname()[1])

    async def start(self) -> None:
        """Listen. Raises OSError when the address is not one of this machine."""
        self._server = await asyncio.start_server(self._serve, self._host, 0)

    async def stop(self) -> None:
        """Stop listening, and cut what is open."""
        if self._server:
            self._server.close()
        for task in list(self._open):
            task.cancel()
        await asyncio.gather(*self._open, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._open.add(task)
        try:
            there, back = await asyncio.open_connection("127.0.0.1", self._target)
            try:
                await asyncio.gather(_pump(reader, back), _pump(there, writer))
            finally:
                back.close()
        except (OSError, asyncio.CancelledError):
            pass  # either side is gone
        finally:
            writer.close()
            self._open.discard(task)


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while chunk := await reader.read(65536):
        writer.write(chunk)
        await writer.drain()
    with contextlib.suppress(OSError):
        writer.write_eof()
