"""The contract again, over generated services, analyses, weights and cookies."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from canary.core.model import Routes
from canary.routers import registry
from tests.routers import contract, strategies
from tests.routers.releases import release

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


@pytest.mark.parametrize("provider", ["gatewayapi:v1", "istio"])
@settings(max_examples=50, deadline=None)
@given(data=st.data())
def test_mirroring_comes_back_wherever_it_is_offered(provider, data):
    router = registry.router(provider)
    of = release(provider, {"analysis": {**data.draw(strategies.analyses(provider)), "mirror": True}})
    if router.can_mirror(of):
        contract.weights_come_back(router, of, Routes(100, 0, mirrored=True))
        contract.repairing_keeps_the_weights(router, of, Routes(100, 0, mirrored=True))
