"""The operator's own metrics: every name in one place, because dashboards and alerts are contracts.

`flagger_*` keep upstream's names, labels and values (reference 2.19), including that `name` is the *target's*; ours are
`canary_*`. A registry object per operator instead of the process-wide default, so that tests can run several. Series of
deleted canaries are removed (upstream keeps them for ever, Q39); those of single checks (`canary_check_*`) exist only while a run is under way and a
while after it, and are bounded in number, because whoever writes Canaries chooses how many there are.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Protocol

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, Metric
from prometheus_client.registry import Collector

from canary import __version__
from canary.api.analysis import ThresholdRange
from canary.api.canary import Canary
from canary.api.status import CheckStatus, Evidence, Phase, Verdict
from canary.core import model, telling
from canary.core.conditions import BREAKER_OPEN, HELD, INCONCLUSIVE, PROMOTED

MOST_CHECKS = 10_000
"""Checks with series of their own (twelve each at most) at one time."""
LINGER = 300.0
"""Seconds that the checks of a run stay after its end, so that its last verdicts are scraped; they go at the first look after that."""
ANALYSIS = frozenset({Phase.PROGRESSING, Phase.WAITING_PROMOTION, Phase.PROMOTING, Phase.FINALISING})
SIDES = ("min", "max")


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
        check = ("name", "namespace", "metric")
        self.value = Gauge("canary_check_value", "Last value of a check, in the unit of its bounds; absent without data.", check, **make)
        self.check = Gauge("canary_check_verdict", "1 for the last verdict of a check.", (*check, "verdict"), **make)
        self.bound = Gauge("canary_check_bound", "Bounds of a check.", (*check, "bound"), **make)
        self.evidence = Gauge("canary_analysis_evidence", "Decimal logarithm of the judge's evidence.", (*check, "kind"), **make)
        self.excess_upper = Gauge(
            "canary_analysis_excess_upper", "Most by which the canary is worse, as a share of requests.", check, **make
        )
        self.excess_lower = Gauge(
            "canary_analysis_excess_lower", "Least by which the canary is worse, as a share of requests.", check, **make
        )
        self.needed = Gauge("canary_analysis_requests_needed", "Canary requests that a promotion takes in all, as foreseen.", check, **make)
        self.left_out = Counter("canary_checks_left_out", "How often a check was not exported because there were too many.", **make)
        self.failed_checks = Gauge("canary_failed_checks", "Failed checks of the current run.", ("name", "namespace"), **make)
        self.waits = Gauge("canary_waits_for_person", "1 while a run waits for a person.", ("name", "namespace", "reason"), **make)
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
        self.git_oldest = Gauge("canary_git_outbox_oldest_seconds", "How long the oldest outcome has waited for Git.", **make)
        self.breaker = Gauge(
            "canary_git_breaker_open", "1 while a rejected release that came again is held.", ("name", "namespace"), **make
        )
        self._seen: dict[tuple[str, str], tuple[str, set[str]]] = {}
        self._checks: dict[tuple[str, str], set[str]] = {}
        self._count = 0

    def requests_from(self, source: RequestCounts) -> None:
        """Export the API client's request counts."""
        self.registry.register(_Requests(source))

    def text(self) -> bytes:
        """Prometheus text format."""
        return generate_latest(self.registry)

    def observe(self, canary: Canary, routes: model.Routes | None, *, now: float = 0.0) -> None:
        """Bring all gauges of one canary in line with its status; `now` is Unix time."""
        namespace, name = canary.metadata.namespace, canary.metadata.name
        target, status = canary.spec.target_ref.name, canary.status
        self._seen.setdefault((namespace, name), (target, set()))
        value = {Phase.PROGRESSING: 0, Phase.FAILED: 2}.get(status.phase, 1)
        self.status.labels(target, namespace).set(value)
        for phase in Phase:
            if phase:
                self.phase.labels(name, namespace, phase.value).set(1 if phase == status.phase else 0)
        self.failed_checks.labels(name, namespace).set(status.failed_checks or 0)
        self._observe_wait(canary)
        if routes is not None:
            self.weight.labels(f"{target}-primary", namespace).set(routes.primary)
            self.weight.labels(target, namespace).set(routes.canary)
        if status.condition(BREAKER_OPEN) is not None:
            self.breaker.labels(name, namespace).set(1)
        else:
            _drop(self.breaker, name, namespace)
        self._observe_checks(canary, now)

    def _observe_wait(self, canary: Canary) -> None:
        promoted = canary.status.condition(PROMOTED)
        for reason in (HELD, INCONCLUSIVE):
            labels = (canary.metadata.name, canary.metadata.namespace, reason)
            if promoted is not None and promoted.reason == reason:
                self.waits.labels(*labels).set(1)
            else:
                _drop(self.waits, *labels)

    def _observe_checks(self, canary: Canary, now: float) -> None:
        key, target = (canary.metadata.namespace, canary.metadata.name), canary.spec.target_ref.name
        shown = _in_analysis(canary, now)
        last = {check.name: check for check in canary.status.checks} if shown else {}
        for check in last.values():
            if check.value is not None:
                self._seen[key][1].add(check.name)
                seconds = check.name == "request-duration"  # upstream exports this one in seconds
                self.analysis.labels(target, key[0], check.name).set(check.value / 1000 if seconds else check.value)
        bounds = {metric.name: metric.bounds for metric in canary.spec.analysis.metrics} if shown else {}
        for gone in self._checks.get(key, set()) - last.keys() - bounds.keys():
            self._drop_check(key, gone)
        for metric in last.keys() | bounds.keys():
            if self._admitted(key, metric):
                self._observe_check(key, metric, last.get(metric), bounds.get(metric, ThresholdRange()))

    def _admitted(self, key: tuple[str, str], metric: str) -> bool:
        """Whether there is room for the series of this check."""
        checks = self._checks.setdefault(key, set())
        if metric in checks:
            return True
        if self._count >= MOST_CHECKS:
            self.left_out.inc()
            return False
        checks.add(metric)
        self._count += 1
        return True

    def _observe_check(self, key: tuple[str, str], metric: str, check: CheckStatus | None, bound: ThresholdRange) -> None:
        """`bound` is the one of the spec; the check may have been made with another."""
        labels = (key[1], key[0], metric)
        bound = check.bound if check is not None and check.bound is not None else bound
        if check is not None:
            for verdict in Verdict:
                self.check.labels(*labels, verdict.value).set(1 if verdict is check.verdict else 0)
        if check is None or check.value is None:
            _drop(self.value, *labels)
        else:
            self.value.labels(*labels).set(check.value)
        for side in SIDES:
            limit = getattr(bound, side)
            if limit is None:
                _drop(self.bound, *labels, side)
            else:
                self.bound.labels(*labels, side).set(limit)
        self._observe_evidence(labels, check.evidence if check is not None else None)

    def _observe_evidence(self, labels: tuple[str, str, str], evidence: Evidence | None) -> None:
        numbers = evidence or Evidence()
        for family, more, value in (
            (self.evidence, ("fail",), numbers.fail),
            (self.evidence, ("pass",), numbers.passed),
            (self.excess_upper, (), numbers.upper),
            (self.excess_lower, (), numbers.lower),
            (self.needed, (), numbers.needed),
        ):
            if value is None:
                _drop(family, *labels, *more)
            else:
                family.labels(*labels, *more).set(value)

    def _drop_check(self, key: tuple[str, str], metric: str) -> None:
        labels = (key[1], key[0], metric)
        self._checks[key].remove(metric)
        self._count -= 1
        _drop(self.value, *labels)
        for verdict in Verdict:
            _drop(self.check, *labels, verdict.value)
        for side in SIDES:
            _drop(self.bound, *labels, side)
        self._observe_evidence(labels, None)
        if not self._checks[key]:
            del self._checks[key]

    def finished(self, canary: Canary, counter: telling.Counter) -> None:
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
        for check in list(self._checks.get((namespace, name), ())):
            self._drop_check((namespace, name), check)
        target, checks = self._seen.pop((namespace, name), ("", set()))
        if not target:
            return
        for family in (self.status, self.tick_seconds):
            _drop(family, target, namespace)
        for workload in (target, f"{target}-primary"):
            _drop(self.weight, workload, namespace)
        _drop(self.failed_checks, name, namespace)
        for reason in (HELD, INCONCLUSIVE):
            _drop(self.waits, name, namespace, reason)
        _drop(self.breaker, name, namespace)
        for phase in Phase:
            _drop(self.phase, name, namespace, phase.value)
        for check in checks:
            _drop(self.analysis, target, namespace, check)


def _in_analysis(canary: Canary, now: float) -> bool:
    """Whether a run is under way, or has ended not long ago."""
    run = canary.status.run
    if canary.status.phase in ANALYSIS:
        return True
    return run is not None and run.finished_at is not None and now < run.finished_at.timestamp() + LINGER


def _drop(family: Gauge | Histogram, *labels: str) -> None:
    """Remove one series; silently nothing when it was never set."""
    family.remove(*labels)
