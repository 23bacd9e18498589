"""Splunk Observability (SignalFx): a SignalFlow program over the last ten intervals, judged by its newest value.

Upstream runs the program over a WebSocket; here it is the HTTP endpoint of the same service, whose answer is a stream of server-sent
events. It needs no second kind of client, and passes proxies that WebSockets do not.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from canary.core.model import Sample
from canary.metrics.base import LOOKBACK, Refused, Source
from canary.metrics.http import HttpProvider, Request, base_url, complaint, deadline_in, headers_of
from canary.metrics.values import excerpt, number, only, part

PATH = "/v2/signalflow/execute"


class SplunkProvider(HttpProvider):
    """`POST /v2/signalflow/execute` at the stream host. Secret: `sf_token_key`."""

    async def query(self, source: Source, text: str, *, window_seconds: float, timeout: float) -> Sample:
        now = self._clock()
        request = Request(
            stream_url(base_url(source)) + PATH,
            method="POST",
            params=(
                ("start", str(int((now - LOOKBACK * window_seconds) * 1000))),
                ("stop", str(int(now * 1000))),
                ("immediate", "true"),
            ),
            headers=headers_of(source, {**_token(source), "Content-Type": "text/plain", "Accept": "text/event-stream"}),
            body=text.encode(),
            verify=not source.insecure_skip_verify,
        )
        answer = await self._http.send(request, deadline=deadline_in(timeout))
        answer.expect_success()
        return Sample(value=picked(answer.text), query=text)

    async def online(self, source: Source, *, timeout: float) -> str:
        """One metric must be listed."""
        request = Request(
            f"{base_url(source)}/v2/metric",
            params=(("limit", "1"),),
            headers=headers_of(source, _token(source)),
            verify=not source.insecure_skip_verify,
        )
        (await self._http.send(request, deadline=deadline_in(timeout))).expect_success()
        return ""


def _token(source: Source) -> dict[str, str]:
    return {"X-SF-Token": source.needed("sf_token_key")}


def stream_url(address: str) -> str:
    """The stream host that belongs to an API address: `https://api.us1.…` becomes `https://stream.us1.…`."""
    parts = urlsplit(address)
    login, at, host = parts.netloc.rpartition("@")
    if host.startswith("api."):
        host = "stream." + host.removeprefix("api.")
    return urlunsplit((parts.scheme, f"{login}{at}{host}", parts.path, "", ""))


def picked(text: str) -> float | None:
    """The newest value of the only time series; nulls do not count. Raises Refused."""
    newest: dict[str, tuple[float, float]] = {}
    names: dict[str, str] = {}
    ended = False
    for event, body in events(text):
        if event == "error" or (isinstance(body, dict) and body.get("errors")):
            raise Refused(f"the SignalFlow program fails: {complaint(json.dumps(body).encode())}")
        if event == "metadata":
            names[str(part(body, "tsId", str))] = excerpt(part(body, "properties", dict))
        elif event == "control-message":
            kind = part(body, "event", str)
            ended = ended or kind == "END_OF_CHANNEL"
            if kind == "CHANNEL_ABORT":
                raise Refused(f"the SignalFlow program was aborted: {excerpt(part(body, 'abortInfo', dict) or body)}")
        elif event == "data":
            _take(body, newest)
    if not ended:
        raise Refused("the SignalFlow stream ended before the program did")
    one: tuple[float, float] | None = only(list(newest.values()), [names.get(each, each) for each in newest])
    return one[1] if one else None


def _take(body: Any, newest: dict[str, tuple[float, float]]) -> None:
    at = number(body.get("logicalTimestampMs") if isinstance(body, dict) else None, what="logicalTimestampMs") or 0.0
    for point in part(body, "data", list):
        value = number(point.get("value") if isinstance(point, dict) else point, what="a value")
        series = part(point, "tsId", str)
        if value is not None and at >= newest.get(series, (0.0, 0.0))[0]:
            newest[series] = (at, value)


def events(text: str) -> Iterator[tuple[str, Any]]:
    """Server-sent events as (name, decoded data). Raises Refused for data that are no JSON."""
    name, lines = "", list[str]()
    for line in [*text.splitlines(), ""]:
        field, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if field == "event":
            name = value
        elif field == "data":
            lines.append(value)
        elif not line:
            if lines:
                try:
                    yield name, json.loads("\n".join(lines))
                except ValueError:
                    raise Refused(f"the SignalFlow stream holds something that is no JSON: {excerpt(lines[0])}") from None
            name, lines = "", []
