#!/usr/bin/env python3
"""Writes `analysis-runs.json`, the Grafana dashboard of analysis runs, and its copy in the chart.

    python dashboards/generate.py [--check]

Plain dictionaries in Grafana's classic schema (10 and newer; 12 migrates it): a builder library was rejected, because the few keys that
a panel needs are easier to read than its wrapper, and the JSON is committed anyway. What the panels ask for is named in
`canary/engine/telemetry.py`; a test holds the two together and runs every query against a real Prometheus.

`flagger_*` series are named after the canary's target (as upstream), `canary_*` after the canary itself, hence two variables. `$label` is
`namespace`, or `exported_namespace` where Prometheus scrapes without `honorLabels`.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from panels import Panel, by_name, fixed, lines, looks, panel, quantile, stat, steps, target, timeline, variable

FOLDERS = ("dashboards", "charts/canary/files/dashboards")
NAME = "analysis-runs.json"
CANARY = '$label="$namespace", name="$canary"'
TARGET = '$label="$namespace", name="$target"'
BUILT_IN = "request-success-rate|request-duration"
JUDGED = "judge/.*"
"""Names of the judge's comparisons (`analysis.judge`)."""
PHASES = {
    "Initializing": "blue",
    "Initialized": "green",
    "Waiting": "orange",
    "Progressing": "blue",
    "WaitingPromotion": "orange",
    "Promoting": "light-blue",
    "Finalising": "light-blue",
    "Succeeded": "green",
    "Failed": "red",
    "Terminating": "purple",
}
VERDICTS = {"Pass": "green", "Fail": "red", "NoData": "yellow", "Error": "orange"}


def code_of_verdict() -> str:
    """One number for each check: the position of its verdict in VERDICTS, from 1."""
    parts = (f'max by (metric) (canary_check_verdict{{{CANARY}, verdict="{verdict}"}})' for verdict in VERDICTS)
    return " + ".join(part if number == 1 else f"{number} * {part}" for number, part in enumerate(parts, start=1))


def measured(name: str, *, factor: int = 1) -> dict[str, Any]:
    """The value of one built-in check."""
    series = f'max by (metric) (flagger_canary_metric_analysis{{{TARGET}, metric="{name}"}})'
    return target(series if factor == 1 else f"{factor} * {series}", "measured")


def bounds(name: str) -> dict[str, Any]:
    """Its bounds, dashed."""
    return target(f'max by (bound) (canary_check_bound{{{CANARY}, metric="{name}"}})', "{{bound}}")


def dashed() -> list[dict[str, Any]]:
    """Looks of bounds."""
    style = {"fill": "dash", "dash": [10, 10]}
    return [by_name(bound, custom_lineStyle=style, color=fixed("red"), custom_fillOpacity=0) for bound in ("min", "max")]


def now() -> Iterable[Panel]:
    """Where the canary stands."""
    phase = stat(
        "Phase", "The phase that the canary is in.", f"max by (phase) (canary_phase{{{CANARY}}}) == 1", unit="none", legend="{{phase}}"
    )
    phase["fieldConfig"]["overrides"] = [by_name(name, color=fixed(color)) for name, color in PHASES.items()]
    yield phase
    weight = 'max(flagger_canary_weight{$label="$namespace", workload="$target"})'
    yield stat(
        "Canary weight", "Share of the traffic that the new version has.", weight, unit="percent", min=0, max=100, color=fixed("blue")
    )
    failed = f"max(canary_failed_checks{{{CANARY}}})"
    alarm = steps((None, "green"), (1, "orange"))
    yield stat(
        "Failed checks",
        "Failed checks of the current run; at `analysis.threshold` it is rolled back.",
        failed,
        unit="short",
        thresholds=alarm,
    )
    since = "Since this operator started; a run without analysis counts too."
    good = f"sum(flagger_canary_successes_total{{{TARGET}}}) or vector(0)"
    yield stat("Promotions", since, good, unit="short", color=fixed("green"))
    bad = f"sum(flagger_canary_failures_total{{{TARGET}}}) or vector(0)"
    yield stat("Rollbacks", since, bad, unit="short", thresholds=steps((None, "green"), (1, "red")))
    info = stat(
        "Version", "Version of the operator.", "max by (version) (flagger_info)", unit="none", legend="{{version}}", color=fixed("text")
    )
    info["options"]["colorMode"] = "none"
    yield info


def run() -> Iterable[Panel]:
    """One run after the other, over time."""
    overrides = [by_name(name, color=fixed(color)) for name, color in PHASES.items()]
    phases = target(f"max by (phase) (canary_phase{{{CANARY}}}) == 1", "{{phase}}")
    silent = [{"type": "value", "options": {"1": {"text": " ", "index": 0}}}]
    yield timeline("Phases", "Each phase while the canary is in it.", phases, height=7, overrides=overrides, mappings=silent)
    weights = target('max by (workload) (flagger_canary_weight{$label="$namespace", workload=~"$target(-primary)?"})', "{{workload}}")
    text = "Share of the traffic of the primary and of the new version."
    yield lines("Traffic", text, [weights], unit="percent", min=0, max=100, stepped=True, stacked=True)
    failed = target(f"max(canary_failed_checks{{{CANARY}}})", "failed checks")
    text = "Failed checks of the run; at `analysis.threshold` it is rolled back."
    yield lines("Failed checks over time", text, [failed], unit="short", min=0, decimals=0, stepped=True)
    shown = {
        str(number): {"text": verdict, "color": color, "index": number} for number, (verdict, color) in enumerate(VERDICTS.items(), start=1)
    }
    verdicts = target(code_of_verdict(), "{{metric}}")
    text = "What each check said: Pass, Fail, NoData (the source had nothing to say) or Error (it could not be asked)."
    yield timeline("Verdicts", text, verdicts, height=7, mappings=[{"type": "value", "options": shown}])


def checks() -> Iterable[Panel]:
    """Values against their bounds."""
    rate = [measured("request-success-rate"), bounds("request-success-rate")]
    text = "Requests to the new version that did not fail, against the bounds of the check."
    yield lines("request-success-rate", text, rate, unit="percent", overrides=dashed())
    duration = [measured("request-duration", factor=1000), bounds("request-duration")]
    text = "99th percentile of the new version's response time, against the bounds of the check."
    yield lines("request-duration", text, duration, unit="ms", min=0, overrides=dashed())
    other = f'metric!~"{BUILT_IN}|{JUDGED}"'
    own = [
        target(f"max by (metric) (flagger_canary_metric_analysis{{{TARGET}, {other}}})", "{{metric}}"),
        target(f"max by (metric, bound) (canary_check_bound{{{CANARY}, {other}}})", "{{metric}} {{bound}}"),
    ]
    text = "Checks by templates and inline queries, in their own units, against their bounds."
    yield lines("Other checks", text, own, unit="none")
    yield table()


def evidence() -> Iterable[Panel]:
    """What the judge knows, where one takes part (`analysis.judge: guarded` or `sequential`)."""
    against = f'max by (metric) (canary_analysis_evidence{{{CANARY}, kind="fail"}})'
    text = (
        "Decimal logarithm of the evidence that the new version is worse than tolerated, by comparison. At 0.7 in all the weight is held; "
        "at 2 (`sequential.alpha: 0.01`) the version is condemned: so far apart in fewer than 1 of 100 releases within the margin."
    )
    limits = steps((None, "green"), (0.7, "orange"), (2, "red"))
    yield lines("Evidence against the new version", text, [target(against, "{{metric}}")], unit="none", marked=True, thresholds=limits)
    favour = f'max by (metric) (canary_analysis_evidence{{{CANARY}, kind="pass"}})'
    text = (
        "Decimal logarithm of the evidence that it is not. A promotion needs 1.3 (`sequential.passAlpha: 0.05`) of judge/errorRate and "
        "judge/latency."
    )
    shown = steps((None, "orange"), (1.3, "green"))
    yield lines("Evidence for the new version", text, [target(favour, "{{metric}}")], unit="none", marked=True, thresholds=shown)
    compared = f'{CANARY}, metric!="judge/sampleRatio"'
    excess = [
        target(f"max by (metric) (canary_analysis_excess_upper{{{compared}}})", "{{metric}} at most"),
        target(f"max by (metric) (canary_analysis_excess_lower{{{compared}}})", "{{metric}} at least"),
    ]
    text = (
        "How much worse than the primary the new version is, as a share of requests: at most and at least, valid at every look. "
        "Of thresholds it is the new version's own share."
    )
    yield lines("Excess over the primary", text, excess, unit="percentunit")
    needed = target(f"max by (metric) (canary_analysis_requests_needed{{{CANARY}}})", "{{metric}}")
    text = "Requests to the new version that a promotion takes in all, as foreseen now: as many runs take more as take less."
    yield lines("Requests needed", text, [needed], unit="short", min=0, decimals=0)


def table() -> Panel:
    """The last verdict of each check, with value and bounds."""
    queries = [
        target(f"max by (metric, verdict) (canary_check_verdict{{{CANARY}}}) == 1", table=True),
        target(f"max by (metric) (canary_check_value{{{CANARY}}})", table=True),
        target(f'max by (metric) (canary_check_bound{{{CANARY}, bound="min"}})', table=True),
        target(f'max by (metric) (canary_check_bound{{{CANARY}, bound="max"}})', table=True),
    ]
    text = (
        "The last verdict of each check, with what was measured and what is accepted (request-duration in milliseconds); "
        "during a run and for some minutes after it."
    )
    one = looks(panel("table", "Last verdicts", text, queries), {"showHeader": True, "cellHeight": "sm"}, unit="none", decimals=2)
    colors = {verdict: {"color": color, "index": number} for number, (verdict, color) in enumerate(VERDICTS.items())}
    coloured = by_name("verdict", custom_cellOptions={"type": "color-text"}, mappings=[{"type": "value", "options": colors}])
    one["fieldConfig"]["overrides"].append(coloured)
    organize = {
        "excludeByName": {"Time": True, "Value #A": True},
        "indexByName": {"metric": 0, "verdict": 1, "Value #B": 2, "Value #C": 3, "Value #D": 4},
        "renameByName": {"metric": "check", "Value #B": "value", "Value #C": "min", "Value #D": "max"},
    }
    return one | {"transformations": [{"id": "merge", "options": {}}, {"id": "organize", "options": organize}]}


def fleet() -> Iterable[Panel]:
    """All canaries."""
    text = "How many canaries are in each phase, in all namespaces."
    phases = target("sum by (phase) (canary_phase)", "{{phase}}")
    overrides = [by_name(name, color=fixed(color)) for name, color in PHASES.items()]
    yield lines("Canaries by phase", text, [phases], unit="short", min=0, stepped=True, stacked=True, overrides=overrides)
    text = "How many canaries each namespace has, and how many of them failed their last run."
    both = [
        target("sum by ($label) (flagger_canary_total)", "{{namespace}}{{exported_namespace}}"),
        target('sum by ($label) (canary_phase{phase="Failed"})', "{{namespace}}{{exported_namespace}} failed"),
    ]
    yield lines("Canaries by namespace", text, both, unit="short", min=0, stepped=True)
    text = "Runs that wait for a person: Held by `onFailure: hold`, or Inconclusive at `sequential.maxDuration`."
    waiting = target("sum by (reason) (canary_waits_for_person) or vector(0)", "{{reason}}")
    alarm = steps((None, "green"), (1, "orange"))
    yield lines("Waiting for a person", text, [waiting], unit="short", min=0, decimals=0, stepped=True, thresholds=alarm, size=(24, 6))


def operator() -> Iterable[Panel]:
    """How the operator itself does."""
    late = "sum by (le) (rate(canary_tick_lateness_seconds_bucket[$__rate_interval]))"
    text = "How long after its time a tick began. More than the analysis interval means that the operator is overloaded."
    yield lines("Tick lateness", text, [quantile(0.5, late), quantile(0.99, late)], unit="s", min=0, size=(8, 8))
    wall = f"sum by (le) (rate(flagger_canary_duration_seconds_bucket{{{TARGET}}}[$__rate_interval]))"
    text = "Wall time of one analysis tick of this canary: queries, webhooks and writes."
    yield lines("Tick duration", text, [quantile(0.5, wall), quantile(0.99, wall)], unit="s", min=0, size=(8, 8))
    ticks = target("sum by (result) (rate(canary_ticks_total[$__rate_interval]))", "{{result}}")
    text = "Ticks by how they ended: ok, conflict (somebody wrote in between), retry, rejected (the user must act), gone."
    yield lines("Ticks", text, [ticks], unit="ops", min=0, size=(8, 8))
    requests = target("sum by (verb, resource) (rate(canary_api_requests_total[$__rate_interval]))", "{{verb}} {{resource}}")
    yield lines("API requests", "Requests to the API server, by verb and resource.", [requests], unit="reqps", min=0, size=(8, 8))
    refused = target('sum by (code) (rate(canary_api_requests_total{code!~"2.."}[$__rate_interval])) or vector(0)', "{{code}}")
    text = "Requests that the API server did not carry out, by status; 409 is somebody else's write in between."
    yield lines("API errors", text, [refused], unit="reqps", min=0, size=(8, 8))
    leading = target("sum(canary_leader)", "leaders")
    text = "How many processes may act: one, and none only for the seconds of a handover."
    yield lines("Leaders", text, [leading], unit="short", min=0, decimals=0, stepped=True, size=(8, 8))
    effects = target("sum by (effect, result) (canary_git_effects_total) or vector(0)", "{{effect}} {{result}}")
    text = "Records and reverts written to Git since the operator started, by how they ended."
    yield lines("Git effects", text, [effects], unit="short", min=0, stepped=True)
    depth = target("max(canary_git_outbox_depth)", "waiting")
    text = "Records and reverts that wait to be written; a depth that does not fall means that Git refuses us."
    yield lines("Git outbox", text, [depth], unit="short", min=0, decimals=0, stepped=True)


def variables() -> list[dict[str, Any]]:
    """Data source, namespace, canary and target."""
    keys = ("namespace", "exported_namespace")
    options = [{"text": key, "value": key, "selected": key == "namespace"} for key in keys]
    text = "exported_namespace where Prometheus scrapes the operator without honorLabels."
    label = {
        "type": "custom",
        "name": "label",
        "label": "namespace label",
        "description": text,
        "query": ",".join(keys),
        "options": options,
    }
    return [
        {"type": "datasource", "name": "datasource", "label": "data source", "query": "prometheus", "refresh": 1, "hide": 0, "regex": ""},
        label | {"current": {"text": "namespace", "value": "namespace", "selected": True}, "multi": False, "includeAll": False, "hide": 0},
        variable("namespace", "namespace", "label_values(canary_phase, $label)", "Namespace of the canary."),
        variable("canary", "canary", 'label_values(canary_phase{$label="$namespace"}, name)', "Name of the Canary."),
        variable(
            "target", "target", 'label_values(flagger_canary_status{$label="$namespace"}, name)', "Name of the workload that it releases."
        ),
    ]


def placed(rows: Mapping[str, Iterable[Panel]]) -> list[Panel]:
    """All panels below the heads of their rows, from left to right, numbered."""
    found: list[Panel] = []
    x = y = height = 0
    for title, panels in rows.items():
        y, x, height = y + height, 0, 0
        found.append({"type": "row", "title": title, "collapsed": False, "panels": [], "gridPos": {"x": 0, "y": y, "w": 24, "h": 1}})
        y += 1
        for one in panels:
            size = one["gridPos"]
            if x + size["w"] > 24:
                x, y, height = 0, y + height, 0
            found.append(one | {"gridPos": {"x": x, "y": y, **size}})
            x, height = x + size["w"], max(height, size["h"])
    return [{"id": number, **one} for number, one in enumerate(found, start=1)]


def dashboard() -> dict[str, Any]:
    """The whole dashboard."""
    rows = {
        "Now": now(),
        "Analysis run": run(),
        "Checks": checks(),
        "Evidence": evidence(),
        "All canaries": fleet(),
        "Operator": operator(),
    }
    return {
        "uid": "canary-analysis-runs",
        "title": "Canary / Analysis runs",
        "description": "How each release went: traffic, checks against their bounds, verdicts and outcomes, and how the operator itself does.",
        "tags": ["canary", "progressive-delivery"],
        "schemaVersion": 39,
        "version": 1,
        "editable": True,
        "graphTooltip": 1,
        "refresh": "10s",
        "time": {"from": "now-1h", "to": "now"},
        "timezone": "browser",
        "annotations": {"list": []},
        "links": [],
        "templating": {"list": variables()},
        "panels": placed(rows),
    }


def text() -> str:
    """The file's content."""
    return json.dumps(dashboard(), indent=2, ensure_ascii=False) + "\n"


def main(arguments: Sequence[str]) -> int:
    """Write the files, or with `--check` only compare. Answers the exit code: 0, 1 (stale), 2 (usage)."""
    if unknown := [item for item in arguments if item != "--check"]:
        sys.stderr.write(f"error: unknown argument {unknown[0]}\nusage: python dashboards/generate.py [--check]\n")
        return 2
    root, content = Path(__file__).resolve().parent.parent, text()
    files = [root / folder / NAME for folder in FOLDERS]
    stale = [path for path in files if not path.is_file() or path.read_text(encoding="utf-8") != content]
    if stale and "--check" in arguments:
        names = ", ".join(str(path.relative_to(root)) for path in stale)
        sys.stderr.write(f"error: stale: {names}\nhint: run python dashboards/generate.py\n")
        return 1
    for path in stale:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
