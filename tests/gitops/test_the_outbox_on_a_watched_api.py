"""The outbox on real watches: an API server over HTTP, the operator's own client and cache, a Git server with a password."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from canary.api.crd import KINDS, crd
from canary.gitops.outbox import Outbox
from canary.kube import auth
from canary.kube.cache import WatchedCluster
from canary.kube.client import ApiClient
from canary.kube.resource import CANARY_RUNS, GIT_SINKS, NAMESPACES, SECRETS, Object, Resource
from canary.sandbox.gitserver import GitServer
from canary.sandbox.server import ApiServer
from tests.gitops.support import NAMESPACE, records, run, secret, sink, subjects

CRDS = Resource("apiextensions.k8s.io", "v1", "customresourcedefinitions", "CustomResourceDefinition", namespaced=False)


@pytest.fixture
async def client(tmp_path: Path) -> AsyncIterator[ApiClient]:
    server = ApiServer()
    await server.start()
    client = ApiClient(auth.load(kubeconfig=str(server.kubeconfig(tmp_path / "kubeconfig")), context="", master=""))
    for kind in KINDS:
        await client.create(CRDS, crd(kind))
    await client.create(NAMESPACES, {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}})
    yield client
    await client.close()
    await server.stop()


async def add_run(client: ApiClient, body: Object) -> None:
    status = body.pop("status")
    await client.create(CANARY_RUNS, body)
    await client.merge(CANARY_RUNS, NAMESPACE, body["metadata"]["name"], {"status": status}, subresource="status")


async def states(client: ApiClient) -> set[tuple[str, str]]:
    return {
        (effect["state"], effect.get("reason", ""))
        for body in await client.list(CANARY_RUNS)
        for effect in body["status"].get("effects", ())
    }


async def until_all(client: ApiClient, *wanted: tuple[str, str]) -> None:
    async with asyncio.timeout(20):
        while await states(client) != set(wanted):
            await asyncio.sleep(0.05)


async def test_outcomes_come_with_the_watch_and_a_new_password_is_noticed(
    server: GitServer, fleet: str, client: ApiClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("canary.gitops.worker.MINUTE", 0.5)
    server.user = ("bot", "right")
    await client.create(SECRETS, secret(username="bot", password="wrong"))
    await client.create(GIT_SINKS, sink(fleet, repository={"secretRef": {"name": "git"}}))
    cluster = WatchedCluster(client)
    task = asyncio.create_task(Outbox(cluster).run())
    try:
        await add_run(client, run("r0", outcome="Succeeded", minute=-1))
        await until_all(client, ("Blocked", "Auth"))
        tried = len(server.requests)
        await asyncio.sleep(0.3)
        assert len(server.requests) == tried
        await client.merge(SECRETS, NAMESPACE, "git", {"data": secret(username="bot", password="right")["data"]})
        await until_all(client, ("Done", ""))
        before = client.requests.total(verb="patch", resource="canaryruns.canary.dev/status")
        for number in range(1, 11):
            await add_run(client, run(f"r{number}", outcome="Succeeded", minute=number))
        await add_run(client, run("r11", minute=11))
        await until_all(client, ("Done", ""))
        assert (
            client.requests.total(verb="patch", resource="canaryruns.canary.dev/status") - before == 11 + 12
        )  # ours, and one note for each effect
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await cluster.close()
    assert len([path for path in records(server) if "promoted" not in path]) == 12
    assert len(subjects(server)) == 2
    body = await client.get(GIT_SINKS, NAMESPACE, "fleet")
    assert body["status"]["conditions"][0]["status"] == "True"
