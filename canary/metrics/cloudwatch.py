"""Amazon CloudWatch: GetMetricData over the last ten intervals, judged by its newest value.

The query is upstream's JSON list of MetricDataQuery, whose field names are matched without regard to case, as Go does. As upstream the
template's `address` is ignored: credentials of the operator must not follow a tenant's text. The operator's environment may name another
endpoint (`AWS_ENDPOINT_URL_CLOUDWATCH`), as with every AWS SDK.
"""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Callable, Mapping
from typing import Any

from canary.core.errors import Rejected
from canary.core.model import Sample
from canary.metrics.aws_credentials import AwsCredentials, domain
from canary.metrics.base import LOOKBACK, Refused, Source
from canary.metrics.http import Answer, HttpProvider, Request, complaint, deadline_in
from canary.metrics.sigv4 import signed_headers
from canary.metrics.values import excerpt, number, only, part

TARGET = "GraniteServiceVersion20100801.GetMetricData"
MAX_POINTS = 20
_REGION = re.compile(r"[a-z0-9-]{1,40}")
_UNKNOWN_TO_AWS = re.compile("Denied|Auth|Token|Signature|UnrecognizedClient|OptIn|Throttl")
"""Errors that say who asks, not what: AWS's JSON protocol gives them the status 400, too."""
Shape = Mapping[str, Any]
SHAPE: Shape = {
    "id": ("Id", None), "expression": ("Expression", None), "label": ("Label", None), "returndata": ("ReturnData", None),
    "period": ("Period", None), "accountid": ("AccountId", None),
    "metricstat": ("MetricStat", {
        "period": ("Period", None), "stat": ("Stat", None), "unit": ("Unit", None),
        "metric": ("Metric", {
            "namespace": ("Namespace", None), "metricname": ("MetricName", None),
            "dimensions": ("Dimensions", {"name": ("Name", None), "value": ("Value", None)}),
        }),
    }),
}  # fmt: skip
"""Lower-cased field to (the API's name, fields inside)."""


class CloudwatchProvider(HttpProvider):
    """`region` is required. Secret (optional): `aws_access_key_id`, `aws_secret_access_key`, `aws_session_token`."""

    def __init__(self, *, clock: Callable[[], float] = time.time, environ: Mapping[str, str] | None = None) -> None:
        super().__init__(clock=clock)
        self._environ = os.environ if environ is None else environ
        self._credentials = AwsCredentials(self._http, clock=clock, environ=self._environ)

    async def query(self, source: Source, text: str, *, window_seconds: float, timeout: float) -> Sample:
        now = self._clock()
        body = {
            "MetricDataQueries": queries_of(text),
            "StartTime": int(now - LOOKBACK * window_seconds),
            "EndTime": int(now),
            "MaxDatapoints": MAX_POINTS,
            "ScanBy": "TimestampDescending",
        }
        answer = await self._send(source, body, timeout)
        if not 200 <= answer.status < 300:
            raise _refusal(answer)
        return Sample(value=picked(answer.json()), query=text)

    async def online(self, source: Source, *, timeout: float) -> str:
        """An empty request must be refused for being empty: then address and credentials are right."""
        answer = await self._send(source, {}, timeout)
        kind = error_type(answer)
        if answer.status == 400 and kind and not _UNKNOWN_TO_AWS.search(kind):
            return ""
        refusal = _refusal(answer)
        return f"{refusal.message}; {refusal.hint}" if refusal.hint else refusal.message

    async def _send(self, source: Source, body: Mapping[str, Any], seconds: float) -> Answer:
        deadline = deadline_in(seconds)
        region = source.region
        if not _REGION.fullmatch(region):
            raise Rejected(f"a cloudwatch source needs a region, not {region!r}", hint="set spec.provider.region, such as eu-west-1")
        keys = await self._credentials.keys(source, region, deadline=deadline)
        env = self._environ.get
        url = env("AWS_ENDPOINT_URL_CLOUDWATCH") or env("AWS_ENDPOINT_URL") or f"https://monitoring.{region}.{domain(region)}"
        url, data = url.rstrip("/") + "/", json.dumps(body).encode()
        headers = signed_headers(
            keys,
            method="POST",
            url=url,
            headers={"content-type": "application/x-amz-json-1.0", "x-amz-target": TARGET},
            body=data,
            region=region,
            service="monitoring",
            now=self._clock(),
        )
        answer = await self._http.send(Request(url, "POST", headers=headers, body=data), deadline=deadline, busy=throttled)
        if "Token" in error_type(answer):  # expired, or unrecognised
            self._credentials.forget()
        return answer


def queries_of(text: str) -> list[dict[str, Any]]:
    """The query as the API wants it. Raises Rejected."""
    try:
        found = json.loads(text)
    except ValueError as error:
        raise Rejected(f"a cloudwatch query must be a JSON list of MetricDataQuery: {error}") from None
    if not isinstance(found, list) or not found or not all(isinstance(each, dict) for each in found):
        raise Rejected(f"a cloudwatch query must be a JSON list of MetricDataQuery, not {excerpt(found)}")
    return [_named(each, SHAPE) for each in found]


def _named(value: Any, shape: Shape | None) -> Any:
    """With the API's field names; unknown fields are dropped, as Go's decoder does."""
    if isinstance(value, list):
        return [_named(each, shape) for each in value]
    if not isinstance(value, dict) or shape is None:
        return value
    known = {shape[name.lower()][0]: _named(inner, shape[name.lower()][1]) for name, inner in value.items() if name.lower() in shape}
    return {name: inner for name, inner in known.items() if inner is not None}


def picked(body: Any) -> float | None:
    """The newest value of the only result. Raises Refused; `ReturnData: false` takes a series out of the answer."""
    results = part(body, "MetricDataResults", list)
    for each in results:
        status = part(each, "StatusCode", str)
        if status in {"InternalError", "Forbidden"}:
            raise Refused(f"cloudwatch cannot answer {part(each, 'Id', str)!r}: {status} {excerpt(part(each, 'Messages', list))}")
    names = [f"{part(each, 'Id', str)} ({part(each, 'Label', str)})" for each in results]
    try:
        one = only(results, names)
    except Refused as error:
        raise Refused(f"{error.message}; set returnData to false for all but one") from None
    if one is None:
        return None
    values, times = part(one, "Values", list), part(one, "Timestamps", list)
    if len(times) != len(values):
        raise Refused(f"cloudwatch answers with {len(values)} values at {len(times)} times")
    points = [(number(at, what="a time") or 0.0, number(value, what="a value")) for at, value in zip(times, values, strict=True)]
    known = [(at, value) for at, value in points if value is not None]
    return max(known)[1] if known else None


def throttled(answer: Answer) -> bool:
    """AWS says "not now" with status 400."""
    return answer.status == 400 and "Throttl" in error_type(answer)


def error_type(answer: Answer) -> str:
    """`ThrottlingException`, …; empty when the answer is no error of AWS."""
    if answer.status < 400:
        return ""
    try:
        body = json.loads(answer.body)
    except ValueError:
        return ""
    kind = (body.get("__type") or body.get("code") or "") if isinstance(body, dict) else ""
    return str(kind).rpartition("#")[2]


def _refusal(answer: Answer) -> Refused:
    kind = error_type(answer)
    said = f"{answer.where} answered {answer.status} {kind}".rstrip()
    denied = answer.status == 403 or "AccessDenied" in kind
    return Refused(f"{said}: {complaint(answer.body)}", hint="the role needs cloudwatch:GetMetricData" if denied else "")
