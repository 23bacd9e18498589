"""Schemas on their own: identity of what does not change, idempotence, and every CRD of the meshes."""

from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from canary.sandbox.schema import Schema
from canary.sandbox.schema_nodes import go_pattern
from canary.sandbox.server import ApiServer
from tests.conformance.driver import DEFINITIONS
from tests.testbed.thirdparty import third_party_crds

pytestmark = pytest.mark.slow

WIDGETS = Schema(DEFINITIONS[0]["spec"]["versions"][0]["schema"]["openAPIV3Schema"])

json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.text("ab", max_size=3),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["a", "name", "port", "colour", "limits", "low", "free", "tags"]), inner, max_size=4)
    ),
    max_leaves=12,
)


def test_good_object_passes_through_untouched() -> None:
    obj = {
        "apiVersion": "x/v1",
        "kind": "Widget",
        "metadata": {"name": "w"},
        "spec": {"colour": "red", "paused": True, "limits": {"high": 1}},
    }
    assert WIDGETS.prune(obj) is obj
    assert WIDGETS.default(obj) is obj
    assert WIDGETS.validate(obj) == []


def test_type_and_metadata_are_never_pruned() -> None:
    obj = {"apiVersion": "x/v1", "kind": "Widget", "metadata": {"name": "w", "anything": 1}, "extra": 1}
    assert WIDGETS.prune(obj) == {"apiVersion": "x/v1", "kind": "Widget", "metadata": {"name": "w", "anything": 1}}


def test_violations_are_pairs_of_path_and_message() -> None:
    [(path, message)] = WIDGETS.validate({"spec": {"colour": "pink"}})
    assert (path, message) == ("spec.colour", 'Unsupported value: "pink": supported values: "red", "green", "blue"')


def test_unknown_names_what_prune_drops() -> None:
    obj = {"spec": {"colour": "red", "x": 1, "ports": [{"name": "a", "y": 1}]}, "z": 1}
    assert sorted(WIDGETS.unknown(obj)) == ["spec.ports[0].y", "spec.x", "z"]


@given(json_values)
def test_pruning_and_defaulting_are_idempotent_and_leave_their_argument_alone(value: Any) -> None:
    obj = {"spec": value}
    before = repr(obj)
    pruned = WIDGETS.prune(obj)
    assert WIDGETS.prune(pruned) is pruned
    done = WIDGETS.default(pruned)
    assert WIDGETS.default(done) is done
    assert WIDGETS.prune(done) is done
    assert WIDGETS.unknown(done) == []
    WIDGETS.validate(done)
    assert repr(obj) == before


@given(json_values)
def test_what_is_known_is_not_looked_at_again(value: Any) -> None:
    obj = {"spec": value, "status": {"phase": "Old"}}
    assert WIDGETS.validate(obj, known=obj) == []
    assert WIDGETS.prune(obj, known=obj) is obj
    assert [one.path for one in WIDGETS.validate(obj, known={"spec": value})] == ["status.phase"]


def test_metadata_can_be_restricted() -> None:
    schema = Schema(
        {"type": "object", "properties": {"metadata": {"type": "object", "properties": {"name": {"type": "string", "maxLength": 3}}}}}
    )
    assert schema.validate({"metadata": {"name": "long"}}) == [("metadata.name", "Too long: may not be more than 3 bytes")]


@pytest.mark.parametrize(
    ("branches", "good", "bad"),
    [
        ({"anyOf": [{"required": ["a"]}, {"required": ["b"]}]}, {"a": 1}, {}),
        ({"allOf": [{"required": ["a"]}, {"required": ["b"]}]}, {"a": 1, "b": 1}, {"a": 1}),
        ({"not": {"required": ["a"]}}, {"b": 1}, {"a": 1}),
        ({"oneOf": [{"properties": {"a": {"enum": [1]}}}, {"properties": {"a": {"enum": [2]}}}]}, {"a": 1}, {"a": 3}),
    ],
)
def test_branches(branches: dict[str, Any], good: dict[str, Any], bad: dict[str, Any]) -> None:
    fields = {"type": "object", "properties": {"a": {"type": "integer"}, "b": {"type": "integer"}}}
    schema = Schema({"type": "object", "properties": {"spec": {**fields, **branches}}})
    assert schema.validate({"spec": good}) == []
    assert any(path == "<nil>" for path, _ in schema.validate({"spec": bad}))


@pytest.mark.parametrize(
    ("pattern", "good", "bad"),
    [
        ("^a$", "a", "a\n"),
        (r"^\d+$", "12", "\u0661\u0662"),
        ("^[$a]+$", "a$", "b"),
        (r"^\$$", "$", ""),
        (r"x\z", "ax", "ax\n"),
        ("^(?i)(on|off)$", "ON", "o"),
    ],
)
def test_go_patterns(pattern: str, good: str, bad: str) -> None:
    regex = go_pattern(pattern)
    assert regex is not None
    assert regex.search(good)
    assert not regex.search(bad)


def mesh_definitions() -> list[Any]:
    files = third_party_crds()
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    return [
        one
        for file in files
        for one in yaml.load_all(file.read_text(), Loader=loader)
        if one and one.get("kind") == "CustomResourceDefinition"
    ]


def patterns(value: Any) -> set[str]:
    if isinstance(value, dict):
        own = {value["pattern"]} if isinstance(value.get("pattern"), str) else set()
        return own.union(*(patterns(one) for one in value.values()))
    return set().union(*(patterns(one) for one in value)) if isinstance(value, list) else set()


def test_every_mesh_crd_can_be_served() -> None:
    cluster = ApiServer().cluster
    served = []
    for definition in mesh_definitions():
        cluster.create("apiextensions.k8s.io/v1", "CustomResourceDefinition", definition)
        served.append(definition)
    assert served
    for definition in served:
        spec = definition["spec"]
        for version in spec["versions"]:
            if version["served"]:
                assert cluster.resource(f"{spec['group']}/{version['name']}", spec["names"]["kind"]).plural == spec["names"]["plural"]


def test_every_pattern_of_the_mesh_crds_is_understood() -> None:
    unread = [pattern for pattern in patterns(mesh_definitions()) if go_pattern(pattern) is None]
    assert unread == []
