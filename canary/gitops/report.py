"""How a sink is doing, as conditions on the GitSink; written only when it changes."""

from __future__ import annotations

from datetime import UTC, datetime

from canary.api.common import Condition
from canary.api.gitsink import GitSinkStatus, LastPush
from canary.core.errors import CanaryError
from canary.gitops.effects import Push
from canary.gitops.failures import Failure, Reaction
from canary.kube.cluster import Cluster
from canary.kube.merge import merge_diff
from canary.kube.resource import GIT_SINKS, Object


async def report(cluster: Cluster, body: Object, *, failure: Failure | None, push: Push | None, now: float) -> None:
    """Bring the sink's status in line; a status that cannot be written is not worth failing for."""
    meta = body["metadata"]
    newest = cluster.get(GIT_SINKS, meta["namespace"], meta["name"])
    if newest is None:
        return
    old = GitSinkStatus.from_dict(newest.get("status") or {})
    time = datetime.fromtimestamp(int(now), UTC)
    conditions = [_condition(old, "Ready", ok=failure is None, failure=failure, time=time)]
    if failure is not None and failure.reaction is Reaction.BLOCKED:
        conditions.append(_condition(old, "Stalled", ok=True, failure=failure, time=time))
    last = LastPush(time=time, commit=push.commit, branch=push.branch, message=push.subject) if push else old.last_push
    status = GitSinkStatus(observed_generation=meta.get("generation"), conditions=tuple(conditions), last_push=last)
    patch = merge_diff(old.to_dict(), status.to_dict())
    if not patch:
        return
    try:
        await cluster.merge(GIT_SINKS, meta["namespace"], meta["name"], {"status": patch}, subresource="status")
    except CanaryError:
        return


def _condition(old: GitSinkStatus, kind: str, *, ok: bool, failure: Failure | None, time: datetime) -> Condition:
    """A condition whose transition time moves only with its status."""
    before = next((one for one in old.conditions if one.type == kind), None)
    state = "True" if ok else "False"
    same = before is not None and before.status == state
    return Condition(
        type=kind,
        status=state,
        reason=failure.reason if failure else "Reachable",
        message=failure.text if failure else "the repository can be read; outcomes are written when releases end",
        last_transition_time=before.last_transition_time if before and same else time,
    )
