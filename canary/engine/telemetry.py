"""The operator's own metrics: every name in one place, because dashboards and alerts are contracts.

`flagger_*` keep upstream's names, labels and values (reference 2.19), including that `name` is the *target's*; ours are
`canary_*`. A registry object per operator instead of the process-wide default, so that tests can run several. Series of
deleted canaries are removed (upstream keeps them for ever, Q39).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Protocol

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, Metric
from prometheus_client.registry import Collector

from canary import __version__
from canary.api.canary import Canary
from canary.api.status import Phase
from canary.core import model


class RequestCounts(Protocol):
    """What the API client counted: (verb, resource, code) to number of requests."""

    @property
    def counts(self) -> dict[tuple[str, str, str], int]:
        """A live mapping."""
        ...


class _Requests(Collector):
    """Exports the client's plain counters at scrape time, so that the hot path never touches a metric object."""

    def __init__(self, source: RequestCounts) -> None:
        self.source = source

    def collect(self) -> Iterable[Metric]:
        family = CounterMetricFamily("canary_api_requests", "Requests sent to the API server.", labels=("verb", "resource", "code"))
        for labels, count in list(self.source.counts.items()):
            family.add_metric(labels, count)
        yield family


class Telemetry:
    """All metric families of one operator."""

    def __init__(self, *, mesh_provider: str) -> None:
        self.registry = CollectorRegistry()
        make: Any = {"registry": self.registry}
        self.info = Gauge("flagger_info", "The operator's version and mesh provider.", ("version", "mesh_provider"), **make)
        self.info.labels(__version__, mesh_provider).set(1)
        self.total = Gauge("flagger_canary_total", "Canaries in a namespace.", ("namespace",), **make)
        self.status = Gauge("flagger_canary_status", "0 progressing, 1 settled, 2 failed.", ("name", "namespace"), **make)
        self.weight = Gauge("flagger_canary_weight", "Traffic weight in percent.", ("workload", "namespace"), **make)
        self.tick_seconds = Histogram("flagger_canary_duration_seconds", "Wall time of one analysis tick.", ("name", "namespace"), **make)
        self.analysis = Gauge("flagger_canary_metric_analysis", "Last value of a check.", ("name", "namespace", "metric"), **make)
        outcome = ("name", "namespace", "deployment_strategy", "analysis_status")
        self.successes = Counter("flagger_canary_successes", "Promotions.", outcome, **make)
        self.failures = Counter("flagger_canary_failures", "Rollbacks and failed promotions.", outcome, **make)
        self.phase = Gauge("canary_phase", "1 for the phase that a canary is in.", ("name", "namespace", "phase"), **make)
        self.check = Gauge("canary_check_verdict", "1 for the last verdict of a check.", ("name", "namespace", "metric", "verdict"), **make)
        self.bound = Gauge("canary_check_bound", "Bounds of a check.", ("name", "namespace", "metric", "bound"), **make)
        self.failed_checks = Gauge("canary_failed_checks", "Failed checks of the current run.", ("name", "namespace"), **make)
        self.ticks = Counter("canary_ticks", "Ticks by how they ended.", ("result",), **make)
        self.lateness = Histogram(
            "canary_tick_lateness_seconds",
            "How long after its time a tick began.",
            buckets=(0.01, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30),
            **make,
        )
        self.leader = Gauge("canary_leader", "1 while this process may act.", **make)
        self.git_effects = Counter("canary_git_effects", "Git effects by how they ended.", ("effect", "result"), **make)
        self.git_outbox = Gauge("canary_git_outbox_depth", "Git effects that wait.", **make)
        self._seen: dict[tuple[str, str], tuple[str, set[str]]] = {}

    def requests_from(self, source: RequestCounts) -> None:
        """Export the API client's request counts."""
        self.registry.register(_Requests(source))

    def text(self) -> bytes:
        """Prometheus text format."""
        return generate_latest(self.registry)

    def observe(self, canary: Canary, routes: model.Routes | None) -> None:
        """Bring all gauges of one canary in line with its status."""
        namespace, name = canary.metadata.namespace, canary.metadata.name
        target, status = canary.spec.target_ref.name, canary.status
        self._seen.setdefault((namespace, name), (target, set()))
        value = {Phase.PROGRESSING: 0, Phase.FAILED: 2}.get(status.phase, 1)
        self.status.labels(target, namespace).set(value)
        for phase in Phase:
            if phase:
                self.phase.labels(name, namespace, phase.value).set(1 if phase == status.phase else 0)
        self.failed_checks.labels(name, namespace).set(status.failed_checks or 0)
        if routes is not None:
            self.weight.labels(f"{target}-primary", namespace).set(routes.primary)
            self.weight.labels(target, namespace).set(routes.canary)
        self._observe_checks(canary)

    def _observe_checks(self, canary: Canary) -> None:
        namespace, name, target = canary.metadata.namespace, canary.metadata.name, canary.spec.target_ref.name
        known = self._seen[namespace, name][1]
        for check in canary.status.checks or ():
            known.add(check.name)
            if check.value is not None:
                seconds = check.name == "request-duration"  # upstream exports this one in seconds
                self.analysis.labels(target, namespace, check.name).set(check.value / 1000 if seconds else check.value)
            for verdict in ("Pass", "Fail", "NoData", "Error"):
                self.check.labels(name, namespace, check.name, verdict).set(1 if verdict == check.verdict else 0)
        for metric in canary.spec.analysis.metrics:
            for side in ("min", "max"):
                bound = getattr(metric.bounds, side)
                if bound is not None:
                    known.add(metric.name)
                    self.bound.labels(name, namespace, metric.name, side).set(bound)

    def finished(self, canary: Canary, counter: model.Counter) -> None:
        """Count one outcome."""
        family = self.successes if counter.success else self.failures
        family.labels(canary.spec.target_ref.name, canary.metadata.namespace, counter.strategy, counter.analysis).inc()

    def census(self, namespaces: Iterable[str]) -> None:
        """Set the per-namespace totals; a namespace that emptied goes away."""
        self.total.clear()
        for namespace in namespaces:
            self.total.labels(namespace).inc()

    def forget(self, namespace: str, name: str) -> None:
        """Remove every series of a deleted canary."""
        target, checks = self._seen.pop((namespace, name), ("", set()))
        if not target:
            return
        for family in (self.status, self.tick_seconds):
            _drop(family, target, namespace)
        for workload in (target, f"{target}-primary"):
            _drop(self.weight, workload, namespace)
        _drop(self.failed_checks, name, namespace)
        for phase in Phase:
            _drop(self.phase, name, namespace, phase.value)
        for check in checks:
            _drop(self.analysis, target, namespace, check)
            for verdict in ("Pass", "Fail", "NoData", "Error"):
                _drop(self.check, name, namespace, check, verdict)
            for side in ("min", "max"):
                _drop(self.bound, name, namespace, check, side)


def _drop(family: Gauge | Histogram, *labels: str) -> None:
    """Remove one series; silently nothing when it was never set."""
    family.remove(*labels)
