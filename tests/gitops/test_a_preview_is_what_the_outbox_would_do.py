"""`canary git preview` on real repositories: its patch applies, gives the promoted images, and nothing is written by looking."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from canary.cli.exits import invoke
from canary.cli.main import cli
from tests.gitops.layouts import HIGH, IMAGES, NEW, OLD, PLAIN, REPO, at, deployment, overlay

pytestmark = pytest.mark.slow

ENVIRONMENT = {
    **{name: value for name, value in os.environ.items() if not name.startswith("GIT_")},
    **{f"GIT_{who}_{what}": "x@example.com" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")},
    "GIT_CONFIG_GLOBAL": os.devnull,
    "GIT_CONFIG_NOSYSTEM": "1",
}


class Repository:
    """A clone with a work tree."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir()
        self.git("init", "-q", "-b", "main")

    def git(self, *arguments: str, stdin: bytes = b"") -> str:
        done = subprocess.run(["git", "-C", str(self.folder), *arguments], input=stdin, capture_output=True, env=ENVIRONMENT, check=False)
        assert done.returncode == 0, done.stderr.decode()
        return done.stdout.decode()

    def commit(self, files: Mapping[str, bytes], tag: str) -> None:
        for path, content in files.items():
            (self.folder / path).parent.mkdir(parents=True, exist_ok=True)
            (self.folder / path).write_bytes(content)
        self.git("add", "-A")
        self.git("commit", "-q", "--allow-empty", "-m", tag)
        self.git("tag", tag)

    def preview(self, capsys: pytest.CaptureFixture[str], *more: str, workload: str = "prod/podinfo") -> tuple[int, str, str]:
        words = ["git", "preview", "--repo", str(self.folder), "--workload", workload]
        defaults = {"--promoted": "promoted", "--failed": "failed"}
        words += [word for name, value in defaults.items() if name not in more for word in (name, value)]
        code = invoke(cli, [*words, *more], prog="canary")
        said = capsys.readouterr()
        return code, said.out, said.err

    def json(self, capsys: pytest.CaptureFixture[str], *more: str) -> tuple[int, dict[str, Any], str]:
        code, out, error = self.preview(capsys, "--json", *more)
        return code, json.loads(out), error


@pytest.fixture
def repo(tmp_path: Path) -> Repository:
    return Repository(tmp_path / "fleet")


def released(repo: Repository, files: Mapping[str, str]) -> None:
    """Two commits: the promoted version and the failed one."""
    repo.commit(at(dict(files), OLD), "promoted")
    repo.commit(at(dict(files), NEW), "failed")


@pytest.mark.parametrize("layout", HIGH)
def test_the_patch_of_every_layout_applies_and_gives_the_promoted_values(
    layout: str, repo: Repository, capsys: pytest.CaptureFixture[str]
) -> None:
    files, file, path = HIGH[layout]
    released(repo, files)
    code, said, error = repo.json(capsys)
    assert code == 0, error
    assert said.keys() == {"confidence", "sites", "patch"}
    assert said["confidence"] == "high"
    assert [(site["file"], site["path"]) for site in said["sites"]] == [(file, path)]
    repo.git("apply", "--check", "-", stdin=said["patch"].encode())
    repo.git("apply", "-", stdin=said["patch"].encode())
    assert repo.git("diff", "--name-only").split() == [file]
    assert (repo.folder / file).read_bytes() == at(files, OLD)[file]


def test_people_see_places_confidence_and_a_patch_that_applies_as_it_is(repo: Repository, capsys: pytest.CaptureFixture[str]) -> None:
    released(repo, overlay(IMAGES))
    code, out, error = repo.preview(capsys)
    assert code == 0
    assert out.startswith("apps/prod/kustomization.yaml: images[0].newTag: 6.1.0 -> 6.0.0 (confidence: high)\n")
    assert error == ""
    repo.git("apply", "-", stdin=out.encode())
    assert repo.git("diff", "--name-only").split() == ["apps/prod/kustomization.yaml"]


@pytest.mark.parametrize("path", ["a b/größe.yaml", 'tab\tand"quote".yaml', "plain/with space.yaml", "🐤.yml"])
def test_names_of_files_may_be_unusual(path: str, repo: Repository, capsys: pytest.CaptureFixture[str]) -> None:
    released(repo, {path: PLAIN})
    code, said, _ = repo.json(capsys)
    assert code == 0
    repo.git("apply", "-", stdin=said["patch"].encode())
    assert (repo.folder / path).read_bytes() == at({path: PLAIN}, OLD)[path]


def test_the_base_may_have_moved_on_elsewhere(repo: Repository, capsys: pytest.CaptureFixture[str]) -> None:
    released(repo, overlay(IMAGES))
    repo.git("mv", "apps/prod", "apps/production")
    base = at(overlay(f"# ours\n\n{IMAGES}"), NEW)["apps/prod/kustomization.yaml"].replace(b"- ../base", b"- ../base # moved")
    repo.commit({"apps/production/kustomization.yaml": base, "x.yaml": b"a: 1\n"}, "base")
    code, said, error = repo.json(capsys)
    assert code == 0, error
    repo.git("apply", "-", stdin=said["patch"].encode())
    assert (repo.folder / "apps/production/kustomization.yaml").read_bytes() == base.replace(b"newTag: 6.1.0", b"newTag: 6.0.0")
    assert repo.json(capsys, "--base", "failed")[1]["sites"][0]["file"] == "apps/prod/kustomization.yaml"


@pytest.mark.parametrize(
    ("base", "said"), [("promoted", "already names the images of the release before"), ("later", "names another image by now")]
)
def test_what_is_reverted_or_superseded_at_the_base_is_one_sentence(
    base: str, said: str, repo: Repository, capsys: pytest.CaptureFixture[str]
) -> None:
    released(repo, overlay(IMAGES))
    repo.commit({path: text.replace(b"6.1.0", b"6.2.0") for path, text in at(overlay(IMAGES), NEW).items()}, "later")
    code, out, error = repo.json(capsys, "--base", base)
    assert code == 1
    assert (out["sites"], out["patch"]) == ([], "")
    (line,) = error.splitlines()
    assert line.startswith("error: ")
    assert said in line


def test_several_places_are_listed_without_a_patch(repo: Repository, capsys: pytest.CaptureFixture[str]) -> None:
    released(repo, {"a/d.yaml": deployment(), "b/d.yaml": deployment()})
    code, said, error = repo.json(capsys)
    assert code == 1
    assert (said["confidence"], said["patch"]) == ("ambiguous", "")
    assert [(site["file"], site["from"], site["to"]) for site in said["sites"]] == [
        (file, f"{REPO}:{NEW}", f"{REPO}:{OLD}") for file in ("a/d.yaml", "b/d.yaml")
    ]
    assert "a/d.yaml (document 1), b/d.yaml (document 1)" in error
    code, out, _ = repo.preview(capsys)
    assert code == 1
    assert out.count("(confidence: ambiguous)") == 2


def test_places_that_change_differently_are_ambiguous(repo: Repository, capsys: pytest.CaptureFixture[str]) -> None:
    repo.commit({"a.yaml": deployment("x:1").encode(), "b.yaml": deployment("x:5").encode()}, "promoted")
    repo.commit({"a.yaml": deployment("x:2").encode(), "b.yaml": deployment("x:6").encode()}, "failed")
    code, said, error = repo.json(capsys)
    assert (code, said["confidence"], said["patch"]) == (1, "ambiguous", "")
    assert "different images" in error


@pytest.mark.parametrize(
    "files",
    [
        {"prod/kustomization.yaml": IMAGES, "base/d.yaml": deployment(REPO)},
        {"prod/kustomization.yaml": IMAGES},
        {"env/values-prod.yaml": f"image:\n  repository: {REPO}\n  tag: TAG\n"},
    ],
    ids=["a base that nothing connects", "an entry alone", "a values file alone"],
)
def test_what_is_only_alike_has_a_patch_and_low_confidence(
    files: dict[str, str], repo: Repository, capsys: pytest.CaptureFixture[str]
) -> None:
    released(repo, files)
    code, said, error = repo.json(capsys)
    assert code == 0
    assert said["confidence"] == "low"
    assert error.startswith("note: ")
    repo.git("apply", "-", stdin=said["patch"].encode())
    assert {path: (repo.folder / path).read_bytes() for path in files} == at(files, OLD)


def test_others_that_a_place_sets_are_told(repo: Repository, capsys: pytest.CaptureFixture[str]) -> None:
    released(repo, {**overlay("- worker.yaml\n" + IMAGES), "apps/prod/worker.yaml": deployment(REPO, name="worker")})
    code, said, error = repo.json(capsys)
    assert (code, said["confidence"]) == (0, "high")
    assert "Deployment prod/worker" in error


def release(tag: str, *, chart: str = "6.1.2", redis: str = "7.0") -> bytes:
    return f"""apiVersion: helm.toolkit.fluxcd.io/v2
kind: HelmRelease
metadata: {{name: podinfo, namespace: prod}}
spec:
  chart: {{spec: {{chart: podinfo, version: {chart}}}}}
  values:
    image: {{repository: {REPO}, tag: {tag}}}
    cache: {{image: {{repository: redis, tag: '{redis}'}}}}
""".encode()


def test_a_chart_version_and_images_of_others_are_told_and_left(repo: Repository, capsys: pytest.CaptureFixture[str]) -> None:
    repo.commit({"a.yaml": release(OLD)}, "promoted")
    repo.commit({"a.yaml": release(NEW, chart="7.0.0", redis="8.0")}, "failed")
    code, said, error = repo.json(capsys)
    assert (code, said["confidence"]) == (0, "high")
    assert "6.1.2 before, 7.0.0 now" in error
    assert "redis:8.0 now" in error
    repo.git("apply", "-", stdin=said["patch"].encode())
    assert (repo.folder / "a.yaml").read_bytes() == release(OLD, chart="7.0.0", redis="8.0")


def test_a_change_that_is_not_clearly_the_workloads_has_low_confidence(repo: Repository, capsys: pytest.CaptureFixture[str]) -> None:
    repo.commit({"a.yaml": release(NEW)}, "promoted")
    repo.commit({"a.yaml": release(NEW, redis="8.0")}, "failed")
    code, said, error = repo.json(capsys)
    assert (code, said["confidence"]) == (0, "low")
    assert "redis" in error


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({"a.yaml": deployment(f"{REPO}:1", namespace="prod"), "b.yaml": "v: TAG\n"}, "has the same images at both revisions (a.yaml"),
        ({"a.yaml": deployment(name="other")}, "nothing at the failed revision names images of prod/podinfo"),
        ({"a.yaml": f"{PLAIN}sops: {{mac: x}}\n"}, "a.yaml is encrypted by SOPS"),
        ({"a.yaml": PLAIN.replace(REPO, "{{ .Values.image }}")}, "a.yaml is not YAML"),
        ({"a.yaml": "x: &i {i: 1}\n" + PLAIN.replace(f"{REPO}:TAG", "*i")}, "through an anchor"),
        ({"a.yaml": PLAIN + "#" * (1 << 20)}, "nothing at the failed revision"),
    ],
    ids=["same", "nothing", "sops", "template", "anchor", "too large"],
)
def test_why_there_is_nothing_to_restore_is_one_sentence(
    files: dict[str, str], said: str, repo: Repository, capsys: pytest.CaptureFixture[str]
) -> None:
    released(repo, files)
    code, out, error = repo.json(capsys)
    assert (code, out["patch"]) == (1, "")
    (line,) = error.splitlines()
    assert said in line


def test_a_workload_that_is_new_has_nothing_before_it(repo: Repository, capsys: pytest.CaptureFixture[str]) -> None:
    repo.commit({"x.yaml": b"a: 1\n"}, "promoted")
    repo.commit(at({"a.yaml": PLAIN}, NEW), "failed")
    code, _, error = repo.json(capsys)
    assert code == 1
    assert "nothing at the promoted revision" in error


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--promoted", "nowhere"], "'nowhere' is no commit"),
        (["--failed", "--upload-pack=x"], "'--upload-pack=x' is no commit"),
        (["--base", "HEAD:a.yaml"], "'HEAD:a.yaml' is no commit"),
        (["--base", ""], "'' is no commit"),
    ],
)
def test_an_unknown_revision_is_a_usage_error(more: list[str], said: str, repo: Repository, capsys: pytest.CaptureFixture[str]) -> None:
    released(repo, {"a.yaml": PLAIN})
    code, out, error = repo.preview(capsys, *more)
    assert (code, out) == (2, "")
    assert error.startswith("error: ")
    assert said in error


@pytest.mark.parametrize("workload", ["podinfo", "a/b/c", "/x", "prod/", "Prod/podinfo", "prod/../x"])
def test_a_workload_has_a_namespace_and_a_name(workload: str, repo: Repository, capsys: pytest.CaptureFixture[str]) -> None:
    code, _, error = repo.preview(capsys, workload=workload)
    assert code == 2
    assert "is not NAMESPACE/NAME" in error


def test_a_folder_that_is_no_repository_is_a_usage_error(tmp_path: Path, repo: Repository, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["git", "preview", "--workload", "prod/podinfo", "--promoted", "a", "--failed", "b", "--repo"]
    assert invoke(cli, [*words, str(tmp_path)], prog="canary") == 2
    assert "is not in a Git repository" in capsys.readouterr().err
    assert invoke(cli, [*words, str(tmp_path / "nowhere")], prog="canary") == 2
    assert invoke(cli, words[:-1], prog="canary") == 2


@pytest.mark.parametrize("kind", ["DaemonSet", "Service"])
def test_other_kinds_are_found_by_themselves(kind: str, repo: Repository, capsys: pytest.CaptureFixture[str]) -> None:
    text = PLAIN.replace("kind: Deployment", f"kind: {kind}")
    text = text if kind == "DaemonSet" else text.replace("apps/v1", "serving.knative.dev/v1")
    released(repo, {"a.yaml": text})
    assert repo.json(capsys)[0] == 0


def test_looking_writes_nothing_and_needs_no_network(repo: Repository, capsys: pytest.CaptureFixture[str]) -> None:
    released(repo, overlay(IMAGES))
    repo.git("remote", "add", "origin", "https://192.0.2.1/nothing.git")
    (repo.folder / "apps/prod/kustomization.yaml").write_text("dirty: true\n")
    hook = repo.folder / ".git/hooks/post-index-change"
    hook.write_text("#!/bin/sh\ntouch ran\n")
    hook.chmod(0o755)

    def state() -> dict[str, tuple[int, bytes]]:
        return {str(path): (path.stat().st_mtime_ns, path.read_bytes()) for path in repo.folder.rglob("*") if path.is_file()}

    before = state()
    assert repo.json(capsys)[0] == 0
    assert state() == before


def test_bare_repositories_folders_inside_and_linked_work_trees_are_read(
    repo: Repository, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    released(repo, overlay(IMAGES))
    repo.git("clone", "-q", "--bare", ".", str(tmp_path / "bare.git"))
    repo.git("worktree", "add", "-q", str(tmp_path / "linked"), "promoted")
    expected = {"bare.git": 0, "fleet/apps/base": 0, "linked": 1}  # HEAD of the linked one has the promoted images already
    for name, code in expected.items():
        words = ["--repo", str(tmp_path / name), "--workload", "prod/podinfo", "--promoted", "promoted", "--failed", "failed"]
        assert invoke(cli, ["git", "preview", *words], prog="canary") == code, capsys.readouterr().err


def test_a_clone_without_the_blobs_says_so_and_fetches_nothing(
    repo: Repository, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    released(repo, overlay(IMAGES))
    repo.git("config", "uploadpack.allowFilter", "true")
    repo.git("clone", "-q", "--no-checkout", "--filter=blob:none", f"file://{repo.folder}", str(tmp_path / "partial"))
    words = ["--repo", str(tmp_path / "partial"), "--workload", "prod/podinfo", "--promoted", "promoted", "--failed", "failed"]
    assert invoke(cli, ["git", "preview", *words], prog="canary") == 1
    assert "cannot be read" in capsys.readouterr().err


def test_the_command_works_as_a_program(repo: Repository) -> None:
    released(repo, HIGH["crlf"][0])
    words = ["--repo", str(repo.folder), "--workload", "prod/podinfo", "--promoted", "promoted", "--failed", "failed"]
    done = subprocess.run([sys.executable, "-m", "canary.cli.main", "git", "preview", *words], capture_output=True, timeout=60, check=True)
    repo.git("apply", "-", stdin=done.stdout)
    assert (repo.folder / "a.yaml").read_bytes() == at(HIGH["crlf"][0], OLD)["a.yaml"]


def test_files_that_do_not_name_the_workload_are_read_where_they_matter(repo: Repository, capsys: pytest.CaptureFixture[str]) -> None:
    files = {
        "base/kustomization.yaml": "resources: [d.yaml, worker.yaml]\n",
        "base/d.yaml": deployment("place-holder"),
        "base/worker.yaml": deployment("place-holder", name="worker"),
        "prod/kustomization.yaml": f"namespace: prod\nresources: [../base]\nimages:\n- name: place-holder\n  newName: {REPO}\n  newTag: TAG\n",
    }
    released(repo, files)
    code, said, error = repo.json(capsys)
    assert (code, said["confidence"]) == (0, "high")
    assert "Deployment prod/worker" in error


def test_declarations_that_cannot_be_compared_are_not_called_equal(repo: Repository, capsys: pytest.CaptureFixture[str]) -> None:
    repo.commit(at({"a.yaml": PLAIN}, OLD), "promoted")
    repo.git("rm", "-q", "a.yaml")
    repo.commit({"b.yaml": release(NEW)}, "failed")
    code, said, error = repo.json(capsys)
    assert (code, said["confidence"]) == (1, "ambiguous")
    assert "in another way" in error
