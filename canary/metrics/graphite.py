"""Graphite: the render API. The query is itself a URL query, `target=…&from=-1min`.

With a cache of its own, Graphite gives the same answer to the same query for a minute. Upstream takes it, so a check may judge one weight
by what was measured at the one before; here every answer is a new one, unless the query says how old it may be. Nor does Graphite mind
a bracket too few or too many: it evaluates what stands before, which is another query or no data, so such a target is not asked.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qsl

from canary.core.errors import Rejected
from canary.core.model import Sample
from canary.metrics.base import Refused, Source
from canary.metrics.http import HttpProvider, Request, base_url, basic, deadline_in, headers_of
from canary.metrics.values import excerpt, kind_of, number, only, part

FRESH = ("noCache", "1")
AGE = frozenset({"noCache", "cacheTimeout"})
"""What of a query says how old an answer may be."""


class GraphiteProvider(HttpProvider):
    """`GET /render`. Secret: `username` and `password`."""

    async def query(self, source: Source, text: str, *, window_seconds: float, timeout: float) -> Sample:  # noqa: ARG002
        pairs = [(name.strip(), value.strip()) for name, value in parse_qsl(text, keep_blank_values=True)]  # YAML brings white space
        params = [(name, value) for name, value in pairs if name != "format"]
        for name, value in params:
            if name == "target" and not closed(value):
                raise Rejected(f"the brackets or quotes of a graphite target do not close: {excerpt(value)}")
        if not any(name in AGE for name, _ in params):
            params.append(FRESH)
        if not any(name == "target" for name, _ in params):
            raise Rejected("a graphite query must be a URL query with a target", hint="write target=...&from=-1min")
        return Sample(value=picked(await self._ask(source, params, timeout)), query=text)

    async def online(self, source: Source, *, timeout: float) -> str:
        """`target=test` must be answered; no data is fine."""
        await self._ask(source, [("target", "test")], timeout)
        return ""

    async def _ask(self, source: Source, params: list[tuple[str, str]], seconds: float) -> Any:
        own = {}
        if source.secret:
            own["Authorization"] = basic(source.needed("username"), source.needed("password"))
        request = Request(
            f"{base_url(source)}/render",
            params=(*params, ("format", "json")),
            headers=headers_of(source, own),
            verify=not source.insecure_skip_verify,
        )
        return (await self._http.send(request, deadline=deadline_in(seconds))).json()


def closed(target: str) -> bool:
    """Whether every bracket and quote of a target closes. A backslash takes the meaning from the character after it."""
    depth, quote, escaped = 0, "", False
    for char in target:
        if escaped or char == "\\":
            escaped = not escaped
        elif quote:
            quote = "" if char == quote else quote
        elif char in "\"'":
            quote = char
        elif char in "()":
            depth += 1 if char == "(" else -1
            if depth < 0:
                return False
    return not quote and depth == 0


def picked(body: Any) -> float | None:
    """The last datapoint of the only series that is not null. Raises Refused."""
    if not isinstance(body, list):
        raise Refused(f"graphite answers with {kind_of(body)} where a list of series is needed: {excerpt(body)}")
    one = only(body, [each.get("target") if isinstance(each, dict) else each for each in body])
    if one is None:
        return None
    for point in reversed(part(one, "datapoints", list)):
        if not isinstance(point, list) or not point:
            raise Refused(f"a datapoint is {kind_of(point)}, not [value, time]: {excerpt(point)}")
        value = number(point[0], what="a datapoint", texts=True)
        if value is not None:
            return value
    return None
