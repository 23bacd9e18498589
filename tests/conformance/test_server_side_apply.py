"""Server-side apply: creation, ownership, conflicts, removal, list keys, and its limits."""

from tests.conformance.driver import APPLY, Driver, Object, config_map, deployment, owners, widget


async def test_apply_creates_what_is_absent(api: Driver) -> None:
    made = await api.apply("widgets", widget("w", replicas=1), manager="one")
    assert made.code == 201
    assert made.body["metadata"]["uid"]
    assert owners(made.body, "one", operation="Apply") == {"f:spec": {"f:colour": {}, "f:replicas": {}}}
    again = await api.apply("widgets", widget("w", replicas=1), manager="one")
    assert (again.code, again.body) == (200, made.body)


async def test_apply_needs_a_manager_and_a_kind(api: Driver) -> None:
    answer = await api.call("PATCH", api.path("configmaps", "c"), config_map("c"), type=APPLY)
    assert answer.causes == {"fieldManager": "Required value: is required for apply patch"}
    untyped = await api.call("PATCH", api.path("configmaps", "c") + "?fieldManager=one", {"metadata": {"name": "c"}}, type=APPLY)
    assert (untyped.code, untyped.reason) == (400, "BadRequest")


async def test_apply_takes_yaml(api: Driver) -> None:
    text = "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: c\ndata:\n  a: |\n    one\n    two\n"
    answer = await api.call("PATCH", api.path("configmaps", "c") + "?fieldManager=one", text, type=APPLY, expect=201)
    assert answer.body["data"] == {"a": "one\ntwo\n"}
    broken = await api.call("PATCH", api.path("configmaps", "c") + "?fieldManager=one", "a: [", type=APPLY)
    assert broken.code == 400


async def test_conflict_names_manager_and_fields(api: Driver) -> None:
    await api.apply("configmaps", config_map("c", {"x": "1", "y": "1"}), manager="one")
    single = await api.apply("configmaps", config_map("c", {"x": "2"}), manager="two")
    assert (single.code, single.reason) == (409, "Conflict")
    assert single.body["message"] == 'Apply failed with 1 conflict: conflict with "one": .data.x'
    assert single.body["details"]["causes"] == [{"reason": "FieldManagerConflict", "message": 'conflict with "one"', "field": ".data.x"}]
    several = await api.apply("configmaps", config_map("c", {"x": "2", "y": "2"}), manager="two")
    assert several.body["message"] == 'Apply failed with 2 conflicts: conflicts with "one":\n- .data.x\n- .data.y'


async def test_conflict_with_an_updater_names_its_version(api: Driver) -> None:
    await api.create("configmaps", config_map("c", {"x": "1"}), query="?fieldManager=maker")
    answer = await api.apply("configmaps", config_map("c", {"x": "2"}), manager="one")
    assert answer.body["message"] == 'Apply failed with 1 conflict: conflict with "maker" using v1: .data.x'


async def test_same_value_is_shared_and_force_takes(api: Driver) -> None:
    await api.apply("configmaps", config_map("c", {"x": "1", "y": "1"}), manager="one")
    shared = await api.apply("configmaps", config_map("c", {"x": "1"}), manager="two")
    assert shared.code == 200
    assert "f:x" in owners(shared.body, "one")["f:data"]
    assert "f:x" in owners(shared.body, "two")["f:data"]
    taken = await api.apply("configmaps", config_map("c", {"x": "2"}), manager="two", force=True)
    assert taken.body["data"] == {"x": "2", "y": "1"}
    assert owners(taken.body, "one") == {"f:data": {"f:y": {}}}


async def test_what_is_no_longer_applied_goes(api: Driver) -> None:
    await api.apply("configmaps", config_map("c", {"x": "1", "y": "1"}, labels={"a": "1"}), manager="one")
    await api.patch("configmaps", "c", {"data": {"z": "1"}}, query="?fieldManager=editor")
    answer = await api.apply(
        "configmaps", {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c"}, "data": {"x": "1"}}, manager="one"
    )
    assert answer.body["data"] == {"x": "1", "z": "1"}
    assert "labels" not in answer.body["metadata"] or not answer.body["metadata"]["labels"]


async def test_what_another_manager_applies_too_stays(api: Driver) -> None:
    await api.apply("configmaps", config_map("c", {"x": "1", "y": "1"}), manager="one")
    await api.apply("configmaps", config_map("c", {"x": "1"}), manager="two")
    answer = await api.apply("configmaps", config_map("c", {"y": "1"}), manager="one")
    assert answer.body["data"] == {"x": "1", "y": "1"}


async def test_removed_field_gets_its_default_back(api: Driver) -> None:
    await api.apply("deployments", deployment("d", replicas=0), manager="one")
    obj = deployment("d", replicas=0)
    obj["spec"]["revisionHistoryLimit"] = 3
    assert (await api.apply("deployments", obj, manager="one")).body["spec"]["revisionHistoryLimit"] == 3
    answer = await api.apply("deployments", deployment("d", replicas=0), manager="one")
    assert answer.body["spec"]["revisionHistoryLimit"] == 10


async def test_update_takes_a_field_without_asking(api: Driver) -> None:
    await api.apply("widgets", widget("w", replicas=1), manager="one")
    changed = await api.patch("widgets", "w", {"spec": {"replicas": 2}}, query="?fieldManager=scaler")
    assert "f:replicas" not in owners(changed, "one")["f:spec"]
    answer = await api.apply("widgets", widget("w", replicas=1), manager="one")
    assert answer.code == 409
    without = await api.apply("widgets", widget("w"), manager="one")
    assert without.body["spec"]["replicas"] == 2


async def test_lists_with_keys_merge_by_key(api: Driver) -> None:
    await api.apply("widgets", widget("w", ports=[{"name": "a", "port": 1}, {"name": "b", "port": 2}]), manager="one")
    answer = await api.apply("widgets", widget("w", ports=[{"name": "c", "port": 3}]), manager="two")
    assert [port["name"] for port in answer.body["spec"]["ports"]] == ["a", "b", "c"]
    assert owners(answer.body, "two")["f:spec"]["f:ports"] == {'k:{"name":"c"}': {".": {}, "f:name": {}, "f:port": {}}}
    answer = await api.apply("widgets", widget("w", ports=[{"name": "b", "port": 2}]), manager="one")
    assert [port["name"] for port in answer.body["spec"]["ports"]] == ["b", "c"]


async def test_sets_are_owned_by_value(api: Driver) -> None:
    await api.apply("widgets", widget("w", tags=["x"]), manager="one")
    answer = await api.apply("widgets", widget("w", tags=["y"]), manager="two")
    assert answer.body["spec"]["tags"] == ["x", "y"]
    assert owners(answer.body, "two")["f:spec"]["f:tags"] == {'v:"y"': {}}
    answer = await api.apply("widgets", widget("w"), manager="one")
    assert answer.body["spec"]["tags"] == ["y"]


async def test_plain_lists_and_atomic_maps_are_owned_whole(api: Driver) -> None:
    await api.apply("widgets", widget("w", steps=[1], sealed={"a": "1"}), manager="one")
    steps = await api.apply("widgets", widget("w", steps=[1, 2]), manager="two")
    assert steps.body["message"] == 'Apply failed with 1 conflict: conflict with "one": .spec.steps'
    sealed = await api.apply("widgets", widget("w", sealed={"b": "1"}), manager="two", force=True)
    assert sealed.body["spec"]["sealed"] == {"b": "1"}
    assert "f:sealed" not in owners(sealed.body, "one")["f:spec"]


async def test_free_form_fields_merge_key_by_key(api: Driver) -> None:
    await api.apply("widgets", widget("w", free={"a": {"x": 1}}), manager="one")
    answer = await api.apply("widgets", widget("w", free={"a": {"y": 1}}), manager="two")
    assert answer.body["spec"]["free"] == {"a": {"x": 1, "y": 1}}


async def test_containers_and_ports_of_deployments_merge_by_key(api: Driver) -> None:
    await api.apply("deployments", deployment("d", ports=[{"containerPort": 80}]), manager="one")
    side: Object = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "d"}}
    side["spec"] = {
        "template": {"spec": {"containers": [{"name": "side", "image": "s:1"}, {"name": "app", "ports": [{"containerPort": 81}]}]}}
    }
    answer = await api.apply("deployments", side, manager="two")
    assert answer.code == 200, answer.body
    containers = {one["name"]: one for one in answer.body["spec"]["template"]["spec"]["containers"]}
    assert set(containers) == {"app", "side"}
    assert {port["containerPort"] for port in containers["app"]["ports"]} == {80, 81}
    image = deployment("d", image="app:2")
    refused = await api.apply("deployments", image, manager="two")
    assert '.spec.template.spec.containers[name="app"].image' in refused.causes


async def test_status_is_not_applied_on_the_main_resource(api: Driver) -> None:
    answer = await api.apply("widgets", {**widget("w"), "status": {"phase": "Used"}}, manager="one")
    assert "status" not in answer.body
    assert "f:status" not in owners(answer.body, "one")


async def test_status_is_applied_on_its_subresource(api: Driver) -> None:
    await api.apply("widgets", widget("w"), manager="one")
    condition = {"type": "Ready", "status": "True"}
    answer = await api.apply(
        "widgets", {**widget("w", colour="blue"), "status": {"phase": "Used", "conditions": [condition]}}, manager="one", sub="status"
    )
    assert answer.body["spec"]["colour"] == "red"
    assert answer.body["status"]["conditions"] == [condition]
    entries = [(entry["operation"], entry.get("subresource", "")) for entry in answer.body["metadata"]["managedFields"]]
    assert sorted(entries) == [("Apply", ""), ("Apply", "status")]
    absent = await api.apply("widgets", {**widget("none"), "status": {}}, manager="one", sub="status")
    assert absent.code == 404


async def test_apply_with_a_version_is_compare_and_set(api: Driver) -> None:
    made = await api.apply("configmaps", config_map("c", {"x": "1"}), manager="one")
    await api.patch("configmaps", "c", {"data": {"y": "1"}})
    stale = config_map("c", {"x": "2"}, resourceVersion=made.body["metadata"]["resourceVersion"])
    answer = await api.apply("configmaps", stale, manager="one")
    assert (answer.code, answer.reason) == (409, "Conflict")
    assert "the object has been modified" in answer.body["message"]


async def test_fields_that_the_schema_does_not_know_cannot_be_applied(api: Driver) -> None:
    answer = await api.apply("widgets", widget("w", nonsense=1), manager="one")
    assert answer.code == 500
    assert ".spec.nonsense: field not declared in schema" in answer.body["message"]


async def test_managed_fields_cannot_be_applied(api: Driver) -> None:
    answer = await api.apply("configmaps", config_map("c", managedFields=[]), manager="one")
    assert (answer.code, answer.body["message"]) == (400, "metadata.managedFields must be nil")


async def test_apply_dry_run(api: Driver) -> None:
    query = "?fieldManager=one&dryRun=All"
    await api.call("PATCH", api.path("configmaps", "c") + query, config_map("c"), type=APPLY, expect=201)
    assert (await api.call("GET", api.path("configmaps", "c"))).code == 404
