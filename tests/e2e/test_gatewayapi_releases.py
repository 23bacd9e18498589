"""E38-E47: releases on the Gateway API, through the same Contour and Envoy."""

import http.client
import re
import time
from collections import Counter

import pytest

from tests.e2e.objects import DURATION, SUCCESS, hook, metric_template, on_gateway
from tests.e2e.stage import Span, Stage
from tests.testbed.mesh import Mesh
from tests.testbed.traffic import Tally, assert_split

pytestmark = [pytest.mark.mesh, pytest.mark.timeout(600)]

PODS = 'kubernetes_namespace="{{ namespace }}",kubernetes_pod_name=~"{{ target }}-[0-9a-zA-Z]+(-[0-9a-zA-Z]+)"'
ERROR_RATE = f'100 * sum(rate(http_requests_total{{{PODS},status=~"5.."}}[{{{{ interval }}}}]) or vector(0)) / sum(rate(http_requests_total{{{PODS}}}[{{{{ interval }}}}]))'
LATENCY = f"histogram_quantile(0.99, sum(rate(http_request_duration_seconds_bucket{{{PODS}}}[{{{{ interval }}}}])) by (le))"


def _templates(stage: Stage) -> list[dict]:
    """Two MetricTemplates and the checks that use them."""
    stage.apply(metric_template("error-rate", stage.namespace, ERROR_RATE), metric_template("latency", stage.namespace, LATENCY))
    return [
        {"name": "error rate", "templateRef": {"name": "error-rate"}, "thresholdRange": {"max": 1}, "interval": "10s"},
        {"name": "latency", "templateRef": {"name": "latency"}, "thresholdRange": {"max": 0.5}, "interval": "10s"},
    ]


def _bootstrap(stage: Stage, analysis: dict, **more: object) -> None:
    stage.bootstrap(analysis, provider="gatewayapi:v1", service=on_gateway(stage.host), **more)
    stage.mesh.wait_host(stage.host)


def test_e38_e39_a_good_release_is_promoted_by_two_metric_templates(stage: Stage):
    _bootstrap(stage, {"interval": "3s", "stepWeight": 10, "maxWeight": 50, "metrics": _templates(stage)})
    assert stage.get("services", "app")["spec"]["selector"] == {"app": "app-primary"}
    assert stage.get("httproutes", "app")["spec"]["hostnames"] == [stage.host]
    with stage.traffic(rate=30) as traffic:
        stage.deploy("app:2")
        status = stage.wait_end("Succeeded")
        stage.assert_clients_saw(traffic, [10, 20, 30, 40, 50], plural="httproutes")
        assert traffic.collect(30).images == {"app:2": 30}
        assert traffic.stop().failures == {}
    checks = {check["name"]: check for check in status["checks"]}
    assert {name: check["verdict"] for name, check in checks.items()} == {"error rate": "Pass", "latency": "Pass"}
    assert checks["latency"]["source"] == f"template/{stage.namespace}/latency"
    assert 0 < checks["latency"]["value"] < 0.5


def test_e40_errors_of_the_application_are_rolled_back(stage: Stage):
    _bootstrap(stage, {"interval": "2s", "stepWeight": 10, "maxWeight": 50, "threshold": 6, "metrics": _templates(stage)})
    with stage.traffic(rate=20) as users, stage.traffic(rate=20, path="/status/500"):
        stage.deploy("app:2")
        status = stage.wait_end("Failed")
        assert status["failedChecks"] == 0
        assert "error rate" in status["failureReason"]
        assert users.collect(20).images == {"app:1": 20}
        assert users.stop().failures == {}
    assert stage.wait_message("failed checks threshold reached 6")
    assert stage.image_of("app-primary") == "app:1"


def test_e41_e42_blue_green_after_a_smoke_test_with_a_plain_threshold(stage: Stage):
    stage.name_services("app-canary")
    smoke = f"curl -sf http://app-canary.{stage.namespace}/ | grep app:2"
    url = f"{stage.load_tester.url}/"
    load = hook("load", "rollout", url, cmd=f"hey -z 20s -q 10 -c 1 http://app-canary.{stage.namespace}/")
    hooks = [hook("smoke-test", "pre-rollout", url, type="bash", cmd=smoke), load]
    checks = [{"name": "request-success-rate", "threshold": 99, "interval": "10s"}]
    _bootstrap(stage, {"interval": "2s", "iterations": 5, "threshold": 8, "metrics": checks, "webhooks": hooks})
    with stage.traffic(rate=20) as traffic:
        stage.deploy("app:2")
        stage.wait_end("Succeeded")
        stage.assert_clients_saw(traffic, [100], plural="httproutes")
        [cut_over] = stage.spans("httproutes")
        before = cut_over.since - 1.0  # when the watch told us, which on a busy machine is after Envoy was told
        assert set(stage.between(traffic, Span(0, 0, before)).images) == {"app:1"}
        assert traffic.stop().failures == {}
    assert stage.wait_message("Pre-rollout check smoke-test passed")
    assert [text.rpartition(" ")[2] for text in stage.messages() if "canary iteration" in text] == ["1/5", "2/5", "3/5", "4/5", "5/5"]
    assert stage.wait_message("Routing all traffic to canary")


def test_e41_a_smoke_test_that_fails_keeps_users_away_from_the_canary(stage: Stage):
    stage.name_services("app-canary")
    smoke = hook(
        "smoke-test",
        "pre-rollout",
        f"{stage.load_tester.url}/",
        type="bash",
        cmd=f"curl -sf http://app-canary.{stage.namespace}/status/503",
    )
    _bootstrap(stage, {"interval": "1s", "iterations": 5, "threshold": 2, "webhooks": [smoke]})
    with stage.traffic(rate=20) as traffic:
        stage.deploy("app:2")
        status = stage.wait_end("Failed")
        assert set(traffic.stop().images) == {"app:1"}
    assert stage.wait_message("Halt app.", "smoke-test failed")
    assert "failed checks threshold reached 2" in status["failureReason"]


def test_e43_e44_only_requests_with_the_header_meet_the_canary(stage: Stage):
    match = [{"headers": {"x-canary": {"exact": "insider"}}}]
    _bootstrap(stage, {"interval": "1s", "iterations": 10, "threshold": 8, "match": match, "metrics": [SUCCESS, DURATION]})
    with stage.traffic(rate=15) as everybody, stage.traffic(rate=15, headers={"x-canary": "insider"}) as insiders:
        stage.deploy("app:2")
        stage.wait_end("Succeeded")
        stage.assert_clients_saw(insiders, [100], plural="httproutes")
        [test] = stage.spans("httproutes")
        assert_split(stage.between(everybody, test).images, {"app:1": 1.0})
        assert everybody.collect(15).images == {"app:2": 15}
        assert everybody.stop().failures == {}
        assert insiders.stop().failures == {}


def test_e45_e47_users_stay_with_the_version_that_they_met(stage: Stage):
    affinity = {"cookieName": "canary-cookie", "maxAge": 600, "primaryCookieName": "primary-cookie"}
    # A gate holds the weight for as long as it takes to ask: steps by the clock would go on meanwhile, and the split be a mixture of two.
    gate = hook("more-traffic", "confirm-traffic-increase", f"{stage.load_tester.url}/gate/check")
    _bootstrap(stage, {"interval": "6s", "stepWeight": 10, "maxWeight": 20, "sessionAffinity": affinity, "webhooks": [gate]})
    stage.load_tester.turn("gate/open", name="app", namespace=stage.namespace)
    with stage.traffic(rate=15) as strangers:
        stage.deploy("app:2")
        stage.wait("the first step", lambda: stage.status.get("canaryWeight") == 10)
        stage.load_tester.turn("gate/close", name="app", namespace=stage.namespace)
        stage.wait_message("Halt app.", "traffic increase approval more-traffic")
        met = [_meet(stage) for _ in range(120)]
        assert_split(Counter(image for image, _ in met), {"app:1": 0.9, "app:2": 0.1})
        by_image = {image: next(cookies for met_image, cookies in met if met_image == image) for image in ("app:1", "app:2")}
        assert stage.status["sessionAffinityCookie"] == _pair(by_image["app:2"][0])
        assert stage.status["primarySessionAffinityCookie"] == _pair(by_image["app:1"][0])
        assert [_attributes(cookie) for cookie in by_image["app:2"]] == [{"Max-Age": "600"}]
        assert [_attributes(cookie) for cookie in by_image["app:1"]] == [{"Max-Age": "6"}]
        on_canary, on_primary = _pair(by_image["app:2"][0]), _pair(by_image["app:1"][0])
        assert stage.status["canaryWeight"] == 10
        _assert_sticks(stage, on_canary, "app:2")
        _assert_sticks(stage, on_primary, "app:1")
        stage.load_tester.turn("gate/open", name="app", namespace=stage.namespace)
        stage.wait_weight(20)
        _assert_sticks(stage, on_canary, "app:2")
        stage.wait_end("Succeeded")
        assert strangers.stop().failures == {}
    time.sleep(1)
    assert stage.status["previousSessionAffinityCookie"] == on_canary
    image, cookies = _meet(stage, on_canary)
    assert image == "app:2"
    assert cookies == [f"{on_canary}; Max-Age=-1"]
    assert _meet(stage)[1] == []


def _meet(stage: Stage, cookie: str = "") -> tuple[str, list[str]]:
    """One request of a browser: who answered, and the Set-Cookie headers."""
    connection = http.client.HTTPConnection(Mesh.gateway_url.removeprefix("http://"), timeout=20)
    try:
        connection.request("GET", "/", headers={"Host": stage.host} | ({"Cookie": f"theme=dark; {cookie}"} if cookie else {}))
        answer = connection.getresponse()
        image = re.search(r'"image": ?"([^"]+)"', answer.read().decode())
        assert answer.status == 200
        assert image
        return image[1], answer.headers.get_all("Set-Cookie") or []
    finally:
        connection.close()


def _assert_sticks(stage: Stage, cookie: str, image: str) -> None:
    """Forty requests with this cookie: at weight 10 or 90, chance alone would not bring them all to one version."""
    seen = Tally.of(stage.burst(40, cookies=dict([cookie.split("=", 1)])))
    assert seen.images == {image: 40}, (cookie, seen)


def _pair(cookie: str) -> str:
    return cookie.partition(";")[0]


def _attributes(cookie: str) -> dict[str, str]:
    return dict(part.strip().split("=", 1) for part in cookie.split(";")[1:])
