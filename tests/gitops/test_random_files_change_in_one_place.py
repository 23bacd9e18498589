"""Whatever stands around the value that goes back (documents, comments, quotes, anchors, CRLF, flow style), no other byte differs."""

from __future__ import annotations

import pytest
import yaml
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from canary.gitops.documents import edited, inside, read
from canary.gitops.preview import patch, preview, released
from canary.gitops.revert import Verdict, plan
from canary.gitops.sites import Workload
from canary.gitops.splice import Unsafe, leaves
from tests.gitops.layouts import BASE, HIGH, NEW, OLD, REPO, at
from tests.gitops.yaml_texts import COMMENT, PLAIN, WILD, double_quoted, flow, single_quoted, texts

pytestmark = pytest.mark.slow

RELAXED = settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much]
)
ANCHORED = "anchored: &a {x: [1, &b two]}\nused: [*a, *b]\n"
WORKLOAD = Workload("apps", "Deployment", "prod", "podinfo", {"podinfo": f"{REPO}:{NEW}"}, {"podinfo": f"{REPO}:{OLD}"})


@st.composite
def quoted(draw: st.DrawFn, value: str) -> str:
    return draw(st.sampled_from([value, single_quoted(value), double_quoted(value)]))


@st.composite
def manifests(draw: st.DrawFn) -> str:
    """podinfo's Deployment, in block or flow style, with other things around what matters."""
    image, name = draw(quoted(f"{REPO}:{NEW}")), draw(quoted("podinfo"))
    noise, comment = draw(flow(2)), draw(COMMENT)
    other = draw(quoted(f"{REPO}:{NEW}"))
    if draw(st.booleans()):
        container = f"{{name: {name}, image: {image}, env: {noise}}}"
        return (
            f"apiVersion: apps/v1\nkind: Deployment\nmetadata: {{name: {name}, namespace: prod, x: {noise}}}{comment}\n"
            f"spec: {{template: {{spec: {{volumes: [{noise}], containers: [{{name: x, image: {other}}}, {container}]}}}}}}{comment}\n"
        )
    step = " " * draw(st.integers(0, 3))
    return (
        f"kind: Deployment{comment}\nmetadata:\n    namespace: prod\n    name: {name}\n    annotations: {{x: {noise}}}\napiVersion: apps/v1\n"
        f"spec:\n  template:\n    spec:\n      containers:{comment}\n"
        f"      {step}-   image:   {image}{comment}\n      {step}    name: {name}\n      {step}    env: {noise}\n"
        f"      {step}-   name: x\n      {step}    image: {other}\n"
    )


@st.composite
def files(draw: st.DrawFn, document: str) -> str:
    """The document among others, with line ends of either kind, with or without a mark at the beginning and a break at the end."""
    around = [draw(texts()).removeprefix("\ufeff").replace("\r\n", "\n") for _ in range(draw(st.integers(0, 2)))]
    around += [ANCHORED] if draw(st.booleans()) else []
    parts = [text.removesuffix("...\n") for text in draw(st.permutations([document, *around]))]
    text = "".join(f"---{draw(st.sampled_from(['', ' # next']))}\n{part}" + ("" if part.endswith("\n") else "\n") for part in parts)
    text = text if draw(st.booleans()) else text.rstrip("\n")
    text = text.replace("\n", draw(st.sampled_from(["\n", "\r\n"])))
    return draw(st.sampled_from(["", "\ufeff"])) + text


def readable(text: str) -> bool:
    try:
        leaves(text)
        list(yaml.load_all(text.removeprefix("\ufeff"), Loader=yaml.BaseLoader))
    except (Unsafe, yaml.YAMLError):
        return False
    return True


@RELAXED
@given(st.data())
def test_in_a_manifest_among_others_only_the_image_differs(data: st.DataObject) -> None:
    document = data.draw(manifests())
    text = data.draw(files(document))
    assume(readable(text))
    decided = plan({"a.yaml": text.encode()}, WORKLOAD)
    assert decided.verdict is Verdict.EDIT, decided
    out = decided.edits["a.yaml"].decode()
    found = leaves(text)
    names = {(one.document, one.path[:-1]) for one in found if one.path[-1:] == ("name",) and one.value == "podinfo"}
    (leaf,) = [one for one in found if one.path[-1:] == ("image",) and (one.document, one.path[:-1]) in names]
    token = text[leaf.start : leaf.end]
    assert out == text[: leaf.start] + token.replace(NEW, OLD) + text[leaf.end :]


@RELAXED
@given(st.data())
def test_in_a_kustomization_only_the_tag_differs(data: st.DataObject) -> None:
    tag, name = data.draw(quoted(NEW)), data.draw(quoted(REPO))
    noise, comment = data.draw(flow(2)), data.draw(COMMENT)
    entries = [
        f"- name: {name}{comment}\n  newTag:  {tag}{comment}\n",
        f"- {{name: other, newTag: {tag}}}{comment}\n",
        "- name: third\n  digest: sha256:1\n",
    ]
    listed = "".join(data.draw(st.permutations(entries)))
    text = f"namespace: prod{comment}\nresources:\n- ../base\ncommonAnnotations: {{x: {noise}}}\nimages:{comment}\n{listed}{ANCHORED}"
    text = text.replace("\n", data.draw(st.sampled_from(["\n", "\r\n"])))
    assume(readable(text))
    base = {path.removeprefix("apps/"): content.encode() for path, content in BASE.items()}
    decided = plan({**base, "prod/kustomization.yaml": text.encode()}, WORKLOAD)
    assert decided.verdict is Verdict.EDIT, decided
    found = leaves(text)
    item = next(one.path[:2] for one in found if one.path[0] == "images" and one.path[-1] == "name" and one.value == REPO)
    (leaf,) = [one for one in found if one.path == (*item, "newTag")]
    expected = text[: leaf.start] + text[leaf.start : leaf.end].replace(NEW, OLD) + text[leaf.end :]
    assert decided.edits == {"prod/kustomization.yaml": expected.encode()}


@RELAXED
@given(texts(), st.one_of(PLAIN, WILD), st.integers(1, 6), st.sampled_from(["\n", "\r\n"]), st.sampled_from(["|", "|-", "|+"]), st.data())
def test_in_the_text_of_a_block_only_the_wanted_leaf_differs(
    inner: str, value: str, indent: int, newline: str, sign: str, data: st.DataObject
) -> None:
    inner = inner.removeprefix("\ufeff").replace("\r\n", "\n").strip("\n")
    assume(inner and not inner[0].isspace() and readable(inner))
    lines = [" " * indent + line if line else "" for line in inner.split("\n")]
    text = newline.join([f"before: [1, 'x']\nblock: {sign} # text".replace("\n", newline), *lines, "after: 1", ""])
    assume(readable(text))
    (document,) = read("a.yaml", text.encode())
    block = document.leaves["block",]
    found = [place for one in inside(block) for place in one.leaves.values()]
    assume(found and block.value.rstrip("\n") == inner)
    place = data.draw(st.sampled_from(found))
    try:
        out = edited({"a.yaml": text.encode()}, {place: value})["a.yaml"].decode()
    except Unsafe as error:
        if "block scalar" not in str(error):  # nothing else in these texts is a reason to refuse
            raise
        return
    (after,) = read("a.yaml", out.encode())
    assert {path: one.value for path, one in after.leaves.items() if path != ("block",)} == {
        path: one.value for path, one in document.leaves.items() if path != ("block",)
    }
    changed = [one for one in inside(after.leaves["block",]) for one in one.leaves.values()]
    assert [one.value for one in changed] == [value if one == place else one.value for one in found]
    differing = [number for number, pair in enumerate(zip(text.split("\n"), out.split("\n"), strict=True)) if pair[0] != pair[1]]
    assert len(differing) <= 1


JUNK = ["*a", "&a ", "<<: *a", "[", "{", "}", "- ", "  ", "~", "''", ": ", "? ", "!!str ", "| ", "> ", "\t", "images: 5\n", "resources: x\n", "---\n",
        "patches: [1, {}]\n", "- {}\n", "../", '# {"$imagepolicy": "a:b:tag"}', '# {"$canary": "prod/podinfo:::x"}', NEW, OLD, "\r", "\ufeff", "${x}"]  # fmt: skip


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.sampled_from(sorted(HIGH)), st.data())
def test_no_damage_of_a_layout_raises_or_changes_more_than_is_told(layout: str, data: st.DataObject) -> None:
    files = {path: content.decode() for path, content in at(HIGH[layout][0], NEW).items()}
    for _ in range(data.draw(st.integers(1, 3))):
        path = data.draw(st.sampled_from(sorted(files)))
        place = data.draw(st.integers(0, len(files[path])))
        gone = data.draw(st.sampled_from([0, 0, 1, 5, 20]))
        files[path] = files[path][:place] + data.draw(st.sampled_from([*JUNK, ""])) + files[path][place + gone :]
    contents = {path: text.encode() for path, text in files.items()}
    decided = plan(contents, WORKLOAD)
    for path, content in (*decided.edits.items(), *decided.proposed.items()):
        pairs = zip(leaves(files[path]), leaves(content.decode()), strict=True)
        differing = [(old.value, new.value) for old, new in pairs if old.value != new.value]
        assert 0 < len(differing) <= len([one for one in decided.sites if one.file == path])
    shown = preview(contents, released(at(HIGH[layout][0], OLD), contents, "prod", "podinfo"))
    assert bool(patch(contents, shown.edits or shown.proposed)) == bool(shown.edits or shown.proposed)
