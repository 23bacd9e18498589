"""Bootstrap: from a workload to a target with a primary (reference 2.3, phases "" and Initializing).

Until the last tick the target serves its users as before, so nothing here may hurt: it is scaled to zero only after the
primary serves and after apex and routes point there. Upstream rolls back when the primary gets stuck, which scales the only
working copy to zero; here the bootstrap waits, loudly. While the primary carries no traffic it follows the target, so that a
broken first version can be mended (upstream keeps the broken primary for ever, or calls it promoted).
"""

from __future__ import annotations

from canary.api.status import Phase
from canary.core import workloads
from canary.core.model import (
    EnsurePrimary,
    EnsureRoutes,
    EnsureScaler,
    EnsureServices,
    PauseScaler,
    Promote,
    Readiness,
    ScaleTarget,
)
from canary.core.revisions import configs_differ
from canary.core.turn import AT_ONCE, End, Turn
from canary.core.upkeep import current_routes


def bootstrap(t: Turn) -> End:
    """One bootstrap tick. `lastAppliedSpec` is what the primary was made from, from its first tick on."""
    t.routes = current_routes(t)
    _probe(t)
    if t.phase is Phase.NONE:
        t.update(phase=Phase.INITIALIZING)
    if _pin(t):
        return AT_ONCE
    t.do(EnsureServices(apex=False), EnsurePrimary(t.target.revision, t.status.pinned_images))
    if t.primary is None:
        return _remember(t)
    if _is_stale(t):
        t.do(Promote(t.target.revision, t.configs))
        return _remember(t)
    if not t.status.last_applied_spec and t.target.foreign_equal:
        _remember(t)
    if end := _primary_not_there(t):
        return end
    _cut_over(t)
    return _initialized(t)


def _probe(t: Turn) -> None:
    if t.canary.spec.skip_analysis:
        return
    result = t.providers()
    t.say(t.voice.providers_unreachable(result.errors) if result.errors else t.voice.providers_ready())


def _pin(t: Turn) -> bool:
    """Decide with which version the primary begins; whether that has been decided just now, so that it is stored before there is a primary.

    Once it is stored, `lastAppliedSpec` and `lastPromotedSpec` are the pinned revision, so the template's is released when the bootstrap is done. It follows
    the rest of the template until there is a primary, and is undone only when nobody wants it any more: then the primary follows the template again.
    """
    pin, status = t.snapshot.pin, t.status
    if pin is None and status.pinned_images:
        t.update(pinned_images={}, last_applied_spec="", last_promoted_spec="")
    if pin is None or t.primary is not None or (status.last_applied_spec and not status.pinned_images):
        return False
    if pin.error:
        t.say(t.voice.not_pinned(pin.error))
    if not pin.images or pin.revision == status.last_applied_spec:
        return False
    if not status.pinned_images:
        t.say(t.voice.pinned(pin.images))
    t.update(pinned_images=dict(pin.images), last_applied_spec=pin.revision, last_promoted_spec=pin.revision, tracked_configs=t.configs)
    return True


def _remember(t: Turn) -> End:
    if t.status.pinned_images:
        return t.interval
    t.update(last_applied_spec=t.target.revision, tracked_configs=t.configs)
    return t.interval


def _is_stale(t: Turn) -> bool:
    """The primary is not what the target is now, and may be changed because it has no traffic yet.

    That is known when we made it and the target still has its pods. A primary that we find (of a canary that was created
    anew, or after a crash at the wrong moment) may be in use unless it serves nobody. One that is neither equal nor ours to
    change is left alone, and stays without a name: the target's revision is then released like any other.
    """
    if workloads.parked(t.target, kind=t.kind) or t.status.pinned_images:
        return False
    known = t.status.last_applied_spec
    if known:
        return t.target.revision != known or configs_differ(t)
    return not t.target.foreign_equal and not t.primary_serves


def _primary_not_there(t: Turn) -> End | None:
    """Wait for the primary. `skipAnalysis` does not wait (as documented), unless that would take away a copy that serves."""
    primary = t.primary
    if t.primary_ready or primary is None:
        return None
    if t.canary.spec.skip_analysis and not t.target_serves:
        return None
    if primary.readiness is Readiness.STUCK:
        t.say(t.voice.primary_stuck_at_birth(primary.message))
    else:
        t.wait_for(f"primary {t.voice.primary}", primary.message)
    return t.interval


def _cut_over(t: Turn) -> None:
    """Apex and routes first, then the target's replicas: upstream has the last two the other way round."""
    if t.snapshot.has_scaler:
        t.do(EnsureScaler(), PauseScaler(paused=True))
    t.do(EnsureServices(apex=True))
    if t.routes.canary or t.routes.mirrored:
        t.move(0)
    elif t.snapshot.has_weights:
        t.do(EnsureRoutes(t.routes))
    t.do(ScaleTarget(up=False))


def _initialized(t: Turn) -> End:
    status = t.status
    t.update(
        phase=Phase.INITIALIZED,
        canary_weight=0,
        failed_checks=0,
        iterations=0,
        last_promoted_spec=status.last_applied_spec,
        last_promoted_configs=status.tracked_configs or {},
        pinned_images={},
    )
    t.say(t.voice.initialized())
    return AT_ONCE
