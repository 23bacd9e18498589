"""Sending requests: one session, fresh credentials, time-outs, limits, counting, and what may be repeated.

What may be repeated is repeated here, boundedly: reads, and whatever the server itself asks us to send again (429 and 503 with
`Retry-After`: it has refused them before doing anything). Any other write fails at once; the next tick decides anew.
"""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import aiohttp

from canary import __version__
from canary.core.errors import CanaryError, Retryable
from canary.kube.auth import Credentials
from canary.kube.failures import from_answer, parse
from canary.kube.request import JSON, Request
from canary.kube.resource import Object
from canary.kube.throttle import TokenBucket

ATTEMPTS = 4
"""How often a request that may be repeated is sent at most."""
PATIENCE = 10.0
"""Longest `Retry-After` in seconds that is waited for; a longer one is the caller's matter."""


@dataclass(slots=True)
class RequestCounts:
    """How many requests were sent, by (verb, resource, HTTP status or `error`). Plain numbers: exported at scrape time."""

    counts: dict[tuple[str, str, str], int] = field(default_factory=dict)

    def add(self, verb: str, resource: str, code: str) -> None:
        """Count one."""
        key = (verb, resource, code)
        self.counts[key] = self.counts.get(key, 0) + 1

    def total(self, *, verb: str = "", resource: str = "") -> int:
        """Sum over everything, or over one verb or resource."""
        return sum(count for (v, r, _), count in self.counts.items() if verb in ("", v) and resource in ("", r))


@dataclass(frozen=True, slots=True, kw_only=True)
class Timeouts:
    """Seconds. `silence` is how long a watch may say nothing: the server sends a bookmark about every minute."""

    connect: float = 5.0
    total: float = 30.0
    silence: float = 70.0
    watch: float = 300.0
    """How long a watch is asked to last, at least; up to twice that, so that watches do not end together."""


class Transport:
    """Requests to one API server. `concurrency`: requests in flight, watches not counted; the rest wait outside their time-out."""

    def __init__(self, credentials: Credentials, *, qps: float, burst: int, concurrency: int, timeouts: Timeouts) -> None:
        self.requests = RequestCounts()
        self.timeouts = timeouts
        self.credentials = credentials
        self._bucket = TokenBucket(rate=qps, burst=max(burst, 1)) if qps > 0 else None
        self._slots = asyncio.Semaphore(concurrency)
        self._session: aiohttp.ClientSession | None = None

    async def close(self) -> None:
        """Close all connections."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def send(self, request: Request) -> Object:
        """One JSON request, repeated where that is harmless."""
        limits = aiohttp.ClientTimeout(total=self.timeouts.total, sock_connect=self.timeouts.connect)
        for attempt in range(1, ATTEMPTS + 1):
            try:
                async with self._slots, self.response(request, limits) as response:
                    answer: Object = json.loads(await response.read())
                    return answer
            except _Again as again:
                if attempt == ATTEMPTS or again.after is None:
                    raise again.error from again.error.__cause__
                pause = max(again.after, 0.1 * 2**attempt * random.uniform(0.5, 1.5))
            except ValueError as error:
                raise Retryable(f"cannot {request.what}: the answer is not JSON: {error}", hint=_hint(self.credentials)) from error
            await asyncio.sleep(pause)
        raise AssertionError("unreachable: the last attempt returns or raises")

    @asynccontextmanager
    async def response(self, request: Request, limits: aiohttp.ClientTimeout) -> AsyncIterator[aiohttp.ClientResponse]:
        """A successful answer. Raises `_Again` around every failure of a plain request, the failure itself for a watch."""
        watching = request.verb == "watch"
        try:
            async with self._open(request, limits) as response:
                yield response
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            self.requests.add(request.verb, request.label, "error")
            failure = self._unreachable(request, error)
            if watching:
                raise failure from error
            failure.__cause__ = error
            raise _Again(failure, after=0.0 if request.method == "GET" else None) from error
        except _Again as again:
            if watching:
                raise again.error from None
            raise

    @asynccontextmanager
    async def _open(self, request: Request, limits: aiohttp.ClientTimeout) -> AsyncIterator[aiohttp.ClientResponse]:
        if self._bucket is not None and (pause := self._bucket.reserve()) > 0:
            await asyncio.sleep(pause)
        for renewed in (False, True):
            authorization = await self.credentials.authorization()
            headers = {"Authorization": authorization, **request.headers} if authorization else request.headers
            async with self._connection().request(
                request.method,
                self.credentials.server + request.path,
                params=request.params,
                data=request.body,
                headers=headers,
                timeout=limits,
                proxy=self.credentials.proxy or None,
                server_hostname=self.credentials.server_name or None,
                allow_redirects=False,
            ) as response:
                self.requests.add(request.verb, request.label, str(response.status))
                if 200 <= response.status < 300:
                    yield response
                    return
                body = await response.read()
                # refused before anything was done, so any verb may go again with a fresh header
                if response.status == 401 and not renewed and await self.credentials.renew(authorization):
                    continue
                raise self._refused(request, response, body)

    def _refused(self, request: Request, response: aiohttp.ClientResponse, body: bytes) -> _Again:
        answer = parse(response.status, body, retry_after=response.headers.get("Retry-After", ""))
        error = from_answer(answer, what=request.what, who=self.credentials.label, conditional=request.conditional)
        if answer.status in (429, 503) and answer.retry_after is not None:
            return _Again(error, after=answer.retry_after if answer.retry_after <= PATIENCE else None)
        harmless = request.method == "GET" and isinstance(error, Retryable) and (answer.status >= 500 or answer.status == 429)
        return _Again(error, after=0.0 if harmless else None)

    def _unreachable(self, request: Request, error: Exception) -> CanaryError:
        label = self.credentials.label
        if isinstance(error, aiohttp.ClientConnectorCertificateError):
            return Retryable(
                f"cannot {request.what}: the certificate of {self.credentials.server} is not trusted: {error}",
                hint=f"check certificate-authority and the server's address in {label}",
            )
        if isinstance(error, TimeoutError):
            return Retryable(f"cannot {request.what}: no answer from {self.credentials.server} in time", hint=_hint(self.credentials))
        return Retryable(f"cannot {request.what}: {str(error) or type(error).__name__}", hint=_hint(self.credentials))

    def _connection(self) -> aiohttp.ClientSession:
        if self._session is None:
            context = self.credentials.ssl_context()
            self._session = aiohttp.ClientSession(
                # the semaphore is the limit: a wait inside the connector would count into the time-out, and watches would starve requests
                connector=aiohttp.TCPConnector(limit=0, ssl=context if context is not None else True),
                headers={"User-Agent": f"canary/{__version__}", "Accept": JSON},
                cookie_jar=aiohttp.DummyCookieJar(),
            )
        return self._session


class _Again(Exception):  # noqa: N818 - control flow between two methods, never seen outside
    """A failed attempt: `after` is how long to wait before another one, None when it must not be repeated."""

    def __init__(self, error: CanaryError, *, after: float | None) -> None:
        super().__init__(error)
        self.error = error
        self.after = after


def _hint(credentials: Credentials) -> str:
    return f"look whether {credentials.server} is the right address and can be reached from here ({credentials.label})"
