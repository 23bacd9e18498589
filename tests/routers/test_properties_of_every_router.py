"""The contract again, over generated services, analyses, weights and cookies."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from canary.core.model import Routes
from canary.routers import registry
from tests.routers import contract, strategies
from tests.routers.releases import applied, nothing, release

pytestmark = pytest.mark.slow

PROVIDERS = registry.providers()


@pytest.mark.parametrize("provider", PROVIDERS)
@settings(max_examples=100, deadline=None)
@given(data=st.data(), routes=strategies.ROUTES)
def test_whatever_can_be_expressed_keeps_the_contract(provider, data, routes):
    router = registry.router(provider)
    of = release(provider, {"service": data.draw(strategies.services(provider)), "analysis": data.draw(strategies.analyses(provider))})
    contract.weights_come_back(router, of, routes)
    contract.repairing_keeps_the_weights(router, of, routes)
    contract.shares_sum_to_100(router, of, routes)
    contract.same_in_same_out(router, of, routes)
    contract.every_split_is_written_explicitly(router, of)


@pytest.mark.parametrize(("provider", "service"), [("contour", ""), ("gatewayapi:v1", ""), ("istio", ""), ("istio", "{appProtocol: tcp}")])
@settings(max_examples=101, deadline=None)
@given(canary=st.integers(0, 100), data=st.data())
def test_a_baseline_comes_back_at_every_weight_and_leaves_no_trace(provider, service, canary, data):
    """Any share that the rules could ever want, and back to none: what stands then is what stood before."""
    router, of = registry.router(provider), release(provider, f"service: {service}" if service else "")
    routes = Routes(100 - canary, canary, baseline=data.draw(st.integers(0, 100 - canary)))
    contract.weights_come_back(router, of, routes)
    contract.repairing_keeps_the_weights(router, of, routes)
    ref = router.objects(of)[0]
    plain = applied(router.wanted(of, nothing(router, of), Routes(100 - canary, canary)), nothing(router, of))
    split = applied(router.wanted(of, plain, routes), plain)
    after = applied(router.wanted(of, split, Routes(100 - canary, canary)), split)
    assert after[ref]["spec"] == plain[ref]["spec"]


@pytest.mark.parametrize("provider", ["gatewayapi:v1", "istio"])
@settings(max_examples=50, deadline=None)
@given(data=st.data())
def test_mirroring_comes_back_wherever_it_is_offered(provider, data):
    router = registry.router(provider)
    of = release(provider, {"analysis": {**data.draw(strategies.analyses(provider)), "mirror": True}})
    if router.can_mirror(of):
        contract.weights_come_back(router, of, Routes(100, 0, mirrored=True))
        contract.repairing_keeps_the_weights(router, of, Routes(100, 0, mirrored=True))
