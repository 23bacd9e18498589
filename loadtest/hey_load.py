"""Sends the requests of our `hey`: workers that each send one request after another, at a rate if asked.

Rates are per worker and kept on a grid of ticks, as hey's: a slow reply uses up the tick that passed meanwhile, and
missed ticks are not made up for, so a slow service is not hit by a burst when it recovers. A shared token bucket was
rejected for that reason. A hand-written HTTP client was rejected too: aiohttp's sends thousands of requests a second
from one core, a canary's load test needs tens, and redirects, chunks and resets must be judged rightly.
"""

from __future__ import annotations

import asyncio
import errno
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Final

import aiohttp
from aiohttp import TraceConfig
from multidict import CIMultiDict
from yarl import URL

from loadtest.hey_results import Results, Sample

_MAX_REDIRECTS: Final = 10


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """What to send. `requests` None = until `seconds` have passed; `rate` per worker, 0 = as fast as it goes;
    `timeout` in seconds for each request, None = no limit.
    """

    url: URL
    method: str = "GET"
    headers: CIMultiDict[str] = field(default_factory=CIMultiDict)
    body: bytes = b""
    requests: int | None = 200
    seconds: float | None = None
    workers: int = 50
    rate: float = 0.0
    timeout: float | None = 20.0
    keepalive: bool = True
    redirects: bool = True
    compression: bool = True


class Load:
    """One run of a plan. `results` may be read at any time."""

    def __init__(self, plan: Plan, *, detailed: bool = False) -> None:
        self._plan = plan
        self._left = plan.requests
        self._ending = asyncio.Event()
        self._began = 0.0
        self.results = Results(detailed=detailed)

    async def run(self) -> None:
        """Send everything and wait for the replies; when cancelled, requests under way are dropped."""
        self._began = time.perf_counter()
        timer = None
        if self._plan.seconds is not None:
            timer = asyncio.get_running_loop().call_later(self._plan.seconds, self._ending.set)
        try:
            async with self._session() as session, asyncio.TaskGroup() as group:
                for _ in range(self._plan.workers):
                    group.create_task(self._work(session))
        finally:
            if timer is not None:
                timer.cancel()
            self.results.total_seconds = time.perf_counter() - self._began

    def _session(self) -> aiohttp.ClientSession:
        plan = self._plan
        return aiohttp.ClientSession(
            # Certificates are not checked, as hey: a load test measures, it does not authenticate.
            connector=aiohttp.TCPConnector(limit=0, ssl=False, force_close=not plan.keepalive),
            cookie_jar=aiohttp.DummyCookieJar(),
            trust_env=True,  # http_proxy: the way to the mesh where names do not resolve
            timeout=aiohttp.ClientTimeout(total=plan.timeout),
            skip_auto_headers=[] if plan.compression else ["Accept-Encoding"],
            auto_decompress=False,
            trace_configs=[_trace()],
        )

    async def _work(self, session: aiohttp.ClientSession) -> None:
        pace = Pace(self._plan.rate)
        while not self._ending.is_set() and self._left != 0:
            if self._left is not None:
                self._left -= 1
            if not await pace.wait(self._ending):
                return
            await self._send(session)

    async def _send(self, session: aiohttp.ClientSession) -> None:
        plan = self._plan
        times = SimpleNamespace(began=time.perf_counter(), connect=0.0, lookup=0.0, sent=0.0)
        try:
            async with session.request(
                plan.method,
                plan.url,
                headers=plan.headers,
                data=plan.body or None,
                allow_redirects=plan.redirects,
                max_redirects=_MAX_REDIRECTS,
                trace_request_ctx=times,
            ) as response:
                answered = time.perf_counter()
                size = 0
                async for chunk in response.content.iter_any():
                    size += len(chunk)
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            self.results.fail(describe_error(error, timeout=plan.timeout))
            return
        finished = time.perf_counter()
        sent = times.sent or answered
        self.results.add(
            Sample(
                status=response.status,
                offset=times.began - self._began,
                total=finished - times.began,
                connect=times.connect,
                lookup=times.lookup,
                write=max(0.0, sent - times.began - times.connect),
                wait=answered - sent,
                read=finished - answered,
                size=size,
            )
        )


class Pace:
    """The ticks of one worker: the first request leaves one period after the start, as hey's ticker has it."""

    def __init__(self, rate: float) -> None:
        self._period = 1 / rate if rate > 0 else 0.0
        self._start = time.perf_counter()
        self._used = 0

    async def wait(self, ending: asyncio.Event) -> bool:
        """Wait for the next tick; False when the run ended before it came."""
        if not self._period:
            return True
        now = time.perf_counter()
        self._used = max(self._used + 1, int((now - self._start) / self._period))
        try:
            await asyncio.wait_for(ending.wait(), max(0.0, self._start + self._used * self._period - now))
        except TimeoutError:
            return True
        return False


def _trace() -> TraceConfig:
    """Times of the phases of a request, kept on its `times`; these callbacks run only on new connections and at sending."""
    trace = TraceConfig()

    async def connecting(_: aiohttp.ClientSession, context: SimpleNamespace, __: object) -> None:
        context.connecting = time.perf_counter()

    async def connected(_: aiohttp.ClientSession, context: SimpleNamespace, __: object) -> None:
        context.trace_request_ctx.connect += time.perf_counter() - context.connecting

    async def looking(_: aiohttp.ClientSession, context: SimpleNamespace, __: object) -> None:
        context.looking = time.perf_counter()

    async def found(_: aiohttp.ClientSession, context: SimpleNamespace, __: object) -> None:
        context.trace_request_ctx.lookup += time.perf_counter() - context.looking

    async def sent(_: aiohttp.ClientSession, context: SimpleNamespace, __: object) -> None:
        context.trace_request_ctx.sent = time.perf_counter()

    trace.on_connection_create_start.append(connecting)
    trace.on_connection_create_end.append(connected)
    trace.on_dns_resolvehost_start.append(looking)
    trace.on_dns_resolvehost_end.append(found)
    trace.on_request_headers_sent.append(sent)
    return trace


_WORDS: Final[Mapping[type[BaseException], str]] = {
    aiohttp.ServerDisconnectedError: "the server closed the connection without a reply",
    aiohttp.TooManyRedirects: f"more than {_MAX_REDIRECTS} redirects",
}


def describe_error(error: BaseException, *, timeout: float | None) -> str:
    """One short line for the error distribution, the same for the same cause: no addresses of single connections."""
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return f"no address for host {error.host}"
    if isinstance(error, TimeoutError):
        return f"no complete reply within {timeout:g}s" if timeout else "timeout"
    if type(error) in _WORDS:
        return _WORDS[type(error)]
    number = getattr(error, "errno", None) or getattr(getattr(error, "os_error", None), "errno", None)
    if isinstance(number, int) and number in errno.errorcode:
        return os.strerror(number).lower()
    return f"{type(error).__name__}: {error}"[:200]
