"""From the objects of Flux and Argo CD to what the rule about convergence asks for; and from the outbox to what is waited for."""

from __future__ import annotations

from typing import Any

import pytest

from canary.core.delivery import Delivery, WriteBack, Written
from canary.core.errors import Forbidden
from canary.gitops.converged import delivery_of, write_back
from canary.gitops.deliverers import APPLICATIONS, HELM_RELEASES, KUSTOMIZATIONS, insists_on_replicas
from canary.gitops.provenance import GIT_REPOSITORIES
from canary.kube.resource import DEPLOYMENTS, Object
from tests.fakes.cluster import FakeCluster
from tests.gitops.support import run

BAD, REVERT, LATER = "b" * 40, "c" * 40, "d" * 40
AT = "2026-11-29T03:00:00Z"
SECONDS = 1_795_921_200.0
READY = {"conditions": [{"type": "Ready", "status": "True"}]}
FLUX = {"kustomize.toolkit.fluxcd.io/name": "apps", "kustomize.toolkit.fluxcd.io/namespace": "flux-system"}
HELM = {"helm.toolkit.fluxcd.io/name": "podinfo", "helm.toolkit.fluxcd.io/namespace": "prod"}
ARGO = {"argocd.argoproj.io/instance": "shop"}


def workload(labels: dict[str, str] | None = None, **meta: Any) -> Object:
    body = DEPLOYMENTS.head("prod", "podinfo")
    body["metadata"] |= {"labels": labels or {}} | meta
    return body


@pytest.fixture
def fake() -> FakeCluster:
    fake = FakeCluster(watched=True)
    fake.add(GIT_REPOSITORIES, GIT_REPOSITORIES.head("flux-system", "fleet") | {"status": _artifact(REVERT)})
    return fake


def _artifact(commit: str) -> dict[str, Any]:
    return {"artifact": {"revision": f"main@sha1:{commit}", "lastUpdateTime": AT}}


def kustomization(fake: FakeCluster, *, spec: dict[str, Any] | None = None, source: str = "GitRepository", **status: Any) -> None:
    body = KUSTOMIZATIONS.head("flux-system", "apps")
    ref = {"kind": source, "name": "fleet"}
    fake.add(KUSTOMIZATIONS, body | {"spec": {"sourceRef": ref, **(spec or {})}, "status": READY | status})


def helm_release(
    fake: FakeCluster, *, chart: str = "0.1.0", namespace: str = "flux-system", labels: dict[str, str] | None = None, **status: Any
) -> None:
    body = HELM_RELEASES.head("prod", "podinfo")
    body["metadata"] |= {"labels": labels or {}, "generation": 2}
    ref = {"kind": "GitRepository", "name": "fleet", "namespace": namespace}
    history = [{"chartVersion": "9.9.9", "status": "failed"}, {"chartVersion": chart, "status": "deployed"}]
    said = {"observedGeneration": 2, "history": history} | READY | status
    fake.add(HELM_RELEASES, body | {"spec": {"chart": {"spec": {"chart": "./c", "sourceRef": ref}}}, "status": said})


# ------------------------------------------------------------------------------------------------------- Kustomizations
async def test_a_kustomization_and_what_its_source_has_fetched(fake: FakeCluster) -> None:
    kustomization(fake, lastAppliedRevision=f"main@sha1:{REVERT}", lastAttemptedRevision=f"main@sha1:{LATER}")
    assert await delivery_of(fake, workload(FLUX)) == Delivery(REVERT, LATER, SECONDS)


async def test_a_source_that_has_something_newer_says_nothing_about_what_is_applied(fake: FakeCluster) -> None:
    kustomization(fake, lastAppliedRevision=f"main@sha1:{BAD}")
    assert await delivery_of(fake, workload(FLUX)) == Delivery(BAD, BAD)


async def test_an_oci_artifact_names_its_commit_apart(fake: FakeCluster) -> None:
    kustomization(
        fake, source="OCIRepository", lastAppliedRevision=f"latest@sha256:{'f' * 64}", lastAppliedOriginRevision=f"main@sha1:{REVERT}"
    )
    assert await delivery_of(fake, workload(FLUX)) == Delivery(REVERT, REVERT)


@pytest.mark.parametrize(
    ("spec", "status", "trouble", "suspended"),
    [
        ({"suspend": True}, {}, "spec.suspend is set", True),
        ({}, {"conditions": [{"type": "Ready", "status": "False", "message": "build\n failed"}]}, "build failed", False),
        ({}, {"conditions": [{"type": "Ready", "status": "Unknown", "message": "in progress"}]}, "", False),
    ],
)
async def test_why_it_does_not_go_on(
    fake: FakeCluster, spec: dict[str, Any], status: dict[str, Any], trouble: str, *, suspended: bool
) -> None:
    kustomization(fake, spec=spec, lastAppliedRevision=f"main@sha1:{BAD}", **status)
    said = await delivery_of(fake, workload(FLUX))
    assert (said.trouble, said.suspended, said.applied) == (trouble, suspended, BAD)


async def test_what_may_not_be_read_is_an_answer(fake: FakeCluster) -> None:
    kustomization(fake)
    fake.fail("read", KUSTOMIZATIONS, Forbidden("kustomizations are forbidden"))
    assert (await delivery_of(fake, workload(FLUX))).error == "kustomizations are forbidden"
    assert (await delivery_of(fake, workload())).error


# ------------------------------------------------------------------------------------------------------- HelmReleases
@pytest.mark.parametrize("labels", [{}, FLUX])
async def test_a_chart_from_git_carries_its_commit(fake: FakeCluster, labels: dict[str, str]) -> None:
    kustomization(fake, lastAppliedRevision=f"main@sha1:{LATER}")
    helm_release(fake, chart=f"0.1.0+{REVERT[:12]}.1", labels=labels)
    assert await delivery_of(fake, workload(HELM)) == Delivery(REVERT[:12], REVERT[:12], SECONDS)


async def test_of_a_chart_from_elsewhere_the_kustomization_speaks_once_helm_has_followed(fake: FakeCluster) -> None:
    kustomization(fake, lastAppliedRevision=f"main@sha1:{REVERT}")
    helm_release(fake, chart=f"0.1.0+{LATER[:12]}", namespace="charts", labels=FLUX)
    assert await delivery_of(fake, workload(HELM)) == Delivery(REVERT, REVERT, SECONDS)
    helm_release(fake, labels=FLUX, observedGeneration=1)
    assert await delivery_of(fake, workload(HELM)) == Delivery("", REVERT, SECONDS)


async def test_a_helm_release_that_fails_says_why(fake: FakeCluster) -> None:
    kustomization(fake, lastAppliedRevision=f"main@sha1:{REVERT}")
    helm_release(fake, labels=FLUX, conditions=[{"type": "Ready", "status": "False", "message": "upgrade retries exhausted"}])
    said = await delivery_of(fake, workload(HELM))
    assert (said.applied, said.trouble) == ("", "upgrade retries exhausted")


# ------------------------------------------------------------------------------------------------------- Applications
@pytest.mark.parametrize(
    ("spec", "status", "expected"),
    [
        (
            {"syncPolicy": {"automated": {}}},
            {"sync": {"status": "Synced", "revision": REVERT}, "reconciledAt": AT, "operationState": {"syncResult": {"revision": BAD}}},
            Delivery(REVERT, BAD, SECONDS),
        ),
        ({}, {"sync": {"status": "Synced", "revisions": ["6.1.0", REVERT]}, "reconciledAt": AT}, Delivery(REVERT, REVERT, SECONDS)),
        ({"syncPolicy": {"automated": {}}}, {"sync": {"status": "OutOfSync", "revision": REVERT}}, Delivery()),
        (
            {"syncPolicy": {"automated": {}}},
            {"sync": {"status": "OutOfSync"}, "operationState": {"phase": "Failed", "message": "no", "syncResult": {"revision": REVERT}}},
            Delivery("", REVERT, trouble="no"),
        ),
        (
            {"syncPolicy": {"automated": {"enabled": False}}},
            {"sync": {"status": "OutOfSync"}},
            Delivery(trouble="it is not synced automatically: sync it", suspended=True),
        ),
        ({"syncPolicy": {"automated": {}}}, {}, Delivery()),
    ],
)
async def test_an_application(fake: FakeCluster, spec: dict[str, Any], status: dict[str, Any], expected: Delivery) -> None:
    fake.add(APPLICATIONS, APPLICATIONS.head("argocd", "shop") | {"spec": spec, "status": status})
    assert await delivery_of(fake, workload(ARGO)) == expected


# ------------------------------------------------------------------------------------------------------- the outbox
def reverted(*effects: dict[str, str], labels: dict[str, str] | None = None, outcome: str = "Failed") -> WriteBack | None:
    body = run("r1", outcome=outcome, effects=())
    body["status"]["effects"] = list(effects)
    body["spec"]["source"] = {"revision": BAD}
    return write_back(body, workload(FLUX if labels is None else labels))


def effect(state: str, name: str = "revert/fleet", **more: str) -> dict[str, str]:
    return {"name": name, "state": state} | more


@pytest.mark.parametrize(
    ("effects", "state", "commit", "reason"),
    [
        ([effect("Done", ref=REVERT)], Written.DONE, REVERT, ""),
        ([effect("Done", "pr/fleet", ref="https://git.example/pull/1")], Written.DONE, "", ""),
        ([effect("Skipped", reason="AlreadyReverted")], Written.DONE, "", "AlreadyReverted"),
        ([effect("Skipped", reason="SameImages")], Written.LEFT, "", "SameImages"),
        ([effect("Queued")], Written.OPEN, "", ""),
        ([effect("Blocked", reason="Protected")], Written.OPEN, "", "Protected"),
        ([effect("Waiting", "pr/fleet", reason="PullRequest")], Written.OPEN, "", "PullRequest"),
        ([effect("Skipped", "revert/a", reason="SameImages"), effect("Queued", "revert/b")], Written.OPEN, "", ""),
        ([effect("Queued", "revert/a"), effect("Done", "revert/b", ref=REVERT)], Written.DONE, REVERT, ""),
    ],
)
def test_what_the_outbox_says_of_a_revert(effects: list[dict[str, str]], state: Written, commit: str, reason: str) -> None:
    back = reverted(effect("Queued", "record/fleet"), *effects)
    assert back is not None
    assert (back.state, back.commit, back.reason, back.failed) == (state, commit, reason, BAD)
    assert back.by == "Kustomization flux-system/apps"
    assert back.ended > 0


@pytest.mark.parametrize(
    "effects", [[], [effect("Skipped", reason="NotWanted")], [effect("Skipped", reason="Superseded")], [effect("Done", "record/fleet")]]
)
def test_where_nothing_is_reverted_nothing_is_waited_for(effects: list[dict[str, str]]) -> None:
    assert reverted(*effects) is None


def test_nobody_is_waited_for_where_nobody_delivers_or_nothing_failed() -> None:
    assert reverted(effect("Done", ref=REVERT), labels={}) is None
    assert reverted(effect("Done", ref=REVERT), outcome="Succeeded") is None


# ------------------------------------------------------------------------------------------------------- replicas
@pytest.mark.parametrize(
    ("manager", "more", "labels", "said"),
    [
        ("kustomize-controller", {}, FLUX, "kustomize-controller (Kustomization flux-system/apps)"),
        ("helm-controller", {}, HELM, "helm-controller (HelmRelease prod/podinfo)"),
        ("argocd-controller", {}, ARGO, "argocd-controller (Application argocd/shop)"),
        ("canary", {}, FLUX, ""),
        ("kubectl-edit", {}, FLUX, ""),
        ("kube-controller-manager", {"subresource": "scale"}, FLUX, ""),
        ("kustomize-controller", {}, {}, ""),
    ],
)
def test_who_insists_on_replicas(manager: str, more: dict[str, str], labels: dict[str, str], said: str) -> None:
    entry = {"manager": manager, "fieldsV1": {"f:spec": {"f:replicas": {}}}} | more
    others = {"manager": "kustomize-controller", "fieldsV1": {"f:spec": {"f:template": {}}}}
    assert insists_on_replicas(workload(labels, managedFields=[others, entry])) == said
