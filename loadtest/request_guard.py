"""What every route does first: read the body within bounds, check the caller and the namespace, answer errors as text.

aiohttp's own error pages were rejected: a hook's error text ends up in events and alerts, so it is one plain sentence.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from typing import Final

from aiohttp import web
from aiohttp.typedefs import Middleware

from loadtest.access import NamespaceFilter, TokenGuard
from loadtest.logs import log
from loadtest.payload import HookError, Payload, parse_payload

MAX_BODY: Final = 1024 * 1024
_BODY_SECONDS: Final = 10.0
_OPEN_PATHS: Final = frozenset({"/healthz", "/metrics"})
#: the name that came with the token, of the request at hand; a context variable because request keys differ by aiohttp version
CALLER: Final[ContextVar[str]] = ContextVar("caller", default="")

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def text(status: int, body: str = "", *, headers: dict[str, str] | None = None) -> web.Response:
    """A plain text reply."""
    return web.Response(status=status, text=body, headers=headers)


async def read_payload(request: web.Request, namespaces: NamespaceFilter) -> Payload:
    """The hook's payload. Raises HookError 400 (unreadable), 403 (namespace), 408 (too slow), 413 (over 1 MiB)."""
    try:
        async with asyncio.timeout(_BODY_SECONDS):
            body = await request.read()
    except TimeoutError as error:
        raise HookError(408, "the request body did not arrive in time") from error
    except web.HTTPRequestEntityTooLarge as error:
        raise HookError(413, f"the request body is larger than {MAX_BODY} bytes") from error
    payload = parse_payload(body)
    if not namespaces.allows(payload.namespace):
        raise HookError(403, f"namespace {payload.namespace!r} is not served by this load tester")
    return payload


def guard(tokens: TokenGuard) -> Middleware:
    """The middleware that asks for the token (health and metrics stay open) and turns errors into plain replies."""

    @web.middleware
    async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
        CALLER.set("")
        if tokens.required and request.path not in _OPEN_PATHS:
            caller = tokens.admit(request.headers.get("Authorization", ""))
            if caller is None:
                return text(401, "Unauthorized: a bearer token is needed", headers={"WWW-Authenticate": 'Bearer, Basic realm="loadtester"'})
            CALLER.set(caller)
        try:
            return await handler(request)
        except HookError as error:
            log.warning("request refused", extra={"error": error.message, "address": f"{request.method} {request.path}"})
            return text(error.status, error.message, headers={"Retry-After": "5"} if error.status == 429 else None)
        except web.HTTPException:
            raise
        except Exception:  # noqa: BLE001 - the last line of defence: one sentence to the caller, the trace to the log
            log.exception("request failed from within", extra={"address": f"{request.method} {request.path}"})
            return text(500, "internal error; the log of the load tester has the details")

    return middleware
