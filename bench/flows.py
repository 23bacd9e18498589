"""Exact counts of one account's requests, by verb and resource, taken by the API server itself.

The contestant has a service account of its own, as where it is installed, and every (verb, resource) of interest has a FlowSchema for
that account whose dispatches the API server counts. They are exempt, so that priority and fairness slow nobody down. Rejected:
`apiserver_request_total` (it does not know the account, and half of the traffic is the control plane's own), an audit log (the API server
would work harder for whoever asks more), and a client certificate (it is verified anew with every request, a token is not).
"""

from collections import Counter
from collections.abc import Iterable
from typing import Any

from bench.load import NAMESPACE
from bench.parsing import samples

ACCOUNT = "operator"
"""Its name, in the namespace of the load."""
VERBS = ("get", "list", "watch", "create", "update", "patch", "delete")
RESOURCES = (
    ("flagger.app", "canaries"),
    ("flagger.app", "canaries/status"),
    ("apps", "deployments"),
    ("", "services"),
    ("projectcontour.io", "httpproxies"),
    ("", "events"),
    ("coordination.k8s.io", "leases"),
    ("canary.dev", "canaryruns"),
    ("canary.dev", "canaryruns/status"),
)
OTHER = "other"
"""Everything that has no schema of its own: discovery, lists of other kinds, and the like."""

_COUNTER = "apiserver_flowcontrol_dispatched_requests_total"
_PREFIX = "bench"

Counts = Counter[tuple[str, str]]
"""(verb, resource) to number of requests; both are `OTHER` for the rest."""


def schemas() -> list[dict[str, Any]]:
    """One FlowSchema per verb and resource, and a last one for the rest."""
    narrow = [
        _schema(_name(verb, resource), 2, verbs=[verb], groups=[group], resources=[resource], urls=False)
        for group, resource in RESOURCES
        for verb in VERBS
    ]
    return [*narrow, _schema(_name(OTHER, OTHER), 3, verbs=["*"], groups=["*"], resources=["*"], urls=True)]


def counts(metrics: str) -> Counts:
    """What the account has sent so far, from the API server's /metrics."""
    names = {_name(verb, resource): (verb, resource) for _, resource in RESOURCES for verb in VERBS} | {_name(OTHER, OTHER): (OTHER, OTHER)}
    found: Counts = Counter()
    for labels, value in samples(metrics, _COUNTER):
        if (what := names.get(labels.get("flow_schema", ""))) is not None:
            found[what] += int(value)
    return found


def is_upkeep(verb: str, resource: str) -> bool:
    """Watches and leases: what an operator at rest may send."""
    return verb == "watch" or resource == "leases"


def beyond_upkeep(sent: Counts | Iterable[tuple[tuple[str, str], int]]) -> int:
    """Requests that are neither watches nor of leases."""
    items = sent.items() if isinstance(sent, Counter) else sent
    return sum(count for (verb, resource), count in items if not is_upkeep(verb, resource))


def _name(verb: str, resource: str) -> str:
    return f"{_PREFIX}-{verb}-{resource.replace('/', '-')}"


def _schema(name: str, precedence: int, *, verbs: list[str], groups: list[str], resources: list[str], urls: bool) -> dict[str, Any]:
    rule: dict[str, Any] = {
        "subjects": [{"kind": "ServiceAccount", "serviceAccount": {"namespace": NAMESPACE, "name": ACCOUNT}}],
        "resourceRules": [{"verbs": verbs, "apiGroups": groups, "resources": resources, "clusterScope": True, "namespaces": ["*"]}],
    }
    if urls:
        rule["nonResourceRules"] = [{"verbs": ["*"], "nonResourceURLs": ["*"]}]
    spec = {"matchingPrecedence": precedence, "priorityLevelConfiguration": {"name": "exempt"}, "rules": [rule]}
    return {"apiVersion": "flowcontrol.apiserver.k8s.io/v1", "kind": "FlowSchema", "metadata": {"name": name}, "spec": spec}
