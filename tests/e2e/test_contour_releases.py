"""E61-E64 and their bad twins: releases behind Contour, judged by Prometheus, measured by clients."""

import json

import pytest

from tests.e2e.objects import DURATION
from tests.e2e.stage import Stage
from tests.testbed.traffic import assert_split

pytestmark = [pytest.mark.mesh, pytest.mark.timeout(600)]
OPERATOR_FLAGS = ["--ingress-class=contour"]
STEPS = {"interval": "3s", "stepWeight": 20, "maxWeight": 60}


def test_e61_e62_a_good_release_is_promoted_step_by_step_without_a_failed_request(stage: Stage):
    stage.bootstrap(STEPS)
    proxy = stage.get("httpproxies", "app")
    assert proxy["spec"]["ingressClassName"] == "contour"
    assert proxy["metadata"]["annotations"]["kustomize.toolkit.fluxcd.io/reconcile"] == "disabled"
    stage.expose_by_contour()
    with stage.traffic(rate=25) as traffic:
        stage.deploy("app:2")
        stage.wait_end("Succeeded")
        stage.assert_clients_saw(traffic, [20, 40, 60])
        assert traffic.collect(25).images == {"app:2": 25}
        assert traffic.stop().failures == {}
    assert stage.image_of("app-primary") == "app:2"
    assert stage.replicas("app") == 0
    assert stage.condition("Promoted")["status"] == "True"
    assert {check["name"]: check["verdict"] for check in stage.status["checks"]} == {
        "request-success-rate": "Pass",
        "request-duration": "Pass",
    }


def test_e63_a_delay_of_a_second_against_500_ms_is_rolled_back(stage: Stage):
    stage.bootstrap(STEPS | {"threshold": 4, "metrics": [DURATION]})  # Envoy shows a histogram anew every 5 s: the first check has no data
    stage.expose_by_contour()
    with stage.traffic(rate=20, path="/delay/1"):
        stage.deploy("app:2")
        status = stage.wait_end("Failed")
    [check] = status["checks"]
    assert (check["name"], check["verdict"]) == ("request-duration", "Fail")
    assert 900 <= check["value"] <= 5000, check
    assert stage.image_of("app-primary") == "app:1"
    assert stage.replicas("app") == 0


def test_e64_only_requests_with_the_header_meet_the_canary(stage: Stage):
    match = [{"headers": {"x-canary": {"exact": "insider"}}}]
    stage.bootstrap({"interval": "2s", "iterations": 4, "match": match})
    stage.expose_by_contour()
    with stage.traffic(rate=15) as everybody, stage.traffic(rate=15, headers={"x-canary": "insider"}) as insiders:
        stage.deploy("app:2")
        stage.wait_end("Succeeded")
        [test] = [span for span in stage.spans() if span.weight == 100]
        inner = type(test)(100, test.since + 1, test.until)
        assert_split(stage.between(insiders, inner).images, {"app:2": 1.0})
        assert_split(stage.between(everybody, inner).images, {"app:1": 1.0})
        assert everybody.collect(15).images == {"app:2": 15}
        assert everybody.stop().failures == {}
        assert insiders.stop().failures == {}
    iterations = [text for text in stage.messages() if "canary iteration" in text]
    assert [text.rpartition(" ")[2] for text in iterations] == ["1/4", "2/4", "3/4", "4/4"]


def test_a_fifth_of_requests_failing_is_rolled_back_and_the_reason_is_on_the_object(stage: Stage):
    stage.bootstrap(STEPS | {"threshold": 3})
    stage.expose_by_contour()
    # between two of its scrapes the first check must see failures: of 30 requests a second there are none once in a thousand times
    with stage.traffic(rate=150) as traffic:
        stage.deploy("app:2", env={"ERROR_RATE": "0.2"})
        status = stage.wait_end("Failed")
        stage.assert_clients_saw(traffic, [20])
        assert traffic.collect(50).images == {"app:1": 50}
        failures = traffic.stop().failures
    assert set(failures) == {"500 from app:2"}, failures
    _assert_says_why(stage, "success rate", "< 99%")
    verdicts = {check["name"]: check for check in status["checks"]}
    assert verdicts["request-success-rate"]["verdict"] == "Fail"
    assert 55 <= verdicts["request-success-rate"]["value"] <= 97
    assert verdicts["request-duration"]["verdict"] == "Pass"
    assert verdicts["request-success-rate"]["bound"] == {"min": 99}
    assert f"{stage.namespace}_app-canary" in verdicts["request-success-rate"]["query"]


def test_a_p99_above_the_bound_is_rolled_back_and_the_reason_is_on_the_object(stage: Stage):
    stage.bootstrap(STEPS | {"threshold": 3})
    stage.expose_by_contour()
    with stage.traffic(rate=25) as traffic:
        stage.deploy("app:2", env={"LATENCY_MS": "700"})
        stage.wait_end("Failed")
        stage.assert_clients_saw(traffic, [20])
        assert traffic.collect(25).images == {"app:1": 25}
        assert traffic.stop().failures == {}
    _assert_says_why(stage, "request duration", "> 500ms")
    verdicts = {check["name"]: check["verdict"] for check in stage.status["checks"]}
    assert verdicts == {"request-success-rate": "Pass", "request-duration": "Fail"}


def _assert_says_why(stage: Stage, check: str, bound: str) -> None:
    """The same reason everywhere a person may look: status, conditions, events, CanaryRun; and the workloads are safe."""
    reason = stage.status["failureReason"]
    assert check in reason, reason
    assert bound in reason, reason
    promoted = stage.condition("Promoted")
    assert (promoted["status"], promoted["reason"]) == ("False", "Failed")
    assert reason in promoted["message"]
    assert stage.wait_message("Halt app.", check, bound)
    assert stage.wait_message("failed checks threshold reached 3")
    assert stage.wait_message("Canary failed! Scaling down app.")
    warnings = [event for event in stage.events() if event["type"] == "Warning"]
    assert {event["reason"] for event in warnings} == {"Synced"}
    [run] = stage.items("canaryruns")
    assert run["status"]["phase"] == "Failed", json.dumps(run["status"])
    assert check in run["status"]["reason"]
    assert stage.image_of("app-primary") == "app:1"
    assert stage.replicas("app") == 0
