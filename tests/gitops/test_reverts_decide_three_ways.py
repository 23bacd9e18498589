"""What may be edited: the branch's value against the failed one and the one before; one place or none; never a guess."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from canary.gitops.revert import Plan, Verdict, plan
from canary.gitops.sites import Workload, candidates, repository

OLD, BAD, THIRD = "ghcr.io/acme/podinfo:1", "ghcr.io/acme/podinfo:2", "ghcr.io/acme/podinfo:3"


def workload(
    *, failed: Mapping[str, str] | None = None, previous: Mapping[str, str] | None = None, kind: str = "Deployment", group: str = "apps"
) -> Workload:
    return Workload(group, kind, "prod", "podinfo", failed or {"podinfo": BAD}, {"podinfo": OLD} if previous is None else previous)


def manifest(
    containers: Mapping[str, str],
    *,
    init: Mapping[str, str] | None = None,
    namespace: str = "",
    name: str = "podinfo",
    head: str = "apps/v1 Deployment",
) -> str:
    version, kind = head.split()
    place = f"  namespace: {namespace}\n" if namespace else ""
    lists = [("initContainers", init or {}), ("containers", containers)]
    spec = "".join(
        f"      {key}:\n" + "".join(f"      - name: {one}\n        image: {image}\n" for one, image in entries.items())
        for key, entries in lists
        if entries
    )
    return f"apiVersion: {version}\nkind: {kind}\nmetadata:\n  name: {name}\n{place}spec:\n  template:\n    spec:\n{spec}"


def decide(files: Mapping[str, str | bytes], of: Workload | None = None) -> Plan:
    return plan({path: text.encode() if isinstance(text, str) else text for path, text in files.items()}, of or workload())


@pytest.mark.parametrize(
    ("there", "verdict"),
    [(BAD, Verdict.EDIT), (OLD, Verdict.ALREADY_REVERTED), (THIRD, Verdict.SUPERSEDED), (f"{BAD}@sha256:0", Verdict.SUPERSEDED)],
)
@pytest.mark.fault(2, 3)
def test_the_branch_is_compared_with_the_failed_image_and_the_one_before(there: str, verdict: Verdict) -> None:
    decided = decide({"a.yaml": manifest({"podinfo": there})})
    assert decided.verdict is verdict
    if verdict is Verdict.EDIT:
        assert decided.edits == {"a.yaml": manifest({"podinfo": OLD}).encode()}
        assert decided.changes == ((BAD, OLD),)
    else:
        assert not decided.edits
        assert "a.yaml" in decided.explanation


@pytest.mark.fault(17)
def test_all_containers_go_back_together_and_init_containers_with_them() -> None:
    both = workload(failed={"podinfo": BAD, "setup": "s:2", "proxy": "p:1"}, previous={"podinfo": OLD, "setup": "s:1", "proxy": "p:1"})
    decided = decide({"a.yaml": manifest({"podinfo": BAD, "proxy": "p:1"}, init={"setup": "s:2"})}, both)
    assert decided.edits == {"a.yaml": manifest({"podinfo": OLD, "proxy": "p:1"}, init={"setup": "s:1"}).encode()}
    assert set(decided.changes) == {(BAD, OLD), ("s:2", "s:1")}


def test_what_is_half_reverted_is_finished_and_what_has_half_moved_on_is_left() -> None:
    both = workload(failed={"podinfo": BAD, "proxy": "p:2"}, previous={"podinfo": OLD, "proxy": "p:1"})
    half = decide({"a.yaml": manifest({"podinfo": OLD, "proxy": "p:2"})}, both)
    assert half.edits == {"a.yaml": manifest({"podinfo": OLD, "proxy": "p:1"}).encode()}
    assert decide({"a.yaml": manifest({"podinfo": THIRD, "proxy": "p:2"})}, both).verdict is Verdict.SUPERSEDED
    assert decide({"a.yaml": manifest({"podinfo": BAD})}, both).verdict is Verdict.SUPERSEDED  # a container has gone


@pytest.mark.parametrize(
    ("failed", "before"), [("r:5000/x:2@sha256:bb", "r:5000/x:1@sha256:aa"), ("x@sha256:bb", "x@sha256:aa"), ("x:2", "x@sha256:aa")]
)
@pytest.mark.fault(18)
def test_tag_and_digest_go_back_as_one(failed: str, before: str) -> None:
    decided = decide({"a.yaml": manifest({"podinfo": failed})}, workload(failed={"podinfo": failed}, previous={"podinfo": before}))
    assert decided.edits == {"a.yaml": manifest({"podinfo": before}).encode()}


@pytest.mark.fault(17)
def test_other_workloads_with_the_same_image_are_left_alone() -> None:
    mine, other = manifest({"podinfo": BAD}), manifest({"podinfo": BAD}, name="podinfo-batch")
    daemon = manifest({"podinfo": BAD}, head="apps/v1 DaemonSet")
    elsewhere = manifest({"podinfo": BAD}, namespace="staging")
    decided = decide({"a.yaml": f"{other}---\n{mine}---\n{daemon}", "b.yaml": elsewhere})
    assert decided.edits == {"a.yaml": f"{other}---\n{manifest({'podinfo': OLD})}---\n{daemon}".encode()}


def test_a_core_service_is_no_knative_service() -> None:
    knative = workload(kind="Service", group="serving.knative.dev")
    files = {
        "a.yaml": manifest({"podinfo": BAD}, head="v1 Service"),
        "b.yaml": manifest({"podinfo": BAD}, head="serving.knative.dev/v1 Service"),
    }
    assert list(decide(files, knative).edits) == ["b.yaml"]


def test_a_manifest_that_names_the_namespace_beats_one_that_does_not() -> None:
    files = {"base.yaml": manifest({"podinfo": BAD}), "prod.yaml": manifest({"podinfo": BAD}, namespace="prod")}
    assert list(decide(files).edits) == ["prod.yaml"]


@pytest.mark.fault(15, 16)
def test_several_places_are_never_a_guess() -> None:
    files = {"prod.yaml": manifest({"podinfo": BAD}), "staging.yaml": manifest({"podinfo": THIRD})}
    decided = decide(files)
    assert decided.verdict is Verdict.AMBIGUOUS
    assert "prod.yaml (document 1)" in decided.explanation
    assert "staging.yaml (document 1)" in decided.explanation
    assert not decided.edits
    assert decide({"a.yaml": f"{manifest({'podinfo': BAD})}---\n{manifest({'podinfo': BAD})}"}).verdict is Verdict.AMBIGUOUS


@pytest.mark.parametrize(("prod", "verdict"), [(OLD, Verdict.ALREADY_REVERTED), (THIRD, Verdict.SUPERSEDED)])
def test_several_places_of_which_none_names_the_failed_image_need_nobody(prod: str, verdict: Verdict) -> None:
    assert decide({"prod.yaml": manifest({"podinfo": prod}), "staging.yaml": manifest({"podinfo": OLD})}).verdict is verdict


def test_a_patch_without_the_image_is_no_place() -> None:
    patch = "apiVersion: apps/v1\nkind: Deployment\nmetadata:\n  name: podinfo\nspec:\n  replicas: 3\n"
    assert list(decide({"base.yaml": manifest({"podinfo": BAD}), "patch.yaml": patch}).edits) == ["base.yaml"]


NO_PLACE: dict[str, tuple[dict[str, str | bytes], str]] = {
    "nothing": ({}, "no plain manifest of Deployment prod/podinfo"),
    "encrypted": ({"a.yaml": f"{manifest({'podinfo': BAD})}sops:\n  mac: x\n"}, "a.yaml is encrypted by SOPS"),
    "template": ({"a.yaml": manifest({"podinfo": BAD}) + "{{ if .Values.x }}\n"}, "a.yaml is not YAML"),
    "not utf-8": ({"a.yaml": manifest({"podinfo": BAD}).encode() + b"# \xff\n"}, "a.yaml is not UTF-8"),
    "kustomize": (
        {
            "base/a.yaml": manifest({"podinfo": "ghcr.io/acme/podinfo"}),
            "prod/kustomization.yaml": "images:\n- name: ghcr.io/acme/podinfo\n  newTag: '2'\n",
        },
        "base/a.yaml is replaced by `images` in prod/kustomization.yaml",
    ),
    "variable": ({"a.yaml": manifest({"podinfo": "ghcr.io/acme/podinfo:${TAG}"})}, "a.yaml is a variable"),
    "shared containers": (
        {
            "a.yaml": f"x: &c [{{name: podinfo, image: '{BAD}'}}]\n"
            + manifest({}).replace("    spec:\n", "    spec:\n      containers: *c\n")
        },
        "a.yaml shares its containers through an anchor",
    ),
}


@pytest.mark.parametrize("case", NO_PLACE)
def test_where_no_place_can_be_edited_the_reason_is_said(case: str) -> None:
    files, reason = NO_PLACE[case]
    decided = decide(files)
    assert decided.verdict is Verdict.NO_SITE
    assert reason in decided.explanation


@pytest.mark.parametrize("image", [f"&i {BAD}", "*i", f"!!str {BAD}"])
def test_an_image_that_is_shared_or_tagged_is_not_edited(image: str) -> None:
    text = f"x: &i {BAD}\ny: *i\n" + manifest({"podinfo": image})
    decided = decide({"a.yaml": text.replace(f"x: &i {BAD}\ny: *i\n", "") if image != "*i" else text})
    assert decided.verdict is Verdict.UNSAFE
    assert "a.yaml" in decided.explanation


def test_a_release_that_changed_no_image_has_nothing_to_take_back() -> None:
    assert decide({}, workload(previous={"podinfo": BAD})).verdict is Verdict.SAME_IMAGES
    assert decide({}, workload(previous={})).verdict is Verdict.SAME_IMAGES


def test_files_that_were_too_large_to_read_are_named() -> None:
    assert "big.yaml is larger than limits.maxBytes" in plan({}, workload(), unread=("big.yaml",)).explanation


def test_a_name_is_looked_for_as_a_whole_word() -> None:
    short = Workload("apps", "Deployment", "prod", "api", {"c": "r/x:2"}, {"c": "r/x:1"})
    assert not short.may_be_in(b"apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: api-gateway}\n")
    assert short.may_be_in(b"kind: Deployment\nmetadata: {name: api}\n")
    assert short.may_be_in(b'{"kind":"Deployment","metadata":{"name":"api"}}')
    assert short.may_be_in(b"images:\n- name: r/x\n")
    assert not short.may_be_in(b"kind: Service\nname: api\n")


def test_only_yaml_files_inside_the_allowed_paths_are_candidates() -> None:
    paths = ["apps/a.yaml", "apps/x/y/b.yml", "apps/c.json", "infra/d.yaml", "e.yaml", "apps2/f.yaml"]
    assert candidates(paths, allowed=()) == ["apps/a.yaml", "apps/x/y/b.yml", "infra/d.yaml", "e.yaml", "apps2/f.yaml"]
    assert candidates(paths, allowed=["apps/**"]) == ["apps/a.yaml", "apps/x/y/b.yml"]
    assert candidates(paths, allowed=["apps/*.yaml", "e.yaml"]) == ["apps/a.yaml", "e.yaml"]
    assert candidates(paths, allowed=["**/b.yml"]) == ["apps/x/y/b.yml"]
    assert candidates(paths, allowed=["*/*"]) == ["apps/a.yaml", "infra/d.yaml", "apps2/f.yaml"]


def test_a_pattern_of_many_stars_costs_no_more_than_others() -> None:
    deep = "/".join("a" * 40) + "/x.yaml"
    assert candidates([deep] * 200, allowed=["**/a/" * 30 + "nothing.yaml"]) == []


@pytest.mark.parametrize(
    ("image", "name"),
    [
        ("a", "a"),
        ("a:1", "a"),
        ("r:5000/a", "r:5000/a"),
        ("r:5000/a:1", "r:5000/a"),
        ("r:5000/a:1@sha256:x", "r:5000/a"),
        ("a@sha256:x", "a"),
    ],
)
@pytest.mark.fault(18)
def test_the_port_of_a_registry_is_no_tag(image: str, name: str) -> None:
    assert repository(image) == name
