"""The clients that people use: the official one, kubectl, and kopf."""

import asyncio
import json
from collections.abc import Callable
from typing import Any

import kubernetes
import pytest

from tests.conformance.driver import Driver, deployment, widget
from tests.conformance.informer import informer


async def officially(api: Driver, work: Callable[[Any], Any]) -> Any:
    """Run a function of a module-like `kubernetes.client` with a client for this server, in a thread."""

    def run() -> Any:
        with kubernetes.config.new_client_from_config(str(api.kubeconfig)) as client:
            return work(client)

    return await asyncio.to_thread(run)


async def test_official_client_on_typed_objects(api: Driver) -> None:
    def work(client: Any) -> None:
        apps = kubernetes.client.AppsV1Api(client)
        made = apps.create_namespaced_deployment(api.namespace, deployment("d"))
        assert made.spec.strategy.rolling_update.max_surge == "25%"
        made.spec.template.spec.containers[0].image = "app:2"
        made.metadata.resource_version = None  # a real controller may have written its status meanwhile
        replaced = apps.replace_namespaced_deployment("d", api.namespace, made)
        assert (replaced.metadata.generation, replaced.spec.template.spec.containers[0].image) == (2, "app:2")
        patched = apps.patch_namespaced_deployment_scale("d", api.namespace, {"spec": {"replicas": 0}})
        assert patched.status.selector == "app=d"
        assert [one.metadata.name for one in apps.list_namespaced_deployment(api.namespace).items] == ["d"]
        apps.delete_namespaced_deployment("d", api.namespace)
        assert apps.list_namespaced_deployment(api.namespace).items == []

    await officially(api, work)


async def test_official_client_sees_refusals(api: Driver) -> None:
    def work(client: Any) -> None:
        core = kubernetes.client.CoreV1Api(client)
        made = core.create_namespaced_config_map(api.namespace, {"metadata": {"name": "c"}, "data": {"a": "1"}})
        core.patch_namespaced_config_map("c", api.namespace, {"data": {"a": "2"}})
        with pytest.raises(kubernetes.client.ApiException) as stale:
            core.replace_namespaced_config_map("c", api.namespace, made)
        assert (stale.value.status, json.loads(stale.value.body)["reason"]) == (409, "Conflict")
        with pytest.raises(kubernetes.client.ApiException) as absent:
            core.read_namespaced_config_map("none", api.namespace)
        assert absent.value.status == 404

    await officially(api, work)


async def test_official_client_on_custom_objects(api: Driver) -> None:
    def work(client: Any) -> None:
        custom = kubernetes.client.CustomObjectsApi(client)
        where = ("conformance.test", "v1", api.namespace, "widgets")
        custom.create_namespaced_custom_object(*where, widget("w"))
        custom.patch_namespaced_custom_object_status(*where, "w", {"status": {"phase": "Used"}})
        assert custom.get_namespaced_custom_object(*where, "w")["status"] == {"phase": "Used"}
        assert len(custom.list_namespaced_custom_object(*where)["items"]) == 1
        custom.delete_namespaced_custom_object(*where, "w")

    await officially(api, work)


async def test_official_client_watches(api: Driver) -> None:
    def work(client: Any) -> list[tuple[str, str]]:
        core, found = kubernetes.client.CoreV1Api(client), []
        for name in ("a", "b"):
            core.create_namespaced_config_map(api.namespace, {"metadata": {"name": name, "labels": {"mine": "yes"}}})
        watch = kubernetes.watch.Watch()
        for event in watch.stream(core.list_namespaced_config_map, api.namespace, label_selector="mine=yes", timeout_seconds=10):
            found.append((event["type"], event["object"].metadata.name))
            if len(found) == 2:
                core.delete_namespaced_config_map("a", api.namespace)
            if len(found) == 3:
                watch.stop()
        return found

    assert await officially(api, work) == [("ADDED", "a"), ("ADDED", "b"), ("DELETED", "a")]


async def test_kubectl_applies(api: Driver) -> None:
    manifest = json.dumps(deployment("d", image="app:1", ports=[{"containerPort": 80}]))
    assert await api.kubectl("apply", "-f", "-", input=manifest) == "deployment.apps/d created\n"
    assert await api.kubectl("apply", "-f", "-", input=manifest) == "deployment.apps/d unchanged\n"
    changed = json.dumps(deployment("d", image="app:2"))
    assert await api.kubectl("apply", "-f", "-", input=changed) == "deployment.apps/d configured\n"
    container = (await api.get("deployments", "d"))["spec"]["template"]["spec"]["containers"][0]
    assert (container["image"], "ports" in container) == ("app:2", False)
    wrong = deployment("d")
    wrong["spec"]["nonsense"] = 1
    refused = await api.kubectl("apply", "-f", "-", input=json.dumps(wrong), check=False)
    assert 'strict decoding error: unknown field "spec.nonsense"' in refused


async def test_kubectl_applies_custom_objects(api: Driver) -> None:
    assert await api.kubectl("apply", "-f", "-", input=json.dumps(widget("w", steps=[1]))) == "widget.conformance.test/w created\n"
    assert await api.kubectl("apply", "-f", "-", input=json.dumps(widget("w", steps=[2]))) == "widget.conformance.test/w configured\n"
    assert (await api.get("widgets", "w"))["spec"]["steps"] == [2]
    text = await api.kubectl("get", "wdg")
    assert text.splitlines()[0].split() == ["NAME", "COLOUR", "READY", "REPLICAS", "AGE"]
    assert text.splitlines()[1].split()[:2] == ["w", "red"]


async def test_kubectl_applies_on_the_server(api: Driver) -> None:
    arguments = ("apply", "--server-side", "-f", "-")
    assert await api.kubectl(*arguments, input=json.dumps(widget("w"))) == "widget.conformance.test/w serverside-applied\n"
    refused = await api.kubectl(*arguments, "--field-manager=other", input=json.dumps(widget("w", colour="blue")), check=False)
    assert 'conflict with "kubectl": .spec.colour' in refused
    await api.kubectl(*arguments, "--field-manager=other", "--force-conflicts", input=json.dumps(widget("w", colour="blue")))
    assert (await api.get("widgets", "w"))["spec"]["colour"] == "blue"


async def test_kubectl_takes_over_from_client_side_apply(api: Driver) -> None:
    manifest = json.dumps(deployment("d"))
    await api.kubectl("apply", "-f", "-", input=manifest)
    await api.kubectl("apply", "--server-side", "-f", "-", input=manifest)
    managers = {entry["manager"] for entry in (await api.get("deployments", "d"))["metadata"]["managedFields"]}
    assert "kubectl-client-side-apply" not in managers
    assert "kubectl" in managers


async def test_kubectl_changes_deployments(api: Driver) -> None:
    await api.kubectl("create", "deployment", "d", "--image=app:1", "--replicas=0")  # a protobuf body
    await api.kubectl("set", "image", "deployment/d", "app=app:2")
    await api.kubectl("rollout", "restart", "deployment/d")
    await api.kubectl("label", "deployment/d", "a=b")
    await api.kubectl("expose", "deployment/d", "--port=80")
    found = await api.get("deployments", "d")
    template = found["spec"]["template"]
    assert template["spec"]["containers"][0]["image"] == "app:2"
    assert "kubectl.kubernetes.io/restartedAt" in template["metadata"]["annotations"]
    assert found["metadata"]["labels"]["a"] == "b"
    assert (await api.get("services", "d"))["spec"]["selector"] == {"app": "d"}
    await api.kubectl("delete", "deployment/d", "--wait=true", "--timeout=20s")
    assert (await api.call("GET", api.path("deployments", "d"))).code == 404


async def test_kubectl_makes_built_in_objects_with_protobuf(api: Driver) -> None:
    await api.kubectl("create", "configmap", "c", "--from-literal=a=1")
    await api.kubectl("create", "secret", "generic", "s", "--from-literal=a=1")
    await api.kubectl("create", "ingress", "i", "--rule=a.test/x*=s:80")
    assert (await api.get("configmaps", "c"))["data"] == {"a": "1"}
    assert (await api.get("secrets", "s"))["data"] == {"a": "MQ=="}
    path = (await api.get("ingresses", "i"))["spec"]["rules"][0]["http"]["paths"][0]
    assert (path["path"], path["pathType"], path["backend"]["service"]["port"]) == ("/x", "Prefix", {"number": 80})
    assert "yes" in await api.kubectl("auth", "can-i", "create", "pods")


async def test_kubectl_explains_describes_and_waits(api: Driver) -> None:
    explained = await api.kubectl("explain", "widget.spec")
    assert "colour" in explained
    assert "replicas\t<integer>" in await api.kubectl("explain", "deployment.spec")
    await api.create("widgets", widget("w"))
    conditions = [{"type": "Ready", "status": "True"}]
    await api.patch("widgets", "w", {"status": {"conditions": conditions}}, sub="status")
    assert "condition met" in await api.kubectl("wait", "widget/w", "--for=condition=Ready", "--timeout=10s")
    assert "Colour:" in await api.kubectl("describe", "widget", "w")
    assert await api.kubectl("get", "widgets", "-o", "name") == "widget.conformance.test/w\n"


async def test_kopf_informer(api: Driver) -> None:
    await api.create("widgets", widget("early"))
    async with informer(api) as seen:
        await seen.until((None, "early", "red"))
        await api.create("widgets", widget("late"))
        await seen.until(("ADDED", "late", "red"))
        await api.patch("widgets", "late", {"spec": {"colour": "blue"}})
        await seen.until(("MODIFIED", "late", "blue"))
        await api.delete("widgets", "late")
        await seen.until(("DELETED", "late", "blue"))
    metadata = (await api.get("widgets", "early"))["metadata"]
    assert "finalizers" not in metadata
    assert "annotations" not in metadata
