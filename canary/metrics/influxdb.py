"""InfluxDB 2 (and 1.8 with Flux): one Flux query whose answer is annotated CSV.

Upstream turns an answer without rows into 0, so that a `max` check passes, and refuses whole numbers, which `count()` gives. Its online
check scans a bucket `default`, which need not exist; here the list of buckets must be readable.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from canary.core.model import Sample
from canary.metrics.base import Refused, Source
from canary.metrics.http import HttpProvider, Request, base_url, deadline_in, headers_of
from canary.metrics.values import excerpt, number, only

PROBE = "buckets() |> limit(n: 1)"
NUMBERS = frozenset({"double", "long", "unsignedLong"})


class InfluxdbProvider(HttpProvider):
    """`POST /api/v2/query`. Secret: `token` and `org`."""

    patience = 15.0

    async def query(self, source: Source, text: str, *, window_seconds: float, timeout: float) -> Sample:  # noqa: ARG002
        return Sample(value=picked(await self._ask(source, text, timeout)), query=text)

    async def online(self, source: Source, *, timeout: float) -> str:
        """A list of buckets must be answered."""
        await self._ask(source, PROBE, timeout)
        return ""

    async def _ask(self, source: Source, flux: str, seconds: float) -> str:
        own = {"Content-Type": "application/json", "Accept": "application/csv"}
        params: tuple[tuple[str, str], ...] = ()
        if source.secret:
            own["Authorization"] = f"Token {source.needed('token')}"
            params = (("org", source.needed("org")),)
        dialect = {"header": True, "delimiter": ",", "annotations": ["datatype", "group", "default"]}
        request = Request(
            f"{base_url(source)}/api/v2/query",
            method="POST",
            params=params,
            headers=headers_of(source, own),
            body=json.dumps({"query": flux, "type": "flux", "dialect": dialect}).encode(),
            verify=not source.insecure_skip_verify,
        )
        answer = await self._http.send(request, deadline=deadline_in(seconds))
        answer.expect_success()
        return answer.text


@dataclass(frozen=True, slots=True)
class Record:
    """One row: its series (table id, and result and group key by name), type and text of `_value`, and what an error row says."""

    table: str
    series: Mapping[str, str]
    datatype: str
    value: str
    error: str = ""


def picked(text: str) -> float | None:
    """`_value` of the first record of the only series; None without rows or when it is empty. Raises Refused."""
    records = records_of(text)
    for record in records:
        if record.error:
            raise Refused(f"influxdb cannot answer the query: {excerpt(record.error)}")
    first: dict[str, Record] = {}
    for record in records:
        first.setdefault(record.table, record)
    one: Record | None = only(list(first.values()), told_apart([record.series for record in first.values()]))
    if one is None or one.value == "":
        return None
    if one.datatype not in NUMBERS:
        raise Refused(f"the first record's _value is of type {one.datatype} where a number is needed: {excerpt(one.value)}")
    return number(one.value, what="the first record's _value", texts=True)


def told_apart(series: Sequence[Mapping[str, str]]) -> list[str]:
    """What each of several series has that the others have not: every group key has the same times and field, which fill an error."""
    every = {name for each in series for name in each}
    differing = {name for name in every if len({each.get(name) for each in series}) > 1}
    return [", ".join(f"{name}={value}" for name, value in each.items() if name in differing) or "(one more)" for each in series]


def records_of(text: str) -> list[Record]:
    """The rows of annotated CSV: blocks of annotation lines (`#datatype`, `#group`, `#default`), a header, and data. Raises Refused."""
    records: list[Record] = []
    notes: dict[str, list[str]] = {}
    header: list[str] = []
    block = 0
    for row in _rows(text):
        if not any(row):
            notes, header = {}, []
        elif row[0].startswith("#"):
            if header:
                notes, header = {}, []
            notes[row[0].removeprefix("#")] = row
        elif not header:
            header, block = row, block + 1
            if "error" not in header and "_value" not in header:
                raise Refused(f"influxdb answers without a column _value: {excerpt(','.join(header))}")
        else:
            records.append(_record(row, header, notes, block))
    return records


def _rows(text: str) -> Iterator[list[str]]:
    try:
        yield from csv.reader(io.StringIO(text, newline=""))
    except csv.Error as error:
        raise Refused(f"influxdb answers with something that is no CSV ({error}): {excerpt(text)}") from None


def _record(row: list[str], header: list[str], notes: dict[str, list[str]], block: int) -> Record:
    defaults = notes.get("default", [])
    cells = {}
    for column, name in enumerate(header):
        cell = row[column] if column < len(row) else ""
        cells[name] = cell or (defaults[column] if column < len(defaults) else "")
    if "error" in header:
        return Record("", {}, "", "", error=cells["error"] or "(no text)")
    groups, types = notes.get("group", []), notes.get("datatype", [])
    keys = {"result": cells.get("result", "")} | {
        name: cells[name] for name, grouped in zip(header, groups, strict=False) if grouped == "true"
    }
    at = header.index("_value")
    datatype = types[at] if at < len(types) else "unknown"
    return Record(f"{block}/{cells.get('result', '')}/{cells.get('table', '')}", keys, datatype, cells["_value"])
