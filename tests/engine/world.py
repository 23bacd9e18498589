"""The engine in one process: operator parts on the sandbox's API server, with a Deployment controller that is ready at once.

No kopf and no sockets but the API's: ticks are run by the scheduler as in production; the test plays user, mesh metrics and webhooks.
"""

import asyncio
import contextlib
import json
import time

from canary.alerts.dispatch import Alerter
from canary.api.crd import KINDS, crd
from canary.core.model import HookResult, ProvidersResult, Sample
from canary.engine.act import Actor
from canary.engine.notify import Notifier
from canary.engine.observe import Observer
from canary.engine.registry import Registry, key_of
from canary.engine.runs import Runs
from canary.engine.scheduler import Scheduler
from canary.engine.settings import GlobalChat, Settings
from canary.engine.telemetry import Telemetry
from canary.engine.tick import Ticker
from canary.kube import auth
from canary.kube.cache import WatchedCluster
from canary.kube.client import ApiClient
from canary.kube.recorder import EventRecorder
from canary.kube.resource import (
    ALERT_PROVIDERS,
    CANARIES,
    CANARY_RUNS,
    DEPLOYMENTS,
    GIT_SINKS,
    HTTP_ROUTES,
    METRIC_TEMPLATES,
    NAMESPACES,
    SERVICES,
)
from canary.kube.transport import Timeouts
from canary.sandbox.server import ApiServer
from canary.sandbox.world import CRDS, ROUTE_CRD
from canary.targets.readiness import matters
from tests.testbed.workload import deployment

NS = "test"
BUSY = Timeouts(connect=60.0, total=120.0)
"""Server and operators share a process, and with other tests the machine: an answer that comes late says nothing about either."""
DEFINITIONS = (ROUTE_CRD, *(crd(kind) for kind in KINDS))


class Metrics:
    """Answers every check: `value` is a number, None (no data), or a text (an error)."""

    def __init__(self):
        self.values = {"request-success-rate": 100.0, "request-duration": 10.0}
        self.asked = 0
        self.traffic = None
        self.clock = time.time

    def sample(self, name):
        self.asked += 1
        value = self.values[name]
        return Sample(error=value) if isinstance(value, str) else Sample(value=value)

    async def builtin(self, canary, metric, *, template, unit_ms, timeout, grouped=None):
        return self.sample(metric.name)

    async def inline(self, canary, metric, *, timeout):
        return self.sample(metric.name)

    async def template(self, canary, metric, cluster, *, timeout):
        return self.sample(metric.name)

    async def counters(self, canary, queries, *, since, timeout, cluster=None, baseline=False):
        return self.traffic.counters(since, self.clock(), baseline=baseline)

    async def past(self, canary, queries, *, timeout, cluster=None):
        return self.traffic.past(self.clock())

    async def probe(self, canary, cluster, *, timeout):
        return ProvidersResult()

    async def close(self):
        pass


class Hooks:
    """Answers every webhook as `verdicts` says by its name (default: yes) and remembers the calls."""

    def __init__(self):
        self.verdicts = {}
        self.calls = []

    async def call(self, hook, payload, *, secret=None):
        self.calls.append((hook.name, payload))
        return HookResult(ok=self.verdicts.get(hook.name, True), message=f"{hook.name} says so")

    async def close(self):
        pass


class Crash(BaseException):
    """The process is gone."""


class Process:
    """One life of the operator. `crash_at`: the n-th write to the API (1, 2, ...) that kills it, before or after it is carried out."""

    def __init__(self, stage, *, crash_at=None, after=False, provider="gatewayapi:v1"):
        self.stage = stage
        self.provider = provider
        self.crash_at, self.after = crash_at, after
        self.writes = 0
        self.died = asyncio.Event()

    async def __aenter__(self):
        self.client = ApiClient(auth.fixed(self.stage.api.url), timeouts=BUSY)
        self.cluster = WatchedCluster(self.client)
        self._arm(self.client)
        settings = Settings(mesh_provider=self.provider, port=0)
        self.registry, self.telemetry = Registry(), Telemetry(mesh_provider=self.provider)
        self.recorder = EventRecorder(self.client)
        self.notifier = Notifier(settings, self.recorder, Alerter(self.cluster, chat=GlobalChat()), self.stage.hooks)
        await self.cluster.watch(CANARIES, METRIC_TEMPLATES, ALERT_PROVIDERS, CANARY_RUNS, GIT_SINKS)
        self.ticker = Ticker(
            cluster=self.cluster,
            registry=self.registry,
            observer=Observer(settings, self.stage.metrics, self.stage.hooks, clock=self.stage.metrics.clock),
            actor=Actor(Runs(self.cluster)),
            notifier=self.notifier,
            telemetry=self.telemetry,
            settings=settings,
        )
        self.scheduler = Scheduler(self.tick, concurrency=8)
        self.cluster.on_change(self.on_change)
        for body in self.cluster.list(CANARIES):
            self.on_change(CANARIES, "ADDED", body, None)
        return self

    async def __aexit__(self, *_):
        await self.scheduler.close()
        await self.notifier.close(deadline=0.5)
        with contextlib.suppress(Exception, Crash):
            await self.recorder.close(deadline=0.5)
        await self.cluster.close()
        await self.client.close()

    async def tick(self, key):
        try:
            return await self.ticker.tick(key)
        except Crash:
            self.died.set()
            await asyncio.sleep(3600)  # a dead process does nothing more

    def on_change(self, resource, kind, body, old):
        if resource == CANARIES:
            key = key_of(body)
            if kind == "DELETED":
                self.registry.remove(key)
                self.scheduler.remove(key)
                return
            _, changed = self.registry.put(body)
            self.scheduler.add(key) if key not in self.scheduler else changed and self.scheduler.wake(key)
            return
        ref = (resource, body["metadata"].get("namespace", ""), body["metadata"]["name"])
        idle = resource == DEPLOYMENTS and kind == "MODIFIED" and old is not None and not matters(old, body)
        for key in self.registry.readers(ref):
            if self.ticker.echoes.is_news(key, ref, body["metadata"]["resourceVersion"]) and not idle:
                self.scheduler.wake(key)

    def _arm(self, client):
        """Count writes that are not events, and die at the one that was chosen."""
        for verb in ("create", "apply", "merge", "json_patch", "delete"):
            setattr(client, verb, self._counted(getattr(client, verb)))

    def _counted(self, call):
        async def counted(resource, *args, **more):
            if resource.plural == "events":
                return await call(resource, *args, **more)
            self.writes += 1
            mine = self.writes
            if self.died.is_set() or (mine == self.crash_at and not self.after):
                raise Crash
            answer = await call(resource, *args, **more)
            if mine == self.crash_at:
                raise Crash
            return answer

        return counted


class Stage:
    """API server, metrics, hooks and the user; lives of the operator come and go."""

    async def __aenter__(self):
        self.api = ApiServer()
        await self.api.start()
        self.metrics, self.hooks = Metrics(), Hooks()
        self.user = ApiClient(auth.fixed(self.api.url), timeouts=BUSY)
        for definition in DEFINITIONS:
            await self.user.create(CRDS, definition)
        await self.user.create(NAMESPACES, {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NS}})
        self.view = WatchedCluster(self.user)
        await self.view.watch(CANARIES, DEPLOYMENTS, HTTP_ROUTES, CANARY_RUNS, SERVICES)
        self.history, self.unready = [], set()
        self.view.on_change(self._see)
        self._tasks = set()
        return self

    async def __aexit__(self, *_):
        for task in self._tasks:
            task.cancel()
        await self.view.close()
        await self.user.close()
        await self.api.stop()

    def _see(self, resource, kind, body, old):
        if resource == CANARIES:
            status = body.get("status") or {}
            seen = (status.get("phase", ""), status.get("canaryWeight", 0), status.get("failedChecks", 0))
            if not self.history or self.history[-1] != seen:
                self.history.append(seen)
        if resource == DEPLOYMENTS and kind != "DELETED":
            task = asyncio.ensure_future(self._roll_out(body))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _roll_out(self, body):
        """The Deployment controller and its pods: ready at once, but for those whose pods never are."""
        meta, replicas = body["metadata"], body["spec"].get("replicas", 1)
        if (body.get("status") or {}).get("observedGeneration") == meta["generation"]:
            return
        count = {key: replicas for key in ("replicas", "updatedReplicas", "readyReplicas", "availableReplicas")}
        if meta["name"] in self.unready:
            count |= dict.fromkeys(("readyReplicas", "availableReplicas"), 0)
        patch = {"status": {"observedGeneration": meta["generation"], **count}}
        with contextlib.suppress(Exception):
            await self.user.merge(DEPLOYMENTS, meta["namespace"], meta["name"], patch, subresource="status")

    def process(self, *, kind=Process, **more):
        return kind(self, **more)

    async def canary(self, name="app", **analysis):
        checks = [
            {"name": "request-success-rate", "thresholdRange": {"min": 99}},
            {"name": "request-duration", "thresholdRange": {"max": 500}},
        ]
        body = {
            "apiVersion": "flagger.app/v1beta1",
            "kind": "Canary",
            "metadata": {"name": name, "namespace": NS},
            "spec": {
                "targetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": name},
                "service": {"port": 80, "gatewayRefs": [{"name": "gw"}]},
                "analysis": {"interval": "1s", "threshold": 2, "stepWeight": 50, "maxWeight": 50, "metrics": checks} | analysis,
            },
        }
        return await self.user.create(CANARIES, body)

    async def deploy(self, image="app:1", name="app"):
        body = deployment(name, namespace=NS, image=image)
        existing = self.view.get(DEPLOYMENTS, NS, name)
        if existing is None:
            await self.user.create(DEPLOYMENTS, body)
        else:
            await self.user.merge(DEPLOYMENTS, NS, name, {"spec": {"template": body["spec"]["template"]}})

    def status(self, name="app"):
        return (self.view.get(CANARIES, NS, name) or {}).get("status") or {}

    def condition(self, kind, name="app"):
        return next((one for one in self.status(name).get("conditions", ()) if one["type"] == kind), None)

    def image(self, workload):
        return self.view.get(DEPLOYMENTS, NS, workload)["spec"]["template"]["spec"]["containers"][0]["image"]

    def weights(self, name="app"):
        rules = self.view.get(HTTP_ROUTES, NS, name)["spec"]["rules"]
        return {ref["name"]: ref["weight"] for ref in rules[0]["backendRefs"]}

    async def until(self, predicate, seconds=60.0, what=""):
        try:
            async with asyncio.timeout(seconds):
                while not predicate():
                    await asyncio.sleep(0.01)
        except TimeoutError:
            raise AssertionError(f"{what or 'never came true'}; status {json.dumps(self.status())}; history {self.history}") from None

    async def phase(self, *phases, name="app", seconds=60.0):
        await self.until(lambda: self.status(name).get("phase") in phases, seconds, f"phase {phases}")
