import pytest

from canary.core.errors import Rejected
from canary.core.model import Routes
from canary.core.release import FLUX_MARKERS
from canary.kube.resource import HTTP_PROXIES
from canary.routers import objects, registry
from tests.routers.cases import CASES
from tests.routers.releases import UID, nothing, release

APEX = "service: {name: shop, apex: {labels: {team: a}, annotations: {owner: me}}}"


def test_metadata_of_the_apex_goes_onto_the_mesh_object():
    head = objects.head(release("contour", APEX), HTTP_PROXIES, live=None, name="shop")
    assert head["metadata"]["labels"] == {"team": "a", "app": "shop"}
    assert head["metadata"]["annotations"] == {"owner": "me", **FLUX_MARKERS}


def test_without_apex_metadata_there_are_only_the_markers():
    head = objects.head(release("contour"), HTTP_PROXIES, live=None, name="podinfo")
    assert "labels" not in head["metadata"]
    assert head["metadata"]["annotations"] == dict(FLUX_MARKERS)


def test_a_user_cannot_turn_the_markers_off():
    spec = "service: {apex: {annotations: {kustomize.toolkit.fluxcd.io/reconcile: enabled}}}"
    head = objects.head(release("contour", spec), HTTP_PROXIES, live=None, name="podinfo")
    assert head["metadata"]["annotations"]["kustomize.toolkit.fluxcd.io/reconcile"] == "disabled"


@pytest.mark.parametrize(
    "case", [case for case in CASES if case.feature == "plain" and case.provider != "kubernetes"], ids=lambda case: case.id
)
def test_an_object_of_another_canary_is_refused(case):
    router, of = registry.router(case.provider), case.release()
    owner = {"apiVersion": "flagger.app/v1beta1", "kind": "Canary", "name": "other", "uid": "x", "controller": True}
    live = {
        ref: {**ref.resource.head("test", ref.name), "metadata": {"name": ref.name, "namespace": "test", "ownerReferences": [owner]}}
        for ref in router.objects(of)
    }
    with pytest.raises(Rejected, match="controlled by Canary 'other'") as error:
        router.wanted(of, live, Routes(100, 0))
    assert "spec.service.name" in error.value.hint


def test_an_object_of_our_own_earlier_life_is_not():
    owner = {"apiVersion": "flagger.app/v1beta1", "kind": "Canary", "name": "podinfo", "uid": "earlier", "controller": True}
    live = {"metadata": {"ownerReferences": [owner]}}
    head = objects.head(release("contour"), HTTP_PROXIES, live=live, name="podinfo")
    assert "ownerReferences" not in head["metadata"]  # it is about to be garbage collected; two controllers would be refused


@pytest.mark.parametrize(
    ("metadata", "taken"),
    [
        ({}, False),
        ({"annotations": dict(FLUX_MARKERS)}, True),
        ({"annotations": {"kustomize.toolkit.fluxcd.io/reconcile": "disabled"}}, False),
        ({"ownerReferences": [{"uid": UID}]}, True),
        ({"ownerReferences": [{"uid": "other"}]}, False),
    ],
)
def test_our_objects_are_known_by_owner_or_markers(metadata, taken):
    assert objects.taken(release("contour"), {"metadata": metadata}) is taken


@pytest.mark.parametrize("provider", ["contour", "gatewayapi:v1", "istio"])
def test_a_canary_without_service_is_refused_with_a_hint(provider):
    of = release(provider)
    of = type(of)(of.canary.model_copy(update={"spec": of.canary.spec.model_copy(update={"service": None})}), provider, "app", "podinfo")
    router = registry.router(provider)
    with pytest.raises(Rejected, match=r"no spec\.service") as error:
        router.wanted(of, nothing(router, of), Routes(100, 0))
    assert "port" in error.value.hint
