"""The first mistakes that everybody makes: each gives one clear message, on the object or at the prompt, and harms nobody else."""

import json
import os
import socket
import subprocess
import sys
import time

import pytest

from tests.e2e.objects import SUCCESS, Item, canary
from tests.e2e.operators import CRDS, Operator, free_port
from tests.e2e.stage import Stage
from tests.testbed.cluster import Cluster, KubectlError
from tests.testbed.waiting import until
from tests.testbed.workload import deployment

pytestmark = [pytest.mark.mesh, pytest.mark.timeout(600)]
OPERATOR_FLAGS = ["--ingress-class=contour"]
STEPS = {"interval": "1s", "stepWeight": 50, "maxWeight": 50}
DEFINITIONS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"


@pytest.fixture(scope="module", autouse=True)
def without_istio(cluster):
    """Another module may have installed it on this cluster."""
    _uninstall(cluster, {"networking.istio.io"})


def _uninstall(cluster: Cluster, groups: set[str]) -> None:
    def names() -> list[str]:
        return [item["metadata"]["name"] for item in cluster.api.get(DEFINITIONS)["items"] if item["spec"]["group"] in groups]

    for name in names():
        cluster.api.call("DELETE", f"{DEFINITIONS}/{name}")
    until(f"the CRDs of {groups} to be gone", lambda: not names(), 60)


# ------------------------------------------------------------------------------------------------ refused when applied


def _without(path: str, body: Item) -> Item:
    *parents, last = path.split(".")
    inner = body
    for parent in parents:
        inner = inner[parent]
    del inner[last]
    return body


REFUSED = {
    "an interval that is no duration": (
        lambda name, ns: canary(name, ns, STEPS | {"interval": "soon"}),
        ["spec.analysis.interval", "soon"],
    ),
    "a window of a check that is no duration": (
        lambda name, ns: canary(name, ns, STEPS | {"metrics": [SUCCESS | {"interval": "1 minute"}]}),
        ["spec.analysis.metrics[0].interval", "1 minute"],
    ),
    "steps and iterations together": (
        lambda name, ns: canary(name, ns, STEPS | {"iterations": 5}),
        ["spec.analysis", "one and only one", "Found 2"],
    ),
    "no port": (lambda name, ns: _without("spec.service.port", canary(name, ns, STEPS)), ["spec.service.port", "Required value"]),
    "an unknown provider": (
        lambda name, ns: canary(name, ns, STEPS, provider="istoi"),
        ["spec.provider", "istoi", "supported values", '"istio"'],
    ),
    "a target that cannot be released": (
        lambda name, ns: canary(name, ns, STEPS, targetRef={"apiVersion": "apps/v1", "kind": "StatefulSet", "name": name}),
        ["spec.targetRef.kind", "StatefulSet", '"Deployment"'],
    ),
}


@pytest.mark.parametrize("mistake", REFUSED)
def test_refused_at_apply(cluster, namespace, crds, mistake):
    make, said = REFUSED[mistake]
    with pytest.raises(KubectlError) as refused:
        cluster.kubectl("apply", "-f", "-", input=json.dumps(make("app", namespace)))
    for part in said:
        assert part in str(refused.value)


# ------------------------------------------------------------------------------------------------ shown on the object

ON_THE_OBJECT = {
    "wrong target": (
        lambda ns: canary("app", ns, STEPS, targetRef={"apiVersion": "apps/v1", "kind": "Deployment", "name": "ap"}),
        "TargetNotFound",
        ["deployment ap.", "does not exist"],
    ),
    "no service": (
        lambda ns: _without("spec.service", canary("app", ns, STEPS)),
        "InvalidSpec",
        ["spec.service.port", "is missing", "port: 9898"],
    ),
    "a provider without a router": (
        lambda ns: canary("app", ns, STEPS, provider="linkerd"),
        "Rejected",
        ["'linkerd' is not supported", "contour", "gatewayapi:v1"],
    ),
    "a mesh that is not installed": (
        lambda ns: canary("app", ns, STEPS, provider="istio"),
        "NotFound",
        ["virtualservices.networking.istio.io", "install"],
    ),
    "no gateway": (
        lambda ns: canary("app", ns, STEPS, provider="gatewayapi:v1"),
        "Rejected",
        ["spec.service.gatewayRefs is empty", "--default-gateway"],
    ),
    "no autoscaler": (
        lambda ns: canary(
            "app", ns, STEPS, autoscalerRef={"apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler", "name": "hpa"}
        ),
        "NotFound",
        ["HorizontalPodAutoscaler hpa.", "spec.autoscalerRef"],
    ),
}


@pytest.mark.parametrize("mistake", ON_THE_OBJECT)
def test_said_once_and_shown_on_the_object(stage: Stage, mistake):
    make, reason, said = ON_THE_OBJECT[mistake]
    stage.deploy("app:1")
    stage.apply(make(stage.namespace))
    stage.wait("the canary to be stalled", lambda: stage.condition("Stalled"), 20)
    stalled = stage.condition("Stalled")
    assert (stalled["status"], stalled["reason"]) == ("True", reason), stalled
    for part in said:
        assert part in stalled["message"]
    assert "Traceback" not in stalled["message"]
    time.sleep(4)
    warnings = [event for event in stage.events() if event["type"] == "Warning" and stalled["message"] in event["message"]]
    assert len(warnings) == 1, [event["message"] for event in stage.events()]
    assert warnings[0].get("count", 1) == 1, "the same mistake was told at every interval"
    logged = [
        line for line in stage.operator.log(f'"app.{stage.namespace}"').splitlines() if json.loads(line)["msg"].endswith(stalled["message"])
    ]
    assert len(logged) == 1, logged
    assert stage.replicas("app") == 1, "the application was touched"


def test_a_mended_mistake_is_taken_up_without_a_restart(stage: Stage):
    stage.deploy("app:1")
    stage.apply(canary("app", stage.namespace, STEPS, targetRef={"apiVersion": "apps/v1", "kind": "Deployment", "name": "ap"}))
    stage.wait("the canary to be stalled", lambda: stage.condition("Stalled"), 20)
    stage.apply(canary("app", stage.namespace, STEPS))
    stage.wait_phase("Initialized")
    assert not stage.condition("Stalled")


def test_a_missing_metric_template_is_named_before_and_in_a_release(stage: Stage):
    check = {"name": "latency", "templateRef": {"name": "latncy"}, "thresholdRange": {"max": 1}}
    stage.bootstrap(STEPS | {"metrics": [check], "threshold": 2})
    assert stage.wait_message("Metric providers of app.", "not available", f"metric template latncy.{stage.namespace} not found")
    stage.deploy("app:2")
    status = stage.wait_end("Failed")
    [check] = status["checks"]
    assert check["verdict"] == "Error"
    assert f"latncy.{stage.namespace} not found" in status["failureReason"]


def test_a_prometheus_that_is_not_there_is_named_with_its_address(stage: Stage):
    stage.bootstrap(STEPS | {"metrics": [SUCCESS], "threshold": 2}, metricsServer="http://127.0.0.1:9")
    assert stage.wait_message("Metric providers of app.", "not available", "127.0.0.1:9")
    stage.deploy("app:2")
    status = stage.wait_end("Failed")
    assert status["checks"][0]["verdict"] == "Error"
    assert "127.0.0.1:9" in status["failureReason"]


def test_broken_objects_never_stop_the_others(stage: Stage):
    for number, (make, _, _) in enumerate(ON_THE_OBJECT.values()):
        name, body = f"broken-{number}", make(stage.namespace)
        body["metadata"]["name"] = name
        if body["spec"]["targetRef"]["name"] == "app":
            body["spec"]["targetRef"]["name"] = name
        stage.apply(deployment(name, namespace=stage.namespace), body)
    stage.bootstrap(STEPS | {"interval": "2s", "metrics": [SUCCESS], "threshold": 9})
    stage.expose_by_contour()
    with stage.traffic(rate=15) as traffic:
        stage.deploy("app:2")
        stage.wait_end("Succeeded")
        assert traffic.stop().failures == {}
    assert stage.weights() == [50]


def test_two_canaries_of_one_target_are_told_apart_by_name(stage: Stage):
    stage.bootstrap(STEPS)
    second = canary("second", stage.namespace, STEPS, targetRef={"apiVersion": "apps/v1", "kind": "Deployment", "name": "app"})
    stage.apply(second)
    other = stage.called("second", apex="app")
    other.wait("the second to be stalled", lambda: other.condition("Stalled"), 20)
    message = other.condition("Stalled")["message"]
    assert "is controlled by Canary 'app'" in message
    assert "spec.service.name" in message
    assert not stage.condition("Stalled")
    assert stage.phase == "Initialized"


# ------------------------------------------------------------------------------------------------ said at the prompt


def _run(*flags: str, timeout: float = 90.0) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "canary.cli.main", "run", "--host=127.0.0.1", f"--port={free_port()}", *flags]
    return subprocess.run(command, capture_output=True, text=True, timeout=timeout, env={**os.environ, "KUBECONFIG": ""})


def _assert_says(done: subprocess.CompletedProcess, *parts: str) -> None:
    """One error, at most one hint, no traceback, an exit code that is not 0."""
    assert done.returncode not in (0, None), done.stderr
    lines = [line for line in done.stderr.splitlines() if not line.startswith("{")]
    assert sum(line.startswith("error: ") for line in lines) == 1, done.stderr
    assert len(lines) <= 2, done.stderr
    for part in parts:
        assert part in done.stderr
    assert "Traceback" not in done.stderr


def test_a_kubeconfig_that_does_not_exist():
    _assert_says(_run("--kubeconfig=/nonexistent/config"), "/nonexistent/config", "--kubeconfig")


def test_an_api_server_that_is_not_there(cluster):
    _assert_says(_run(f"--kubeconfig={cluster.kubeconfig}", "--master=https://127.0.0.1:9"), "127.0.0.1:9")


def test_an_unknown_provider_as_default(cluster, crds):
    _assert_says(_run(f"--kubeconfig={cluster.kubeconfig}", "--mesh-provider=istoi"), "unknown provider 'istoi'", "istio", "contour")


def test_an_account_without_rights(cluster, namespace, crds):
    account = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "poor"}}
    cluster.api.call("POST", f"/api/v1/namespaces/{namespace}/serviceaccounts", account)
    kubeconfig = cluster.kubeconfig_for_service_account(namespace, "poor")
    _assert_says(_run(f"--kubeconfig={kubeconfig}", f"--namespace={namespace}"), "forbidden", "grant get, list and watch")


def test_a_port_that_is_taken(cluster, crds):
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        _assert_says(_run(f"--kubeconfig={cluster.kubeconfig}", f"--port={port}"), str(port), "in use")


def test_crds_that_are_not_installed(cluster, tmp_path):
    """Last of the module, for it takes every Canary of the cluster away."""
    _uninstall(cluster, {"flagger.app", "canary.dev"})
    try:
        _assert_says(
            _run(f"--kubeconfig={cluster.kubeconfig}"),
            "CustomResourceDefinitions of Canary are not installed",
            "canary crds | kubectl apply",
        )
    finally:
        cluster.crds(*sorted(CRDS.glob("*.yaml")))
    running = Operator(cluster, tmp_path)
    running.start()
    try:
        running.wait_ready()
    finally:
        assert running.stop() == 0
