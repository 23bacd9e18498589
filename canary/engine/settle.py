"""Meshes learn of pods, and of routes, a moment after the API server does; nobody is sent where nobody listens meanwhile.

Pods that became ready reach a proxy through EndpointSlices and the mesh's control plane, and routes reach it on another way. Behind Contour
both take up to half a second, in any order. A first step taken in the tick that sees the target ready, or a target that is parked in the
tick after its traffic was taken away, costs its users a 503. Upstream is mostly spared because it looks once in ten seconds or more; we are
woken at once, so we wait on purpose:

- a copy counts as ready once it has been for SETTLE seconds (`damped`);
- a fresh baseline is taken away once no route has named it for SETTLE seconds (`removal_waits`); the rest of such a decision does not wait;
- the target is parked once it has had no traffic for SETTLE seconds (`parking_waits`); until then only the traffic moves of such a decision
  are carried out, and the rules decide anew from what is there.

A rollback moves traffic at once: the primary has long been ready. A new process takes what it finds for settled: it took longer to start.
Rejected: a wait in the rules, which know nothing of how fast a mesh is; sleeping in a tick, which would hold one of the slots.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import replace

from canary.core import model
from canary.engine.scheduler import Key

SETTLE = 2.0
"""Seconds that a mesh may take to follow; less when half of the analysis interval is shorter."""

Copy = model.Workload | model.Unknown | None


class Settling:
    """Remembers since when copies are ready, and when targets last had traffic. `timer` is monotonic seconds."""

    def __init__(self, *, timer: Callable[[], float] = time.monotonic) -> None:
        self._timer = timer
        self._ready: dict[tuple[Key, str], tuple[str, float]] = {}
        self._traffic: dict[Key, float] = {}
        self._beside: dict[Key, float] = {}

    def damped(self, key: Key, snapshot: model.Snapshot) -> tuple[model.Snapshot, float]:
        """The snapshot in which copies that have just become ready still wait, and seconds until they will not; 0 when none does."""
        span = _span(snapshot)
        target, target_left = self._copy((key, "target"), snapshot.target, span)
        primary, primary_left = self._copy((key, "primary"), snapshot.primary, span)
        baseline, baseline_left = self._copy((key, "baseline"), snapshot.baseline, span)
        left = max(target_left, primary_left, baseline_left)
        if not left:
            return snapshot, 0.0
        assert target is not None  # what was there is still there, only later
        return replace(snapshot, target=target, primary=primary, baseline=baseline), left

    def parking_waits(self, key: Key, snapshot: model.Snapshot, decision: model.Decision) -> float:
        """Seconds until a decision that parks the target may be carried out as a whole; 0 for now."""
        if not snapshot.has_weights:
            return 0.0
        moves = [effect.routes for effect in decision.effects if isinstance(effect, model.SetRoutes)]
        if any(_reach_target(routes) for routes in (snapshot.routes, *moves)):
            self._traffic[key] = self._timer()
        last = self._traffic.get(key)
        if last is None or not any(isinstance(effect, model.ScaleTarget) and not effect.up for effect in decision.effects):
            return 0.0
        left = last + _span(snapshot) - self._timer()
        if left <= 0:
            del self._traffic[key]
        return max(0.0, left)

    def removal_waits(self, key: Key, snapshot: model.Snapshot, decision: model.Decision) -> tuple[model.Decision, float]:
        """The decision without the removal of a fresh baseline that may still be routed to, and seconds until that may be done; 0 for now.

        Nothing else follows from that removal, so that whatever else was decided need not wait for it.
        """
        moves = [effect.routes for effect in decision.effects if isinstance(effect, model.SetRoutes | model.EnsureRoutes)]
        if any(isinstance(routes, model.Routes) and routes.baseline for routes in (snapshot.routes, *moves)):
            self._beside[key] = self._timer()
        last = self._beside.get(key)
        if last is None or not any(isinstance(effect, model.RemoveBaseline) for effect in decision.effects):
            return decision, 0.0
        left = last + _span(snapshot) - self._timer()
        if left <= 0:
            del self._beside[key]
            return decision, 0.0
        effects = tuple(effect for effect in decision.effects if not isinstance(effect, model.RemoveBaseline))
        return replace(decision, effects=effects), left

    def forget(self, key: Key) -> None:
        """A canary that is gone."""
        self._traffic.pop(key, None)
        self._beside.pop(key, None)
        for which in ("target", "primary", "baseline"):
            self._ready.pop((key, which), None)

    def _copy(self, which: tuple[Key, str], copy: Copy, span: float) -> tuple[Copy, float]:
        if not isinstance(copy, model.Workload) or copy.readiness is not model.Readiness.READY or not copy.ready_replicas:
            self._ready[which] = ("", math.inf)
            return copy, 0.0
        revision, since = self._ready.get(which, (copy.revision, -math.inf))
        if revision != copy.revision:
            since = self._timer()
        self._ready[which] = (copy.revision, since)
        left = since + span - self._timer()
        if left <= 0:
            return copy, 0.0
        return replace(copy, readiness=model.Readiness.WAITING, message="its pods are ready, the mesh is being told"), left


def moves_only(decision: model.Decision) -> model.Decision:
    """What is carried out of a decision that must wait."""
    return replace(decision, effects=tuple(effect for effect in decision.effects if isinstance(effect, model.SetRoutes)))


def without_waiting(decision: model.Decision) -> model.Decision:
    """Nobody needs to hear of a wait for the mesh: it is over before it is read."""
    return replace(decision, notices=tuple(notice for notice in decision.notices if notice.kind != "NotReady"))


def _span(snapshot: model.Snapshot) -> float:
    return min(SETTLE, snapshot.canary.spec.analysis.interval_seconds / 2)


def _reach_target(routes: model.Routes | model.Unknown | None) -> bool:
    return isinstance(routes, model.Routes) and (routes.canary > 0 or routes.mirrored)
