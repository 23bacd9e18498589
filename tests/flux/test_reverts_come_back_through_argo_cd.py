"""Argo CD by its objects: the Application that tracks a Deployment names the commit of a run, and says when the revert has come.

Argo CD itself cannot be had here, so the test writes what it writes; the kind is its own CRD.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
import yaml

from tests.e2e.objects import collection
from tests.flux.conftest import Fleet
from tests.flux.repository import plain
from tests.testbed.thirdparty import third_party_crds

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(300)]

PATH = "argo/board.yaml"
APPLICATIONS = "/apis/argoproj.io/v1alpha1/namespaces/argocd/applications"


class ArgoCD:
    """Applies what Git says when it is told to, and keeps the status of one Application."""

    def __init__(self, fleet: Fleet) -> None:
        self.fleet = fleet
        self.url = fleet.flux.get("GitRepository", "fleet")["spec"]["url"]

    def application(self) -> None:
        """As a user writes it."""
        source = {"repoURL": self.url, "path": "argo", "targetRevision": "main"}
        destination = {"server": "https://kubernetes.default.svc", "namespace": self.fleet.namespace}
        spec = {"project": "default", "source": source, "destination": destination, "syncPolicy": {"automated": {}}}
        head = {"apiVersion": "argoproj.io/v1alpha1", "kind": "Application", "metadata": {"name": "board", "namespace": "argocd"}}
        self.fleet.cluster.api.call("POST", APPLICATIONS, head | {"spec": spec})

    def compares(self, revision: str, *, synced: bool) -> None:
        """It has looked at a commit."""
        source = {"repoURL": self.url, "path": "argo", "targetRevision": "main"}
        destination = {"server": "https://kubernetes.default.svc", "namespace": self.fleet.namespace}
        compared = {"source": source, "destination": destination}
        sync = {"status": "Synced" if synced else "OutOfSync", "revision": revision, "comparedTo": compared}
        self._status({"sync": sync, "reconciledAt": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")})

    def syncs(self, revision: str) -> None:
        """It begins a sync, applies, and then says that all is as it should be."""
        self.compares(revision, synced=False)
        for item in yaml.safe_load_all(self.fleet.git.git("fleet", "show", f"{revision}:{PATH}")):
            if item["kind"] == "Deployment":
                item["metadata"]["annotations"] = {"argocd.argoproj.io/tracking-id": f"board:apps/Deployment:{self.fleet.namespace}/board"}
            plural = {"Deployment": "deployments", "Canary": "canaries"}[item["kind"]]
            path = f"{collection(plural, self.fleet.namespace)}/{item['metadata']['name']}"
            self.fleet.cluster.api.apply(path, item, manager="argocd-controller")
        self.compares(revision, synced=True)

    def _status(self, status: dict[str, Any]) -> None:
        merge = "application/merge-patch+json"
        self.fleet.cluster.api.call("PATCH", f"{APPLICATIONS}/board", {"status": status}, content_type=merge)


@pytest.fixture
def argo(fleet: Fleet) -> ArgoCD:
    fleet.cluster.crds(*third_party_crds("argo-cd"))
    fleet.cluster.create_namespace("argocd")
    return ArgoCD(fleet)


def test_an_application(fleet: Fleet, argo: ArgoCD) -> None:
    argo.application()
    argo.syncs(fleet.push({PATH: plain("board", fleet.namespace, "board:1")}, "board:1"))
    fleet.wait_phase("board", "Initialized")
    fleet.errors.share["board"] = 50.0
    bad = fleet.push({PATH: plain("board", fleet.namespace, "board:2")}, "board:2")
    argo.syncs(bad)
    fleet.wait_phase("board", "Failed")
    run = fleet.runs("board")[-1]
    # it says what it has compared, and not what it has synced
    assert run["spec"]["source"] == {"revision": bad, "repository": argo.url, "path": "argo", "via": "Application", "confidence": "low"}
    waiting = fleet.wait("the revert", lambda: _reason(fleet, "WaitingForEngine"))
    assert waiting["message"].startswith(f"Application argocd/board has applied {bad[:12]}, not yet the revert ")
    revert = fleet.git.git("fleet", "rev-parse", "main").strip()
    assert revert != bad
    argo.syncs(revert)
    done = fleet.wait("it to converge", lambda: _reason(fleet, "Converged"))
    assert done["status"] == "True"
    assert done["message"] == f"Application argocd/board has applied {revert[:12]}; board.{fleet.namespace} is what was promoted."
    assert fleet.image("board") == "board:1"
    assert len(fleet.runs("board")) == 1


def _reason(fleet: Fleet, reason: str) -> dict[str, Any]:
    condition = fleet.condition("board", "Converged")
    return condition if condition.get("reason") == reason else {}
