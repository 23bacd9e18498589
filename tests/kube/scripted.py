"""A server that answers what a test tells it to: for errors, delays and broken streams that no well-behaved API server makes."""

import json
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from aiohttp import web

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def status(code, message="", *, causes=None, **headers):
    """A Kubernetes Status answer."""
    body = {"kind": "Status", "apiVersion": "v1", "status": "Failure", "message": message, "code": code}
    if causes:
        body["details"] = {"causes": causes}
    return lambda _: _json(body, code, headers)


def answer(body, code=200):
    return lambda _: _json(body, code, {})


def raw(text, code):
    async def handler(_):
        return web.Response(text=text, status=code)

    return handler


async def _json(body, code, headers):
    return web.json_response(body, status=code, headers={k.replace("_", "-"): v for k, v in headers.items()})


@dataclass
class Seen:
    method: str
    path: str
    query: dict
    headers: dict
    body: object


@dataclass
class Scripted:
    """Answers with the handlers in `script`, in order; the last one stays."""

    script: deque = field(default_factory=deque)
    seen: list = field(default_factory=list)
    url: str = ""

    def will(self, *handlers):
        self.script = deque(handlers)

    async def handle(self, request):
        text = await request.text()
        self.seen.append(Seen(request.method, request.path, dict(request.query), dict(request.headers), json.loads(text) if text else None))
        handler = self.script.popleft() if len(self.script) > 1 else self.script[0]
        return await handler(request)
