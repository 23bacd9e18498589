"""Access tokens for Google Cloud: a service-account key, or what the operator itself runs as.

A key in the MetricTemplate's Secret is exchanged for a token (a signed JWT, RFC 7523). Without one the operator's own identity counts: the
file in `GOOGLE_APPLICATION_CREDENTIALS` (a service-account key, or a user's refresh token), else the metadata service, which is how
workload identity arrives in a pod. Tokens are kept until five minutes before they end.
"""

from __future__ import annotations

import asyncio
import base64
import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

from canary.core.errors import Rejected
from canary.metrics import rs256
from canary.metrics.base import Refused, Source
from canary.metrics.http import Client, Request, place
from canary.metrics.values import excerpt

SCOPE = "https://www.googleapis.com/auth/monitoring.read"
TOKEN_URI = "https://oauth2.googleapis.com/token"  # noqa: S105 - an address
METADATA = "http://metadata.google.internal"
GRANT = "urn:ietf:params:oauth:grant-type:jwt-bearer"
EARLY = 300.0
MAX_TOKENS = 256
ADVICE = "put `serviceAccountKey` into the Secret of the MetricTemplate, or give the operator a workload identity"


@dataclass(frozen=True, slots=True, repr=False)
class Token:
    """An access token and its end, in seconds since 1970."""

    value: str
    expires: float


class GoogleAuth:
    """Finds and keeps tokens. `environ` and `clock` (seconds since 1970) are arguments for tests."""

    def __init__(self, http: Client, *, clock: Callable[[], float], environ: Mapping[str, str] | None = None) -> None:
        self._http = http
        self._clock = clock
        self._environ = os.environ if environ is None else environ
        self._tokens: dict[str, Token] = {}
        self._locks: dict[str, asyncio.Lock] = {}

    async def token(self, source: Source, *, deadline: float) -> str:
        """A token that may read metrics. Raises Rejected, Refused, Unreachable."""
        key = source.key("serviceAccountKey")
        # One lock a key: a token endpoint that hangs, named by one tenant's key, must not hold up the others.
        async with self._locks.setdefault(key, asyncio.Lock()):
            kept = self._tokens.pop(key, None)
            if kept is None or self._clock() > kept.expires - EARLY:
                kept = await (self._exchange(_decoded(key, "serviceAccountKey"), deadline) if key else self._ambient(deadline))
            self._tokens[key] = kept  # the newest is last
            while len(self._tokens) > MAX_TOKENS:
                self._tokens.pop(next(iter(self._tokens)))
            self._locks = {name: lock for name, lock in self._locks.items() if name in self._tokens or lock.locked()}
            return kept.value

    async def project(self, *, deadline: float) -> str:
        """The project that the operator itself runs in."""
        if found := self._environ.get("GOOGLE_CLOUD_PROJECT"):
            return found
        answer = await self._metadata("project/project-id", deadline)
        return answer.strip()

    async def _ambient(self, deadline: float) -> Token:
        if path := self._environ.get("GOOGLE_APPLICATION_CREDENTIALS"):
            try:
                text = await asyncio.to_thread(Path(path).read_text, "utf-8")
            except OSError as error:
                raise Rejected(f"GOOGLE_APPLICATION_CREDENTIALS cannot be read: {error.strerror or error}: {path}") from None
            return await self._exchange(_decoded(text, path), deadline)
        answer = await self._metadata(f"instance/service-accounts/default/token?{urlencode({'scopes': SCOPE})}", deadline)
        return self._made(_decoded(answer, "the metadata service's answer"), "the metadata service")

    async def _metadata(self, path: str, deadline: float) -> str:
        host = self._environ.get("GCE_METADATA_HOST")
        base = f"http://{host}" if host else METADATA
        request = Request(f"{base}/computeMetadata/v1/{path}", headers={"metadata-flavor": "Google"}, proxied=False)
        answer = await self._http.send(request, deadline=deadline)
        if answer.status != 200:
            raise Rejected(f"there are no Google credentials: {answer.where} answered {answer.status}", hint=ADVICE)
        return answer.text

    async def _exchange(self, key: Mapping[str, Any], deadline: float) -> Token:
        """The token endpoint's answer to a service account's assertion or a user's refresh token."""
        uri = str(key.get("token_uri") or TOKEN_URI)
        match key.get("type"):
            case "service_account":
                form = {"grant_type": GRANT, "assertion": assertion(key, uri, self._clock())}
            case "authorized_user":
                names = ("client_id", "client_secret", "refresh_token")
                form = {"grant_type": "refresh_token", **{name: str(key.get(name, "")) for name in names}}
            case other:
                raise Rejected(f"Google credentials of type {other!r} are not supported", hint=ADVICE)
        if urlsplit(uri).scheme not in {"https", "http"}:
            raise Rejected("the token_uri of the Google credentials is no URL")
        headers = {"content-type": "application/x-www-form-urlencoded"}
        answer = await self._http.send(Request(uri, "POST", headers=headers, body=urlencode(form).encode()), deadline=deadline)
        return self._made(answer.json(), place(uri))

    def _made(self, body: Any, where: str) -> Token:
        value = body.get("access_token") if isinstance(body, dict) else None
        if not isinstance(value, str) or not value:
            raise Refused(f"{where} answers without an access token")
        seconds = body.get("expires_in")
        return Token(value, self._clock() + (seconds if isinstance(seconds, (int, float)) else 3600))


def assertion(key: Mapping[str, Any], audience: str, now: float) -> str:
    """A JWT that asks for a token of the service account, valid for an hour. Raises Rejected for a key that cannot sign."""
    head = {"alg": "RS256", "typ": "JWT", "kid": key.get("private_key_id", "")}
    claims = {"iss": key.get("client_email", ""), "scope": SCOPE, "aud": audience, "iat": int(now), "exp": int(now) + 3600}
    text = f"{_encoded(json.dumps(head).encode())}.{_encoded(json.dumps(claims).encode())}"
    try:
        signature = rs256.sign(rs256.load(str(key.get("private_key", ""))), text.encode())
    except ValueError as error:
        raise Rejected(f"the Google service-account key cannot sign: {error}", hint="paste the whole JSON key file") from None
    return f"{text}.{_encoded(signature)}"


def _encoded(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _decoded(text: str, what: str) -> Mapping[str, Any]:
    try:
        found = json.loads(text)
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise Rejected(f"{excerpt(what)} is no JSON object", hint=ADVICE)
    return found
