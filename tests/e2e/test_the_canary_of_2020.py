"""A manifest from 2020 (`flagger.app/v1alpha3`, `canaryAnalysis`), applied byte for byte: 0 to 100 % by 5 at its own interval of 10 s.

The load that it is judged by is its own, too: its webhook asks the load tester for `hey -z 2m -q 10 -c 2 http://podinfo:9898/`.
"""

from pathlib import Path

import pytest
import yaml

from tests.e2e.loadtester import LoadTester
from tests.e2e.names import Names
from tests.e2e.operators import operator
from tests.e2e.stage import Parts, staged
from tests.testbed.waiting import until

pytestmark = [pytest.mark.mesh, pytest.mark.slow, pytest.mark.timeout(600)]

MANIFEST = Path(__file__).parents[2] / "examples" / "podinfo-2020.yaml"
STEPS = list(range(5, 101, 5))


@pytest.fixture
def prod(cluster):
    """The manifest names its namespace."""
    present = {item["metadata"]["name"] for item in cluster.api.get("/api/v1/namespaces")["items"]}
    if "prod" in present:
        until("the namespace of an earlier run to be gone", lambda: "prod" not in _namespaces(cluster), 60)
    yield cluster.create_namespace("prod")
    cluster.delete_namespace("prod")


def _namespaces(cluster):
    return {item["metadata"]["name"] for item in cluster.api.get("/api/v1/namespaces")["items"]}


def test_the_manifest_of_2020_goes_from_0_to_100_by_5_and_is_promoted(cluster, mesh, crds, prod, tmp_path):
    text = MANIFEST.read_text(encoding="utf-8")
    assert yaml.safe_load(text)["apiVersion"] == "flagger.app/v1alpha3"
    with Names() as names:
        proxied = {"http_proxy": names.url, "no_proxy": "127.0.0.1,localhost"}
        load_tester = LoadTester(tmp_path, http_proxy=names.url)
        names.hosts["load-tester.prod"] = load_tester.url
        flags = ["--namespace=prod", "--default-gateway=projectcontour/contour"]
        try:
            load_tester.wait_ready()
            with operator(cluster, tmp_path, *flags, provider="gatewayapi:v1", env=proxied) as running:
                _release(cluster, mesh, Parts(cluster, mesh, running, load_tester, tmp_path), text)
            assert ("POST", "http://load-tester.prod/") in names.requests
            assert names.requests.count(("GET", "http://podinfo:9898/")) > 1000
        finally:
            load_tester.stop()


def _release(cluster, mesh, parts, text):
    with staged(parts, "prod", name="podinfo") as stage:
        stage.host = "podinfo"
        stage.deploy("podinfo:5.0.0")
        cluster.kubectl("apply", "-f", "-", input=text)
        stage.wait_phase("Initialized")
        mesh.wait_host("podinfo")
        with stage.traffic(rate=15) as users:
            stage.deploy("podinfo:5.1.0")
            status = stage.wait_end("Succeeded", timeout=330)
            stage.assert_clients_saw(users, STEPS, old="podinfo:5.0.0", new="podinfo:5.1.0", plural="httproutes")
            assert users.collect(30).images == {"podinfo:5.1.0": 30}
            assert users.stop().failures == {}
        assert status["failedChecks"] == 0
        assert stage.image_of("podinfo-primary") == "podinfo:5.1.0"
        assert {check["name"]: check["verdict"] for check in status["checks"]} == {
            "request-success-rate": "Pass",
            "request-duration": "Pass",
        }
        starts = [span.since for span in stage.spans("httproutes")]
        gaps = [later - earlier for earlier, later in zip(starts, starts[1:])]
        assert min(gaps) > 9, gaps  # a step that a busy machine shows late is followed by one in time
        assert max(gaps) < 13, gaps
        assert 9.9 < sum(gaps) / len(gaps) < 10.5, gaps
        tasks = [task for task in stage.load_tester.tasks() if "hey -z 2m" in str(task)]
        assert len(tasks) in (1, 2, 3), tasks
