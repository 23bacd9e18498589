"""Splicing one scalar: exact bytes for the layouts that people write, refusals with a reason, and properties over random files."""

from __future__ import annotations

import pytest
import yaml
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from canary.gitops.splice import Unsafe, decode, leaves, replace
from tests.gitops.yaml_texts import PLAIN, WILD, texts

pytestmark = pytest.mark.slow

OLD, NEW = "host:5000/a/b:1.0", "host:5000/a/b:0.9"
GOLDEN = {
    "plain": ("image: {}\n", "image: {}\n"),
    "comment and marker": ('image: {} # {{"$imagepolicy": "ns:p"}}\n', 'image: {} # {{"$imagepolicy": "ns:p"}}\n'),
    "single quotes": ("image: '{}'\n", "image: '{}'\n"),
    "double quotes": ('image: "{}"   \n', 'image: "{}"   \n'),
    "crlf": ("a: 1\r\nimage: {}\r\nb: 2\r\n", "a: 1\r\nimage: {}\r\nb: 2\r\n"),
    "no final newline": ("a: 1\nimage: {}", "a: 1\nimage: {}"),
    "byte order mark": ("\ufeffimage: {}\n", "\ufeffimage: {}\n"),
    "odd indentation": ("x:\n      -   a\nimage:      {}\n\n\n", "x:\n      -   a\nimage:      {}\n\n\n"),
    "four-byte characters before": ("note: größe 🐤🐤\nimage: {}\n", "note: größe 🐤🐤\nimage: {}\n"),
    "flow style": ("{{a: [1, 2], image: {}, b: {{}}}}\n", "{{a: [1, 2], image: {}, b: {{}}}}\n"),
    "json": ('{{"a": [1, 2],"image":"{}"}}', '{{"a": [1, 2],"image":"{}"}}'),
    "tilde and nulls stay": ("a: ~\nb:\nimage: {}\nc: null\n", "a: ~\nb:\nimage: {}\nc: null\n"),
    "block scalar beside it": ("a: |\n  image: {0}\n  x\nimage: {0}\n", "a: |\n  image: " + OLD + "\n  x\nimage: {0}\n"),
    "value on the next line": ("image:\n  {}\nb: 1\n", "image:\n  {}\nb: 1\n"),
    "directive and end marks": ("%YAML 1.1\n---\nimage: {}\n...\n", "%YAML 1.1\n---\nimage: {}\n...\n"),
    "tab before a comment": ("image: {}\t# x\n", "image: {}\t# x\n"),
    "anchors elsewhere": ("a: &a {{x: 1}}\nb: *a\nimage: {}\n", "a: &a {{x: 1}}\nb: *a\nimage: {}\n"),
    "duplicates elsewhere": ("a: {{x: 1, x: 2}}\nimage: {}\n", "a: {{x: 1, x: 2}}\nimage: {}\n"),
    "unused anchor around it": ("a: &a\n  image: {}\n", "a: &a\n  image: {}\n"),
}


@pytest.mark.parametrize("layout", GOLDEN)
@pytest.mark.fault(19, 20)
def test_only_the_value_changes(layout: str) -> None:
    before, after = GOLDEN[layout]
    path = next(leaf.path for leaf in leaves(before.format(OLD)) if leaf.path[-1] == "image")
    assert replace(before.format(OLD), {(0, path): NEW}) == after.format(NEW)


def test_several_leaves_of_several_documents_change_together() -> None:
    text = "image: a:1 # one\n---\nx: [a:1, {image: 'a:1'}]\n---\nimage: a:1\n"
    changed = replace(text, {(0, ("image",)): "a:long-tag", (1, ("x", 1, "image")): "b"})
    assert changed == "image: a:long-tag # one\n---\nx: [a:1, {image: 'b'}]\n---\nimage: a:1\n"


@pytest.mark.parametrize(
    ("value", "written"),
    [
        ("1.20", '"1.20"'),
        ("on", '"on"'),
        ("*x", '"*x"'),
        ("a: b", '"a: b"'),
        ("a #b", '"a #b"'),
        ("", '""'),
        (" a", '" a"'),
        ("a\\b", "a\\b"),
    ],
)
def test_a_value_that_would_read_as_something_else_is_quoted(value: str, written: str) -> None:
    assert replace("image: x\n", {(0, ("image",)): value}) == f"image: {written}\n"


REFUSED = {
    "alias": ("a: &x 1.0\nimage: *x\n", "through an anchor"),
    "anchored and used": ("image: &x a:1\nb: *x\n", "through an anchor"),
    "anchored": ("image: &x a:1\n", "tag or an anchor"),
    "tagged": ("image: !!str a:1\n", "tag or an anchor"),
    "inside a mapping that is used twice": ("base: &b {image: a:1}\nother: *b\n", "through an anchor"),
    "inside a merged mapping": ("base: &b\n  image: a:1\nother:\n  <<: *b\n", "through an anchor"),
    "duplicate": ("image: a:1\nimage: a:1\n", "twice"),
    "duplicate around it": ("spec: {x: 1}\nspec: {image: a:1}\n", "duplicate keys"),
    "block scalar": ("image: |\n  a:1\n", "block scalar"),
    "absent": ("a: 1\n", "has no"),
    "template": ("image: {{ .Values.image }}\nb: {{- if x }}\n", "is not YAML"),
    "deep": ("image: " + "[" * 3000 + "]" * 3000, "nested too deeply"),
}


@pytest.mark.parametrize("case", REFUSED)
@pytest.mark.fault(19, 21)
def test_what_is_shared_ambiguous_or_no_yaml_is_refused_with_its_reason(case: str) -> None:
    text, reason = REFUSED[case]
    path = next((leaf.path for leaf in (leaves(text) if case not in {"template", "deep"} else ()) if "image" in leaf.path), ("image",))
    with pytest.raises(Unsafe, match=reason):
        replace(text, {(0, path): "a:2"})


@pytest.mark.parametrize("value", ["a\nb", "a\rb", "a\x85b", "a\u2028b", "a\x00b"])
@pytest.mark.parametrize("quote", ["", "'", '"'])
def test_a_value_with_a_line_break_is_refused(value: str, quote: str) -> None:
    with pytest.raises(Unsafe):
        replace(f"image: {quote}x{quote}\n", {(0, ("image",)): value})


@pytest.mark.fault(20)
def test_a_file_that_is_no_utf8_is_refused() -> None:
    with pytest.raises(Unsafe, match="UTF-8"):
        decode("image: größe".encode("latin-1"))


def _structure(text: str) -> list[object]:
    return list(yaml.load_all(text.removeprefix("\ufeff"), Loader=yaml.BaseLoader))


def _with(node: object, path: tuple[str | int, ...], value: str) -> object:
    if not path:
        return value
    if isinstance(node, dict):
        return {key: _with(inner, path[1:], value) if key == path[0] else inner for key, inner in node.items()}
    assert isinstance(node, list)
    return [_with(inner, path[1:], value) if number == path[0] else inner for number, inner in enumerate(node)]


@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(texts(), st.one_of(PLAIN, WILD), st.data())
@pytest.mark.fault(19, 20)
def test_in_any_file_only_the_wanted_leaf_differs(text: str, value: str, data: st.DataObject) -> None:
    try:
        found = leaves(text)
        before = _structure(text)
    except (Unsafe, yaml.YAMLError):
        assume(False)
    assume(found)
    leaf = data.draw(st.sampled_from(found))
    try:
        out = replace(text, {(leaf.document, leaf.path): value})
    except Unsafe:
        if leaf.style not in {"|", ">"}:  # nothing else in these texts is a reason to refuse
            raise
        return
    assert out[: leaf.start] == text[: leaf.start]
    assert out[len(out) - (len(text) - leaf.end) :] == text[leaf.end :]
    after = _structure(out)
    assert after == [_with(document, leaf.path, value) if number == leaf.document else document for number, document in enumerate(before)]


@settings(max_examples=80, deadline=None)
@given(st.text(max_size=200))
def test_no_text_breaks_the_reader(text: str) -> None:
    try:
        for leaf in leaves(text):
            assert 0 <= leaf.start <= leaf.end <= len(text)
    except Unsafe:
        pass
