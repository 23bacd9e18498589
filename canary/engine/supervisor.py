"""Start and stop order of everything.

Start: credentials, API client, health server (followers answer probes too), then leadership, then the loops. Stop: the canary
loops first, then what they talk to, then kopf: kopf cancels every task younger than itself when it stops, ours included
(reference python-stack 1.5.5), so nothing of ours may still be running by then. A process that lost its lease exits with 1 and
is started again by Kubernetes; nothing it knew is lost, because all progress lives in the API.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import signal
import time

from canary.alerts.dispatch import Alerter
from canary.core.errors import CanaryError, Lost, NotFound
from canary.engine.act import Actor
from canary.engine.health import HealthServer
from canary.engine.leader import LEASE_NAME, Elector, identity
from canary.engine.logs import configure
from canary.engine.notify import Notifier
from canary.engine.observe import Observer
from canary.engine.operator import watch_canaries
from canary.engine.registry import Registry, key_of
from canary.engine.runs import Runs
from canary.engine.scheduler import Scheduler
from canary.engine.settings import Settings
from canary.engine.telemetry import Telemetry
from canary.engine.tick import Ticker
from canary.gitops.outbox import Outbox
from canary.hooks.client import HookClient
from canary.kube import auth
from canary.kube.cache import WatchedCluster
from canary.kube.client import ApiClient
from canary.kube.lease import LeaseLock
from canary.kube.recorder import EventRecorder
from canary.kube.resource import ALERT_PROVIDERS, CANARIES, CANARY_RUNS, DEPLOYMENTS, GIT_SINKS, METRIC_TEMPLATES, Object, Resource
from canary.metrics.asker import Asker
from canary.targets.readiness import matters

log = logging.getLogger(__name__)

_COLLECT = (10_000, 20, 20)
"""Objects after which the garbage collector looks at the youngest, and how many such looks come before one at the older ones."""
STUCK = 60.0
"""Seconds without a turn of the heartbeat after which the process calls itself dead."""


class Operator:
    """One running operator. `run()` returns when `stop` is set or leadership is lost; use it inside a running loop."""

    def __init__(self, settings: Settings, *, credentials: auth.Credentials | None = None, signals: bool = False) -> None:
        self.settings = settings
        self._signals = signals
        self.credentials = credentials or auth.load(kubeconfig=settings.kubeconfig, context=settings.context, master=settings.master)
        self.stop = asyncio.Event()
        self.ready = asyncio.Event()
        self.telemetry = Telemetry(mesh_provider=settings.mesh_provider)
        self.registry = Registry()
        self.health = HealthServer(
            host=settings.host, port=settings.port, alive=self._alive, ready=self._ready_text, metrics=self.telemetry.text
        )
        self._beat = time.monotonic()
        self._leading = not settings.leader_election
        self._kopf: asyncio.Task[None] | None = None
        self._kopf_stop = asyncio.Event()
        self._stack = contextlib.AsyncExitStack()

    async def run(self) -> int:
        """Everything from start to stop; returns the process's exit code."""
        async with self._stack:
            self.client = ApiClient(self.credentials, qps=self.settings.qps, burst=self.settings.burst)
            self._stack.push_async_callback(self.client.close)
            self.telemetry.requests_from(self.client.requests)
            await self.health.start()
            self._stack.push_async_callback(self.health.close)
            self._listen_to_signals()
            beat = asyncio.create_task(self._heartbeat(), name="heartbeat")
            self._stack.callback(beat.cancel)
            if not self.settings.leader_election:
                self.telemetry.leader.set(1)
                await self._lead()
                return 0
            return await self._elect()

    async def _elect(self) -> int:
        lock = LeaseLock(self.client, namespace=self.settings.lease_namespace, name=LEASE_NAME, identity=identity())
        elector = Elector(lock, on_change=self._on_leadership)
        stopped = asyncio.ensure_future(self.stop.wait())
        election = asyncio.ensure_future(elector.run(self._lead))
        await asyncio.wait({stopped, election}, return_when=asyncio.FIRST_COMPLETED)
        if not election.done() and not self._leading:
            election.cancel()  # a follower that is told to stop has nothing to finish
        stopped.cancel()
        try:
            return 0 if await election else 1
        except asyncio.CancelledError:
            return 0

    def _on_leadership(self, leading: bool) -> None:
        self._leading = leading
        self.telemetry.leader.set(1 if leading else 0)

    async def _lead(self) -> None:
        """Watch and tick until told to stop."""
        settings = self.settings
        async with contextlib.AsyncExitStack() as stack:
            stack.push_async_callback(self._stop_kopf)
            self.cluster = WatchedCluster(self.client, namespace=settings.namespace)
            stack.push_async_callback(self.cluster.close)
            await self._precondition()
            hooks, recorder = HookClient(), EventRecorder(self.client)
            stack.push_async_callback(hooks.close)
            stack.push_async_callback(recorder.close)
            asker = Asker(metrics_server=settings.metrics_server)
            stack.push_async_callback(asker.close)
            alerter = Alerter(self.cluster, chat=settings.chat, cluster_name=settings.cluster_name)
            stack.push_async_callback(alerter.close)
            notifier = Notifier(settings, recorder, alerter, hooks)
            self.notifier = notifier
            stack.push_async_callback(lambda: notifier.close(deadline=5.0))
            outbox = Outbox(self.cluster, directory=settings.git_dir, on_effect=self._count_effect, warn=self._warn_about_git)
            self.telemetry.git_oldest.set_function(lambda: outbox.age)
            self.ticker = Ticker(
                cluster=self.cluster,
                registry=self.registry,
                observer=Observer(settings, asker, hooks, memory=outbox.promotions),
                actor=Actor(Runs(self.cluster)),
                notifier=notifier,
                telemetry=self.telemetry,
                settings=settings,
                fence=self._fence,
            )
            await self._loops(stack, outbox)

    async def _loops(self, stack: contextlib.AsyncExitStack, outbox: Outbox) -> None:
        self.scheduler = Scheduler(self.ticker.tick, concurrency=self.settings.max_concurrent_ticks, late=self.telemetry.lateness.observe)
        stack.push_async_callback(self.scheduler.close)
        self.cluster.on_change(self._on_object)
        side = [asyncio.create_task(self._resync(), name="resync"), asyncio.create_task(outbox.run(), name="git outbox")]
        retake = asyncio.create_task(self._retake_signals(), name="signals")
        kopf = self._kopf = asyncio.create_task(
            watch_canaries(
                on_canary=self._on_canary,
                credentials=self.credentials,
                namespaces=[self.settings.namespace] if self.settings.namespace else [],
                stop=self._kopf_stop,
                ready=self.ready,
            ),
            name="kopf",
        )
        stopped = asyncio.create_task(self.stop.wait())
        try:
            await asyncio.wait({kopf, stopped, *side}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            stopped.cancel()
            retake.cancel()
            await self.scheduler.close()
            for task in side:
                task.cancel()
            ended = await asyncio.gather(*side, return_exceptions=True)
            self.ready.clear()
        for result in [*ended, kopf.exception() if kopf.done() and not kopf.cancelled() else None]:
            if isinstance(result, Exception):
                raise result

    async def _stop_kopf(self) -> None:
        """Last of all: it waits for, and then cancels, every task that began after it."""
        self._kopf_stop.set()
        if self._kopf:
            await asyncio.wait({self._kopf}, timeout=10)

    async def _precondition(self) -> None:
        """Refuse to start without our CRDs, in one sentence."""
        try:
            await self.cluster.watch(METRIC_TEMPLATES, ALERT_PROVIDERS, CANARY_RUNS, GIT_SINKS)
            await self.client.list(CANARIES, self.settings.namespace or None, limit=1)
        except NotFound as error:
            raise NotFound(
                f"the CustomResourceDefinitions of Canary are not installed: {error.message}",
                hint="install them with `canary crds | kubectl apply --server-side -f -`, or the chart with crds.install=true",
            ) from error

    def _on_canary(self, kind: str | None, body: Object) -> None:
        key = key_of(body)
        if kind == "DELETED":
            self._forget(key)
            return
        _, changed = self.registry.put(body)
        if key not in self.scheduler:
            self.scheduler.add(key)
            self._census()
        elif changed:
            self.scheduler.wake(key)

    def _forget(self, key: tuple[str, str]) -> None:
        self.registry.remove(key)
        self.scheduler.remove(key)
        self.telemetry.forget(*key)
        self.notifier.forget(key)
        self.ticker.forget(key)
        self._census()

    def _census(self) -> None:
        self.telemetry.census(namespace for namespace, _ in self.registry.known())

    def _on_object(self, resource: Resource, kind: str, body: Object, old: Object | None) -> None:
        meta = body["metadata"]
        ref = (resource, meta.get("namespace", ""), meta["name"])
        idle = resource == DEPLOYMENTS and kind == "MODIFIED" and old is not None and not matters(old, body)
        for key in self.registry.readers(ref):
            if self.ticker.echoes.is_news(key, ref, meta.get("resourceVersion", "")) and not idle:
                self.scheduler.wake(key)

    async def _resync(self) -> None:
        """Mend what no watch told us: one list per period finds canaries whose deletion was missed, and everyone gets a look."""
        while True:
            await asyncio.sleep(self.settings.resync)
            try:
                listed = {key_of(body) for body in await self.client.list(CANARIES, self.settings.namespace or None)}
            except CanaryError as error:
                log.warning("resync: %s", error)
                continue
            for number, key in enumerate(self.registry.known()):
                if key not in listed:
                    self._forget(key)
                else:
                    self.scheduler.wake(key, delay=30.0 * number / max(1, len(self.registry)))

    def _listen_to_signals(self) -> None:
        if self._signals:
            for number in (signal.SIGTERM, signal.SIGINT):
                asyncio.get_running_loop().add_signal_handler(number, self.stop.set)

    async def _retake_signals(self) -> None:
        """Kopf puts its own handlers in place when it starts; it would then stop first and wait for all that should stop before it."""
        await self.ready.wait()
        self._listen_to_signals()

    async def _heartbeat(self) -> None:
        while True:
            self._beat = time.monotonic()
            await asyncio.sleep(1.0)

    def _alive(self) -> str:
        silent = time.monotonic() - self._beat
        return f"the event loop has been stuck for {silent:.0f} s" if silent > STUCK else ""

    def _ready_text(self) -> str:
        return "" if self.ready.is_set() or not self._leading else "the watch of Canaries is not up yet"

    def _fence(self) -> None:
        if not self._leading:
            raise Lost("this process is not the leader any more")

    def _warn_about_git(self, run: Object, message: str, kind: str) -> None:
        """An event on the Canary that the run belongs to."""
        key = (run["metadata"]["namespace"], run["spec"]["canaryRef"]["name"])
        if entry := self.registry.get(key):
            self.notifier.warn(entry.body, message, kind=kind)

    def _count_effect(self, effect: str, result: str, depth: int) -> None:
        self.telemetry.git_effects.labels(effect, result).inc()
        self.telemetry.git_outbox.set(depth)


def run_operator(settings: Settings) -> int:
    """`canary run`: configure logging, install signal handlers, run until stopped. Returns the exit code."""
    # A tenth of the time of a busy fleet went into walking through modules and caches that are there to stay.
    gc.collect()
    gc.freeze()
    gc.set_threshold(*_COLLECT)
    configure(level=settings.log_level, style=settings.log_format)

    async def main() -> int:
        return await Operator(settings, signals=True).run()

    return asyncio.run(main())
