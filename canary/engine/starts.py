"""Canaries that are released together start one after the other, fifteen a second.

A cluster works in stages: the deployment controller, the ReplicaSet controller, the scheduler and the kubelets take what comes in the order in which
it came. A hundred Deployments scaled up at one moment pass each stage together and become ready together, when all the work is done; and as their
steps are one interval apart from then on, all of them are promoted at one moment, too. Started at a pace that a small control plane can follow, each
is ready soon after its own start, and what follows is as spread out as the starts were: the last one begins later, and all are promoted earlier.

Only the start of a run waits, before anything of it is written: rollbacks, promotions and repairs never do. Rejected: fewer ticks at once, which are
short and would make rollbacks wait as well; sleeping in the tick, which would hold one of the slots.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from canary.core import model, workloads
from canary.engine.scheduler import Key
from canary.kube.throttle import TokenBucket

RATE = 15.0
"""Starts a second. A controller manager at its default rate (20 requests a second for each of its controllers, and each start needs several) follows no
faster, so nobody waits longer for us than for the cluster. Measured on two cores: at twice the rate a fleet's promotions still come in one burst."""
BURST = 5
"""Starts that need not wait after a calm: a release of some canaries is never slowed down."""


class Starts:
    """Remembers whose turn comes when. `timer` is monotonic seconds."""

    def __init__(self, *, timer: Callable[[], float] = time.monotonic) -> None:
        self._timer = timer
        self._bucket = TokenBucket(rate=RATE, burst=BURST, clock=timer)
        self._turns: dict[Key, float] = {}

    def waits(self, key: Key, snapshot: model.Snapshot, decision: model.Decision) -> float:
        """Seconds until a decision that begins a run may be carried out; 0 for now. A wish that was withdrawn gives its turn up."""
        if not _begins(snapshot, decision):
            self._turns.pop(key, None)
            return 0.0
        if key not in self._turns:
            self._turns[key] = self._timer() + self._bucket.reserve()
        left = self._turns[key] - self._timer()
        if left > 0:
            return left
        del self._turns[key]
        return 0.0

    def forget(self, key: Key) -> None:
        """A canary that is gone."""
        self._turns.pop(key, None)


def _begins(snapshot: model.Snapshot, decision: model.Decision) -> bool:
    """Whether this wakes a parked target for a new run. One that is woken because its primary is gone, or in the middle of a run, has no time to lose."""
    target, before, after = snapshot.target, snapshot.canary.status.run, decision.status.run
    parked = isinstance(target, model.Workload) and workloads.parked(target, kind=snapshot.canary.spec.target_ref.kind)
    new = after is not None and (before is None or after.id != before.id)
    return parked and new and any(isinstance(effect, model.ScaleTarget) and effect.up for effect in decision.effects)
