"""`canary run` as its users run it: a process with flags, a log, an exit code."""

import http.client
import os
import socket
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from tests.testbed.cluster import Cluster
from tests.testbed.mesh import Mesh
from tests.testbed.process import Process
from tests.testbed.waiting import until

CRDS = Path(__file__).parents[2] / "crds"


def free_port() -> int:
    """A port of the loopback that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class Operator:
    """One replica. `start` after `kill` is what Kubernetes does with a pod that died."""

    def __init__(
        self,
        cluster: Cluster,
        folder: Path,
        *flags: str,
        kubeconfig: Path | None = None,
        provider: str = "contour",
        env: dict[str, str] | None = None,
    ) -> None:
        self.folder = folder
        self.port = free_port()
        self.starts = 0
        self.process: Process | None = None
        self._env = env or {}
        self._flags = [
            f"--kubeconfig={kubeconfig or cluster.kubeconfig}",
            f"--mesh-provider={provider}",
            f"--metrics-server={Mesh.prometheus_url}",
            "--host=127.0.0.1",
            f"--port={self.port}",
            *flags,
        ]

    def start(self) -> Process:
        """Start it (again); its log is kept per start."""
        self.starts += 1
        name = f"operator-{self.port}-{self.starts}"
        self.process = Process(name, self.command, log=self.folder / f"{name}.log", env=self._env)
        return self.process

    @property
    def command(self) -> list[str]:
        """As one would type it."""
        return [sys.executable, "-m", "canary.cli.main", "run", *self._flags]

    def wait_ready(self, timeout: float = 90.0) -> None:
        """Until its watch is up. Raises at once when it ended."""
        assert self.process is not None
        until("the operator to be ready", lambda: self.get("/readyz") == "OK", timeout, alarm=self.process.check)

    def get(self, path: str) -> str:
        """The body of an answer with status 200; raises otherwise."""
        with closing(http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)) as connection:
            connection.request("GET", path)
            answer = connection.getresponse()
            body = answer.read().decode()
        if answer.status != 200:
            raise ValueError(f"{path}: {answer.status} {body}")
        return body

    def metrics(self, family: str) -> dict[str, float]:
        """Samples of one metric family by their labels as text."""
        lines = [line for line in self.get("/metrics").splitlines() if line.startswith((f"{family}{{", f"{family} "))]
        return {line.rpartition(" ")[0].removeprefix(family): float(line.rpartition(" ")[2]) for line in lines}

    def kill(self) -> None:
        """SIGKILL, as a node that loses its power."""
        assert self.process is not None
        self.process.stop(grace=0)

    def stop(self) -> int:
        """SIGTERM; the exit code."""
        assert self.process is not None
        return self.process.stop(grace=15)

    def log(self, only: str = "", lines: int = 40) -> str:
        """The last lines of all its logs (that contain `only`)."""
        texts = [path.read_text(errors="replace") for path in sorted(self.folder.glob(f"operator-{self.port}-*.log"), key=os.path.getmtime)]
        return "\n".join([line for line in "".join(texts).splitlines() if only in line][-lines:])


@contextmanager
def operator(cluster: Cluster, folder: Path, *flags: str, **more: Any) -> Iterator[Operator]:
    """A ready operator for the length of a block. Its CRDs are there (fixture `crds`)."""
    it = Operator(cluster, folder, *flags, **more)
    it.start()
    try:
        it.wait_ready()
        yield it
    finally:
        it.stop()
