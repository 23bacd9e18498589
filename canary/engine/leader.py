"""Who may act: one Lease, held by compare-and-set, with self-fencing.

The Lease has upstream's name, so a Flagger that still runs and we never act at the same time. kopf's peering (60 s horizon,
freezes on equal priority) and the official async elector (cannot create its lease) were rejected: reference python-stack 1.7.
The second fence is the compare-and-set of every status write, which a deposed leader fails.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import uuid
from collections.abc import Awaitable, Callable

from canary.core.errors import CanaryError
from canary.kube.lease import LeaseLock

log = logging.getLogger(__name__)

LEASE_NAME = "flagger-leader-election"
DURATION = 15.0
DEADLINE = 10.0
RETRY = 2.0


def identity() -> str:
    """`<hostname>_<uuid>`, as upstream writes it."""
    return f"{socket.gethostname() or os.uname().nodename}_{uuid.uuid4()}"


class Elector:
    """Waits for the lease, then runs `lead()` while renewing it; returns when leadership is lost or `lead` ends.

    Renewal failures are tolerated for DEADLINE seconds of this process's own monotonic clock; after that another replica may
    hold the lease any moment (DURATION), so `lead` is cancelled first and the loss reported afterwards.
    """

    def __init__(self, lock: LeaseLock, *, on_change: Callable[[bool], None] = lambda _: None) -> None:
        self._lock = lock
        self._on_change = on_change

    async def run(self, lead: Callable[[], Awaitable[None]]) -> bool:
        """True when `lead` ended by itself, False when the lease was lost."""
        await self._acquire()
        log.info("became leader", extra={"fields": {"identity": self._lock.identity}})
        self._on_change(True)
        work = asyncio.ensure_future(lead())
        renew = asyncio.ensure_future(self._renew())
        try:
            await asyncio.wait({work, renew}, return_when=asyncio.FIRST_COMPLETED)
            lost = renew.done()
            if not lost:
                work.result()
            return not lost
        finally:
            for task in (work, renew):
                task.cancel()
            await asyncio.gather(work, renew, return_exceptions=True)
            self._on_change(False)
            await self._release()

    async def _acquire(self) -> None:
        while True:
            try:
                if await self._lock.try_acquire():
                    return
            except CanaryError as error:
                log.warning("cannot take the leader lease: %s", error)
            await asyncio.sleep(RETRY)

    async def _renew(self) -> None:
        loop = asyncio.get_running_loop()
        renewed = loop.time()
        while loop.time() - renewed < DEADLINE:
            await asyncio.sleep(RETRY)
            began = loop.time()
            try:
                async with asyncio.timeout(DEADLINE - (began - renewed) if began - renewed < DEADLINE else 0.1):
                    if not await self._lock.try_acquire():
                        log.error("the leader lease was taken by another process")
                        return
                renewed = began  # counted from before the request: the server may have stamped it at any time since
            except (CanaryError, TimeoutError) as error:
                log.warning("cannot renew the leader lease: %s", error)
        log.error("the leader lease could not be renewed in time")

    async def _release(self) -> None:
        try:
            async with asyncio.timeout(RETRY):
                await self._lock.release()
        except (CanaryError, TimeoutError) as error:
            log.warning("cannot give the leader lease back: %s", error)
