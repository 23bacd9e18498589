"""What the server says of itself, the scale subresource, and access reviews."""

import pytest

from tests.conformance.driver import MERGE, Driver, deployment, owners, widget

AGGREGATED = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/livez"])
async def test_health(api: Driver, path: str) -> None:
    assert (await api.call("GET", path, accept="*/*", expect=200)).body == "ok"


async def test_version(api: Driver) -> None:
    version = (await api.call("GET", "/version", expect=200)).body
    assert version["major"] == "1"
    assert version["gitVersion"].startswith(f"v1.{version['minor']}.")


async def test_groups(api: Driver) -> None:
    assert (await api.call("GET", "/api", expect=200)).body["versions"] == ["v1"]
    groups = {one["name"]: one for one in (await api.call("GET", "/apis", expect=200)).body["groups"]}
    assert {"apps", "autoscaling", "coordination.k8s.io", "networking.k8s.io", "apiextensions.k8s.io", "conformance.test"} <= set(groups)
    own = groups["conformance.test"]
    assert own["preferredVersion"]["version"] == "v1"
    assert [one["version"] for one in own["versions"]] == ["v1", "v1beta1"]
    single = (await api.call("GET", "/apis/conformance.test", expect=200)).body
    assert (single["kind"], single["preferredVersion"]) == ("APIGroup", own["preferredVersion"])
    assert (await api.call("GET", "/apis/nonsense.test")).code == 404


async def test_resources_of_a_version(api: Driver) -> None:
    found = (await api.call("GET", "/apis/conformance.test/v1", expect=200)).body
    assert (found["kind"], found["groupVersion"]) == ("APIResourceList", "conformance.test/v1")
    entries = {one["name"]: one for one in found["resources"]}
    assert {"widgets", "widgets/status", "widgets/scale", "gadgets"} <= set(entries)
    main = entries["widgets"]
    assert (main["kind"], main["singularName"], main["namespaced"], main["shortNames"]) == ("Widget", "widget", True, ["wdg"])
    assert {"create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"} == set(main["verbs"])
    assert entries["gadgets"]["namespaced"] is False
    assert (entries["widgets/scale"]["kind"], entries["widgets/scale"]["group"]) == ("Scale", "autoscaling")


@pytest.mark.parametrize(
    ("group_version", "plural", "kind", "namespaced", "short"),
    [
        ("v1", "pods", "Pod", True, "po"),
        ("v1", "nodes", "Node", False, "no"),
        ("v1", "services", "Service", True, "svc"),
        ("v1", "endpoints", "Endpoints", True, "ep"),
        ("v1", "configmaps", "ConfigMap", True, "cm"),
        ("apps/v1", "deployments", "Deployment", True, "deploy"),
        ("apps/v1", "daemonsets", "DaemonSet", True, "ds"),
        ("autoscaling/v2", "horizontalpodautoscalers", "HorizontalPodAutoscaler", True, "hpa"),
        ("networking.k8s.io/v1", "ingresses", "Ingress", True, "ing"),
        ("apiextensions.k8s.io/v1", "customresourcedefinitions", "CustomResourceDefinition", False, "crd"),
    ],
)
async def test_built_in_resources(api: Driver, group_version: str, plural: str, kind: str, namespaced: bool, short: str) -> None:
    path = f"/apis/{group_version}" if "/" in group_version else f"/api/{group_version}"
    entries = {one["name"]: one for one in (await api.call("GET", path, expect=200)).body["resources"]}
    found = entries[plural]
    assert (found["kind"], found["namespaced"]) == (kind, namespaced)
    assert short in found["shortNames"]


async def test_aggregated_discovery(api: Driver) -> None:
    answer = await api.call("GET", "/apis", accept=AGGREGATED, expect=200)
    assert "as=APIGroupDiscoveryList" in answer.headers["Content-Type"]
    groups = {one["metadata"]["name"]: one for one in answer.body["items"]}
    version = groups["conformance.test"]["versions"][0]
    resource = next(one for one in version["resources"] if one["resource"] == "widgets")
    assert (resource["scope"], resource["singularResource"]) == ("Namespaced", "widget")
    assert {one["subresource"] for one in resource["subresources"]} == {"scale", "status"}
    core = (await api.call("GET", "/api", accept=AGGREGATED, expect=200)).body
    assert "pods" in {one["resource"] for one in core["items"][0]["versions"][0]["resources"]}


async def test_openapi(api: Driver) -> None:
    paths = (await api.call("GET", "/openapi/v3", expect=200)).body["paths"]
    document = (await api.call("GET", paths["apis/conformance.test/v1"]["serverRelativeURL"], expect=200)).body
    kinds = {
        kind["kind"]: schema
        for schema in document["components"]["schemas"].values()
        for kind in schema.get("x-kubernetes-group-version-kind", [])
    }
    assert kinds["Widget"]["properties"]["spec"]["properties"]["colour"]["type"] == "string"
    operation = document["paths"]["/apis/conformance.test/v1/namespaces/{namespace}/widgets/{name}"]["patch"]
    assert "fieldValidation" in {parameter["name"] for parameter in operation["parameters"]}
    assert (await api.call("GET", "/openapi/v2", expect=200)).body["swagger"] == "2.0"


async def test_scale_of_a_deployment(api: Driver) -> None:
    await api.create("deployments", deployment("d"))
    scale = await api.get("deployments", "d", sub="scale")
    assert (scale["kind"], scale["apiVersion"], scale["spec"], scale["status"]["selector"]) == ("Scale", "autoscaling/v1", {}, "app=d")
    await api.patch("deployments", "d", {"spec": {"paused": True}})
    changed = await api.patch("deployments", "d", {"spec": {"replicas": 2}}, sub="scale", query="?fieldManager=scaler")
    assert changed["spec"] == {"replicas": 2}
    found = await api.get("deployments", "d")
    assert found["spec"]["replicas"] == 2
    assert owners(found, "scaler") == {"f:spec": {"f:replicas": {}}}
    replaced = await api.call("PUT", api.path("deployments", "d", sub="scale"), {**changed, "spec": {"replicas": 0}})
    if replaced.code == 409:  # a controller was faster; the version in the body is stale
        replaced = await api.call("PUT", api.path("deployments", "d", sub="scale"), {"metadata": {"name": "d"}, "spec": {"replicas": 0}})
    assert replaced.code == 200
    negative = await api.call("PATCH", api.path("deployments", "d", sub="scale"), {"spec": {"replicas": -1}}, type=MERGE)
    assert negative.causes == {"spec.replicas": "Invalid value: -1: must be greater than or equal to 0"}


async def test_scale_of_a_custom_kind(api: Driver) -> None:
    await api.create("widgets", widget("w", replicas=2))
    await api.patch("widgets", "w", {"status": {"replicas": 1, "selector": "a=b"}}, sub="status")
    scale = await api.get("widgets", "w", sub="scale")
    assert (scale["spec"], scale["status"]) == ({"replicas": 2}, {"replicas": 1, "selector": "a=b"})
    stale = await api.call(
        "PUT", api.path("widgets", "w", sub="scale"), {"metadata": {"name": "w", "resourceVersion": "1"}, "spec": {"replicas": 3}}
    )
    assert (stale.code, stale.reason) == (409, "Conflict")
    changed = await api.call("PUT", api.path("widgets", "w", sub="scale"), {**scale, "spec": {"replicas": 3}}, expect=200)
    assert changed.body["spec"] == {"replicas": 3}
    found = await api.get("widgets", "w")
    assert (found["spec"]["replicas"], found["metadata"]["generation"]) == (3, 2)
    too_many = await api.call("PATCH", api.path("widgets", "w", sub="scale"), {"spec": {"replicas": 9}}, type=MERGE)
    assert too_many.code == 422


async def test_scale_of_a_kind_without_it(api: Driver) -> None:
    await api.create("configmaps", {"metadata": {"name": "c"}})
    assert (await api.call("GET", api.path("configmaps", "c", sub="scale"))).code == 404


async def test_status_can_be_read_alone(api: Driver) -> None:
    made = await api.create("widgets", widget("w"))
    assert await api.get("widgets", "w", sub="status") == made


async def test_access_review(api: Driver) -> None:
    body = {"spec": {"resourceAttributes": {"verb": "get", "resource": "pods"}}}
    answer = await api.call("POST", "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", body, expect=201)
    assert answer.body["status"]["allowed"] is True
