import importlib.metadata
import subprocess
import sys

import pytest

from canary.core.errors import Rejected
from canary.routers import registry


def test_all_declared_routers_load_under_their_own_name():
    assert registry.providers() == ("contour", "gatewayapi:v1", "istio", "kubernetes")
    for name in registry.providers():
        assert registry.router(name).name == name


def test_a_router_is_made_once():
    assert registry.router("istio") is registry.router("istio")


@pytest.mark.parametrize("name", ["istoi", "", "Istio", "gatewayapi2", "istio "])
def test_an_unknown_name_is_an_error_that_lists_the_known_ones(name):
    with pytest.raises(Rejected, match="unknown provider") as error:
        registry.router(name)
    assert "contour, gatewayapi:v1, istio, kubernetes" in error.value.hint


@pytest.mark.parametrize(
    "name",
    [
        "apisix",
        "appmesh",
        "appmesh:v1beta2",
        "gatewayapi:v1beta1",
        "gloo",
        "knative",
        "kuma",
        "linkerd",
        "nginx",
        "osm",
        "skipper",
        "smi:v1alpha1",
        "smi:v1alpha2:linkerd",
        "smi:v1alpha3",
        "traefik",
    ],
)
def test_a_provider_of_flagger_that_we_lack_is_named_as_such(name):
    with pytest.raises(Rejected, match="not supported yet") as error:
        registry.router(name)
    assert "supported are contour, gatewayapi:v1, istio, kubernetes" in error.value.hint


def test_a_near_replacement_is_pointed_out():
    with pytest.raises(Rejected) as error:
        registry.router("gatewayapi:v1beta1")
    assert "write gatewayapi:v1" in error.value.hint


def test_every_provider_of_the_crd_is_either_installed_or_known():
    from canary.api.canary import PROVIDERS

    for name in set(PROVIDERS) - set(registry.providers()):
        with pytest.raises(Rejected, match="not supported yet"):
            registry.router(name)


def test_a_newcomer_is_found_by_its_entry_point(monkeypatch):
    point = importlib.metadata.EntryPoint("mine", "canary.routers.contour:ContourRouter", registry.GROUP)
    monkeypatch.setattr(registry, "entry_points", lambda group: [point] if group == registry.GROUP else [])
    registry.providers.cache_clear()
    registry.router.cache_clear()
    registry._installed.cache_clear()
    try:
        assert registry.providers() == ("mine",)
        assert registry.router("mine").name == "contour"
    finally:
        monkeypatch.undo()
        registry.providers.cache_clear()
        registry.router.cache_clear()
        registry._installed.cache_clear()


def test_a_mesh_that_nobody_asks_for_is_not_imported():
    code = (
        "import sys; from canary.routers import registry; registry.providers(); registry.router('contour');"
        "print([name for name in sys.modules if name.startswith('canary.routers.istio')])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip() == "[]"
