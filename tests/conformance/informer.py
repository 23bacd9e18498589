"""A kopf operator that only watches, as the product's own: `on.event`, no finalizers, no annotations."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import kopf

from tests.conformance.driver import Driver


class Seen:
    """What the handler was called with: (type, name, colour); type None stands for the initial list."""

    def __init__(self) -> None:
        self.calls: list[tuple[str | None, str, str]] = []
        self._changed = asyncio.Event()

    def note(self, kind: str | None, body: Any) -> None:
        self.calls.append((kind, body["metadata"]["name"], body.get("spec", {}).get("colour", "")))
        self._changed.set()

    async def until(self, call: tuple[str | None, str, str], *, timeout: float = 15.0) -> None:
        """Wait until the handler was called so."""
        async with asyncio.timeout(timeout):
            while call not in self.calls:
                self._changed.clear()
                await self._changed.wait()


@asynccontextmanager
async def informer(api: Driver) -> AsyncIterator[Seen]:
    """Run the operator on the namespace of the driver; it is watching when the block begins."""
    registry, seen = kopf.OperatorRegistry(), Seen()

    @kopf.on.login(registry=registry)
    def login(**_: Any) -> kopf.ConnectionInfo:
        return kopf.ConnectionInfo(server=api.url, token=api.token or None, ca_path=api.cluster.get("certificate-authority"))

    @kopf.on.event("conformance.test", "v1", "widgets", registry=registry)
    async def on_event(type: str | None, body: Any, **_: Any) -> None:
        seen.note(type, body)

    settings = kopf.OperatorSettings()
    settings.posting.enabled = False
    settings.peering.standalone = True
    settings.scanning.disabled = True
    settings.watching.reconnect_backoff = 0.01
    stop, ready = asyncio.Event(), asyncio.Event()
    operator = kopf.operator(registry=registry, settings=settings, namespaces=[api.namespace], stop_flag=stop, ready_flag=ready)
    task = asyncio.ensure_future(operator)
    try:
        await asyncio.wait_for(ready.wait(), 15)
        yield seen
    finally:
        stop.set()
        with suppress(asyncio.CancelledError):
            await asyncio.wait_for(task, 15)
