"""What Prometheus sees: tasks by type and result, and gates. Upstream exports process metrics only.

Cardinality is bounded: types are a fixed set (what else a caller sends is `other`), and at most 500 gates get a series.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, PlatformCollector, ProcessCollector
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.metrics_core import Metric

from loadtest.commands import TYPES
from loadtest.gates import KINDS, Gate, GateError, GateKey

GATE_SERIES: Final = 500
_BUCKETS: Final = (0.1, 0.5, 1, 5, 10, 30, 60, 120, 300, 600, 1800, 3600)


class Telemetry:
    """The counters of one server, in a registry of their own so that two servers in a process do not clash."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        PlatformCollector(registry=self.registry)
        self.running = Gauge("loadtester_tasks_running", "Tasks that run now", registry=self.registry)
        self._tasks = Counter(
            "loadtester_tasks_total",
            "Tasks by type and result: succeeded, failed, timeout, cancelled, duplicate, rejected",
            ["type", "result"],
            registry=self.registry,
        )
        self._seconds = Histogram(
            "loadtester_task_duration_seconds", "How long tasks ran", ["type"], buckets=_BUCKETS, registry=self.registry
        )

    def count(self, kind: str, result: str) -> None:
        """One task came to this result."""
        self._tasks.labels(type=kind if kind in TYPES else "other", result=result).inc()

    def ran(self, kind: str, *, result: str, seconds: float) -> None:
        """One task ran and came to this result."""
        self.count(kind, result)
        self._seconds.labels(type=kind).observe(seconds)

    def watch_gates(self, gates: Callable[[], Mapping[GateKey, Gate]], *, clock: Callable[[], datetime]) -> None:
        """Export the gates that `gates()` returns at each scrape."""
        self.registry.register(_GateCollector(gates, clock))


class _GateCollector:
    def __init__(self, gates: Callable[[], Mapping[GateKey, Gate]], clock: Callable[[], datetime]) -> None:
        self._gates = gates
        self._clock = clock

    def describe(self) -> Iterable[Metric]:
        """Names only: the registry must not read the file when it is built."""
        return []

    def collect(self) -> Iterable[Metric]:
        readable = GaugeMetricFamily("loadtester_gate_state_readable", "1 when the gates can be read, 0 when the state is damaged")
        try:
            gates, error = self._gates(), False
        except GateError:
            gates, error = {}, True
        readable.add_metric([], 0 if error else 1)
        yield readable
        if not error:
            yield from self._families(gates)

    def _families(self, gates: Mapping[GateKey, Gate]) -> Iterable[Metric]:
        at = self._clock()
        opened = {key: gate.is_open(at) for key, gate in gates.items()}
        totals = GaugeMetricFamily("loadtester_gates", "Gates by kind and state", labels=["kind", "state"])
        for kind in KINDS:
            states = [is_open for key, is_open in opened.items() if key.kind == kind]
            totals.add_metric([kind, "open"], sum(states))
            totals.add_metric([kind, "closed"], len(states) - sum(states))
        yield totals
        series = GaugeMetricFamily(
            "loadtester_gate_open",
            f"1 when the gate is open; open gates first, at most {GATE_SERIES}",
            labels=["kind", "namespace", "name", "gate"],
        )
        for key, is_open in sorted(opened.items(), key=lambda item: (not item[1], item[0]))[:GATE_SERIES]:
            series.add_metric(list(key), int(is_open))
        yield series
