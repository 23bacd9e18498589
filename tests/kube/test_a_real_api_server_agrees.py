"""What the client believes about API servers, asked of a real one: TLS, ownership, watches, metadata only, conflicts, leases."""

import asyncio
import contextlib

import pytest

from canary.core.errors import Conflict, Forbidden, NotFound, Rejected
from canary.kube import auth
from canary.kube.cache import WatchedCluster
from canary.kube.client import ApiClient
from canary.kube.compare import ServerMade
from canary.kube.ensure import ensure
from canary.kube.lease import LeaseLock
from canary.kube.recorder import EventRecorder
from canary.kube.resource import CONFIG_MAPS, DEPLOYMENTS, EVENTS, PODS, SECRETS, SERVICES, Resource
from canary.kube.transport import Timeouts
from canary.routers.base import Wanted
from tests.kube.conftest import eventually

pytestmark = pytest.mark.cluster


@pytest.fixture
async def real(cluster):
    async with contextlib.AsyncExitStack() as stack:
        client = ApiClient(auth.load(kubeconfig=str(cluster.kubeconfig)), timeouts=Timeouts(connect=5, total=30, silence=70))
        stack.push_async_callback(client.close)
        watched = WatchedCluster(client)
        stack.push_async_callback(watched.close)
        yield watched


def service(namespace, *, port=80, name="http", **more):
    body = SERVICES.head(namespace, "podinfo")
    body["spec"] = {"selector": {"app": "podinfo"}, "ports": [{"name": name, "port": port, "protocol": "TCP", "targetPort": port}], **more}
    return body


def sent(watched):
    """Requests that are neither a list nor a watch."""
    requests = watched.client.requests
    return requests.total() - requests.total(verb="list") - requests.total(verb="watch")


def deployment(namespace, *, cpu="1000m"):
    body = DEPLOYMENTS.head(namespace, "podinfo")
    labels = {"app": "podinfo"}
    container = {
        "name": "c",
        "image": "podinfo:1",
        "resources": {"limits": {"cpu": cpu, "memory": "1024Mi"}},
        "ports": [{"containerPort": 80}],
    }
    template = {"metadata": {"labels": labels}, "spec": {"containers": [container], "hostNetwork": False}}
    body["spec"] = {"replicas": 1, "selector": {"matchLabels": labels}, "template": template}
    return body


async def test_errors_are_what_the_client_takes_them_for(real, namespace, cluster):
    client = real.client
    assert (await client.version()).startswith("v1.")
    with pytest.raises(NotFound):
        await client.get(SERVICES, namespace, "none")
    with pytest.raises(NotFound):
        await client.list(Resource("nowhere.example", "v1", "things", "Thing"))
    first = await client.create(SERVICES, service(namespace))
    with pytest.raises(Conflict):
        await client.create(SERVICES, service(namespace))
    version = first["metadata"]["resourceVersion"]
    ops = [
        {"op": "test", "path": "/metadata/resourceVersion", "value": version},
        {"op": "add", "path": "/metadata/labels", "value": {"a": "b"}},
    ]
    second = await client.json_patch(SERVICES, namespace, "podinfo", ops)
    with pytest.raises(Conflict):
        await client.json_patch(SERVICES, namespace, "podinfo", ops)
    with pytest.raises(Conflict):
        await client.merge(SERVICES, namespace, "podinfo", {"metadata": {"resourceVersion": version, "labels": {"a": "c"}}})
    ops = [
        {"op": "test", "path": "/metadata/resourceVersion", "value": second["metadata"]["resourceVersion"]},
        {"op": "add", "path": "/spec/ports", "value": []},
    ]
    with pytest.raises(Rejected) as caught:
        await client.json_patch(SERVICES, namespace, "podinfo", ops)
    assert type(caught.value) is Rejected
    with pytest.raises(Rejected, match=r"unknown|not declared") as caught:
        await client.apply(SERVICES, service(namespace, nonsense=1))
    assert type(caught.value) is Rejected
    with pytest.raises(Conflict):
        await client.delete(SERVICES, namespace, "podinfo", uid="another")
    stranger = ApiClient(auth.Credentials(_Anonymous(auth.load(kubeconfig=str(cluster.kubeconfig)))))
    with pytest.raises(Forbidden):
        await stranger.list(SERVICES, namespace)
    await stranger.close()


class _Anonymous:
    """The same server and CA with a token that nobody knows."""

    label = "a stranger"

    def __init__(self, known):
        self._known = known

    def read(self):
        import dataclasses

        return dataclasses.replace(self._known._login, authorization="Bearer unknown", cert_file="", key_file="")


async def test_objects_are_ensured_with_one_request_and_then_none(real, namespace):
    await real.watch(SERVICES, DEPLOYMENTS)
    learned = ServerMade()
    for resource, body, exact in [
        (SERVICES, service(namespace), (("spec", "ports"), ("spec", "selector"))),
        (DEPLOYMENTS, deployment(namespace), (("spec", "template"),)),
    ]:
        before = sent(real)
        assert await ensure(real, Wanted(resource, body, exact), learned=learned) is True
        assert await ensure(real, Wanted(resource, body, exact), learned=learned) is False
        assert sent(real) - before == 1
    assert await ensure(real, Wanted(DEPLOYMENTS, deployment(namespace, cpu="2"), (("spec", "template"),)), learned=learned) is True
    assert await ensure(real, Wanted(DEPLOYMENTS, deployment(namespace, cpu="2000m"), (("spec", "template"),)), learned=learned) is False


@pytest.mark.parametrize("name", ["metrics", "http"], ids=["another port name", "our port name"])
async def test_a_service_of_somebody_else_is_adopted_without_its_ports(real, namespace, cluster, name):
    theirs = service(namespace, port=9999, name=name)
    cluster.api.apply(f"/api/v1/namespaces/{namespace}/services/podinfo", theirs, manager="kubectl")
    await real.watch(SERVICES)
    want = Wanted(SERVICES, service(namespace), (("spec", "ports"),))
    learned = ServerMade()
    assert await ensure(real, want, learned=learned) is True
    assert [port["port"] for port in real.get(SERVICES, namespace, "podinfo")["spec"]["ports"]] == [80]
    before = sent(real)
    assert await ensure(real, want, learned=learned) is False
    assert sent(real) == before


async def test_secrets_are_watched_by_metadata_only(real, namespace):
    await real.client.create(SECRETS, {**SECRETS.head(namespace, "s"), "stringData": {"password": "hunter2"}})
    await real.watch(SECRETS)
    await real.client.merge(SECRETS, namespace, "s", {"metadata": {"labels": {"a": "b"}}})
    await eventually(lambda: real.get(SECRETS, namespace, "s")["metadata"].get("labels") == {"a": "b"})
    assert set(real.get(SECRETS, namespace, "s")) == {"apiVersion", "kind", "metadata"}
    assert (await real.read(SECRETS, namespace, "s"))["data"] == {"password": "aHVudGVyMg=="}


async def test_own_writes_and_deletions_are_readable_at_once_and_end_as_the_watch_says(real, namespace):
    await real.watch(SERVICES, CONFIG_MAPS)
    told = []
    real.on_change(
        lambda resource, kind, body, old: told.append((kind, body["kind"])) if body["metadata"].get("namespace") == namespace else None
    )
    created = await real.create(SERVICES, service(namespace))
    assert real.get(SERVICES, namespace, "podinfo")
    await real.delete(SERVICES, namespace, "podinfo", uid=created["metadata"]["uid"])
    assert real.get(SERVICES, namespace, "podinfo") is None
    held = CONFIG_MAPS.head(namespace, "held")
    held["metadata"]["finalizers"] = ["example.com/hold"]
    await real.create(CONFIG_MAPS, held)
    await real.delete(CONFIG_MAPS, namespace, "held")
    assert real.get(CONFIG_MAPS, namespace, "held")["metadata"]["deletionTimestamp"]
    await real.merge(CONFIG_MAPS, namespace, "held", {"metadata": {"finalizers": None}})
    await eventually(lambda: real.get(CONFIG_MAPS, namespace, "held") is None)
    await eventually(lambda: ("DELETED", "Service") in told)
    await asyncio.sleep(0.2)
    assert real.get(SERVICES, namespace, "podinfo") is None
    store = real._reflectors[SERVICES].store
    assert not store._dead
    assert not store._heard


async def test_a_pod_that_terminates_slowly_stays_readable(real, namespace):
    await real.watch(PODS)
    body = PODS.head(namespace, "p")
    body["spec"] = {"containers": [{"name": "c", "image": "podinfo:1"}], "terminationGracePeriodSeconds": 30, "nodeName": "nowhere"}
    await real.create(PODS, body)
    await real.delete(PODS, namespace, "p")
    pod = real.get(PODS, namespace, "p")
    assert pod is None or pod["metadata"]["deletionTimestamp"]
    await eventually(lambda: not real._reflectors[PODS].store._heard)


async def test_leases_and_events_are_accepted(real, namespace):
    first, second = (LeaseLock(real.client, namespace=namespace, name="leader", identity=name) for name in "ab")
    assert [await first.try_acquire(), await first.try_acquire(), await second.try_acquire()] == [True, True, False]
    await first.release()
    assert await second.try_acquire()
    target = await real.client.create(SERVICES, service(namespace))
    recorder = EventRecorder(real.client)
    for _ in range(3):
        recorder.record(target, message="Halt podinfo advancement", kind="CheckFailed", warning=True)
        await eventually(lambda: not recorder._drains)
    await recorder.close()
    (event,) = [event for event in await real.client.list(EVENTS, namespace) if event["reason"] == "Synced"]
    assert (event["count"], event["type"], event["source"]["component"], event["action"]) == (3, "Warning", "flagger", "CheckFailed")


async def test_a_restart_of_the_api_server_is_survived_without_losing_a_change(real, namespace, cluster):
    await real.watch(CONFIG_MAPS)
    await eventually(lambda: real.age(CONFIG_MAPS) == 0)
    cluster.restart("kube-apiserver")
    await eventually(lambda: real.age(CONFIG_MAPS) > 0, within=20)
    await eventually(lambda: real.age(CONFIG_MAPS) == 0, within=60)
    await real.client.create(CONFIG_MAPS, CONFIG_MAPS.head(namespace, "after"))
    await eventually(lambda: real.get(CONFIG_MAPS, namespace, "after"))
