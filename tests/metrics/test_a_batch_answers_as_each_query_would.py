"""Every built-in check of every mesh on a real Prometheus: asked for all canaries at once, and for each on its own. Equal to the last bit."""

import asyncio
import math
import time

import pytest

from canary.api.canary import Canary
from canary.metrics.asker import Asker
from canary.routers import registry
from tests.metrics import counted_world as world
from tests.testbed import tools
from tests.testbed.absence import absent

PROVIDERS = ["contour", "gatewayapi:v1", "istio", "kubernetes"]
CHECKS = ["request-success-rate", "request-duration"]
WINDOWS = ["30s", "1m", "1m30s", "5m"]


def canary(namespace, name, window="1m"):
    spec = {
        "targetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": name},
        "service": {"port": 80},
        "analysis": {"interval": "1m", "threshold": 1, "metrics": [{"name": check, "interval": window} for check in CHECKS]},
    }
    return Canary.model_validate({"metadata": {"name": name, "namespace": namespace}, "spec": spec})


def ask(asker, provider, subject, check, *, together=True):
    router = registry.router(provider)
    (metric,) = [metric for metric in subject.spec.analysis.metrics if metric.name == check]
    template, unit = router.builtin_queries[check], router.duration_unit_ms
    grouped = router.grouped_queries[check] if together else None
    return asker.builtin(subject, metric, template=template, unit_ms=unit, timeout=60.0, grouped=grouped)


@pytest.fixture(scope="module")
def prometheus(tmp_path_factory):
    """URL, and the second at which the past ends."""
    if reason := tools.missing(["prometheus"]):
        absent(reason)
    end = int(time.time())
    with world.prometheus(tmp_path_factory.mktemp("world"), world.page(end), ready="envoy_cluster_upstream_rq_time_bucket") as url:
        yield url, end


async def both_ways(address, provider, check, subjects):
    """Samples of all subjects, on their own and together."""
    found = []
    for together in (False, True):
        asker = Asker(metrics_server=address)
        found.append(await asyncio.gather(*(ask(asker, provider, subject, check, together=together) for subject in subjects)))
        await asker.close()
    return found


@pytest.fixture(scope="module")
def compared(prometheus):
    """`compared(provider, check, window)`: all subjects, their samples both ways, and what was asked; asked once."""
    url, end = prometheus
    found = {}

    async def of(provider, check, window="1m"):
        if (provider, check, window) not in found:
            subjects = [canary(namespace, name, window) for namespace, name, _ in world.targets()]
            async with world.at(url, end) as (address, seen):
                found[provider, check, window] = subjects, *(await both_ways(address, provider, check, subjects)), seen
        return found[provider, check, window]

    return of


@pytest.mark.slow
@pytest.mark.parametrize("window", WINDOWS)
@pytest.mark.parametrize("check", CHECKS)
@pytest.mark.parametrize("provider", PROVIDERS)
async def test_together_and_alone_are_the_same(compared, provider, check, window):
    subjects, alone, together, seen = await compared(provider, check, window)
    batches = [text for method, _, text in seen if method == "POST"]
    singles = len([method for method, _, _ in seen if method == "GET"]) - len(subjects)
    assert together == alone
    assert not [sample.error for sample in alone if sample.error]
    assert 1 < len(batches) <= 6
    dotted = [subject for subject in subjects if "." in subject.spec.target_ref.name]
    unknown = len([sample for sample in alone if sample.no_data]) if registry.router(provider).grouped_queries[check].lossy else 0
    assert singles <= len(dotted) + 1 + unknown, "a batch was refused"


@pytest.mark.slow
@pytest.mark.parametrize("provider", PROVIDERS)
async def test_the_world_has_all_that_can_differ(compared, provider):
    """Else the comparison would compare little."""
    (_, rates, *_), (_, durations, *_) = [await compared(provider, check) for check in CHECKS]
    values = [sample.value for sample in rates if sample.value is not None]
    assert {0.0, math.inf, 100.0} < set(values)
    assert len({value for value in values if 0 < value < 100}) > 20
    assert 5 < len([sample for sample in rates if sample.no_data]) < len(rates) / 2
    assert 5 < len([sample for sample in durations if sample.no_data]) < len(durations) / 2
    assert len({sample.value for sample in durations}) > 20


@pytest.mark.slow
@pytest.mark.parametrize("second", [-4, 7, 61, 400])
async def test_whenever_it_is_asked(prometheus, second):
    """Between scrapes, when series begin to go stale, and when all are gone: every past about twice, since time does the same to all of its kind."""
    url, end = prometheus
    targets = world.targets()[:: len(world.NAMESPACES)]
    assert {past for *_, past in targets} == set(world.PASTS)
    subjects = [canary(namespace, name) for namespace, name, _ in targets]
    async with world.at(url, end + second) as (address, _):
        for provider in PROVIDERS:
            for check in CHECKS:
                alone, together = await both_ways(address, provider, check, subjects)
                assert together == alone
    if second == 400:
        assert all(sample.no_data for sample in together)
