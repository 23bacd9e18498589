"""One tick of one canary: look, ask, decide, act, write, tell.

The order is the promise (design 5): effects before status, at most one compare-and-set status write, notices after it. Any
error ends the tick with one warning on the object and a later try; a tick never raises and never takes another canary down.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import replace

from canary.api.canary import Canary
from canary.api.errors import InvalidObject
from canary.api.status import CanaryStatus
from canary.api.validation import validate_semantics
from canary.core import conditions, machine, model
from canary.core.errors import CanaryError, Conflict, NotFound, Rejected
from canary.core.turn import MissingAnswersError
from canary.engine.act import Actor
from canary.engine.echoes import Echoes
from canary.engine.logs import about
from canary.engine.notify import Notifier
from canary.engine.observe import Observer, Sight
from canary.engine.registry import Entry, Registry, key_of
from canary.engine.scheduler import SETTLE, Key
from canary.engine.settings import Settings
from canary.engine.settle import Settling, moves_only, without_waiting
from canary.engine.starts import Starts
from canary.engine.telemetry import Telemetry
from canary.engine.tracking import TrackingCluster
from canary.kube.cluster import Cluster
from canary.kube.merge import merge_diff
from canary.kube.resource import CANARIES, Object

log = logging.getLogger(__name__)

MAX_ROUNDS = 64
"""Upper bound on question rounds in one tick: hooks are asked one by one, so this is a bound on hooks."""


class Ticker:
    """Runs ticks. `fence()` raises Lost when this process may no longer act."""

    def __init__(
        self,
        *,
        cluster: Cluster,
        registry: Registry,
        observer: Observer,
        actor: Actor,
        notifier: Notifier,
        telemetry: Telemetry,
        settings: Settings,
        fence: Callable[[], None] = lambda: None,
    ) -> None:
        self._cluster = cluster
        self._registry = registry
        self._observer = observer
        self._actor = actor
        self._notifier = notifier
        self._telemetry = telemetry
        self._settings = settings
        self._fence = fence
        self.settling = Settling()
        self.starts = Starts()
        self._complaints: dict[Key, str] = {}
        self.echoes = Echoes()

    async def tick(self, key: Key) -> float | None:
        """One tick; returns seconds until the next, or None to sleep until something changes."""
        entry = self._registry.get(key)
        if entry is None:
            return None
        tracked = TrackingCluster(self._cluster, self.echoes, key)
        result, after = "ok", None
        try:
            after = await self._tick(entry, tracked)
        except Conflict as error:
            # Somebody wrote between our look and our write. Nothing is lost: decide anew from what is there now.
            log.debug("tick dropped: %s", error, extra=about(*key))
            result, after = "conflict", 0.2
        except NotFound as error:
            result, after = await self._not_found(entry, error)
        except Rejected as error:
            result, after = "rejected", await self._stall(entry, error.reason, _sentence(error))
        except CanaryError as error:
            result, after = "retry", self._warn(entry, error)
        finally:
            self._registry.looked_at(key, tracked.refs)
            again = self.echoes.ended(key, tracked.refs)
        self._telemetry.ticks.labels(result).inc()
        return after if not again else min(SETTLE, SETTLE if after is None else after)

    def forget(self, key: Key) -> None:
        """A canary that is gone."""
        self.settling.forget(key)
        self.starts.forget(key)
        self._actor.baselines.forget(key)
        self.echoes.forget(key)
        self._complaints.pop(key, None)

    async def _tick(self, entry: Entry, tracked: TrackingCluster) -> float | None:
        if entry.problem is not None:
            return await self._stall(entry, "InvalidSpec", str(entry.problem))
        canary = entry.canary
        assert canary is not None
        began = time.perf_counter()
        self._fence()
        if problems := validate_semantics(
            canary,
            provider=canary.spec.provider or self._settings.mesh_provider,
            no_cross_namespace_refs=self._settings.no_cross_namespace_refs,
        ):
            meta = canary.metadata
            return await self._stall(entry, "InvalidSpec", str(InvalidObject("Canary", meta.namespace, meta.name, problems)))
        key = key_of(entry.body)
        sight = await self._observer.look(canary, tracked)
        looked = time.monotonic()
        snapshot, left = self.settling.damped(key, self._actor.baselines.seen(key, sight.snapshot))
        sight = replace(sight, snapshot=snapshot)
        decision, later = self.settling.removal_waits(key, snapshot, await self._decide(sight))
        self._fence()
        if wait := self.starts.waits(key, sight.snapshot, decision):
            return wait
        if wait := self.settling.parking_waits(key, sight.snapshot, decision):
            await self._actor.apply(sight, moves_only(decision))
            return wait
        await self._actor.apply(sight, decision)
        canary = await self._write(entry, canary, decision.status)
        self._tell(canary, sight, without_waiting(decision) if left else decision, began)
        self._complaints.pop(key, None)
        after = _from_look(decision.wake_after, took=time.monotonic() - looked)
        return min((wait for wait in (after, left, later) if wait), default=after)

    async def _decide(self, sight: Sight) -> model.Decision:
        world: dict[model.Ask, model.Answer] = {}
        for _ in range(MAX_ROUNDS):
            try:
                return machine.decide(sight.snapshot, world)
            except MissingAnswersError as missing:  # not `needs` first: it would run all rules once more when nothing is missing
                world |= await self._observer.answer(sight, missing.asks)
        return machine.decide(sight.snapshot, world)

    async def _write(self, entry: Entry, canary: Canary, status: CanaryStatus) -> Canary:
        """The one status write: a merge patch of what changed, refused by the server if anybody wrote since we looked."""
        patch = _changed(entry.body, status)
        if not patch:
            return canary
        meta = canary.metadata
        body: Object = {"metadata": {"resourceVersion": meta.resource_version}, "status": patch}
        answer = await self._cluster.merge(CANARIES, meta.namespace, meta.name, body, subresource="status")
        self._registry.put(answer)
        return entry.canary or canary

    def _tell(self, canary: Canary, sight: Sight, decision: model.Decision, began: float) -> None:
        routes = _routes_after(sight, decision)
        self._telemetry.observe(canary, routes, now=sight.snapshot.now)
        if decision.checks_run:
            labels = (canary.spec.target_ref.name, canary.metadata.namespace)
            self._telemetry.tick_seconds.labels(*labels).observe(time.perf_counter() - began)
        if decision.counter:
            self._telemetry.finished(canary, decision.counter)
        self._notifier.post(canary, decision.notices)

    async def _not_found(self, entry: Entry, error: NotFound) -> tuple[str, float | None]:
        """Something is missing: the Canary itself (end of the loop), or what it names (its user's mistake)."""
        meta = entry.body["metadata"]
        try:
            await self._cluster.read(CANARIES, meta["namespace"], meta["name"])
        except NotFound:
            self._registry.remove((meta["namespace"], meta["name"]))
            self._telemetry.forget(meta["namespace"], meta["name"])
            return "gone", None
        except CanaryError as other:
            return "retry", self._warn(entry, other)
        return "rejected", await self._stall(entry, error.reason, _sentence(error))

    async def _stall(self, entry: Entry, reason: str, message: str) -> float:
        """Show on the object, once, why nothing happens; look again at the slow pace (or when something changes)."""
        meta = entry.body["metadata"]
        old = CanaryStatus.from_dict(entry.body.get("status") or {})
        status = conditions.stalled(old, reason=reason, message=message, generation=meta.get("generation") or 0, now=time.time())
        if patch := _changed(entry.body, status):
            body: Object = {"metadata": {"resourceVersion": meta["resourceVersion"]}, "status": patch}
            try:
                answer = await self._cluster.merge(CANARIES, meta["namespace"], meta["name"], body, subresource="status")
                self._registry.put(answer)
            except CanaryError as error:
                log.warning("cannot write the condition: %s", error, extra=about(meta["namespace"], meta["name"]))
        self._complain(entry, reason, message)
        return self._pause(entry)

    def _warn(self, entry: Entry, error: CanaryError) -> float:
        self._complain(entry, error.reason, _sentence(error))
        return min(self._pause(entry), 10.0)

    def _complain(self, entry: Entry, reason: str, message: str) -> None:
        """One log line and one event, however often the same thing goes wrong again: a canary that is stalled is looked at every interval."""
        key = key_of(entry.body)
        if self._complaints.get(key) != message:
            self._complaints[key] = message
            log.warning(message, extra=about(*key, reason=reason))
            self._notifier.warn(entry.body, message, kind=reason)

    @staticmethod
    def _pause(entry: Entry) -> float:
        return entry.canary.spec.analysis.interval_seconds if entry.canary else 60.0


def _changed(body: Object, status: CanaryStatus) -> Object:
    """Merge patch from the status as it is stored to `status`; fields that a newer version of ours wrote are left alone."""
    known = {field.alias for field in CanaryStatus.model_fields.values()}
    stored = {key: value for key, value in (body.get("status") or {}).items() if key in known}
    return merge_diff(stored, status.to_dict())


def _from_look(after: float | None, *, took: float) -> float | None:
    """What is left of a wait that began when the tick looked: steps are one interval apart however long checks, hooks and writes take.

    As upstream's ticker; but a tick that takes longer than the interval is still followed by a pause.
    """
    return None if after is None else max(after - took, after / 10)


def _sentence(error: CanaryError) -> str:
    return f"{error.message}; {error.hint}" if error.hint else error.message


def _routes_after(sight: Sight, decision: model.Decision) -> model.Routes | None:
    """The weights as this tick leaves them."""
    routes = sight.snapshot.routes if isinstance(sight.snapshot.routes, model.Routes) else None
    for effect in decision.effects:
        if isinstance(effect, model.SetRoutes):
            routes = effect.routes
    return routes
