"""CanaryRuns: opened before traffic moves, closed with the outcome, and with it the outbox of what Git must hear.

Both are idempotent and come before the status write of their tick: a crash in between repeats them, and the second time finds the work done. A run is
described by what the *stored* status says of it, never by the status that this tick is about to write: when a newer revision interrupts a run, that
one already speaks of the next.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from canary.api.canaryrun import CanaryRun, CheckEvidence, EffectState, EffectStatus, RunPhase, parse_canary_run
from canary.api.errors import InvalidObject
from canary.api.gitsink import RecordTarget, Revert, parse_git_sink
from canary.api.status import CanaryStatus, CheckStatus, RunStatus, Verdict
from canary.core import model
from canary.core.errors import CanaryError, Conflict, NotFound
from canary.core.hashing import configs_hash
from canary.engine.observe import Sight
from canary.gitops.queue import effect_name
from canary.kube.cluster import Cluster
from canary.kube.resource import CANARY_RUNS, GIT_SINKS, Object

log = logging.getLogger(__name__)

KEPT = 10
"""Closed runs kept per canary in the API; the records in Git outlive them."""
LABEL = "canary.dev/canary"
LONGEST_LABEL = 63
"""Characters of a label's value that the API server takes."""


class Runs:
    """Writes CanaryRuns."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster

    async def open(self, sight: Sight, status: CanaryStatus) -> None:
        """Create the run that the stored status names, unless it exists. Raises the errors of a write."""
        run = _run(sight, status)
        if self._cluster.get(CANARY_RUNS, sight.release.namespace, run.id) is not None:
            return
        try:
            await sight.cluster.create(CANARY_RUNS, _body(sight, run))
        except Conflict:
            return  # made before a crash, and the cache does not know it yet

    async def close(self, sight: Sight, status: CanaryStatus, *, outcome: str, reason: str) -> None:
        """Write outcome, evidence and the queued effects, unless the run is closed already. Raises the errors of a write."""
        run = _run(sight, status)
        namespace = sight.release.namespace
        body = self._cluster.get(CANARY_RUNS, namespace, run.id)
        if body is None:
            await self.open(sight, status)
            body = await sight.cluster.read(CANARY_RUNS, namespace, run.id)
        if (body.get("status") or {}).get("phase", RunPhase.RUNNING) != RunPhase.RUNNING:
            return
        patch = {
            "metadata": {"resourceVersion": body["metadata"]["resourceVersion"]},
            "status": {
                **_closed(sight, status, run),
                "phase": outcome,
                "reason": reason,
                "effects": [effect.to_dict() for effect in self._effects(sight, outcome)],
            },
        }
        try:
            await sight.cluster.merge(CANARY_RUNS, namespace, run.id, patch, subresource="status")
        except NotFound as error:  # deleted since the cache was told: decide anew, and make it again
            raise Conflict(error.message) from error
        await self._prune(sight, run.id, status.run.id if status.run else "")

    def _effects(self, sight: Sight, outcome: str) -> list[EffectStatus]:
        """What each sink of the namespace that chose this canary will write.

        Of a sink that cannot be read everything is queued: once it is mended, what it does not ask for is skipped.
        """
        effects: list[EffectStatus] = []
        failed = outcome == RunPhase.FAILED
        for body in self._cluster.list(GIT_SINKS, sight.release.namespace):
            name = body["metadata"]["name"]
            try:
                spec = parse_git_sink(body).spec
            except InvalidObject:
                kinds = ["record", *(["revert"] if failed else [])]
            else:
                if not spec.canaries.matches(sight.canary.metadata.labels):
                    continue
                kinds = ["record"] if spec.records.target is RecordTarget.BRANCH else []
                kinds += ["revert"] if failed and spec.on_failure.revert is Revert.IMAGE else []
            effects += [EffectStatus(name=effect_name(kind, name), state=EffectState.QUEUED) for kind in kinds]
        return effects

    async def _prune(self, sight: Sight, *current: str) -> None:
        """Delete the oldest runs of this canary that nothing waits for. Housekeeping: it never fails a tick.

        `current`: names of runs that may be under way; any other that claims to be was lost with a status that somebody wiped.
        """
        runs = self._siblings(sight)
        settled = [run for run in runs if run.metadata.name not in current and all(effect.state.final for effect in run.status.effects)]
        for run in sorted(settled, key=lambda one: one.spec.started_at)[: max(0, len(runs) - KEPT)]:
            meta = run.metadata
            try:
                await sight.cluster.delete(CANARY_RUNS, meta.namespace, meta.name, uid=meta.uid)
            except CanaryError as error:
                log.info("old run %s/%s is not deleted: %s", meta.namespace, meta.name, error)
                return

    def _siblings(self, sight: Sight) -> list[CanaryRun]:
        """Runs of this very canary, not of one before it with the same name."""
        found = []
        for body in self._cluster.list(CANARY_RUNS, sight.release.namespace):
            if ((body.get("spec") or {}).get("canaryRef") or {}).get("uid") != sight.canary.metadata.uid:
                continue
            try:
                found.append(parse_canary_run(body))
            except InvalidObject as error:
                log.warning("%s", error)
        return found


def _run(sight: Sight, status: CanaryStatus) -> RunStatus:
    run = sight.canary.status.run or status.run
    assert run is not None  # the rules name a run before they open or close it
    return run


def _body(sight: Sight, run: RunStatus) -> Object:
    canary, stored, release = sight.canary, sight.canary.status, sight.release
    primary = sight.snapshot.primary if isinstance(sight.snapshot.primary, model.Workload) else None
    spec: dict[str, Any] = {
        "canaryRef": {"name": release.name, "uid": canary.metadata.uid},
        "target": canary.spec.target_ref.model_dump(mode="json", by_alias=True),
        "startedAt": _time(run.started_at.timestamp() if run.started_at else sight.snapshot.now),
        "strategy": run.strategy,
        "release": _release(run.images, stored.last_applied_spec, stored.tracked_configs),
    }
    before = run.baseline_images or (primary.images if primary is not None else {})
    if before:
        revision = stored.last_promoted_spec or (primary.revision if primary is not None else "")
        spec["previous"] = _release(before, revision, stored.last_promoted_configs)
    head = CANARY_RUNS.head(release.namespace, run.id)
    head["metadata"]["ownerReferences"] = [dict(release.owner_reference)]
    if len(release.name) <= LONGEST_LABEL:
        head["metadata"]["labels"] = {LABEL: release.name}
    return {**head, "spec": spec}


def _closed(sight: Sight, status: CanaryStatus, run: RunStatus) -> dict[str, Any]:
    """The evidence. This tick's status speaks of the run as long as it has not begun another."""
    stored = sight.canary.status
    same = status.run is not None and status.run.id == run.id
    now = status.run if same and status.run is not None else run
    checks = (status.checks if same else ()) or stored.checks
    return {
        "finishedAt": _time(sight.snapshot.now),
        "maxWeightReached": max(run.max_weight_reached, now.max_weight_reached),
        "failedChecks": max(stored.failed_checks, status.failed_checks if same else 0),
        "checks": [_evidence(check).to_dict() for check in checks],
    }


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
