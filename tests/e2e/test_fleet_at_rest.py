"""Twenty canaries at rest cost the API server nothing but open watches."""

import time

import pytest

from tests.e2e.objects import COLLECTIONS, canary, collection
from tests.e2e.operators import operator
from tests.testbed.waiting import until
from tests.testbed.workload import deployment

pytestmark = [pytest.mark.mesh, pytest.mark.timeout(240)]

FLEET = 20
SECONDS = 20.0


@pytest.fixture
def account(cluster, namespace):
    """A service account of its own: the API server then counts the operator's requests apart from everybody else's."""
    for body, path in (
        ({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "canary"}}, f"/api/v1/namespaces/{namespace}/serviceaccounts"),
        (_binding(namespace), "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings"),
    ):
        cluster.api.call("POST", path, body)
    yield cluster.kubeconfig_for_service_account(namespace, "canary")
    cluster.api.call("DELETE", f"/apis/rbac.authorization.k8s.io/v1/clusterrolebindings/e2e-{namespace}")


def test_twenty_canaries_at_rest_send_no_request(cluster, mesh, namespace, account, tmp_path):
    names = [f"app-{number}" for number in range(FLEET)]
    with operator(cluster, tmp_path, f"--namespace={namespace}", kubeconfig=account) as running:
        for name in names:
            cluster.api.apply(f"{collection('deployments', namespace)}/{name}", deployment(name, namespace=namespace))
            cluster.api.apply(f"{collection('canaries', namespace)}/{name}", canary(name, namespace, {"interval": "1s", "stepWeight": 10}))
        until("the fleet to be initialized", lambda: _phases(cluster, namespace) == ["Initialized"] * FLEET, 60)
        until("silence", lambda: _silent(running), 30)
        cpu, ours, theirs = running.process.use().cpu_seconds, running.metrics("canary_api_requests_total"), _served(cluster)
        time.sleep(SECONDS)
        used = running.process.use().cpu_seconds - cpu
        assert running.metrics("canary_api_requests_total") == ours
        assert _served(cluster) == theirs, "the API server saw requests that the operator does not count"
        assert used < 0.05 * SECONDS, f"{used:.2f} s of CPU in {SECONDS:g} s"
        cluster.api.apply(f"{collection('deployments', namespace)}/app-7", _released("app-7", namespace))
        until("a release to be noticed", lambda: _phases(cluster, namespace).count("Progressing") == 1, 5)
        assert _served(cluster) > theirs, "the instrument does not count"


def _silent(running) -> bool:
    before = running.metrics("canary_api_requests_total")
    time.sleep(2)
    return running.metrics("canary_api_requests_total") == before


def _phases(cluster, namespace) -> list[str]:
    items = cluster.api.get(f"{COLLECTIONS['canaries']}/namespaces/{namespace}/canaries")["items"]
    return [(item.get("status") or {}).get("phase", "") for item in items]


def _served(cluster) -> float:
    """Requests of service accounts outside of kube-system that the API server has begun to execute, watches included."""
    lines = cluster.api.text("GET", "/metrics").splitlines()
    family = "apiserver_flowcontrol_dispatched_requests_total{"
    mine = [line for line in lines if line.startswith(family) and 'flow_schema="service-accounts"' in line]
    return sum(float(line.rpartition(" ")[2]) for line in mine)


def _released(name: str, namespace: str) -> dict:
    body = deployment(name, namespace=namespace, image="app:2")
    del body["spec"]["replicas"]
    return body


def _binding(namespace: str) -> dict:
    return {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "ClusterRoleBinding",
        "metadata": {"name": f"e2e-{namespace}"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin"},
        "subjects": [{"kind": "ServiceAccount", "name": "canary", "namespace": namespace}],
    }
