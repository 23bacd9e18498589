"""The server as a part of a process: addresses, credentials, clocks, several at once, and the Python API beside HTTP."""

import asyncio
import io
import json
import stat
from datetime import UTC, datetime
from pathlib import Path

import aiohttp
import pytest

from canary.sandbox import ApiServer
from canary.sandbox.errors import ApiError
from canary.sandbox.store import Bucket, Change


async def test_token_is_demanded(tmp_path: Path) -> None:
    server = ApiServer(token="secret")
    await server.start()
    try:
        path = server.kubeconfig(tmp_path / "kubeconfig")
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        config = json.loads(path.read_text())
        assert config["clusters"][0]["cluster"]["server"] == server.url
        async with aiohttp.ClientSession(server.url) as session:
            for header, code in ((None, 401), ("Bearer wrong", 401), (f"Bearer {config['users'][0]['user']['token']}", 200)):
                async with session.get("/api/v1/nodes", headers={"Authorization": header} if header else {}) as response:
                    assert response.status == code
    finally:
        await server.stop()


async def test_several_servers_share_nothing() -> None:
    first, second = ApiServer(), ApiServer()
    await first.start()
    await second.start()
    try:
        assert first.url != second.url
        first.cluster.create("v1", "ConfigMap", {"metadata": {"name": "c"}}, namespace="default")
        assert second.cluster.get("v1", "ConfigMap", "c", namespace="default") is None
    finally:
        await first.stop()
        await second.stop()


async def test_stop_leaves_nothing_running() -> None:
    before = asyncio.all_tasks()
    server = ApiServer()
    await server.start()
    async with aiohttp.ClientSession(server.url) as session, session.get("/api/v1/pods?watch=1") as response:
        await server.stop()
        assert await response.content.read() == b""
    await asyncio.sleep(0)
    assert asyncio.all_tasks() == before


async def test_stop_before_start_is_fine() -> None:
    await ApiServer().stop()


async def test_time_comes_from_the_clock() -> None:
    server = ApiServer(clock=lambda: datetime(2030, 1, 2, 3, 4, 5, tzinfo=UTC))
    made = server.cluster.create("v1", "ConfigMap", {"metadata": {"name": "c"}, "data": {"a": "1"}}, namespace="default")
    assert made["metadata"]["creationTimestamp"] == made["metadata"]["managedFields"][0]["time"] == "2030-01-02T03:04:05Z"


async def test_large_body_is_read() -> None:
    server = ApiServer()
    await server.start()
    try:
        async with aiohttp.ClientSession(server.url) as session:
            body = json.dumps({"metadata": {"name": "c"}, "data": {"a": "x" * 3_000_000}}).encode()
            headers = {"Content-Type": "application/json"}
            assert (await session.post("/api/v1/namespaces/default/configmaps", data=io.BytesIO(body), headers=headers)).status == 201
    finally:
        await server.stop()


def test_python_api_obeys_the_same_rules() -> None:
    cluster = ApiServer().cluster
    made = cluster.create(
        "v1", "Service", {"metadata": {"name": "s"}, "spec": {"ports": [{"port": 80}]}}, namespace="default", manager="me"
    )
    assert (made["apiVersion"], made["kind"], made["spec"]["type"]) == ("v1", "Service", "ClusterIP")
    assert made["metadata"]["managedFields"][0]["manager"] == "me"
    with pytest.raises(ApiError) as twice:
        cluster.create("v1", "Service", {"metadata": {"name": "s"}, "spec": {"ports": [{"port": 80}]}}, namespace="default")
    assert twice.value.code == 409
    applied = cluster.apply("v1", "Service", "s", {"metadata": {"name": "s", "labels": {"a": "b"}}}, namespace="default")
    assert applied["metadata"]["labels"] == {"a": "b"}
    patched = cluster.patch(
        "v1", "Service", "s", {"status": {"loadBalancer": {"ingress": [{"ip": "1.2.3.4"}]}}}, namespace="default", subresource="status"
    )
    assert patched["status"]["loadBalancer"]["ingress"][0]["ip"] == "1.2.3.4"
    assert [one["metadata"]["name"] for one in cluster.list_all("v1", "Service", namespace="default", labels="a=b")] == ["s"]
    cluster.delete("v1", "Service", "s", namespace="default")
    cluster.delete("v1", "Service", "s", namespace="default")
    assert cluster.get("v1", "Service", "s", namespace="default") is None
    with pytest.raises(ApiError):
        cluster.list_all("nonsense/v1", "Thing")


def test_what_the_python_api_answers_may_be_changed() -> None:
    cluster = ApiServer().cluster
    cluster.create("v1", "ConfigMap", {"metadata": {"name": "c"}, "data": {"a": "1"}}, namespace="default")["data"]["a"] = "spoilt"
    found = cluster.get("v1", "ConfigMap", "c", namespace="default")
    assert found is not None
    found["data"]["a"] = "spoilt"
    cluster.list_all("v1", "ConfigMap", namespace="default")[0]["metadata"]["name"] = "spoilt"
    again = cluster.get("v1", "ConfigMap", "c", namespace="default")
    assert again is not None
    assert again["data"] == {"a": "1"}


def test_given_objects_are_not_changed() -> None:
    cluster = ApiServer().cluster
    body = {
        "metadata": {"name": "d"},
        "spec": {
            "selector": {"matchLabels": {"a": "b"}},
            "template": {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "x"}]}},
        },
    }
    before = json.dumps(body)
    cluster.create("apps/v1", "Deployment", body, namespace="default")
    cluster.patch("apps/v1", "Deployment", "d", {"spec": {"replicas": 2}}, namespace="default")
    assert json.dumps(body) == before


def test_listeners_hear_every_change_in_order() -> None:
    cluster = ApiServer().cluster
    heard: list[tuple[str, str]] = []

    def listen(bucket: Bucket, change: Change) -> None:
        heard.append((bucket.plural, change.type))

    end = cluster.subscribe(listen)
    cluster.create("v1", "ConfigMap", {"metadata": {"name": "c"}}, namespace="default")
    cluster.patch("v1", "ConfigMap", "c", {"data": {"a": "1"}}, namespace="default")
    cluster.delete("v1", "ConfigMap", "c", namespace="default")
    end()
    cluster.create("v1", "ConfigMap", {"metadata": {"name": "d"}}, namespace="default")
    assert heard == [("configmaps", "ADDED"), ("configmaps", "MODIFIED"), ("configmaps", "DELETED")]


async def test_of_many_concurrent_updates_one_wins() -> None:
    server = ApiServer()
    await server.start()
    try:
        made = server.cluster.create("v1", "ConfigMap", {"metadata": {"name": "c"}, "data": {"n": "0"}}, namespace="default")
        async with aiohttp.ClientSession(server.url) as session:

            async def put(number: int) -> int:
                async with session.put(
                    "/api/v1/namespaces/default/configmaps/c", json={**made, "data": {"n": str(number + 1)}}
                ) as response:
                    return response.status

            codes = await asyncio.gather(*(put(number) for number in range(20)))
        assert sorted(codes) == [200] + [409] * 19
    finally:
        await server.stop()


async def test_protobuf_that_is_none_is_refused() -> None:
    server = ApiServer()
    await server.start()
    try:
        async with aiohttp.ClientSession(server.url, headers={"Content-Type": "application/vnd.kubernetes.protobuf"}) as session:
            for body in (b"", b"nonsense", b"k8s\x00\x0a\xff", b"k8s\x00\x0a\x0a\x0a\x02v1\x12\x04None"):
                async with session.post("/api/v1/namespaces/default/configmaps", data=body) as response:
                    assert (response.status, (await response.json())["reason"]) == (400, "BadRequest")
    finally:
        await server.stop()
