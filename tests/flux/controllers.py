"""Flux's own controllers as processes, and what its users write: sources, Kustomizations, HelmReleases."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.e2e.operators import free_port
from tests.testbed import tools
from tests.testbed.cluster import Cluster
from tests.testbed.process import Process, quote_logs, stop_all

Item = dict[str, Any]

SYSTEM = "flux-system"
CONTROLLERS = ("source-controller", "kustomize-controller", "helm-controller")
COLLECTIONS = {
    "GitRepository": "/apis/source.toolkit.fluxcd.io/v1/namespaces/flux-system/gitrepositories",
    "Kustomization": "/apis/kustomize.toolkit.fluxcd.io/v1/namespaces/flux-system/kustomizations",
    "HelmRelease": "/apis/helm.toolkit.fluxcd.io/v2/namespaces/flux-system/helmreleases",
}
REQUESTED = "reconcile.fluxcd.io/requestedAt"


class Flux:
    """The three controllers on a cluster. They run as the administrator, as Flux does by default."""

    def __init__(self, cluster: Cluster, folder: Path) -> None:
        self.cluster = cluster
        self._folder = folder
        self._processes: list[Process] = []

    def start(self) -> None:
        """Their CRDs first: a controller whose kinds are missing ends."""
        self.cluster.crds(*(tools.crds(name) for name in CONTROLLERS))
        self.cluster.api.apply(f"/api/v1/namespaces/{SYSTEM}", {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": SYSTEM}})
        storage = f"127.0.0.1:{free_port()}"
        own = {
            "source-controller": [f"--storage-path={self._folder}/artifacts", f"--storage-addr={storage}", f"--storage-adv-addr={storage}"]
        }
        (self._folder / "artifacts").mkdir()
        env = {"KUBECONFIG": str(self.cluster.kubeconfig), "RUNTIME_NAMESPACE": SYSTEM, "HOME": str(self._folder)}
        for name in CONTROLLERS:
            ports = [f"--metrics-addr=127.0.0.1:{free_port()}", f"--health-addr=127.0.0.1:{free_port()}"]
            command = [tools.find(name), "--requeue-dependency=1s", "--log-level=info", *ports, *own.get(name, [])]
            if name == "source-controller":
                command.remove("--requeue-dependency=1s")
            self._processes.append(Process(name, command, log=self._folder / f"{name}.log", env=env))

    def stop(self) -> None:
        """Kill them: what they know is in the cluster."""
        stop_all(self._processes, grace=0)

    def check(self) -> None:
        """Raise when one has ended by itself."""
        for process in self._processes:
            process.check()

    def logs(self, lines: int = 12) -> str:
        """The ends of their logs."""
        return quote_logs(self._processes, lines)

    def apply(self, item: Item) -> None:
        """As `kubectl apply`."""
        self.cluster.api.apply(f"{COLLECTIONS[item['kind']]}/{item['metadata']['name']}", item)

    def get(self, kind: str, name: str) -> Item:
        """One object."""
        found: Item = self.cluster.api.get(f"{COLLECTIONS[kind]}/{name}")
        return found

    def suspend(self, kind: str, name: str, suspended: bool) -> None:
        """As `flux suspend` and `flux resume`."""
        patch = {"spec": {"suspend": suspended}}
        self.cluster.api.call("PATCH", f"{COLLECTIONS[kind]}/{name}", patch, content_type="application/merge-patch+json")

    def reconcile(self, kind: str, name: str) -> str:
        """As `flux reconcile`, without waiting; what was asked for."""
        asked = str(time.time())
        patch = {"metadata": {"annotations": {REQUESTED: asked}}}
        self.cluster.api.call("PATCH", f"{COLLECTIONS[kind]}/{name}", patch, content_type="application/merge-patch+json")
        return asked

    def reconciled(self, kind: str, name: str) -> None:
        """As `flux reconcile`: returns when it has been done."""
        asked = self.reconcile(kind, name)
        self.cluster.wait(f"{kind} {name} to be reconciled", lambda: self.get(kind, name)["status"].get("lastHandledReconcileAt") == asked)


@contextmanager
def flux(cluster: Cluster, folder: Path) -> Iterator[Flux]:
    """Running controllers for the length of a block."""
    it = Flux(cluster, folder)
    try:
        it.start()
        yield it
    finally:
        it.stop()


def _of(kind: str, name: str, **spec: Any) -> Item:
    version = COLLECTIONS[kind].removeprefix("/apis/").partition("/namespaces")[0]
    return {"apiVersion": version, "kind": kind, "metadata": {"name": name, "namespace": SYSTEM}, "spec": spec}


def git_repository(name: str, url: str) -> Item:
    """A source that looks every second, so that a commit of ours is found without being announced."""
    return _of("GitRepository", name, interval="1s", url=url, ref={"branch": "main"}, timeout="20s")


def kustomization(name: str, path: str) -> Item:
    """Applied when the source has something new, or by request."""
    source = {"kind": "GitRepository", "name": name}
    return _of("Kustomization", name, interval="1h", retryInterval="1s", path=path, prune=True, sourceRef=source)


def helm_release(name: str, *, source: str, chart: str, namespace: str, values: Item) -> Item:
    """A chart in the same repository, taken anew with every commit."""
    spec = {"chart": chart, "sourceRef": {"kind": "GitRepository", "name": source}, "reconcileStrategy": "Revision", "interval": "1h"}
    more = {"targetNamespace": namespace, "releaseName": name, "values": values, "driftDetection": {"mode": "disabled"}}
    return _of("HelmRelease", name, interval="1h", timeout="60s", chart={"spec": spec}, **more)
