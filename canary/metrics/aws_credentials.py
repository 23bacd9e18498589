"""Credentials for AWS, in the order of its SDKs: environment, web identity (IRSA), container (EKS Pod Identity, ECS), instance.

A Secret of the MetricTemplate comes before all of them. The environment is the operator's own, so nothing that a tenant writes decides
where these credentials are sent. Temporary ones are kept until five minutes before they end; one request at a time renews them.
"""

from __future__ import annotations

import asyncio
import html
import os
import re
from collections.abc import Callable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

from canary.core.errors import CanaryError, Rejected
from canary.metrics.base import Refused, Source
from canary.metrics.http import Client, Request
from canary.metrics.sigv4 import Keys

EARLY = 300.0
"""Seconds before their end at which temporary credentials are renewed."""
TASK_HOST = "http://169.254.170.2"
INSTANCE_HOST = "http://169.254.169.254"
LINK_LOCAL = frozenset({"localhost", "127.0.0.1", "::1", "169.254.170.2", "169.254.170.23", "fd00:ec2::23"})
"""Where a container's credentials may be asked over plain http, as the SDKs."""
ADVICE = (
    "give the operator's service account an IAM role (IRSA or EKS Pod Identity), or put `aws_access_key_id` and `aws_secret_access_key`"
    " into the Secret of the MetricTemplate"
)


class AwsCredentials:
    """Finds and keeps credentials. `environ` and `clock` (seconds since 1970) are arguments for tests."""

    def __init__(self, http: Client, *, clock: Callable[[], float], environ: Mapping[str, str] | None = None) -> None:
        self._http = http
        self._clock = clock
        self._environ = os.environ if environ is None else environ
        self._kept: Keys | None = None
        self._lock = asyncio.Lock()

    async def keys(self, source: Source, region: str, *, deadline: float) -> Keys:
        """Credentials for this source. Raises Rejected (none to be had), Refused, Unreachable."""
        if source.key("aws_access_key_id") or source.key("aws_secret_access_key"):
            return Keys(source.needed("aws_access_key_id"), source.needed("aws_secret_access_key"), source.key("aws_session_token"))
        async with self._lock:
            kept = self._kept
            if kept is None or (kept.expires is not None and self._clock() > kept.expires - EARLY):
                kept = self._kept = await self._find(region, deadline)
            return kept

    def forget(self) -> None:
        """The credentials were refused: look again next time."""
        self._kept = None

    async def _find(self, region: str, deadline: float) -> Keys:
        env = self._environ.get
        if env("AWS_ACCESS_KEY_ID") and env("AWS_SECRET_ACCESS_KEY"):
            return Keys(env("AWS_ACCESS_KEY_ID", ""), env("AWS_SECRET_ACCESS_KEY", ""), env("AWS_SESSION_TOKEN", ""))
        if env("AWS_WEB_IDENTITY_TOKEN_FILE") and env("AWS_ROLE_ARN"):
            return await self._web_identity(region, deadline)
        if env("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI") or env("AWS_CONTAINER_CREDENTIALS_FULL_URI"):
            return await self._container(deadline)
        if env("AWS_EC2_METADATA_DISABLED", "").lower() == "true":
            raise Rejected("there are no AWS credentials", hint=ADVICE)
        try:
            return await self._instance(deadline)
        except CanaryError as error:
            text = f"there are no AWS credentials: neither environment nor web identity nor container, and {error.message}"
            raise Rejected(text, hint=ADVICE) from error

    async def _web_identity(self, region: str, deadline: float) -> Keys:
        """STS exchanges the service account's token for the role's credentials; the request itself is unsigned."""
        env = self._environ.get
        form = {
            "Action": "AssumeRoleWithWebIdentity",
            "Version": "2011-06-15",
            "RoleArn": env("AWS_ROLE_ARN", ""),
            "RoleSessionName": env("AWS_ROLE_SESSION_NAME") or f"canary-{int(self._clock())}",
            "WebIdentityToken": _read(env("AWS_WEB_IDENTITY_TOKEN_FILE", "")),
        }
        home = env("AWS_REGION") or env("AWS_DEFAULT_REGION") or region
        url = env("AWS_ENDPOINT_URL_STS") or env("AWS_ENDPOINT_URL") or f"https://sts.{home}.{domain(home)}"
        headers = {"content-type": "application/x-www-form-urlencoded", "accept": "application/xml"}
        request = Request(f"{url.rstrip('/')}/", "POST", headers=headers, body=urlencode(form).encode())
        answer = await self._http.send(request, deadline=deadline)
        if answer.status != 200:
            said = _tag(answer.text, "Message") or f"HTTP {answer.status}"
            raise Refused(f"AWS STS does not give credentials for {env('AWS_ROLE_ARN')}: {said}", hint="look at the role's trust policy")
        names = ("AccessKeyId", "SecretAccessKey", "SessionToken", "Expiration")
        key, secret, token, expires = (_tag(answer.text, name) for name in names)
        return _made({"AccessKeyId": key, "SecretAccessKey": secret, "Token": token, "Expiration": expires}, answer.where)

    async def _container(self, deadline: float) -> Keys:
        env = self._environ.get
        relative = env("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI")
        url = f"{TASK_HOST}{relative}" if relative else env("AWS_CONTAINER_CREDENTIALS_FULL_URI", "")
        parts = urlsplit(url)
        if parts.scheme != "https" and parts.hostname not in LINK_LOCAL:
            raise Rejected("AWS_CONTAINER_CREDENTIALS_FULL_URI must be https or a link-local address")
        file = env("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE")
        token = _read(file) if file else env("AWS_CONTAINER_AUTHORIZATION_TOKEN", "")
        request = Request(url, headers={"authorization": token} if token else {}, proxied=False)
        answer = await self._http.send(request, deadline=deadline)
        return _made(answer.json(), answer.where)

    async def _instance(self, deadline: float) -> Keys:
        """IMDSv2: a session token, the role's name, its credentials. Answers within the hop limit or not at all, so it gets two seconds."""
        host = (self._environ.get("AWS_EC2_METADATA_SERVICE_ENDPOINT") or INSTANCE_HOST).rstrip("/")
        deadline = min(deadline, asyncio.get_running_loop().time() + 2.0)
        ttl = {"x-aws-ec2-metadata-token-ttl-seconds": "21600"}
        token = await self._http.send(Request(f"{host}/latest/api/token", "PUT", headers=ttl, proxied=False), deadline=deadline)
        token.expect_success()
        headers = {"x-aws-ec2-metadata-token": token.text.strip()}
        path = f"{host}/latest/meta-data/iam/security-credentials/"
        role = await self._http.send(Request(path, headers=headers, proxied=False), deadline=deadline)
        role.expect_success()
        name = role.text.strip().splitlines()[0] if role.text.strip() else ""
        if not name:
            raise Refused("this instance has no IAM role")
        answer = await self._http.send(Request(f"{path}{name}", headers=headers, proxied=False), deadline=deadline)
        return _made(answer.json(), answer.where)


def domain(region: str) -> str:
    """The DNS suffix of a region's partition."""
    return "amazonaws.com.cn" if region.startswith("cn-") else "amazonaws.com"


def _made(body: Any, where: str) -> Keys:
    body = body if isinstance(body, dict) else {}
    if not body.get("AccessKeyId") or not body.get("SecretAccessKey"):
        raise Refused(f"{where} answers without AWS credentials: {body.get('Code') or body.get('Message') or 'no AccessKeyId'}")
    try:
        expires = datetime.fromisoformat(str(body["Expiration"])).timestamp() if body.get("Expiration") else None
    except ValueError:
        raise Refused(f"{where} gives AWS credentials with an end that is no time") from None
    return Keys(str(body["AccessKeyId"]), str(body["SecretAccessKey"]), str(body.get("Token") or ""), expires)


def _tag(xml: str, name: str) -> str:
    """The text of the first such element; STS answers hold no nested or empty ones."""
    found = re.search(rf"<{name}>([^<]*)</{name}>", xml)
    return html.unescape(found.group(1)).strip() if found else ""


def _read(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8").strip()
    except OSError as error:
        raise Rejected(f"the token for AWS cannot be read: {error.strerror or error}: {path}") from None
