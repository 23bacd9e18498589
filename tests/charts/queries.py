"""The queries of a Grafana dashboard as Prometheus gets them, and whether it has an answer.

Substitution is Grafana's for plain variables (`$x`, `${x}`), no more: the dashboards use nothing else, and an unknown variable is an
error here, while Grafana would send its name to Prometheus and show an empty panel.
"""

from __future__ import annotations

import json
import math
import re
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

EVIDENCE = frozenset({"Evidence against the new version", "Evidence for the new version", "Excess over the primary", "Requests needed"})
"""Panels about the judge."""
OPTIONAL = frozenset({"Other checks"}) | EVIDENCE
"""Panels that a run may leave empty: checks by templates and inline queries, which not every canary has, and a judge's evidence."""
STEP = 1.0
_VARIABLE = re.compile(r"\$\{?(\w+)\}?")
_LABEL_VALUES = re.compile(r"label_values\((.+), ([^,]+)\)")


def expressions(
    path: Path, *, namespace: str, canary: str, target: str, label: str = "namespace", window: str = "1m"
) -> list[tuple[str, str]]:
    """(title of the panel, PromQL) of every query. `label`: where Prometheus keeps the namespace; `window`: of rates."""
    values = _values(namespace=namespace, canary=canary, target=target, label=label, window=window)
    content = json.loads(path.read_text(encoding="utf-8"))
    return [(panel["title"], substituted(query["expr"], values)) for panel in panels(content) for query in panel["targets"]]


def choices(path: Path, *, namespace: str, label: str = "namespace") -> dict[str, tuple[str, str]]:
    """Name of each variable that Prometheus is asked for, to (series, label whose values are offered)."""
    values = _values(namespace=namespace, canary="", target="", label=label, window="1m")
    found = {}
    for variable in json.loads(path.read_text(encoding="utf-8"))["templating"]["list"]:
        if variable["type"] == "query":
            match = _LABEL_VALUES.fullmatch(substituted(variable["query"]["query"], values))
            assert match, f"variable {variable['name']}: {variable['query']}"
            found[variable["name"]] = (match[1], match[2])
    return found


def panels(content: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """All panels that draw something, also those inside collapsed rows."""
    for panel in content["panels"]:
        if panel["type"] == "row":
            yield from panel["panels"]
        else:
            yield panel


def substituted(text: str, values: dict[str, str]) -> str:
    """`text` with every variable replaced. KeyError for one that the dashboard does not have."""
    return _VARIABLE.sub(lambda match: values[match[1]], text)


def unanswered(
    url: str, path: Path, *, namespace: str, canary: str, target: str, start: float, end: float, label: str = "namespace"
) -> list[str]:
    """Titles and queries for which the Prometheus at `url` has no number between `start` and `end` (Unix seconds).

    For a finished run: `assert not unanswered(...)`. Panels in OPTIONAL are left out.
    """
    asked = expressions(path, namespace=namespace, canary=canary, target=target, label=label, window="10s")
    return [f"{title}: {promql}" for title, promql in asked if title not in OPTIONAL and not numbers(url, promql, start=start, end=end)]


def numbers(url: str, promql: str, *, start: float, end: float) -> list[float]:
    """Every finite value of a range query, in no order. Raises ValueError with Prometheus' words for a query that it refuses."""
    answer = _ask(url, "query_range", query=promql, start=f"{start:.3f}", end=f"{end:.3f}", step=f"{STEP:g}")
    values = (float(value) for series in answer["result"] for _, value in series["values"])
    return [value for value in values if math.isfinite(value)]


def series(url: str, promql: str) -> list[tuple[dict[str, str], float]]:
    """(labels, value) of an instant query."""
    return [(one["metric"], float(one["value"][1])) for one in _ask(url, "query", query=promql)["result"]]


def label_values(url: str, match: str, label: str) -> list[str]:
    """What a variable offers."""
    found: list[str] = _ask(url, f"label/{label}/values", **{"match[]": match})
    return found


def _values(**given: str) -> dict[str, str]:
    window = given.pop("window")
    return given | {"__rate_interval": window, "__interval": window, "__range": window}


def _ask(url: str, call: str, **parameters: str) -> Any:
    request = f"{url}/api/v1/{call}?{urllib.parse.urlencode(parameters)}"
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return json.load(answer)["data"]
    except urllib.error.HTTPError as error:
        raise ValueError(f"{parameters}: {error.read().decode()}") from error
