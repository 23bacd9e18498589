"""Lists: order, selectors, pages, versions, and the forms that Accept asks for."""

import pytest

from tests.conformance.driver import Driver, Object, config_map, deployment, widget

TABLE = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json"
METADATA = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1,application/json"
METADATA_LIST = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1,application/json"


async def names(api: Driver, query: str, resource: str = "widgets") -> list[str]:
    return [one["metadata"]["name"] for one in (await api.list(resource, query))["items"]]


@pytest.fixture
async def five(api: Driver) -> None:
    for index, name in enumerate("dbeac"):
        await api.create("widgets", widget(name, labels={"n": str(index), "half": "low" if index < 2 else "high"}))


async def test_list_is_ordered_and_has_a_version(api: Driver, five: None) -> None:
    found = await api.list("widgets")
    assert (found["kind"], found["apiVersion"]) == ("WidgetList", "conformance.test/v1")
    assert [one["metadata"]["name"] for one in found["items"]] == list("abcde")
    versions = [int(one["metadata"]["resourceVersion"]) for one in found["items"]]
    assert int(found["metadata"]["resourceVersion"]) >= max(versions)
    assert {one["kind"] for one in found["items"]} == {"Widget"}


async def test_items_of_built_in_lists_do_not_repeat_their_kind(api: Driver) -> None:
    await api.create("configmaps", config_map("c"))
    found = await api.list("configmaps", "?fieldSelector=metadata.name%3Dc")
    assert found["kind"] == "ConfigMapList"
    assert "kind" not in found["items"][0]


@pytest.mark.parametrize(
    ("selector", "expected"),
    [
        ("half=low", "bd"),
        ("half==low", "bd"),
        ("half!=low", "ace"),
        ("n in (0,1,9)", "bd"),
        ("n notin (0,1)", "ace"),
        ("half", "abcde"),
        ("!half", ""),
        ("half=high,n!=4", "ae"),
        ("n in (2, 3),half", "ae"),
        ("absent!=x", "abcde"),
        ("absent notin (x)", "abcde"),
        ("n>2", "ac"),
    ],
)
async def test_label_selectors(api: Driver, five: None, selector: str, expected: str) -> None:
    query = "?labelSelector=" + selector.replace("%", "%25").replace("=", "%3D").replace(" ", "%20").replace("!", "%21").replace(">", "%3E")
    assert await names(api, query) == list(expected)


async def test_bad_selectors(api: Driver) -> None:
    answer = await api.call("GET", api.path("widgets") + "?labelSelector=a%20b%20c")
    assert (answer.code, answer.reason) == (400, "BadRequest")
    answer = await api.call("GET", api.path("widgets") + "?fieldSelector=spec.colour%3Dred")
    assert (answer.code, answer.body["message"]) == (400, "field label not supported: spec.colour")
    answer = await api.call("GET", api.path("configmaps") + "?fieldSelector=data.x%3D1")
    assert answer.body["message"] == '"data.x" is not a known field selector: only "metadata.name", "metadata.namespace"'


async def test_field_selectors(api: Driver, five: None) -> None:
    assert await names(api, "?fieldSelector=metadata.name%3Db") == ["b"]
    assert await names(api, "?fieldSelector=metadata.name%21%3Db") == ["a", "c", "d", "e"]
    assert await names(api, f"?fieldSelector=metadata.namespace%3D{api.namespace},metadata.name%3Dc") == ["c"]


async def test_field_selectors_of_pods_and_events(api: Driver) -> None:
    for name in ("p", "q"):
        await api.create(
            "pods", {"metadata": {"name": name}, "spec": {"containers": [{"name": "c", "image": "x"}], "schedulerName": "nobody"}}
        )
        about = {"kind": "Pod", "name": name, "namespace": api.namespace}
        await api.create("events", {"metadata": {"name": f"e-{name}"}, "involvedObject": about, "reason": f"r-{name}", "type": "Normal"})
    await api.patch("pods", "p", {"status": {"phase": "Running"}}, sub="status")
    assert await names(api, "?fieldSelector=status.phase%3DRunning", "pods") == ["p"]
    assert await names(api, "?fieldSelector=status.phase%3DPending", "pods") == ["q"]
    assert await names(api, "?fieldSelector=involvedObject.name%3Dp,involvedObject.kind%3DPod,reason%3Dr-p", "events") == ["e-p"]


async def test_all_namespaces(api: Driver, five: None) -> None:
    path = "/apis/conformance.test/v1/widgets"
    found = (await api.call("GET", f"{path}?fieldSelector=metadata.namespace%3D{api.namespace}", expect=200)).body
    assert len(found["items"]) == 5


async def test_pages(api: Driver, five: None) -> None:
    first = await api.list("widgets", "?limit=2")
    assert first["metadata"]["remainingItemCount"] == 3
    await api.delete("widgets", "d")
    await api.create("widgets", widget("cc"))
    second = await api.list("widgets", f"?limit=2&continue={first['metadata']['continue']}")
    third = await api.list("widgets", f"?limit=2&continue={second['metadata']['continue']}")
    pages = [[one["metadata"]["name"] for one in page["items"]] for page in (first, second, third)]
    assert pages == [["a", "b"], ["c", "d"], ["e"]]  # as the list stood when the first page was read
    assert not third["metadata"].get("continue")
    assert second["metadata"]["resourceVersion"] == first["metadata"]["resourceVersion"]


async def test_pages_with_a_selector_tell_no_count(api: Driver, five: None) -> None:
    page = await api.list("widgets", "?limit=1&labelSelector=half%3Dhigh")
    assert page["metadata"]["continue"]
    assert "remainingItemCount" not in page["metadata"]


async def test_bad_paging(api: Driver) -> None:
    assert (await api.call("GET", api.path("widgets") + "?limit=many")).code == 400
    answer = await api.call("GET", api.path("widgets") + "?limit=1&continue=xx")
    assert answer.code == 400
    assert "continue key is not valid" in answer.body["message"]


async def test_list_at_an_exact_version(api: Driver) -> None:
    made = await api.create("widgets", widget("w"))
    version = made["metadata"]["resourceVersion"]
    await api.patch("widgets", "w", {"spec": {"colour": "blue"}})
    await api.create("widgets", widget("x"))
    old = await api.list("widgets", f"?resourceVersion={version}&resourceVersionMatch=Exact")
    assert old["items"] == [made]
    assert old["metadata"]["resourceVersion"] == version
    for newer in (f"?resourceVersion={version}", f"?resourceVersion={version}&resourceVersionMatch=NotOlderThan", "?resourceVersion=0"):
        assert await names(api, newer) == ["w", "x"]


async def test_versions_that_cannot_be_served(api: Driver) -> None:
    future = await api.call("GET", api.path("widgets") + "?resourceVersion=99999999")
    assert (future.code, future.reason) == (504, "Timeout")
    assert "Too large resource version: 99999999" in future.body["message"]
    assert (await api.call("GET", api.path("widgets") + "?resourceVersion=abc")).code == 400
    assert (await api.call("GET", api.path("widgets") + "?resourceVersionMatch=Exact")).code == 422
    assert (await api.call("GET", api.path("widgets") + "?sendInitialEvents=true")).code == 422


async def test_metadata_only(api: Driver, five: None) -> None:
    found = (await api.call("GET", api.path("widgets"), accept=METADATA_LIST, expect=200)).body
    assert (found["kind"], found["apiVersion"]) == ("PartialObjectMetadataList", "meta.k8s.io/v1")
    assert {tuple(sorted(one)) for one in found["items"]} == {("apiVersion", "kind", "metadata")}
    one = (await api.call("GET", api.path("widgets", "a"), accept=METADATA, expect=200)).body
    assert (one["kind"], one["metadata"]["name"]) == ("PartialObjectMetadata", "a")
    assert "spec" not in one


async def table(api: Driver, path: str) -> tuple[list[str], list[list[object]], Object]:
    found = (await api.call("GET", path, accept=TABLE, expect=200)).body
    assert (found["kind"], found["apiVersion"]) == ("Table", "meta.k8s.io/v1")
    return [column["name"] for column in found["columnDefinitions"]], [row["cells"] for row in found["rows"]], found


async def test_table_of_a_custom_kind(api: Driver) -> None:
    await api.create("widgets", widget("w", replicas=2, tags=["x", "y"]))
    await api.create("widgets", widget("x", colour="blue"))
    conditions = [{"type": "Other", "status": "Maybe"}, {"type": "Ready", "status": "True"}]
    await api.patch("widgets", "w", {"status": {"conditions": conditions}}, sub="status")
    columns, rows, found = await table(api, api.path("widgets"))
    assert columns == ["Name", "Colour", "Ready", "Replicas", "Tags", "Age"]
    assert [column["priority"] for column in found["columnDefinitions"]] == [0, 0, 0, 0, 1, 0]
    assert rows[0][:4] == ["w", "red", "True", 2]
    assert rows[1][:4] == ["x", "blue", None, None]
    assert str(rows[0][5]).endswith("s")
    assert found["rows"][0]["object"]["kind"] == "PartialObjectMetadata"


async def test_table_of_built_in_kinds(api: Driver) -> None:
    await api.create("deployments", deployment("d"))
    columns, rows, _ = await table(api, api.path("deployments"))
    assert columns == ["Name", "Ready", "Up-to-date", "Available", "Age", "Containers", "Images", "Selector"]
    assert rows[0][:4] + rows[0][5:] == ["d", "0/0", 0, 0, "app", "app:1", "app=d"]
    await api.create("services", {"metadata": {"name": "s"}, "spec": {"clusterIP": "None", "ports": [{"port": 80}]}})
    columns, rows, _ = await table(api, api.path("services", "s"))
    assert columns == ["Name", "Type", "Cluster-IP", "External-IP", "Port(s)", "Age", "Selector"]
    assert rows[0][:5] + rows[0][6:] == ["s", "ClusterIP", "None", "<none>", "80/TCP", "<none>"]


async def test_forms_that_nobody_offers(api: Driver) -> None:
    answer = await api.call("GET", api.path("widgets"), accept="text/csv")
    assert answer.code == 406
