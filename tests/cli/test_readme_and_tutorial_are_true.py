"""What README and tutorial show works: commands parse, targets and files exist, manifests are Canaries, links lead somewhere.

The commands that they are about run in whole elsewhere: `make demo` in tests/sandbox, the installation in tests/charts.
"""

import re
import shlex
from pathlib import Path

import click
import pytest
import yaml

from canary.api.canary import parse_canary
from canary.cli.main import cli

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")), ROOT / "CONTRIBUTING.md"]
SHOWN = [ROOT / "README.md", *sorted((ROOT / "docs" / "tutorial").glob("*.md"))]
_BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
_LINK = re.compile(r"\]\((?!https?:|mailto:)([^)#\s]*)(#[^)\s]*)?\)")
_ANCHOR = re.compile(r"[^\w\- ]")


def blocks(page: Path, *languages: str) -> list[str]:
    return [text for language, text in _BLOCK.findall(page.read_text(encoding="utf-8")) if language in languages]


def commands() -> list[str]:
    lines = [line for page in SHOWN for block in blocks(page, "sh", "text") for line in block.replace("\\\n", " ").splitlines()]
    return [line.partition("  #")[0].strip() for line in lines if re.match(r"(make|canary|helm|pip|kubectl) [\w'-]", line)]


def anchors(page: Path) -> set[str]:
    titles = re.findall(r"^#+ (.+)$", _BLOCK.sub("", page.read_text(encoding="utf-8")), re.MULTILINE)
    return {"#" + _ANCHOR.sub("", title.lower()).replace(" ", "-") for title in titles}


def test_commands_are_found():
    assert {"make demo", "make test", "canary demo"} <= set(commands())


@pytest.mark.parametrize("line", [line for line in commands() if line.startswith("canary ")])
def test_a_command_line_parses(line):
    words = shlex.split(line.partition(">")[0])[1:]
    with click.Context(cli) as context:
        command = cli.get_command(context, words[0])
        assert command is not None, line
        command.make_context(words[0], words[1:], parent=context).close()


@pytest.mark.parametrize("line", [line for line in commands() if line.startswith("make ")])
def test_a_target_exists(line):
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    assert re.search(rf"^{re.escape(line.split()[1])}:", makefile, re.MULTILINE), line


@pytest.mark.parametrize("line", [line for line in commands() if line.startswith("helm ")])
def test_a_chart_and_its_values_exist(line):
    words = shlex.split(line)
    values = yaml.safe_load((ROOT / words[3] / "values.yaml").read_text(encoding="utf-8"))
    for setting in (words[number + 1] for number, word in enumerate(words) if word == "--set"):
        assert setting.partition("=")[0] in values, setting


@pytest.mark.parametrize("page", SHOWN, ids=lambda page: page.name)
def test_manifests_are_canaries(page):
    for block in blocks(page, "yaml"):
        assert parse_canary(yaml.safe_load(block)).spec.target_ref.name


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page):
    for target, anchor in _LINK.findall(_BLOCK.sub("", page.read_text(encoding="utf-8"))):
        there = (page.parent / target).resolve() if target else page
        assert there.exists(), f"{page.name} links to {target}"
        if anchor:
            assert anchor in anchors(there), f"{page.name} links to {target}{anchor}"
