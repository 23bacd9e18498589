"""The HTTP face of the sandbox: a Kubernetes API server in the running asyncio loop.

    server = ApiServer()
    await server.start()
    server.kubeconfig(path)        # for kubectl, kopf, the official client
    ...
    await server.stop()

Built on aiohttp's low-level server: its router and middleware cost as much as a whole request here. Plain HTTP on loopback; a token can be
demanded, everything is authorized. `cluster` is the same state without HTTP.
"""

import asyncio
import json
import logging
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from aiohttp import web

from canary.sandbox.calls import Call, ListOptions, parse_path, verb_of
from canary.sandbox.cluster import Cluster
from canary.sandbox.errors import ApiError
from canary.sandbox.faults import Drop, Hook, Requests
from canary.sandbox.handlers import Body, Handlers, Reply
from canary.sandbox.reads import selection
from canary.sandbox.resources import Resource
from canary.sandbox.selectors import both
from canary.sandbox.store import encode
from canary.sandbox.views import negotiate
from canary.sandbox.watch import Tuning, Watcher
from canary.sandbox.writes import Clock

_log = logging.getLogger(__name__)
_LARGEST_BODY = 16 * 1024 * 1024


class ApiServer:
    """A Kubernetes API on a free port of the loopback interface.

    `history` is how many changes per kind can be watched from (older: 410), `bookmark_interval` in seconds, `token` the bearer token to
    demand ("" for none), `clock` the source of stamps. `hook` may be set at any time, see `faults`; `requests` counts.
    """

    def __init__(
        self, *, history: int = 4096, bookmark_interval: float = 30.0, token: str = "", clock: Clock = lambda: datetime.now(UTC), hook: Hook | None = None,
    ) -> None:  # fmt: skip
        self.cluster = Cluster(history=history, clock=clock)
        self.hook = hook
        self.requests = Requests()
        self.url = ""
        self._token = token
        self._tuning = Tuning(bookmark_interval=bookmark_interval)
        self._handlers = Handlers(self.cluster)
        self._watchers: set[Watcher] = set()
        self._runner: web.ServerRunner | None = None

    async def start(self, host: str = "127.0.0.1", port: int = 0) -> None:
        """Listen; `url` is known afterwards. Raises OSError when the port is taken."""
        server = web.Server(self._handle, request_factory=_request, handler_cancellation=True, access_log=None)
        self._runner = web.ServerRunner(server, shutdown_timeout=1.0)
        await self._runner.setup()
        site = web.TCPSite(self._runner, host, port)
        await site.start()
        address = self._runner.addresses[0]
        self.url = f"http://{address[0]}:{address[1]}"
        self.cluster.janitor.start()

    async def stop(self) -> None:
        """End all watches and stop listening. The state stays, and `start` may be called again."""
        self.cluster.janitor.stop()
        self.break_watches()
        await asyncio.sleep(0)
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    def kubeconfig(self, path: str | Path) -> Path:
        """Write a kubeconfig for this server and answer its path."""
        user = {"token": self._token} if self._token else {}
        config = {
            "apiVersion": "v1", "kind": "Config", "current-context": "sandbox",
            "clusters": [{"name": "sandbox", "cluster": {"server": self.url}}],
            "users": [{"name": "sandbox", "user": user}],
            "contexts": [{"name": "sandbox", "context": {"cluster": "sandbox", "user": "sandbox"}}],
        }  # fmt: skip
        target = Path(path)
        target.write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
        target.chmod(0o600)
        return target

    def compact(self) -> None:
        """Forget the history: whoever resumes a watch from an earlier version gets 410."""
        self.cluster.store.compact()

    def break_watches(self) -> int:
        """End every running watch, as a restart of the server would; answers how many there were."""
        found = len(self._watchers)
        for watcher in list(self._watchers):
            watcher.close()
        return found

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        try:
            return await self._answer(request)
        except ApiError as error:
            return _response(Reply(error.code, encode(error.status())))
        except Exception:  # noqa: BLE001 - a fault of ours must reach the client as a Status, and the log with its traceback
            _log.exception("sandbox: %s %s failed", request.method, request.rel_url)
            failure = ApiError(500, "InternalError", "Internal error occurred: see the log of the sandbox")
            return _response(Reply(failure.code, encode(failure.status())))

    async def _answer(self, request: web.BaseRequest) -> web.StreamResponse:
        headers = request.headers
        if self._token and headers.get("Authorization") != f"Bearer {self._token}":
            raise ApiError(401, "Unauthorized", "Unauthorized")
        path = request.rel_url.raw_path
        accept = headers.get("Accept", "")
        address = parse_path(path)
        if address is None:
            reply = self._handlers.about(path.rstrip("/") or "/", accept, request.host)
            return _response(reply or Reply(404, b"404 page not found\n", type="text/plain"))
        query: Mapping[str, str] = request.query if request.query_string else {}
        agent = headers.get("User-Agent", "").split(" ", 1)[0]
        call = Call(verb_of(request.method, address, query), address, query, agent)
        self.requests.note(call)
        data = await request.read() if request.body_exists else b""
        fault = await self.hook(call) if self.hook is not None else None
        if isinstance(fault, ApiError):
            raise fault
        if isinstance(fault, Drop) and not fault.after_effect:
            return _broken(request)
        resource = self._handlers.find(call)
        if call.verb == "watch":
            return await self._watch(request, resource, call, accept)
        reply = self._handlers.answer(resource, call, Body(data, headers.get("Content-Type", ""), accept))
        return _broken(request) if fault is not None else _response(reply)

    async def _watch(self, request: web.BaseRequest, resource: Resource, call: Call, accept: str) -> web.StreamResponse:
        options = ListOptions.parse(call.query, watch=True)
        match = selection(resource, options)
        if call.address.name is not None:
            name = call.address.name
            match = both(match, lambda obj: bool(obj["metadata"]["name"] == name))
        view = negotiate(accept, call.query.get("includeObject", ""))
        watcher = Watcher(self.cluster.store, resource, view, match, call.address.namespace, options, self._tuning)
        response = web.StreamResponse(headers={"Content-Type": "application/json", "Cache-Control": "no-cache, private"})
        response.enable_chunked_encoding()
        await response.prepare(request)
        self._watchers.add(watcher)
        try:
            await watcher.run(response.write)
            await response.write_eof()
        except ConnectionError:  # the client is gone, which is how most watches end
            pass
        finally:
            self._watchers.discard(watcher)
        return response


def _request(message: Any, payload: Any, protocol: Any, writer: Any, task: Any) -> web.BaseRequest:
    return web.BaseRequest(message, payload, protocol, writer, task, asyncio.get_running_loop(), client_max_size=_LARGEST_BODY)


def _response(reply: Reply) -> web.Response:
    response = web.Response(status=reply.code, body=reply.body, headers={"Content-Type": reply.type})
    for text in reply.warnings:
        response.headers.add("Warning", '299 - "' + text.replace("\\", "\\\\").replace('"', '\\"') + '"')
    return response


def _broken(request: web.BaseRequest) -> web.Response:
    """Close the connection without an answer."""
    if request.transport is not None:
        request.transport.abort()
    return web.Response(status=500)
