"""The operator's account as the chart makes it, so that end-to-end tests can run the operator with its rights and no others.

An administrator's kubeconfig would hide every right that the chart forgets.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.charts.canary_chart import KUBE_VERSION
from tests.charts.helm import ROOT
from tests.testbed.cluster import Cluster
from tests.testbed.documents import documents

CHART = ROOT / "charts" / "canary"
_KINDS = {"ServiceAccount", "ClusterRole", "ClusterRoleBinding", "Role", "RoleBinding"}


def install_rbac(cluster: Cluster, namespace: str, /, **values: Any) -> Path:
    """Install the chart's CRDs, account and rights into `namespace`, without its Deployment; a kubeconfig of that account.

    `values` are the chart's (`namespace="apps"`, `leaderElection={"enabled": True}`). The cluster-wide names hold the namespace, so
    several installations stand side by side. Returns when the API server knows of the rights. Raises KubectlError, TimeoutError.
    """
    release = f"canary-{namespace}"
    rights = [item for item in rendered(cluster, namespace, release, values) if item["kind"] in _KINDS]
    cluster.crds(ROOT / "crds")
    cluster.apply(rights, manager="helm")
    account = next(item["metadata"]["name"] for item in rights if item["kind"] == "ServiceAccount")
    where = values.get("namespace") or ""
    for group, resource in (("flagger.app", "canaries"), ("canary.dev", "canaryruns")):
        question = {"group": group, "resource": resource, "verb": "list", "namespace": where}
        cluster.wait(f"the rights of {account}", lambda question=question: may(cluster, namespace, account, **question))
    return cluster.kubeconfig_for_service_account(namespace, account)


def rendered(cluster: Cluster, namespace: str, release: str, values: dict[str, Any]) -> list[dict[str, Any]]:
    """Everything that the chart installs, but its CRDs. Raises KubectlError."""
    file = cluster.folder / f"values-{release}.json"
    file.write_text(json.dumps({**values, "crds": {"install": False}}), encoding="utf-8")
    text = cluster.helm("template", release, CHART, "--namespace", namespace, "--values", file, f"--kube-version={KUBE_VERSION}")
    return documents(text)


def may(cluster: Cluster, namespace: str, account: str, /, **attributes: str) -> bool:
    """Whether RBAC lets the account do it: `group`, `resource`, `verb`, `namespace` (empty: all), `subresource`, `name`."""
    body = {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SubjectAccessReview",
        "spec": {"user": f"system:serviceaccount:{namespace}:{account}", "resourceAttributes": attributes},
    }
    answer = cluster.api.call("POST", "/apis/authorization.k8s.io/v1/subjectaccessreviews", body)
    return bool(answer["status"]["allowed"])
