"""HTTP for metric sources: the one place of this folder that knows httpx.

On aiohttp's transport, as the webhooks (ADR 5). Every call has a deadline that covers connecting, reading and asking again. Bodies are
read up to a bound, so that a mistaken address cannot fill the memory. Redirects are followed to the same host only: credentials in
headers of a vendor's own (`DD-API-KEY`) would otherwise travel to wherever an answer points.
"""

from __future__ import annotations

import asyncio
import base64
import html
import json
import re
import ssl
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import cache
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import Any
from urllib.parse import unquote, urljoin, urlsplit, urlunsplit

import aiohttp
import httpx
from httpx_aiohttp import AiohttpTransport, HttpxAiohttpClient

from canary import __version__
from canary.core.errors import Rejected
from canary.metrics.base import Refused, Source, Unreachable
from canary.metrics.retry import patiently
from canary.metrics.values import excerpt

MAX_BODY = 4 * 1024 * 1024
MAX_PAGE = 64 * 1024
"""Characters of a page that are read for what it complains about."""
MAX_REDIRECTS = 5
NOT_NOW = frozenset({429, 502, 503, 504})
REDIRECTS = frozenset({301, 302, 303, 307, 308})


@dataclass(frozen=True, slots=True)
class Request:
    """What is sent. `params` are added to the URL's query; `verify` is False, True, or the path of a CA bundle."""

    url: str
    method: str = "GET"
    params: tuple[tuple[str, str], ...] = ()
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes | None = None
    verify: bool | str = True
    proxied: bool = True
    """Whether `http_proxy` and friends apply; a cloud's link-local metadata service must not be asked through a proxy."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back, complete. `where` is host and port, for messages."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    where: str

    @property
    def text(self) -> str:
        """The body as text."""
        return self.body.decode(errors="replace")

    def json(self) -> Any:
        """The body of a 2xx as JSON. Raises Refused: what it says otherwise."""
        self.expect_success()
        try:
            return json.loads(self.body)
        except ValueError:
            raise Refused(f"{self.where} answers with something that is no JSON: {excerpt(self.text)}") from None

    def expect_success(self) -> None:
        """Raises Refused, with what the source says, unless the status is 2xx."""
        if 200 <= self.status < 300:
            return
        said = complaint(self.body)
        if self.status in {401, 403}:
            raise Refused(f"{self.where} does not accept the credentials ({self.status}): {said}", hint="look at the source's Secret")
        raise Refused(f"{self.where} answered {self.status}: {said}")


Busy = Callable[[Answer], bool]


def never(_: Answer) -> bool:
    """No answer but the usual ones means "not now"."""
    return False


class Client:
    """Connections of one provider. `close` gives them back."""

    def __init__(self) -> None:
        self._clients: dict[tuple[bool | str, bool], httpx.AsyncClient] = {}

    async def send(self, request: Request, *, deadline: float, busy: Busy = never) -> Answer:
        """The answer, whatever its status, asked again while it means "not now". `deadline` in the loop's time.

        `busy` recognises a vendor's own way of saying so. Raises Unreachable, or Rejected for an address that cannot be asked.
        """
        where = place(request.url)

        async def attempt() -> Answer:
            answer = await self._once(request, where, deadline)
            if answer.status in NOT_NOW or busy(answer):
                raise Unreachable(f"{where} answered {answer.status}: {complaint(answer.body)}", retry_after=_retry_after(answer))
            return answer

        return await patiently(attempt, deadline=deadline)

    async def close(self) -> None:
        """Close all connections."""
        clients, self._clients = self._clients, {}
        for client in clients.values():
            await client.aclose()

    async def _once(self, request: Request, where: str, deadline: float) -> Answer:
        began = asyncio.get_running_loop().time()
        late = Unreachable(f"{where} did not answer within {max(0.0, deadline - began):.2g} s", timed_out=True)
        try:
            async with asyncio.timeout_at(deadline):
                return await self._follow(request, where)
        except (TimeoutError, httpx.ReadTimeout, httpx.WriteTimeout, httpx.PoolTimeout):
            raise late from None
        except (httpx.TransportError, aiohttp.ClientError, ssl.SSLError, OSError) as error:
            said = excerpt(str(error) or type(error).__name__)
            if "certificate" in said.lower():  # it does not get better by trying again
                raise Refused(f"the certificate of {where} is not trusted: {said}") from None
            raise Unreachable(f"{where} cannot be reached: {said}") from None
        except (httpx.HTTPError, httpx.InvalidURL, ValueError) as error:
            raise Rejected(f"{where} cannot be asked: {excerpt(str(error))}") from None

    async def _follow(self, request: Request, where: str) -> Answer:
        url = request.url
        for _ in range(MAX_REDIRECTS):
            answer = await self._exchange(request, url, where)
            target = answer.headers.get("location", "")
            if answer.status not in REDIRECTS or not target:
                return answer
            old, new = urlsplit(url), urlsplit(urljoin(url, target))
            if new.hostname != old.hostname or (old.scheme, new.scheme) == ("https", "http") or request.method != "GET":
                raise Refused(f"{where} redirects to {place(new.geturl())}, where its credentials are not sent; correct the address")
            url, request = new.geturl(), _without_params(request)
        raise Refused(f"{where} redirects in a circle")

    async def _exchange(self, request: Request, url: str, where: str) -> Answer:
        client = self._client(request.verify, proxied=request.proxied)
        parts = urlsplit(url)
        bare = urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, parts.query, ""))
        built = client.build_request(
            request.method, bare, params=list(request.params) or None, headers=dict(request.headers), content=request.body
        )
        answer = await client.send(built, stream=True)
        try:
            chunks, size = [], 0
            async for chunk in answer.aiter_bytes():
                size += len(chunk)
                if size > MAX_BODY:
                    raise Refused(f"{where} answers with more than {MAX_BODY >> 20} MiB")
                chunks.append(chunk)
            headers = {name.lower(): value for name, value in answer.headers.items()}
            return Answer(answer.status_code, headers, b"".join(chunks), where)
        finally:
            await answer.aclose()

    def _client(self, verify: bool | str, *, proxied: bool) -> httpx.AsyncClient:
        key = (verify, proxied)
        if key not in self._clients:
            limits = httpx.Limits(max_connections=100, max_keepalive_connections=20, keepalive_expiry=30.0)
            # The deadline around each exchange bounds everything; httpx's own limits would only race it.
            self._clients[key] = _Cookieless(
                verify=_context(verify),
                limits=limits,
                timeout=httpx.Timeout(60.0),
                trust_env=proxied,
                cookies=CookieJar(policy=DefaultCookiePolicy(allowed_domains=[])),
                headers={"user-agent": f"canary/{__version__}"},
            )
        return self._clients[key]


@cache
def _context(verify: bool | str) -> ssl.SSLContext:
    """One for all providers: reading the system's certificates takes tens of milliseconds."""
    return ssl.create_default_context(cafile=verify) if isinstance(verify, str) else httpx.create_ssl_context(verify=verify)


class _Cookieless(HttpxAiohttpClient):
    """Keeps no cookies: one client serves many templates, and a session that one's credentials opened is not the other's."""

    def _init_transport(self, **kwargs: Any) -> httpx.AsyncBaseTransport:  # type: ignore[override]
        return _Transport(**{name: value for name, value in kwargs.items() if name != "transport"})

    def _init_proxy_transport(self, proxy: httpx.Proxy, **kwargs: Any) -> httpx.AsyncBaseTransport:  # type: ignore[override]
        return _Transport(proxy=proxy, **kwargs)


class _Transport(AiohttpTransport):
    """aiohttp's session with a jar that holds nothing."""

    def get_client(self) -> aiohttp.ClientSession:
        connector = aiohttp.TCPConnector(
            keepalive_timeout=self.limits.keepalive_expiry, ssl=self.ssl_context, limit=self.limits.max_connections or 0
        )
        return aiohttp.ClientSession(connector=connector, cookie_jar=aiohttp.DummyCookieJar())


class HttpProvider:
    """What the providers share: a client, a clock (seconds since 1970) and, for most, one answer that decides whether it is online."""

    patience = 5.0

    def __init__(self, *, clock: Callable[[], float] = time.time) -> None:
        self._http = Client()
        self._clock = clock

    async def close(self) -> None:
        """Close all connections."""
        await self._http.close()


def base_url(source: Source, default: str = "") -> str:
    """The source's address without query and trailing slash, credentials in it kept. Raises Rejected."""
    address = source.address.strip() or default
    if not address:
        raise Rejected(f"a {source.type} source needs an address", hint="set spec.provider.address of the MetricTemplate")
    try:
        parts = urlsplit(address)
        usable = parts.scheme in {"http", "https"} and bool(parts.hostname) and (parts.port or 1) > 0
    except ValueError:
        usable = False
    if not usable:
        shown = address.rpartition("@")[2]
        raise Rejected(f"the address {shown!r} of a {source.type} source is not an http(s) URL", hint="write https://host:port")
    return urlunsplit((parts.scheme, parts.netloc, parts.path.rstrip("/"), "", ""))


def headers_of(source: Source, own: Mapping[str, str]) -> dict[str, str]:
    """The source's custom headers, the address's own credentials, and then the provider's headers, which win."""
    found = {name.lower(): ", ".join(values) for name, values in source.headers.items()}
    parts = urlsplit(source.address)
    if parts.username:
        found["authorization"] = basic(unquote(parts.username), unquote(parts.password or ""))
    return found | {name.lower(): value for name, value in own.items() if value}


def basic(username: str, password: str) -> str:
    """The value of `Authorization` for a user and a password."""
    return "Basic " + base64.b64encode(f"{username}:{password}".encode()).decode()


def deadline_in(seconds: float) -> float:
    """The loop's time in so many seconds."""
    return asyncio.get_running_loop().time() + seconds


def place(url: str) -> str:
    """Host and port, without credentials, path and query."""
    return urlsplit(url).netloc.rpartition("@")[2] or url


def complaint(body: bytes) -> str:
    """What an error answer says, in one line: the message inside the vendor's JSON, the text of a page, or the beginning of the text."""
    text = body.decode(errors="replace").strip()
    if text.startswith("<"):
        text = _read(text[:MAX_PAGE])
    try:
        found = _message(json.loads(text))
    except ValueError:
        found = ""
    return excerpt(found or text or "(no text)", 200)


def _read(page: str) -> str:
    """What a page says to a reader. Of a Python traceback in it (Graphite shows them) the last line is what happened."""
    words = html.unescape(re.sub(r"<[^<>]*>", " ", page)).strip()
    _, trace, after = words.rpartition("Traceback (most recent call last)")
    lines = [line.strip() for line in after.splitlines() if line.strip()]
    return lines[-1] if trace and lines else words


def _message(body: Any) -> str:
    if isinstance(body, str):
        return body
    if isinstance(body, list):
        return "; ".join(filter(None, (_message(item) for item in body[:3])))
    if isinstance(body, dict):
        lowered = {str(name).lower(): value for name, value in body.items()}
        for name in ("message", "error", "errors", "error_description", "violations", "constraintviolations"):
            if lowered.get(name) and (text := _message(lowered[name])):
                return text
    return ""


def _retry_after(answer: Answer) -> float | None:
    """Seconds, from a number or a date; None when the source does not say."""
    text = answer.headers.get("retry-after", "").strip()
    if not text:
        return None
    try:
        return max(0.0, float(text))
    except ValueError:
        pass
    try:
        now = parsedate_to_datetime(answer.headers["date"]) if "date" in answer.headers else datetime.now(UTC)
        return max(0.0, (parsedate_to_datetime(text) - now).total_seconds())
    except (ValueError, TypeError):  # no date; or one of them without a time zone
        return None


def _without_params(request: Request) -> Request:
    """For the place that a redirect names in full."""
    return Request(request.url, request.method, (), request.headers, request.body, request.verify, request.proxied)
