"""The commit behind a workload, by whoever delivers it; kept on the run when somebody wants it, and never in a run's way."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from canary.api.canaryrun import SourceInfo
from canary.core.errors import CanaryError, Forbidden, Retryable
from canary.engine.runs import Runs
from canary.gitops.deliverers import APPLICATIONS, HELM_RELEASES, KUSTOMIZATIONS
from canary.gitops.provenance import GIT_REPOSITORIES, oid, source_of
from canary.kube.resource import CANARY_RUNS, DEPLOYMENTS, GIT_SINKS, Object
from canary.targets.registry import target
from tests.engine.test_runs_are_opened_and_closed_once import canary, close, sight, sink, stored
from tests.fakes.cluster import FakeCluster

ONE, TWO = "1" * 40, "2" * 40
URL = "https://git.example/acme/fleet"
STATUSES = {"statuses": {"target": "commit"}}


def workload(*, labels: dict[str, str] | None = None, annotations: dict[str, str] | None = None) -> Object:
    body = DEPLOYMENTS.head("prod", "podinfo")
    body["metadata"] |= {"labels": labels or {}, "annotations": annotations or {}}
    return body | {"spec": {}}


def flux(fake: FakeCluster, *, kind: str = "GitRepository", **status: Any) -> dict[str, str]:
    """A Kustomization and its source; the labels that Flux puts on what it applies."""
    fake.add(
        KUSTOMIZATIONS,
        KUSTOMIZATIONS.head("flux-system", "apps") | {"spec": {"sourceRef": {"kind": kind, "name": "fleet"}}, "status": status},
    )
    fake.add(GIT_REPOSITORIES, GIT_REPOSITORIES.head("flux-system", "fleet") | {"spec": {"url": URL}})
    return {"kustomize.toolkit.fluxcd.io/name": "apps", "kustomize.toolkit.fluxcd.io/namespace": "flux-system"}


@pytest.fixture
def fake() -> FakeCluster:
    return FakeCluster(watched=True)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (f"main@sha1:{ONE}", ONE),
        (f"main/{ONE}", ONE),
        (f"refs/heads/feature/x@sha1:{ONE}", ONE),
        (ONE.upper().replace("1", "A"), "a" * 40),
        ("a" * 64, "a" * 64),
        ("a" * 41, ""),
        (f"x{ONE}", ""),
        (f"{ONE}; rm", ""),
        ("v1.2.3", ""),
        ("", ""),
        (None, ""),
        (7, ""),
    ],
)
def test_a_revision_is_a_commit_or_nothing(text: Any, found: str) -> None:
    assert oid(text) == found


async def test_the_workload_may_say_it_itself(fake: FakeCluster) -> None:
    labels = flux(fake, lastAppliedRevision=f"main@sha1:{TWO}")
    said = workload(labels=labels, annotations={"canary.dev/source-revision": ONE})
    assert await source_of(fake, said) == SourceInfo(revision=ONE, via="annotation")


@pytest.mark.parametrize(
    ("status", "revision"),
    [
        ({"lastAppliedRevision": f"main@sha1:{ONE}"}, ONE),
        ({"lastAppliedRevision": f"main@sha1:{ONE}", "lastAttemptedRevision": f"main@sha1:{TWO}"}, TWO),
    ],
)
async def test_a_kustomization_says_what_it_applies(fake: FakeCluster, status: dict[str, str], revision: str) -> None:
    found = await source_of(fake, workload(labels=flux(fake, **status)))
    assert found == SourceInfo(revision=revision, repository=URL, via="Kustomization")


async def test_an_oci_artifact_names_its_commit_apart(fake: FakeCluster) -> None:
    labels = flux(fake, kind="OCIRepository", lastAppliedRevision=f"latest@sha256:{'f' * 64}", lastAppliedOriginRevision=f"main@sha1:{ONE}")
    assert await source_of(fake, workload(labels=labels)) == SourceInfo(revision=ONE, via="Kustomization")


async def test_an_oci_artifact_without_one_is_no_commit(fake: FakeCluster) -> None:
    labels = flux(fake, kind="OCIRepository", lastAppliedRevision=f"latest@sha256:{'f' * 64}")
    assert await source_of(fake, workload(labels=labels)) is None


async def test_a_helm_release_leads_to_the_kustomization_that_delivered_it(fake: FakeCluster) -> None:
    release = HELM_RELEASES.head("prod", "podinfo")
    release["metadata"]["labels"] = flux(fake, lastAppliedRevision=f"main@sha1:{ONE}")
    fake.add(HELM_RELEASES, release)
    labels = {"helm.toolkit.fluxcd.io/name": "podinfo", "helm.toolkit.fluxcd.io/namespace": "prod"}
    assert await source_of(fake, workload(labels=labels)) == SourceInfo(revision=ONE, repository=URL, via="HelmRelease")


@pytest.mark.parametrize(
    ("labels", "annotations", "found"),
    [
        ({}, {"argocd.argoproj.io/tracking-id": "shop:apps/Deployment:prod/podinfo"}, True),
        ({}, {"argocd.argoproj.io/tracking-id": "shop:apps/Deployment:prod/copied"}, False),
        ({"argocd.argoproj.io/instance": "shop"}, {}, True),
        ({}, {}, False),
    ],
)
async def test_an_application_says_what_it_syncs(
    fake: FakeCluster, labels: dict[str, str], annotations: dict[str, str], *, found: bool
) -> None:
    status = {"sync": {"revision": ONE}, "operationState": {"syncResult": {"revision": TWO}}}
    fake.add(APPLICATIONS, APPLICATIONS.head("argocd", "shop") | {"spec": {"source": {"repoURL": URL}}, "status": status})
    expected = SourceInfo(revision=TWO, repository=URL, via="Application") if found else None
    assert await source_of(fake, workload(labels=labels, annotations=annotations)) == expected


async def test_an_application_of_several_sources_names_the_one_that_is_git(fake: FakeCluster) -> None:
    spec = {"sources": [{"repoURL": "https://charts.example", "chart": "podinfo"}, {"repoURL": URL}]}
    fake.add(APPLICATIONS, APPLICATIONS.head("team", "shop") | {"spec": spec, "status": {"sync": {"revisions": ["6.1.0", ONE]}}})
    labels = {"argocd.argoproj.io/instance": "team_shop"}
    assert await source_of(fake, workload(labels=labels)) == SourceInfo(revision=ONE, repository=URL, via="Application")


async def test_of_several_git_sources_the_one_counts_that_somebody_writes_to(fake: FakeCluster) -> None:
    spec = {"sources": [{"repoURL": "https://git.example/acme/values.git"}, {"repoURL": URL}]}
    fake.add(APPLICATIONS, APPLICATIONS.head("argocd", "shop") | {"spec": spec, "status": {"sync": {"revisions": [TWO, ONE]}}})
    it = workload(labels={"argocd.argoproj.io/instance": "shop"})
    assert await source_of(fake, it, repositories=["https://elsewhere.example/x", URL.removesuffix(".git")]) == SourceInfo(
        revision=ONE, repository=URL, via="Application"
    )
    first = SourceInfo(revision=TWO, repository="https://git.example/acme/values.git", via="Application")
    assert await source_of(fake, it, repositories=["https://elsewhere.example/x"]) == first
    assert await source_of(fake, it) == first


@pytest.mark.parametrize("error", [Forbidden("no"), Retryable("down")])
async def test_what_cannot_be_read_is_not_known(fake: FakeCluster, error: CanaryError) -> None:
    labels = flux(fake, lastAppliedRevision=f"main@sha1:{ONE}")
    fake.fail("read", KUSTOMIZATIONS, error)
    assert await source_of(fake, workload(labels=labels)) is None


async def test_a_kustomization_that_does_not_exist_is_not_known(fake: FakeCluster) -> None:
    labels = {"kustomize.toolkit.fluxcd.io/name": "gone", "kustomize.toolkit.fluxcd.io/namespace": "x"}
    assert await source_of(fake, workload(labels=labels)) is None


# ------------------------------------------------------------------------------------------------------- on the run
def seen(fake: FakeCluster) -> Any:
    one = canary()
    return replace(sight(fake, one), target=target(one.spec.target_ref))


async def test_a_run_keeps_its_commit_and_is_announced(fake: FakeCluster) -> None:
    fake.add(DEPLOYMENTS, workload(annotations={"canary.dev/source-revision": ONE}))
    fake.add(GIT_SINKS, sink(**STATUSES))
    fake.add(GIT_SINKS, sink("audit"))
    one = seen(fake)
    await Runs(fake).open(one, one.canary.status)
    run = stored(fake)
    assert run.spec.source == SourceInfo(revision=ONE, via="annotation")
    assert [(effect.name, effect.state) for effect in run.status.effects] == [("pending/fleet", "Queued")]
    await close(fake, one)
    run = stored(fake)
    assert run.spec.source is not None
    assert [effect.name for effect in run.status.effects] == [
        "record/fleet", "revert/fleet", "amend/fleet", "status/fleet", "record/audit", "revert/audit", "amend/audit",
    ]  # fmt: skip


async def test_nobody_is_asked_when_nobody_wants_to_know(fake: FakeCluster) -> None:
    fake.add(DEPLOYMENTS, workload(labels=flux(fake, lastAppliedRevision=f"main@sha1:{ONE}")))
    fake.add(GIT_SINKS, sink())
    one = seen(fake)
    await Runs(fake).open(one, one.canary.status)
    assert stored(fake).spec.source is None
    assert not any(verb == "read" for verb, _, _ in fake.requests)


async def test_a_run_without_a_commit_is_not_announced(fake: FakeCluster) -> None:
    fake.add(DEPLOYMENTS, workload())
    fake.add(GIT_SINKS, sink(**STATUSES))
    one = seen(fake)
    await Runs(fake).open(one, one.canary.status)
    assert stored(fake).status.effects == ()


async def test_an_announcement_that_cannot_be_written_is_made_up_for(fake: FakeCluster) -> None:
    fake.add(DEPLOYMENTS, workload(annotations={"canary.dev/source-revision": ONE}))
    fake.add(GIT_SINKS, sink(**STATUSES))
    fake.fail("merge", CANARY_RUNS, Retryable("down"))
    one = seen(fake)
    for _ in range(3):  # as after a crash; the first does not raise
        await Runs(fake).open(one, one.canary.status)
    assert [effect.name for effect in stored(fake).status.effects] == ["pending/fleet"]


@pytest.mark.parametrize(
    ("spec", "outcome", "effects"),
    [
        ({"onFailure": {"delivery": "pullRequest"}}, "Failed", ["record/fleet", "pr/fleet", "amend/fleet"]),
        ({"onFailure": {"delivery": "auto"}}, "Failed", ["record/fleet", "revert/fleet", "amend/fleet"]),
        ({"onFailure": {"delivery": "pullRequest", "revert": "none"}}, "Failed", ["record/fleet"]),
        ({"onFailure": {"delivery": "pullRequest"}}, "Succeeded", ["record/fleet"]),
        ({"onSuccess": {"tag": True}}, "Succeeded", ["record/fleet", "tag/fleet"]),
        ({"onSuccess": {"tag": True}}, "Canceled", ["record/fleet"]),
        (STATUSES, "Canceled", ["record/fleet", "status/fleet"]),
    ],
)
async def test_each_sink_gets_what_it_asks_for(fake: FakeCluster, spec: dict[str, Any], outcome: str, effects: list[str]) -> None:
    fake.add(GIT_SINKS, sink(**spec))
    await close(fake, seen(fake), outcome=outcome)
    assert [effect.name for effect in stored(fake).status.effects] == effects
