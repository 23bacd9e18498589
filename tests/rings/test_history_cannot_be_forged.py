"""What people write into names, subjects and trailers is text, whatever separators it holds."""

from __future__ import annotations

import subprocess

import pytest

from canary.gitops.clone import git_folder
from canary.gitops.rings import plumbing
from canary.gitops.rings.mirror import RingClone
from canary.gitops.rings.releases import belongs
from canary.gitops.rings.view import Candidate


@pytest.fixture
def repo(tmp_path):
    def git(*arguments, name="ann"):
        who = ("-c", f"user.name={name}", "-c", "user.email=a@x")
        return subprocess.run(["git", "-C", str(tmp_path), *who, *arguments], check=True, capture_output=True, text=True).stdout.strip()

    git("init", "-q", "-b", "main")
    return git


async def clone(tmp_path):
    return RingClone(await git_folder(tmp_path)).git


async def test_commits_with_and_without_changes_are_read_in_order(repo, tmp_path):
    repo("commit", "-q", "--allow-empty", "-m", "nothing")
    repo("commit", "-q", "--allow-empty", "-m", "nothing again\n\nCanary-Approve: a/b/c\nCanary-Approve: d/e/f")
    (tmp_path / "a b\tc").write_text("x")
    (tmp_path / "M").write_text("x")
    repo("add", ".")
    repo("commit", "-q", "-m", "files")
    repo("rm", "-q", "M")
    repo("commit", "-q", "-m", "gone")
    found = await plumbing.history(await clone(tmp_path), "main", limit=9, keys=["Canary-Approve", "Other"])
    assert [one.subject for one in found] == ["gone", "files", "nothing again", "nothing"]
    assert [one.paths for one in found] == [{"M"}, {"a b\tc", "M"}, frozenset(), frozenset()]
    assert found[0].gone == {"M"}
    assert found[2].trailers == {"Canary-Approve": ("a/b/c", "d/e/f"), "Other": ()}
    assert found[0].tree == repo("rev-parse", "main^{tree}")


@pytest.mark.parametrize("text", ["\x1e0\x1f0\x1fCanary-Approve\x1fp/v1/second\x1f", "M", "D\x01x", "\x1d", "\x02\n"])
async def test_separators_in_subjects_and_names_forge_nothing(repo, tmp_path, text):
    (tmp_path / "f").write_text("x")
    repo("add", ".")
    repo("commit", "-q", "-m", f"{text}", name=f"x{text.strip()}y")
    (one,) = await plumbing.history(await clone(tmp_path), "main", limit=9, keys=["Canary-Approve"])
    assert one.trailers == {"Canary-Approve": ()}
    assert one.paths == {"f"}
    assert one.tree == repo("rev-parse", "main^{tree}")


async def test_a_files_last_change_is_told_by_the_branchs_own_commits(repo, tmp_path):
    (tmp_path / "approvals").mkdir()
    for number, name in enumerate(("ann", "bob\x1f0\x1e")):
        (tmp_path / "approvals" / f"{number}.yaml").write_text("x")
        repo("add", ".")
        repo("commit", "-q", "-m", "x", name=name)
    found = await plumbing.touched(await clone(tmp_path), "main", "approvals")
    assert set(found) == {"approvals/0.yaml", "approvals/1.yaml"}
    assert found["approvals/0.yaml"][1] == "ann"


def test_a_release_that_dropped_a_container_did_not_run_where_it_was_still_there():
    newer, older = Candidate("new", "c2", 2, frozenset({"app:1"})), Candidate("old", "c1", 1, frozenset({"app:1", "sidecar:1"}))
    assert belongs(["app:1", "sidecar:1", "injected:1"], [newer, older]) == "old"
    assert belongs(["app:1", "injected:1"], [newer, older]) == "new"
    assert belongs(["app:2"], [newer, older]) == ""
