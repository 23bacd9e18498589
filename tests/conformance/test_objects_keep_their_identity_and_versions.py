"""Create, read, update: metadata that the server owns, optimistic concurrency, generation, and the errors of bad addresses."""

from tests.conformance.driver import MERGE, Driver, config_map, deployment, owners, widget


async def test_create_answers_201_with_identity(api: Driver) -> None:
    made = await api.create("widgets", widget("w"))
    metadata = made["metadata"]
    assert metadata["namespace"] == api.namespace
    assert len(metadata["uid"]) == 36
    assert metadata["creationTimestamp"].endswith("Z")
    assert metadata["generation"] == 1
    assert int(metadata["resourceVersion"]) > 0
    assert await api.get("widgets", "w") == made


async def test_what_the_server_owns_cannot_be_chosen(api: Driver) -> None:
    obj = config_map("c", uid="mine", creationTimestamp="2001-01-01T00:00:00Z", generation=7, deletionTimestamp="2001-01-01T00:00:00Z")
    metadata = (await api.create("configmaps", obj))["metadata"]
    assert metadata["uid"] != "mine"
    assert not metadata["creationTimestamp"].startswith("2001")
    assert "deletionTimestamp" not in metadata
    assert metadata["generation"] == 7  # kinds that count no generations keep what they are given
    made = await api.create("widgets", {**widget("w"), "metadata": {"name": "w", "generation": 7}})
    assert made["metadata"]["generation"] == 1


async def test_one_version_counter_for_all_kinds(api: Driver) -> None:
    first = await api.create("configmaps", config_map("c"))
    second = await api.create("widgets", widget("w"))
    third = await api.patch("configmaps", "c", {"data": {"a": "1"}})
    versions = [int(one["metadata"]["resourceVersion"]) for one in (first, second, third)]
    assert versions == sorted(set(versions))


async def test_generate_name(api: Driver) -> None:
    made = [await api.create("configmaps", {"metadata": {"generateName": "gen-"}}) for _ in range(2)]
    names = {one["metadata"]["name"] for one in made}
    assert len(names) == 2
    assert all(name.startswith("gen-") and len(name) == 9 for name in names)


async def test_same_name_twice_is_already_exists(api: Driver) -> None:
    await api.create("widgets", widget("w"))
    answer = await api.call("POST", api.path("widgets"), widget("w"))
    assert (answer.code, answer.reason) == (409, "AlreadyExists")
    assert answer.body["message"] == 'widgets.conformance.test "w" already exists'
    assert answer.body["details"] == {"name": "w", "group": "conformance.test", "kind": "widgets"}


async def test_absent_object_is_not_found(api: Driver) -> None:
    for method, body in (("GET", None), ("PUT", widget("none")), ("DELETE", None), ("PATCH", {})):
        answer = await api.call(method, api.path("widgets", "none"), body, type=MERGE if method == "PATCH" else "application/json")
        assert (answer.code, answer.reason) == (404, "NotFound"), method
        assert answer.body["message"] == 'widgets.conformance.test "none" not found'


async def test_unknown_resources_are_not_found(api: Driver) -> None:
    known_group = await api.call("GET", "/apis/apps/v1/nonsense")
    assert (known_group.code, known_group.body["message"]) == (404, "the server could not find the requested resource")
    assert (await api.call("GET", "/apis/nonsense.test/v1/things")).code == 404


async def test_method_that_the_address_does_not_know(api: Driver) -> None:
    answer = await api.call("POST", api.path("configmaps", "x"), {})
    assert (answer.code, answer.reason) == (405, "MethodNotAllowed")


async def test_namespace_of_body_and_address_must_agree(api: Driver) -> None:
    answer = await api.call("POST", api.path("configmaps"), config_map("c", namespace="elsewhere"))
    assert (answer.code, answer.reason) == (400, "BadRequest")
    assert "does not match the namespace sent on the request" in answer.body["message"]


async def test_name_of_body_and_address_must_agree(api: Driver) -> None:
    await api.create("configmaps", config_map("c"))
    answer = await api.call("PUT", api.path("configmaps", "c"), config_map("d"))
    assert answer.code == 400
    assert "the name of the object (d) does not match the name on the URL (c)" in answer.body["message"]


async def test_kind_and_version_of_the_body_must_fit_the_address(api: Driver) -> None:
    wrong_kind = await api.call("POST", api.path("configmaps"), {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "c"}})
    assert wrong_kind.code == 400
    assert 'Secret in version "v1" cannot be handled as a ConfigMap' in wrong_kind.body["message"]
    wrong_version = await api.call("POST", api.path("widgets"), {**widget("w"), "apiVersion": "conformance.test/v9"})
    assert wrong_version.code == 400
    assert "does not match the expected API version (conformance.test/v1)" in wrong_version.body["message"]


async def test_body_that_is_no_json(api: Driver) -> None:
    answer = await api.call("POST", api.path("configmaps"), "{bad")
    assert answer.code == 400
    assert "json parse error" in answer.body["message"]


async def test_content_type_that_nobody_reads(api: Driver) -> None:
    answer = await api.call("POST", api.path("configmaps"), "x", type="text/plain")
    assert (answer.code, answer.reason) == (415, "UnsupportedMediaType")


async def test_missing_namespace(api: Driver) -> None:
    answer = await api.call("POST", api.path("configmaps", namespace="not-there"), config_map("c"))
    assert (answer.code, answer.body["message"]) == (404, 'namespaces "not-there" not found')


async def test_bad_names_and_labels_are_invalid(api: Driver) -> None:
    answer = await api.call("POST", api.path("configmaps"), config_map("Bad_Name", labels={"a b": "c", "x": "y z"}))
    assert (answer.code, answer.reason) == (422, "Invalid")
    assert {"metadata.name", "metadata.labels"} == set(answer.causes)
    unnamed = await api.call("POST", api.path("configmaps"), {"metadata": {}})
    assert unnamed.causes == {"metadata.name": "Required value: name or generateName is required"}


async def test_stale_update_is_a_conflict(api: Driver) -> None:
    old = await api.create("widgets", widget("w"))
    await api.patch("widgets", "w", {"spec": {"colour": "blue"}})
    answer = await api.call("PUT", api.path("widgets", "w"), {**old, "spec": {"colour": "green"}})
    assert (answer.code, answer.reason) == (409, "Conflict")
    assert answer.body["message"].startswith('Operation cannot be fulfilled on widgets.conformance.test "w": the object has been modified')
    assert answer.body["details"] == {"name": "w", "group": "conformance.test", "kind": "widgets"}
    assert (await api.get("widgets", "w"))["spec"]["colour"] == "blue"


async def test_update_of_a_custom_resource_needs_a_version(api: Driver) -> None:
    await api.create("widgets", widget("w"))
    answer = await api.call("PUT", api.path("widgets", "w"), widget("w", colour="blue"))
    assert answer.code == 422
    assert answer.causes == {"metadata.resourceVersion": "Invalid value: 0: must be specified for an update"}


async def test_update_of_a_built_in_kind_may_be_unconditional(api: Driver) -> None:
    await api.create("configmaps", config_map("c", {"a": "1"}))
    updated = await api.call("PUT", api.path("configmaps", "c"), config_map("c", {"b": "2"}), expect=200)
    assert updated.body["data"] == {"b": "2"}
    assert updated.body["metadata"]["namespace"] == api.namespace


async def test_update_of_another_incarnation_is_a_conflict(api: Driver) -> None:
    await api.create("configmaps", config_map("c"))
    answer = await api.call("PUT", api.path("configmaps", "c"), config_map("c", uid="00000000-0000-0000-0000-000000000000"))
    assert (answer.code, answer.reason) == (409, "Conflict")
    assert "Precondition failed: UID in precondition" in answer.body["message"]


async def test_lease_may_be_created_by_update(api: Driver) -> None:
    lease = {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": "l"}, "spec": {"holderIdentity": "a"}}
    await api.call("PUT", api.path("leases", "l"), lease, expect=201)
    assert (await api.get("leases", "l"))["spec"]["holderIdentity"] == "a"


async def test_write_without_change_is_no_write(api: Driver) -> None:
    made = await api.create("widgets", widget("w"))
    assert await api.patch("widgets", "w", {"spec": {"colour": "red"}}) == made
    assert (await api.call("PUT", api.path("widgets", "w"), made, expect=200)).body == made


async def test_generation_counts_spec_only(api: Driver) -> None:
    await api.create("widgets", widget("w"))

    async def generation(patch: dict[str, object], sub: str = "") -> int:
        return int((await api.patch("widgets", "w", patch, sub=sub))["metadata"]["generation"])

    assert await generation({"metadata": {"labels": {"a": "b"}, "annotations": {"a": "b"}}}) == 1
    assert await generation({"status": {"phase": "Used"}}, "status") == 1
    assert await generation({"spec": {"colour": "blue"}}) == 2
    assert await generation({"spec": {"colour": "blue"}}) == 2


async def test_generation_of_deployments_counts_annotations_too(api: Driver) -> None:
    await api.create("deployments", deployment("d"))
    before = (await api.patch("deployments", "d", {"metadata": {"labels": {"a": "b"}}}))["metadata"]["generation"]
    after = (await api.patch("deployments", "d", {"metadata": {"annotations": {"a": "b"}}}))["metadata"]["generation"]
    assert after == before + 1


async def test_status_is_dropped_on_the_main_resource(api: Driver) -> None:
    made = await api.create("widgets", {**widget("w"), "status": {"phase": "Used"}})
    assert "status" not in made
    await api.patch("widgets", "w", {"status": {"phase": "Fresh"}}, sub="status")
    changed = await api.patch("widgets", "w", {"spec": {"colour": "blue"}, "status": {"phase": "Used"}})
    assert (changed["spec"]["colour"], changed["status"]) == ("blue", {"phase": "Fresh"})
    replaced = await api.call(
        "PUT", api.path("widgets", "w"), {key: value for key, value in changed.items() if key != "status"}, expect=200
    )
    assert replaced.body["status"] == {"phase": "Fresh"}


async def test_everything_but_status_is_dropped_on_the_status_resource(api: Driver) -> None:
    await api.create("widgets", widget("w"))
    patch = {"metadata": {"labels": {"a": "b"}, "finalizers": ["x.test/y"]}, "spec": {"colour": "blue"}, "status": {"phase": "Used"}}
    changed = await api.patch("widgets", "w", patch, sub="status")
    assert changed["status"] == {"phase": "Used"}
    assert changed["spec"]["colour"] == "red"
    assert "labels" not in changed["metadata"]
    assert "finalizers" not in changed["metadata"]
    stale = await api.call("PUT", api.path("widgets", "w", sub="status"), {**changed, "metadata": {"name": "w", "resourceVersion": "1"}})
    assert stale.code == 409


async def test_status_of_a_deployment_is_apart_as_well(api: Driver) -> None:
    await api.create("deployments", deployment("d"))
    patch = {"spec": {"replicas": 3}, "status": {"conditions": [{"type": "Custom", "status": "True"}]}}
    changed = await api.patch("deployments", "d", patch, sub="status")
    assert changed["spec"]["replicas"] == 0
    assert "Custom" in [condition["type"] for condition in changed["status"]["conditions"]]


async def test_dry_run_changes_nothing(api: Driver) -> None:
    made = await api.create("widgets", widget("w"), query="?dryRun=All")
    assert made["metadata"]["uid"]
    assert (await api.call("GET", api.path("widgets", "w"))).code == 404
    real = await api.create("widgets", widget("w"))
    shown = await api.patch("widgets", "w", {"spec": {"colour": "blue"}}, query="?dryRun=All")
    assert (shown["spec"]["colour"], shown["metadata"]["generation"]) == ("blue", 2)
    await api.call("DELETE", api.path("widgets", "w") + "?dryRun=All", expect=200)
    assert await api.get("widgets", "w") == real
    assert (await api.call("POST", api.path("widgets") + "?dryRun=Some", widget("x"))).code == 422


async def test_updates_record_who_changed_which_field(api: Driver) -> None:
    made = await api.create("widgets", widget("w", replicas=1), query="?fieldManager=maker")
    assert owners(made, "maker", operation="Update")["f:spec"]["f:replicas"] == {}
    changed = await api.patch("widgets", "w", {"spec": {"replicas": 2}}, query="?fieldManager=scaler")
    assert owners(changed, "scaler") == {"f:spec": {"f:replicas": {}}}
    assert "f:replicas" not in owners(changed, "maker")["f:spec"]


async def test_manager_defaults_to_the_name_of_the_client(api: Driver) -> None:
    made = await api.create("configmaps", config_map("c", {"a": "1"}))
    assert owners(made, "conformance") == {"f:data": {".": {}, "f:a": {}}}


async def test_managed_fields_can_be_reset(api: Driver) -> None:
    await api.create("configmaps", config_map("c", {"a": "1"}))
    changed = await api.patch("configmaps", "c", {"metadata": {"managedFields": [{}]}})
    assert "managedFields" not in changed["metadata"]
