"""The built-in kinds of the sandbox: a table, and their field types from `builtin.json`.

`builtin.json` holds the facts of Kubernetes 1.36's OpenAPI documents for these kinds (types, list keys, merge keys, defaults; no prose), one
definition a line, plus what the published documents lack: `x-zero` (`omit` for an optional field whose zero value is not stored, `null` for
one that is always shown) and `x-proto` (field numbers). The conformance suite compares the file with a real server. Rejected: the model classes of the `kubernetes` package
(no merge keys, no list types, 1.3 s to import) and no schema at all (unknown fields would be stored, typed lists would not merge).
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any, Final

from canary.sandbox.resources import ALL_VERBS, Registry, Resource, ScalePaths
from canary.sandbox.schema import Schema
from canary.sandbox.schema_nodes import Compiler, Node
from canary.sandbox.store import Store


@dataclass(frozen=True, slots=True)
class _Kind:
    """One row.

    `flags`: n namespaced, s status, c scale, g counts generations, v update needs a version, u update may create, d delete answers the
    object, x virtual (create only, nothing is stored).
    """

    group: str
    version: str
    plural: str
    kind: str
    definition: str
    flags: str
    short: str = ""
    categories: str = ""


KINDS: Final = (
    _Kind("", "v1", "namespaces", "Namespace", "core.v1.Namespace", "sd", "ns"),
    _Kind("", "v1", "nodes", "Node", "core.v1.Node", "s", "no"),
    _Kind("", "v1", "pods", "Pod", "core.v1.Pod", "nsgd", "po", "all"),
    _Kind("", "v1", "services", "Service", "core.v1.Service", "nsud", "svc", "all"),
    _Kind("", "v1", "endpoints", "Endpoints", "core.v1.Endpoints", "nu", "ep"),
    _Kind("", "v1", "configmaps", "ConfigMap", "core.v1.ConfigMap", "n", "cm"),
    _Kind("", "v1", "secrets", "Secret", "core.v1.Secret", "n"),
    _Kind("", "v1", "events", "Event", "core.v1.Event", "nu", "ev"),
    _Kind("", "v1", "serviceaccounts", "ServiceAccount", "core.v1.ServiceAccount", "nd", "sa"),
    _Kind("apps", "v1", "deployments", "Deployment", "apps.v1.Deployment", "nscg", "deploy", "all"),
    _Kind("apps", "v1", "daemonsets", "DaemonSet", "apps.v1.DaemonSet", "nsg", "ds", "all"),
    _Kind("apps", "v1", "replicasets", "ReplicaSet", "apps.v1.ReplicaSet", "nscg", "rs", "all"),
    _Kind("apps", "v1", "statefulsets", "StatefulSet", "apps.v1.StatefulSet", "nscg", "sts", "all"),
    _Kind("apiextensions.k8s.io", "v1", "customresourcedefinitions", "CustomResourceDefinition", "apiextensions.v1.CustomResourceDefinition", "sgv", "crd crds", "api-extensions"),
    _Kind("authentication.k8s.io", "v1", "tokenreviews", "TokenReview", "authentication.v1.TokenReview", "x"),
    _Kind("authorization.k8s.io", "v1", "selfsubjectaccessreviews", "SelfSubjectAccessReview", "authorization.v1.SelfSubjectAccessReview", "x"),
    _Kind("authorization.k8s.io", "v1", "subjectaccessreviews", "SubjectAccessReview", "authorization.v1.SubjectAccessReview", "x"),
    _Kind("autoscaling", "v2", "horizontalpodautoscalers", "HorizontalPodAutoscaler", "autoscaling.v2.HorizontalPodAutoscaler", "ns", "hpa", "all"),
    _Kind("coordination.k8s.io", "v1", "leases", "Lease", "coordination.v1.Lease", "nvu"),
    _Kind("discovery.k8s.io", "v1", "endpointslices", "EndpointSlice", "discovery.v1.EndpointSlice", "ng"),
    _Kind("events.k8s.io", "v1", "events", "Event", "events.v1.Event", "nu", "ev"),
    _Kind("networking.k8s.io", "v1", "ingresses", "Ingress", "networking.v1.Ingress", "nsg", "ing"),
    _Kind("networking.k8s.io", "v1", "networkpolicies", "NetworkPolicy", "networking.v1.NetworkPolicy", "ng", "netpol"),
    _Kind("policy", "v1", "poddisruptionbudgets", "PodDisruptionBudget", "policy.v1.PodDisruptionBudget", "nsgv", "pdb"),
    _Kind("rbac.authorization.k8s.io", "v1", "clusterroles", "ClusterRole", "rbac.v1.ClusterRole", "u"),
    _Kind("rbac.authorization.k8s.io", "v1", "clusterrolebindings", "ClusterRoleBinding", "rbac.v1.ClusterRoleBinding", "u"),
    _Kind("rbac.authorization.k8s.io", "v1", "roles", "Role", "rbac.v1.Role", "nu"),
    _Kind("rbac.authorization.k8s.io", "v1", "rolebindings", "RoleBinding", "rbac.v1.RoleBinding", "nu"),
)  # fmt: skip

EVENT_RENAMES: Final[Mapping[str, str]] = {
    "involvedObject": "regarding",
    "message": "note",
    "source": "deprecatedSource",
    "firstTimestamp": "deprecatedFirstTimestamp",
    "lastTimestamp": "deprecatedLastTimestamp",
    "count": "deprecatedCount",
    "reportingComponent": "reportingController",
}


def _text(*path: str) -> Callable[[Mapping[str, Any]], str]:
    def read(obj: Mapping[str, Any]) -> str:
        value: Any = obj
        for step in path:
            value = value.get(step) if isinstance(value, Mapping) else None
        return str(value).lower() if isinstance(value, bool) else "" if value is None else str(value)

    return read


def paths(*names: str) -> dict[str, Callable[[Mapping[str, Any]], str]]:
    """Readers of dotted fields, for field selectors."""
    return {name: _text(*name.split(".")) for name in names}


FIELDS: Final = {
    "pods": paths("spec.nodeName", "spec.restartPolicy", "spec.schedulerName", "spec.serviceAccountName", "spec.hostNetwork", "status.phase", "status.podIP", "status.nominatedNodeName"),
    "secrets": paths("type"),
    "namespaces": paths("status.phase"),
    "nodes": paths("spec.unschedulable"),
    "replicasets": paths("status.replicas"),
    "services": paths("spec.clusterIP", "spec.type"),
    "events": {
        **paths(*(f"involvedObject.{name}" for name in ("kind", "namespace", "name", "uid", "apiVersion", "resourceVersion", "fieldPath"))),
        **{f"regarding.{name}": _text("involvedObject", name) for name in ("kind", "namespace", "name", "uid", "apiVersion", "fieldPath")},
        **paths("reason", "reportingComponent", "type"),
        "reportingController": _text("reportingComponent"),
        "source": lambda obj: str((obj.get("source") or {}).get("component") or obj.get("reportingComponent") or ""),
    },
}  # fmt: skip


@cache
def definitions() -> dict[str, Any]:
    """The raw content of `builtin.json`: name -> schema."""
    loaded: dict[str, Any] = json.loads(files(__package__).joinpath("builtin.json").read_text(encoding="utf-8"))
    return loaded


@cache
def _compiler() -> Compiler:
    return Compiler(definitions())


@cache
def object_meta() -> Node:
    """The compiled ObjectMeta, shared by built-in and custom kinds."""
    return _compiler().definition("meta.v1.ObjectMeta")


@cache
def builtin_schema(definition: str) -> Schema:
    """The compiled schema of a built-in kind; compiled on first use, then shared by every server of the process."""
    return Schema(definitions()[definition], compiler=_compiler())


def register(registry: Registry, store: Store) -> None:
    """Serve all built-in kinds."""
    for row in KINDS:
        shared_events = row.group == "events.k8s.io"
        registry.add(
            Resource(
                group=row.group, version=row.version, plural=row.plural, kind=row.kind,
                bucket=store.bucket("" if shared_events else row.group, row.plural),
                schema=builtin_schema("core.v1.Event" if shared_events else row.definition), metadata=object_meta(),
                namespaced="n" in row.flags, short_names=tuple(row.short.split()), categories=tuple(row.categories.split()),
                singular=row.plural if row.plural == "endpoints" else "", list_kind="EndpointsList" if row.plural == "endpoints" else "",
                verbs=("create",) if "x" in row.flags else tuple(one for one in ALL_VERBS if row.plural != "namespaces" or one != "deletecollection"),
                builtin=True, status="s" in row.flags, scale=ScalePaths() if "c" in row.flags else None,
                counts_generations="g" in row.flags, needs_version="v" in row.flags, creates_on_update="u" in row.flags,
                returns_deleted="d" in row.flags, virtual="x" in row.flags, fields=FIELDS.get(row.plural, {}),
                renames=EVENT_RENAMES if shared_events else {},
            )
        )  # fmt: skip
