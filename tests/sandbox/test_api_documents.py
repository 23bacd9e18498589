"""Patches, field sets and merging as plain functions: laws that hold for every document."""

import copy
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from canary.sandbox.fieldsets import Trie, compare, difference, field_set, intersection, is_member, paths, union
from canary.sandbox.merge import merge, without_abandoned
from canary.sandbox.patch import PatchError, json_patch, merge_patch
from canary.sandbox.schema import Schema

SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "spec": {
            "type": "object",
            "properties": {
                "a": {"type": "integer"},
                "map": {"type": "object", "additionalProperties": {"type": "integer"}},
                "set": {"type": "array", "x-kubernetes-list-type": "set", "items": {"type": "integer"}},
                "list": {"type": "array", "items": {"type": "integer"}},
                "keyed": {
                    "type": "array",
                    "x-kubernetes-list-type": "map",
                    "x-kubernetes-list-map-keys": ["k"],
                    "items": {"type": "object", "properties": {"k": {"type": "string"}, "v": {"type": "integer"}}},
                },
            },
        }
    },
}
ROOT = Schema(SCHEMA).root

numbers = st.integers(0, 3)
keyed = st.lists(
    st.fixed_dictionaries({"k": st.sampled_from("xyz")}, optional={"v": numbers}), max_size=3, unique_by=lambda item: item["k"]
)
specs = st.fixed_dictionaries(
    {},
    optional={
        "a": numbers,
        "map": st.dictionaries(st.sampled_from("pqr"), numbers, min_size=1, max_size=3),
        "set": st.lists(numbers, min_size=1, max_size=3, unique=True),
        "list": st.lists(numbers, max_size=3),
        "keyed": keyed.filter(bool),
    },
)
documents = specs.map(lambda spec: {"spec": spec} if spec else {})
values = st.recursive(
    st.none() | st.booleans() | numbers | st.text("ab", max_size=2),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("abc"), inner, max_size=3),
    max_leaves=8,
)


def members(trie: Trie) -> set[str]:
    return set(paths(trie))


@given(documents, documents)
def test_set_operations_agree_with_sets_of_paths(left: Any, right: Any) -> None:
    one, two = field_set(ROOT, left), field_set(ROOT, right)
    assert members(union(one, two)) == members(one) | members(two)
    assert members(difference(one, two)) == members(one) - members(two)
    assert members(intersection(one, two)) == members(one) & members(two)
    assert difference(one, one) == {}


@given(documents, documents)
def test_merge_takes_everything_from_the_configuration(live: Any, config: Any) -> None:
    before = copy.deepcopy(live)
    merged = merge(ROOT, live, config)
    assert live == before
    changed, _ = compare(ROOT, merged, merge(ROOT, merged, config))
    assert changed == {}, "merging twice must change nothing more"
    assert members(field_set(ROOT, config)) <= members(field_set(ROOT, merged))
    assert merge(ROOT, live, live) is live


@given(documents, documents)
def test_compare_finds_exactly_what_differs(old: Any, new: Any) -> None:
    changed, removed = compare(ROOT, old, new)
    before, after = members(field_set(ROOT, old)), members(field_set(ROOT, new))
    assert after - before <= members(changed)
    assert before - after <= members(removed)
    assert compare(ROOT, new, new) == ({}, {})
    if not changed and not removed:
        assert field_set(ROOT, old) == field_set(ROOT, new)


@given(documents, documents)
def test_applying_less_leaves_exactly_what_is_applied(first: Any, second: Any) -> None:
    """One manager alone: after its second configuration nothing of the first is left that the second does not have."""
    last, applied = field_set(ROOT, first), field_set(ROOT, second)
    result = without_abandoned(ROOT, merge(ROOT, first, second), last, applied)
    assert members(field_set(ROOT, result)) - {".spec"} == members(applied) - {".spec"}


def test_membership() -> None:
    assert is_member({})
    assert is_member({".": {}, "f:a": {}})
    assert not is_member({"f:a": {}})
    assert not is_member(None)


# RFC 7396, appendix A
@pytest.mark.parametrize(
    ("document", "patch", "result"),
    [
        ({"a": "b"}, {"a": "c"}, {"a": "c"}),
        ({"a": "b"}, {"b": "c"}, {"a": "b", "b": "c"}),
        ({"a": "b"}, {"a": None}, {}),
        ({"a": "b", "b": "c"}, {"a": None}, {"b": "c"}),
        ({"a": ["b"]}, {"a": "c"}, {"a": "c"}),
        ({"a": "c"}, {"a": ["b"]}, {"a": ["b"]}),
        ({"a": {"b": "c"}}, {"a": {"b": "d", "c": None}}, {"a": {"b": "d"}}),
        ({"a": [{"b": "c"}]}, {"a": [1]}, {"a": [1]}),
        (["a", "b"], ["c", "d"], ["c", "d"]),
        ({"a": "b"}, ["c"], ["c"]),
        ({"a": "foo"}, None, None),
        ({"a": "foo"}, "bar", "bar"),
        ({"e": None}, {"a": 1}, {"e": None, "a": 1}),
        ([1, 2], {"a": "b", "c": None}, {"a": "b"}),
        ({}, {"a": {"bb": {"ccc": None}}}, {"a": {"bb": {}}}),
        ({"a": 1}, {"a": True}, {"a": True}),
    ],
)
def test_merge_patch(document: Any, patch: Any, result: Any) -> None:
    before = json.dumps(document)
    assert json.dumps(merge_patch(document, patch)) == json.dumps(result)
    assert json.dumps(document) == before


@given(values, values)
def test_merge_patch_shares_what_it_does_not_touch(document: Any, patch: Any) -> None:
    before = copy.deepcopy(document)
    once = merge_patch(document, patch)
    assert document == before
    assert merge_patch(once, patch) == once
    if isinstance(document, dict):
        assert merge_patch(document, {}) is document


@pytest.mark.parametrize(
    ("document", "operations", "result"),
    [
        ({"a": 1}, [{"op": "add", "path": "/b", "value": 2}], {"a": 1, "b": 2}),
        ({"a": [1, 2]}, [{"op": "add", "path": "/a/1", "value": 9}], {"a": [1, 9, 2]}),
        ({"a": [1, 2]}, [{"op": "add", "path": "/a/-", "value": 9}], {"a": [1, 2, 9]}),
        ({"a": [1, 2]}, [{"op": "remove", "path": "/a/0"}], {"a": [2]}),
        ({"a": 1}, [{"op": "replace", "path": "/a", "value": {"b": 1}}], {"a": {"b": 1}}),
        ({"a": {"b": 1}}, [{"op": "replace", "path": "", "value": 7}], 7),
        ({"a": 1}, [{"op": "move", "from": "/a", "path": "/b"}], {"b": 1}),
        ({"a~b": 1, "c/d": 2}, [{"op": "remove", "path": "/a~0b"}, {"op": "copy", "from": "/c~1d", "path": "/e"}], {"c/d": 2, "e": 2}),
        ({"a": 1}, [{"op": "replace", "path": "/new", "value": 2}], {"a": 1, "new": 2}),
    ],
)
def test_json_patch(document: Any, operations: Any, result: Any) -> None:
    before = copy.deepcopy(document)
    assert json_patch(document, operations) == result
    assert document == before


@pytest.mark.parametrize(
    "operation",
    [
        {"op": "test", "path": "/a", "value": 2},
        {"op": "test", "path": "/flag", "value": 1},
        {"op": "test", "path": "/none", "value": 1},
        {"op": "remove", "path": "/none"},
        {"op": "remove", "path": "/list/5"},
        {"op": "add", "path": "/list/9", "value": 1},
        {"op": "add", "path": "/list/x", "value": 1},
        {"op": "add", "path": "/none/x", "value": 1},
        {"op": "add", "path": "/a/x", "value": 1},
        {"op": "add", "path": "a", "value": 1},
        {"op": "add", "path": "/b"},
        {"op": "move", "from": "/none", "path": "/b"},
        {"op": "sing", "path": "/a"},
        "nonsense",
    ],
)
def test_json_patch_that_does_not_fit(operation: Any) -> None:
    with pytest.raises(PatchError):
        json_patch({"a": 1, "list": [1], "flag": True}, [operation])
