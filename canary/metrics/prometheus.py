"""Prometheus, through `prometheus-api-client` in a bounded pool of threads.

The library is synchronous and waits for ever by default, so every call gets an explicit time-out, retries are off (the tick is
the retry), and its session's pool is as large as ours (reference python-stack 4). ADR 4 has the figures behind this choice.
"""

from __future__ import annotations

import asyncio
import math
import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from http import HTTPStatus
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit, urlunsplit

from canary.core.errors import CanaryError, Rejected
from canary.core.model import Sample
from canary.metrics.base import Refused, Source, Unreachable
from canary.metrics.retry import patiently

if TYPE_CHECKING:
    from prometheus_api_client import PrometheusConnect

THREADS = 16
MAX_CONNECTIONS = 64
"""Clients kept; the key contains credentials, so a rotated token makes a new one and the oldest goes."""


_NOT_NOW = re.compile(r"HTTP Status Code (429|502|503|504)\b")


class PrometheusProvider:
    """Instant queries. One `PrometheusConnect` per (address, credentials, TLS), all on one pool of threads."""

    patience = 5.0

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(THREADS, thread_name_prefix="prometheus")
        self._connections: dict[object, PrometheusConnect] = {}

    async def query(self, source: Source, text: str, *, window_seconds: float, timeout: float) -> Sample:  # noqa: ARG002
        """The value of a scalar, or of a vector's only element. See `picked` for everything else."""
        try:
            connection = self._connection(source)
            deadline = asyncio.get_running_loop().time() + timeout
            result = await patiently(lambda: self._attempt(connection, source.address, text, deadline), deadline=deadline)
        except Unreachable:
            raise
        except Rejected as error:
            return Sample(error=error.message, query=text)
        except Exception as error:  # noqa: BLE001 - whatever the library or requests raises is the source's fault
            return Sample(error=explain(error, source.address), query=text)
        return picked(result, text)

    async def series(self, source: Source, text: str, *, at: float, timeout: float) -> list[Any]:
        """All series of an instant query at `at` (Unix time, seconds), as the API gives them. Raises as `query`."""
        try:
            connection = self._connection(source)
            deadline = asyncio.get_running_loop().time() + timeout
            return list(await patiently(lambda: self._attempt(connection, source.address, text, deadline, at=at), deadline=deadline))
        except CanaryError:
            raise
        except Exception as error:
            raise Refused(explain(error, source.address)) from error

    async def grouped(self, source: Source, text: str, *, timeout: float) -> list[Any]:
        """All series of a query about many canaries, asked once and by POST: it may be longer than an address can be.

        Raises CanaryError; also when the answer comes with warnings, since nobody knows whose part of it they are about.
        """
        try:
            connection = self._connection(source)
            return list(await self._in_thread(partial(_posted, connection, text, timeout), timeout))
        except CanaryError:
            raise
        except Exception as error:
            raise Refused(explain(error, source.address)) from error

    async def online(self, source: Source, *, timeout: float) -> str:
        """`vector(1)` must be 1, as upstream's probe."""
        sample = await self.query(source, "vector(1)", window_seconds=0, timeout=timeout)
        if sample.error:
            return sample.error
        return "" if sample.value == 1 else f"the query vector(1) gave {sample.value}, not 1"

    async def close(self) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)

    async def _attempt(self, connection: PrometheusConnect, address: str, text: str, deadline: float, *, at: float | None = None) -> Any:
        """One query; what the library raises when the server cannot be had becomes Unreachable."""
        try:
            seconds = max(0.01, deadline - asyncio.get_running_loop().time())
            when = None if at is None else {"time": f"{at:.3f}"}
            return await self._in_thread(partial(connection.custom_query, query=text, params=when, timeout=seconds), seconds)
        except Exception as error:
            timed_out = "Timeout" in type(error).__name__
            if timed_out or "Connection" in type(error).__name__ or _NOT_NOW.match(str(error)):
                raise Unreachable(explain(error, address), timed_out=timed_out) from error
            raise

    async def _in_thread(self, call: Callable[[], Any], seconds: float) -> Any:
        # The thread's own time-out ends it a little before ours, so that no thread is left behind by a cancelled wait.
        async with asyncio.timeout(seconds + 1):
            return await asyncio.get_running_loop().run_in_executor(self._pool, call)

    def _connection(self, source: Source) -> PrometheusConnect:
        headers = _headers(source)
        key = (source.address, tuple(sorted(headers.items())), source.insecure_skip_verify)
        if key not in self._connections:
            while len(self._connections) >= MAX_CONNECTIONS:
                self._connections.pop(next(iter(self._connections)))
            self._connections[key] = _connect(source, headers)
        return self._connections[key]


def _connect(source: Source, headers: dict[str, str]) -> PrometheusConnect:
    from prometheus_api_client import PrometheusConnect
    from requests.adapters import HTTPAdapter

    parts = urlsplit(source.address)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise Rejected(f"the metrics server address {source.address!r} is not an http(s) URL", hint="write http://prometheus:9090")
    url = urlunsplit((parts.scheme, parts.netloc, parts.path.rstrip("/"), "", ""))  # upstream: the query string is dropped
    connection = PrometheusConnect(url=url, headers=headers or None, disable_ssl=source.insecure_skip_verify)
    session = connection._session  # noqa: SLF001 - the library gives no other way to size its pool or stop its retries
    for prefix in (url, "http://", "https://"):  # the library mounts its own adapter, with three retries, at the URL itself
        session.mount(prefix, HTTPAdapter(pool_connections=THREADS, pool_maxsize=THREADS, max_retries=0))
    return connection


def _posted(connection: PrometheusConnect, text: str, seconds: float) -> list[Any]:
    """What the library's own POST would be, if it did not put the query into the address. The server is told not to work on in vain."""
    session = connection._session  # noqa: SLF001
    form = {"query": text, "timeout": f"{math.ceil(seconds * 1000)}ms"}
    answer = session.post(
        f"{connection.url}/api/v1/query", data=form, headers=connection.headers, verify=session.verify, cert=session.cert, timeout=seconds
    )
    if answer.status_code != HTTPStatus.OK:
        raise Refused(f"HTTP Status Code {answer.status_code}")
    body = answer.json()
    if body["data"]["resultType"] != "vector" or body.get("warnings"):
        raise Refused(f"{body['data']['resultType']}, with warnings: {body.get('warnings')}")
    return list(body["data"]["result"])


def _headers(source: Source) -> dict[str, str]:
    """Custom headers plus the Secret's bearer token, or else its basic credentials (reference flagger-analysis 1.8)."""
    headers = {name: ", ".join(values) for name, values in source.headers.items()}
    secret = {key: value.decode(errors="replace").strip() for key, value in source.secret.items()}
    if token := secret.get("token"):
        headers["Authorization"] = f"Bearer {token}"
    elif source.secret:
        if "username" not in secret or "password" not in secret:
            raise Rejected("the Secret of a prometheus source must hold `token`, or `username` and `password`")
        import base64

        pair = f"{secret['username']}:{secret['password']}".encode()
        headers["Authorization"] = f"Basic {base64.b64encode(pair).decode()}"
    return headers


def picked(result: Any, text: str) -> Sample:
    """The one number of an answer.

    Upstream takes the last of several series and refuses scalars; here several series are an error that names them, because a
    verdict must not hang on their order. NaN (0/0 without traffic) and an empty vector are "no data".
    """
    if isinstance(result, list) and len(result) == 2 and isinstance(result[1], str):  # a scalar: [time, "value"]
        return _sample(result[1], text)
    if not result:
        return Sample(query=text)
    if any("values" in series or "histograms" in series for series in result):
        return Sample(error="the query answers with ranges; it must give one value (wrap it in an aggregation)", query=text)
    if len(result) > 1:
        names = "; ".join(str(series.get("metric") or {}) for series in result[:3])
        return Sample(error=f"the query answers with {len(result)} series where one is needed (sum or filter them): {names}", query=text)
    if "value" not in result[0]:
        ways = "histogram_quantile, histogram_fraction or histogram_count"
        return Sample(error=f"the query answers with a native histogram where a number is needed; make one of it with {ways}", query=text)
    return _sample(result[0]["value"][1], text)


def _sample(number: str, text: str) -> Sample:
    try:
        value = float(number)
    except ValueError:
        return Sample(error=f"{number!r} is not a number", query=text)
    return Sample(query=text) if math.isnan(value) else Sample(value=value, query=text)


def explain(error: BaseException, address: str) -> str:
    """What went wrong, short enough for a condition, without credentials."""
    parts = urlsplit(address)
    where = parts.hostname or address
    if parts.port:
        where = f"{where}:{parts.port}"
    name = type(error).__name__
    if "Timeout" in name or isinstance(error, TimeoutError):
        return f"{where} did not answer in time"
    if "Connection" in name:
        return f"{where} cannot be reached"
    text = str(error).strip().splitlines()
    return f"{where}: {text[0][:200] if text else name}"
