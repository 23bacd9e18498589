"""Structural schemas of custom kinds: pruning, defaults, validation, several versions."""

import pytest

from tests.conformance.driver import APPLY, MERGE, Driver, Object, widget


async def test_unknown_fields_are_pruned(api: Driver) -> None:
    obj = widget("w", nonsense=1, choice={"left": "1", "middle": "2"}, free={"anything": {"goes": [1]}})
    answer = await api.call("POST", api.path("widgets"), {**obj, "extra": 1}, expect=201)
    assert answer.body["spec"]["choice"] == {"left": "1"}
    assert answer.body["spec"]["free"] == {"anything": {"goes": [1]}}
    assert "nonsense" not in answer.body["spec"]
    assert "extra" not in answer.body
    warnings = answer.headers.getall("Warning")
    assert warnings == [f'299 - "unknown field \\"{path}\\""' for path in ("extra", "spec.choice.middle", "spec.nonsense")]


async def test_strict_requests_refuse_them(api: Driver) -> None:
    answer = await api.call("POST", api.path("widgets") + "?fieldValidation=Strict", widget("w", nonsense=1))
    assert answer.code == 400
    assert 'unknown field "spec.nonsense"' in answer.body["message"]


async def test_defaults_fill_in_at_every_depth(api: Driver) -> None:
    spec = (await api.create("widgets", widget("w", ports=[{"name": "a"}], limits={"low": 1})))["spec"]
    assert spec["paused"] is False
    assert spec["limits"] == {"low": 1, "high": 10}
    assert spec["ports"] == [{"name": "a", "protocol": "TCP"}]
    bare = (await api.create("widgets", widget("x")))["spec"]
    assert bare["limits"] == {"high": 10}
    assert "ports" not in bare


async def test_null_is_dropped_defaulted_or_kept(api: Driver) -> None:
    spec = (await api.create("widgets", widget("w", code=None, paused=None, note=None, free={"a": None})))["spec"]
    assert "code" not in spec
    assert spec["paused"] is False
    assert spec["note"] is None
    assert spec["free"] == {"a": None}


@pytest.mark.parametrize(
    ("spec", "field", "message"),
    [
        ({"colour": "pink"}, "spec.colour", 'Unsupported value: "pink": supported values: "red", "green", "blue"'),
        ({"code": "a"}, "spec.code", 'Invalid value: "a": spec.code in body should be at least 2 chars long'),
        ({"code": "abcde"}, "spec.code", "Too long: may not be more than 4 bytes"),
        ({"code": "AB"}, "spec.code", "Invalid value: \"AB\": spec.code in body should match '^[a-z]+$'"),
        ({"replicas": 9}, "spec.replicas", "Invalid value: 9: spec.replicas in body should be less than or equal to 5"),
        ({"steps": [7]}, "spec.steps[0]", "Invalid value: 7: spec.steps[0] in body should be less than or equal to 5"),
        ({"steps": [-1]}, "spec.steps[0]", "Invalid value: -1: spec.steps[0] in body should be greater than or equal to 0"),
        ({"ratio": 0}, "spec.ratio", "Invalid value: 0: spec.ratio in body should be greater than 0"),
        ({"ratio": "x"}, "spec.ratio", 'Invalid value: "string": spec.ratio in body must be of type number: "string"'),
        ({"paused": "x"}, "spec.paused", 'Invalid value: "string": spec.paused in body must be of type boolean: "string"'),
        ({"tags": ["a", "b", "c", "d"]}, "spec.tags", "Too many: 4: must have at most 3 items"),
        ({"tags": ["a", "a"]}, "spec.tags[1]", 'Duplicate value: "a"'),
        ({"steps": [1, "x"]}, "spec.steps[1]", 'Invalid value: "string": spec.steps[1] in body must be of type integer: "string"'),
        ({"steps": [None]}, "spec.steps[0]", 'Invalid value: "null": spec.steps[0] in body must be of type integer: "null"'),
        ({"ports": [{"port": 1}]}, "spec.ports[0].name", "Required value"),
        ({"ports": [{"name": "a"}, {"name": "a"}]}, "spec.ports[1]", 'Duplicate value: {"name":"a"}'),
        ({"limit": 1.5}, "spec.limit", 'Invalid value: "number": spec.limit in body must be of type integer,string: "number"'),
        ({"table": {"a": 1}}, "spec.table.a", 'Invalid value: "integer": spec.table.a in body must be of type string: "integer"'),
        ({"choice": {"left": "1", "right": "2"}}, "<nil>", 'Invalid value: "": "spec.choice" must validate one and only one schema (oneOf). Found 2 valid alternatives'),
    ],
)  # fmt: skip
async def test_validation(api: Driver, spec: Object, field: str, message: str) -> None:
    answer = await api.call("POST", api.path("widgets"), widget("w", **spec))
    assert (answer.code, answer.reason) == (422, "Invalid"), answer.body
    assert answer.causes == {field: message}
    assert answer.body["message"] == f'Widget.conformance.test "w" is invalid: {field}: {message}'
    assert answer.body["details"]["kind"] == "Widget"


@pytest.mark.parametrize("limit", [5, "5", "5%"])
async def test_int_or_string(api: Driver, limit: object) -> None:
    assert (await api.create("widgets", widget("w", limit=limit)))["spec"]["limit"] == limit


async def test_required_at_the_top(api: Driver) -> None:
    answer = await api.call("POST", api.path("widgets"), {"apiVersion": "conformance.test/v1", "kind": "Widget", "metadata": {"name": "w"}})
    assert answer.causes == {"spec": "Required value"}


async def test_scaled_kinds_have_no_negative_replicas(api: Driver) -> None:
    answer = await api.call("POST", api.path("widgets"), widget("w", replicas=-1))
    assert answer.causes == {
        "spec.replicas": "Invalid value: -1: spec.replicas in body should be greater than or equal to 0",
        ".spec.replicas": "Invalid value: -1: should be a non-negative integer",
    }


async def test_every_violation_is_reported(api: Driver) -> None:
    answer = await api.call("POST", api.path("widgets"), widget("w", colour="pink", replicas=9, code="A"))
    assert set(answer.causes) == {"spec.colour", "spec.replicas", "spec.code"}
    assert answer.body["message"].startswith('Widget.conformance.test "w" is invalid: [')


async def test_status_is_validated_too(api: Driver) -> None:
    await api.create("widgets", widget("w"))
    answer = await api.call("PATCH", api.path("widgets", "w", sub="status"), {"status": {"phase": "Old", "nonsense": 1}}, type=MERGE)
    assert answer.causes == {"status.phase": 'Unsupported value: "Old": supported values: "Fresh", "Used"'}
    fine = await api.patch("widgets", "w", {"status": {"phase": "Used", "nonsense": 1}}, sub="status")
    assert fine["status"] == {"phase": "Used"}


async def test_cluster_scoped_kind_in_two_versions(api: Driver) -> None:
    name = f"g-{api.namespace}"
    body = {"apiVersion": "conformance.test/v1", "kind": "Gadget", "metadata": {"name": name}, "anything": {"goes": True}}
    made = await api.create("gadgets", body)
    assert "namespace" not in made["metadata"]
    beta = f"/apis/conformance.test/v1beta1/gadgets/{name}"
    shown = (await api.call("GET", beta, expect=200)).body
    assert shown == {**made, "apiVersion": "conformance.test/v1beta1"}
    await api.call("PATCH", beta, {"anything": {"goes": False}}, type=MERGE, expect=200)
    assert (await api.get("gadgets", name))["anything"] == {"goes": False}
    await api.delete("gadgets", name)


async def test_status_is_an_ordinary_field_without_its_subresource(api: Driver) -> None:
    name = f"s-{api.namespace}"
    body = {"apiVersion": "conformance.test/v1", "kind": "Gadget", "metadata": {"name": name}, "status": {"a": 1}}
    made = await api.create("gadgets", body)
    assert made["status"] == {"a": 1}
    changed = await api.patch("gadgets", name, {"status": {"a": 2}})
    assert (changed["status"], changed["metadata"]["generation"]) == ({"a": 2}, 2)
    assert (await api.call("GET", api.path("gadgets", name, sub="status"))).code == 404
    await api.delete("gadgets", name)


async def test_crd_is_served_and_established(api: Driver) -> None:
    definition = await api.get("customresourcedefinitions", "widgets.conformance.test")
    conditions = {one["type"]: one["status"] for one in definition["status"]["conditions"]}
    assert conditions["Established"] == conditions["NamesAccepted"] == "True"
    assert definition["status"]["storedVersions"] == ["v1"]
    assert definition["status"]["acceptedNames"]["plural"] == "widgets"
    assert definition["spec"]["conversion"] == {"strategy": "None"}


async def test_bad_definitions_are_refused(api: Driver) -> None:
    def definition(**spec: object) -> Object:
        version = {"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": {"type": "object"}}}
        base = {"group": "conformance.test", "scope": "Cluster", "names": {"plural": "bads", "kind": "Bad"}, "versions": [version]}
        return {"metadata": {"name": "bads.conformance.test"}, "spec": {**base, **spec}}

    async def refused(obj: Object) -> set[str]:
        answer = await api.call("POST", api.path("customresourcedefinitions"), obj)
        assert answer.code == 422, answer.body
        return set(answer.causes)

    misnamed = definition()
    misnamed["metadata"]["name"] = "other.conformance.test"
    assert await refused(misnamed) == {"metadata.name"}
    assert await refused(definition(versions=[{"name": "v1", "served": True, "storage": True}])) == {
        "spec.versions[0].schema.openAPIV3Schema"
    }
    unscoped = await refused(definition(scope=None))
    assert "spec.scope" in unscoped


async def test_strictly_applied_object_is_validated(api: Driver) -> None:
    answer = await api.call("PATCH", api.path("widgets", "w") + "?fieldManager=one", widget("w", colour="pink"), type=APPLY)
    assert (answer.code, set(answer.causes)) == (422, {"spec.colour"})


async def test_new_default_shows_in_stored_objects(api: Driver) -> None:
    plural = "grown" + api.namespace.replace("-", "")
    schema = {"type": "object", "properties": {"spec": {"type": "object", "properties": {"a": {"type": "string"}}}}}
    version = {"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": schema}}
    name = f"{plural}.conformance.test"
    names = {"plural": plural, "kind": plural.capitalize()}
    await api.create(
        "customresourcedefinitions",
        {"metadata": {"name": name}, "spec": {"group": "conformance.test", "scope": "Cluster", "names": names, "versions": [version]}},
    )
    path = f"/apis/conformance.test/v1/{plural}"

    async def served() -> bool:
        return (await api.call("GET", path)).code == 200

    await api.eventually("the kind being served", served)
    body = {"apiVersion": "conformance.test/v1", "kind": names["kind"], "metadata": {"name": "x"}, "spec": {"a": "1", "b": "2"}}
    made = (await api.call("POST", path, body, expect=201)).body
    assert made["spec"] == {"a": "1"}
    schema["properties"]["spec"]["properties"]["b"] = {"type": "string", "default": "new"}  # type: ignore[index]
    await api.patch("customresourcedefinitions", name, {"spec": {"versions": [version]}})

    async def defaulted() -> bool:
        found = await api.call("GET", f"{path}/x")
        return (
            found.code == 200
            and found.body["spec"] == {"a": "1", "b": "new"}
            and found.body["metadata"]["resourceVersion"] == made["metadata"]["resourceVersion"]
        )

    await api.eventually("the new default", defaulted)
    await api.delete("customresourcedefinitions", name)
