"""kopf, and nothing else of ours that knows kopf.

It is our informer for the Canary kind: list, watch, recovery, several API versions. One on-event handler that stores the body
and wakes the loop; everything that can fail is in the tick, which tries again by nature. No timers or daemons (a finalizer on
every object), no indexes (quadratic start, deadlock), no create or delete handlers (a PATCH storm and a second copy of the spec
in an annotation): reference python-stack 1. Its event posting, peering and scanning are off; so is its signal handling, which
belongs to the supervisor.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection
from typing import Any

import kopf

from canary.kube.auth import Credentials
from canary.kube.resource import CANARIES, Object

OnCanary = Callable[[str | None, Object], None]
"""Called with the watch event's type (None: from a list) and the object."""


class NoDiffBase(kopf.DiffBaseStorage):
    """kopf builds a "last seen essence" of each object on every event; we never use it, and it costs a third of the CPU."""

    def build(self, *, body: kopf.Body, extra_fields: Any = None) -> kopf.BodyEssence:  # noqa: ARG002
        return kopf.BodyEssence()

    def fetch(self, *, body: kopf.Body) -> kopf.BodyEssence | None:  # noqa: ARG002
        return None

    def store(self, *, body: kopf.Body, patch: kopf.Patch, essence: kopf.BodyEssence) -> None:
        """Nothing is stored on users' objects."""


def settings() -> kopf.OperatorSettings:
    """Kopf's knobs (reference python-stack 1.6)."""
    ours = kopf.OperatorSettings()
    ours.persistence.diffbase_storage = NoDiffBase()
    ours.posting.enabled = False
    ours.peering.standalone = True
    ours.scanning.disabled = True  # the CRDs are a precondition, checked at start with a clear error
    ours.queueing.idle_timeout = 1.0
    ours.networking.request_timeout = 30
    ours.networking.connect_timeout = 5
    return ours


def registry(on_canary: OnCanary, credentials: Credentials) -> kopf.OperatorRegistry:
    """A private registry, so that several operators can live in one process."""
    handlers = kopf.OperatorRegistry()

    @kopf.on.login(registry=handlers)
    def login(**_: Any) -> kopf.ConnectionInfo:
        return kopf.ConnectionInfo(**credentials.connection_info())

    @kopf.on.event(CANARIES.group, CANARIES.version, CANARIES.plural, registry=handlers)
    async def canary_event(*, type: str | None, event: kopf.RawEvent, **_: Any) -> None:
        on_canary(type, dict(event["object"]))

    return handlers


async def watch_canaries(
    *,
    on_canary: OnCanary,
    credentials: Credentials,
    namespaces: Collection[str],
    stop: asyncio.Event,
    ready: asyncio.Event,
) -> None:
    """Run kopf until `stop` is set. Raises what kopf raises when the watch cannot go on; the process is then restarted."""
    run: Callable[..., Awaitable[None]] = kopf.operator
    await run(
        registry=registry(on_canary, credentials),
        settings=settings(),
        standalone=True,
        clusterwide=not namespaces,
        namespaces=list(namespaces),
        stop_flag=stop,
        ready_flag=ready,
    )
