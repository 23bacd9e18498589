"""CanaryRuns: opened before traffic moves, closed with the outcome, the evidence, and the outbox of what Git must hear.

In between they are written only when the status has no room for more rows of evidence. All three are idempotent and come before the status write of
their tick: a crash in between repeats them, and the second time finds the work done. A run is
described by what the *stored* status says of it, never by the status that this tick is about to write: when a newer revision interrupts a run, that
one already speaks of the next.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from canary.api.canaryrun import (
    CanaryRun,
    CanaryRunStatus,
    EffectState,
    EffectStatus,
    RunPhase,
    SourceConfidence,
    SourceInfo,
    parse_canary_run,
)
from canary.api.errors import InvalidObject
from canary.api.gitsink import GitSinkSpec, parse_git_sink
from canary.api.status import CanaryStatus, RunRow, RunStatus
from canary.core import evidence, model
from canary.core.errors import CanaryError, Conflict, NotFound
from canary.core.hashing import configs_hash
from canary.engine.delivered import resource_of, target_of
from canary.engine.observe import Sight
from canary.gitops import wanted
from canary.gitops.breaker import remembered
from canary.gitops.provenance import source_of
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
        run, namespace = _run(sight, status), sight.release.namespace
        sinks = self._sinks(sight)
        made = self._cluster.get(CANARY_RUNS, namespace, run.id)
        if made is None:
            asking = [spec.repository.url for _, spec in sinks if spec and wanted.needs_source(spec)]
            source = await _source(sight, asking) if asking else None
            try:
                made = await sight.cluster.create(CANARY_RUNS, _body(sight, run, source))
            except Conflict:
                return  # made before a crash, and the cache does not know it yet
        await self._announce(sight, made, sinks)

    async def _announce(self, sight: Sight, body: Object, sinks: Sequence[tuple[str, GitSinkSpec | None]]) -> None:
        """Queue what is to be written while the run goes on. Nothing that a run waits for: it never fails a tick."""
        source = body["spec"].get("source") or {}
        if source.get("confidence") == SourceConfidence.LOW or body.get("status"):
            return
        known = {wanted.SOURCE} if source else set()
        kinds = [effect_name(kind, name) for name, spec in sinks if spec for kind in wanted.at_start(spec) if kind not in known]
        if not kinds:
            return
        effects = [EffectStatus(name=name, state=EffectState.QUEUED).to_dict() for name in kinds]
        meta = body["metadata"]
        patch = {"metadata": {"resourceVersion": meta["resourceVersion"]}, "status": {"effects": effects}}
        try:
            await sight.cluster.merge(CANARY_RUNS, meta["namespace"], meta["name"], patch, subresource="status")
        except CanaryError as error:
            log.info("run %s/%s is not announced: %s", meta["namespace"], meta["name"], error)

    async def save(self, sight: Sight, *, history: Sequence[RunRow]) -> None:
        """Add rows to the evidence of the run under way, and bring the rest of it up to what is stored. Raises the errors of a write."""
        await self._write(sight, sight.canary.status, history, phase=RunPhase.RUNNING)

    async def close(self, sight: Sight, status: CanaryStatus, *, outcome: str, reason: str, history: Sequence[RunRow] = ()) -> None:
        """Write outcome, evidence and the queued effects, unless the run is closed already. Raises the errors of a write."""
        run = _run(sight, status)
        effects = [effect.to_dict() for effect in self._effects(sight, outcome)]
        ended = {"reason": reason, "finishedAt": _time(sight.snapshot.now), "effects": effects}
        if await self._write(sight, status, history, phase=outcome, **ended):
            await self._prune(sight, run.id, status.run.id if status.run else "")

    async def _write(self, sight: Sight, status: CanaryStatus, history: Sequence[RunRow], **more: Any) -> bool:
        """Write the evidence and these fields of the run's status; False when it is closed already."""
        run, namespace = _run(sight, status), sight.release.namespace
        body = self._cluster.get(CANARY_RUNS, namespace, run.id)
        if body is None:
            await self.open(sight, status)
            body = await sight.cluster.read(CANARY_RUNS, namespace, run.id)
        stored = body.get("status") or {}
        if stored.get("phase", RunPhase.RUNNING) != RunPhase.RUNNING:
            return False
        rows = evidence.merged(CanaryRunStatus.from_dict(stored).history, history)
        fields = _evidence(sight, status, run) | {"history": [row.to_dict() for row in rows]} | more
        patch = {"metadata": {"resourceVersion": body["metadata"]["resourceVersion"]}, "status": fields}
        try:
            await sight.cluster.merge(CANARY_RUNS, namespace, run.id, patch, subresource="status")
        except NotFound as error:  # deleted since the cache was told: decide anew, and make it again
            raise Conflict(error.message) from error
        return True

    def _effects(self, sight: Sight, outcome: str) -> list[EffectStatus]:
        """What each sink of the namespace that chose this canary will write.

        Of a sink that cannot be read everything is queued: once it is mended, what it does not ask for is skipped.
        """
        return [
            EffectStatus(name=effect_name(kind, name), state=EffectState.QUEUED)
            for name, spec in self._sinks(sight)
            for kind in (wanted.at_end(spec, outcome) if spec else wanted.of_unread(outcome))
        ]

    def _sinks(self, sight: Sight) -> list[tuple[str, GitSinkSpec | None]]:
        """The sinks that chose this canary, and those of which that cannot be told (without a spec)."""
        found: list[tuple[str, GitSinkSpec | None]] = []
        for body in self._cluster.list(GIT_SINKS, sight.release.namespace):
            try:
                spec = parse_git_sink(body).spec
            except InvalidObject:
                found.append((body["metadata"]["name"], None))
            else:
                if spec.canaries.matches(sight.canary.metadata.labels):
                    found.append((body["metadata"]["name"], spec))
        return found

    async def _prune(self, sight: Sight, *current: str) -> None:
        """Delete the oldest runs of this canary that nothing waits for. Housekeeping: it never fails a tick.

        `current`: names of runs that may be under way; any other that claims to be was lost with a status that somebody wiped.
        """
        runs = self._siblings(sight)
        settled = [run for run in runs if run.metadata.name not in current and _is_settled(run, now=sight.snapshot.now)]
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


def _is_settled(run: CanaryRun, *, now: float) -> bool:
    """Nothing waits for it, and nothing that may come again is remembered by it."""
    return all(effect.state.final for effect in run.status.effects) and not remembered(run, now=now)


def _run(sight: Sight, status: CanaryStatus) -> RunStatus:
    run = sight.canary.status.run or status.run
    assert run is not None  # the rules name a run before they open or close it
    return run


def _body(sight: Sight, run: RunStatus, source: SourceInfo | None) -> Object:
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
    if source is not None:
        spec["source"] = source.model_dump(mode="json", by_alias=True)
    head = CANARY_RUNS.head(release.namespace, run.id)
    head["metadata"]["ownerReferences"] = [dict(release.owner_reference)]
    if len(release.name) <= LONGEST_LABEL:
        head["metadata"]["labels"] = {LABEL: release.name}
    return {**head, "spec": spec}


async def _source(sight: Sight, repositories: Sequence[str]) -> SourceInfo | None:
    """The commit that the target was delivered from, in one of these repositories where there is a choice. Never raises."""
    resource, workload = resource_of(sight.canary, sight.target), target_of(sight.cluster, sight.canary, sight.target)
    return await source_of(sight.cluster, resource, workload, repositories=repositories) if resource and workload else None


def _evidence(sight: Sight, status: CanaryStatus, run: RunStatus) -> dict[str, Any]:
    """The evidence but for its rows. This tick's status speaks of the run as long as it has not begun another."""
    stored = sight.canary.status
    same = status.run is not None and status.run.id == run.id
    now = status.run if same and status.run is not None else run
    checks = (status.checks if same else ()) or stored.checks
    return {
        "maxWeightReached": max(run.max_weight_reached, now.max_weight_reached),
        "failedChecks": max(stored.failed_checks, status.failed_checks if same else 0),
        "checks": [one.to_dict() for one in evidence.summary(now, checks)],
        **({"baseline": now.baseline.model_copy(update={"weight": 0}).to_dict()} if now.baseline is not None else {}),
    }


def _release(images: Mapping[str, str], revision: str, configs: Mapping[str, str] | None) -> dict[str, Any]:
    return {"images": dict(images), "templateHash": revision, "configHash": configs_hash(configs)}


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
