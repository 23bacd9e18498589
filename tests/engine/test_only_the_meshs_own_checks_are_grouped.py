"""What the engine lets be asked for many canaries at once: the built-in check, never the primary's."""

from types import SimpleNamespace

import pytest

from canary.core.model import MetricAsk, MetricSource, Sample
from canary.engine.observe import Observer
from canary.routers import registry
from tests.metrics.test_a_batch_answers_as_each_query_would import CHECKS, PROVIDERS, canary


class Asker:
    def __init__(self):
        self.calls = []

    async def builtin(self, subject, metric, **how):
        self.calls.append((metric.name, how))
        return Sample(value=1.0)


async def answered(provider, source):
    asker = Asker()
    sight = SimpleNamespace(canary=canary("test", "podinfo"), router=registry.router(provider))
    asks = [MetricAsk(index, source) for index in range(len(CHECKS))]
    await Observer(None, asker, None).answer(sight, asks)
    return dict(asker.calls)


@pytest.mark.parametrize("provider", PROVIDERS)
async def test_the_meshs_checks_have_a_grouped_form(provider):
    calls = await answered(provider, MetricSource.BUILTIN)
    for check in CHECKS:
        assert calls[check]["template"] == registry.router(provider).builtin_queries[check]
        assert calls[check]["grouped"] is registry.router(provider).grouped_queries[check]


@pytest.mark.parametrize("provider", [provider for provider in PROVIDERS if provider != "kubernetes"])
async def test_the_primarys_have_none(provider):
    calls = await answered(provider, MetricSource.PRIMARY)
    assert set(calls) == set(CHECKS)
    assert all(how.get("grouped") is None for how in calls.values())
