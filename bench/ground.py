"""The ground that a contestant is measured on: a fresh cluster, its own counted account, a Prometheus that always says yes.

Order matters: the FlowSchemas must be in force before the operator says its first word, or its first requests are counted nowhere.
"""

import sys
import time
import urllib.request
from collections import Counter
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from bench import flows, parsing
from bench.contestants import PORT, PROMETHEUS_PORT, ROOT, Contestant
from bench.figures import Spent
from bench.load import CANARIES, DEPLOYMENTS, NAMESPACE, STRATEGIC, app, change, objects
from bench.machine import busy_seconds, cores, own_seconds
from bench.timeline import Timeline
from tests.testbed.cluster import Cluster
from tests.testbed.process import Process, ProcessDiedError, Use
from tests.testbed.waiting import until

WRITERS = 16
"""Threads that create and change the load."""


class Ground:
    """One contestant, running on a cluster of its own."""

    def __init__(self, contestant: Contestant, cluster: Cluster, operator: Process) -> None:
        self.contestant = contestant
        self.cluster = cluster
        self.operator = operator
        self.timeline = Timeline(cluster)

    def create(self, numbers: range, *, interval: str) -> dict[str, float]:
        """Create these applications; the moment of each, by name."""

        def one(number: int) -> tuple[str, float]:
            began = time.monotonic()
            for path, body in objects(number, interval=interval):
                self.cluster.api.call("POST", path, body)
            return app(number), began

        with ThreadPoolExecutor(WRITERS) as pool:
            return dict(pool.map(one, numbers))

    def release(self, numbers: range, image: str) -> dict[str, float]:
        """Change the image of these applications; the moment of each, by name."""

        def one(number: int) -> tuple[str, float]:
            began = time.monotonic()
            self.cluster.api.call("PATCH", f"{DEPLOYMENTS}/{app(number)}", change(image), content_type=STRATEGIC)
            return app(number), began

        with ThreadPoolExecutor(WRITERS) as pool:
            return dict(pool.map(one, numbers))

    def delete(self, numbers: range) -> None:
        """Delete these applications, Canary first."""
        for number in numbers:
            for path in (CANARIES, DEPLOYMENTS):
                self.cluster.api.call("DELETE", f"{path}/{app(number)}")

    def wait(self, phase: str, after: Mapping[str, float], *, timeout: float) -> dict[str, float]:
        """Seconds until each canary entered a phase. Raises what `Timeline.wait` raises, and ProcessDiedError."""
        return self.timeline.wait(phase, after, timeout=timeout, alarm=self.check)

    def check(self) -> None:
        """Raise ProcessDiedError when the operator or a part of the control plane ended."""
        self.operator.check()
        self.cluster.check()

    def own_metrics(self) -> str:
        """The contestant's /metrics."""
        return _get(f"http://127.0.0.1:{PORT}/metrics")

    def meter(self) -> "Meter":
        """Begin to measure."""
        return Meter(self)


class Meter:
    """What the operator spends from its construction to `read`."""

    def __init__(self, ground: Ground) -> None:
        self._ground = ground
        self._before = self._look()
        self._cpu = self._processor()

    def read(self) -> Spent:
        """The stage so far."""
        cpu = self._processor() - self._cpu
        use = _use(self._ground.operator)
        before, now = self._before, self._look()
        return Spent(
            seconds=cpu.seconds,
            cpu_seconds=cpu.operator,
            rss_mib=use.rss_mib,
            peak_rss_mib=use.peak_rss_mib,
            queries=now.queries - before.queries,
            requests=_by_text(now.requests - before.requests),
            own_requests=_by_text(_own_requests(now.own) - _own_requests(before.own)),
            lateness_p99=parsing.quantile(0.99, parsing.since(_lateness(before.own), _lateness(now.own))),
            ticks=_ticks(now.own) - _ticks(before.own) if now.own else None,
            cluster_cpu_seconds=cpu.cluster,
            others=max(0.0, cpu.all - cpu.operator - cpu.cluster - cpu.bench) / (cpu.seconds * cores()),
        )

    def _look(self) -> "_Look":
        ground = self._ground
        own = ground.own_metrics() if ground.contestant.extended else ""
        return _Look(queries=_queries(), requests=flows.counts(ground.cluster.api.text("GET", "/metrics")), own=own)

    def _processor(self) -> "_Processor":
        used = self._ground.cluster.processes()
        operator = used.pop("operator").cpu_seconds
        stub = used.pop("prometheus-stub").cpu_seconds
        return _Processor(
            seconds=time.monotonic(),
            all=busy_seconds(),
            operator=operator,
            cluster=sum(use.cpu_seconds for use in used.values()),
            bench=own_seconds() + stub,
        )


@dataclass(frozen=True, kw_only=True)
class _Look:
    queries: int
    requests: flows.Counts
    own: str


@dataclass(frozen=True, kw_only=True)
class _Processor:
    """A moment, and CPU seconds up to it: of all that runs on the machine, and of our parts."""

    seconds: float
    all: float
    operator: float
    cluster: float
    bench: float

    def __sub__(self, earlier: "_Processor") -> "_Processor":
        return _Processor(**{name: value - getattr(earlier, name) for name, value in asdict(self).items()})


@contextmanager
def ground(contestant: Contestant, folder: Path) -> Iterator[Ground]:
    """A fresh cluster with the contestant running and ready on it; all of it is gone afterwards. Logs stay in `folder`."""
    with Cluster(folder) as cluster:
        cluster.crds(*contestant.crds)
        cluster.create_namespace(NAMESPACE)
        kubeconfig = _counted_account(cluster)
        cluster.run("prometheus-stub", [sys.executable, ROOT / "bench" / "stub.py", str(PROMETHEUS_PORT)])
        until("the Prometheus stand-in", lambda: _get(f"http://127.0.0.1:{PROMETHEUS_PORT}/count"), 20)
        operator = cluster.run("operator", [*contestant.command, f"-kubeconfig={kubeconfig}"])
        until(f"{contestant.name} to be ready", lambda: _get(f"http://127.0.0.1:{PORT}/{_probe(contestant)}"), 60, alarm=operator.check)
        started = Ground(contestant, cluster, operator)
        try:
            yield started
        except (TimeoutError, ProcessDiedError) as error:
            error.add_note(f"the end of {operator.log}:\n{operator.tail(20)}")
            raise
        finally:
            started.timeline.close()


def _probe(contestant: Contestant) -> str:
    return "readyz" if contestant.extended else "healthz"


def _counted_account(cluster: Cluster) -> Path:
    """The account whose requests are counted: may do everything, and is counted from now on. Its kubeconfig."""
    accounts = f"/api/v1/namespaces/{NAMESPACE}/serviceaccounts"
    cluster.api.call("POST", accounts, {"metadata": {"name": flows.ACCOUNT}})
    role = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin"}
    subject = {"kind": "ServiceAccount", "namespace": NAMESPACE, "name": flows.ACCOUNT}
    binding = {"metadata": {"name": "bench-operator"}, "roleRef": role, "subjects": [subject]}
    cluster.api.call("POST", "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings", binding)
    for schema in flows.schemas():
        cluster.api.call("POST", "/apis/flowcontrol.apiserver.k8s.io/v1/flowschemas", schema)
    kubeconfig = cluster.kubeconfig_for_service_account(NAMESPACE, flows.ACCOUNT)

    def counted() -> bool:
        # the API server takes schemas up in the order in which they were made: once the last one counts, all do
        cluster.kubectl("get", "--raw", "/version", kubeconfig=kubeconfig)
        return flows.counts(cluster.api.text("GET", "/metrics"))[flows.OTHER, flows.OTHER] > 0

    cluster.wait("the FlowSchemas to count", counted)
    return kubeconfig


def _get(url: str) -> str:
    with urllib.request.urlopen(url, timeout=10) as answer:
        return str(answer.read().decode())


def _queries() -> int:
    return int(_get(f"http://127.0.0.1:{PROMETHEUS_PORT}/count"))


def _use(process: Process) -> Use:
    use = process.use()
    if use is None:
        process.check()
        raise ProcessDiedError(f"{process.name} is gone")
    return use


def _own_requests(metrics: str) -> Counter[tuple[str, ...]]:
    return parsing.counted(metrics, "canary_api_requests_total", ("verb", "resource", "code"))


def _lateness(metrics: str) -> dict[float, float]:
    return parsing.buckets(metrics, "canary_tick_lateness_seconds")


def _ticks(metrics: str) -> int:
    return sum(parsing.counted(metrics, "canary_ticks_total", ()).values())


def _by_text(counts: Mapping[Any, int]) -> dict[str, int]:
    """Counts by words instead of tuples of words, the greatest first."""
    return {" ".join(what): count for what, count in sorted(counts.items(), key=lambda item: -item[1]) if count}
