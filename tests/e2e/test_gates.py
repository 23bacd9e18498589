"""Gates, asked over HTTP by the operator and opened by people at a real load tester: what waits, what goes on meanwhile, what ends it."""

import time

import pytest

from tests.e2e.objects import SUCCESS, Item, hook
from tests.e2e.stage import SETTLE, Span, Stage
from tests.testbed.traffic import assert_split

pytestmark = [pytest.mark.mesh, pytest.mark.timeout(600)]

STEPS = {"interval": "2s", "stepWeight": 25, "maxWeight": 50, "metrics": [SUCCESS]}


def _bootstrap(stage: Stage, *hooks: Item, **analysis: object) -> None:
    stage.bootstrap(STEPS | {"webhooks": list(hooks)} | analysis)
    stage.expose_by_contour()


def _open(stage: Stage, gate: str = "gate/open", **metadata: str) -> None:
    stage.load_tester.turn(gate, name="app", namespace=stage.namespace, **metadata)


def _warnings(stage: Stage, *parts: str) -> list[Item]:
    return [event for event in stage.events() if event["type"] == "Warning" and all(part in event["message"] for part in parts)]


def test_confirm_rollout_holds_a_revision_back_until_it_is_opened(stage: Stage):
    _bootstrap(stage, hook("ask-ada", "confirm-rollout", f"{stage.load_tester.url}/gate/check"))
    with stage.traffic(rate=15) as traffic:
        stage.deploy("app:2")
        stage.wait_phase("Waiting")
        stage.wait_message("Halt app.", "waiting for approval ask-ada")
        time.sleep(5)
        assert stage.phase == "Waiting"
        assert stage.replicas("app") == 0
        assert stage.condition("Promoted")["status"] == "Unknown"
        assert set(traffic.tally().images) == {"app:1"}
        assert [event.get("count", 1) for event in _warnings(stage, "waiting for approval")] == [1], "one warning for one wait"
        _open(stage, by="ada", reason="looks good")
        stage.wait_end("Succeeded")
        assert traffic.stop().failures == {}
    assert stage.wait_message("Confirm-rollout check ask-ada passed")


def test_confirm_traffic_increase_halts_at_the_weight_that_is_reached(stage: Stage):
    gate = hook("more-traffic", "confirm-traffic-increase", f"{stage.load_tester.url}/gate/check")
    _bootstrap(stage, gate)
    _open(stage)
    with stage.traffic(rate=20) as traffic:
        stage.deploy("app:2")
        stage.wait("the first step", lambda: stage.status.get("canaryWeight") == 25)
        _open(stage, "gate/close")
        stage.wait_message("Halt app.", "traffic increase approval more-traffic")
        time.sleep(SETTLE)
        halted, checks = stage.status["canaryWeight"], stage.status["failedChecks"]
        since = time.monotonic()
        time.sleep(5)
        assert stage.status["canaryWeight"] == halted
        assert stage.phase == "Progressing"
        tally = stage.between(traffic, Span(halted, since, time.monotonic()))
        assert_split(tally.images, {"app:1": 1 - halted / 100, "app:2": halted / 100})
        assert stage.status["failedChecks"] == checks, "a gate is not a failed check"
        _open(stage)
        stage.wait_end("Succeeded")
        stage.assert_clients_saw(traffic, [25, 50])
        assert traffic.stop().failures == {}


def test_confirm_promotion_keeps_the_weights_and_goes_on_checking(stage: Stage):
    _bootstrap(stage, hook("release-manager", "confirm-promotion", f"{stage.load_tester.url}/gate/check"))
    with stage.traffic(rate=20) as traffic:
        stage.deploy("app:2")
        stage.wait_phase("WaitingPromotion", never=["Failed"])
        since = time.monotonic() + SETTLE
        before = stage.status["checks"][0]["time"]
        time.sleep(6)
        assert stage.phase == "WaitingPromotion"
        assert stage.status["checks"][0]["time"] > before, "checks stopped while waiting"
        assert_split(stage.between(traffic, Span(50, since, time.monotonic())).images, {"app:1": 0.5, "app:2": 0.5})
        assert stage.image_of("app-primary") == "app:1"
        assert len(_warnings(stage, "promotion approval release-manager")) == 1
        _open(stage)
        stage.wait_end("Succeeded")
        assert traffic.stop().failures == {}
    assert stage.image_of("app-primary") == "app:2"


def test_a_release_that_turns_bad_while_it_waits_for_promotion_is_rolled_back(stage: Stage):
    _bootstrap(stage, hook("release-manager", "confirm-promotion", f"{stage.load_tester.url}/gate/check"), threshold=2)
    with stage.traffic(rate=20) as traffic:
        stage.deploy("app:2")
        stage.wait_phase("WaitingPromotion", never=["Failed"])
        [pod] = [pod["metadata"]["name"] for pod in stage.items("pods") if pod["spec"]["containers"][0]["image"] == "app:2"]
        stage.patch("pods", pod, {"metadata": {"annotations": {"testbed/error-rate": "0.6"}}})
        stage.wait_end("Failed")
        time.sleep(SETTLE)
        assert traffic.collect(20).images == {"app:1": 20}
    assert "success rate" in stage.status["failureReason"]


def test_the_rollback_gate_rolls_back_on_demand(stage: Stage):
    _bootstrap(stage, hook("panic-button", "rollback", f"{stage.load_tester.url}/rollback/check"))
    with stage.traffic(rate=20) as traffic:
        stage.deploy("app:2")
        stage.wait_weight(25)
        pressed = time.monotonic()
        _open(stage, "rollback/open")
        status = stage.wait_end("Failed")
        back = next(at for at, weight in stage.moves() if at > pressed and weight == 0)
        assert back - pressed < 4 * 2, f"traffic went back {back - pressed:.1f} s after the button, at an interval of 2 s"
        assert status["failureReason"] == "rollback hook panic-button"
        assert traffic.collect(20).images == {"app:1": 20}
        assert traffic.stop().failures == {}
    assert stage.wait_message("Rollback check panic-button passed")


def test_a_gate_that_cannot_be_reached_waits_and_says_why(stage: Stage):
    _bootstrap(stage, hook("nobody-home", "confirm-rollout", "http://127.0.0.1:9/gate/check"))
    stage.deploy("app:2")
    stage.wait_phase("Waiting")
    assert stage.wait_message("Halt app.", "nobody-home")
    time.sleep(3)
    assert stage.phase == "Waiting"
    assert stage.replicas("app") == 0
