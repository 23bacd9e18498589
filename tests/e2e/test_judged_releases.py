"""Releases that evidence judges, on a real Envoy and a real Prometheus: how soon a bad one ends, and what silence and outages do not do."""

import http.server
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from tests.e2e.objects import LENIENT, SUCCESS, Item
from tests.e2e.stage import Stage
from tests.testbed.mesh import Mesh

pytestmark = [pytest.mark.mesh, pytest.mark.timeout(600)]
OPERATOR_FLAGS = ["--ingress-class=contour"]
RATE = 45
HEALTHY = {"minDuration": "5s", "maxDuration": "8m", "margin": {"errorRate": 2, "slowRatio": 1.5, "slowShare": 10}}
"""Wide margins: at 20 to 45 requests a second the default one takes minutes to show."""
SEQUENTIAL: Item = {"interval": "2s", "stepWeight": 10, "judge": "sequential", "sequential": {"harmBudget": 8, **HEALTHY}}
GUARDED: Item = {"interval": "5s", "stepWeight": 8, "maxWeight": 48, "judge": "guarded"}
JUDGES = {"sequential": SEQUENTIAL, "guarded": GUARDED}
STEADY: Item = SEQUENTIAL | {
    "metrics": [SUCCESS, LENIENT],
    "sequential": {**SEQUENTIAL["sequential"], "margin": {"errorRate": 4, "slowRatio": 3, "slowShare": 30}},
}
"""For versions that are alike: what a busy machine does to a few requests is to be no verdict."""
CALM = 20
"""Requests a second where no promise of seconds is at stake: a promotion takes its minute at any rate, and all of these run side by side."""


class Valve:
    """A way to Prometheus that can be closed: it then takes requests and answers none, as a server that hangs."""

    def __init__(self) -> None:
        self.closed = threading.Event()
        self.opened = threading.Event()
        self.asked = 0
        valve = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                valve.asked += 1
                if valve.closed.is_set():
                    valve.opened.wait(30)
                try:
                    with urllib.request.urlopen(f"{Mesh.prometheus_url}{self.path}", timeout=10) as answer:
                        status, body = answer.status, answer.read()
                except urllib.error.HTTPError as error:
                    status, body = error.code, error.read()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: Any) -> None:
                """Nothing: it is asked every second."""

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.server.handle_error = lambda *_: None  # type: ignore[method-assign]  # askers that gave up
        self.url = f"http://127.0.0.1:{self.server.server_port}"

    def close(self) -> None:
        """Answer nothing from now on."""
        self.opened.clear()
        self.closed.set()

    def open(self) -> None:
        """Answer again, also what waits."""
        self.closed.clear()
        self.opened.set()


@contextmanager
def valve() -> Iterator[Valve]:
    """One, open, for the length of a block."""
    it = Valve()
    thread = threading.Thread(target=it.server.serve_forever, daemon=True)
    thread.start()
    try:
        yield it
    finally:
        it.open()
        it.server.shutdown()
        it.server.server_close()
        thread.join(5)


def reason(stage: Stage) -> str:
    """What the judge says now."""
    return str((stage.status.get("run") or {}).get("judge", {}).get("reason", ""))


@pytest.mark.parametrize("judge", JUDGES)
def test_half_of_the_requests_failing_is_over_within_seconds(stage: Stage, judge: str) -> None:
    stage.bootstrap(JUDGES[judge])
    stage.expose_by_contour()
    with stage.traffic(rate=RATE) as traffic:
        traffic.collect(12 * RATE)  # the primary's past
        stage.deploy("app:2", env={"ERROR_RATE": "0.5"})
        status = stage.wait_end("Failed")
        first = next(at for at, weight in stage.moves() if weight)
        back = next(at for at, weight in stage.moves() if not weight and at > first)
        assert traffic.collect(2 * RATE).images == {"app:1": 2 * RATE}
        failures = traffic.stop().failures
    assert set(failures) <= {"500 from app:2"}, failures
    print(f"{judge}: {back - first:.1f} s, {failures.total()} failed, {status['failureReason']}")
    assert back - first <= 15
    assert 3 <= failures.total() <= 15, failures
    assert status["failureReason"].startswith("Rolled back after"), status["failureReason"]
    assert "canary requests failed" in status["failureReason"]
    assert {check["name"]: check["verdict"] for check in status["checks"]}["judge/errorRate"] == "Fail"
    assert stage.wait_message("by evidence", "Rolled back after")
    [run] = stage.items("canaryruns")
    assert run["status"]["reason"] == status["failureReason"]
    assert stage.image_of("app-primary") == "app:1"


def test_a_healthy_release_is_promoted_without_a_failed_request(stage: Stage) -> None:
    stage.bootstrap(STEADY)
    stage.expose_by_contour()
    with stage.traffic(rate=CALM) as traffic:
        traffic.collect(8 * CALM)
        stage.deploy("app:2")
        status = stage.wait_end("Succeeded", timeout=300)
        assert traffic.collect(CALM).images == {"app:2": CALM}
        assert traffic.stop().failures == {}
    weights = stage.weights()
    assert weights == sorted(weights)
    assert weights[-1] == 50
    [run] = stage.items("canaryruns")
    assert run["status"]["reason"].startswith("Promoted: error rate is at most"), run["status"]["reason"]
    assert status["failedChecks"] == 0
    assert stage.image_of("app-primary") == "app:2"


def test_a_healthy_release_keeps_its_own_steps_under_guard(stage: Stage) -> None:
    stage.bootstrap(GUARDED | {"interval": "4s", "stepWeight": 16, "metrics": [SUCCESS, LENIENT]})
    stage.expose_by_contour()
    with stage.traffic(rate=CALM) as traffic:
        traffic.collect(8 * CALM)
        stage.deploy("app:2")
        stage.wait_end("Succeeded")
        assert traffic.stop().failures == {}
    assert stage.weights() == [16, 32, 48]


def test_a_prometheus_that_hangs_in_the_middle_changes_no_verdict(stage: Stage) -> None:
    with valve() as way:
        stage.bootstrap(STEADY, metricsServer=way.url)
        stage.expose_by_contour()
        with stage.traffic(rate=CALM) as traffic:
            traffic.collect(8 * CALM)
            stage.deploy("app:2")
            stage.wait("the first step", lambda: stage.status.get("canaryWeight"))
            time.sleep(4)
            way.close()
            stage.wait("the judge to say so", lambda: "no verdict without data" in reason(stage), never=["Failed", "Succeeded"])
            weight, asked = stage.status["canaryWeight"], way.asked
            time.sleep(12)
            assert (stage.phase, stage.status["canaryWeight"], stage.status["failedChecks"]) == ("Progressing", weight, 0)
            assert way.asked > asked, "it goes on asking"
            way.open()
            status = stage.wait_end("Succeeded", timeout=300)
            assert status["failedChecks"] == 0
            assert traffic.stop().failures == {}


@pytest.mark.parametrize("judge", JUDGES)
def test_both_versions_failing_rolls_nothing_back(stage: Stage, judge: str) -> None:
    stage.bootstrap(JUDGES[judge] | {"threshold": 2, "metrics": [SUCCESS, LENIENT]})
    stage.expose_by_contour()
    with stage.traffic(rate=CALM) as traffic:
        traffic.collect(8 * CALM)
        stage.deploy("app:2")
        stage.wait("the first step", lambda: stage.status.get("canaryWeight"))
        with stage.traffic(rate=15, path="/status/503"):  # an outage of what both depend on, in the middle of the run
            if judge == "sequential":
                stage.wait("the judge to say so", lambda: "primary fails too" in reason(stage), never=["Failed", "Succeeded"])
            else:
                stage.wait_message("the primary fails, too")
            time.sleep(15)
            assert stage.phase == "Progressing", stage.status.get("failureReason")
            assert stage.status["failedChecks"] == 0
        assert stage.image_of("app-primary") == "app:1"
        assert traffic.stop().failures == {}
