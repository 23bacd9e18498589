"""Every golden manifest against a real kube-apiserver with the meshes' own CRDs.

Server-side apply with strict field validation must take it, and what is stored must equal what was wanted: one field that the
server adds or changes would be a difference to repair at every tick, for ever.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
import yaml
from hypothesis import given, settings

from canary.core.model import Routes
from canary.core.release import Release
from canary.kube.ensure import differs
from canary.kube.resource import CANARIES, DESTINATION_RULES, HTTP_PROXIES, HTTP_ROUTES, VIRTUAL_SERVICES, Resource
from canary.routers import registry
from canary.routers.base import Live, ObjectRef
from tests.routers import contract, releases, strategies
from tests.routers.cases import CASES, Case
from tests.testbed.api import ApiError
from tests.testbed.cluster import Cluster
from tests.testbed.thirdparty import third_party_crds

pytestmark = pytest.mark.cluster

NAMESPACE = "routers-accepted"
BY_KIND = {one.kind: one for one in (HTTP_PROXIES, HTTP_ROUTES, VIRTUAL_SERVICES, DESTINATION_RULES)}
MESHED = [case for case in CASES if case.provider != "kubernetes"]
cases = pytest.mark.parametrize("case", MESHED, ids=lambda case: case.id)


@pytest.fixture(scope="module")
def owner(cluster: Cluster) -> Iterator[str]:
    """Namespace, CRDs and a suspended Canary; its uid. The garbage collector deletes what names an owner that does not exist."""
    cluster.crds(*third_party_crds("istio", "gateway-api-standard", "contour", "flagger"))
    cluster.create_namespace(NAMESPACE)
    canary = {
        **CANARIES.head(NAMESPACE, "podinfo"),
        "spec": {
            "suspend": True,
            "targetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "podinfo"},
            "service": {"port": 9898},
            "analysis": {"interval": "15s", "threshold": 1, "stepWeight": 10},
        },
    }
    yield cluster.api.apply(CANARIES.path(NAMESPACE, "podinfo"), canary)["metadata"]["uid"]
    cluster.delete_namespace(NAMESPACE)


@pytest.fixture
def api(cluster: Cluster, owner: str) -> Iterator[Server]:
    server = Server(cluster, owner)
    yield server
    server.clean()


class Server:
    """The API server, in the words of these tests."""

    def __init__(self, cluster: Cluster, uid: str) -> None:
        self._api = cluster.api
        self._uid = uid
        self._made: set[str] = set()

    def apply(self, resource: Resource, body: dict[str, Any]) -> dict[str, Any]:
        """As the product does it, and stricter: unknown and duplicate fields are errors."""
        sent = copy.deepcopy(body)
        sent["metadata"]["namespace"] = NAMESPACE
        for ref in sent["metadata"].get("ownerReferences", ()):
            ref["uid"] = self._uid
        path = resource.path(NAMESPACE, body["metadata"]["name"])
        query = "fieldManager=canary&force=true&fieldValidation=Strict"
        stored = self._api.call("PATCH", f"{path}?{query}", sent, content_type="application/apply-patch+yaml")
        self._made.add(path)
        return stored

    def at_home(self, release: Release) -> Release:
        """The same release as the Canary of this namespace."""
        metadata = release.canary.metadata.model_copy(update={"namespace": NAMESPACE, "uid": self._uid})
        return replace(release, canary=release.canary.model_copy(update={"metadata": metadata}))

    def live(self, release: Release) -> Live:
        """What the router of this release looks at; a baseline's part is not always there."""
        found: dict[ObjectRef, Any] = {}
        for ref in registry.router(release.provider).objects(release):
            items = self._api.get(ref.resource.path(NAMESPACE))["items"]
            found[ref] = next((item for item in items if item["metadata"]["name"] == ref.name), None)
        return found

    def clean(self) -> None:
        for path in self._made:
            self._api.call("DELETE", path)


def manifests(case: Case) -> list[tuple[Resource, dict[str, Any]]]:
    return [(BY_KIND[body["kind"]], body) for body in yaml.safe_load_all(case.golden.read_text())]


@cases
def test_the_recorded_manifests_are_stored_as_they_are(case: Case, api: Server):
    for resource, body in manifests(case):
        stored = api.apply(resource, body)
        assert stored["spec"] == body["spec"]
        assert stored["metadata"].get("labels") == body["metadata"].get("labels")
        assert stored["metadata"].get("annotations") == body["metadata"].get("annotations")


@cases
def test_there_is_nothing_left_to_repair(case: Case, api: Server):
    """By the product's own comparison, and without what it could learn about this server."""
    router, release = registry.router(case.provider), api.at_home(case.release())
    for one in router.wanted(release, releases.nothing(router, release), case.routes):
        assert differs(one, api.apply(one.resource, one.body)) == []
    live = api.live(release)
    for one in router.wanted(release, live, case.routes):
        assert differs(one, live[ObjectRef(one.resource, one.body["metadata"]["name"])]) == []


@cases
def test_a_second_apply_changes_nothing(case: Case, api: Server):
    for resource, body in manifests(case):
        first = api.apply(resource, body)
        second = api.apply(resource, body)
        assert first["metadata"]["generation"] == second["metadata"]["generation"] == 1


@cases
@pytest.mark.parametrize("routes", contract.SPLITS[::2], ids=contract.named)
def test_weights_survive_the_server(case: Case, routes: Routes, api: Server):
    router, release = registry.router(case.provider), case.release()
    for one in router.wanted(release, releases.nothing(router, release), routes):
        api.apply(one.resource, one.body)
    assert router.read(release, api.live(release)) == routes


@pytest.mark.parametrize("provider", sorted({case.provider for case in MESHED}))
def test_whatever_can_be_expressed_is_stored_as_it_is(provider: str, api: Server):
    router = registry.router(provider)

    @settings(max_examples=60, deadline=None)
    @given(service=strategies.services(provider), analysis=strategies.analyses(provider), routes=strategies.ROUTES)
    def check(service, analysis, routes):
        release = releases.release(provider, {"service": service, "analysis": analysis})
        for one in router.wanted(release, releases.nothing(router, release), routes):
            assert api.apply(one.resource, one.body)["spec"] == one.body["spec"]

    check()


def test_a_misspelt_field_would_be_noticed(api: Server):
    """The instrument: strict validation is on."""
    resource, body = manifests(next(case for case in MESHED if case.id == "contour/plain"))[0]
    body["spec"]["routes"][0]["servises"] = []
    with pytest.raises(ApiError, match="servises"):
        api.apply(resource, body)
