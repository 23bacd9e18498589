"""Every search asks all kustomizations of a repository; they are parsed when they are new, and not for each revert."""

from __future__ import annotations

import pytest

from bench.git import monorepo
from canary.gitops import layout, revert, sites
from canary.gitops.revert import Verdict
from canary.gitops.sites import Workload

SHAPE = monorepo.Shape(100)


@pytest.fixture
def parsed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Paths of the kustomizations that were parsed."""
    layout.first.cache_clear()
    paths: list[str] = []
    monkeypatch.setattr(layout, "parsed", lambda path, content: paths.append(path) or original(path, content))
    return paths


original = layout.parsed


def files(**more: bytes) -> dict[str, bytes]:
    return {path: text.encode() for path, text in monorepo.contents(SHAPE) if path.endswith(".yaml")} | more


def plan(number: int, contents: dict[str, bytes]) -> revert.Plan:
    name = monorepo.app(number)
    failed, before = (monorepo.image(name, tag) for tag in ("6.1.0", monorepo.FIRST))
    path = monorepo.tag_path(name)
    found = revert.plan(
        {**contents, path: monorepo.tag_file(name, "6.1.0").encode()},
        Workload("apps", "Deployment", "prod", name, {name: failed}, {name: before}),
    )
    sites.forget()
    return found


def test_another_revert_parses_what_changed_and_nothing_else(parsed: list[str]) -> None:
    contents = files()
    assert plan(0, contents).verdict is Verdict.EDIT
    assert len(parsed) == 3 * SHAPE.apps + 1  # and the one that was edited, in the proof
    parsed.clear()
    assert plan(1, contents).verdict is Verdict.EDIT
    assert parsed == [monorepo.tag_path(monorepo.app(1))]  # with the bad tag; with the good one it was read before


def test_one_that_cannot_be_read_is_told_each_time(parsed: list[str]) -> None:
    """Also when it was read before."""
    name = monorepo.app(0)
    broken = f"# {name}\nimages: [\n".encode()
    contents = {path: text for path, text in files().items() if name not in path}
    for _ in range(2):
        parsed.clear()
        found = revert.plan(
            {**contents, "x/kustomization.yaml": broken},
            Workload("apps", "Deployment", "prod", name, {name: monorepo.image(name, "6.1.0")}, {name: monorepo.image(name, "6.0.0")}),
        )
        assert (found.verdict, "x/kustomization.yaml is not YAML" in found.explanation) == (Verdict.NO_SITE, True)
    assert parsed == []
