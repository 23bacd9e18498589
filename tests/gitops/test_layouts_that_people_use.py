"""Every layout that people use: the one value goes back, all other bytes stay, and what is not certain is told and not written."""

from __future__ import annotations

import pytest

from canary.gitops.revert import Verdict, plan
from canary.gitops.sites import Confidence, Workload
from tests.gitops.layouts import (
    ARGO,
    BASE,
    DIGESTS,
    FLUX,
    GIT_CHART,
    HELM,
    HIGH,
    IMAGES,
    NEW,
    OLD,
    PATCH,
    PLAIN,
    REPO,
    VALUES,
    at,
    deployment,
    indented,
    overlay,
)


def workload(layout: str = "") -> Workload:
    names = {tag: f"{REPO}@{DIGESTS[tag]}" if "digest" in layout else f"{REPO}:{tag}" for tag in (OLD, NEW)}
    sidecar = {"sidecar": "ghcr.io/acme/sidecar:1.0"}
    return Workload("apps", "Deployment", "prod", "podinfo", {"podinfo": names[NEW], **sidecar}, {"podinfo": names[OLD], **sidecar})


@pytest.mark.parametrize("layout", HIGH)
@pytest.mark.fault(17, 18, 19, 20)
def test_the_one_value_goes_back_and_nothing_else(layout: str) -> None:
    files, file, path = HIGH[layout]
    decided = plan(at(files, NEW), workload(layout))
    assert decided.verdict is Verdict.EDIT, decided
    assert decided.confidence is Confidence.HIGH
    assert decided.edits == {file: at(files, OLD)[file]}
    assert [(one.file, one.path) for one in decided.sites] == [(file, path)]


@pytest.mark.parametrize("layout", HIGH)
def test_what_is_there_again_is_not_written_again(layout: str) -> None:
    decided = plan(at(HIGH[layout][0], OLD), workload(layout))
    assert decided.verdict is Verdict.ALREADY_REVERTED, decided


@pytest.mark.parametrize("layout", HIGH)
def test_who_has_moved_on_is_left_alone(layout: str) -> None:
    files = {path: text.replace("TAG", "6.2.0").replace("DIGEST", f"sha256:{'c' * 64}").encode() for path, text in HIGH[layout][0].items()}
    decided = plan(files, workload(layout))
    assert decided.verdict is Verdict.SUPERSEDED, decided
    assert not decided.edits


# ------------------------------------------------------------------------------------------------------------ what is not certain

LOOSE = {
    "an entry that reaches no manifest": ({"prod/kustomization.yaml": IMAGES}, "prod/kustomization.yaml"),
    "an entry of a component that nobody uses": (
        {"c/kustomization.yaml": f"kind: Component\n{IMAGES}", "base/d.yaml": deployment("x:1", name="other")},
        "c/kustomization.yaml",
    ),
    "a values file that no release takes": ({"env/values-prod.yaml": VALUES}, "env/values-prod.yaml"),
    "a value that only a bot knows": (
        {"x.yaml": f'kind: Job\nspec:\n  image: {REPO}:TAG # {{"$imagepolicy": "flux-system:podinfo"}}\n'},
        "x.yaml",
    ),
    "a release of another name": (
        {
            "a.yaml": f"{HELM}    image: {REPO}:TAG\n".replace("name: podinfo\n  name", "name: shop\n  name").replace(
                "chart: podinfo", "chart: shop"
            )
        },
        "a.yaml",
    ),
    "a part of an umbrella chart": (
        {
            "a.yaml": f"{HELM}    podinfo:\n      image:\n        tag: TAG\n".replace(
                "name: podinfo\n  name", "name: shop\n  name"
            ).replace("chart: podinfo", "chart: shop")
        },
        "a.yaml",
    ),
    "a tag alone, deep in the values": ({"a.yaml": f"{HELM}    redis:\n      image:\n        tag: TAG\n"}, "a.yaml"),
    "a patch that selects by labels": (
        overlay(f"patches:\n- target: {{labelSelector: a=b}}\n  patch: |-\n{indented(PATCH.replace('TAG', '1.0'), 4)}{IMAGES}"),
        "apps/prod/kustomization.yaml",
    ),
}


@pytest.mark.parametrize("layout", LOOSE)
def test_what_is_only_alike_is_told_and_not_written(layout: str) -> None:
    files, file = LOOSE[layout]
    decided = plan(at(files, NEW), workload())
    assert (decided.verdict, decided.confidence) == (Verdict.NO_SITE, Confidence.LOW), decided
    assert not decided.edits
    assert decided.proposed == {file: at(files, OLD)[file]}
    assert {one.confidence for one in decided.sites} == {Confidence.LOW}
    assert file in decided.explanation


OTHER = deployment(name="worker")
SHARED = {
    "a base of two environments": overlay("")
    | {"apps/base/deployment.yaml": deployment(), "apps/staging/kustomization.yaml": "namespace: staging\nresources: [../base]\n"},
    "an entry for two workloads": overlay("- worker.yaml\n" + IMAGES, worker_yaml=OTHER.replace(":TAG", "")),
    "a component of two environments": {
        **overlay("components: [../release]\n"),
        "apps/staging/kustomization.yaml": "namespace: staging\nresources: [../base]\ncomponents: [../release]\n",
        "apps/release/kustomization.yaml": f"kind: Component\n{IMAGES}",
    },
    "values of two releases": {
        "a.yaml": GIT_CHART,
        "b.yaml": GIT_CHART.replace("namespace: prod", "namespace: staging"),
        "releases/prod/values.yaml": VALUES,
    },
    "a base in folders that say no namespace": {
        "base/kustomization.yaml": "resources: [d.yaml]\n",
        "base/d.yaml": deployment(),
        "one/kustomization.yaml": "resources: [../base]\n",
        "two/kustomization.yaml": "resources: [../base]\n",
    },
}


@pytest.mark.parametrize("layout", SHARED)
def test_a_place_that_sets_other_workloads_too_is_left_to_a_person(layout: str) -> None:
    decided = plan(at(SHARED[layout], NEW), workload())
    assert (decided.verdict, decided.confidence) == (Verdict.SHARED, Confidence.HIGH), decided
    assert not decided.edits
    (file,) = decided.proposed
    assert decided.proposed == {file: at(SHARED[layout], OLD)[file]}
    assert file in decided.explanation


AMBIGUOUS = {
    "two environments that say no namespace": {
        **BASE,
        "apps/a/kustomization.yaml": f"resources: [../base]\n{IMAGES}",
        "apps/b/kustomization.yaml": f"resources: [../base]\n{IMAGES}",
    },
    "a manifest and a release": {"a.yaml": PLAIN, "b.yaml": f"{HELM}    image: {REPO}:TAG\n"},
    "two releases": {
        "a.yaml": f"{HELM}    image: {REPO}:TAG\n",
        "b.yaml": f"{HELM}    fullnameOverride: podinfo\n    image: {REPO}:TAG\n".replace("name: podinfo\n  name", "name: shop\n  name"),
    },
    "two values files that no release takes": {"a/values.yaml": VALUES, "b/values.yaml": VALUES},
    "two tags alone": {"a.yaml": f"{HELM}    a: {{image: {{tag: TAG}}}}\n    b: {{image: {{tag: TAG}}}}\n"},
}


@pytest.mark.parametrize("layout", AMBIGUOUS)
def test_several_places_are_listed_and_none_is_chosen(layout: str) -> None:
    decided = plan(at(AMBIGUOUS[layout], NEW), workload())
    assert (decided.verdict, decided.confidence) == (Verdict.AMBIGUOUS, Confidence.AMBIGUOUS), decided
    assert not decided.edits
    assert not decided.proposed
    assert len(decided.sites) == 2
    assert {one.confidence for one in decided.sites} == {Confidence.AMBIGUOUS}


def test_our_marker_ends_an_ambiguity() -> None:
    files = at(AMBIGUOUS["a manifest and a release"], NEW)
    files["b.yaml"] = files["b.yaml"].replace(b"6.1.0\n", b'6.1.0 # {"$canary": "prod/podinfo"}\n')
    decided = plan(files, workload())
    assert list(decided.edits) == ["b.yaml"]
    assert decided.edits["b.yaml"].endswith(b'podinfo:6.0.0 # {"$canary": "prod/podinfo"}\n')


# ----------------------------------------------------------------------------------------------------------- what is never touched

SOPS = "sops:\n  mac: ENC[AES256_GCM,data:x,type:str]\n"
NEVER = {
    "encrypted values": (
        {"a.yaml": GIT_CHART, "releases/prod/values.yaml": VALUES + SOPS},
        "releases/prod/values.yaml",
    ),
    "encrypted manifest below a kustomization": (
        {**overlay(""), "apps/base/deployment.yaml": deployment() + SOPS},
        "apps/base/deployment.yaml is encrypted by SOPS",
    ),
    "encrypted kustomization": (overlay(IMAGES + SOPS), "apps/prod/kustomization.yaml is encrypted by SOPS"),
    "encrypted values that nothing takes": ({"values.yaml": VALUES + SOPS}, "no plain manifest of Deployment prod/podinfo"),
    "a sealed secret that looks alike": (
        {
            "a.yaml": f"kind: SealedSecret\napiVersion: bitnami.com/v1alpha1\nmetadata: {{name: podinfo}}\nspec: {{template: {{spec: {{containers: [{{name: podinfo, image: '{REPO}:TAG'}}]}}}}}}\n"
        },
        "no plain manifest of Deployment prod/podinfo",
    ),
    "a base at another place": ({"prod/kustomization.yaml": "resources: ['https://example.com/base?ref=TAG']\n"}, "no plain manifest"),
}


@pytest.mark.parametrize("layout", NEVER)
def test_what_is_encrypted_or_elsewhere_is_never_touched(layout: str) -> None:
    files, said = NEVER[layout]
    decided = plan(at(files, NEW), workload())
    assert decided.verdict is Verdict.NO_SITE, decided
    assert said in decided.explanation
    assert not decided.edits
    assert not decided.proposed
    assert not decided.sites


def test_files_outside_the_limits_are_read_and_not_edited() -> None:
    files = at(overlay(IMAGES), NEW)
    assert list(plan(files, workload(), allowed=["apps/prod/**"]).edits) == ["apps/prod/kustomization.yaml"]
    base = at(overlay("") | {"apps/base/deployment.yaml": deployment()}, NEW)
    decided = plan(base, workload(), allowed=["apps/prod/**"])
    assert decided.verdict is Verdict.NO_SITE
    assert "outside limits.allowedPaths" in decided.explanation
    assert not decided.edits


def test_manifests_of_other_clusters_make_nothing_ambiguous_inside_the_limits() -> None:
    files = at({"clusters/a/d.yaml": PLAIN, "clusters/b/d.yaml": PLAIN}, NEW)
    assert plan(files, workload()).verdict is Verdict.AMBIGUOUS
    assert list(plan(files, workload(), allowed=["clusters/b/**"]).edits) == ["clusters/b/d.yaml"]


UNSAFE = {
    "an anchor that others use": overlay(f"x: &t TAG\nimages:\n- name: {REPO}\n  newTag: *t\n"),
    "an anchor on the value": {"a.yaml": f"{HELM}    image:\n      repository: {REPO}\n      tag: &t TAG\n    job: {{tag: *t}}\n"},
    "a folded text": {"a.yaml": f"{ARGO}    chart: podinfo\n    helm:\n      values: >-\n        image: {REPO}:TAG\n"},
    "a quoted text": {"a.yaml": f'{ARGO}    chart: podinfo\n    helm:\n      values: "image: {REPO}:TAG\\n"\n'},
    "a name that must be matched": {
        "kustomization.yaml": f"namespace: prod\nresources: [d.yaml]\nimages:\n- {{name: {REPO}, newTag: TAG}}\n- {{name: {REPO}, newTag: TAG}}\n{'images: []'}\n",
        "d.yaml": deployment(),
    },
}


@pytest.mark.parametrize("layout", UNSAFE)
def test_what_cannot_be_changed_alone_is_refused(layout: str) -> None:
    decided = plan(at(UNSAFE[layout], NEW), workload())
    assert decided.verdict is Verdict.UNSAFE, decided
    assert not decided.edits
    assert not decided.proposed


@pytest.mark.parametrize(
    ("entry", "failed"), [("newTag: 6.1.0\n  digest: sha256:b", f"{REPO}:6.1.0@sha256:b"), ("digest: sha256:b", f"{REPO}@sha256:b")]
)
def test_lines_are_neither_added_nor_removed(entry: str, failed: str) -> None:
    files = at(overlay(f"images:\n- name: {REPO}\n  {entry}\n"), NEW)
    decided = plan(files, Workload("apps", "Deployment", "prod", "podinfo", {"podinfo": failed}, {"podinfo": f"{REPO}:6.0.0"}))
    assert decided.verdict is Verdict.UNSAFE
    assert "to be" in decided.explanation


def test_tag_and_digest_of_an_entry_go_back_together() -> None:
    files = overlay(f"images:\n- name: {REPO}\n  newTag: TAG\n  digest: DIGEST\n")
    images = [f"{REPO}:{tag}@{DIGESTS[tag]}" for tag in (NEW, OLD)]
    decided = plan(at(files, NEW), Workload("apps", "Deployment", "prod", "podinfo", {"podinfo": images[0]}, {"podinfo": images[1]}))
    assert decided.edits == {"apps/prod/kustomization.yaml": at(files, OLD)["apps/prod/kustomization.yaml"]}
    assert len(decided.sites) == 2


def test_a_new_name_goes_back_with_its_tag() -> None:
    files = overlay("images:\n- name: podinfo\n  newName: NAME\n  newTag: TAG\n") | {"apps/base/deployment.yaml": deployment("podinfo")}
    kept = {path: text.replace("NAME", "mirror.example:5000/podinfo") for path, text in files.items()}
    wrong = {path: text.replace("NAME", "other.example/podinfo") for path, text in files.items()}
    of = Workload(
        "apps",
        "Deployment",
        "prod",
        "podinfo",
        {"podinfo": "other.example/podinfo:6.1.0"},
        {"podinfo": "mirror.example:5000/podinfo:6.0.0"},
    )
    assert plan(at(wrong, NEW), of).edits == {"apps/prod/kustomization.yaml": at(kept, OLD)["apps/prod/kustomization.yaml"]}


def test_a_registry_that_moved_goes_back_where_registry_and_repository_are_apart() -> None:
    text = f"{HELM}    image:\n      registry: %s\n      repository: %s\n      tag: TAG\n"
    of = Workload(
        "apps", "Deployment", "prod", "podinfo", {"c": "other.example/team/podinfo:6.1.0"}, {"c": "r.example:5000/acme/podinfo:6.0.0"}
    )
    decided = plan(at({"a.yaml": text % ("other.example", "team/podinfo")}, NEW), of)
    assert decided.edits == at({"a.yaml": text % ("r.example:5000", "acme/podinfo")}, OLD)


def test_a_prefix_of_names_is_followed() -> None:
    files = {
        "base/kustomization.yaml": "resources: [d.yaml]\n",
        "base/d.yaml": deployment(REPO),
        "prod/kustomization.yaml": f"namespace: prod\nnamePrefix: prod-\nresources: [../base]\n{IMAGES}",
    }
    of = Workload("apps", "Deployment", "prod", "prod-podinfo", {"podinfo": f"{REPO}:{NEW}"}, {"podinfo": f"{REPO}:{OLD}"})
    assert list(plan(at(files, NEW), of).edits) == ["prod/kustomization.yaml"]
    assert plan(at(files, NEW), workload()).verdict is Verdict.NO_SITE


def test_all_containers_go_back_in_one_edit_of_several_files() -> None:
    files = overlay(IMAGES) | {"apps/base/deployment.yaml": deployment(REPO).replace("sidecar:1.0", "sidecar:S")}
    of = Workload(
        "apps", "Deployment", "prod", "podinfo",
        {"podinfo": f"{REPO}:{NEW}", "sidecar": "ghcr.io/acme/sidecar:2.0"}, {"podinfo": f"{REPO}:{OLD}", "sidecar": "ghcr.io/acme/sidecar:1.0"},
    )  # fmt: skip
    new, old = (
        {path: text.replace(b":S", version) for path, text in at(files, tag).items()} for tag, version in ((NEW, b":2.0"), (OLD, b":1.0"))
    )
    alone = {path: text for path, text in new.items() if "staging" not in path}
    assert plan(alone, of).edits == {path: old[path] for path in ("apps/prod/kustomization.yaml", "apps/base/deployment.yaml")}
    assert plan(new, of).verdict is Verdict.SHARED


def test_kustomizations_that_go_round_or_fan_out_are_survived() -> None:
    ring = {f"{name}/kustomization.yaml": f"resources: [../{other}, d.yaml]\n" for name, other in (("a", "b"), ("b", "a"))}
    ring |= {"a/d.yaml": PLAIN, "top/kustomization.yaml": "resources: [../a]\n"}
    assert plan(at(ring, NEW), workload()).verdict is Verdict.EDIT
    fan = {f"l{number}/kustomization.yaml": f"resources: [../l{number + 1}, ../l{number + 1}/.]\n" for number in range(40)}
    fan |= {"l40/kustomization.yaml": "resources: [d.yaml]\n", "l40/d.yaml": PLAIN}
    plan(at(fan, NEW), workload())


def test_a_bot_that_sets_the_value_is_named() -> None:
    (note,) = plan(at(HIGH["flux's marker in an overlay"][0], NEW), workload()).notes
    assert "flux-system/podinfo" in note


def test_a_template_of_a_chart_in_the_repository_tells_what_the_release_makes() -> None:
    files = {
        "argo.yaml": ARGO.replace("name: podinfo\n", "name: shop-prod\n") + "    path: charts/shop\n",
        "charts/shop/Chart.yaml": "name: shop\n",
        "charts/shop/values.yaml": VALUES,
        "charts/shop/templates/d.yaml": "kind: Deployment\nmetadata:\n  name: podinfo\nspec: {{ .Values.x }}\n",
    }
    assert list(plan(at(files, NEW), workload()).edits) == ["charts/shop/values.yaml"]


def test_a_chart_that_is_given_a_digest_may_leave_out_the_tag() -> None:
    files = {"a.yaml": f"{HELM}    image:\n      repository: {REPO}\n      tag: 6.x\n      digest: DIGEST\n"}
    assert plan(at(files, NEW), workload("digest")).edits == at(files, OLD)


def test_repository_and_name_may_be_apart() -> None:
    files = {"a.yaml": f"{HELM}    image: {{repository: ghcr.io/acme, name: podinfo, tag: TAG}}\n"}
    assert plan(at(files, NEW), workload()).edits == at(files, OLD)


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({"a.yaml": deployment(REPO, namespace="prod")}, "has no version"),
        (overlay(f"replacements: [{{path: r.yaml}}]\nimages:\n- name: {REPO}\n  newTag: placeholder\n"), "may be set by `replacements`"),
    ],
)
def test_a_version_that_is_set_where_we_do_not_look_is_not_taken_for_a_newer_one(files: dict[str, str], said: str) -> None:
    decided = plan(at(files, NEW), workload())
    assert decided.verdict is Verdict.NO_SITE
    assert said in decided.explanation


def test_one_release_that_two_clusters_deliver_is_one_place() -> None:
    files = {"clusters/a/apps.yaml": FLUX, "clusters/b/apps.yaml": FLUX, "apps/prod/r.yaml": f"{HELM}    image: {REPO}:TAG\n"}
    assert list(plan(at(files, NEW), workload()).edits) == ["apps/prod/r.yaml"]


def test_a_number_stays_a_number_and_a_version_that_would_lose_a_zero_is_quoted() -> None:
    text = f"{HELM}    image: {{repository: {REPO}, tag: %s}}\n"
    for old, written in (("41", "41"), ("1.5", "1.5"), ("1.50", '"1.50"'), ("0041", '"0041"')):
        of = Workload("apps", "Deployment", "prod", "podinfo", {"c": f"{REPO}:42"}, {"c": f"{REPO}:{old}"})
        assert plan({"a.yaml": (text % "42").encode()}, of).edits == {"a.yaml": (text % written).encode()}


def test_a_workload_that_only_has_the_same_place_holder_shares_the_place() -> None:
    files = {
        "base/kustomization.yaml": "resources: [d.yaml, worker.yaml]\n",
        "base/d.yaml": deployment("place-holder"),
        "base/worker.yaml": deployment("place-holder", name="worker"),
        "prod/kustomization.yaml": f"namespace: prod\nresources: [../base]\nimages:\n- name: place-holder\n  newName: {REPO}\n  newTag: TAG\n",
    }
    decided = plan(at(files, NEW), workload())
    assert decided.verdict is Verdict.SHARED
    assert "Deployment prod/worker" in decided.explanation
