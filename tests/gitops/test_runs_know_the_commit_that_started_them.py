"""The commit behind a workload, by whoever delivers it; kept on the run when somebody wants it, and never in a run's way."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from canary.api.canaryrun import SourceConfidence, SourceInfo
from canary.core.errors import CanaryError, Forbidden, Retryable
from canary.engine.runs import Runs
from canary.gitops.deliverers import APPLICATIONS, HELM_RELEASES, KUSTOMIZATIONS
from canary.gitops.provenance import GIT_REPOSITORIES, oid, source_of
from canary.kube.cluster import FIELD_MANAGER
from canary.kube.resource import CANARY_RUNS, DEPLOYMENTS, GIT_SINKS, Object
from canary.targets.registry import target
from tests.engine.test_runs_are_opened_and_closed_once import RUN, canary, close, sight, sink, stored
from tests.fakes.cluster import FakeCluster

ONE, TWO = "1" * 40, "2" * 40
URL = "https://git.example/acme/fleet"
HIGH, LOW = SourceConfidence.HIGH, SourceConfidence.LOW
STATUSES = {"statuses": {"target": "commit"}}


def workload(
    *, labels: dict[str, str] | None = None, annotations: dict[str, str] | None = None, writers: tuple[tuple[str, str], ...] = ()
) -> Object:
    """`writers`: who has written the pod template, as (manager, time)."""
    body = DEPLOYMENTS.head("prod", "podinfo")
    fields = {"fieldsV1": {"f:spec": {"f:template": {"f:spec": {}}}}}
    managed = [{"manager": manager, "time": time, "operation": "Apply"} | fields for manager, time in writers]
    body["metadata"] |= {"labels": labels or {}, "annotations": annotations or {}, "managedFields": managed}
    return body | {"spec": {"template": {"metadata": {"annotations": {"version": "1"}}}}}


async def asked(fake: FakeCluster, it: Object, *, repositories: Sequence[str] = ()) -> SourceInfo | None:
    """What is said of a workload that is there, without who has written what, as the cache has it."""
    fake.add(DEPLOYMENTS, it)
    cached = it | {"metadata": {key: value for key, value in it["metadata"].items() if key != "managedFields"}}
    return await source_of(fake, DEPLOYMENTS, cached, repositories=repositories)


KUSTOMIZE, HELM, ARGO = (
    (("kustomize-controller", "2026-01-02T03:04:05Z"),),
    (("helm-controller", "2026-01-02T03:04:05Z"),),
    (("argocd-controller", ""),),
)


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
    assert await asked(fake, said) == SourceInfo(revision=ONE, via="annotation")


@pytest.mark.parametrize(
    ("status", "revision"),
    [
        ({"lastAppliedRevision": f"main@sha1:{ONE}"}, ONE),
        ({"lastAppliedRevision": f"main@sha1:{ONE}", "lastAttemptedRevision": f"main@sha1:{TWO}"}, TWO),
    ],
)
async def test_a_kustomization_says_what_it_applies(fake: FakeCluster, status: dict[str, str], revision: str) -> None:
    found = await asked(fake, workload(labels=flux(fake, **status), writers=KUSTOMIZE))
    assert found == SourceInfo(revision=revision, repository=URL, via="Kustomization")


async def test_an_oci_artifact_names_its_commit_apart(fake: FakeCluster) -> None:
    labels = flux(fake, kind="OCIRepository", lastAppliedRevision=f"latest@sha256:{'f' * 64}", lastAppliedOriginRevision=f"main@sha1:{ONE}")
    assert await asked(fake, workload(labels=labels, writers=KUSTOMIZE)) == SourceInfo(revision=ONE, via="Kustomization")


async def test_an_oci_artifact_without_one_is_no_commit(fake: FakeCluster) -> None:
    labels = flux(fake, kind="OCIRepository", lastAppliedRevision=f"latest@sha256:{'f' * 64}")
    assert await asked(fake, workload(labels=labels, writers=KUSTOMIZE)) is None


def charted(fake: FakeCluster, *, labels: dict[str, str], chart: dict[str, Any], version: str = "") -> Object:
    """A HelmRelease with its chart, and what it makes."""
    history = [{"status": "pending-upgrade", "chartVersion": version}, {"status": "deployed", "chartVersion": f"0.1.0+{TWO[:12]}"}]
    release = HELM_RELEASES.head("prod", "podinfo") | {"spec": {"chart": {"spec": chart}}, "status": {"history": history}}
    release["metadata"]["labels"] = labels
    fake.add(HELM_RELEASES, release)
    return workload(labels={"helm.toolkit.fluxcd.io/name": "podinfo", "helm.toolkit.fluxcd.io/namespace": "prod"}, writers=HELM)


IN_GIT = {"chart": "./charts/podinfo", "sourceRef": {"kind": "GitRepository", "name": "fleet", "namespace": "flux-system"}}


@pytest.mark.parametrize(
    ("chart", "confidence"),
    [
        ({"version": "6.1.0"}, HIGH),
        ({"version": "6.1.0-rc.1+build.5"}, HIGH),
        ({"version": "6.x"}, LOW),
        ({"version": ">=6.0.0"}, LOW),
        ({}, LOW),
        (IN_GIT, HIGH),
        (IN_GIT | {"sourceRef": {"kind": "GitRepository", "name": "fleet"}}, LOW),
    ],
)
async def test_a_helm_release_leads_to_the_kustomization_that_delivered_it(
    fake: FakeCluster, chart: dict[str, Any], confidence: SourceConfidence
) -> None:
    it = charted(fake, labels=flux(fake, lastAppliedRevision=f"main@sha1:{ONE}"), chart=chart)
    assert await asked(fake, it) == SourceInfo(revision=ONE, repository=URL, via="HelmRelease", confidence=confidence)


@pytest.mark.parametrize(
    ("version", "fetched", "found"),
    [
        (f"0.1.0+{ONE[:12]}", ONE, True),
        (f"0.1.0+{ONE[:12]}.2", ONE, True),
        (f"0.1.0+{ONE[:12]}", TWO, False),
        ("0.1.0+1", ONE, False),
        ("0.1.0", ONE, False),
    ],
)
async def test_a_chart_from_git_carries_its_commit(fake: FakeCluster, version: str, fetched: str, *, found: bool) -> None:
    source = GIT_REPOSITORIES.head("flux-system", "fleet") | {"status": {"artifact": {"revision": f"main@sha1:{fetched}"}}}
    fake.add(GIT_REPOSITORIES, source | {"spec": {"url": URL}})
    expected = SourceInfo(revision=ONE, repository=URL, path="charts/podinfo", via="HelmRelease") if found else None
    assert await asked(fake, charted(fake, labels={}, chart=IN_GIT, version=version)) == expected


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
    assert await asked(fake, workload(labels=labels, annotations=annotations, writers=ARGO)) == expected


async def test_an_application_of_several_sources_names_the_one_that_is_git(fake: FakeCluster) -> None:
    spec = {"sources": [{"repoURL": "https://charts.example", "chart": "podinfo"}, {"repoURL": URL}]}
    fake.add(APPLICATIONS, APPLICATIONS.head("team", "shop") | {"spec": spec, "status": {"sync": {"revisions": ["6.1.0", ONE]}}})
    labels = {"argocd.argoproj.io/instance": "team_shop"}
    assert await asked(fake, workload(labels=labels, writers=ARGO)) == SourceInfo(
        revision=ONE, repository=URL, via="Application", confidence=LOW
    )


async def test_of_several_git_sources_the_one_counts_that_somebody_writes_to(fake: FakeCluster) -> None:
    spec = {"sources": [{"repoURL": "https://git.example/acme/values.git"}, {"repoURL": URL}]}
    fake.add(
        APPLICATIONS,
        APPLICATIONS.head("argocd", "shop") | {"spec": spec, "status": {"operationState": {"syncResult": {"revisions": [TWO, ONE]}}}},
    )
    it = workload(labels={"argocd.argoproj.io/instance": "shop"}, writers=ARGO)
    assert await asked(fake, it, repositories=["https://elsewhere.example/x", URL.removesuffix(".git")]) == SourceInfo(
        revision=ONE, repository=URL, via="Application"
    )
    first = SourceInfo(revision=TWO, repository="https://git.example/acme/values.git", via="Application")
    assert await asked(fake, it, repositories=["https://elsewhere.example/x"]) == first
    assert await asked(fake, it) == first


@pytest.mark.parametrize("error", [Forbidden("no"), Retryable("down")])
async def test_what_cannot_be_read_is_not_known(fake: FakeCluster, error: CanaryError) -> None:
    labels = flux(fake, lastAppliedRevision=f"main@sha1:{ONE}")
    fake.fail("read", KUSTOMIZATIONS, error)
    assert await asked(fake, workload(labels=labels, writers=KUSTOMIZE)) is None


async def test_a_kustomization_that_does_not_exist_is_not_known(fake: FakeCluster) -> None:
    labels = {"kustomize.toolkit.fluxcd.io/name": "gone", "kustomize.toolkit.fluxcd.io/namespace": "x"}
    assert await asked(fake, workload(labels=labels, writers=KUSTOMIZE)) is None


# ------------------------------------------------------------------------------------------------------- how sure it is
EARLY, LATE = "2026-01-02T03:04:05Z", "2026-01-02T03:04:06Z"


@pytest.mark.parametrize(
    ("writers", "confidence"),
    [
        ([("kustomize-controller", LATE), ("kubectl-set", EARLY)], HIGH),
        ([("kustomize-controller", EARLY), ("kubectl-set", LATE)], LOW),
        ([("kustomize-controller", LATE), ("kubectl-set", LATE)], LOW),
        ([("kustomize-controller", EARLY), (FIELD_MANAGER, LATE)], HIGH),
        ([("helm-controller", LATE)], LOW),
        ([], LOW),
    ],
)
async def test_it_is_sure_only_when_the_engine_was_the_last_to_write(
    fake: FakeCluster, writers: list[tuple[str, str]], confidence: SourceConfidence
) -> None:
    found = await asked(fake, workload(labels=flux(fake, lastAttemptedRevision=f"main@sha1:{ONE}"), writers=tuple(writers)))
    assert found == SourceInfo(revision=ONE, repository=URL, via="Kustomization", confidence=confidence)


async def test_who_writes_the_status_or_the_replicas_changes_nothing(fake: FakeCluster) -> None:
    it = workload(labels=flux(fake, lastAttemptedRevision=f"main@sha1:{ONE}"), writers=KUSTOMIZE)
    it["metadata"]["managedFields"] += [
        {"manager": "kube-controller-manager", "time": "2027", "subresource": "status", "fieldsV1": {"f:spec": {"f:template": {}}}},
        {"manager": "kubectl-scale", "time": "2027", "fieldsV1": {"f:spec": {"f:replicas": {}}}},
    ]
    found = await asked(fake, it)
    assert found is not None
    assert found.confidence is HIGH


async def test_it_is_not_sure_when_the_template_has_changed_since(fake: FakeCluster) -> None:
    it = workload(labels=flux(fake, lastAttemptedRevision=f"main@sha1:{ONE}"), writers=KUSTOMIZE)
    fake.add(DEPLOYMENTS, it)
    found = await source_of(fake, DEPLOYMENTS, it | {"spec": {"template": {}}})
    assert found is not None
    assert found.confidence is LOW


async def test_it_is_not_sure_when_the_workload_cannot_be_read(fake: FakeCluster) -> None:
    fake.fail("read", DEPLOYMENTS, Retryable("down"))
    found = await asked(fake, workload(labels=flux(fake, lastAttemptedRevision=f"main@sha1:{ONE}"), writers=KUSTOMIZE))
    assert found is not None
    assert found.confidence is LOW


@pytest.mark.parametrize(("attempted", "confidence"), [("f", HIGH), ("e", LOW)])
async def test_of_an_oci_artifact_under_way_the_commit_is_that_of_the_one_before(
    fake: FakeCluster, attempted: str, confidence: SourceConfidence
) -> None:
    status = {"lastAppliedRevision": f"latest@sha256:{'f' * 64}", "lastAttemptedRevision": f"latest@sha256:{attempted * 64}"}
    labels = flux(fake, kind="OCIRepository", **status, lastAppliedOriginRevision=f"main@sha1:{ONE}")
    found = await asked(fake, workload(labels=labels, writers=KUSTOMIZE))
    assert found == SourceInfo(revision=ONE, via="Kustomization", confidence=confidence)


@pytest.mark.parametrize(("name", "confidence"), [("podinfo", HIGH), ("other", LOW)])
async def test_a_sync_of_other_objects_is_not_the_cause(fake: FakeCluster, name: str, confidence: SourceConfidence) -> None:
    resources = [{"kind": "Deployment", "namespace": "prod", "name": name}]
    status = {"operationState": {"syncResult": {"revision": ONE, "resources": resources}}}
    spec = {"source": {"repoURL": URL, "path": "./apps/podinfo/"}}
    fake.add(APPLICATIONS, APPLICATIONS.head("argocd", "shop") | {"spec": spec, "status": status})
    found = await asked(fake, workload(labels={"argocd.argoproj.io/instance": "shop"}, writers=ARGO))
    assert found == SourceInfo(revision=ONE, repository=URL, path="apps/podinfo", via="Application", confidence=confidence)


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
    fake.add(GIT_SINKS, sink(records={"target": "none"}))
    one = seen(fake)
    await Runs(fake).open(one, one.canary.status)
    assert stored(fake).spec.source is None
    assert not any(verb == "read" for verb, _, _ in fake.requests)


async def test_records_name_it_also_where_nothing_else_is_asked_for(fake: FakeCluster) -> None:
    fake.add(DEPLOYMENTS, workload(labels=flux(fake, lastAppliedRevision=f"main@sha1:{ONE}"), writers=KUSTOMIZE))
    fake.add(GIT_SINKS, sink())
    one = seen(fake)
    await Runs(fake).open(one, one.canary.status)
    assert stored(fake).spec.source == SourceInfo(revision=ONE, repository=URL, via="Kustomization")
    read = [resource for verb, resource, _ in fake.requests if verb == "read"]
    assert read == ["kustomizations", "gitrepositories", "deployments"]


async def test_a_guess_is_kept_and_not_announced(fake: FakeCluster) -> None:
    fake.add(DEPLOYMENTS, workload(labels=flux(fake, lastAppliedRevision=f"main@sha1:{ONE}"), writers=(("kubectl-set", "2026"),)))
    fake.add(GIT_SINKS, sink(**STATUSES))
    one = seen(fake)
    await Runs(fake).open(one, one.canary.status)
    run = stored(fake)
    assert run.spec.source == SourceInfo(revision=ONE, repository=URL, via="Kustomization", confidence=LOW)
    assert run.status.effects == ()


@pytest.mark.parametrize(
    ("spec", "effects"),
    [
        ({}, ["source/fleet"]),
        (STATUSES, ["source/fleet", "pending/fleet"]),
        ({"records": {"target": "none"}}, []),
        ({"records": {"target": "none"}, "onSuccess": {"tag": True}}, ["source/fleet"]),
    ],
)
async def test_a_commit_that_nobody_says_is_looked_for(fake: FakeCluster, spec: dict[str, Any], effects: list[str]) -> None:
    fake.add(DEPLOYMENTS, workload())
    fake.add(GIT_SINKS, sink(**spec))
    one = seen(fake)
    await Runs(fake).open(one, one.canary.status)
    assert stored(fake).spec.source is None
    assert [effect.name for effect in stored(fake).status.effects] == effects


async def test_what_is_not_found_until_the_run_ends_is_forgotten_and_what_was_found_is_kept(fake: FakeCluster) -> None:
    fake.add(DEPLOYMENTS, workload())
    fake.add(GIT_SINKS, sink())
    one = seen(fake)
    await Runs(fake).open(one, one.canary.status)
    fake.change(CANARY_RUNS, "prod", RUN, {"status": {"source": {"revision": ONE, "via": "search", "confidence": "low"}}})
    await close(fake, one, outcome="Succeeded")
    run = stored(fake)
    assert [effect.name for effect in run.status.effects] == ["record/fleet"]
    assert run.source == SourceInfo(revision=ONE, via="search", confidence=LOW)


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
