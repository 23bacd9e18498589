"""E61-E64: releases behind Contour, judged by Prometheus, measured by clients."""

import pytest

from tests.e2e.stage import Stage, canary, operator
from tests.testbed.traffic import assert_split, burst

pytestmark = [pytest.mark.mesh, pytest.mark.timeout(240)]


@pytest.fixture(scope="module")
def running(cluster, mesh, tmp_path_factory):
    with operator(cluster, tmp_path_factory.mktemp("operator"), "--ingress-class=contour", provider="contour") as it:
        yield it


@pytest.fixture
def stage(cluster, mesh, running, namespace):
    return Stage(cluster, namespace)


def test_a_good_release_is_promoted_and_clients_see_the_weights(stage, mesh):
    stage.deploy("app:1")
    stage.cluster.apply(canary("app", stage.namespace, {"interval": "3s", "stepWeight": 20, "maxWeight": 60}))
    stage.expose_by_contour()
    stage.wait_phase("Initialized")
    assert stage.get("httpproxies.projectcontour.io", "app")["spec"]["ingressClassName"] == "contour"
    mesh.wait_host(stage.host)
    with stage.traffic(rate=60) as traffic:
        stage.deploy("app:2")
        for weight in (20, 40, 60):
            stage.wait_weight(weight)
            since = traffic.now + 0.3
            tally = traffic.collect(100)
            assert tally.failed == 0, tally.failures
            assert_split(
                {"app:1": tally.images["app:1"], "app:2": tally.images["app:2"]}, {"app:2": weight / 100, "app:1": 1 - weight / 100}
            )
            assert since
        stage.wait_phase("Succeeded", never=["Failed"])
        assert stage.image_of("app-primary") == "app:2"
        after = traffic.collect(100)
        assert after.images == {"app:2": 100}
        assert traffic.tally().failed == 0, traffic.tally().failures
    assert stage.get("deployments.apps", "app")["spec"]["replicas"] == 0
