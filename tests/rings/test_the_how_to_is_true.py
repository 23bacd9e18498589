"""The blocks of `docs/how-to/rings.md` are what the code reads, and its tables are what the code knows."""

from __future__ import annotations

import re
import textwrap
from pathlib import Path

import click
import yaml

from canary.api.gitsink import parse_git_sink
from canary.cli.rings import rings
from canary.gitops.rings import people
from canary.gitops.rings.fleet import clusters, membership
from canary.gitops.rings.mirror import outcomes
from canary.gitops.rings.reader import plan_of
from canary.gitops.rings.standing import Phase

TEXT = Path("docs/how-to/rings.md").read_text(encoding="utf-8")


def blocks(language):
    return [textwrap.dedent(found) for found in re.findall(rf"^ *```{language}\n(.*?)^ *```$", TEXT, re.DOTALL | re.MULTILINE)]


def test_the_manifests_are_accepted_and_fit_one_another():
    sink, listed, plan, *_ = blocks("yaml")
    parsed = plan_of(plan.encode(), "plan.yaml")
    found = membership(parsed, clusters(listed.encode(), "clusters.yaml"), "clusters.yaml")
    assert found == {"innovators": ("cluster-001",), "early-adopters": ("cluster-002",), "late-majority": ()}
    where = parse_git_sink(yaml.safe_load(sink)).spec
    assert f"refs/heads/{where.records.branch}" == f"{outcomes(parsed)}/innovators/{where.cluster}"
    assert parsed.spec.rings[1].windows[0].tz == "Europe/Copenhagen"


def test_the_commands_have_options_that_exist():
    known = {name for option in rings.params if isinstance(option, click.Option) for name in option.opts}
    used = {word for block in blocks("sh") for word in block.split() if word.startswith("--")}
    assert used
    assert used <= known
    assert set(re.findall(r"`(--[a-z]+)", TEXT)) <= known


def test_the_phases_and_the_files_of_people_are_those_of_the_code():
    assert set(re.findall(r"^\| `([a-z]+)` \|", TEXT, re.MULTILINE)) == {phase.value for phase in Phase}
    for name in (people.BYPASS, people.RESUME, people.DEGRADED, people.ROLLBACK):
        assert f"/{name}.yaml" in TEXT
    assert people.TRAILER in TEXT
