"""The fixture `api`: every test runs once on the sandbox and once, marked `cluster`, on a real control plane."""

import itertools
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from canary.sandbox.server import ApiServer
from tests.conformance.driver import DEFINITIONS, WIDGETS_FILE, Driver

_COUNTER = itertools.count(1)


@pytest.fixture(params=["sandbox", pytest.param("real", marks=pytest.mark.cluster)])
async def api(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Driver]:
    """A driver with a fresh namespace and the suite's custom kinds."""
    name = f"conformance-{next(_COUNTER)}"
    if request.param == "real":
        cluster = request.getfixturevalue("real_cluster")
        cluster.create_namespace(name)
        async with Driver(kubeconfig=cluster.kubeconfig, namespace=name, server=None) as driver:
            yield driver
        cluster.delete_namespace(name)
        return
    server = ApiServer()
    await server.start()
    try:
        kubeconfig = server.kubeconfig(tmp_path / "kubeconfig")
        async with Driver(kubeconfig=kubeconfig, namespace=name, server=server) as driver:
            for definition in DEFINITIONS:
                await driver.create("customresourcedefinitions", definition)
            await driver.create("namespaces", {"metadata": {"name": name}})
            yield driver
    finally:
        await server.stop()


@pytest.fixture(scope="session")
def real_cluster(request: pytest.FixtureRequest) -> Any:
    """The test bed's cluster with the suite's custom kinds."""
    cluster = request.getfixturevalue("cluster")
    cluster.crds(WIDGETS_FILE)
    return cluster
