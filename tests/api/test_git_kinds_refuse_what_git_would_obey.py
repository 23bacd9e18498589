"""GitSink and CanaryRun: values that end up in arguments of git and in paths are refused when they could do harm."""

import copy
import subprocess
from datetime import datetime
from typing import Any

import pytest

from canary.api.canaryrun import CanaryRunStatus, CheckEvidence, EffectState, EffectStatus, RunPhase, parse_canary_run
from canary.api.common import EXTENSION_GROUP
from canary.api.errors import InvalidObject
from canary.api.gitsink import LabelSelector, RecordTarget, Revert, parse_git_sink
from canary.sandbox.schema import Schema
from tests.api.upstream import our_crds, root_schema

SINK_SCHEMA = Schema(root_schema(our_crds()["gitsinks.canary.dev"], "v1alpha1"))
# Rules that the CRD can only say in CEL, which the sandbox's engine does not evaluate.
CEL_ONLY = {"branch that climbs", "branch with lock", "branch with empty part", "branch ends with slash", "path that climbs"} | {
    "ref with lock", "ref of the delivered branch", "ref of another branch", "ref of a tag", "ref that asks for a review",
}  # fmt: skip

BAD_SINKS: dict[str, tuple[str, Any]] = {
    "url of a file": ("repository.url", "file:///etc/passwd"),
    "path as url": ("repository.url", "/srv/repo.git"),
    "remote helper": ("repository.url", "ext::sh -c touch%20/tmp/x"),
    "option as url": ("repository.url", "--upload-pack=touch /tmp/x"),
    "option as host": ("repository.url", "ssh://-oProxyCommand=x/y"),
    "option as scp host": ("repository.url", "-oProxyCommand=x:y"),
    "token in url": ("repository.url", "https://user:token@git.example/repo.git"),
    "newline in url": ("repository.url", "https://git.example/repo\n--x"),
    "git protocol": ("repository.url", "git://git.example/repo.git"),
    "option as branch": ("repository.branch", "--upload-pack=x"),
    "branch that climbs": ("repository.branch", "a/../b"),
    "branch with lock": ("repository.branch", "main.lock"),
    "branch with empty part": ("records.branch", "a//b"),
    "branch ends with slash": ("repository.branch", "a/"),
    "branch with space": ("repository.branch", "a b"),
    "branch with refspec": ("repository.branch", "a:b"),
    "ref that is a branch": ("records.ref", "canary-outcomes"),
    "ref of one part": ("records.ref", "refs/outcomes"),
    "ref with wildcard": ("records.ref", "refs/canary/outcomes/*"),
    "ref that climbs": ("records.ref", "refs/canary/../heads/main"),
    "ref with two dots": ("records.ref", "refs/canary/a..b"),
    "ref with hidden part": ("records.ref", "refs/canary/.a/b"),
    "ref ends with dot": ("records.ref", "refs/canary/a."),
    "ref with lock": ("records.ref", "refs/canary/a.lock/b"),
    "ref with empty part": ("records.ref", "refs//canary/a"),
    "ref ends with slash": ("records.ref", "refs/canary/a/"),
    "ref with refspec": ("records.ref", "refs/canary/a:refs/heads/main"),
    "ref with force": ("records.ref", "+refs/canary/a"),
    "ref with newline": ("records.ref", "refs/canary/a\n"),
    "ref of a reflog": ("records.ref", "refs/canary/a@{1}"),
    "ref with another placeholder": ("records.ref", "refs/canary/{namespace}"),
    "ref of the delivered branch": ("records.ref", "refs/heads/main"),
    "ref of another branch": ("records.ref", "refs/heads/canary/o/first/a"),
    "ref of a tag": ("records.ref", "refs/tags/v1"),
    "ref that asks for a review": ("records.ref", "refs/for/main"),
    "author with newline": ("identity.name", "x\nCommitter: y"),
    "author with bracket": ("identity.email", "x>y"),
    "absolute path": ("limits.allowedPaths", ["/etc/**"]),
    "path that climbs": ("limits.allowedPaths", ["apps/../../x"]),
    "no cluster": ("cluster", None),
    "cluster as path": ("cluster", "../other"),
    "cluster in capitals": ("cluster", "Prod"),
    "unknown revert": ("onFailure.revert", "everything"),
    "keep nothing": ("records.keep", 0),
    "selector of numbers": ("canaries.matchLabels", {"a": 1}),
}  # fmt: skip
PARSER_IS_LENIENT = {"keep nothing"}  # bounds of plain numbers are the schema's business


def good_sink(**paths: Any) -> dict[str, Any]:
    """A GitSink that is accepted, with values at dotted paths (None removes)."""
    obj: dict[str, Any] = {
        "apiVersion": "canary.dev/v1alpha1",
        "kind": "GitSink",
        "metadata": {"name": "fleet", "namespace": "prod"},
        "spec": {"repository": {"url": "https://git.example/fleet.git"}, "cluster": "cluster-001"},
    }
    for dotted, value in paths.items():
        *parents, last = dotted.split(".")
        node = obj["spec"]
        for parent in parents:
            node = node.setdefault(parent, {})
        node[last] = value
        if value is None:
            del node[last]
    return obj


def good_run() -> dict[str, Any]:
    """A CanaryRun that is accepted."""
    return {
        "apiVersion": "canary.dev/v1alpha1",
        "kind": "CanaryRun",
        "metadata": {"name": "podinfo-0123456789abcdef", "namespace": "prod"},
        "spec": {
            "canaryRef": {"name": "podinfo", "uid": "u"},
            "target": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "podinfo"},
            "startedAt": "2026-01-02T12:00:00Z",
            "strategy": "canary",
            "release": {"images": {"podinfod": "podinfo:6.0.1"}, "templateHash": "v2:a", "configHash": "c"},
            "previous": {"images": {"podinfod": "podinfo:6.0.0"}, "templateHash": "v2:b", "configHash": "c"},
        },
    }


def test_a_sink_needs_only_a_repository_and_a_cluster_name():
    spec = parse_git_sink(good_sink()).spec
    assert (spec.repository.branch, spec.records.branch, spec.records.keep) == ("main", "canary-outcomes", 200)
    assert (spec.on_failure.revert, spec.records.target) == (Revert.IMAGE, RecordTarget.BRANCH)
    assert (spec.limits.allowed_paths, spec.limits.max_files, spec.limits.max_bytes) == ((), 10, 65536)
    assert spec.suspend is False
    assert SINK_SCHEMA.validate(good_sink()) == []


@pytest.mark.parametrize(
    "url",
    [
        "https://git.example/fleet.git",
        "http://127.0.0.1:8080/fleet",
        "https://[::1]:8443/a/b.git",
        "ssh://git@git.example:2222/acme/fleet.git",
        "ssh://git.example/fleet",
        "git@git.example:acme/fleet.git",
    ],
)
def test_urls_over_http_and_ssh_are_accepted(url):
    assert parse_git_sink(good_sink(**{"repository.url": url})).spec.repository.url == url
    assert SINK_SCHEMA.validate(good_sink(**{"repository.url": url})) == []


@pytest.mark.parametrize("branch", ["main", "release/1.2", "canary_outcomes", "v1.0", "refs"])
def test_ordinary_branches_are_accepted(branch):
    assert parse_git_sink(good_sink(**{"repository.branch": branch})).spec.repository.branch == branch
    assert SINK_SCHEMA.validate(good_sink(**{"repository.branch": branch})) == []


REF = "refs/canary/outcomes/early-adopters/{cluster}"


@pytest.mark.parametrize("ref", [REF, "refs/canary/outcomes/first/cluster-001", "refs/canary/{cluster}.v1/a_b", "refs/x/-y"])
def test_records_may_have_a_ref_outside_of_branches_with_the_name_of_the_cluster(ref):
    spec = parse_git_sink(good_sink(**{"records.ref": ref})).spec
    assert spec.records_ref == ref.replace("{cluster}", "cluster-001")
    assert SINK_SCHEMA.validate(good_sink(**{"records.ref": ref})) == []
    assert subprocess.run(["git", "check-ref-format", spec.records_ref], check=False).returncode == 0
    assert parse_git_sink(good_sink()).spec.records_ref == ""


@pytest.mark.parametrize(
    ("more", "problem"),
    [
        ({"records.branch": "canary-outcomes"}, r"spec\.records: .*one place: `branch` or `ref`"),
        ({"identity.signing.type": "api"}, r"spec: .*commits on branches only.* need `branch` and no `ref`"),
        ({"cluster": "a..b"}, "records.ref, with the cluster's name in it, is not a ref that Git accepts"),
        ({"cluster": "a.lock"}, "records.ref, with the cluster's name in it, is not a ref that Git accepts"),
        ({"cluster": "heads", "records.ref": "refs/{cluster}/main"}, "must be no branch"),
    ],
)
def test_a_ref_that_does_not_go_with_the_rest_of_the_sink_is_refused_in_one_sentence(more, problem):
    with pytest.raises(InvalidObject, match=problem) as caught:
        parse_git_sink(good_sink(**{"records.ref": REF} | more))
    assert len(caught.value.problems) == 1


def test_rules_of_refs_that_need_two_fields_are_in_the_schema_with_their_sentences():
    spec = root_schema(our_crds()["gitsinks.canary.dev"], "v1alpha1")["properties"]["spec"]
    (place,) = spec["properties"]["records"]["x-kubernetes-validations"]
    (signed,) = spec["x-kubernetes-validations"]
    assert place["rule"] == "!has(self.ref) || !has(self.branch)"
    assert "default" not in spec["properties"]["records"]["properties"]["branch"]  # else the server would write both
    assert "self.identity.signing.type == 'api'" in signed["rule"]
    assert "branches only" in signed["message"]


@pytest.mark.parametrize("name", sorted(BAD_SINKS))
@pytest.mark.fault(30)
def test_a_bad_sink_is_refused_by_the_schema(name):
    path, value = BAD_SINKS[name]
    violations = SINK_SCHEMA.validate(good_sink(**{path: value}))
    assert bool(violations) is (name not in CEL_ONLY)


@pytest.mark.parametrize("name", sorted(BAD_SINKS.keys() - PARSER_IS_LENIENT))
@pytest.mark.fault(30)
def test_a_bad_sink_is_refused_by_the_parser_with_its_path(name):
    path, value = BAD_SINKS[name]
    with pytest.raises(InvalidObject) as caught:
        parse_git_sink(good_sink(**{path: value}))
    assert caught.value.problems[0].path.startswith(f"spec.{path}")
    assert "token" not in str(caught.value)


@pytest.mark.parametrize(
    ("wanted", "labels", "chosen"),
    [
        ({}, {}, True),
        ({}, {"a": "b"}, True),
        ({"a": "b"}, {"a": "b", "c": "d"}, True),
        ({"a": "b"}, {"a": "c"}, False),
        ({"a": "b"}, {}, False),
    ],
)
def test_a_selector_chooses_by_all_its_labels(wanted, labels, chosen):
    assert LabelSelector(match_labels=wanted).matches(labels) is chosen


def test_a_run_survives_the_wire():
    run = parse_canary_run(good_run())
    assert run.spec.to_dict() == good_run()["spec"]
    assert run.spec.release.images == {"podinfod": "podinfo:6.0.1"}
    assert run.status.phase is RunPhase.RUNNING


def test_the_status_of_a_run_survives_the_wire():
    status = CanaryRunStatus(
        phase=RunPhase.FAILED,
        reason="request-success-rate 92.10 < 99",
        finished_at=datetime.fromisoformat("2026-01-02T12:10:00+00:00"),
        max_weight_reached=30,
        failed_checks=5,
        checks=(CheckEvidence(name="request-success-rate", bound={"min": 99}, samples=12, worst=92.1, last=93, failed=5, verdict="Fail"),),
        effects=(EffectStatus(name="record", state=EffectState.DONE, attempts=1, ref="abc"), EffectStatus(name="revert")),
    )
    assert CanaryRunStatus.from_dict(status.to_dict()) == status
    assert status.to_dict()["effects"][1] == {"name": "revert", "state": "Queued", "attempts": 0}
    schema = Schema(root_schema(our_crds()["canaryruns.canary.dev"], "v1alpha1"))
    assert schema.validate({**good_run(), "status": status.to_dict()}) == []
    assert schema.unknown({**good_run(), "status": status.to_dict()}) == []


@pytest.mark.parametrize(
    ("phase", "outcome"), [("Running", ""), ("Succeeded", "succeeded"), ("Failed", "failed"), ("Canceled", "canceled")]
)
def test_records_spell_the_outcome_in_lower_case(phase, outcome):
    assert CanaryRunStatus(phase=phase).outcome == outcome


def test_only_done_and_skipped_effects_are_final():
    assert {state for state in EffectState if state.final} == {EffectState.DONE, EffectState.SKIPPED}


def test_a_run_without_the_identity_of_its_canary_is_refused():
    obj = copy.deepcopy(good_run())
    del obj["spec"]["canaryRef"]["uid"]
    with pytest.raises(InvalidObject, match=r"spec\.canaryRef\.uid: is required"):
        parse_canary_run(obj)


def test_the_group_of_our_own_kinds_is_one_constant():
    crds = our_crds()
    assert {crd["spec"]["group"] for crd in crds.values()} == {"flagger.app", EXTENSION_GROUP}
