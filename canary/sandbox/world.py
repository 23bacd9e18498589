"""A cluster in a process: API server, node, network, metrics, load tester, Git, GitOps engine and the operator.

Real where it matters: Envoy carries the traffic, Prometheus measures it, `git` keeps the truth, the operator is the same `canary run` that a
cluster runs, in a process of its own. Only the API server and the node are stand-ins, and the former passes the same conformance suite as the
real one. Everything lives in one temporary folder and on free ports of the loopback; `stop` leaves nothing.
"""

from __future__ import annotations

import asyncio
import shutil
import sys
import tempfile
from collections.abc import Coroutine, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from canary.api.crd import KINDS, crd
from canary.kube import auth
from canary.kube.cache import WatchedCluster
from canary.kube.client import ApiClient
from canary.kube.resource import CANARIES, CANARY_RUNS, DEPLOYMENTS, EVENTS, GIT_SINKS, HTTP_ROUTES, NAMESPACES, SERVICES, Object, Resource
from canary.sandbox import programs
from canary.sandbox.app import Behaviour
from canary.sandbox.controllers import Node
from canary.sandbox.envoy import Backend, Envoy
from canary.sandbox.gitserver import GitServer
from canary.sandbox.gitsync import GitSync
from canary.sandbox.processes import Child, free_port, listening
from canary.sandbox.prometheus import PodMetrics, Prometheus, ScrapeTarget
from canary.sandbox.server import ApiServer

HOME = "prod"
"""The namespace of the story; its Services resolve by their short names."""

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
_KINDS = {resource.kind: resource for resource in (CANARIES, DEPLOYMENTS, SERVICES, HTTP_ROUTES, GIT_SINKS, NAMESPACES)}


class World:
    """`start()`, then `async with world:`; nothing is left afterwards, also when the start fails."""

    def __init__(self, images: Mapping[str, Behaviour]) -> None:
        self._images = images
        self.folder = Path(tempfile.mkdtemp(prefix="canary-sandbox-"))
        self.api = ApiServer()
        self.git = GitServer(self.folder / "git")
        self.envoy = Envoy(programs.envoy(), self.folder, home=HOME)
        self.prometheus = Prometheus(programs.prometheus(), self.folder)
        self.pod_metrics = PodMetrics(self._scrape_targets)
        self.operator_port = free_port()
        self._tester_port = free_port()
        self.children: list[Child] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._wake = asyncio.Event()

    async def start(self) -> None:
        """Bring everything but the operator up. Raises NotFound (a program is missing) or Retryable (one did not start)."""
        try:
            await self._start()
        except BaseException:
            await self.stop()
            raise

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self.stop()

    async def _start(self) -> None:
        await self.api.start()
        self.git.start()
        self.kubeconfig = self.folder / "kubeconfig"
        self.api.kubeconfig(self.kubeconfig)
        self.client = ApiClient(auth.load(kubeconfig=str(self.kubeconfig), context="", master=""))
        for definition in [ROUTE_CRD, *(crd(kind) for kind in KINDS)]:
            await self.client.create(CRDS, definition)
        await self.client.create(NAMESPACES, {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": HOME}})
        self.cluster = WatchedCluster(self.client, namespace="")
        self.node = Node(self.cluster, self._images, self.folder, changed=self._wake.set)
        await self.cluster.watch(DEPLOYMENTS, SERVICES, HTTP_ROUTES, CANARIES, CANARY_RUNS, EVENTS)
        self.cluster.on_change(self._on_change)
        await asyncio.gather(self.envoy.start(), self._start_prometheus(), self._start_tester())
        self._spawn(self._network())
        self._spawn(self.node.probe())

    async def _start_prometheus(self) -> None:
        await self.pod_metrics.start()
        await self.prometheus.start(pods=f"127.0.0.1:{self.pod_metrics.port}", envoy=self.envoy.admin)

    async def _start_tester(self) -> None:
        command = [sys.executable, "-m", "loadtest", f"--port={self._tester_port}", "--host=127.0.0.1", "--log-level=info"]
        await self._child("load tester", command, self._tester_port, network=self.envoy.users_url)

    async def start_operator(self) -> Child:
        """The operator as its users run it."""
        command = [sys.executable, "-m", "canary.cli.main", "run", f"--kubeconfig={self.kubeconfig}", "--mesh-provider=gatewayapi:v1"]
        command += [f"--metrics-server={self.prometheus.url}", f"--port={self.operator_port}", "--cluster-name=sandbox", "--default-gateway=sandbox/network"]
        return await self._child("operator", command, self.operator_port, network=self.envoy.url)

    async def _child(self, name: str, command: list[str], port: int, *, network: str) -> Child:
        """A program of the sandbox; Envoy is its network: names of Services resolve by using it as a proxy."""
        proxy = {"http_proxy": network, "no_proxy": "127.0.0.1,localhost"}
        env = {**proxy, **{name.upper(): value for name, value in proxy.items()}}
        child = Child(name, command, log=self.folder / f"{name.replace(' ', '-')}.log", env=env)
        await child.start()
        self.children.append(child)
        await child.until(lambda: listening(port))
        return child

    def follow(self, url: str) -> GitSync:
        """Deliver this repository to the cluster."""
        sync = GitSync(url, self.folder, self)
        self._spawn(sync.run())
        return sync

    async def apply_any(self, manifest: Object) -> None:
        """What the GitOps engine applies; an older API version is addressed as the manifest says."""
        resource = _KINDS[manifest["kind"]]
        group, _, version = manifest["apiVersion"].rpartition("/")
        asked = Resource(group, version, resource.plural, resource.kind, namespaced=resource.namespaced)
        await self.client.apply(asked, manifest, manager="gitops")

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _on_change(self, resource: Resource, kind: str, body: Object, _: Object | None) -> None:
        if resource == DEPLOYMENTS:
            meta = body["metadata"]
            work = (
                self.node.remove(meta["namespace"], meta["name"])
                if kind == "DELETED"
                else self._reconcile(meta["namespace"], meta["name"], body)
            )
            self._spawn(work)
        if resource in {SERVICES, HTTP_ROUTES}:
            self._wake.set()

    async def _reconcile(self, namespace: str, name: str, body: Object) -> None:
        """Only for a spec that the node has not acted on yet: its own status writes come back as changes, too."""
        if (body.get("status") or {}).get("observedGeneration") == body["metadata"]["generation"]:
            return
        newest = self.cluster.get(DEPLOYMENTS, namespace, name)
        if newest is not None:
            await self.node.reconcile(newest)

    async def _network(self) -> None:
        """Bring Envoy and Prometheus in line whenever pods, Services or routes have changed."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            backends = [backend for service in self.cluster.list(SERVICES) for backend in self._backends(service)]
            backends.append(Backend(HOME, "load-tester", 80, (("127.0.0.1", self._tester_port),)))
            self.envoy.configure(backends, self.cluster.list(HTTP_ROUTES))

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

    async def stop(self) -> None:
        """Stop in the order that keeps everybody's last words: operator, workers, pods, network, API, folder."""
        for child in reversed(self.children):
            await child.stop()
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for part in ("node", "envoy", "prometheus", "pod_metrics"):
            if it := getattr(self, part, None):
                await it.stop()
        for name in ("cluster", "client"):
            if it := getattr(self, name, None):
                await it.close()
        await asyncio.to_thread(self.git.stop)
        await self.api.stop()
        shutil.rmtree(self.folder, ignore_errors=True)
