"""A release on the test bed, end to end: our operator as a process, a canary, its application, and real clients in front of it."""

import json
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.testbed.cluster import Cluster
from tests.testbed.mesh import Mesh
from tests.testbed.process import Process
from tests.testbed.traffic import Ask, Traffic
from tests.testbed.waiting import until
from tests.testbed.workload import GATEWAY, deployment, root_proxy

CRDS = Path(__file__).parents[2] / "crds"
PORT = 8181


class Operator:
    """`canary run` as its users run it."""

    def __init__(self, cluster: Cluster, folder: Path, *flags: str, kubeconfig: Path | None = None, provider: str = "contour") -> None:
        self.cluster = cluster
        self.folder = folder
        self._kubeconfig = kubeconfig or cluster.kubeconfig
        self._flags = [
            f"--mesh-provider={provider}",
            f"--metrics-server={Mesh.prometheus_url}",
            f"--port={PORT}",
            "--host=127.0.0.1",
            *flags,
        ]
        self._serial = 0
        self.process: Process | None = None

    def start(self) -> Process:
        """Start it (again); its log is kept per start."""
        self._serial += 1
        command = [sys.executable, "-m", "canary.cli.main", "run", f"--kubeconfig={self._kubeconfig}", *self._flags]
        self.process = Process(f"operator-{self._serial}", command, log=self.folder / f"operator-{self._serial}.log")
        return self.process

    def kill(self) -> None:
        """SIGKILL, as a node that loses its power."""
        assert self.process is not None
        self.process.stop(grace=0)

    def stop(self) -> int:
        """SIGTERM; the exit code."""
        assert self.process is not None
        return self.process.stop(grace=15)

    def log(self) -> str:
        return "\n".join(path.read_text(errors="replace") for path in sorted(self.folder.glob("operator-*.log")))


@contextmanager
def operator(cluster: Cluster, folder: Path, *flags: str, **more: Any) -> Iterator[Operator]:
    """An operator with its CRDs, for the length of a test."""
    cluster.crds(*sorted(CRDS.glob("*.yaml")))
    it = Operator(cluster, folder, *flags, **more)
    it.start()
    try:
        yield it
    except BaseException as error:
        error.add_note(it.log()[-6000:])
        raise
    finally:
        it.stop()


def canary(name: str, namespace: str, analysis: dict[str, Any], *, service: dict[str, Any] | None = None, **spec: Any) -> dict[str, Any]:
    """A Canary of the Deployment of the same name, with both built-in checks unless `analysis` has metrics of its own."""
    checks = [
        {"name": "request-success-rate", "thresholdRange": {"min": 99}, "interval": "10s"},
        {"name": "request-duration", "thresholdRange": {"max": 500}, "interval": "10s"},
    ]
    body = {
        "targetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": name},
        "progressDeadlineSeconds": 60,
        "service": {"port": 80, "targetPort": 9898} | (service or {}),
        "analysis": {"interval": "1s", "threshold": 5, "metrics": checks} | analysis,
    }
    return {
        "apiVersion": "flagger.app/v1beta1",
        "kind": "Canary",
        "metadata": {"name": name, "namespace": namespace},
        "spec": body | spec,
    }


class Stage:
    """One application `app` in one namespace, reached by its host through the mesh."""

    def __init__(self, cluster: Cluster, namespace: str, name: str = "app") -> None:
        self.cluster = cluster
        self.namespace = namespace
        self.name = name
        self.host = f"{name}.{namespace}.test"
        self.image = "app:1"

    def deploy(
        self, image: str = "app:1", *, replicas: int = 1, env: dict[str, str] | None = None, annotations: dict[str, str] | None = None
    ) -> None:
        """Apply the Deployment, as a GitOps engine would: without replicas after the first time, so that scaling stays the operator's."""
        body = deployment(self.name, namespace=self.namespace, image=image, replicas=replicas, env=env, annotations=annotations)
        if self.exists("deployment", self.name):
            del body["spec"]["replicas"]
        self.image = image
        self.cluster.apply(body)

    def expose_by_contour(self) -> None:
        """A root HTTPProxy that includes the canary's."""
        self.cluster.apply(root_proxy("root", namespace=self.namespace, host=self.host, include=self.name))

    @property
    def gateway(self) -> dict[str, Any]:
        """`service` of a canary on the Gateway API."""
        return {"hosts": [self.host], "gatewayRefs": [dict(GATEWAY)]}

    def ask(self, path: str = "/", **more: Any) -> Ask:
        return Ask(url=Mesh.gateway_url, host=self.host, path=path, **more)

    def traffic(self, *, rate: float = 50.0, path: str = "/", **more: Any) -> Traffic:
        options = {key: more.pop(key) for key in ("users", "keep_cookies") if key in more}
        return Traffic(self.ask(path, **more), rate=rate, **options)

    def get(self, resource: str, name: str) -> dict[str, Any]:
        return self.cluster.get(resource, name, self.namespace)

    def exists(self, resource: str, name: str) -> bool:
        try:
            self.get(resource, name)
        except Exception:
            return False
        return True

    @property
    def status(self) -> dict[str, Any]:
        return self.get("canaries.flagger.app", self.name).get("status") or {}

    @property
    def phase(self) -> str:
        return self.status.get("phase", "")

    def wait_phase(self, *phases: str, timeout: float = 60.0, never: Sequence[str] = ()) -> dict[str, Any]:
        """The status once it is in one of these phases. AssertionError as soon as it is in one of `never`."""

        def there() -> dict[str, Any] | None:
            status = self.status
            assert status.get("phase") not in never, f"phase {status.get('phase')}: {json.dumps(status.get('failureReason'))}"
            return status if status.get("phase") in phases else None

        return until(f"phase {' or '.join(phases)} of {self.namespace}/{self.name}", there, timeout, alarm=self.cluster.check)

    def wait_weight(self, weight: int, *, timeout: float = 60.0) -> None:
        until(f"weight {weight}", lambda: self.status.get("canaryWeight") == weight, timeout, alarm=self.cluster.check)

    def wait_image(self, workload: str, image: str, *, timeout: float = 60.0) -> None:
        until(f"{workload} to run {image}", lambda: self.image_of(workload) == image, timeout, alarm=self.cluster.check)

    def image_of(self, workload: str) -> str:
        return self.get("deployments.apps", workload)["spec"]["template"]["spec"]["containers"][0]["image"]

    def events(self) -> list[dict[str, Any]]:
        """Events on the canary, oldest first."""
        listed = json.loads(self.cluster.kubectl("get", "events", "-n", self.namespace, "-o", "json"))["items"]
        mine = [
            event for event in listed if event["involvedObject"].get("kind") == "Canary" and event["involvedObject"]["name"] == self.name
        ]
        return sorted(mine, key=lambda event: int(event["metadata"]["resourceVersion"]))

    def messages(self) -> list[str]:
        return [event["message"] for event in self.events()]

    def weights_seen(self, *, until_phase: Sequence[str] = ("Succeeded", "Failed"), timeout: float = 60.0) -> list[int]:
        """Every weight that the status showed until the run ended."""
        seen: list[int] = []
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline:
            status = self.status
            weight = status.get("canaryWeight", 0)
            if weight and (not seen or seen[-1] != weight):
                seen.append(weight)
            if status.get("phase") in until_phase:
                return seen
            time.sleep(0.05)
        raise TimeoutError(f"the run did not end; weights {seen}, status {self.status}")
