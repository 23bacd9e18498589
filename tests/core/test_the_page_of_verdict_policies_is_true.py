"""docs/explanation/verdict-policies.md: its sentences are those of the API reference, its manifests are good, its pictures are there and fresh."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest
import yaml

from canary.api.annotations import COMMAND
from canary.api.canary import parse_canary
from canary.api.validation import review
from canary.core.commands import BY, REASON, Verb
from tests.api.manifests import edited
from tests.api.upstream import our_crds, root_schema

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs/explanation/verdict-policies.md"
IMAGES = ROOT / "docs/images"
TEXT = PAGE.read_text()
BLOCKS = re.findall(r"```yaml\n(.*?)```", TEXT, re.DOTALL)
QUOTED = [" ".join(quote.replace(">", "").split()) for quote in re.findall(r"^(?:> .*\n)+", TEXT, re.MULTILINE)]
PICTURES = re.findall(r"!\[(.+)\]\((.+)\)", TEXT)
SVGS = sorted(IMAGES.glob("*.svg"))


def described(*path: str) -> str:
    """The sentence of a field of `spec.analysis` in the reference."""
    node: dict[str, Any] = root_schema(our_crds()["canaries.flagger.app"])["properties"]["spec"]["properties"]["analysis"]
    for name in path:
        node = node["properties"][name]
        node = node.get("items", node) if name != path[-1] else node
    return str(node["description"])


@pytest.mark.parametrize(
    "path",
    [
        ("onFailure",),
        ("metrics", "role"),
        ("judge",),
        ("sequential", "warmup"),
        ("sequential", "minDuration"),
        ("sequential", "maxDuration"),
        ("sequential", "onInconclusive"),
    ],
    ids=".".join,
)
def test_each_policy_has_the_sentence_of_the_reference(path: tuple[str, ...]) -> None:
    assert described(*path) in QUOTED


def test_no_other_sentence_is_quoted() -> None:
    assert len(QUOTED) == 7


@pytest.mark.parametrize("block", BLOCKS, ids=[str(number) for number in range(len(BLOCKS))])
def test_each_manifest_is_good(block: str) -> None:
    given = yaml.safe_load(block)["analysis"]
    fields: dict[str, Any] = {"interval": "30s", "threshold": 5, "stepWeight": 10, "maxWeight": 50, **given}
    manifest = edited(analysis__iterations=..., **{f"analysis__{name}": value for name, value in fields.items()})
    assert review(parse_canary(manifest), provider="istio", no_cross_namespace_refs=False) == []


def test_each_section_about_a_policy_has_a_picture_and_a_manifest() -> None:
    sections = [part for part in re.split(r"^## ", TEXT, flags=re.MULTILINE)[1:] if not part.startswith("Which comes first")]
    assert len(sections) == len(PICTURES) == len(BLOCKS)
    for section in sections:
        assert "![" in section, section[:30]
        assert "```yaml" in section, section[:30]


@pytest.mark.parametrize(("words", "link"), PICTURES)
def test_each_picture_exists(words: str, link: str) -> None:
    assert (PAGE.parent / link).resolve().is_file()
    assert len(words) > 20, "who cannot see the picture reads this"


def test_no_picture_is_left_over() -> None:
    assert {Path(link).name for _, link in PICTURES} == {path.name for path in SVGS}


@pytest.mark.parametrize("path", SVGS, ids=lambda path: path.name)
def test_a_picture_is_shapes_and_text_on_paper_of_its_own(path: Path) -> None:
    root = ET.parse(path).getroot()
    tags = {element.tag.rpartition("}")[2] for element in root.iter()}
    assert tags <= {"svg", "title", "rect", "polyline", "circle", "text"}
    width, height = float(root.get("width", "0")), float(root.get("height", "0"))
    for element in root.iter():
        assert not [name for name in element.keys() if "href" in name or name.startswith("on")]
        for name, most in (("x", width), ("y", height), ("cx", width), ("cy", height)):
            assert 0 <= float(element.get(name, "0")) <= most
    for text in root.iter("{http://www.w3.org/2000/svg}text"):
        room = {"start": width - float(text.get("x", "0")), "end": float(text.get("x", "0"))}
        words, anchor = text.text or "", text.get("text-anchor", "start")
        assert 6.6 * len(words) <= room.get(anchor, 2 * min(room.values())), f"{words!r} is cut off"


def test_pictures_are_as_their_script_draws_them(tmp_path: Path) -> None:
    found = subprocess.run([sys.executable, IMAGES / "generate.py", "--check"], capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stderr
    script = tmp_path / "generate.py"
    script.write_bytes((IMAGES / "generate.py").read_bytes())
    stale = subprocess.run([sys.executable, script, "--check"], capture_output=True, text=True, check=False)
    assert (stale.returncode, "hint: run python docs/images/generate.py" in stale.stderr) == (1, True)
    assert subprocess.run([sys.executable, script, "--chek"], capture_output=True, check=False).returncode == 2


def test_commands_are_those_that_are_obeyed() -> None:
    assert re.findall(r"^\| `(\w+)@<nonce>`", TEXT, re.MULTILINE) == list(Verb)
    assert all(f"{annotation}=" in TEXT for annotation in (COMMAND, BY, REASON))


def test_the_how_to_leads_here() -> None:
    assert "](../explanation/verdict-policies.md)" in (ROOT / "docs/how-to/choose-a-judge.md").read_text()
