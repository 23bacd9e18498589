"""What people and accidents do while a release is under way, or at rest: new revisions, suspension, edits, deletions, stuck rollouts."""

import time

import pytest

from tests.e2e.objects import SUCCESS, canary
from tests.e2e.stage import SETTLE, Span, Stage
from tests.testbed.traffic import assert_split
from tests.testbed.workload import deployment

pytestmark = [pytest.mark.mesh, pytest.mark.timeout(600)]

STEPS = {"interval": "3s", "stepWeight": 25, "maxWeight": 50, "metrics": [SUCCESS]}


def _under_way(stage: Stage, weight: int = 25) -> None:
    """Release app:2 up to this weight."""
    stage.deploy("app:2")
    stage.wait_weight(weight)


def test_a_newer_revision_starts_over_and_is_the_one_that_is_promoted(stage: Stage):
    stage.bootstrap(STEPS)
    stage.expose_by_contour()
    with stage.traffic(rate=20) as traffic:
        _under_way(stage, 50)
        first = stage.status["run"]["id"]
        stage.deploy("app:3")
        stage.wait_message("New revision detected! Restarting analysis for app.")
        stage.wait("the new run", lambda: stage.status["run"]["id"] != first)
        status = stage.wait_end("Succeeded")
        weights = [weight for _, weight in stage.moves()]
        assert weights == [0, 25, 50, 0], weights
        assert traffic.collect(20).images == {"app:3": 20}
        assert traffic.stop().failures == {}
    assert status["run"]["images"] == {"app": "app:3"}
    assert stage.image_of("app-primary") == "app:3"
    runs = sorted(stage.items("canaryruns"), key=lambda run: run["spec"]["startedAt"])
    assert [run["status"]["phase"] for run in runs] == ["Canceled", "Succeeded"]


def test_going_back_to_the_promoted_revision_cancels_the_release(stage: Stage):
    stage.bootstrap(STEPS)
    stage.expose_by_contour()
    with stage.traffic(rate=20) as traffic:
        _under_way(stage)
        stage.deploy("app:1")
        stage.wait_message("Release of app.", "canceled")
        stage.wait_now("Initialized")
        time.sleep(SETTLE)
        assert traffic.collect(20).images == {"app:1": 20}
        assert traffic.stop().failures == {}
    assert stage.replicas("app") == 0
    assert [run["status"]["phase"] for run in stage.items("canaryruns")] == ["Canceled"]


def test_a_suspended_release_stays_where_it_is_and_goes_on_when_it_may(stage: Stage):
    stage.bootstrap(STEPS)
    stage.expose_by_contour()
    with stage.traffic(rate=20) as traffic:
        _under_way(stage)
        stage.patch("canaries", "app", {"spec": {"suspend": True}})
        stage.wait_message("is suspended")
        since = time.monotonic()
        time.sleep(7)
        assert stage.status["canaryWeight"] == 25
        assert_split(stage.between(traffic, Span(25, since, time.monotonic())).images, {"app:1": 0.75, "app:2": 0.25})
        stage.patch("canaries", "app", {"spec": {"suspend": False}})
        stage.wait_end("Succeeded")
        stage.assert_clients_saw(traffic, [25, 50])
        assert traffic.stop().failures == {}


def test_skip_analysis_promotes_on_readiness_alone(stage: Stage):
    stage.bootstrap(STEPS, skipAnalysis=True)
    stage.expose_by_contour()
    with stage.traffic(rate=20) as traffic:
        stage.deploy("app:2", env={"ERROR_RATE": "0"})
        stage.wait_end("Succeeded")
        assert stage.weights() == []
        time.sleep(SETTLE)
        assert traffic.collect(20).images == {"app:2": 20}
        assert traffic.stop().failures == {}
    assert stage.wait_message("Canary analysis was skipped")
    assert "checks" not in stage.status


def test_a_change_of_configuration_alone_is_a_release_and_the_primary_gets_its_copy(stage: Stage):
    stage.apply(_config("blue"))
    body = _configured(stage)
    stage.apply(body)
    stage.apply(canary("app", stage.namespace, STEPS))
    stage.wait_phase("Initialized")
    stage.expose_by_contour()
    assert stage.get("configmaps", "app-settings-primary")["data"] == {"colour": "blue"}
    primary = stage.get("deployments", "app-primary")["spec"]["template"]["spec"]["containers"][0]
    assert primary["envFrom"] == [{"configMapRef": {"name": "app-settings-primary"}}]
    with stage.traffic(rate=20) as traffic:
        stage.change(_config("green"))
        stage.wait_phase("Progressing")
        assert stage.get("configmaps", "app-settings-primary")["data"] == {"colour": "blue"}, "users keep the old one"
        stage.wait_end("Succeeded")
        assert stage.weights() == [25, 50]
        assert traffic.stop().failures == {}
    assert stage.get("configmaps", "app-settings-primary")["data"] == {"colour": "green"}


def test_edits_of_generated_objects_are_mended_and_never_move_traffic(stage: Stage):
    stage.bootstrap(STEPS | {"interval": "6s"})
    stage.expose_by_contour()
    with stage.traffic(rate=20) as traffic:
        _under_way(stage)
        since = time.monotonic()
        stage.patch("services", "app-canary", {"spec": {"selector": {"app": "nobody"}}})
        stage.wait("the Service to be mended", lambda: stage.get("services", "app-canary")["spec"]["selector"] == {"app": "app"})
        route = stage.get("httpproxies", "app")["spec"]["routes"][0]
        stage.patch("httpproxies", "app", {"spec": {"routes": [route | {"conditions": [{"prefix": "/elsewhere"}]}]}})
        stage.wait(
            "the route to be mended", lambda: stage.get("httpproxies", "app")["spec"]["routes"][0]["conditions"] == [{"prefix": "/"}]
        )
        mended = time.monotonic() - since
        seen = [weight for _, weight in stage.moves() if weight]
        assert seen == ([25] if mended < 5 else [25, 50][: len(seen)]), f"the weights moved ({mended:.1f} s)"
        stage.wait_end("Succeeded")
        assert stage.weights() == [25, 50]
        assert traffic.collect(20).images == {"app:2": 20}


def test_fields_that_others_set_on_generated_objects_stay(stage: Stage):
    stage.bootstrap(STEPS, service={"unmanagedMetadata": {"annotations": ["team"]}})
    stage.patch("services", "app", {"metadata": {"annotations": {"team": "shop"}}, "spec": {"sessionAffinity": "ClientIP"}})
    stage.deploy("app:2")
    stage.expose_by_contour()
    with stage.traffic(rate=15):
        stage.wait_end("Succeeded")
    service = stage.get("services", "app")
    assert service["metadata"]["annotations"]["team"] == "shop"
    assert service["spec"]["sessionAffinity"] == "ClientIP"


def test_a_promotion_that_gets_stuck_keeps_the_traffic_on_the_healthy_target(stage: Stage):
    """A quota without room for the primary's new pod: its rollout exceeds the progress deadline."""
    stage.bootstrap(STEPS | {"interval": "2s"})
    stage.expose_by_contour()
    with stage.traffic(rate=20) as traffic:
        stage.deploy("app:2", deadline=5)
        stage.wait_weight(25)
        quota = {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "full"}, "spec": {"hard": {"pods": "2"}}}
        stage.apply(quota)
        status = stage.wait_end("Failed")
        assert "promotion failed" in status["failureReason"]
        assert status["canaryWeight"] == 100
        time.sleep(2 * SETTLE)
        assert traffic.collect(20).images == {"app:2": 20}
        assert traffic.stop().failures == {}
    assert stage.replicas("app") == 1, "the copy that serves was scaled down"
    assert stage.wait_message("Promotion of app.", "failed")
    assert stage.condition("Ready")["status"] == "True"


def test_an_image_that_cannot_be_pulled_is_rolled_back_at_the_deadline(stage: Stage):
    stage.bootstrap(STEPS | {"interval": "1s"}, progressDeadlineSeconds=5)
    stage.expose_by_contour()
    with stage.traffic(rate=15) as traffic:
        stage.deploy("app:unpullable")
        status = stage.wait_end("Failed")
        assert traffic.stop().images.keys() == {"app:1"}
    assert "not ready" in status["failureReason"]
    assert stage.wait_message("progress deadline exceeded")
    assert stage.replicas("app") == 0


def _config(colour: str) -> dict:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "app-settings"}, "data": {"colour": colour}}


def _configured(stage: Stage) -> dict:
    body = deployment("app", namespace=stage.namespace)
    body["spec"]["template"]["spec"]["containers"][0]["envFrom"] = [{"configMapRef": {"name": "app-settings"}}]
    return body
