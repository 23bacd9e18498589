"""CanaryRuns: opened before traffic moves, closed with the outcome, and with it the outbox of what Git must hear.

Both are idempotent and come before the status write of their tick: a crash in between repeats them, and the second time finds the work done.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from canary.api.canaryrun import CheckEvidence, EffectState, EffectStatus, RunPhase, parse_canary_run
from canary.api.errors import InvalidObject
from canary.api.gitsink import RecordTarget, Revert, parse_git_sink
from canary.api.status import CanaryStatus, CheckStatus, Verdict
from canary.core import model
from canary.core.errors import Conflict, NotFound
from canary.core.hashing import configs_hash
from canary.engine.observe import Sight
from canary.gitops.outbox import effect_name
from canary.kube.cluster import Cluster
from canary.kube.resource import CANARY_RUNS, GIT_SINKS, Object

KEPT = 10
"""Closed runs kept per canary in the API; the records in Git outlive them."""


class Runs:
    """Writes CanaryRuns."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster

    async def open(self, sight: Sight, status: CanaryStatus) -> None:
        """Create the run of `status.run`, unless it exists."""
        run = status.run
        assert run is not None
        if self._cluster.get(CANARY_RUNS, sight.release.namespace, run.id) is not None:
            return
        try:
            await sight.cluster.create(CANARY_RUNS, self._body(sight, status))
        except Conflict:
            return  # made before a crash, and the cache does not know it yet

    async def close(self, sight: Sight, status: CanaryStatus, *, outcome: str, reason: str) -> None:
        """Write outcome, evidence and the queued effects, unless the run is closed already."""
        run = sight.canary.status.run or status.run
        assert run is not None
        namespace = sight.release.namespace
        body = self._cluster.get(CANARY_RUNS, namespace, run.id)
        if body is None:
            await self.open(sight, status.model_copy(update={"run": run}))
            body = await sight.cluster.read(CANARY_RUNS, namespace, run.id)
        if parse_canary_run(body).status.phase is not RunPhase.RUNNING:
            return
        closed = {
            "phase": outcome,
            "reason": reason,
            "finishedAt": _time(sight.snapshot.now),
            "maxWeightReached": run.max_weight_reached,
            "failedChecks": max(sight.canary.status.failed_checks, status.failed_checks),
            "checks": [_evidence(check).to_dict() for check in status.checks or sight.canary.status.checks],
            "effects": [effect.to_dict() for effect in self._effects(sight, outcome)],
        }
        patch = {"metadata": {"resourceVersion": body["metadata"]["resourceVersion"]}, "status": closed}
        await sight.cluster.merge(CANARY_RUNS, namespace, run.id, patch, subresource="status")
        await self._prune(sight)

    def _body(self, sight: Sight, status: CanaryStatus) -> Object:
        run, canary, snapshot = status.run, sight.canary, sight.snapshot
        assert run is not None
        release = sight.release
        primary = snapshot.primary if isinstance(snapshot.primary, model.Workload) else None
        revision = snapshot.target.revision if isinstance(snapshot.target, model.Workload) else status.last_applied_spec
        spec: dict[str, Any] = {
            "canaryRef": {"name": release.name, "uid": canary.metadata.uid},
            "target": canary.spec.target_ref.model_dump(mode="json", by_alias=True),
            "startedAt": _time(run.started_at.timestamp() if run.started_at else snapshot.now),
            "strategy": run.strategy,
            "release": _release(run.images, revision, status.tracked_configs),
        }
        if primary is not None:
            spec["previous"] = _release(run.baseline_images or primary.images, primary.revision, None)
        head = CANARY_RUNS.head(release.namespace, run.id)
        head["metadata"] |= {"labels": {"canary.dev/canary": release.name}, "ownerReferences": [dict(release.owner_reference)]}
        return {**head, "spec": spec}

    def _effects(self, sight: Sight, outcome: str) -> list[EffectStatus]:
        """What each sink of the namespace that chose this canary will write. A sink that cannot be read still gets its effects."""
        effects: list[EffectStatus] = []
        for body in self._cluster.list(GIT_SINKS, sight.release.namespace):
            name = body["metadata"]["name"]
            try:
                spec = parse_git_sink(body).spec
            except InvalidObject:
                effects.append(EffectStatus(name=effect_name("record", name), state=EffectState.QUEUED))
                continue
            if not spec.canaries.matches(sight.canary.metadata.labels):
                continue
            if spec.records.target is RecordTarget.BRANCH:
                effects.append(EffectStatus(name=effect_name("record", name)))
            if outcome == RunPhase.FAILED.value and spec.on_failure.revert is Revert.IMAGE:
                effects.append(EffectStatus(name=effect_name("revert", name)))
        return effects

    async def _prune(self, sight: Sight) -> None:
        """Delete the oldest closed runs of this canary whose effects are all done."""
        mine = [body for body in self._cluster.list(CANARY_RUNS, sight.release.namespace) if _is_of(body, sight)]
        runs = [parse_canary_run(body) for body in mine]
        settled = [
            run for run in runs if run.status.phase is not RunPhase.RUNNING and all(effect.state.final for effect in run.status.effects)
        ]
        for run in sorted(settled, key=lambda one: one.spec.started_at)[: max(0, len(runs) - KEPT)]:
            try:
                await sight.cluster.delete(CANARY_RUNS, run.metadata.namespace, run.metadata.name)
            except NotFound:
                continue


def _is_of(body: Object, sight: Sight) -> bool:
    return bool(body["spec"]["canaryRef"]["uid"] == sight.canary.metadata.uid)


def _release(images: Mapping[str, str], revision: str, configs: Mapping[str, str] | None) -> dict[str, Any]:
    return {"images": dict(images), "templateHash": revision, "configHash": configs_hash(configs)}


def _evidence(check: CheckStatus) -> CheckEvidence:
    return CheckEvidence(
        name=check.name,
        bound=check.bound,
        samples=check.samples or (1 if check.value is not None else 0),
        worst=check.value,
        last=check.value,
        failed=int(check.verdict == Verdict.FAIL),
        no_data=int(check.verdict == Verdict.NO_DATA),
        errors=int(check.verdict == Verdict.ERROR),
        verdict=check.verdict,
        query=check.query,
        source=check.source,
    )


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
