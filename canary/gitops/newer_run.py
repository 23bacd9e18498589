"""The other runs of a canary, and whether a later one of the same canary has made the revert of a failed one pointless, or harmful.

Git may have been away for hours. If the same images were tried again meanwhile and promoted, taking them back would undo a release that works; and
after any later success the images "before" are older than what the primary runs.
"""

from __future__ import annotations

from collections.abc import Iterator

from canary.api.canaryrun import CanaryRun, RunPhase, parse_canary_run
from canary.api.errors import InvalidObject
from canary.kube.cluster import Cluster
from canary.kube.resource import CANARY_RUNS


def newer_run(cluster: Cluster, run: CanaryRun) -> CanaryRun | None:
    """The first later run that stands against a revert: one that succeeded, or that tries (or tried in vain) the same images.

    One that was canceled proves nothing.
    """
    kin = siblings(cluster, run.metadata.namespace, run.spec.canary_ref.uid)
    later = (other for other in kin if other.spec.started_at > run.spec.started_at)
    for other in sorted(later, key=lambda one: one.spec.started_at):
        same = other.spec.release.images == run.spec.release.images
        if other.status.phase is RunPhase.SUCCEEDED or (same and other.status.phase is not RunPhase.CANCELED):
            return other
    return None


def siblings(cluster: Cluster, namespace: str, uid: str) -> Iterator[CanaryRun]:
    """All runs of the canary with this identity that can be read."""
    for body in cluster.list(CANARY_RUNS, namespace):
        if ((body.get("spec") or {}).get("canaryRef") or {}).get("uid") != uid:
            continue
        try:
            yield parse_canary_run(body)
        except InvalidObject:
            continue
