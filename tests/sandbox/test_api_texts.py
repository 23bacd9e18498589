"""Quantities, JSONPath, ages and selectors."""

import pytest

from canary.sandbox.durations import human
from canary.sandbox.errors import ApiError
from canary.sandbox.jsonpath import find
from canary.sandbox.quantity import canonical, is_quantity
from canary.sandbox.scale import selector_text
from canary.sandbox.selectors import field_match, label_match


@pytest.mark.parametrize(
    ("given", "stored"),
    [
        ("1000m", "1"), ("0.5", "500m"), (0.5, "500m"), (2, "2"), ("1.5Gi", "1536Mi"), ("1024Mi", "1Gi"), ("1000Ki", "1000Ki"), ("1000k", "1M"),
        ("0", "0"), ("100m", "100m"), ("1e3", "1e3"), ("0.1", "100m"), ("512", "512"), ("1.0", "1"), ("0.5Ki", "512"), ("+3", "3"), ("-500m", "-500m"),
        ("250u", "250u"), ("1E", "1E"), ("0.0000000001", "1n"),
    ],
)  # fmt: skip
def test_quantities(given: object, stored: str) -> None:
    assert canonical(given) == stored
    assert canonical(stored) == stored


@pytest.mark.parametrize("text", ["", "x", "1 Gi", "1gi", "Gi", True, None, "1.2.3", [], "1KiB"])
def test_what_is_no_quantity(text: object) -> None:
    assert not is_quantity(text)
    assert canonical(text) == text


OBJECT = {
    "spec": {"a.b": 1, "list": [{"n": "x"}, {"n": "y"}], "deep": {"er": [10, 20, 30]}},
    "status": {"conditions": [{"type": "Ready", "status": "True"}, {"type": "Other", "status": "False"}]},
}


@pytest.mark.parametrize(
    ("path", "found"),
    [
        (".spec.deep.er", [[10, 20, 30]]),
        (".spec.deep.er[1]", [20]),
        (".spec.deep.er[-1]", [30]),
        (".spec.deep.er[7]", []),
        (".spec.list[*].n", ["x", "y"]),
        (".spec['a.b']", [1]),
        (r".spec.a\.b", [1]),
        ('.status.conditions[?(@.type=="Ready")].status', ["True"]),
        (".status.conditions[?(@.type=='Other')].status", ["False"]),
        ('.status.conditions[?(@.type!="Ready")].type', ["Other"]),
        ("{.spec.deep.er[0]}", [10]),
        (".absent.field", []),
    ],
)
def test_json_paths(path: str, found: list[object]) -> None:
    assert find(path, OBJECT) == found


def test_json_path_that_cannot_be_read() -> None:
    with pytest.raises(ValueError, match="cannot read JSONPath"):
        find(".spec[?(nonsense)]", OBJECT)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0s"), (119, "119s"), (120, "2m"), (125, "2m5s"), (599, "9m59s"), (600, "10m"), (10799, "179m"), (10800, "3h"), (11100, "3h5m"),
        (8 * 3600, "8h"), (47 * 3600, "47h"), (48 * 3600, "2d"), (49 * 3600, "2d1h"), (9 * 86400, "9d"), (729 * 86400, "729d"), (730 * 86400, "2y"),
        (3000 * 86400, "8y"), (-0.5, "0s"), (-9, "<invalid>"),
    ],
)  # fmt: skip
def test_ages(seconds: float, text: str) -> None:
    assert human(seconds) == text


@pytest.mark.parametrize("text", ["a b", "a in x", "=", "a=b=c", "a in (x", "a>x", "(x)"])
def test_bad_label_selectors(text: str) -> None:
    with pytest.raises(ApiError) as refused:
        label_match(text)
    assert refused.value.code == 400


def test_bad_field_selector() -> None:
    with pytest.raises(ApiError):
        field_match("nonsense", {}, builtin=True)


def test_selector_as_text() -> None:
    expressions = [
        {"key": "k", "operator": "In", "values": ["b", "a"]},
        {"key": "e", "operator": "Exists"},
        {"key": "n", "operator": "DoesNotExist"},
    ]
    assert selector_text({"matchLabels": {"b": "2", "a": "1"}, "matchExpressions": expressions}) == "a=1,b=2,k in (a,b),e,!n"
    assert selector_text(None) == ""
