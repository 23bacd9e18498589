"""Dynatrace: a metric selector over the last ten intervals, as one value (`resolution=Inf`)."""

from __future__ import annotations

from typing import Any

from canary.core.model import Sample
from canary.metrics.base import LOOKBACK, Refused, Source
from canary.metrics.http import HttpProvider, Request, base_url, deadline_in, headers_of
from canary.metrics.values import excerpt, number, only, part


class DynatraceProvider(HttpProvider):
    """`GET /api/v2/metrics/query`. Secret: `dynatrace_token`."""

    async def query(self, source: Source, text: str, *, window_seconds: float, timeout: float) -> Sample:
        now = self._clock()
        params = (
            ("metricSelector", text),
            ("resolution", "Inf"),
            ("from", str(int((now - LOOKBACK * window_seconds) * 1000))),
            ("to", str(int(now * 1000))),
        )
        answer = await self._http.send(_request(source, "/api/v2/metrics/query", params), deadline=deadline_in(timeout))
        return Sample(value=picked(answer.json()), query=text)

    async def online(self, source: Source, *, timeout: float) -> str:
        """The list of metrics must be readable."""
        request = _request(source, "/api/v2/metrics", (("pageSize", "1"),))
        (await self._http.send(request, deadline=deadline_in(timeout))).expect_success()
        return ""


def _request(source: Source, path: str, params: tuple[tuple[str, str], ...]) -> Request:
    own = {"Authorization": f"Api-Token {source.needed('dynatrace_token')}", "Accept": "application/json"}
    return Request(base_url(source) + path, params=params, headers=headers_of(source, own), verify=not source.insecure_skip_verify)


def picked(body: Any) -> float | None:
    """The only value of the only entry of the only metric; None for null. Raises Refused."""
    if isinstance(body, dict) and body.get("error"):
        raise Refused(f"dynatrace cannot answer the query: {excerpt(body['error'])}")
    metrics = part(body, "result", list)
    metric = only(metrics, [each.get("metricId") if isinstance(each, dict) else each for each in metrics])
    if metric is None:
        return None
    entries = part(metric, "data", list)
    entry = only(entries, [_dimensions(each) for each in entries])
    if entry is None:
        return None
    values = part(entry, "values", list)
    if len(values) > 1:
        raise Refused(f"the query answers with {len(values)} values in time where one is needed: {excerpt(values)}")
    return number(values[0], what="the value") if values else None


def _dimensions(entry: Any) -> Any:
    return entry.get("dimensionMap") or entry.get("dimensions") if isinstance(entry, dict) else entry
