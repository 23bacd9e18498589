"""The few shapes of Grafana's classic schema that the dashboard is made of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

Panel = dict[str, Any]
SOURCE = {"type": "prometheus", "uid": "${datasource}"}


def target(expr: str, legend: str = "", *, instant: bool = False, table: bool = False) -> dict[str, Any]:
    """One query. `legend` is Grafana's pattern for the series' name."""
    query: dict[str, Any] = {"datasource": SOURCE, "editorMode": "code", "expr": expr, "legendFormat": legend or "__auto"}
    query |= {"instant": True, "range": False} if instant or table else {"instant": False, "range": True}
    return query | ({"format": "table"} if table else {"format": "time_series"})


def panel(kind: str, title: str, text: str, targets: Sequence[dict[str, Any]], *, width: int = 12, height: int = 8) -> Panel:
    """A panel without its looks; `text` is the description that people read behind the (i)."""
    named = [{**one, "refId": chr(ord("A") + number)} for number, one in enumerate(targets)]
    size = {"w": width, "h": height}
    return {"type": kind, "title": title, "description": text, "datasource": SOURCE, "targets": named, "gridPos": size}


def looks(one: Panel, options: Mapping[str, Any], *, unit: str, overrides: Sequence[Any] = (), **defaults: Any) -> Panel:
    """`one` with its options, its unit and further field defaults."""
    return {**one, "options": dict(options), "fieldConfig": {"defaults": {"unit": unit, **defaults}, "overrides": list(overrides)}}


def by_name(name: str, **properties: Any) -> dict[str, Any]:
    """An override for the series or column of this name; `custom_x` sets `custom.x`."""
    listed = [{"id": key.replace("custom_", "custom."), "value": value} for key, value in properties.items()]
    return {"matcher": {"id": "byName", "options": name}, "properties": listed}


def fixed(color: str) -> dict[str, str]:
    """A colour of its own."""
    return {"mode": "fixed", "fixedColor": color}


def steps(*colors: tuple[float | None, str]) -> dict[str, Any]:
    """Colours from a value on."""
    return {"mode": "absolute", "steps": [{"value": value, "color": color} for value, color in colors]}


def stat(title: str, text: str, expr: str, *, unit: str, width: int = 4, legend: str = "", **defaults: Any) -> Panel:
    """One big figure; with a legend the series' name is shown instead."""
    options = {
        "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False},
        "textMode": "name" if legend else "value",
        "colorMode": "background" if legend else "value",
        "graphMode": "none",
        "justifyMode": "center",
        "orientation": "auto",
        "wideLayout": True,
    }
    return looks(panel("stat", title, text, [target(expr, legend, instant=True)], width=width, height=4), options, unit=unit, **defaults)


def lines(title: str, text: str, targets: Sequence[dict[str, Any]], *, unit: str, **more: Any) -> Panel:
    """A graph over time. `stepped`: values hold until the next; `stacked`; `size`: (width, height); `marked`: thresholds are drawn."""
    stepped, stacked, (width, height) = more.pop("stepped", False), more.pop("stacked", False), more.pop("size", (12, 8))
    overrides, marked = more.pop("overrides", ()), more.pop("marked", False)
    custom = {
        "drawStyle": "line",
        "lineInterpolation": "stepAfter" if stepped else "linear",
        "lineWidth": 1,
        "fillOpacity": 30 if stacked else 5,
        "showPoints": "never",
        "spanNulls": False,
        "stacking": {"mode": "normal" if stacked else "none", "group": "A"},
        "thresholdsStyle": {"mode": "dashed" if marked else "off"},
    }
    options = {
        "legend": {"displayMode": "list", "placement": "bottom", "showLegend": True, "calcs": []},
        "tooltip": {"mode": "multi", "sort": "desc"},
    }
    one = panel("timeseries", title, text, targets, width=width, height=height)
    return looks(one, options, unit=unit, overrides=overrides, custom=custom, **more)


def timeline(title: str, text: str, one: dict[str, Any], *, height: int, overrides: Sequence[Any] = (), **defaults: Any) -> Panel:
    """A band for each series, coloured by its state."""
    options = {
        "mergeValues": True,
        "showValue": "auto",
        "alignValue": "left",
        "rowHeight": 0.9,
        "legend": {"displayMode": "list", "placement": "bottom", "showLegend": False},
        "tooltip": {"mode": "single", "sort": "none"},
    }
    custom = {"fillOpacity": 80, "lineWidth": 0}
    made = panel("state-timeline", title, text, [one], width=24, height=height)
    return looks(made, options, unit="none", overrides=overrides, custom=custom, **defaults)


def quantile(share: float, buckets: str) -> dict[str, Any]:
    """A quantile of a histogram's rates by `le`."""
    return target(f"histogram_quantile({share:g}, {buckets})", f"p{share * 100:g}")


def variable(name: str, label: str, query: str, text: str) -> dict[str, Any]:
    """A variable that Prometheus is asked for."""
    asked = {"qryType": 1, "query": query, "refId": f"variable-{name}"}
    head = {"type": "query", "name": name, "label": label, "description": text, "datasource": SOURCE}
    return head | {
        "definition": query,
        "query": asked,
        "refresh": 2,
        "sort": 1,
        "multi": False,
        "includeAll": False,
        "hide": 0,
        "regex": "",
    }
