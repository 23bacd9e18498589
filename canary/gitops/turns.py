"""Whose turn it is at a Git server."""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator

AT_ONCE = 8
"""Sinks that talk to one host at the same time: each is a tree of processes."""


class Turns:
    """One sink at a time per repository (many namespaces write to one, and would only race each other), a handful per host.

    No limit over all hosts: one that is down must not delay the others.
    """

    def __init__(self) -> None:
        self._repositories: dict[str, asyncio.Lock] = {}
        self._hosts: dict[str, asyncio.Semaphore] = {}

    @contextlib.asynccontextmanager
    async def at(self, url: str) -> AsyncIterator[None]:
        """Wait for a turn at this repository."""
        place = re.match(r"(\w+://[^/]*|[^/:]*)", url)
        host = place[0] if place else url
        async with self._repositories.setdefault(url, asyncio.Lock()), self._hosts.setdefault(host, asyncio.Semaphore(AT_ONCE)):
            yield
