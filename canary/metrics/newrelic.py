"""New Relic, through the Insights query API: one NRQL select that gives one number."""

from __future__ import annotations

import re
from typing import Any

from canary.core.model import Sample
from canary.metrics.base import Refused, Source
from canary.metrics.http import HttpProvider, Request, base_url, deadline_in, headers_of
from canary.metrics.values import excerpt, kind_of, number, only, part

ADDRESS = "https://insights-api.newrelic.com"
PROBE = "SELECT count(*) FROM Metric SINCE 1 minute ago"
_QUOTED = re.compile(r"'(?:[^'\\]|\\.)*'|`[^`]*`")
_SINCE = re.compile(r"\bSINCE\b", re.IGNORECASE)


class NewRelicProvider(HttpProvider):
    """`GET /v1/accounts/<id>/query`. Secret: `newrelic_account_id` and `newrelic_query_key`."""

    async def query(self, source: Source, text: str, *, window_seconds: float, timeout: float) -> Sample:
        return Sample(value=picked(await self._ask(source, since(text, window_seconds), timeout)), query=text)

    async def online(self, source: Source, *, timeout: float) -> str:
        """A fixed select must be answered; what it gives does not matter."""
        await self._ask(source, PROBE, timeout)
        return ""

    async def _ask(self, source: Source, nrql: str, seconds: float) -> Any:
        account = source.needed("newrelic_account_id")
        own = {"X-Query-Key": source.needed("newrelic_query_key"), "Accept": "application/json"}
        if not account.isalnum():  # it becomes a part of the path
            raise Refused("the key `newrelic_account_id` in the Secret of a newrelic source is no account number")
        request = Request(
            f"{base_url(source, ADDRESS)}/v1/accounts/{account}/query",
            params=(("nrql", nrql),),
            headers=headers_of(source, own),
            verify=not source.insecure_skip_verify,
        )
        return (await self._http.send(request, deadline=deadline_in(seconds))).json()


def since(nrql: str, window_seconds: float) -> str:
    """The query over the metric's interval; a query that has a SINCE of its own keeps it."""
    if _SINCE.search(_QUOTED.sub("''", nrql)):
        return nrql
    return f"{nrql} SINCE {int(window_seconds)} seconds ago"


def picked(body: Any) -> float | None:
    """`results[0].result`, or the only field when it has another name (`average`, `count`). Raises Refused.

    Upstream reads any other name as 0.
    """
    if isinstance(body, dict) and body.get("error"):
        raise Refused(f"new relic cannot answer the query: {excerpt(body['error'])}")
    if isinstance(body, dict) and body.get("facets"):
        facets = part(body, "facets", list)
        raise Refused(
            f"the query answers with {len(facets)} facets where one number is needed: {excerpt([_name(each) for each in facets[:3]])}"
        )
    results = part(body, "results", list)
    row = only(results, results)
    if row is None:
        return None
    if not isinstance(row, dict):
        raise Refused(f"the result is {kind_of(row)}, not an object: {excerpt(row)}")
    if "result" in row:
        return number(row["result"], what="the result")
    if len(row) > 1:
        raise Refused(f"the result has several fields where one is needed: {excerpt(row)}")
    return next((number(value, what=f"the result {name!r}") for name, value in row.items()), None)


def _name(facet: Any) -> Any:
    return facet.get("name") if isinstance(facet, dict) else facet
