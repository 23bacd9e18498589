"""JSON patch, merge patch and strategic merge patch."""

from tests.conformance.driver import JSON_PATCH, MERGE, STRATEGIC, Driver, config_map, deployment, widget


async def test_merge_patch_merges_objects_replaces_lists_and_deletes_by_null(api: Driver) -> None:
    await api.create("widgets", widget("w", steps=[1, 2], table={"a": "1", "b": "2"}, replicas=1))
    changed = await api.patch("widgets", "w", {"spec": {"steps": [3], "table": {"a": None, "c": "3"}, "replicas": None}})
    assert changed["spec"]["steps"] == [3]
    assert changed["spec"]["table"] == {"b": "2", "c": "3"}
    assert "replicas" not in changed["spec"]


async def test_json_patch_operations(api: Driver) -> None:
    await api.create("widgets", widget("w", steps=[1, 2, 3], table={"a/b": "1", "x": "2"}))
    operations = [
        {"op": "test", "path": "/spec/colour", "value": "red"},
        {"op": "replace", "path": "/spec/colour", "value": "blue"},
        {"op": "add", "path": "/spec/steps/-", "value": 4},
        {"op": "add", "path": "/spec/steps/0", "value": 0},
        {"op": "remove", "path": "/spec/steps/1"},
        {"op": "move", "from": "/spec/table/x", "path": "/spec/table/y"},
        {"op": "copy", "from": "/spec/table/a~1b", "path": "/spec/table/z"},
    ]
    spec = (await api.patch("widgets", "w", operations, form=JSON_PATCH))["spec"]
    assert (spec["colour"], spec["steps"], spec["table"]) == ("blue", [0, 2, 3, 4], {"a/b": "1", "y": "2", "z": "1"})


async def test_json_patch_that_does_not_fit_changes_nothing(api: Driver) -> None:
    before = await api.create("widgets", widget("w", steps=[1]))
    for operation in (
        {"op": "test", "path": "/metadata/resourceVersion", "value": "1"},
        {"op": "remove", "path": "/spec/code"},
        {"op": "add", "path": "/spec/table/a", "value": "1"},
        {"op": "add", "path": "/spec/steps/7", "value": 1},
    ):
        operations = [{"op": "replace", "path": "/spec/colour", "value": "blue"}, operation]
        answer = await api.call("PATCH", api.path("widgets", "w"), operations, type=JSON_PATCH)
        assert (answer.code, answer.reason) == (422, "Invalid"), operation
    assert await api.get("widgets", "w") == before


async def test_patch_with_a_version_is_compare_and_set(api: Driver) -> None:
    made = await api.create("widgets", widget("w"))
    version = made["metadata"]["resourceVersion"]
    await api.patch("widgets", "w", {"metadata": {"resourceVersion": version}, "spec": {"colour": "blue"}})
    answer = await api.call(
        "PATCH", api.path("widgets", "w"), {"metadata": {"resourceVersion": version}, "spec": {"colour": "green"}}, type=MERGE
    )
    assert (answer.code, answer.reason) == (409, "Conflict")


async def test_patch_cannot_rename_or_change_identity(api: Driver) -> None:
    await api.create("widgets", widget("w"))
    renamed = await api.call("PATCH", api.path("widgets", "w"), {"metadata": {"name": "v"}}, type=MERGE)
    assert renamed.code == 400
    other = await api.call("PATCH", api.path("widgets", "w"), {"metadata": {"uid": "1"}}, type=MERGE)
    assert other.causes == {"metadata.uid": 'Invalid value: "1": field is immutable'}


async def test_patch_of_the_wrong_shape(api: Driver) -> None:
    await api.create("widgets", widget("w"))
    for form, body in ((JSON_PATCH, {"op": "add"}), (MERGE, [1]), (MERGE, "{bad")):
        answer = await api.call("PATCH", api.path("widgets", "w"), body, type=form)
        assert answer.code == 400, form
        assert "error decoding patch" in answer.body["message"]


async def test_strategic_patch_is_for_built_in_kinds(api: Driver) -> None:
    await api.create("widgets", widget("w"))
    answer = await api.call("PATCH", api.path("widgets", "w"), {"spec": {}}, type=STRATEGIC)
    assert (answer.code, answer.reason) == (415, "UnsupportedMediaType")


async def test_strategic_patch_merges_lists_by_key(api: Driver) -> None:
    await api.create(
        "deployments", deployment("d", env=[{"name": "A", "value": "1"}, {"name": "B", "value": "2"}], ports=[{"containerPort": 80}])
    )
    container = {
        "name": "app",
        "image": "app:2",
        "env": [{"name": "B", "value": "3"}, {"name": "C", "value": "4"}],
        "ports": [{"containerPort": 81}],
    }
    patch = {"spec": {"template": {"spec": {"containers": [container, {"name": "side", "image": "side:1"}]}}}}
    spec = (await api.patch("deployments", "d", patch, form=STRATEGIC))["spec"]["template"]["spec"]
    assert [one["name"] for one in spec["containers"]] == ["app", "side"]
    app = spec["containers"][0]
    assert app["image"] == "app:2"
    assert {one["name"]: one["value"] for one in app["env"]} == {"A": "1", "B": "3", "C": "4"}
    assert {one["containerPort"] for one in app["ports"]} == {80, 81}


async def test_strategic_directives(api: Driver) -> None:
    obj = deployment("d", env=[{"name": "A", "value": "1"}, {"name": "B", "value": "2"}], command=["a"])
    obj["metadata"]["finalizers"] = ["a.test/x", "a.test/y"]
    await api.create("deployments", obj)
    container = {
        "name": "app",
        "env": [{"name": "A", "$patch": "delete"}, {"name": "C", "value": "3"}],
        "$setElementOrder/env": [{"name": "C"}, {"name": "B"}],
        "command": ["b", "c"],
    }
    patch = {
        "metadata": {"finalizers": ["a.test/z"], "$deleteFromPrimitiveList/finalizers": ["a.test/x"]},
        "spec": {"strategy": {"$retainKeys": ["type"], "type": "Recreate"}, "template": {"spec": {"containers": [container]}}},
    }
    changed = await api.patch("deployments", "d", patch, form=STRATEGIC)
    assert sorted(changed["metadata"]["finalizers"]) == ["a.test/y", "a.test/z"]
    assert changed["spec"]["strategy"] == {"type": "Recreate"}
    app = changed["spec"]["template"]["spec"]["containers"][0]
    assert [one["name"] for one in app["env"]] == ["C", "B"]
    assert app["command"] == ["b", "c"]
    await api.patch("deployments", "d", {"metadata": {"finalizers": None}})


async def test_strategic_replace(api: Driver) -> None:
    await api.create("deployments", deployment("d", env=[{"name": "A", "value": "1"}]))
    container = {"name": "app", "env": [{"$patch": "replace"}, {"name": "B", "value": "2"}]}
    patch = {"spec": {"template": {"spec": {"containers": [container]}}}}
    changed = await api.patch("deployments", "d", patch, form=STRATEGIC)
    assert changed["spec"]["template"]["spec"]["containers"][0]["env"] == [{"name": "B", "value": "2"}]


async def test_strategic_patch_merges_conditions_by_type(api: Driver) -> None:
    await api.create("deployments", deployment("d"))
    for kind in ("One", "Two", "One"):
        condition = {"type": kind, "status": "True", "reason": "R", "message": "m"}
        changed = await api.patch("deployments", "d", {"status": {"conditions": [condition]}}, form=STRATEGIC, sub="status")
    mine = [one["type"] for one in changed["status"]["conditions"] if one["type"] in ("One", "Two")]
    assert sorted(mine) == ["One", "Two"]


async def test_strategic_item_without_its_key(api: Driver) -> None:
    await api.create("deployments", deployment("d"))
    patch = {"spec": {"template": {"spec": {"containers": [{"image": "x"}]}}}}
    answer = await api.call("PATCH", api.path("deployments", "d"), patch, type=STRATEGIC)
    assert answer.code == 500
    assert "does not contain declared merge key: name" in answer.body["message"]


async def test_force_is_for_apply(api: Driver) -> None:
    await api.create("configmaps", config_map("c"))
    answer = await api.call("PATCH", api.path("configmaps", "c") + "?force=true", {"data": {"a": "1"}}, type=MERGE)
    assert answer.causes == {"force": "Forbidden: may not be specified for non-apply patch"}


async def test_invalid_result_of_a_patch_is_refused(api: Driver) -> None:
    await api.create("widgets", widget("w"))
    answer = await api.call("PATCH", api.path("widgets", "w"), {"spec": {"colour": "pink"}}, type=MERGE)
    assert answer.causes == {"spec.colour": 'Unsupported value: "pink": supported values: "red", "green", "blue"'}
    wrong_type = await api.call("PATCH", api.path("configmaps", "none"), {"data": {"a": 1}}, type=MERGE)
    assert wrong_type.code == 404
    await api.create("configmaps", config_map("c"))
    wrong_type = await api.call("PATCH", api.path("configmaps", "c"), {"data": {"a": 1}}, type=MERGE)
    assert wrong_type.code == 422
    assert "cannot unmarshal" in wrong_type.body["message"]
