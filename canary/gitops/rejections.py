"""Whether a release that is about to be tried is one that was rejected before, and taken back in Git.

Asked before a run begins, and of what is in memory alone: neither Git nor the API may stand between a user and a release. Where no sink takes anything
back there is no loop, and every revision is tried, as Flagger does.
"""

from __future__ import annotations

from canary.api.canary import Canary
from canary.api.canaryrun import ReleaseInfo
from canary.api.errors import InvalidObject
from canary.api.gitsink import GitSink, Revert, parse_git_sink
from canary.gitops import breaker
from canary.gitops.newer_run import siblings
from canary.kube.cluster import Cluster
from canary.kube.resource import GIT_SINKS


def rejection(cluster: Cluster, canary: Canary, release: ReleaseInfo, *, now: float) -> str:
    """Why this release is not tried, in one sentence; empty: nothing stands against it. `now` is Unix time."""
    meta = canary.metadata
    sinks = [sink for sink in _sinks(cluster, meta.namespace) if sink.spec.canaries.matches(meta.labels)]
    if not sinks:
        return ""
    runs = tuple(siblings(cluster, meta.namespace, meta.uid))
    forgiven = meta.annotations.get(breaker.RETRY, "")
    for sink in sinks:
        if found := breaker.Past(sink.metadata.name, sink.spec.breaker, runs, now, forgiven).same(release):
            return found.text
    return ""


def _sinks(cluster: Cluster, namespace: str) -> list[GitSink]:
    """Those that take releases back."""
    found = []
    for body in cluster.list(GIT_SINKS, namespace):
        try:
            sink = parse_git_sink(body)
        except InvalidObject:
            continue
        if sink.spec.on_failure.revert is not Revert.NONE:
            found.append(sink)
    return sorted(found, key=lambda sink: sink.metadata.name)
