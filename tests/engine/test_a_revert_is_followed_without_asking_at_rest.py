"""From the outbox and the engine's objects to the condition on the Canary, on a real API: who wakes whom, and what it costs."""

import asyncio

import pytest

from canary.core.delivery import Replicas
from canary.core.errors import Forbidden
from canary.engine.delivered import replicas_by
from canary.gitops.deliverers import KUSTOMIZATIONS
from canary.gitops.provenance import GIT_REPOSITORIES
from canary.kube.resource import CANARIES, CANARY_RUNS, DEPLOYMENTS, GIT_SINKS
from canary.sandbox.world import CRDS
from canary.targets.registry import target
from tests.engine.test_runs_are_opened_and_closed_once import canary
from tests.engine.world import NS, Stage
from tests.fakes.cluster import FakeCluster

BAD, REVERT = "b" * 40, "c" * 40
SINK = {"repository": {"url": "https://git.example/acme/fleet"}, "cluster": "c1"}
LABELS = {"kustomize.toolkit.fluxcd.io/name": "apps", "kustomize.toolkit.fluxcd.io/namespace": NS}


def _definition(resource):
    names = {"plural": resource.plural, "kind": resource.kind, "singular": resource.kind.lower()}
    schema = {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}}
    version = {"name": resource.version, "served": True, "storage": True, "schema": schema}
    spec = {"group": resource.group, "names": names, "scope": "Namespaced", "versions": [version]}
    return {**CRDS.head("", f"{resource.plural}.{resource.group}"), "spec": spec}


async def _delivered(stage):
    """Flux's objects, and its labels on the target."""
    for resource in (KUSTOMIZATIONS, GIT_REPOSITORIES):
        await stage.user.create(CRDS, _definition(resource))
    ref = {"kind": "GitRepository", "name": "fleet"}
    status = {"lastAppliedRevision": f"main@sha1:{BAD}", "conditions": [{"type": "Ready", "status": "True"}]}
    await stage.user.create(KUSTOMIZATIONS, {**KUSTOMIZATIONS.head(NS, "apps"), "spec": {"sourceRef": ref}, "status": status})
    await stage.user.create(GIT_REPOSITORIES, {**GIT_REPOSITORIES.head(NS, "fleet"), "spec": {"url": SINK["repository"]["url"]}})
    await stage.user.create(GIT_SINKS, {**GIT_SINKS.head(NS, "fleet"), "spec": SINK})
    await stage.deploy("app:1")
    await stage.user.merge(DEPLOYMENTS, NS, "app", {"metadata": {"labels": LABELS}})


async def _writes_the_revert(stage, state="Done", **more):
    """What the outbox does."""
    [run] = [one for one in stage.view.list(CANARY_RUNS, NS) if one["status"]["phase"] == "Failed"]
    effects = [{"name": "record/fleet", "state": "Done"}, {"name": "revert/fleet", "state": state} | more]
    await stage.user.merge(CANARY_RUNS, NS, run["metadata"]["name"], {"status": {"effects": effects}}, subresource="status")


def _reason(stage):
    return (stage.condition("Converged") or {}).get("reason")


def _asked(process):
    return process.client.requests.total(verb="get", resource="kustomizations.kustomize.toolkit.fluxcd.io")


@pytest.mark.slow
async def test_it_is_followed_and_then_costs_nothing():
    async with Stage() as stage, stage.process() as process:
        await _delivered(stage)
        await stage.canary(stepWeight=100, maxWeight=100)
        await stage.phase("Initialized")
        stage.metrics.values["request-success-rate"] = 50.0
        await stage.deploy("app:2")
        await stage.phase("Failed")
        await stage.until(lambda: _reason(stage) == "WritingBack")
        assert _asked(process) == 1  # when the run began: which commit it is
        await _writes_the_revert(stage, ref=REVERT)
        await stage.until(lambda: _reason(stage) == "WaitingForEngine")
        assert 2 <= _asked(process) <= 4
        await stage.user.merge(KUSTOMIZATIONS, NS, "apps", {"status": {"lastAppliedRevision": f"main@sha1:{REVERT}"}})
        await stage.deploy("app:1")
        await stage.until(lambda: _reason(stage) == "Converged")
        assert stage.condition("Converged")["status"] == "True"
        assert stage.status()["phase"] == "Failed"
        asked = _asked(process)
        for number in range(3):  # somebody touches the Canary: it is looked at, and nobody is asked
            notes = {"annotations": {"reconcile.fluxcd.io/requestedAt": str(number)}}
            await stage.user.merge(CANARIES, NS, "app", {"metadata": notes})
            await stage.until(lambda number=number: stage.status().get("lastHandledReconcileAt") == str(number))
        assert _asked(process) == asked
        assert _reason(stage) == "Converged"


@pytest.mark.slow
async def test_another_process_goes_on_where_the_first_one_died():
    async with Stage() as stage:
        await _delivered(stage)
        async with stage.process():
            await stage.canary(stepWeight=100, maxWeight=100)
            await stage.phase("Initialized")
            stage.metrics.values["request-success-rate"] = 50.0
            await stage.deploy("app:2")
            await stage.phase("Failed")
        await _writes_the_revert(stage, ref=REVERT)
        await stage.user.merge(KUSTOMIZATIONS, NS, "apps", {"status": {"lastAppliedRevision": f"main@sha1:{REVERT}"}})
        await stage.deploy("app:1")
        await asyncio.sleep(0.1)
        async with stage.process():
            await stage.until(lambda: _reason(stage) == "Converged")


async def test_who_scales_the_target_is_read_past_the_cache_and_may_stay_unknown():
    fake, one = FakeCluster(watched=True), canary()
    body = DEPLOYMENTS.head(one.metadata.namespace, one.spec.target_ref.name)
    fields = {"manager": "kustomize-controller", "fieldsV1": {"f:spec": {"f:replicas": {}}}}
    body["metadata"] |= {"labels": LABELS, "managedFields": [fields]}
    fake.add(DEPLOYMENTS, body)
    kind = target(one.spec.target_ref)
    assert await replicas_by(fake, one, kind) == Replicas(f"kustomize-controller (Kustomization {NS}/apps)")
    fake.fail("read", DEPLOYMENTS, Forbidden("no"))
    assert await replicas_by(fake, one, kind) == Replicas(None)
