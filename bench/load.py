"""What is released: one-replica Deployments with a Canary each, as plain manifests, and the change that starts a release."""

from typing import Any

from tests.testbed.workload import deployment

NAMESPACE = "bench"
CANARIES = f"/apis/flagger.app/v1beta1/namespaces/{NAMESPACE}/canaries"
DEPLOYMENTS = f"/apis/apps/v1/namespaces/{NAMESPACE}/deployments"
STRATEGIC = "application/strategic-merge-patch+json"
STEPS = 5
"""Weights of one release: 10, 20, 30, 40, 50."""


def app(number: int) -> str:
    """The name of one application, its Deployment and its Canary."""
    return f"app-{number}"


def objects(number: int, *, interval: str) -> list[tuple[str, dict[str, Any]]]:
    """Collection path and body of all that one application needs: 10 to 50 by 10, both built-in checks."""
    name = app(number)
    checks = [
        {"name": "request-success-rate", "thresholdRange": {"min": 99}, "interval": "1m"},
        {"name": "request-duration", "thresholdRange": {"max": 500}, "interval": "1m"},
    ]
    spec = {
        "targetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": name},
        "progressDeadlineSeconds": 600,
        "service": {"port": 80, "targetPort": 9898},
        "analysis": {"interval": interval, "threshold": 5, "stepWeight": 10, "maxWeight": 10 * STEPS, "metrics": checks},
    }
    meta = {"name": name, "namespace": NAMESPACE}
    canary = {"apiVersion": "flagger.app/v1beta1", "kind": "Canary", "metadata": meta, "spec": spec}
    return [(DEPLOYMENTS, deployment(name, namespace=NAMESPACE)), (CANARIES, canary)]


def change(image: str) -> dict[str, Any]:
    """A strategic merge patch of a Deployment: a new image."""
    return {"spec": {"template": {"spec": {"containers": [{"name": "app", "image": image}]}}}}
