"""JSON over HTTP to a forge, and what its refusals mean.

The one module of this folder that knows httpx, on aiohttp's transport as everywhere (ADR 5). No redirect is followed, because it would carry the token along;
nothing is tried again here, because the outbox does that, with more patience. A forge that wants fewer requests is asked nothing more until then, by anybody:
GitHub counts every request that is sent meanwhile against the account.
"""

from __future__ import annotations

import asyncio
import json
import re
import ssl
import time
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import httpx
from httpx_aiohttp import HttpxAiohttpClient

from canary import __version__
from canary.gitops.failures import Failure, Reaction, scrub
from canary.gitops.forges.base import ForgeFailed

MAX_BODY = 8 * 1024 * 1024
"""Bytes of an answer."""
MAX_PAGES = 20
"""Pages of a list that are read."""
PATIENCE = 30.0
"""Seconds for one exchange."""
SHORTEST, LONGEST = 60.0, 3600.0
"""Seconds that a throttled forge is left alone, at least and at most, whatever it says."""
_LIMITED = re.compile(r"rate limit|abuse detection|too many requests|retry later", re.IGNORECASE)
_NEXT = re.compile(r'<([^>]+)>\s*;[^,]*\brel="?next"?')


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back. `data` is decoded JSON, None for an empty body."""

    status: int
    headers: Mapping[str, str]
    data: Any

    @property
    def next(self) -> str:
        """URL of the next page by the `Link` header; empty on the last."""
        found = _NEXT.search(self.headers.get("link", ""))
        return found[1] if found else ""


class Throttles:
    """Which hosts want to be left alone until when (Unix time)."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self.clock = clock
        self._until: dict[str, float] = {}

    def pause(self, host: str, seconds: float) -> None:
        """Ask it nothing for so long."""
        self._until[host] = max(self._until.get(host, 0.0), self.clock() + seconds)

    def remaining(self, host: str) -> float:
        """Seconds; 0 for a host that may be asked."""
        return max(0.0, self._until.get(host, 0.0) - self.clock())


@dataclass(frozen=True, slots=True)
class Access:
    """Where a forge's API is, and how we show who we are. `secrets` are texts that must never be shown."""

    api: str
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    secrets: tuple[str, ...] = field(default=(), repr=False)
    ca: str = field(default="", repr=False)


class Client:
    """Talks to one API with one set of credentials."""

    def __init__(self, access: Access, throttles: Throttles, *, patience: float = PATIENCE) -> None:
        self.api = access.api.rstrip("/")
        self._access = access
        self._throttles = throttles
        self._patience = patience
        self._host = urlsplit(self.api).netloc
        self._http: httpx.AsyncClient | None = None

    async def get(self, path: str, **query: str | int) -> Answer:
        return await self.ask("GET", path, query=query)

    async def post(self, path: str, body: Any, **query: str | int) -> Answer:
        return await self.ask("POST", path, body=body, query=query)

    async def put(self, path: str, body: Any) -> Answer:
        return await self.ask("PUT", path, body=body)

    async def patch(self, path: str, body: Any, **query: str | int) -> Answer:
        return await self.ask("PATCH", path, body=body, query=query)

    async def pages(self, path: str, **query: str | int) -> AsyncIterator[Any]:
        """The items of a list, along the `Link` headers. Pages of another host are not asked for: they would be sent the token."""
        answer = await self.get(path, **query)
        for _ in range(MAX_PAGES):
            for item in listed(answer.data):
                yield item
            if not answer.next or urlsplit(answer.next).netloc not in {"", self._host}:
                return
            answer = await self.ask("GET", answer.next)

    async def ask(self, method: str, path: str, *, body: Any = None, query: Mapping[str, str | int] | None = None) -> Answer:
        """The answer, when it is a success. `path` is relative to the API, or a whole URL of it. Raises ForgeFailed."""
        if wait := self._throttles.remaining(self._host):
            raise self._throttled("it was asked to wait before", wait)
        url = path if path.startswith(("http://", "https://")) else f"{self.api}{path}"
        try:
            async with asyncio.timeout(self._patience):
                status, headers, content = await self._exchange(method, url, body, query)
        except (TimeoutError, httpx.ReadTimeout, httpx.WriteTimeout, httpx.PoolTimeout):
            raise self._failed("Unreachable", Reaction.BACK_OFF, f"no answer within {self._patience:g} s") from None
        except (httpx.TransportError, aiohttp.ClientError, ssl.SSLError, OSError) as error:
            said = str(error) or type(error).__name__
            if "certificate" in said.lower():
                raise self._failed("Certificate", Reaction.BLOCKED, f"its certificate is not trusted: {said}") from None
            raise self._failed("Unreachable", Reaction.BACK_OFF, f"it cannot be reached: {said}") from None
        except (httpx.HTTPError, httpx.InvalidURL, ValueError) as error:
            raise self._failed("Rejected", Reaction.BLOCKED, f"it cannot be asked: {error}") from None
        return self._judged(status, headers, content)

    async def close(self) -> None:
        if self._http:
            await self._http.aclose()
            self._http = None

    async def _exchange(
        self, method: str, url: str, body: Any, query: Mapping[str, str | int] | None
    ) -> tuple[int, Mapping[str, str], bytes]:
        headers = {"Accept": "application/json", "User-Agent": f"canary/{__version__}", **self._access.headers}
        if body is not None:
            headers["Content-Type"] = "application/json"
        content = None if body is None else json.dumps(body).encode()
        client = self._client()
        request = client.build_request(method, url, params=dict(query) if query else None, headers=headers, content=content)
        answer = await client.send(request, stream=True)
        try:
            parts, size = [], 0
            async for part in answer.aiter_bytes():
                size += len(part)
                if size > MAX_BODY:
                    raise self._failed("Unknown", Reaction.BACK_OFF, f"it answers with more than {MAX_BODY >> 20} MiB")
                parts.append(part)
            return answer.status_code, {name.lower(): value for name, value in answer.headers.items()}, b"".join(parts)
        finally:
            await answer.aclose()

    def _client(self) -> httpx.AsyncClient:
        if self._http is None:
            verify: ssl.SSLContext | bool = ssl.create_default_context(cadata=self._access.ca) if self._access.ca else True
            if self.api.startswith("http://"):
                verify = False  # there is nothing to verify, and to load all authorities takes longer than a request
            # the time-out around each exchange bounds everything; httpx's own would only race it
            self._http = HttpxAiohttpClient(verify=verify, follow_redirects=False, timeout=httpx.Timeout(2 * self._patience))
        return self._http

    def _judged(self, status: int, headers: Mapping[str, str], content: bytes) -> Answer:
        text = content.decode(errors="replace")
        if 200 <= status < 300 and status != 203:  # Azure DevOps answers 203 with a sign-in page to a token that it does not know
            try:
                return Answer(status, headers, json.loads(text) if text.strip() else None)
            except ValueError:
                said = f"it answers no JSON; is spec.provider.api its API? It says: {scrub(text)[:80]}"
                raise self._failed("Unknown", Reaction.BACK_OFF, said) from None
        said = f"HTTP {status}: {complaint(text)}"
        if status == 429 or (status == 403 and _limited(headers, text)):
            wait = min(LONGEST, max(SHORTEST, _wait(headers, self._throttles.clock())))
            self._throttles.pause(self._host, wait)
            raise self._throttled(said, wait)
        reason, reaction = _meaning(status, text)
        wait = min(LONGEST, _wait(headers, self._throttles.clock())) if reason == "Unreachable" else 0.0
        raise self._failed(reason, reaction, said, wait=wait)

    def _throttled(self, said: str, wait: float) -> ForgeFailed:
        return self._failed("Throttled", Reaction.BACK_OFF, f"it wants fewer requests for {wait:.0f} s: {said}", wait=wait)

    def _failed(self, reason: str, reaction: Reaction, text: str, *, wait: float = 0.0) -> ForgeFailed:
        return ForgeFailed(Failure(reason, reaction, f"{self._host}: {scrub(text, secrets=self._access.secrets)}", wait))


def listed(data: Any) -> list[Any]:
    """A list of objects; anything else of a page is left out."""
    return [item for item in data if isinstance(item, dict)] if isinstance(data, list) else []


def complaint(text: str) -> str:
    """What a forge says about an error, in whichever of the usual places, else the beginning of the text."""
    try:
        data = json.loads(text)
    except ValueError:
        return scrub(re.sub(r"<[^>]{0,500}>", " ", text[:2000]))[:200]
    return scrub("; ".join(dict.fromkeys(_texts(data))))[:400] or scrub(text)[:200]


def _texts(data: Any, *, depth: int = 0) -> list[str]:
    """All texts under the keys that forges use for them."""
    if isinstance(data, str):
        return [data]
    if depth > 4:
        return []
    if isinstance(data, list):
        return [text for item in data[:20] for text in _texts(item, depth=depth + 1)]
    if isinstance(data, dict):
        known = ("message", "error", "errors", "error_description", "detail", "code", "base")
        return [text for key in known if key in data for text in _texts(data[key], depth=depth + 1)]
    return []


def _limited(headers: Mapping[str, str], text: str) -> bool:
    return "retry-after" in headers or headers.get("x-ratelimit-remaining") == "0" or bool(_LIMITED.search(text[:4000]))


def _wait(headers: Mapping[str, str], now: float) -> float:
    """Seconds that the answer asks for; 0 when it does not say."""
    after = headers.get("retry-after", "").strip()
    if after.isdigit():
        return float(after)
    if after:
        try:
            return max(0.0, parsedate_to_datetime(after).timestamp() - now)
        except ValueError:
            pass
    for name in ("x-ratelimit-reset", "ratelimit-reset"):
        if headers.get(name, "").isdigit():
            value = float(headers[name])
            return max(0.0, value - now if value > 1e9 else value)  # a Unix time, or seconds
    return 0.0


def _meaning(status: int, text: str) -> tuple[str, Reaction]:
    lower = text[:4000].lower()
    if status in {203, 401} or (status in {302, 303} and "signin" in lower):
        return "Auth", Reaction.BLOCKED
    if 300 <= status < 400:
        return "Moved", Reaction.BLOCKED
    if re.search(
        r"protected branch|not allowed to (push|commit)|changes must be made through a pull request|repository rule violation", lower
    ):
        signed = re.search(r"verified signature|unsigned|must be signed", lower)
        return ("SignatureRequired" if signed else "Protected"), Reaction.BLOCKED
    if status == 403:
        return "Forbidden", Reaction.BLOCKED
    if status in {404, 410}:
        return "NotFound", Reaction.BLOCKED
    if status in {400, 409, 422} and "already exists" in lower:
        return "Exists", Reaction.BACK_OFF
    if status in {408, 425} or status >= 500:
        return "Unreachable", Reaction.BACK_OFF
    return "Refused", Reaction.BLOCKED
