"""Keeps one `Store` in step with the API server: list, watch, and begin again when that breaks.

A break is normal (servers close watches after some minutes, connections die silently, compaction makes versions too old), so
the store stays readable meanwhile and only its age tells. A kind that is not installed, or forbidden, is asked for again at a
slow pace: a CustomResourceDefinition installed later is picked up without a restart. `kubernetes.informer` was rejected (a
thread per kind); kopf's watching too: it loses deletions across a relist, and cannot ask for metadata only.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Callable
from contextlib import aclosing

from canary.core.errors import CanaryError, Forbidden, NotFound
from canary.kube.backoff import Backoff
from canary.kube.client import ApiClient
from canary.kube.failures import Gone
from canary.kube.shelf import Key, Packed
from canary.kube.store import Store

log = logging.getLogger(__name__)

BREATH = 100
"""Events after which other tasks get a turn: a burst must not make every tick late."""
LASTING = 1.0
"""Seconds after which a watch counts as having worked."""
PATIENCE = 3
"""Failures in a row after which the list is taken anew instead of resuming the watch."""


class Reflector:
    """One kind in one scope (`namespace` None: all). `start` it once; `ready` says when, or why not."""

    def __init__(
        self,
        client: ApiClient,
        store: Store,
        *,
        namespace: str | None = None,
        page_size: int = 250,
        backoff: Backoff | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.store = store
        self._client = client
        self._namespace = namespace if store.resource.namespaced else None
        self._page_size = page_size
        self._backoff = backoff or Backoff()
        self._clock = clock
        self._heard_at = -math.inf
        self._connected = False
        self._listed = False
        self._failures = 0
        self._error: CanaryError | None = None
        self._outcome = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin; does nothing the second time."""
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._run(), name=f"watch {self.store.resource.title}")

    async def close(self) -> None:
        """Stop watching. The store stays readable."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            self._task, self._connected = None, False

    @property
    def synced(self) -> bool:
        """Whether the store has ever been complete."""
        return self._heard_at > -math.inf

    @property
    def age(self) -> float:
        """Seconds for which the store may have missed something: 0 while a watch is open, infinite before the first list."""
        return 0.0 if self._connected else self._clock() - self._heard_at

    async def ready(self) -> None:
        """Return when the store is complete. Raises the reason of the last failure: NotFound, Forbidden, Retryable.

        A store that was complete once is good enough while the server is away; not while the kind is gone or forbidden.
        """
        await self._outcome.wait()
        if self._error is not None and (not self.synced or isinstance(self._error, NotFound | Forbidden)):
            raise self._error

    async def _run(self) -> None:
        while True:
            began = self._clock()
            ended_well = False
            try:
                if not self._listed:
                    await self._list()
                await self._watch()
                ended_well = True
            except Gone:
                self._listed = False
            except CanaryError as error:
                self._failed(error)
            except Exception as error:
                # A bug must not end the watch for good and leave a cache that looks alive.
                log.exception("watch of %s", self.store.resource.title)
                self._failed(CanaryError(f"cannot watch {self.store.resource.title}: {error!r}"))
                self._listed = False
            finally:
                self._connected = False
            if self._clock() - began >= LASTING:
                self._backoff.reset()
                if ended_well:
                    continue  # the server closes every watch after some minutes: no reason to be late
            await asyncio.sleep(self._backoff.pause())

    def _failed(self, error: CanaryError) -> None:
        named = self._named(error)
        if self._error is None or self._error.message != named.message:
            log.warning("%s", named)
        self._error = named
        self._outcome.set()
        self._failures += 1
        # A kind that vanished may come back empty. A server restored from a backup calls our version too large, or opens the
        # watch and is silent for ever: an open stream without an event or bookmark is therefore no success.
        if isinstance(error, NotFound | Forbidden) or self._failures >= PATIENCE:
            self._listed = False

    async def _list(self) -> None:
        items: list[tuple[Key, Packed]] = []
        version = ""
        pages = self._client.pages(self.store.resource, self._namespace, size=self._page_size, metadata_only=self.store.metadata_only)
        async with aclosing(pages):
            async for page in pages:
                version = page.resource_version
                for body in page.items:
                    items.append(self.store.prepare(body))
                    if len(items) % BREATH == 0:
                        await asyncio.sleep(0)
        for done, _ in enumerate(self.store.replacing(items, version)):
            if done % BREATH == 0:
                await asyncio.sleep(0)
        self._listed = True
        self._failures = 0
        self._heard()

    async def _watch(self) -> None:
        stream = self._client.watch(
            self.store.resource, self._namespace, resource_version=self.store.resource_version, metadata_only=self.store.metadata_only
        )
        events = 0
        async with aclosing(stream):
            async for batch in stream:
                self._connected = True
                self._heard()
                for event in batch:
                    self.store.event(event.type, event.object)
                    events += 1
                    if events % BREATH == 0:
                        await asyncio.sleep(0)
                if batch:
                    self._failures = 0
                    self._backoff.reset()

    def _heard(self) -> None:
        self._heard_at = self._clock()
        self._error = None
        self._outcome.set()

    def _named(self, error: CanaryError) -> CanaryError:
        resource = self.store.resource
        if isinstance(error, NotFound):
            return NotFound(
                f"the API server knows no {resource.title} in version {resource.version}",
                hint=f"install the CustomResourceDefinition {resource.title}; it is picked up without a restart",
            )
        if isinstance(error, Forbidden):
            scope = f"in namespace {self._namespace}" if self._namespace else "in all namespaces"
            return Forbidden(
                error.message,
                hint=f"grant get, list and watch on {resource.title} {scope}"
                + ("" if self._namespace else ", or watch a single namespace with --namespace"),
            )
        return error
