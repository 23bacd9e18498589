"""A cluster in a process: API server, node, network, metrics, load tester, Git, GitOps engine and the operator.

Real where it matters: Envoy carries the traffic, Prometheus measures it, `git` keeps the truth, the operator is the same `canary run` that a
cluster runs, in a process of its own. Only the API server and the node are stand-ins, and the former passes the same conformance suite as the
real one. Everything lives in one temporary folder and on free ports of the loopback; `stop` leaves nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import signal
import sys
import tempfile
from collections.abc import Coroutine, Mapping
from pathlib import Path
from typing import Any

from canary import __version__
from canary.api.crd import KINDS, crd
from canary.kube import auth
from canary.kube.cache import WatchedCluster
from canary.kube.client import ApiClient
from canary.kube.resource import CANARIES, CANARY_RUNS, DEPLOYMENTS, HTTP_ROUTES, NAMESPACES, SERVICES, Object, Resource
from canary.sandbox.app import Behaviour
from canary.sandbox.controllers import Node
from canary.sandbox.crew import Crew
from canary.sandbox.envoy import Backend, Envoy
from canary.sandbox.gitserver import GitServer
from canary.sandbox.gitsync import GitSync
from canary.sandbox.processes import Child, free_port, listening
from canary.sandbox.programs import Programs
from canary.sandbox.prometheus import PodMetrics, Prometheus, ScrapeTarget
from canary.sandbox.server import ApiServer
from canary.sandbox.stage import APP, HOME, Cast, Listener, Progress, Traffic
from canary.sandbox.words import overhear

IMAGE = "ghcr.io/stefanprodan/podinfo"
CAST = Cast(f"{IMAGE}:5.0.0", f"{IMAGE}:5.1.0", f"{IMAGE}:5.2.0")
IMAGES = {CAST.first: Behaviour(), CAST.good: Behaviour(), CAST.bad: Behaviour(error_rate=0.4)}
"""What the versions do: the third fails two requests in five."""

ROUTE_CRD: Object = {
    "apiVersion": "apiextensions.k8s.io/v1",
    "kind": "CustomResourceDefinition",
    "metadata": {"name": "httproutes.gateway.networking.k8s.io"},
    "spec": {
        "group": "gateway.networking.k8s.io",
        "scope": "Namespaced",
        "names": {"kind": "HTTPRoute", "listKind": "HTTPRouteList", "plural": "httproutes", "singular": "httproute"},
        "versions": [
            {
                "name": "v1",
                "served": True,
                "storage": True,
                "subresources": {"status": {}},
                "schema": {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}},
            }
        ],
    },
}
"""Enough of the Gateway API for the sandbox's network; a real cluster has the project's own definition."""

CRDS = Resource("apiextensions.k8s.io", "v1", "customresourcedefinitions", "CustomResourceDefinition", namespaced=False)
SILENCE = dict.fromkeys(("SLACK_URL", "SLACK_TOKEN", "MSTEAMS_URL", "EVENT_WEBHOOK_URL"), "")
"""The operator of a demo tells nobody, whatever the environment of the person who looks at it says."""
_COUNT_EVERY = 0.25
"""Seconds between looks at Envoy's counters."""


class World:
    """The sandbox as a stage (see `canary.sandbox.stage.Stage`). `images`: what each image does.

    Several may be on one machine: `name` is the cluster's in records, and `git` a Git server that somebody else starts and stops.
    """

    def __init__(
        self,
        programs: Programs,
        images: Mapping[str, Behaviour] = IMAGES,
        cast: Cast = CAST,
        *,
        name: str = "sandbox",
        git: GitServer | None = None,
    ) -> None:
        self.cast = cast
        self.name = name
        self.traffic: Traffic = (0, 0)
        self.parts: dict[str, str] = {}
        self._images = images
        self._programs = programs
        self._stack = contextlib.AsyncExitStack()
        self._crew: Crew | None = None
        self._ours: list[Child] = []
        self._network = asyncio.Lock()
        self._shared_git = git

    async def start(self, progress: Progress = lambda *_: None) -> None:
        """Bring everything up. Raises Ended when a program does not start."""
        self.folder = Path(tempfile.mkdtemp(prefix="canary-sandbox-"))
        self._stack.callback(shutil.rmtree, self.folder, ignore_errors=True)
        self._crew = crew = Crew(self.folder)
        await self._start_api(progress)
        self._start_git(progress)
        self.envoy = Envoy(self._programs.envoy, self.folder, home=HOME)
        self.prometheus = Prometheus(self._programs.prometheus, self.folder)
        self.node = Node(self.cluster, self._images, self.folder, crew=crew, changed=self._follow)
        self._stack.push_async_callback(crew.stop)
        self._stack.push_async_callback(self._dismiss_ours)
        await together(
            self._start_prometheus(progress), self._start_envoy(progress), self._start_tester(progress), self._start_operator(progress)
        )
        self.cluster.on_change(self._on_change)
        crew.spawn(self.node.probe())
        crew.spawn(self._keep_counting())

    async def stop(self) -> None:
        """Stop in the order that keeps everybody's last words: operator and load tester, pods, network, API, folder."""
        await self._stack.aclose()

    def kill(self) -> None:
        """End all processes now."""
        if self._crew:
            self._crew.kill()

    def clearing(self) -> str:
        """What `stop` does, in words."""
        return "stopping everything"

    async def deliver(self, files: Mapping[str, str]) -> tuple[str, GitSync]:
        """A repository on the Git server, applied from now on."""
        url = await asyncio.to_thread(self.git.create, "fleet", files)
        return url, self.follow(url)

    def follow(self, url: str, **how: Any) -> GitSync:
        """A GitOps engine that applies a repository from now on; `how` as of `GitSync`."""
        assert self._crew is not None
        sync = GitSync(url, self.folder, self.client, **how)
        self._crew.spawn(sync.run())
        return sync

    def adapt(self, manifest: str) -> Mapping[str, str]:
        """The manifest as it is, and the sink that the operator writes outcomes to."""
        return {f"apps/{APP}/canary.yaml": manifest, **self.sink()}

    def sink(self, branch: str = "main") -> Mapping[str, str]:
        """The GitSink of this cluster, which is delivered from `branch`, by its path in the repository."""
        text = f"""apiVersion: canary.dev/v1alpha1
kind: GitSink
metadata:
  name: fleet
  namespace: {HOME}
spec:
  cluster: {self.name}
  repository:
    url: {self.git.url}/fleet.git
    branch: {branch}
"""
        return {f"clusters/{self.name}/git-sink.yaml": text}

    async def measured(self) -> None:
        """Returns when Prometheus has scraped for the first time."""
        while not await self.prometheus.measures():  # noqa: ASYNC110 - nobody tells
            await asyncio.sleep(0.1)

    async def count(self) -> Traffic:
        """As Envoy has counted by now."""
        self.traffic = await self.envoy.users_requests()
        return self.traffic

    def listen(self, listener: Listener) -> None:
        """Hear the operator."""
        assert self._crew is not None
        self._crew.spawn(overhear(self.folder / "operator.log", f"{APP}.{HOME}", listener))

    async def trouble(self) -> None:
        """Raises when a process or a task has ended by itself."""
        assert self._crew is not None
        await self._crew.trouble()

    def _ready(self, progress: Progress, part: str, version: str) -> None:
        self.parts[part] = version
        progress(part, version)

    async def _start_api(self, progress: Progress) -> None:
        api = ApiServer()
        await api.start()
        self._stack.push_async_callback(api.stop)
        self.kubeconfig = api.kubeconfig(self.folder / "kubeconfig")
        self.client = ApiClient(auth.load(kubeconfig=str(self.kubeconfig)))
        self._stack.push_async_callback(self.client.close)
        for definition in [ROUTE_CRD, *(crd(kind) for kind in KINDS)]:
            await self.client.create(CRDS, definition)
        await self.client.create(NAMESPACES, {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": HOME}})
        self.cluster = WatchedCluster(self.client)
        self._stack.push_async_callback(self.cluster.close)
        await self.cluster.watch(DEPLOYMENTS, SERVICES, HTTP_ROUTES, CANARIES, CANARY_RUNS)
        self._ready(progress, "api", f"sandbox {__version__}")

    def _start_git(self, progress: Progress) -> None:
        self.git = self._shared_git or GitServer(self.folder / "git")
        if self._shared_git is None:
            self.git.start()
            self._stack.push_async_callback(asyncio.to_thread, self.git.stop)
            self._ready(progress, "git", f"git {self._programs.git_version}")

    async def _start_envoy(self, progress: Progress) -> None:
        assert self._crew is not None
        await self.envoy.start(self._crew)
        self._ready(progress, "proxy", f"envoy {self._programs.envoy_version}")

    async def _start_prometheus(self, progress: Progress) -> None:
        assert self._crew is not None
        self.pod_metrics = PodMetrics(self._scrape_targets)
        await self.pod_metrics.start()
        self._stack.push_async_callback(self.pod_metrics.stop)
        await self.prometheus.start(self._crew, pods=f"127.0.0.1:{self.pod_metrics.port}", envoy=self.envoy.admin)
        self._ready(progress, "metrics", f"prometheus {self._programs.prometheus_version}")

    async def _start_tester(self, progress: Progress) -> None:
        self._tester_port = free_port()
        command = ["-m", "loadtest", f"--port={self._tester_port}", "--host=127.0.0.1", "--log-level=info"]
        await self._program("load tester", command, port=self._tester_port, network=self.envoy.users_url)
        self._ready(progress, "load", f"loadtest {__version__}")

    async def _start_operator(self, progress: Progress) -> None:
        port = free_port()
        command = ["-m", "canary.cli.main", "run", f"--kubeconfig={self.kubeconfig}", "--mesh-provider=gatewayapi:v1", "--host=127.0.0.1"]
        command += [
            f"--metrics-server={self.prometheus.url}",
            f"--port={port}",
            f"--cluster-name={self.name}",
            "--default-gateway=sandbox/network",
        ]
        await self._program("operator", command, port=port, network=self.envoy.url)
        self._ready(progress, "operator", __version__)

    async def _program(self, name: str, command: list[str], *, port: int, network: str) -> None:
        """One of our own programs; Envoy is its network: names of Services resolve by using it as a proxy."""
        assert self._crew is not None
        env = {"TMPDIR": str(self.folder), **proxied(network), **SILENCE}
        log = self.folder / f"{name.replace(' ', '-')}.log"
        child = Child(name, [sys.executable, "-P", *command], log=log, env=env, orphaned=signal.SIGTERM)
        self._ours.append(child)
        await self._crew.start(child, ready=lambda: listening(port))

    async def _dismiss_ours(self) -> None:
        assert self._crew is not None
        await self._crew.dismiss(*self._ours)

    def _on_change(self, resource: Resource, kind: str, body: Object, _: Object | None) -> None:
        assert self._crew is not None
        if resource == DEPLOYMENTS:
            meta = body["metadata"]
            place = (meta["namespace"], meta["name"])
            self._crew.spawn(self.node.remove(*place) if kind == "DELETED" else self._reconcile(*place, body))
        if resource in {SERVICES, HTTP_ROUTES}:
            self._crew.spawn(self._follow())

    async def _reconcile(self, namespace: str, name: str, body: Object) -> None:
        """Only for a spec that the node has not acted on yet: its own status writes come back as changes, too."""
        if (body.get("status") or {}).get("observedGeneration") == body["metadata"]["generation"]:
            return
        newest = self.cluster.get(DEPLOYMENTS, namespace, name)
        if newest is not None:
            await self.node.reconcile(newest)

    async def _follow(self) -> None:
        """Bring Envoy in line with pods, Services and routes; returns when it has taken them."""
        async with self._network:
            backends = [backend for service in self.cluster.list(SERVICES) for backend in self._backends(service)]
            backends.append(Backend(HOME, "load-tester", 80, (("127.0.0.1", self._tester_port),)))
            await self.envoy.configure(backends, self.cluster.list(HTTP_ROUTES))

    async def _keep_counting(self) -> None:
        while True:
            with contextlib.suppress(OSError):  # if Envoy has ended, its own obituary says why
                await self.count()
            await asyncio.sleep(_COUNT_EVERY)

    def _scrape_targets(self) -> list[ScrapeTarget]:
        return [ScrapeTarget(f"127.0.0.1:{pod.port}", pod.namespace, pod.name) for pod in self.node.ready_pods()]

    def _backends(self, service: Object) -> list[Backend]:
        namespace, selector = service["metadata"]["namespace"], service["spec"].get("selector") or {}
        addresses = tuple(
            ("127.0.0.1", pod.port)
            for pod in self.node.ready_pods()
            if pod.namespace == namespace and selector and selector.items() <= dict(pod.labels).items()
        )
        return [Backend(namespace, service["metadata"]["name"], port["port"], addresses) for port in service["spec"].get("ports") or ()]


def proxied(network: str, *, directly: str = "") -> dict[str, str]:
    """Environment of a program that reaches all names through this proxy, but the loopback and the hosts in `directly` (by comma)."""
    env = {"http_proxy": network, "no_proxy": ",".join(filter(None, ("127.0.0.1", "localhost", directly)))}
    return env | {name.upper(): value for name, value in env.items()}


async def together(*work: Coroutine[Any, Any, None]) -> None:
    """Do all of this at the same time. When one fails, the others are ended first, and then its error is raised, without a group around it."""
    try:
        async with asyncio.TaskGroup() as group:
            for one in work:
                group.create_task(one)
    except BaseExceptionGroup as errors:
        raise errors.exceptions[0] from None
