"""Calls webhooks: one POST, a verdict, and the answer's text.

The only module of the hooks that imports httpx, on aiohttp's transport (its own async transport costs 3 to 9 times the CPU: ADR 5). What passes:
every 2xx (upstream refuses 203 and above, contrary to its documentation), or exactly `successCodes`. Retries as upstream: connection
errors, time-outs, 429 and 5xx except 501, after 1, 2, 4 ... at most 30 seconds, or what `Retry-After` says. Unlike upstream the body of
a failed answer is kept, so that the event says why (reference flagger-analysis 2.1).
"""

from __future__ import annotations

import asyncio
import base64
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import httpx
from httpx_aiohttp import HttpxAiohttpClient

from canary.api.analysis import Webhook
from canary.core.model import HookResult

MAX_WAIT = 30.0
MAX_BODY = 2048
"""Bytes of an answer that are kept for the event."""


@dataclass(frozen=True, slots=True)
class _Trust:
    """What distinguishes one HTTP client from another."""

    verify: bool = True
    ca: str = ""
    certificate: str = ""
    key: str = ""


class HookClient:
    """Holds connections; `close` gives them back."""

    def __init__(self) -> None:
        self._clients: dict[_Trust, httpx.AsyncClient] = {}

    async def call(self, hook: Webhook, payload: Mapping[str, Any], *, secret: Mapping[str, str] | None = None) -> HookResult:
        """Call once, plus `hook.retries` more times. Never raises.

        `secret`: base64 `data` of the hook's Secret: `ca.crt`, `tls.crt` + `tls.key`, and every key `header.<Name>` is sent as a header
        (`token` alone is sent as a bearer token).
        """
        try:
            decoded = {key: base64.b64decode(value).decode() for key, value in (secret or {}).items()}
            client = self._client(hook, decoded)
        except (ValueError, ssl.SSLError, OSError) as error:
            return HookResult(ok=False, message=f"the Secret of webhook {hook.name} is unusable: {error}")
        headers = _headers(decoded)
        attempts = hook.attempts
        result, wait = HookResult(ok=False), 1.0
        for attempt in range(attempts):
            if attempt:
                await asyncio.sleep(min(MAX_WAIT, wait))
            result, retry_after = await self._once(client, hook, payload, headers)
            if result.ok or retry_after is None:
                return result
            wait = retry_after or min(MAX_WAIT, 2.0**attempt)
        if attempts > 1:
            return HookResult(ok=False, message=f"{result.message} (gave up after {attempts} attempts)")
        return result

    async def close(self) -> None:
        for client in self._clients.values():
            await client.aclose()
        self._clients.clear()

    def _client(self, hook: Webhook, secret: Mapping[str, str]) -> httpx.AsyncClient:
        trust = _Trust(not hook.disable_tls, secret.get("ca.crt", ""), secret.get("tls.crt", ""), secret.get("tls.key", ""))
        if trust not in self._clients:
            # Unlike a bare transport, this client honours http_proxy and friends, as upstream's does.
            limits = httpx.Limits(max_connections=100, max_keepalive_connections=20)
            self._clients[trust] = HttpxAiohttpClient(verify=_context(trust), limits=limits, follow_redirects=True, max_redirects=10)
        return self._clients[trust]

    @staticmethod
    async def _once(
        client: httpx.AsyncClient, hook: Webhook, payload: Mapping[str, Any], headers: Mapping[str, str]
    ) -> tuple[HookResult, float | None]:
        """One attempt: the result, and None for "final" or the seconds the server asks us to wait (0: no wish)."""
        seconds = hook.timeout_seconds
        try:
            async with asyncio.timeout(seconds):
                answer = await client.post(hook.url, json=payload, headers=dict(headers), timeout=seconds)
        except (TimeoutError, httpx.ReadTimeout, httpx.WriteTimeout, httpx.PoolTimeout):
            return HookResult(ok=False, message=f"no answer within {seconds:g} s"), 0.0
        except httpx.TransportError as error:  # the transport reports a refused connection as ConnectTimeout
            final = "certificate" in str(error).lower()  # a certificate does not get better by trying again
            return HookResult(ok=False, message=f"cannot be reached: {str(error) or type(error).__name__}"), None if final else 0.0
        except (httpx.HTTPError, httpx.InvalidURL, ValueError) as error:
            return HookResult(ok=False, message=f"cannot be called: {error}"), None
        return _judge(hook, answer)


def _judge(hook: Webhook, answer: httpx.Response) -> tuple[HookResult, float | None]:
    text = answer.text[:MAX_BODY].strip()
    if hook.succeeds(answer.status_code):
        return HookResult(ok=True, message=text), None
    message = text or f"HTTP {answer.status_code}"
    if answer.status_code == 429 or (answer.status_code >= 500 and answer.status_code != 501):
        return HookResult(ok=False, message=message), _retry_after(answer)
    return HookResult(ok=False, message=message), None


def _retry_after(answer: httpx.Response) -> float:
    text = answer.headers.get("retry-after", "")
    return float(text) if text.isdigit() else 0.0


def _headers(secret: Mapping[str, str]) -> dict[str, str]:
    headers = {key.removeprefix("header."): value.strip() for key, value in secret.items() if key.startswith("header.")}
    if token := secret.get("token"):
        headers.setdefault("Authorization", f"Bearer {token.strip()}")
    return headers


def _context(trust: _Trust) -> ssl.SSLContext | bool:
    if not trust.verify:
        return False
    if not (trust.ca or trust.certificate):
        return True
    context = ssl.create_default_context(cadata=trust.ca or None)
    if trust.certificate:
        import tempfile

        # Python's ssl loads certificates from files only; the file is gone before the first request.
        with tempfile.NamedTemporaryFile("w", suffix=".pem") as file:
            file.write(f"{trust.certificate}\n{trust.key}")
            file.flush()
            context.load_cert_chain(file.name)
    return context
