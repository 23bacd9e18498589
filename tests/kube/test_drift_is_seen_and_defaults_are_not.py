"""`differs`: what counts as drift, and what is the server's own doing."""

import copy
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from canary.kube.compare import MISSING, Difference, ServerMade, differences
from canary.kube.ensure import differs
from canary.kube.resource import AUTOSCALERS, DEPLOYMENTS, HTTP_ROUTES, SERVICES
from canary.routers.base import Wanted


def want(body, *, exact=(), resource=SERVICES):
    return Wanted(resource, {"metadata": {"name": "a", "namespace": "shop"}, **body}, exact)


def live(body):
    return {"metadata": {"name": "a", "namespace": "shop", "uid": "u", "resourceVersion": "5"}, **body}


@pytest.mark.parametrize(
    ("ours", "theirs", "paths"),
    [
        pytest.param({"spec": {"a": 1}}, {"spec": {"a": 1, "b": 2}}, [], id="other fields are somebody else's"),
        pytest.param({"spec": {"a": 1}}, {"spec": {"a": 2}}, [("spec", "a")], id="a changed value"),
        pytest.param({"spec": {"a": 1}}, {"spec": {}}, [("spec", "a")], id="a missing value"),
        pytest.param({"spec": {"a": {"b": 1}}}, {}, [("spec",)], id="a missing branch"),
        pytest.param({"spec": {"a": {}, "b": [], "c": "", "d": None}}, {"spec": {}}, [], id="empty is absent"),
        pytest.param({"spec": {"a": 0, "b": False}}, {"spec": {}}, [("spec", "a"), ("spec", "b")], id="zero and false are values"),
        pytest.param({"spec": {"a": True}}, {"spec": {"a": 1}}, [("spec", "a")], id="true is not one"),
        pytest.param({"spec": {"a": 1}}, {"spec": {"a": 1.0}}, [], id="one is one"),
        pytest.param({"spec": {"p": 80}}, {"spec": {"p": "80"}}, [("spec", "p")], id="a port name is not a port number"),
        pytest.param({"spec": {"l": ["b"]}}, {"spec": {"l": ["a", "b"]}}, [], id="foreign list items stay"),
        pytest.param({"spec": {"l": ["b", "b"]}}, {"spec": {"l": ["a", "b"]}}, [("spec", "l")], id="one item does not stand for two"),
        pytest.param(
            {"spec": {"l": [{"a": 1}, {"a": 1, "b": 2}]}},
            {"spec": {"l": [{"a": 1, "b": 2, "c": 3}, {"a": 1, "d": 4}]}},
            [],
            id="items find a partner even if the first guess was wrong",
        ),
        pytest.param({"spec": {"a": [1]}}, {"spec": {"a": {"b": 1}}}, [("spec", "a")], id="another type"),
    ],
)
def test_outside_exact_paths_ours_must_be_contained(ours, theirs, paths):
    assert differs(want(ours), live(theirs)) == paths


SPEC = (("spec",),)


@pytest.mark.parametrize(
    ("ours", "theirs", "paths"),
    [
        pytest.param({"a": [1]}, {"a": [1, 2]}, [("spec", "a")], id="an added item"),
        pytest.param({"a": [1, 2]}, {"a": [2, 1]}, [("spec", "a", 0), ("spec", "a", 1)], id="another order"),
        pytest.param({"a": 1}, {"a": 1, "b": 2}, [("spec", "b")], id="an added key"),
        pytest.param({"a": 1}, {"a": 1, "b": {}, "c": [], "d": ""}, [], id="an added emptiness"),
        pytest.param({"a": [{"x": 1}]}, {"a": [{"x": 1, "y": 2}]}, [("spec", "a", 0, "y")], id="an added key inside an item"),
        pytest.param({"a": []}, {"a": [1]}, [("spec", "a")], id="items where we want none"),
        pytest.param({}, {"a": 1}, [("spec", "a")], id="anything where we want nothing"),
    ],
)
def test_at_exact_paths_nothing_foreign_is_left(ours, theirs, paths):
    assert differs(want({"spec": ours}, exact=SPEC), live({"spec": theirs})) == paths


def test_an_exact_path_that_is_not_in_our_body_says_nothing():
    assert differs(want({}, exact=SPEC), live({"spec": {"users": "own"}})) == []
    assert differs(want({"spec": {"a": 1}}, exact=(("spec", "ports"),)), live({"spec": {"a": 1, "ports": [1]}})) == []


def test_exactness_begins_at_its_path():
    wanted = want({"spec": {"ports": [{"port": 80}], "selector": {"app": "a"}}}, exact=(("spec", "ports"),))
    assert differs(wanted, live({"spec": {"ports": [{"port": 80}], "selector": {"app": "a", "tier": "b"}, "clusterIP": "1"}})) == []
    assert differs(wanted, live({"spec": {"ports": [{"port": 80}, {"port": 81}], "selector": {"app": "a"}}})) == [("spec", "ports")]


@pytest.mark.parametrize(
    ("ours", "theirs", "same"),
    [
        ("1000m", "1", True),
        (1, "1", True),
        ("0.5", "500m", True),
        ("1024Mi", "1Gi", True),
        ("1e3", "1k", True),
        ("1", "2", False),
        ("x", "1", False),
        ("1Zi", "1", False),
    ],
)
def test_quantities_are_compared_as_numbers_where_the_server_rewrites_them(ours, theirs, same):
    def spec(value):
        return {"template": {"spec": {"containers": [{"name": "c", "resources": {"limits": {"cpu": value}}}]}}}

    found = differs(want({"spec": spec(ours)}, resource=DEPLOYMENTS), live({"spec": spec(theirs)}))
    assert (found == []) is same
    hpa = [{"metrics": [{"target": {"averageValue": value}}]} for value in (ours, theirs)]
    assert (differs(want({"spec": hpa[0]}, resource=AUTOSCALERS, exact=SPEC), live({"spec": hpa[1]})) == []) is same


def test_elsewhere_two_strings_are_two_strings():
    def spec(value):
        return {"template": {"spec": {"containers": [{"name": "c", "env": [{"name": "LIMIT", "value": value}]}]}}}

    assert differs(want({"spec": spec("1000m")}, resource=DEPLOYMENTS), live({"spec": spec("1")}))
    assert differs(want({"data": {"limits": "1000m"}}), live({"data": {"limits": "1"}}))


def test_what_the_server_was_seen_to_add_is_not_drift_but_another_value_there_is():
    learned = ServerMade()
    wanted = want({"spec": {"rules": [{"backendRefs": [{"name": "x"}]}]}}, exact=SPEC, resource=HTTP_ROUTES)
    answer = live({"spec": {"rules": [{"backendRefs": [{"name": "x", "weight": 1}]}]}})
    assert differs(wanted, answer) == [("spec", "rules", 0, "backendRefs", 0, "weight")]
    learned.learn(HTTP_ROUTES, list(differences(wanted, answer)))
    assert differs(wanted, answer, learned=learned) == []
    two = want({"spec": {"rules": [{"backendRefs": [{"name": "y"}, {"name": "z"}]}]}}, exact=SPEC, resource=HTTP_ROUTES)
    assert (
        differs(
            two, live({"spec": {"rules": [{"backendRefs": [{"name": "y", "weight": 1}, {"name": "z", "weight": 1}]}]}}), learned=learned
        )
        == []
    )
    moved = live({"spec": {"rules": [{"backendRefs": [{"name": "x", "weight": 0}]}]}})
    assert differs(wanted, moved, learned=learned) == [("spec", "rules", 0, "backendRefs", 0, "weight")]
    assert differs(Wanted(SERVICES, wanted.body, SPEC), answer, learned=learned), "another kind has other defaults"


def test_a_value_that_the_server_allocates_anew_for_each_object_is_tolerated_in_the_end():
    learned = ServerMade()
    path = ("spec", "clusterIP")
    for number in range(ServerMade.MANY):
        assert not learned.knows(SERVICES, Difference(path, MISSING, "10.0.1.1"))
        learned.learn(SERVICES, [Difference(path, MISSING, f"10.0.0.{number}")])
    assert learned.knows(SERVICES, Difference(path, MISSING, "10.0.1.1"))
    assert not learned.knows(SERVICES, Difference(path, "None", "10.0.1.1")), "but never instead of a value of ours"


def test_the_memory_of_the_server_is_bounded():
    learned = ServerMade()
    for number in range(3 * ServerMade.MOST):
        learned.learn(SERVICES, [Difference(("spec", "x"), number, str(number))])
    assert len(learned._known[SERVICES, ("spec", "x")]) <= ServerMade.MOST


KEYS = st.sampled_from(["a", "b", "c", "name", "weight"])
SCALARS = st.one_of(st.booleans(), st.integers(-3, 3), st.text("xy", min_size=1, max_size=3))
TREES = st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3), max_leaves=15)
SPECS = st.dictionaries(KEYS, TREES, min_size=1, max_size=4)


@given(SPECS)
def test_an_object_looks_as_itself_exactly(spec):
    assert differs(want({"spec": spec}, exact=SPEC), live({"spec": copy.deepcopy(spec)})) == []


def _embellish(value, rng):
    """The same with foreign keys and list items anywhere."""
    if isinstance(value, dict):
        return {**{key: _embellish(inner, rng) for key, inner in value.items()}, f"foreign{rng.randrange(9)}": rng.randrange(9)}
    if isinstance(value, list):
        items = [_embellish(inner, rng) for inner in value] + [f"foreign{rng.randrange(9)}"]
        rng.shuffle(items)
        return items
    return value


@given(SPECS, st.randoms(use_true_random=False))
def test_whatever_others_add_is_tolerated_outside_exact_paths_and_seen_inside(spec, rng):
    richer = _embellish(spec, rng)
    assert differs(want({"spec": spec}), live({"spec": richer})) == []
    assert differs(want({"spec": spec}, exact=SPEC), live({"spec": richer})) != []


def _leaves(value, path=()):
    if isinstance(value, dict) and value:
        for key, inner in value.items():
            yield from _leaves(inner, (*path, key))
    elif isinstance(value, list) and value:
        for index, inner in enumerate(value):
            yield from _leaves(inner, (*path, index))
    elif not isinstance(value, dict | list):
        yield path


@given(SPECS, st.data())
def test_any_changed_leaf_is_seen_and_its_path_is_named(spec, data):
    leaves = list(_leaves(spec))
    if not leaves:
        return
    path = data.draw(st.sampled_from(leaves))
    changed = copy.deepcopy(spec)
    at = changed
    for part in path[:-1]:
        at = at[part]
    at[path[-1]] = "changed"
    found = differs(want({"spec": spec}, exact=SPEC), live({"spec": changed}))
    assert found == [("spec", *path)]


@given(SPECS, st.randoms(use_true_random=False))
def test_what_is_learned_from_an_answer_makes_that_answer_equal(spec, rng):
    learned = ServerMade()
    answer = live({"spec": _embellish(spec, random.Random(rng.random()))})
    wanted = want({"spec": spec}, exact=SPEC)
    learned.learn(SERVICES, list(differences(wanted, answer)))
    assert differs(wanted, answer, learned=learned) == []


@given(st.lists(st.lists(st.sampled_from("abc"), max_size=3), max_size=5), st.randoms(use_true_random=False))
def test_list_items_are_matched_whenever_a_matching_exists(items, rng):
    ours = [dict.fromkeys(keys, 1) for keys in items]
    theirs = [{**one, "z": index} for index, one in enumerate(ours)]
    rng.shuffle(theirs)
    assert differs(want({"spec": {"l": ours}}), live({"spec": {"l": theirs}})) == []
    if ours:
        assert differs(want({"spec": {"l": ours}}), live({"spec": {"l": theirs[:-1]}})) == [("spec", "l")]
