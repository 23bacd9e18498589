"""Asks the metrics of a canary: which source, which text, which value.

Knows the three kinds of a metric entry (built-in of the mesh, inline query, MetricTemplate) and turns each into one `Sample`. The
router's built-in queries arrive as an argument, because plug-ins do not know one another. Identical questions are asked once (`sharing`),
built-in checks of many canaries in one query (`together`), and a source that does not answer is left alone for a while (`breaker`).
"""

from __future__ import annotations

import asyncio
import base64
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from typing import Any, TypeVar

from canary.api.analysis import Metric
from canary.api.canary import Canary
from canary.api.metrictemplate import MetricTemplate, MetricTemplateSpec, parse_metric_template
from canary.core.arms import ArmQueries
from canary.core.counted import Counters, Past
from canary.core.errors import CanaryError, Rejected
from canary.core.grouped import GroupedQuery
from canary.core.judge.counters import Side
from canary.core.model import ProvidersResult, Sample
from canary.kube.cluster import Cluster
from canary.kube.resource import METRIC_TEMPLATES, SECRETS
from canary.metrics import arms, batch, pairs, registry
from canary.metrics.base import MetricProvider, Refused, Source, Unreachable
from canary.metrics.breaker import Breakers, Failure
from canary.metrics.gotemplate import TemplateError
from canary.metrics.http import place
from canary.metrics.prometheus import PrometheusProvider, picked
from canary.metrics.render import render_query
from canary.metrics.sharing import MEMORY, Sharing
from canary.metrics.together import Subject, Together

T = TypeVar("T")

GRACE = 1.0
"""Seconds that a provider may overrun its time before it is cut off."""
ONE_LINE = frozenset({"prometheus", "graphite"})
"""Types whose queries are collapsed to one line, as upstream."""


class Asker:
    """Renders and asks. `metrics_server` is the default Prometheus of built-in checks and inline queries; `clock` is monotonic, `now` is Unix time."""

    def __init__(self, *, metrics_server: str, clock: Callable[[], float] = time.monotonic, now: Callable[[], float] = time.time) -> None:
        self._metrics_server = metrics_server
        self._providers: dict[str, MetricProvider] = {}
        self._sharing: Sharing[Sample] = Sharing(clock)
        self._breakers = Breakers(clock)
        self._together = Together(clock, self._grouped)
        self._clock = clock
        self._now = now

    async def builtin(
        self, canary: Canary, metric: Metric, *, template: str, unit_ms: float, timeout: float, grouped: GroupedQuery | None = None
    ) -> Sample:
        """A built-in check; durations come back in milliseconds, whatever the mesh counts in.

        `grouped`: the same check for many canaries, for the case that others ask at the same time.
        """
        sample = await self._ask(self._default(canary), template, canary, metric, timeout, grouped=grouped)
        if metric.name == "request-duration" and sample.value is not None:
            return replace(sample, value=sample.value * unit_ms)
        return sample

    async def inline(self, canary: Canary, metric: Metric, *, timeout: float) -> Sample:
        """The deprecated inline `query`, against the same Prometheus."""
        return await self._ask(self._default(canary), metric.query, canary, metric, timeout)

    async def template(self, canary: Canary, metric: Metric, cluster: Cluster, *, timeout: float, longest: float = 0.0) -> Sample:
        """A MetricTemplate. A missing template, Secret or provider is an erroneous sample with the reason.

        `longest`: seconds that a source known to be slow (InfluxDB, an Analysis of Keptn) may take instead of `timeout`.
        """
        try:
            template = self._find(canary, metric, cluster)
            source = await source_of(template, cluster)
            seconds = max(timeout, min(longest, self._provider(source.type).patience))
            return await self._ask(source, template.spec.query, canary, metric, seconds)
        except CanaryError as error:
            return Sample(error=told(error))

    async def counters(
        self,
        canary: Canary,
        queries: ArmQueries,
        *,
        since: float,
        timeout: float,
        cluster: Cluster | None = None,
        baseline: bool = False,
    ) -> Counters:
        """Raw counters of both versions since then (Unix time, seconds; 0: the last ones there are). What fails is its `error`.

        With `cluster` also what MetricTemplates have pairs of counters for, at the same moment. `baseline`: the old version's counters are
        those of the baseline.
        """
        at = self._now()
        ask = self._series(self._default(canary), canary, timeout)
        main, found = await asyncio.gather(
            arms.counters(ask, queries, at=at, since=since, baseline=baseline),
            self._pairs(canary, cluster, timeout, lambda asks, spec: pairs.counters(asks, spec, at=at, since=since), baseline=baseline),
        )
        return replace(main, pairs=found)

    async def past(self, canary: Canary, queries: ArmQueries, *, timeout: float, cluster: Cluster | None = None) -> Past:
        """The primary's last hour, as `counters`."""
        at = self._now()
        main, found = await asyncio.gather(
            arms.history(self._series(self._default(canary), canary, timeout), queries, at=at),
            self._pairs(canary, cluster, timeout, lambda asks, spec: pairs.history(asks, spec, at=at)),
        )
        return replace(main, pairs=found)

    async def probe(self, canary: Canary, cluster: Cluster, *, timeout: float) -> ProvidersResult:
        """Are the sources of this canary reachable? Asked once per source."""
        errors: list[str] = []
        sources: dict[str, Source] = {}
        for metric in canary.spec.analysis.metrics:
            try:
                if metric.template_ref is not None:
                    template = self._find(canary, metric, cluster)
                    sources[f"metric template {template.metadata.name}.{template.metadata.namespace}"] = await source_of(template, cluster)
                elif metric.builtin:
                    sources["metrics server"] = self._default(canary)
            except CanaryError as error:
                errors.append(error.message)
        found = await asyncio.gather(*(self._online(name, source, timeout) for name, source in sources.items()))
        return ProvidersResult((*errors, *(problem for problem in found if problem)))

    async def close(self) -> None:
        await self._sharing.close()
        await self._together.close()
        for provider in self._providers.values():
            await provider.close()

    def _default(self, canary: Canary) -> Source:
        return Source(type="prometheus", address=canary.spec.metrics_server or self._metrics_server)

    async def _ask(
        self, source: Source, template: str, canary: Canary, metric: Metric, seconds: float, *, grouped: GroupedQuery | None = None
    ) -> Sample:
        variables, one_line = metric.template_variables, source.type in ONE_LINE
        try:
            text = render_query(template, canary, interval=metric.interval_effective, variables=variables, one_line=one_line)
        except TemplateError as error:
            return Sample(error=f"the query of metric {metric.name} does not render: {error}", query=template, provider=source.type)
        window = metric.interval_seconds
        # The limit is part of the key: a patient question must not inherit the time-out of a hurried one.
        key = (source.identity, text, window, seconds)
        # With steps every second, an answer as old as a step would count twice.
        freshness = min(MEMORY, canary.spec.analysis.interval_seconds / 2)
        question = lambda: self._answer(source, text, window, seconds)  # noqa: E731
        if grouped and not variables and (names := batch.names(grouped, canary, metric.interval_effective)):
            subject = Subject(source, source.identity, grouped, metric.interval_effective, seconds)
            pace = canary.spec.analysis.interval_seconds
            question = lambda: self._answer_with_others(subject, names, text, window, pace)  # noqa: E731
        return await self._sharing.ask(key, question, freshness=freshness)

    def _series(self, source: Source, canary: Canary, seconds: float, **about: Any) -> arms.Ask:
        """Asks a Prometheus for raw series. `about`: what else the query is rendered with."""

        async def ask(template: str, at: float) -> list[Any]:
            text = render_query(template, canary, interval="", **about)
            provider = self._provider(source.type)
            assert isinstance(provider, PrometheusProvider)
            return await self._guarded(source, text, lambda: provider.series(source, text, at=at, timeout=seconds), seconds)

        return ask

    async def _pairs(
        self,
        canary: Canary,
        cluster: Cluster | None,
        seconds: float,
        question: Callable[[Mapping[Side, arms.Ask], MetricTemplateSpec], Awaitable[T]],
        *,
        baseline: bool = False,
    ) -> dict[str, T]:
        """The question about every pair of counters that the canary's templates have, by the name of the metric."""
        if cluster is None:
            return {}
        found = pairs.templates(canary, lambda metric: self._find(canary, metric, cluster))

        async def one(number: int, name: str, template: MetricTemplate) -> T:
            metric = next(metric for metric in canary.spec.analysis.metrics if metric.name == name)
            about = {"variables": metric.template_variables}
            try:
                if number >= pairs.MOST:
                    raise Rejected(
                        f"a canary may have {pairs.MOST} pairs of counters, and this is one more", hint="make it role: informational"
                    )
                source = await source_of(template, cluster)
                named = {side: pairs.arm_of(side, baseline=baseline) for side in pairs.SIDES}
                asks = {side: self._series(source, canary, seconds, arm=arm, **about) for side, arm in named.items()}
            except CanaryError as error:
                asks = dict.fromkeys(pairs.SIDES, _refusing(error))
            return await question(asks, template.spec)

        answers = await asyncio.gather(*(one(number, *item) for number, item in enumerate(found.items())))
        return dict(zip(found, answers, strict=True))

    async def _answer_with_others(self, subject: Subject, names: batch.Names, text: str, window: float, pace: float) -> Sample:
        """One part of the answer to many; the answer to `text` when there are no others, the question for all failed, or may have lost it.

        `pace`: seconds between two ticks of the canary.
        """
        source, left = subject.source, subject.seconds
        if subject.identity not in self._breakers:  # a source that has just failed is asked one by one: that is what its breaker counts
            began = self._clock()
            try:
                found = await self._together.ask(subject, names, interval_seconds=pace)
            except CanaryError:
                left -= self._clock() - began
            else:
                if found or (found is not None and not subject.grouped.lossy):
                    return _told_by(source, text, picked(found, text))
        return await self._answer(source, text, window, left)

    async def _grouped(self, source: Source, text: str, seconds: float) -> list[Any]:
        provider = self._provider(source.type)
        assert isinstance(provider, PrometheusProvider)
        answer = await provider.grouped(source, text, timeout=seconds)
        self._breakers.answered(source.identity)
        return answer

    async def _answer(self, source: Source, text: str, window: float, seconds: float) -> Sample:
        try:
            provider = self._provider(source.type)
            question = lambda: provider.query(source, text, window_seconds=window, timeout=seconds)  # noqa: E731
            sample = await self._guarded(source, text, question, seconds)
        except CanaryError as error:
            sample = Sample(error=told(error))
        return _told_by(source, text, sample)

    async def _online(self, name: str, source: Source, seconds: float) -> str:
        try:
            provider = self._provider(source.type)
            problem = await self._guarded(source, "", lambda: provider.online(source, timeout=seconds), seconds)
        except CanaryError as error:
            problem = told(error)
        return f"{name} ({source.type}): {source.scrubbed(problem)}" if problem else ""

    async def _guarded(self, source: Source, text: str, question: Callable[[], Awaitable[T]], seconds: float) -> T:
        """Ask unless the source's breaker is open, and tell it how that went. Raises Unreachable, Refused, Rejected."""
        identity = source.identity
        admission = self._breakers.admit(identity, text)
        if admission.refusal:
            raise Unreachable(admission.refusal)
        name = f"{source.type} {place(source.address)}".rstrip()
        try:
            answer = await _bounded(question, name, seconds)
        except Unreachable as error:
            failure = Failure(text, source.scrubbed(error.message), error.timed_out, error.retry_after or 0.0)
            self._breakers.failed(identity, name, failure, admission)
            raise
        except Refused:
            self._breakers.answered(identity)
            raise
        except BaseException:  # cancelled, or not asked at all (Rejected): nothing is known of the source
            self._breakers.abandoned(identity, admission)
            raise
        self._breakers.answered(identity)
        return answer

    def _provider(self, kind: str) -> MetricProvider:
        if kind not in self._providers:
            self._providers[kind] = registry.provider(kind)
        return self._providers[kind]

    @staticmethod
    def _find(canary: Canary, metric: Metric, cluster: Cluster) -> MetricTemplate:
        assert metric.template_ref is not None
        namespace = metric.template_ref.namespace or canary.metadata.namespace
        body = cluster.get(METRIC_TEMPLATES, namespace, metric.template_ref.name)
        if body is None:
            raise Rejected(
                f"metric template {metric.template_ref.name}.{namespace} not found",
                hint=f"create the MetricTemplate, or correct templateRef of metric {metric.name}",
            )
        return parse_metric_template(body)


def _refusing(error: CanaryError) -> arms.Ask:
    async def ask(template: str, at: float) -> list[Any]:  # noqa: ARG001
        raise error

    return ask


def _told_by(source: Source, text: str, sample: Sample) -> Sample:
    return replace(sample, error=source.scrubbed(sample.error), query=text, provider=source.type)


async def _bounded(question: Callable[[], Awaitable[T]], name: str, seconds: float) -> T:
    """A provider keeps its own time; this is for one that does not. Raises Unreachable."""
    try:
        async with asyncio.timeout(seconds + GRACE):
            return await question()
    except TimeoutError:
        raise Unreachable(f"{name} took more than {seconds:g} s", timed_out=True) from None


async def source_of(template: MetricTemplate, cluster: Cluster) -> Source:
    """Where a template asks, with its Secret (from the *template's* namespace) read now. Raises NotFound, Rejected."""
    provider = template.spec.provider
    secret: Mapping[str, bytes] = {}
    if provider.secret_ref is not None:
        body = await cluster.read(SECRETS, template.metadata.namespace, provider.secret_ref.name)
        secret = {key: base64.b64decode(value) for key, value in (body.get("data") or {}).items()}
    return Source(
        type=provider.type,
        address=provider.address or "",
        headers={name: tuple(values) for name, values in (provider.headers or {}).items()},
        secret=secret,
        region=provider.region or "",
        insecure_skip_verify=bool(provider.insecure_skip_verify),
        cluster=cluster,
        namespace=template.metadata.namespace,
    )


def told(error: CanaryError) -> str:
    """The error with its way out."""
    return f"{error.message}; {error.hint}" if error.hint else error.message
