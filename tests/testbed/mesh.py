"""A real data plane on a `Cluster`: Contour drives Envoy, the pod server answers, Prometheus scrapes both every second.

HTTPProxy and Gateway API routes go through the same Envoy, so a test measures what clients get instead of believing an object's fields.
Chosen because it is the lightest mesh with weights, both APIs, and the metrics of a supported provider: 65 MiB for Contour and as
much for Envoy. Rejected as default: Istio (181 MiB, 15 minutes to build), Traefik (exact round robin hides random splits).
"""

import contextlib
import http.client
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.parse
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar

from tests.testbed import tools
from tests.testbed.cluster import Cluster
from tests.testbed.process import Process, Use, quote_logs, stop_all
from tests.testbed.waiting import until
from tests.testbed.workload import GATEWAY, POD_PORT, Item

T = TypeVar("T")
CONTROLLER = "projectcontour.io/gateway-controller"
_READY_HOST = "ready.test-bed.test"
_GATEWAY_PORT = 8080
_XDS_PORT, _CONTOUR_PORT, _HEALTH_PORT, _STATS_PORT, _PROMETHEUS_PORT = 8001, 8003, 8004, 8002, 9090
# Contour watches these by default and ends at once without them: the standard channel of the Gateway API lacks its versions of them.
_DISABLED = ("tlsroutes", "tcproutes", "backendtlspolicies")


def crds_folder() -> Path:
    """The third-party CRDs: CANARY_MESH_CRDS, or `shared/mesh-crds` beside the checkout."""
    named = os.environ.get("CANARY_MESH_CRDS")
    return Path(named) if named else Path(__file__).parents[3] / "shared" / "mesh-crds"


class Mesh:
    """Contour, Envoy, the pod server and Prometheus. Ready in about six seconds (Prometheus looks for its targets only after five).

    Any number can follow one another on one cluster. `timings` holds seconds: serving, total.
    """

    gateway_url = f"http://127.0.0.1:{_GATEWAY_PORT}"
    prometheus_url = f"http://127.0.0.1:{_PROMETHEUS_PORT}"

    def __init__(self, cluster: Cluster, folder: Path) -> None:
        self.cluster = cluster
        self.folder = folder
        self.timings: dict[str, float] = {}
        self._processes: dict[str, Process] = {}
        self._sockets = ""

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.stop()

    def start(self) -> Self:
        """Install the CRDs and the Gateway, start all programs, wait until Envoy serves and Prometheus has scraped."""
        began = time.monotonic()
        self.folder.mkdir(parents=True, exist_ok=True)
        self._sockets = tempfile.mkdtemp(prefix="mesh-")  # a socket's path may have 108 characters; a test's folder has more
        try:
            self._start_prometheus()
            self._start_podserver()
            self._install_gateway()
            self._start_contour_and_envoy()
            self.wait("Gateway contour to be programmed", self._gateway_programmed)
            self.wait_host(_READY_HOST)
            self.timings["serving"] = time.monotonic() - began
            self.wait("Prometheus to have scraped Envoy and the pods", self._scraped)
        except BaseException as error:
            error.add_note(self.log_tails())
            self.stop()
            raise
        self.timings["total"] = time.monotonic() - began
        return self

    def stop(self) -> None:
        """Kill all programs. The Gateway and the routes stay in the cluster; the logs stay in the folder."""
        stop_all([*reversed(self._processes.values())], grace=0)
        self._processes.clear()
        shutil.rmtree(self._sockets, ignore_errors=True)

    def wait(self, what: str, predicate: Callable[[], T | None], timeout: float = 90.0) -> T:
        """The first truthy value of `predicate`. Raises TimeoutError, or ProcessDiedError as soon as a program of mesh or cluster is gone."""
        return until(what, predicate, timeout, alarm=self._check)

    def wait_host(self, host: str, *, path: str = "/", status: int = 200, timeout: float = 60.0) -> None:
        """Wait until requests for this host through the gateway are answered with this status, many in a row.

        One is not enough: the endpoints of several backends arrive one after another, and until the last is there its share gets 503.
        """

        def steady() -> bool:
            return all(self._get(_GATEWAY_PORT, path, host=host)[0] == status for _ in range(40))

        self.wait(f"http://{host}{path} to answer {status}", steady, timeout)

    def query(self, promql: str) -> list[tuple[dict[str, str], float]]:
        """Labels and values of an instant query, as Prometheus answers it now."""
        status, body = self._get(_PROMETHEUS_PORT, "/api/v1/query?" + urllib.parse.urlencode({"query": promql}))
        answer = json.loads(body)
        if status != 200 or answer["status"] != "success":
            raise ValueError(f"Prometheus refused {promql}: {answer.get('error', body)}")
        return [(sample["metric"], float(sample["value"][1])) for sample in answer["data"]["result"]]

    def pod_requests(self, namespace: str, *, by: str = "pod") -> Counter[str]:
        """How many requests each pod (or `by="image"`) of a namespace has answered since it started, mirrored ones included."""
        counts: Counter[str] = Counter()
        for entry in json.loads(self._get(POD_PORT, "/requests")[1]):
            if entry["namespace"] == namespace:
                counts[entry[by]] += entry["count"]
        return counts

    def process(self, name: str) -> Process:
        """One program, for tests that stop or freeze it: contour, envoy, podserver, prometheus."""
        return self._processes[name]

    def processes(self) -> dict[str, Use]:
        """CPU and memory of every running program, by its name."""
        return {name: use for name, process in self._processes.items() if (use := process.use()) is not None}

    def log_tails(self, lines: int = 8) -> str:
        """The last lines of every log, for the report of a failed test."""
        return quote_logs(self._processes.values(), lines)

    def _run(self, name: str, command: Sequence[str | Path]) -> None:
        self._processes[name] = Process(name, command, log=self.folder / f"{name}.log")

    def _start_prometheus(self) -> None:
        configuration = self.folder / "prometheus.yaml"
        # A test bed's Envoy has a cluster per Service: all of its families are 400 kB a second to write, parse and store; these are a quarter.
        families = {"filter": ["upstream_rq"]}
        envoy = [{"targets": [f"127.0.0.1:{_STATS_PORT}"]}]
        jobs = [
            {"job_name": "envoy", "metrics_path": "/stats/prometheus", "params": families, "static_configs": envoy},
            {"job_name": "pods", "honor_labels": True, "static_configs": [{"targets": [f"127.0.0.1:{POD_PORT}"]}]},
        ]
        configuration.write_text(json.dumps({"global": {"scrape_interval": "1s"}, "scrape_configs": jobs}), encoding="utf-8")
        address = f"--web.listen-address=127.0.0.1:{_PROMETHEUS_PORT}"
        storage = f"--storage.tsdb.path={self.folder / 'prometheus'}"
        self._run("prometheus", [tools.find("prometheus"), f"--config.file={configuration}", storage, address, "--log.level=warn"])

    def _start_podserver(self) -> None:
        token = self.folder / "token"
        token.write_text(self.cluster.keys.admin_token, encoding="ascii")
        token.chmod(0o600)
        where = ["--server", self.cluster.url, "--ca", str(self.cluster.keys.authority.root.certificate), "--token-file", str(token)]
        # -P: this folder has modules (process, api) that must not hide others of that name.
        self._run("podserver", [sys.executable, "-P", Path(__file__).with_name("podserver.py"), *where, "--port", str(POD_PORT)])

    def _install_gateway(self) -> None:
        self.cluster.crds(crds_folder() / "contour.yaml", crds_folder() / "gateway-api-standard.yaml")
        api, namespace = "gateway.networking.k8s.io/v1", GATEWAY["namespace"]
        listener = {"name": "http", "protocol": "HTTP", "port": 80, "allowedRoutes": {"namespaces": {"from": "All"}}}
        gateway = {"gatewayClassName": "contour", "listeners": [listener]}
        # Contour opens Envoy's listener with the first route; this one also shows, all the way through, that routes arrive.
        ready = {"virtualhost": {"fqdn": _READY_HOST}, "routes": [{"directResponsePolicy": {"statusCode": 200}}]}
        items: list[Item] = [
            {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}},
            {"apiVersion": api, "kind": "GatewayClass", "metadata": {"name": "contour"}, "spec": {"controllerName": CONTROLLER}},
            {"apiVersion": api, "kind": "Gateway", "metadata": dict(GATEWAY), "spec": gateway},
            {"apiVersion": "projectcontour.io/v1", "kind": "HTTPProxy", "metadata": GATEWAY | {"name": "ready"}, "spec": ready},
        ]
        self.cluster.apply(items)

    def _start_contour_and_envoy(self) -> None:
        contour, xds = tools.find("contour"), ["--xds-address=127.0.0.1", f"--xds-port={_XDS_PORT}"]
        configuration, bootstrap = self.folder / "contour.yaml", self.folder / "envoy.json"
        configuration.write_text(json.dumps({"gateway": {"gatewayRef": GATEWAY}, "accesslog-level": "disabled"}), encoding="utf-8")
        self._run("contour", [
            contour, "serve", f"--kubeconfig={self.cluster.kubeconfig}", "--insecure", *xds, f"--config-path={configuration}",
            "--disable-leader-election", "--http-address=127.0.0.1", f"--http-port={_CONTOUR_PORT}", "--health-address=127.0.0.1",
            f"--health-port={_HEALTH_PORT}", *(f"--disable-feature={feature}" for feature in _DISABLED),
        ])  # fmt: skip
        admin = f"--admin-address={self._sockets}/admin.sock"
        subprocess.run([contour, "bootstrap", bootstrap, *xds, admin], check=True, capture_output=True)
        # Hot restart shares memory between all Envoys of the machine, over the borders of network namespaces.
        self._run("envoy", [
            tools.find("envoy"), "-c", bootstrap, "--service-cluster", "projectcontour", "--service-node", "envoy", "--concurrency", "1",
            "--disable-hot-restart", "-l", "warn",
        ])  # fmt: skip

    def _gateway_programmed(self) -> bool:
        path = f"/apis/gateway.networking.k8s.io/v1/namespaces/{GATEWAY['namespace']}/gateways/{GATEWAY['name']}"
        conditions = self.cluster.api.get(path).get("status", {}).get("conditions", [])
        return any(c["type"] == "Programmed" and c["status"] == "True" for c in conditions)

    def _scraped(self) -> bool:
        return {labels["job"]: value for labels, value in self.query("up")} == {"envoy": 1.0, "pods": 1.0}

    def _check(self) -> None:
        self.cluster.check()
        for process in self._processes.values():
            process.check()

    @staticmethod
    def _get(port: int, path: str, *, host: str | None = None) -> tuple[int, str]:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
        with contextlib.closing(connection):
            connection.request("GET", path, headers={"Host": host} if host else {})
            answer = connection.getresponse()
            return answer.status, answer.read().decode()
