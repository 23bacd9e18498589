"""`canary` at the prompt: it answers without loading the operator, and what it cannot do is one line and an exit code."""

import subprocess
import sys

import pytest

from canary.cli import reference
from canary.cli.main import COMMANDS

HEAVY = ("kopf", "kubernetes", "aiohttp", "pydantic", "numpy", "rich", "httpx", "prometheus_api_client")


def canary(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "canary.cli.main", *arguments], capture_output=True, text=True, timeout=60)


def loaded(*arguments: str) -> set[str]:
    """Top-level packages that a command line imports."""
    code = f"import sys\nfrom canary.cli.exits import invoke\nfrom canary.cli.main import cli\ninvoke(cli, {list(arguments)!r}, prog='canary')\n"
    code += "print('\\n'.join(sorted({name.partition('.')[0] for name in sys.modules})), file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    return set(done.stderr.split())


@pytest.mark.parametrize("arguments", [("--help",), ("version",)])
def test_it_answers_without_loading_what_it_does_not_need(arguments):
    assert not loaded(*arguments) & set(HEAVY)


@pytest.mark.parametrize("command", COMMANDS)
def test_no_command_loads_the_operator_to_show_its_help(command):
    assert "kopf" not in loaded(command, "--help")


def test_help_names_every_command_with_what_it_does():
    done = canary("--help")
    assert done.returncode == 0
    text = " ".join(done.stdout.split())
    for name, (_, sentence) in COMMANDS.items():
        assert f" {name} " in text
        assert sentence in text


@pytest.mark.parametrize(
    ("arguments", "said"),
    [(["relese"], "relese"), (["run", "--mesh-provder=istio"], "--mesh-provder"), (["crds", "--jsn"], "--jsn")],
)
def test_a_slip_is_one_line_with_a_hint_and_exit_code_2(arguments, said):
    done = canary(*arguments)
    assert done.returncode == 2
    error, hint = done.stderr.splitlines()
    assert error.startswith("error: ")
    assert said in error
    assert hint.startswith("hint: see `canary")


def test_a_reader_that_has_had_enough_gets_no_complaint():
    done = subprocess.run(
        ["bash", "-c", f"{sys.executable} -m canary.cli.main crds | head -n 1"], capture_output=True, text=True, timeout=60
    )
    assert done.stderr == ""
    assert done.stdout.strip()


def test_the_reference_has_a_section_for_each_command_and_fresh_tables():
    text = reference.PAGE.read_text(encoding="utf-8")
    for name in COMMANDS:
        assert f"## `canary {name}`" in text, f"docs/reference/cli.md has no section about {name}"
        assert f"<!-- begin: options {name} -->" in text or name == "version"
    assert reference.filled(text) == text, "run python -m canary.cli.reference"


def test_a_stale_page_is_noticed_and_mended(tmp_path):
    page = tmp_path / "cli.md"
    page.write_text("words\n<!-- begin: exit-codes -->\nold\n<!-- end -->\nmore words\n")
    assert reference.main(["--check", str(page)]) == 1
    assert reference.main([str(page)]) == 0
    assert reference.main(["--check", str(page)]) == 0
    text = page.read_text()
    assert text.startswith("words\n")
    assert text.endswith("<!-- end -->\nmore words\n")
    assert "| 130 | Stopped by Ctrl-C." in text
