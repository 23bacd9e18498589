"""The instrument is checked before anything is measured with it: a real cluster, a real mesh, splits within a binomial bound."""

import json
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.testbed import workload
from tests.testbed.api import ApiError
from tests.testbed.cluster import Cluster, KubectlError
from tests.testbed.mesh import Mesh
from tests.testbed.process import ProcessDiedError
from tests.testbed.traffic import Ask, Tally, Traffic, assert_split, burst

ROOT = Path(__file__).parents[2]


@pytest.fixture
def pair(mesh: Mesh, namespace: str) -> str:
    """Two versions, app:1 behind service `old` and app:2 behind service `new`; the namespace."""
    objects = [workload.deployment(name, namespace=namespace, image=image) for name, image in (("old", "app:1"), ("new", "app:2"))]
    mesh.cluster.apply([*objects, *(workload.service(name, namespace=namespace) for name in ("old", "new"))])
    for name in ("old", "new"):
        mesh.cluster.wait_deployment(namespace, name)
    return namespace


def ready_replicas(cluster: Cluster, namespace: str, name: str) -> int:
    return int(cluster.get("deployments", name, namespace)["status"].get("readyReplicas", 0))


def pods(cluster: Cluster, namespace: str) -> list[dict]:
    return cluster.api.get(f"/api/v1/namespaces/{namespace}/pods")["items"]


class TestCluster:
    pytestmark = pytest.mark.cluster

    def test_a_deployment_becomes_ready_with_local_pod_addresses(self, cluster, namespace):
        cluster.apply([workload.deployment("app", namespace=namespace, replicas=3), workload.service("app", namespace=namespace)])
        assert cluster.wait_deployment(namespace, "app")["status"]["readyReplicas"] == 3
        addresses = {pod["status"]["podIP"] for pod in pods(cluster, namespace)}
        assert len(addresses) == 3
        for address in addresses:
            with socket.socket() as local:
                local.bind((address, 0))

    def test_rolling_to_a_new_image_replaces_every_pod(self, cluster, namespace):
        cluster.apply(workload.deployment("app", namespace=namespace, image="app:1", replicas=2))
        cluster.wait_deployment(namespace, "app")
        cluster.apply(workload.deployment("app", namespace=namespace, image="app:2", replicas=2))
        cluster.wait_deployment(namespace, "app")
        cluster.wait("the old pods to go", lambda: len(pods(cluster, namespace)) == 2)
        assert {pod["spec"]["containers"][0]["image"] for pod in pods(cluster, namespace)} == {"app:2"}

    def test_a_service_account_may_do_what_rbac_gives_it_and_nothing_else(self, cluster, namespace):
        cluster.kubectl("create", "serviceaccount", "reader", "--namespace", namespace)
        cluster.kubectl("create", "role", "reader", "--verb=get,list", "--resource=configmaps", "--namespace", namespace)
        cluster.kubectl(
            "create", "rolebinding", "reader", "--role=reader", f"--serviceaccount={namespace}:reader", "--namespace", namespace
        )
        reader = cluster.kubeconfig_for_service_account(namespace, "reader")

        assert f"system:serviceaccount:{namespace}:reader" in cluster.kubectl("auth", "whoami", kubeconfig=reader)
        assert "kube-root-ca.crt" in cluster.kubectl("get", "configmaps", kubeconfig=reader)
        with pytest.raises(KubectlError, match="Forbidden"):
            cluster.kubectl("get", "secrets", kubeconfig=reader)
        with pytest.raises(KubectlError, match="Forbidden"):
            cluster.kubectl("get", "configmaps", "--namespace", "default", kubeconfig=reader)

    def test_a_user_has_the_name_and_groups_that_were_asked_for(self, cluster, namespace):
        alice = cluster.kubeconfig_for_user("alice", ("team/a", "on-call"))
        said = cluster.kubectl(
            "auth", "whoami", "--output=jsonpath={.status.userInfo.username} {.status.userInfo.groups}", kubeconfig=alice
        )
        assert said.startswith("alice ")
        assert '"team/a"' in said
        assert '"on-call"' in said
        with pytest.raises(KubectlError, match="alice"):
            cluster.kubectl("get", "pods", "--namespace", namespace, kubeconfig=alice)

    def test_an_unpullable_image_never_becomes_ready_and_keeps_the_old_pods(self, cluster, namespace):
        cluster.apply(workload.deployment("app", namespace=namespace, image="app:1"))
        cluster.wait_deployment(namespace, "app")
        cluster.apply(workload.deployment("app", namespace=namespace, image="registry.test/unpullable:2"))

        def waiting() -> list[str]:
            states = [status["state"] for pod in pods(cluster, namespace) for status in pod["status"].get("containerStatuses", [])]
            return [state["waiting"]["reason"] for state in states if "waiting" in state]

        assert cluster.wait("the new pod to fail", waiting) == ["ImagePullBackOff"]
        time.sleep(1)
        assert waiting() == ["ImagePullBackOff"]
        assert ready_replicas(cluster, namespace, "app") == 1

    def test_a_pod_marked_never_ready_stays_pending(self, cluster, namespace):
        cluster.apply(workload.deployment("app", namespace=namespace, annotations={"kwok/never-ready": "true"}))
        cluster.wait("the pod to be scheduled", lambda: [pod for pod in pods(cluster, namespace) if pod["spec"].get("nodeName")])
        time.sleep(1)
        assert [pod["status"]["phase"] for pod in pods(cluster, namespace)] == ["Pending"]
        assert ready_replicas(cluster, namespace, "app") == 0

    def test_a_pods_readiness_can_be_taken_and_given_back(self, cluster, namespace):
        cluster.apply(workload.deployment("app", namespace=namespace))
        cluster.wait_deployment(namespace, "app")
        cluster.kubectl("annotate", "pods", "--selector=app=app", "kwok/ready=false", "--namespace", namespace)
        cluster.wait("readiness to be lost", lambda: ready_replicas(cluster, namespace, "app") == 0)
        cluster.kubectl("annotate", "pods", "--selector=app=app", "kwok/ready-", "--namespace", namespace)
        cluster.wait("readiness to come back", lambda: ready_replicas(cluster, namespace, "app") == 1)

    def test_a_job_completes(self, cluster, namespace):
        cluster.kubectl("create", "job", "once", "--image=app:1", "--namespace", namespace)
        cluster.wait("the job", lambda: cluster.get("jobs", "once", namespace)["status"].get("succeeded") == 1)

    def test_a_paused_cluster_takes_no_time_and_goes_on(self, cluster):
        cluster.pause()
        time.sleep(0.2)
        before = cluster.processes()
        time.sleep(1)
        assert {name: use.cpu_seconds for name, use in cluster.processes().items()} == {
            name: use.cpu_seconds for name, use in before.items()
        }
        cluster.resume()
        assert cluster.api.text("GET", "/readyz") == "ok"

    def test_a_restarted_api_server_still_has_everything_and_controllers_go_on(self, cluster, namespace):
        cluster.kubectl("create", "configmap", "kept", "--from-literal=a=1", "--namespace", namespace)
        cluster.restart("kube-apiserver")
        cluster.wait("the API server", lambda: cluster.api.text("GET", "/readyz") == "ok")
        assert cluster.get("configmaps", "kept", namespace)["data"] == {"a": "1"}
        cluster.apply(workload.deployment("app", namespace=namespace))
        cluster.wait_deployment(namespace, "app")

    def test_use_of_every_program_is_measured(self, cluster):
        uses = cluster.processes()
        assert {"etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "kwok"} <= set(uses)
        assert all(use.rss_mib > 10 for use in uses.values())
        assert uses["kube-apiserver"].cpu_seconds > 0.5

    def test_waiting_in_vain_says_what_was_last_seen(self, cluster):
        with pytest.raises(TimeoutError, match=r"waited 0.2 s for a miracle; last error: ApiError: 404 NotFound"):
            cluster.wait("a miracle", lambda: cluster.api.get("/api/v1/namespaces/nowhere"), 0.2)

    def test_api_errors_carry_status_and_reason(self, cluster):
        with pytest.raises(ApiError) as caught:
            cluster.api.get("/api/v1/namespaces/nowhere")
        assert (caught.value.status, caught.value.reason) == (404, "NotFound")

    def test_crds_are_served_when_installed(self, cluster, tmp_path):
        schema = {"openAPIV3Schema": {"type": "object"}}
        version = {"name": "v1", "served": True, "storage": True, "schema": schema}
        names = {"plural": "widgets", "singular": "widget", "kind": "Widget", "listKind": "WidgetList"}
        spec = {"group": "test-bed.test", "scope": "Namespaced", "names": names, "versions": [version]}
        crd = {
            "apiVersion": "apiextensions.k8s.io/v1",
            "kind": "CustomResourceDefinition",
            "metadata": {"name": "widgets.test-bed.test"},
            "spec": spec,
        }
        (tmp_path / "crd.yaml").write_text(f"kind: Other\n---\n{json.dumps(crd)}\n")
        assert cluster.crds(tmp_path) == ["widgets.test-bed.test"]
        assert cluster.api.get("/apis/test-bed.test/v1/namespaces/default/widgets")["items"] == []


class TestMesh:
    pytestmark = pytest.mark.mesh

    def test_an_http_proxy_splits_90_to_10(self, mesh, pair):
        mesh.cluster.apply(workload.http_proxy("app", namespace=pair, host=f"{pair}.test", weights={"old": 90, "new": 10}))
        mesh.wait_host(f"{pair}.test")
        tally = Tally.of(burst(Ask(mesh.gateway_url, f"{pair}.test"), 2000))
        assert tally.failures == {}
        assert_split(tally.images, {"app:1": 0.9, "app:2": 0.1})

    def test_an_http_route_splits_in_halves(self, mesh, pair):
        mesh.cluster.apply(workload.http_route("app", namespace=pair, host=f"{pair}.test", weights={"old": 50, "new": 50}))
        mesh.wait_host(f"{pair}.test")
        tally = Tally.of(burst(Ask(mesh.gateway_url, f"{pair}.test"), 2000))
        assert tally.failures == {}
        assert_split(tally.images, {"app:1": 0.5, "app:2": 0.5})

    def test_a_wrong_weight_is_noticed(self, mesh, pair):
        mesh.cluster.apply(workload.http_proxy("app", namespace=pair, host=f"{pair}.test", weights={"old": 80, "new": 20}))
        mesh.wait_host(f"{pair}.test")
        tally = Tally.of(burst(Ask(mesh.gateway_url, f"{pair}.test"), 2000))
        with pytest.raises(AssertionError, match=r"app:2: \d+ of 2000"):
            assert_split(tally.images, {"app:1": 0.9, "app:2": 0.1})

    def test_a_change_of_weight_is_seen_by_running_traffic_without_a_failure(self, mesh, pair):
        def shift(old: int, new: int) -> None:
            mesh.cluster.apply(workload.http_proxy("app", namespace=pair, host=f"{pair}.test", weights={"old": old, "new": new}))

        shift(100, 0)
        mesh.wait_host(f"{pair}.test")
        with Traffic(Ask(mesh.gateway_url, f"{pair}.test"), rate=200) as traffic:
            assert_split(traffic.collect(300).images, {"app:1": 1.0, "app:2": 0.0})
            shift(30, 70)
            time.sleep(0.5)
            assert_split(traffic.collect(500).images, {"app:1": 0.3, "app:2": 0.7})
            shift(0, 100)
            time.sleep(0.5)
            assert_split(traffic.collect(300).images, {"app:1": 0.0, "app:2": 1.0})
            assert traffic.stop().failures == {}

    def test_prometheus_sees_the_failures_that_clients_see(self, mesh, namespace):
        bad = workload.deployment("app-canary", namespace=namespace, image="app:bad", env={"ERROR_RATE": "0.5"})
        mesh.cluster.apply([bad, workload.service("app-canary", namespace=namespace)])
        mesh.cluster.apply(workload.http_proxy("app", namespace=namespace, host=f"{namespace}.test", weights={"app-canary": 100}))
        mesh.cluster.wait_deployment(namespace, "app-canary")
        mesh.wait_host(f"{namespace}.test", path="/status/200")
        series = f'envoy_cluster_upstream_rq{{envoy_cluster_name=~"{namespace}_app-canary_[0-9a-zA-Z-]+"'
        success = f'100 * sum(rate({series},envoy_response_code!~"5.*"}}[5s])) / sum(rate({series}}}[5s]))'
        histogram = f'http_request_duration_seconds_count{{kubernetes_namespace="{namespace}",kubernetes_pod_name=~"app-canary-[0-9a-z]+-[0-9a-z]+",status!~"5.*"}}'
        with Traffic(Ask(mesh.gateway_url, f"{namespace}.test"), rate=200) as traffic:
            traffic.collect(1400)
            [(_, rate)] = mesh.query(success)
            assert 35 < rate < 65
            assert mesh.query(histogram)[0][1] > 100
            tally = traffic.stop()
        assert set(tally.failures) == {"500 from app:bad"}
        assert_split({"good": tally.total - tally.failed, "bad": tally.failed}, {"good": 0.5, "bad": 0.5})

    def test_a_live_pod_can_turn_bad(self, mesh, pair):
        mesh.cluster.apply(workload.http_proxy("app", namespace=pair, host=f"{pair}.test", weights={"new": 100}))
        mesh.wait_host(f"{pair}.test")
        mesh.cluster.kubectl("annotate", "pods", "--selector=app=new", "testbed/error-rate=1", "--namespace", pair)
        mesh.wait_host(f"{pair}.test", status=500)

    def test_paths_choose_status_and_delay(self, mesh, pair):
        mesh.cluster.apply(workload.http_proxy("app", namespace=pair, host=f"{pair}.test", weights={"old": 100}))
        mesh.wait_host(f"{pair}.test")
        assert {answer.status for answer in burst(Ask(mesh.gateway_url, f"{pair}.test", path="/status/503"), 5)} == {503}
        [slow] = burst(Ask(mesh.gateway_url, f"{pair}.test", path="/delay/0.3"), 1)
        assert (slow.status, slow.image, slow.version) == (200, "app:1", "1")
        assert 0.3 <= slow.seconds < 1.5
        [fast] = sorted(burst(Ask(mesh.gateway_url, f"{pair}.test"), 10, concurrency=1), key=lambda answer: answer.seconds)[5:6]
        assert fast.seconds < 0.03  # head and body in two writes would cost 40 ms

    def test_each_pod_counts_its_own_requests(self, mesh, pair):
        mesh.cluster.apply(workload.http_proxy("app", namespace=pair, host=f"{pair}.test", weights={"old": 50, "new": 50}))
        mesh.wait_host(f"{pair}.test")
        before = mesh.pod_requests(pair)
        tally = Tally.of(burst(Ask(mesh.gateway_url, f"{pair}.test"), 200))
        assert mesh.pod_requests(pair) - before == tally.pods

    def test_a_rolling_update_loses_no_request(self, mesh, pair):
        mesh.cluster.apply(workload.http_proxy("app", namespace=pair, host=f"{pair}.test", weights={"old": 100}))
        mesh.wait_host(f"{pair}.test")
        with Traffic(Ask(mesh.gateway_url, f"{pair}.test"), rate=100) as traffic:
            traffic.collect(50)
            mesh.cluster.apply(workload.deployment("old", namespace=pair, image="app:3"))
            mesh.cluster.wait_deployment(pair, "old")
            mesh.wait("clients to see the new image", lambda: traffic.tally(traffic.now - 0.5).images.keys() == {"app:3"})
            tally = traffic.stop()
        assert tally.failures == {}
        assert set(tally.images) == {"app:1", "app:3"}

    def test_a_service_without_ready_pods_fails_at_the_gateway(self, mesh, pair):
        mesh.cluster.apply(workload.http_proxy("app", namespace=pair, host=f"{pair}.test", weights={"old": 100}))
        mesh.wait_host(f"{pair}.test")
        mesh.cluster.kubectl("annotate", "pods", "--selector=app=old", "kwok/ready=false", "--namespace", pair)
        mesh.wait_host(f"{pair}.test", status=503)
        assert set(Tally.of(burst(Ask(mesh.gateway_url, f"{pair}.test"), 20)).failures) == {"503"}

    def test_a_frozen_api_server_leaves_traffic_alone(self, mesh, pair):
        mesh.cluster.apply(workload.http_proxy("app", namespace=pair, host=f"{pair}.test", weights={"old": 100}))
        mesh.wait_host(f"{pair}.test")
        mesh.cluster.process("kube-apiserver").signal(signal.SIGSTOP)
        try:
            assert Tally.of(burst(Ask(mesh.gateway_url, f"{pair}.test"), 200)).failures == {}
        finally:
            mesh.cluster.process("kube-apiserver").signal(signal.SIGCONT)
        mesh.cluster.wait("the API server to answer again", lambda: mesh.cluster.api.text("GET", "/readyz") == "ok")

    def test_every_program_runs_and_prometheus_scrapes_both_targets(self, mesh):
        assert {labels["job"] for labels, value in mesh.query("up") if value == 1} == {"envoy", "pods"}
        assert mesh.processes().keys() == {"prometheus", "podserver", "contour", "envoy"}
        with pytest.raises(ValueError, match="parse error"):
            mesh.query("rate(")


TWO_CLUSTERS = """
import sys
from pathlib import Path
from tests.testbed import netns, workload
from tests.testbed.cluster import Cluster
netns.enter()
for number in range(2):
    with Cluster(Path(sys.argv[1]) / str(number), nodes=1) as cluster:
        assert cluster.get("namespaces", "default")["status"]["phase"] == "Active"
        assert [n["metadata"]["name"] for n in cluster.api.get("/api/v1/namespaces")["items"] if n["metadata"]["name"] == "only-in-0"] == []
        if number == 0:
            cluster.create_namespace("only-in-0")
        cluster.apply(workload.deployment("app", namespace="default"))
        cluster.wait_deployment("default", "app")
        print("ready", number, flush=True)
    assert cluster.processes() == {}
"""


@pytest.mark.cluster
@pytest.mark.slow
def test_two_clusters_follow_one_another_beside_the_one_that_runs(cluster, tmp_path):
    # A process of its own, because its clusters need a namespace of their own: the ports are fixed.
    done = subprocess.run(
        [sys.executable, "-c", TWO_CLUSTERS, tmp_path], cwd=ROOT, capture_output=True, text=True, timeout=100, check=False
    )
    assert (done.returncode, done.stdout) == (0, "ready 0\nready 1\n"), done.stderr
    assert cluster.api.text("GET", "/readyz") == "ok"


@pytest.mark.cluster
def test_a_cluster_that_cannot_start_says_why_and_leaves_nothing(cluster, tmp_path):
    # The session's cluster has the ports already, which is what goes wrong here.
    second = Cluster(tmp_path)
    with pytest.raises(ProcessDiedError, match="address already in use"):
        second.start()
    assert second.processes() == {}
    assert cluster.api.text("GET", "/readyz") == "ok"
