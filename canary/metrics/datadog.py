"""Datadog: a metrics query over the last ten intervals, judged by its newest complete bucket.

Upstream takes the oldest point, on purpose, because the newest bucket is only half filled; but that judges a release by what was measured
ten intervals ago, usually before it began. The answer says how long its buckets are, so the newest *complete* one can be had instead.
"""

from __future__ import annotations

from typing import Any

from canary.core.model import Sample
from canary.metrics.base import LOOKBACK, Refused, Source
from canary.metrics.http import HttpProvider, Request, base_url, deadline_in, headers_of
from canary.metrics.values import excerpt, kind_of, number, only, part

ADDRESS = "https://api.datadoghq.com"


class DatadogProvider(HttpProvider):
    """`GET /api/v1/query`. Secret: `datadog_api_key` and `datadog_application_key`."""

    async def query(self, source: Source, text: str, *, window_seconds: float, timeout: float) -> Sample:
        now = self._clock()
        params = (("query", text), ("from", str(int(now - LOOKBACK * window_seconds))), ("to", str(int(now))))
        answer = await self._http.send(_request(source, "/api/v1/query", params), deadline=deadline_in(timeout))
        return Sample(value=picked(answer.json(), now), query=text)

    async def online(self, source: Source, *, timeout: float) -> str:
        """`GET /api/v1/validate` must be 200."""
        answer = await self._http.send(_request(source, "/api/v1/validate", ()), deadline=deadline_in(timeout))
        answer.expect_success()
        return ""


def _request(source: Source, path: str, params: tuple[tuple[str, str], ...]) -> Request:
    own = {"DD-API-KEY": source.needed("datadog_api_key"), "DD-APPLICATION-KEY": source.needed("datadog_application_key")}
    return Request(base_url(source, ADDRESS) + path, params=params, headers=headers_of(source, own), verify=not source.insecure_skip_verify)


def picked(body: Any, now: float) -> float | None:
    """The newest bucket of the only series that is over and holds a value; None without one. Raises Refused."""
    if isinstance(body, dict) and (body.get("status") == "error" or body.get("error")):
        raise Refused(f"datadog cannot answer the query: {excerpt(body.get('error') or body)}")
    series = part(body, "series", list)
    one = only(series, [_name(each) for each in series])
    if one is None:
        return None
    points = [_point(each) for each in part(one, "pointlist", list)]
    seconds = number(one.get("interval"), what="the series' interval") or 0.0
    complete = [(at, value) for at, value in points if value is not None and at / 1000 + seconds <= now]
    return max(complete)[1] if complete else None


def _point(point: Any) -> tuple[float, float | None]:
    """(milliseconds since 1970, value)."""
    if not isinstance(point, list) or len(point) != 2:
        raise Refused(f"a point of the answer is {kind_of(point)}, not [time, value]: {excerpt(point)}")
    at = number(point[0], what="the time of a point")
    if at is None:
        raise Refused("a point of the answer has no time")
    return at, number(point[1], what="a point's value")


def _name(series: Any) -> Any:
    return series.get("expression") or series.get("scope") or series.get("metric") if isinstance(series, dict) else series
