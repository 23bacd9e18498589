"""A target is parked only after the mesh has stopped sending it requests.

Meshes learn of routes and of endpoints on different ways. Behind Contour the endpoints of a parked target vanish at once, the route that
still sends it a fifth of the users follows up to half a second later, and these users get a 503. Upstream is spared on promotion only
because it parks one interval (ten seconds or more) later, and is not spared on rollback. So a decision that parks the target is carried out
when the target has had no traffic for DRAIN seconds; before that, only its traffic moves are. The rules then decide anew from what is there.

Rejected: a wait in the rules, which know nothing of how fast a mesh is; sleeping inside a tick, which would hold one of the slots. A new
process knows of no traffic and does not wait: it took longer to start.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from canary.core import model
from canary.engine.scheduler import Key

DRAIN = 2.0
"""Seconds that a mesh may take to follow its objects; less when the analysis interval is shorter."""


class Drain:
    """Remembers, per canary, when its target was last known to have traffic. `timer` is monotonic seconds."""

    def __init__(self, *, timer: Callable[[], float] = time.monotonic) -> None:
        self._timer = timer
        self._last: dict[Key, float] = {}

    def wait(self, key: Key, snapshot: model.Snapshot, decision: model.Decision) -> float:
        """Seconds until the decision may be carried out; 0 for now."""
        if not snapshot.has_weights:
            return 0.0
        moves = [effect.routes for effect in decision.effects if isinstance(effect, model.SetRoutes)]
        if any(_reach_target(routes) for routes in (snapshot.routes, *moves)):
            self._last[key] = self._timer()
        last = self._last.get(key)
        if last is None or not any(isinstance(effect, model.ScaleTarget) and not effect.up for effect in decision.effects):
            return 0.0
        left = last + min(DRAIN, snapshot.canary.spec.analysis.interval_seconds) - self._timer()
        if left <= 0:
            del self._last[key]
        return max(0.0, left)

    def forget(self, key: Key) -> None:
        """A canary that is gone."""
        self._last.pop(key, None)


def moves_only(decision: model.Decision) -> model.Decision:
    """What is carried out meanwhile."""
    return model.Decision(
        status=decision.status, effects=tuple(effect for effect in decision.effects if isinstance(effect, model.SetRoutes))
    )


def _reach_target(routes: model.Routes | model.Unknown | None) -> bool:
    return isinstance(routes, model.Routes) and (routes.canary > 0 or routes.mirrored)
