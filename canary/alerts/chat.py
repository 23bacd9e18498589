"""The POST that all chats share: JSON, optional proxy and bearer token, 2xx or an error that says what came back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

import aiohttp

from canary.alerts.base import Channel
from canary.core.errors import Rejected, Retryable


async def post_json(channel: Channel, url: str, body: Mapping[str, Any], *, timeout: float, token: str = "") -> str:
    """Post and return the answer's text. Raises Retryable (network, 429, 5xx) or Rejected (anything else but 2xx)."""
    host = urlsplit(url).hostname or "the chat"
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    try:
        async with (
            aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=timeout)) as session,
            session.post(url, json=body, headers=headers, proxy=channel.proxy or None) as answer,
        ):
            text = (await answer.text(errors="replace"))[:500]
            status = answer.status
    except (aiohttp.ClientError, TimeoutError, ValueError) as error:
        raise Retryable(f"{channel.type} alert: {host} cannot be reached: {str(error) or type(error).__name__}") from error
    if 200 <= status < 300:
        return text
    kind = Retryable if status == 429 or status >= 500 else Rejected
    raise kind(f"{channel.type} alert: {host} answered {status}: {text}")
