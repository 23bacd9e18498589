"""A cluster with Flux, a Git server, and the operator with the rights that its chart gives it. One of each for all tests of this folder."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import pytest

from canary.sandbox.gitserver import GitServer
from tests.charts.rbac import install_rbac
from tests.e2e.objects import collection
from tests.e2e.operators import Operator, operator
from tests.flux.controllers import Flux, flux, git_repository, kustomization
from tests.flux.prometheus_stub import Errors
from tests.flux.repository import SOURCE
from tests.testbed import tools
from tests.testbed.absence import absent
from tests.testbed.cluster import Cluster

Item = dict[str, Any]


@dataclass(frozen=True)
class Fleet:
    """One repository, `fleet`, whose folder `apps` Flux applies; applications live in `namespace`."""

    cluster: Cluster
    git: GitServer
    flux: Flux
    operator: Operator
    errors: Errors
    namespace: str

    def push(self, files: dict[str, str | None], message: str) -> str:
        """A commit by a developer; its id."""
        return self.git.write(SOURCE, files, message=message)

    def get(self, plural: str, name: str) -> Item:
        """An object of the applications' namespace."""
        found: Item = self.cluster.api.get(f"{collection(plural, self.namespace)}/{name}")
        return found

    def condition(self, app: str, kind: str) -> Item:
        """A condition of a Canary; empty when it has none."""
        conditions = self.get("canaries", app).get("status", {}).get("conditions", ())
        return next((one for one in conditions if one["type"] == kind), {})

    def image(self, workload: str) -> str:
        """The image of a Deployment's template."""
        return str(self.get("deployments", workload)["spec"]["template"]["spec"]["containers"][0]["image"])

    def runs(self, app: str) -> list[Item]:
        """The runs of a Canary, oldest first."""
        items = self.cluster.api.get(collection("canaryruns", self.namespace))["items"]
        mine = [item for item in items if item["spec"]["canaryRef"]["name"] == app]
        return sorted(mine, key=lambda item: item["spec"]["startedAt"])

    def events(self, app: str, action: str) -> list[Item]:
        """The events about a Canary with this action."""
        items = self.cluster.api.get(collection("events", self.namespace))["items"]
        return [item for item in items if item["involvedObject"]["name"] == app and item.get("action") == action]

    def log(self, path: str = ".", branch: str = "main") -> list[str]:
        """`<author>: <subject>` of the commits that touched a path, newest first."""
        return self.git.git(SOURCE, "log", "--format=%an: %s", branch, "--", path).splitlines()

    def wait(self, what: str, predicate: Any, timeout: float = 60.0) -> Any:
        """The first truthy value; fails at once when a program of the test bed has ended."""
        self.flux.check()
        try:
            return self.cluster.wait(what, predicate, timeout)
        except TimeoutError as error:
            error.add_note(f"--- operator\n{self.operator.log(lines=25)}\n{self.flux.logs()}")
            raise

    def wait_phase(self, app: str, phase: str, timeout: float = 60.0) -> None:
        """Until the Canary is in this phase."""
        self.wait(f"{app} to be {phase}", lambda: self.get("canaries", app)["status"]["phase"] == phase, timeout)


_NUMBERS = itertools.count(1)


@pytest.fixture(scope="package")
def fleet(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    """All of it, with an empty folder `apps`. A worker that takes another package's file in between makes it twice, hence the numbers."""
    if reason := tools.missing(tools.FLUX):
        absent(reason)
    folder = tmp_path_factory.mktemp("flux")
    with ExitStack() as parts:
        git = parts.enter_context(_served(GitServer(folder / "git")))
        errors = Errors()
        parts.callback(errors.stop)
        running = parts.enter_context(flux(cluster, folder))
        number = next(_NUMBERS)
        system, namespace = (cluster.create_namespace(f"{name}-{number}") for name in ("canary-system", "apps"))
        parts.callback(lambda: [cluster.delete_namespace(one) for one in (namespace, system)])
        account = install_rbac(cluster, system)
        flags = (f"--metrics-server={errors.url}",)
        watching = parts.enter_context(operator(cluster, folder, *flags, kubeconfig=account, provider="kubernetes"))
        url = git.create(SOURCE, {"apps/namespace.yaml": f"apiVersion: v1\nkind: Namespace\nmetadata:\n  name: {namespace}\n"})
        running.apply(git_repository(SOURCE, url))
        running.apply(kustomization(SOURCE, "./apps"))
        sink = {"repository": {"url": url}, "cluster": "cluster-001", "onSuccess": {"tag": True}}
        head = {"apiVersion": "canary.dev/v1alpha1", "kind": "GitSink", "metadata": {"name": "fleet", "namespace": namespace}}
        cluster.api.apply(f"{collection('gitsinks', namespace)}/fleet", head | {"spec": sink})
        yield Fleet(cluster, git, running, watching, errors, namespace)


@contextmanager
def _served(git: GitServer) -> Iterator[GitServer]:
    git.start()
    try:
        yield git
    finally:
        git.stop()
