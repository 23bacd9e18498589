"""Mirrored traffic, judged on a real Envoy: a bad version is found out on copies before anybody meets it, and a good one goes on to users."""

from typing import Any

import pytest

from tests.e2e.objects import LENIENT, SUCCESS, Item, on_gateway
from tests.e2e.stage import Stage

pytestmark = [pytest.mark.mesh, pytest.mark.timeout(600)]
RATE = 20
MIRRORED: Item = {
    "interval": "2s",
    "stepWeight": 10,
    "mirror": True,
    "metrics": [SUCCESS, LENIENT],
    "judge": "sequential",
    "sequential": {"minDuration": "5s", "maxDuration": "8m", "margin": {"errorRate": 4, "slowRatio": 2, "slowShare": 20}},
}


def bootstrap(stage: Stage) -> None:
    stage.bootstrap(MIRRORED, provider="gatewayapi:v1", service=on_gateway(stage.host))
    stage.mesh.wait_host(stage.host)


def copied_to(route: Item) -> set[str]:
    """The Services that get copies of requests."""
    filters = [one for rule in route["spec"]["rules"] for one in rule.get("filters") or ()]
    return {one["requestMirror"]["backendRef"]["name"] for one in filters if one["type"] == "RequestMirror"}


def stages(stage: Stage) -> list[tuple[bool, bool]]:
    """Whether the canary got copies, and whether it got requests, since the release began; each as often as it changed."""
    sides = stage.routes("httproutes").history(lambda item: ("app-canary" in copied_to(item), _weighted(item)), since=stage.mark)
    return [pair for _, pair in sides]


def _weighted(route: Item) -> bool:
    return any(one["name"] == "app-canary" and one.get("weight", 1) for rule in route["spec"]["rules"] for one in rule["backendRefs"])


def check(status: Item, name: str) -> Any:
    return {one["name"]: one for one in status["checks"]}[name]


def test_a_bad_version_ends_on_copies_and_no_user_meets_it(stage: Stage) -> None:
    bootstrap(stage)
    with stage.traffic(rate=RATE) as traffic:
        traffic.collect(8 * RATE)  # the primary's past
        stage.deploy("app:2", env={"ERROR_RATE": "0.5"})
        status = stage.wait_end("Failed")
        tally = traffic.stop()
    assert (set(tally.images), dict(tally.failures)) == ({"app:1"}, {})
    assert stages(stage) == [(True, False), (False, False)]
    assert status["failureReason"].startswith("Rolled back after"), status["failureReason"]
    assert "on copies of requests" in status["failureReason"]
    assert check(status, "judge/errorRate")["verdict"] == "Fail"
    assert stage.image_of("app-primary") == "app:1"
    [run] = stage.items("canaryruns")
    assert run["status"].get("maxWeightReached", 0) == 0


def test_a_good_version_shows_itself_on_copies_first_and_is_promoted_by_users(stage: Stage) -> None:
    bootstrap(stage)
    with stage.traffic(rate=RATE) as traffic:
        traffic.collect(8 * RATE)
        stage.deploy("app:2")
        stage.wait_end("Succeeded", timeout=300)
        assert traffic.collect(RATE).images == {"app:2": RATE}
        assert traffic.stop().failures == {}
    assert stages(stage) == [(True, False), (False, True), (False, False)]
    [run] = stage.items("canaryruns")
    assert run["status"]["reason"].startswith("Promoted: error rate is at most"), run["status"]["reason"]
