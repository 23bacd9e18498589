"""The finalizer, and what happens when a Canary is deleted (reference 2.15).

With `revertOnDeletion` the target takes its place again before anything is removed: it gets its replicas, must be ready, and
only then Services and routes are given back and the finalizer goes, which lets the primary be collected. Nothing else ticks
meanwhile (upstream's ticks fight the revert, Q13). Without it nothing is undone, as upstream, but it is said aloud (Q44).
"""

from __future__ import annotations

from canary.api.common import FINALIZER
from canary.api.status import Phase
from canary.core import baseline, workloads
from canary.core.model import PauseScaler, Readiness, Revert, SetFinalizer, Unknown, Workload
from canary.core.runs import CANCELED, close
from canary.core.turn import ASLEEP, AT_ONCE, End, Turn


def finalizer(t: Turn) -> None:
    """The finalizer is there exactly while `revertOnDeletion` asks for it."""
    wanted, present = t.canary.spec.revert_on_deletion, FINALIZER in t.canary.metadata.finalizers
    if wanted != present:
        t.do(SetFinalizer(wanted))


def terminating(t: Turn) -> End | None:
    """The Canary is being deleted."""
    meta = t.canary.metadata
    if meta.deletion_timestamp is None:
        return None
    if FINALIZER not in meta.finalizers:
        return _leaving(t)
    if not t.canary.spec.revert_on_deletion:
        t.do(SetFinalizer(present=False))
        return _leaving(t)
    if t.phase is not Phase.TERMINATING:
        # the first tick only asks for pods; whether none are wanted shows in what the target looks like after it
        if isinstance(t.snapshot.target, Workload):
            _revive(t)
        close(t, outcome=CANCELED, reason="the canary was deleted")
        t.update(phase=Phase.TERMINATING)
        baseline.let_go(t)
        t.say(t.voice.terminating())
        return AT_ONCE
    return _revert(t)


def _leaving(t: Turn) -> End:
    target = t.snapshot.target
    if t.phase is not Phase.NONE and isinstance(target, Workload) and workloads.parked(target, kind=t.kind):
        t.say(t.voice.deleted_while_parked())
    return ASLEEP


def _revert(t: Turn) -> End:
    target = t.snapshot.target
    if isinstance(target, Unknown):
        if target.reason != "NotFound":
            t.say(t.voice.unobservable("target", target.message))
            return t.interval
        # the application went first: nothing to give anything back to, and the finalizer must not hang (Q45)
        return _gone(t)
    _revive(t)
    baseline.let_go(t)
    if not _took_over(t, target):
        message = target.message or "waiting for its pods"
        stuck = target.readiness is Readiness.STUCK
        if stuck:
            t.say(t.voice.target_stuck_on_deletion(message))
        else:
            t.wait_for(f"canary {t.voice.target}", message)
        return t.interval
    t.do(Revert("services"), Revert("routes"))
    return _gone(t)


def _revive(t: Turn) -> None:
    if t.snapshot.has_scaler:
        t.do(PauseScaler(paused=False))
    t.do(Revert("target"))


def _took_over(t: Turn, target: Workload) -> bool:
    """Whether the primary may go: the target serves, or nothing that serves is lost."""
    if target.readiness is Readiness.READY and t.target_serves:
        return True
    if t.primary_serves or target.readiness is Readiness.WAITING:
        return False
    primary = t.snapshot.primary
    nothing_wanted = isinstance(primary, Workload) and primary.replicas == 0
    return nothing_wanted or not workloads.parked(target, kind=t.kind)


def _gone(t: Turn) -> End:
    t.do(SetFinalizer(present=False))
    t.say(t.voice.terminated())
    return ASLEEP
