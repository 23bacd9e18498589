"""The dashboard of analysis runs: generated, made of what the operator exports, and every query answered by a real Prometheus."""

from __future__ import annotations

import json
import re
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from canary.api.canary import Canary, parse_canary
from canary.core import model, telling
from canary.engine.telemetry import Telemetry
from tests.charts import queries
from tests.charts.helm import ROOT
from tests.testbed import tools
from tests.testbed.absence import absent
from tests.testbed.process import Process
from tests.testbed.waiting import until

pytestmark = pytest.mark.slow

DASHBOARD = ROOT / "dashboards" / "analysis-runs.json"
NAMESPACE, CANARY, TARGET = "prod", "podinfo-canary", "podinfo"
JUDGED = {"fail": 1.25, "passed": 0.5, "upper": 0.02, "lower": 0.001, "needed": 4900}
SELECTOR = re.compile(r"\b([a-z_]+[a-z])\{([^{}]*)\}")
WORDS = {"by", "or", "and", "unless", "sum", "max", "min", "rate", "increase", "vector", "histogram_quantile", "le", "on", "ignoring"}


class Requests:
    """Counts of an API client."""

    def __init__(self) -> None:
        self.counts = {("apply", "services", "200"): 3, ("patch", "canaries.flagger.app", "409"): 1}


def exported(telemetry: Telemetry) -> dict[str, set[str]]:
    """Every series that can be scraped, with its labels: from the registry itself, whether a value was set or not."""
    found: dict[str, set[str]] = {}
    collectors = set(telemetry.registry._collector_to_names)
    for collector in collectors:
        for family in collector.collect():
            labels = set(getattr(collector, "_labelnames", None) or getattr(family, "_labelnames", ()))
            suffixes = {"counter": ["_total"], "histogram": ["_bucket", "_sum", "_count"]}.get(family.type, [""])
            for suffix in suffixes:
                found[family.name + suffix] = labels | ({"le"} if suffix == "_bucket" else set())
    return found


def canary_in_a_run() -> Canary:
    """Three checks of three kinds, with three verdicts."""
    checks = [
        {"name": "request-success-rate", "verdict": "Pass", "value": 99.5},
        {"name": "request-duration", "verdict": "Fail", "value": 750},
        {"name": "queue-depth", "verdict": "NoData", "value": 7},
        {"name": "judge/errorRate", "verdict": "NoData", "value": 0.5, "evidence": JUDGED},
        {"name": "judge/sampleRatio", "verdict": "Pass", "value": 101, "evidence": {"fail": 0.2, "passed": 0, "upper": 1, "lower": -1}},
    ]
    metrics = [
        {"name": "request-success-rate", "thresholdRange": {"min": 99}},
        {"name": "request-duration", "thresholdRange": {"max": 500}},
        {"name": "queue-depth", "thresholdRange": {"min": 1, "max": 10}, "query": "up"},
    ]
    return parse_canary(
        {
            "apiVersion": "flagger.app/v1beta1",
            "kind": "Canary",
            "metadata": {"name": CANARY, "namespace": NAMESPACE, "uid": "1"},
            "spec": {
                "targetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": TARGET},
                "service": {"port": 80},
                "analysis": {"interval": "1s", "threshold": 5, "stepWeight": 10, "metrics": metrics},
            },
            "status": {"phase": "Progressing", "canaryWeight": 30, "failedChecks": 2, "iterations": 0, "checks": checks},
        }
    )


def telemetry_of_a_run() -> tuple[Telemetry, Callable[[], None]]:
    """What an operator exports in the middle of a run, and what a moment of it does to the counters."""
    telemetry = Telemetry(mesh_provider="contour")
    requests = Requests()
    telemetry.requests_from(requests)
    canary = canary_in_a_run()
    telemetry.leader.set(1)
    telemetry.git_outbox.set(2)
    telemetry.census([NAMESPACE])
    telemetry.observe(canary, model.Routes(70, 30))

    def moment() -> None:
        telemetry.tick_seconds.labels(TARGET, NAMESPACE).observe(0.2)
        telemetry.lateness.observe(0.02)
        telemetry.ticks.labels("ok").inc()
        telemetry.git_effects.labels("record", "done").inc()
        telemetry.finished(canary, telling.Counter(success=True, analysis="completed", strategy="canary"))
        telemetry.finished(canary, telling.Counter(success=False, analysis="completed", strategy="canary"))
        requests.counts["apply", "services", "200"] += 1

    moment()
    return telemetry, moment


@contextmanager
def serving(text: Callable[[], bytes]) -> Iterator[int]:
    """A port that answers every GET with `text()`."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/plain; version=0.0.4")
            self.end_headers()
            self.wfile.write(text())

        def log_message(self, format: str, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def scrape(job: str, port: int, *, honor: bool) -> dict[str, Any]:
    """As a PodMonitor would have the operator scraped: with the pod's own namespace as a label of the target."""
    target = {"targets": [f"127.0.0.1:{port}"], "labels": {"namespace": "canary-system"}}
    return {"job_name": job, "honor_labels": honor, "static_configs": [target]}


@pytest.fixture(scope="module")
def prometheus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """URL of a Prometheus that has scraped an operator for some seconds, with honorLabels and without."""
    if reason := tools.missing(["prometheus"]):
        absent(reason)
    folder = tmp_path_factory.mktemp("prometheus")
    telemetry, moment = telemetry_of_a_run()

    def text() -> bytes:
        moment()
        return telemetry.text()

    with closing(socket.create_server(("127.0.0.1", 0))) as probe:
        port = probe.getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    with serving(text) as source:
        jobs = [scrape("honoured", source, honor=True), scrape("exported", source, honor=False)]
        (folder / "prometheus.yml").write_text(
            json.dumps({"global": {"scrape_interval": "1s", "scrape_timeout": "1s"}, "scrape_configs": jobs})
        )
        command = [tools.find("prometheus"), f"--config.file={folder}/prometheus.yml", f"--storage.tsdb.path={folder}/data"]
        process = Process("prometheus", [*command, f"--web.listen-address=127.0.0.1:{port}"], log=folder / "log")
        try:
            scraped = "count_over_time(canary_leader[1m]) > 3"
            until("four scrapes of both jobs", lambda: len(queries.series(url, scraped)) == 2, 60, interval=0.2, alarm=process.check)
            yield url
        finally:
            process.stop(grace=0)


def all_panels() -> list[dict[str, Any]]:
    return list(queries.panels(json.loads(DASHBOARD.read_text())))


def all_expressions() -> list[tuple[str, str]]:
    return queries.expressions(DASHBOARD, namespace=NAMESPACE, canary=CANARY, target=TARGET)


def ids(one: dict[str, Any]) -> str:
    return str(one["title"])


# ------------------------------------------------------------------------------------------ the file itself


def test_generating_again_gives_the_same_bytes() -> None:
    found = subprocess.run([sys.executable, ROOT / "dashboards" / "generate.py", "--check"], capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stderr


def test_a_stale_file_is_named_and_how_to_mend_it(tmp_path: Path) -> None:
    script = tmp_path / "dashboards" / "generate.py"
    script.parent.mkdir()
    for part in (ROOT / "dashboards").glob("*.py"):
        (script.parent / part.name).write_bytes(part.read_bytes())
    found = subprocess.run([sys.executable, script, "--check"], capture_output=True, text=True, check=False)
    assert (found.returncode, "hint: run python dashboards/generate.py" in found.stderr) == (1, True)
    assert subprocess.run([sys.executable, script], check=False).returncode == 0
    assert (tmp_path / "charts/canary/files/dashboards/analysis-runs.json").read_bytes() == DASHBOARD.read_bytes()
    assert subprocess.run([sys.executable, script, "--check"], check=False).returncode == 0
    assert subprocess.run([sys.executable, script, "--chek"], capture_output=True, check=False).returncode == 2


@pytest.mark.parametrize("panel", all_panels(), ids=ids)
def test_every_panel_says_what_it_shows_in_which_unit(panel: dict[str, Any]) -> None:
    assert panel["type"] in {"timeseries", "stat", "state-timeline", "table"}
    assert panel["title"]
    assert panel["description"].endswith(".")
    assert panel["fieldConfig"]["defaults"]["unit"]
    assert panel["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
    assert panel["targets"]
    for query in panel["targets"]:
        assert query["datasource"] == panel["datasource"]
        assert re.fullmatch("[A-H]", query["refId"])


def test_panels_have_names_ids_and_places_of_their_own() -> None:
    content = json.loads(DASHBOARD.read_text())
    assert (
        len({panel["title"] for panel in content["panels"]}) == len({panel["id"] for panel in content["panels"]}) == len(content["panels"])
    )
    taken: set[tuple[int, int]] = set()
    for panel in content["panels"]:
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24
        cells = {(x, y) for x in range(place["x"], place["x"] + place["w"]) for y in range(place["y"], place["y"] + place["h"])}
        assert not cells & taken, f"{panel['title']} overlaps"
        taken |= cells


def test_the_dashboard_can_be_provisioned_anywhere() -> None:
    content = json.loads(DASHBOARD.read_text())
    assert content["uid"] == "canary-analysis-runs"
    assert content["schemaVersion"] >= 39
    assert "id" not in content
    assert "__inputs" not in content
    names = [variable["name"] for variable in content["templating"]["list"]]
    assert names == ["datasource", "label", "namespace", "canary", "target"]
    assert content["templating"]["list"][0]["type"] == "datasource"


# ------------------------------------------------------------------------------- what the operator exports


@pytest.mark.parametrize(("title", "promql"), all_expressions())
def test_queries_use_only_what_the_operator_exports(title: str, promql: str) -> None:
    known = exported(telemetry_of_a_run()[0])
    bare = re.sub(r'"[^"]*"', '""', promql)
    selected = SELECTOR.findall(bare)
    names = set(re.findall(r"\b(?:canary|flagger)_[a-z_]+", bare))
    assert names <= set(known), title
    for metric, inside in selected:
        used = set(re.findall(r"([a-z_]+)\s*(?:=~|!~|!=|=)", inside))
        assert used <= known[metric], f"{title}: {metric} has no label {used - known[metric]}"
    grouped = {label.strip() for group in re.findall(r"by \(([^)]*)\)", bare) for label in group.split(",")}
    assert grouped <= set.union(*(known[name] for name in names)), title
    rest = set(re.findall(r"\b[a-z_]{2,}\b", re.sub(r"\{[^}]*\}|by \([^)]*\)|\[[^]]*\]", "", bare))) - names
    assert rest <= WORDS, f"{title}: what is {rest - WORDS}?"


@pytest.mark.parametrize(("title", "promql"), all_expressions())
def test_counters_are_shown_as_rates_or_as_totals_on_purpose(title: str, promql: str) -> None:
    for name in re.findall(r"\b[a-z_]+_(?:total|bucket)\b", promql):
        if name != "flagger_canary_total" and title not in {"Promotions", "Rollbacks", "Git effects"}:  # few enough to be counted
            assert re.search(rf"rate\({name}", promql), title


def test_variables_offer_what_the_operator_exports() -> None:
    known = exported(telemetry_of_a_run()[0])
    for name, (series, label) in queries.choices(DASHBOARD, namespace=NAMESPACE).items():
        metric, _, inside = series.partition("{")
        assert {label, *re.findall(r"([a-z_]+)=", inside)} <= known[metric], name


def test_an_unknown_variable_is_an_error() -> None:
    with pytest.raises(KeyError):
        queries.substituted('up{job=~"$job"}', {"namespace": "x"})


# ------------------------------------------------------------------------------------- a real Prometheus


@pytest.mark.parametrize("label", ["namespace", "exported_namespace"])
@pytest.mark.parametrize("number", range(len(all_expressions())), ids=[title for title, _ in all_expressions()])
def test_every_query_is_answered(prometheus: str, number: int, label: str) -> None:
    asked = queries.expressions(DASHBOARD, namespace=NAMESPACE, canary=CANARY, target=TARGET, label=label)
    title, promql = asked[number]
    end = time.time()
    assert queries.numbers(prometheus, promql, start=end - 5, end=end), f"{title}: {promql}"


def test_a_run_that_was_never_measured_is_not_answered(prometheus: str) -> None:
    end = time.time()
    place = {"namespace": NAMESPACE, "canary": "other", "target": "other", "start": end - 5, "end": end}
    titles = {line.partition(":")[0] for line in queries.unanswered(prometheus, DASHBOARD, **place)}
    assert {"Phase", "Traffic", "Verdicts", "request-success-rate", "request-duration", "Last verdicts", "Tick duration"} <= titles
    place |= {"canary": CANARY, "target": TARGET}
    assert queries.unanswered(prometheus, DASHBOARD, **place) == []


def test_panels_show_the_numbers_of_the_run(prometheus: str) -> None:
    found: dict[str, list[tuple[dict[str, str], float]]] = {}
    for title, promql in all_expressions():
        found.setdefault(title, []).extend(queries.series(prometheus, promql))
    assert found["Phase"] == [({"phase": "Progressing"}, 1.0)]
    assert found["Canary weight"] == [({}, 30.0)]
    assert found["Failed checks"] == [({}, 2.0)]
    assert sorted((labels["workload"], value) for labels, value in found["Traffic"]) == [("podinfo", 30.0), ("podinfo-primary", 70.0)]
    assert sorted((labels["metric"], value) for labels, value in found["Verdicts"]) == [
        ("judge/errorRate", 3.0),
        ("judge/sampleRatio", 1.0),
        ("queue-depth", 3.0),
        ("request-duration", 2.0),
        ("request-success-rate", 1.0),
    ]
    assert found["request-success-rate"] == [({"metric": "request-success-rate"}, 99.5), ({"bound": "min"}, 99.0)]
    assert found["request-duration"] == [({"metric": "request-duration"}, 750.0), ({"bound": "max"}, 500.0)]
    assert len(found["Other checks"]) == 3
    verdicts = {labels["metric"]: labels["verdict"] for labels, _ in found["Last verdicts"] if "verdict" in labels}
    assert {name: verdict for name, verdict in verdicts.items() if not name.startswith("judge/")} == {
        "request-success-rate": "Pass",
        "request-duration": "Fail",
        "queue-depth": "NoData",
    }


def test_panels_show_what_the_judge_knows(prometheus: str) -> None:
    found: dict[str, dict[str, list[float]]] = {}
    for title, promql in all_expressions():
        if title in queries.EVIDENCE:
            for labels, value in queries.series(prometheus, promql):
                found.setdefault(title, {}).setdefault(labels["metric"], []).append(value)
    assert found == {
        "Evidence against the new version": {"judge/errorRate": [1.25], "judge/sampleRatio": [0.2]},
        "Evidence for the new version": {"judge/errorRate": [0.5], "judge/sampleRatio": [0.0]},
        "Excess over the primary": {"judge/errorRate": [0.02, 0.001]},
        "Requests needed": {"judge/errorRate": [4900.0]},
    }


def test_every_number_of_the_judge_has_a_panel() -> None:
    shown = {name for _, promql in all_expressions() for name in re.findall(r"canary_analysis_[a-z_]+", promql)}
    assert shown == {name for name in exported(telemetry_of_a_run()[0]) if name.startswith("canary_analysis_")}


def test_a_run_without_a_judge_leaves_only_the_judges_panels_empty(prometheus: str) -> None:
    """The panels that other tests excuse are those that ask for evidence, and no more."""
    asking = {title for title, promql in all_expressions() if "canary_analysis_" in promql}
    assert asking == queries.EVIDENCE
    assert queries.numbers(prometheus, "sum(canary_waits_for_person) or vector(0)", start=time.time() - 2, end=time.time())


@pytest.mark.parametrize("label", ["namespace", "exported_namespace"])
def test_variables_find_the_canary(prometheus: str, label: str) -> None:
    offered = {
        name: queries.label_values(prometheus, series, key)
        for name, (series, key) in queries.choices(DASHBOARD, namespace=NAMESPACE, label=label).items()
    }
    assert NAMESPACE in offered["namespace"]
    assert (offered["canary"], offered["target"]) == ([CANARY], [TARGET])
