"""`ensure` at whole exact specs of mesh objects, with the defaults that the real CustomResourceDefinitions set."""

import pytest
import yaml

from canary.kube.compare import ServerMade
from canary.kube.ensure import ensure
from canary.kube.resource import HTTP_ROUTES
from canary.routers.base import Wanted
from tests.kube.conftest import eventually
from tests.testbed.thirdparty import third_party_crds


@pytest.fixture
def routes(sandbox):
    (file,) = third_party_crds("gateway-api-standard")
    for crd in yaml.load_all(file.read_text(), Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader)):
        if crd and crd["metadata"]["name"] == "httproutes.gateway.networking.k8s.io":
            sandbox.cluster.create("apiextensions.k8s.io/v1", "CustomResourceDefinition", crd)
    return sandbox


def route(name, weight, *, timeouts=None):
    body = HTTP_ROUTES.head("shop", name)
    backends = [{"name": "podinfo-primary", "port": 80, "weight": 100 - weight}, {"name": "podinfo-canary", "port": 80, "weight": weight}]
    rule = {"backendRefs": backends, **({"timeouts": timeouts} if timeouts else {})}
    body["spec"] = {"parentRefs": [{"name": "gateway"}], "hostnames": ["podinfo.example"], "rules": [rule]}
    return Wanted(HTTP_ROUTES, body)


def applies(cluster):
    requests = cluster.client.requests
    return requests.total(verb="apply") + requests.total(verb="patch")


async def test_a_weight_costs_one_request_and_no_change_costs_none(routes, watched):
    await watched.watch(HTTP_ROUTES)
    learned = ServerMade()
    for count, weight in enumerate((0, 10, 20, 100, 0), start=1):
        assert await ensure(watched, route("a", weight), learned=learned) is True
        assert await ensure(watched, route("a", weight), learned=learned) is False
        assert applies(watched) == count
    rule = watched.get(HTTP_ROUTES, "shop", "a")["spec"]["rules"][0]
    assert rule["matches"], "the server has set its defaults"
    assert [backend["weight"] for backend in rule["backendRefs"]] == [100, 0]


async def test_a_new_process_learns_the_defaults_of_a_kind_with_two_requests_for_all_its_objects(routes, watched, cluster_for):
    await watched.watch(HTTP_ROUTES)
    learned = ServerMade()
    for number in range(20):
        await ensure(watched, route(f"r{number}", 10), learned=learned)
    successor, blank = cluster_for(), ServerMade()
    await successor.watch(HTTP_ROUTES)
    for number in range(20):
        assert await ensure(successor, route(f"r{number}", 10), learned=blank) is False
    assert applies(successor) == 2


async def test_what_somebody_adds_inside_a_rule_goes_also_when_it_was_added_before_we_started(routes, watched, cluster_for):
    await watched.watch(HTTP_ROUTES)
    await ensure(watched, route("a", 10), learned=ServerMade())
    live = routes.cluster.get("gateway.networking.k8s.io/v1", "HTTPRoute", "a", namespace="shop")
    rules = live["spec"]["rules"]
    rules[0]["timeouts"] = {"request": "1s"}
    rules[0]["matches"] = [{"path": {"type": "PathPrefix", "value": "/only-this"}}]
    routes.cluster.patch(
        "gateway.networking.k8s.io/v1", "HTTPRoute", "a", {"spec": {"rules": rules}}, namespace="shop", manager="kubectl-edit"
    )
    successor, blank = cluster_for(), ServerMade()
    await successor.watch(HTTP_ROUTES)
    assert await ensure(successor, route("a", 10), learned=blank) is True
    rule = successor.get(HTTP_ROUTES, "shop", "a")["spec"]["rules"][0]
    assert "timeouts" not in rule
    assert rule["matches"] == [{"path": {"type": "PathPrefix", "value": "/"}}]
    assert await ensure(successor, route("a", 10), learned=blank) is False


async def test_a_field_that_the_user_took_out_of_the_canary_goes_after_a_restart_too(routes, watched, cluster_for):
    await watched.watch(HTTP_ROUTES)
    await ensure(watched, route("a", 10, timeouts={"request": "9s"}), learned=ServerMade())
    successor, blank = cluster_for(), ServerMade()
    await successor.watch(HTTP_ROUTES)
    await eventually(lambda: successor.get(HTTP_ROUTES, "shop", "a"))
    assert await ensure(successor, route("a", 10), learned=blank) is True
    assert "timeouts" not in successor.get(HTTP_ROUTES, "shop", "a")["spec"]["rules"][0]
