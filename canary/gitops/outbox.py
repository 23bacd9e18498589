"""The outbox: effects that wait on CanaryRuns are carried out, for as long as it takes.

It lives in the API (`CanaryRun.status.effects`), so it survives this process, and a Git server that is down or refuses delays nothing but itself.
One worker per sink, woken by what the watches bring and by its own clock.
"""

from __future__ import annotations

import asyncio
import logging
import tempfile
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Protocol

from canary.api.gitsink import GitSink
from canary.gitops.agenda import HOURLY
from canary.gitops.command import Patience
from canary.gitops.forges.client import Throttles
from canary.gitops.promotions import Images, Promotions
from canary.gitops.queue import Key, Queue, effect_name
from canary.gitops.tools import OnEffect, Tools, Warn
from canary.gitops.worker import Worker
from canary.kube.cluster import Cluster
from canary.kube.resource import CANARY_RUNS, GIT_SINKS, SECRETS, Object, Resource

__all__ = ["Outbox", "effect_name"]

log = logging.getLogger(__name__)

OnChange = Callable[[Resource, str, Object, Object | None], None]


class Watched(Cluster, Protocol):
    """A cluster that also tells of changes."""

    def on_change(self, callback: OnChange) -> Callable[[], None]:
        """Call back for every change of a watched object; returns how to stop that."""
        ...


class Outbox:
    """Drains effects until cancelled. `directory`: where mirrors are kept; a temporary folder when empty."""

    def __init__(
        self,
        cluster: Watched,
        *,
        directory: str = "",
        on_effect: OnEffect = lambda *_: None,
        warn: Warn = lambda *_: None,
        clock: Callable[[], float] = time.time,
        patience: Patience | None = None,
    ) -> None:
        self._cluster = cluster
        self._directory = directory
        self._on_effect = on_effect
        self._warn = warn
        self._clock = clock
        self._patience = patience or Patience()
        self._queue = Queue(cluster)
        self._workers: dict[Key, Worker] = {}
        self._tasks: dict[Key, asyncio.Task[None]] = {}
        self._wake = asyncio.Event()
        self._ready = asyncio.Event()
        self.promotions = Promotions(cluster, self._promoted, clock)
        """What Git says was promoted last, for canaries that begin."""

    @property
    def depth(self) -> int:
        """How many outcomes wait: pairs of run and sink."""
        return self._queue.depth

    @property
    def age(self) -> float:
        """Seconds for which the oldest outcome waits for Git, and not for a person; 0 when none does."""
        since = self._queue.oldest()
        return 0.0 if since is None else max(0.0, self._clock() - since)

    async def run(self) -> None:
        """Drain whenever something is due."""
        await self._cluster.watch(CANARY_RUNS, GIT_SINKS)
        with ExitStack() as stack:
            folder = self._directory or stack.enter_context(tempfile.TemporaryDirectory(prefix="canary-git-", ignore_cleanup_errors=True))
            self._tools = Tools(
                cluster=self._cluster,
                queue=self._queue,
                folder=Path(folder),
                on_effect=self._on_effect,
                warn=self._warn,
                clock=self._clock,
                patience=self._patience,
                throttles=Throttles(self._clock),
            )
            stack.callback(self._cluster.on_change(self._on_change))
            self._queue.fill()
            self._ready.set()
            try:
                await self._work()
            finally:
                self._ready.clear()
                await self.promotions.stop()
                for task in self._tasks.values():
                    task.cancel()
                await asyncio.gather(*self._tasks.values(), return_exceptions=True)
                await asyncio.gather(*(worker.stop() for worker in self._workers.values()), return_exceptions=True)

    async def _work(self) -> None:
        while True:
            self._wake.clear()
            soonest = await self._start()
            try:
                async with asyncio.timeout(soonest):
                    await self._wake.wait()
            except TimeoutError:
                pass

    async def _start(self) -> float:
        """Start a drain for each sink that has something due; seconds until the next one has."""
        sinks = {(body["metadata"]["namespace"], body["metadata"]["name"]) for body in self._cluster.list(GIT_SINKS)}
        wanted = sinks | set(self._queue.sinks())
        soonest = HOURLY
        for key in wanted | self._workers.keys():
            if key in self._tasks:
                continue
            if key not in wanted:
                await self._workers.pop(key).close()
                continue
            if key not in self._workers:
                self._workers[key] = Worker(key, self._tools)
            due = self._workers[key].due()
            if due is None:
                continue
            if due <= self._clock():
                self._tasks[key] = asyncio.create_task(self._drain(key), name=f"git {key[0]}/{key[1]}")
            else:
                soonest = min(soonest, due - self._clock())
        return soonest

    async def _promoted(self, sink: GitSink) -> Mapping[str, Images]:
        """Read by the worker of the sink, in its turn."""
        await self._ready.wait()
        key = (sink.metadata.namespace, sink.metadata.name)
        return await self._workers.setdefault(key, Worker(key, self._tools)).promoted(sink)

    async def _drain(self, key: Key) -> None:
        try:
            await self._workers[key].drain()
        finally:
            del self._tasks[key]
            self._wake.set()

    def _on_change(self, resource: Resource, kind: str, body: Object, old: Object | None) -> None:
        meta = body["metadata"]
        key = (meta.get("namespace", ""), meta["name"])
        if resource == CANARY_RUNS:
            if kind == "DELETED":
                self._queue.forget(key)
            elif self._queue.see(body):
                self._wake.set()
        elif resource == GIT_SINKS:
            if key in self._workers and (old is None or kind == "DELETED" or old.get("spec") != body.get("spec")):
                self._workers[key].mended()
            self._wake.set()
        elif resource == SECRETS:
            self._on_secret(key, meta.get("resourceVersion", ""))

    def _on_secret(self, key: Key, version: str) -> None:
        for (namespace, _), worker in self._workers.items():
            if namespace == key[0] and worker.used.get(key[1], version) != version:
                worker.mended()
                self._wake.set()
