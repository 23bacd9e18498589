"""E01, E02, E24: blue/green without a mesh. A Service of the user's is adopted while it serves, and given back; real gates and load."""

import time

import pytest

from tests.e2e.objects import canary, hook, service_at
from tests.e2e.stage import SETTLE, Span, Stage
from tests.testbed.traffic import Traffic, assert_split
from tests.testbed.workload import deployment

pytestmark = [pytest.mark.mesh, pytest.mark.timeout(600)]
OPERATOR_FLAGS = ["--include-label-prefix=app.kubernetes.io"]

PART_OF = {"app.kubernetes.io/part-of": "shop"}


def test_e01_e02_a_users_service_is_adopted_and_the_new_image_takes_over(stage: Stage):
    stage = stage.called("podinfo", apex="podinfo-svc")
    stage.apply(_secret(), _application(stage, "podinfo:1"), _users_service("podinfo-svc", "podinfo"))
    stage.apply(service_at(stage.host, namespace=stage.namespace, service="podinfo-svc"))
    stage.name_services("podinfo-svc-canary")
    stage.mesh.wait_host(stage.host)
    with stage.traffic(rate=20) as traffic:
        stage.apply(canary("podinfo", stage.namespace, _analysis(stage), provider="kubernetes", service=_service()))
        stage.wait_phase("Initialized")
        _assert_adopted(stage)
        assert traffic.collect(20).failed == 0
        stage.change(_application(stage, "podinfo:2"))
        stage.wait_end("Succeeded")
        _assert_users_met_it_only_when_promoted(stage, traffic)
    assert stage.image_of("podinfo-primary") == "podinfo:2"
    assert stage.replicas("podinfo") == 0
    for text in ("Confirm-rollout check gate", "Pre-rollout check smoke", "Confirm-promotion check gate", "Post-rollout check told"):
        assert stage.wait_message(text, "passed")
    iterations = [text.rpartition(" ")[2] for text in stage.messages() if "canary iteration" in text]
    assert iterations == ["1/5", "2/5", "3/5", "4/5", "5/5"]
    loads = [task for task in stage.load_tester.tasks() if f"podinfo-svc-canary.{stage.namespace}" in str(task) and "hey" in str(task)]
    assert loads, stage.load_tester.tasks()
    query = f'sum(max_over_time(http_requests_total{{namespace="{stage.namespace}",pod!~"podinfo-primary-.*"}}[2m]))'
    [(_, reached)] = stage.mesh.query(query)
    assert reached > 50, "the load test did not reach the canary"
    assert {check["verdict"] for check in stage.status["checks"]} == {"Pass"}


def test_deletion_with_revert_gives_the_target_back_without_a_failed_request(stage: Stage):
    """With a Service of the user's own: what the Canary owns goes with it, and users would be left without a Service."""
    stage.deploy("app:1")
    stage.apply(_users_service("app", "app"), service_at(stage.host, namespace=stage.namespace, service="app"))
    stage.mesh.wait_host(stage.host)
    with stage.traffic(rate=20) as traffic:
        analysis = {"interval": "2s", "iterations": 2}
        stage.apply(canary("app", stage.namespace, analysis, provider="kubernetes", revertOnDeletion=True))
        stage.wait_phase("Initialized")
        assert stage.get("canaries", "app")["metadata"]["finalizers"] == ["finalizer.flagger.app"]
        assert stage.replicas("app") == 0
        stage.delete("canaries", "app")
        stage.wait("the canary to be gone", lambda: stage.canary.latest is None, 30)
        assert stage.get("services", "app")["spec"]["selector"] == {"app": "app"}
        assert stage.replicas("app") == 1
        stage.wait(
            "the primary to be collected", lambda: not stage.exists("deployments", "app-primary"), 90
        )  # the collector looks for new kinds every 30 s
        time.sleep(2 * SETTLE)
        assert not [pod for pod in traffic.collect(20).pods if pod.startswith("app-primary")]
        assert traffic.stop().failures == {}
    assert stage.exists("services", "app")
    assert not stage.exists("services", "app-primary")


def _assert_adopted(stage: Stage) -> None:
    """The user's Service selects the primary and keeps what is the user's; the primary carries what its labels ask for."""
    service = stage.get("services", "podinfo-svc")
    notes = service["metadata"]["annotations"]
    assert notes["kustomize.toolkit.fluxcd.io/reconcile"] == "disabled"
    assert notes["helm.toolkit.fluxcd.io/driftDetection"] == "disabled"
    assert notes["team"] == "shop"
    assert service["spec"]["selector"] == {"app": "podinfo-primary"}
    assert "ownerReferences" not in service["metadata"]
    ports = {port["name"]: (port["port"], port["targetPort"]) for port in service["spec"]["ports"]}
    assert ports == {"http": (80, 9898), "http-metrics": (9797, 9797), "grpc": (9999, 9999)}, ports
    primary = stage.get("deployments", "podinfo-primary")
    assert primary["metadata"]["labels"]["app.kubernetes.io/part-of"] == "shop"
    assert primary["spec"]["template"]["metadata"]["annotations"]["app.kubernetes.io/part-of"] == "shop"
    assert stage.exists("services", "podinfo-svc-canary")
    assert stage.replicas("podinfo") == 0


def _assert_users_met_it_only_when_promoted(stage: Stage, traffic: Traffic) -> None:
    before = stage.between(traffic, Span(0, 0, stage.moment("Promoting")))
    assert_split(before.images, {"podinfo:1": 1.0, "podinfo:2": 0.0})
    assert traffic.collect(20).images == {"podinfo:2": 20}
    assert traffic.stop().failures == {}


def _analysis(stage: Stage) -> dict:
    url = stage.load_tester.url
    host = f"podinfo-svc-canary.{stage.namespace}"
    return {
        "interval": "2s",
        "iterations": 5,
        "threshold": 8,
        "webhooks": [
            hook("gate", "confirm-rollout", f"{url}/gate/approve"),
            hook("smoke", "pre-rollout", f"{url}/", type="bash", cmd=f"curl -sf http://{host}/ | grep podinfo:2"),
            hook("load", "rollout", f"{url}/", cmd=f"hey -z 30s -q 10 -c 2 http://{host}/"),
            hook("more", "confirm-traffic-increase", f"{url}/gate/approve"),
            hook("gate", "confirm-promotion", f"{url}/gate/approve"),
            hook("back", "rollback", f"{url}/rollback/check"),
            hook("told", "post-rollout", f"{url}/", type="bash", cmd="true"),
        ],
    }


def _service() -> dict:
    return {"name": "podinfo-svc", "port": 80, "targetPort": 9898, "portDiscovery": True}


def _application(stage: Stage, image: str) -> dict:
    body = deployment("podinfo", namespace=stage.namespace, image=image)
    body["metadata"]["labels"] = dict(PART_OF)
    template = body["spec"]["template"]
    template["metadata"]["annotations"] = dict(PART_OF)
    template["metadata"]["labels"] |= PART_OF
    [container] = template["spec"]["containers"]
    container["ports"] = [
        {"name": "http", "containerPort": 9898},
        {"name": "http-metrics", "containerPort": 9797},
        {"name": "grpc", "containerPort": 9999},
    ]
    container["env"] = [{"name": "SECRET", "valueFrom": {"secretKeyRef": {"name": "podinfo-secret", "key": "data"}}}]
    if image != "podinfo:1":
        del body["spec"]["replicas"]
    return body


def _secret() -> dict:
    return {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "podinfo-secret"}, "stringData": {"data": "test"}}


def _users_service(name: str, app: str) -> dict:
    spec = {"selector": {"app": app}, "ports": [{"name": "http", "port": 80, "targetPort": 9898}]}
    meta = {"name": name, "annotations": {"team": "shop"}}
    return {"apiVersion": "v1", "kind": "Service", "metadata": meta, "spec": spec}
