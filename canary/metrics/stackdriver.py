"""Google Cloud Monitoring: one query in MQL, judged by the newest point of its only series.

Upstream speaks gRPC and reads whole numbers as 0; this is the same call over HTTP. As upstream the template's `address` is ignored:
tokens of the operator must not follow a tenant's text.
"""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import quote

from canary.core.errors import Rejected
from canary.core.model import Sample
from canary.metrics.base import Refused, Source
from canary.metrics.google_auth import GoogleAuth
from canary.metrics.http import Answer, HttpProvider, Request, complaint, deadline_in
from canary.metrics.values import excerpt, number, only, part

ADDRESS = "https://monitoring.googleapis.com"
OVERRIDE = "CLOUDSDK_API_ENDPOINT_OVERRIDES_MONITORING"
_PROJECT = re.compile(r"[a-z0-9.:-]{1,100}")


class StackdriverProvider(HttpProvider):
    """`POST /v3/projects/<project>/timeSeries:query`. Secret: `project`, and `serviceAccountKey` unless the operator has an identity."""

    def __init__(self, *, clock: Callable[[], float] = time.time, environ: Mapping[str, str] | None = None) -> None:
        super().__init__(clock=clock)
        self._environ = os.environ if environ is None else environ
        self._auth = GoogleAuth(self._http, clock=clock, environ=self._environ)

    async def query(self, source: Source, text: str, *, window_seconds: float, timeout: float) -> Sample:  # noqa: ARG002
        answer = await self._send(source, text, timeout)
        return Sample(value=picked(answer.json()), query=text)

    async def online(self, source: Source, *, timeout: float) -> str:
        """An empty query must be refused for being empty: then project and credentials are right."""
        answer = await self._send(source, "", timeout)
        if answer.status == 400:
            return ""
        return f"{answer.where} answered {answer.status} to an empty query: {complaint(answer.body)}"

    async def _send(self, source: Source, mql: str, seconds: float) -> Answer:
        deadline = deadline_in(seconds)
        project = source.needed("project") if source.secret else await self._auth.project(deadline=deadline)
        if not _PROJECT.fullmatch(project):  # it becomes a part of the path
            raise Rejected("the key `project` in the Secret of a stackdriver source is no project id")
        token = await self._auth.token(source, deadline=deadline)
        base = (self._environ.get(OVERRIDE) or ADDRESS).rstrip("/")
        request = Request(
            f"{base}/v3/projects/{quote(project, safe='')}/timeSeries:query",
            "POST",
            headers={"authorization": f"Bearer {token}", "content-type": "application/json"},
            body=json.dumps({"query": mql}).encode(),
        )
        return await self._http.send(request, deadline=deadline)


def picked(body: Any) -> float | None:
    """The newest point (the API gives them newest first) of the only series. Raises Refused."""
    if errors := part(body, "partialErrors", list):
        raise Refused(f"cloud monitoring could only answer in part: {complaint(json.dumps(errors).encode())}")
    series = part(body, "timeSeriesData", list)
    one = only(series, [part(each, "labelValues", list) for each in series])
    if one is None:
        return None
    points = part(one, "pointData", list)
    if not points:
        return None
    values = part(points[0], "values", list)
    if len(values) > 1:
        keys = [part(each, "key", str) for each in part(part(body, "timeSeriesDescriptor", dict), "pointDescriptors", list)]
        raise Refused(f"the query answers with {len(values)} values a point where one is needed: {excerpt(keys)}")
    return _typed(values[0]) if values else None


def _typed(value: Any) -> float | None:
    if isinstance(value, dict) and "int64Value" in value:  # a text, because JSON numbers are too short for 64 bits
        return number(value["int64Value"], what="the point's int64Value", texts=True)
    if isinstance(value, dict) and "doubleValue" in value:
        return number(value["doubleValue"], what="the point's doubleValue", texts=value["doubleValue"] in {"NaN", "Infinity", "-Infinity"})
    if value in ({}, None):
        return None
    raise Refused(f"the point is no number: {excerpt(value)}")
