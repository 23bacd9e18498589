"""The outbox as data: which effects on which CanaryRuns wait for which sink, and how their states are written back.

It is an index over the watch cache and nothing more; dropped and made anew it is the same. Walking all runs at every change was rejected: a fleet of
thousands that releases together would pay for it quadratically.
"""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime

from canary.api.canaryrun import CanaryRun, EffectState, EffectStatus, RunPhase, SourceConfidence, SourceInfo, parse_canary_run
from canary.api.errors import InvalidObject
from canary.core.errors import Conflict, NotFound
from canary.gitops.wanted import AMEND, PENDING, PROPOSAL, RECORD, REVERT, SOURCE
from canary.kube.cluster import Cluster
from canary.kube.resource import CANARY_RUNS, Object

log = logging.getLogger(__name__)

Key = tuple[str, str]
"""Namespace and name: of a sink, or of a run."""
WRITES = 5
"""How often a note is tried against a run that somebody else changes."""
_BEFORE = {AMEND: (RECORD, REVERT, PROPOSAL), PENDING: (SOURCE,)}
"""What has its end before an effect of this kind begins."""
_FINAL = {state.value for state in EffectState if state.final}


def effect_name(kind: str, sink: str) -> str:
    """`record/<sink>`: what is written, and where."""
    return f"{kind}/{sink}"


@dataclass(frozen=True, slots=True)
class Item:
    """One effect that waits. `kind` is one of those of `wanted`."""

    run: CanaryRun
    effect: EffectStatus
    kind: str

    @property
    def id(self) -> Key:
        """Run and effect."""
        return self.run.metadata.name, self.effect.name


@dataclass(frozen=True, slots=True)
class Note:
    """The next state of an effect; `at` is the Unix time of the next attempt, `done_at` that of success; `source` is written on the run."""

    state: EffectState
    ref: str = ""
    reason: str = ""
    error: str = ""
    at: float | None = None
    done_at: float | None = None
    source: SourceInfo | None = None

    def of(self, effect: EffectStatus) -> EffectStatus:
        """The effect in this state."""
        return EffectStatus(
            name=effect.name,
            state=self.state,
            attempts=effect.attempts + 1,
            next_at=_time(self.at),
            done_at=_time(self.done_at),
            ref=self.ref,
            reason=self.reason,
            error=self.error,
        )


def _time(seconds: float | None) -> datetime | None:
    return datetime.fromtimestamp(int(seconds), UTC) if seconds else None


class Queue:
    """What waits, by sink."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._waiting: dict[Key, dict[str, CanaryRun]] = defaultdict(dict)
        self._sinks_of: dict[Key, tuple[Key, ...]] = {}

    @property
    def depth(self) -> int:
        """How many pairs of run and sink wait."""
        return sum(map(len, self._waiting.values()))

    def oldest(self) -> float | None:
        """Unix time since when the oldest outcome waits, but for those that wait for a person to merge; None when none does."""
        runs = {id(run): run for waiting in self._waiting.values() for run in waiting.values()}.values()
        return min(
            (_ended(run) for run in runs if any(_waits(run, one) and one.state is not EffectState.WAITING for one in run.status.effects)),
            default=None,
        )

    def sinks(self) -> Iterable[Key]:
        """The sinks that something waits for."""
        return tuple(self._waiting)

    def fill(self) -> None:
        """Take in all runs of the cache."""
        for body in self._cluster.list(CANARY_RUNS):
            self.see(body)

    def see(self, body: Object) -> bool:
        """Take in one run; whether something of it waits."""
        key = (body["metadata"]["namespace"], body["metadata"]["name"])
        self.forget(key)
        effects = (body.get("status") or {}).get("effects") or ()
        if all(effect.get("state") in _FINAL for effect in effects):
            return False
        try:
            run = parse_canary_run(body)
        except InvalidObject as error:
            log.warning("its outcome is not written: %s", error)
            return False
        names = {effect.name.partition("/")[2] for effect in run.status.effects if _waits(run, effect)}
        sinks = tuple((key[0], name) for name in sorted(names))
        self._sinks_of[key] = sinks
        for sink in sinks:
            self._waiting[sink][key[1]] = run
        return bool(sinks)

    def forget(self, key: Key) -> None:
        """The run is gone, or is about to be taken in anew."""
        for sink in self._sinks_of.pop(key, ()):
            self._waiting[sink].pop(key[1], None)
            if not self._waiting[sink]:
                del self._waiting[sink]

    def of(self, sink: Key) -> list[Item]:
        """What waits for a sink: oldest runs first, and what was refused before behind what was not tried yet."""
        found = [
            Item(run, effect, effect.name.partition("/")[0])
            for run in self._waiting.get(sink, {}).values()
            for effect in run.status.effects
            if effect.name.partition("/")[2] == sink[1] and _waits(run, effect)
        ]
        return sorted(found, key=lambda one: (one.effect.state is EffectState.BLOCKED, one.run.spec.started_at, *one.id))

    async def note(self, item: Item, note: Note) -> Object | None:
        """Write the state of one effect on its run; the run, or None when it is gone.

        A final state is never taken back: another replica may have been faster. Raises the errors of a write; Conflict only when
        somebody else changes the run all the time.
        """
        namespace, name = item.run.metadata.namespace, item.run.metadata.name
        body = self._cluster.get(CANARY_RUNS, namespace, name)
        try:
            for _ in range(WRITES):
                if body is None:
                    break
                try:
                    body = await self._write(body, item.effect.name, note)
                except Conflict:
                    body = await self._cluster.read(CANARY_RUNS, namespace, name)
                    continue
                self.see(body)
                return body
        except NotFound:
            body = None
        if body is not None:
            raise Conflict(f"CanaryRun {namespace}/{name} is changed by somebody else all the time")
        self.forget((namespace, name))
        return None

    async def _write(self, body: Object, effect: str, note: Note) -> Object:
        meta = body["metadata"]
        effects = [EffectStatus.model_validate(one) for one in body["status"]["effects"]]
        if any(one.name == effect and one.state.final for one in effects):
            return body
        changed = [note.of(one).to_dict() if one.name == effect else one.to_dict() for one in effects]
        status: Object = {"effects": changed}
        known = body["status"].get("source") or {}
        if (
            note.source is not None and known.get("confidence") != SourceConfidence.HIGH
        ):  # of several sinks the one that is sure is believed
            status["source"] = note.source.model_dump(mode="json", by_alias=True)
        patch = {"metadata": {"resourceVersion": meta["resourceVersion"]}, "status": status}
        return await self._cluster.merge(CANARY_RUNS, meta["namespace"], meta["name"], patch, subresource="status")


def _ended(run: CanaryRun) -> float:
    return (run.status.finished_at or run.spec.started_at).timestamp()


def _waits(run: CanaryRun, effect: EffectStatus) -> bool:
    """Of a run under way nothing can be written but that it is, when its commit is known or not to be found; and what amends a record comes when record and
    revert have their ends.
    """
    kind, _, sink = effect.name.partition("/")
    if effect.state.final or (run.status.phase is RunPhase.RUNNING and kind not in {PENDING, SOURCE}):
        return False
    before = {effect_name(one, sink) for one in _BEFORE.get(kind, ())}
    return all(other.state.final for other in run.status.effects if other.name in before)
