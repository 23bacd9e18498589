"""Asks the metrics of a canary: which source, which text, which value.

Knows the three kinds of a metric entry (built-in of the mesh, inline query, MetricTemplate) and turns each into one `Sample`. The
router's built-in queries arrive as an argument, because plug-ins do not know one another.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import replace

from canary.api.analysis import Metric
from canary.api.canary import Canary
from canary.api.metrictemplate import MetricTemplate, parse_metric_template
from canary.core.errors import CanaryError, Rejected
from canary.core.model import ProvidersResult, Sample
from canary.kube.cluster import Cluster
from canary.kube.resource import METRIC_TEMPLATES, SECRETS
from canary.metrics import registry
from canary.metrics.base import MetricProvider, Source
from canary.metrics.gotemplate import TemplateError
from canary.metrics.render import render_query


class Asker:
    """Renders and asks. `metrics_server` is the default Prometheus of built-in checks and inline queries."""

    def __init__(self, *, metrics_server: str) -> None:
        self._metrics_server = metrics_server
        self._providers: dict[str, MetricProvider] = {}

    async def builtin(self, canary: Canary, metric: Metric, *, template: str, unit_ms: float, timeout: float) -> Sample:
        """A built-in check; durations come back in milliseconds, whatever the mesh counts in."""
        sample = await self._ask(self._default(canary), template, canary, metric, timeout)
        if metric.name == "request-duration" and sample.value is not None:
            return replace(sample, value=sample.value * unit_ms)
        return sample

    async def inline(self, canary: Canary, metric: Metric, *, timeout: float) -> Sample:
        """The deprecated inline `query`, against the same Prometheus."""
        return await self._ask(self._default(canary), metric.query, canary, metric, timeout)

    async def template(self, canary: Canary, metric: Metric, cluster: Cluster, *, timeout: float) -> Sample:
        """A MetricTemplate. A missing template, Secret or provider is an erroneous sample with the reason."""
        try:
            template = self._find(canary, metric, cluster)
            source = await source_of(template, cluster)
            return await self._ask(source, template.spec.query, canary, metric, timeout)
        except CanaryError as error:
            return Sample(error=f"{error.message}; {error.hint}" if error.hint else error.message)

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
        for name, source in sources.items():
            try:
                if problem := await self._provider(source.type).online(source, timeout=timeout):
                    errors.append(f"{name} ({source.type}): {problem}")
            except CanaryError as error:
                errors.append(f"{name}: {error.message}")
        return ProvidersResult(tuple(errors))

    async def close(self) -> None:
        for provider in self._providers.values():
            await provider.close()

    def _default(self, canary: Canary) -> Source:
        return Source(type="prometheus", address=canary.spec.metrics_server or self._metrics_server)

    async def _ask(self, source: Source, template: str, canary: Canary, metric: Metric, seconds: float) -> Sample:
        try:
            text = render_query(template, canary, interval=metric.interval_effective, variables=metric.template_variables)
        except TemplateError as error:
            return Sample(error=f"the query of metric {metric.name} does not render: {error}", query=template, provider=source.type)
        try:
            sample = await self._provider(source.type).query(source, text, window_seconds=metric.interval_seconds, timeout=seconds)
        except CanaryError as error:
            return Sample(error=error.message, query=text, provider=source.type)
        return replace(sample, provider=source.type)

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
    )
