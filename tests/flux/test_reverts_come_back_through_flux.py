"""The whole circle with Flux's own controllers: a push is released, a bad one is reverted in Git, Flux applies the revert, and then nothing moves."""

from __future__ import annotations

import json
import time
from collections.abc import Callable

import pytest

from tests.flux.conftest import Fleet
from tests.flux.repository import CHART, chart, plain, release, values

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(300)]

QUIET = 4.0
"""Seconds in which a loop would have shown itself: the source looks every second, and a run takes as long."""


def _effects(run: dict) -> dict[str, str]:
    return {effect["name"]: effect["state"] for effect in run["status"].get("effects", ())}


def _circle(fleet: Fleet, app: str, *, path: str, via: str, push: Callable[[str], str]) -> None:
    """Good, bad, back. `path`: what a release of the application changes in Git."""
    fleet.wait_phase(app, "Initialized")
    good = push(f"{app}:2")
    fleet.wait_phase(app, "Succeeded")
    fleet.wait("its record and tag", lambda: set(_effects(fleet.runs(app)[-1]).values()) == {"Done"})
    [succeeded] = fleet.runs(app)
    assert succeeded["spec"]["source"] == {
        "revision": good,
        "repository": fleet.flux.get("GitRepository", "fleet")["spec"]["url"],
        "path": fleet.flux.get("Kustomization", "fleet")["spec"]["path"].strip("./"),
        "via": via,
        "confidence": "high",
    }
    assert (
        f"cluster-001/{fleet.namespace}/{app}/promoted.json"
        in fleet.git.git("fleet", "ls-tree", "-r", "--name-only", "canary-outcomes").split()
    )
    assert not fleet.condition(app, "Converged")
    fleet.errors.share[app] = 50.0
    bad = push(f"{app}:3")
    fleet.wait_phase(app, "Failed")
    fleet.wait(f"{app} to converge", lambda: fleet.condition(app, "Converged").get("status") == "True", 60)
    before = _state(fleet, app, path)
    assert before["image"] == f"{app}:2"
    assert before["log"][0].startswith(f"canary: canary({fleet.namespace}/{app}): revert")
    assert before["log"][1] == f"dev: {app}:3"
    run = fleet.runs(app)[-1]
    assert run["spec"]["source"]["revision"] == bad
    fleet.wait("the record to name it", lambda: _effects(fleet.runs(app)[-1]).get("amend/fleet") == "Done")
    run = fleet.runs(app)[-1]
    assert _effects(run) == {"record/fleet": "Done", "revert/fleet": "Done", "amend/fleet": "Done"}
    revert = next(effect["ref"] for effect in run["status"]["effects"] if effect["name"] == "revert/fleet")
    record = f"canary-outcomes:cluster-001/{fleet.namespace}/{app}/{run['metadata']['name']}.json"
    assert json.loads(fleet.git.git("fleet", "show", record))["effects"] == {"revertCommit": revert}
    assert (
        fleet.condition(app, "Converged")["message"]
        == f"{_engine(via)} has applied {revert[:12]}; {app}.{fleet.namespace} is what was promoted."
    )
    [event] = fleet.events(app, "Converged")
    assert revert[:12] in event["message"]
    time.sleep(QUIET)
    assert _state(fleet, app, path) == before
    assert before["runs"] == 2
    assert before["phase"] == "Failed"
    assert fleet.image(f"{app}-primary") == f"{app}:2"


def _engine(via: str) -> str:
    return "Kustomization flux-system/fleet" if via == "Kustomization" else "HelmRelease flux-system/shop"


def _state(fleet: Fleet, app: str, path: str) -> dict:
    """What a loop would move."""
    status = fleet.get("canaries", app)["status"]
    return {
        "image": fleet.image(app),
        "replicas": fleet.get("deployments", app)["spec"]["replicas"],
        "generation": fleet.get("deployments", app)["metadata"]["generation"],
        "runs": len(fleet.runs(app)),
        "phase": status["phase"],
        "log": fleet.log(path),
        "converged": fleet.condition(app, "Converged"),
    }


def test_a_kustomization(fleet: Fleet) -> None:
    path = "apps/web.yaml"

    def push(image: str) -> str:
        return fleet.push({path: plain("web", fleet.namespace, image)}, image)

    push("web:1")
    _circle(fleet, "web", path=path, via="Kustomization", push=push)
    assert "image: web:2\n" in fleet.git.git("fleet", "show", f"main:{path}")


def test_a_helm_release(fleet: Fleet) -> None:
    files = chart("shop", fleet.namespace, "shop:1") | {"apps/shop.yaml": release("shop", fleet.namespace)}
    fleet.push(files, "shop:1")
    _circle(fleet, "shop", path=CHART, via="HelmRelease", push=lambda image: fleet.push(dict(values(image)), image))
    assert fleet.git.git("fleet", "show", f"main:{CHART}/values.yaml").endswith("  tag: 2 # the only place\n")


def test_a_revert_that_does_not_bring_back_what_was_promoted_is_told_and_not_repeated(fleet: Fleet) -> None:
    """The failed release changed more than its image: what Flux makes of the revert is a third revision, which fails as well."""
    path = "apps/drift.yaml"
    fleet.push({path: plain("drift", fleet.namespace, "drift:1")}, "drift:1")
    fleet.wait_phase("drift", "Initialized")
    fleet.errors.share["drift"] = 50.0
    fleet.push({path: plain("drift", fleet.namespace, "drift:2", env={"MODE": "new"})}, "drift:2")
    fleet.wait("a second run", lambda: len(fleet.runs("drift")) == 2)
    fleet.wait("its end", lambda: fleet.runs("drift")[1]["status"]["phase"] == "Failed")
    assert fleet.events("drift", "RevertDrift")
    fleet.wait("its revert to be settled", lambda: _effects(fleet.runs("drift")[1]).get("revert/fleet") == "Skipped")
    fleet.wait("a condition that says it", lambda: fleet.condition("drift", "Converged").get("reason") == "NotReverted")
    commits = fleet.log(path)
    assert len([one for one in commits if one.startswith("canary:")]) == 1
    time.sleep(QUIET)
    assert fleet.log(path) == commits
    assert len(fleet.runs("drift")) == 2
    assert fleet.image("drift-primary") == "drift:1"


def test_replicas_in_git_are_explained_and_not_fought(fleet: Fleet) -> None:
    path = "apps/fixed.yaml"
    fleet.push({path: plain("fixed", fleet.namespace, "fixed:1", replicas=2)}, "fixed:1")
    fleet.wait_phase("fixed", "Initialized")
    assert fleet.get("deployments", "fixed")["spec"]["replicas"] == 0
    fleet.flux.reconciled("Kustomization", "fleet")
    told = fleet.wait("a condition that says it", lambda: fleet.condition("fixed", "ReplicasContested"))
    assert f"kustomize-controller (Kustomization flux-system/fleet) sets spec.replicas of fixed.{fleet.namespace}" in told["message"]
    assert "Remove spec.replicas from Git" in told["message"]
    generation = fleet.get("deployments", "fixed")["metadata"]["generation"]
    for _ in range(3):
        fleet.flux.reconciled("Kustomization", "fleet")
    assert fleet.get("deployments", "fixed")["metadata"]["generation"] == generation, "somebody fights over the replicas"
    [event] = fleet.events("fixed", "ReplicasInGit")
    assert event.get("count", 1) == 1
    fleet.push({path: plain("fixed", fleet.namespace, "fixed:1")}, "fixed without replicas")
    fleet.wait("it to be parked again", lambda: fleet.get("deployments", "fixed")["spec"]["replicas"] == 0)
    fleet.wait("the condition to go", lambda: not fleet.condition("fixed", "ReplicasContested"))
    fleet.flux.reconciled("Kustomization", "fleet")
    assert fleet.get("deployments", "fixed")["spec"]["replicas"] == 0
    assert not fleet.runs("fixed")
