"""A fake cluster that is checked after each test: nothing that the cache handed out may have been changed in place."""

from collections.abc import Iterator

import pytest

from canary.targets.deployment import DeploymentTarget
from tests.fakes.cluster import FakeCluster


@pytest.fixture
def fake() -> Iterator[FakeCluster]:
    cluster = FakeCluster(watched=True)
    yield cluster
    cluster.assert_untouched()


@pytest.fixture
def target() -> DeploymentTarget:
    return DeploymentTarget()
