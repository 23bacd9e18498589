"""What every tick does in every settled or running phase: keep the generated objects as they should be (reference 2.3, 4-12).

Drift is repaired with the weights that are live, never with the initial ones (Q4). A primary that was deleted is made again
only from a revision that was reviewed (Q12): promoted before, or through its analysis in the run that is now promoting. As
long as there is none, the target is the only copy left; it is scaled up and gets all of the traffic, even when its revision
failed or waits for approval, because the alternative is an outage. What the checks say about it stays visible, and the primary
comes back only by promotion or by going back to the promoted revision.
"""

from __future__ import annotations

from canary.core import baseline, workloads
from canary.core.model import (
    ALL_TO_PRIMARY,
    EnsurePrimary,
    EnsureRoutes,
    EnsureScaler,
    EnsureServices,
    PauseScaler,
    Routes,
    ScaleTarget,
    Unknown,
)
from canary.core.revisions import at_promoted, has_changed, is_reviewed
from canary.core.strategies import ALL_TO_CANARY
from canary.core.turn import AT_ONCE, End, Turn
from canary.core.weights import TOTAL


def upkeep(t: Turn) -> End | None:
    """Services, primary, autoscaler, apex, routes. Ends the tick only while a primary is being made again."""
    baseline.judge_fate(t)
    t.routes = current_routes(t)
    if t.primary is None:
        return _without_primary(t)
    t.do(EnsureServices(apex=False))
    if is_reviewed(t):
        # guarded by revision, because the primary may vanish between our look and the effect
        t.do(EnsurePrimary(t.target.revision))
    if t.snapshot.has_scaler:
        t.do(EnsureScaler())
    baseline.keep(t)
    if needs_target(t):
        lean_on_target(t)
    else:
        t.do(EnsureServices(apex=True))
        ensure_routes(t)
    baseline.clear(t)
    return None


def current_routes(t: Turn) -> Routes:
    """The live weights with the cookies of the status; the remembered ones while the object is missing or cannot be believed."""
    live = t.snapshot.routes
    if not t.snapshot.has_weights:
        plain = ALL_TO_CANARY if t.sole else ALL_TO_PRIMARY
    elif live is None or isinstance(live, Unknown):
        plain = _remembered(t)
        if live is None and t.primary_able and not t.target_serves:
            # made again from nothing: no reason to send anything to a copy that cannot answer
            plain = ALL_TO_PRIMARY
    else:
        plain = live
    return t.routed(plain.canary, mirrored=plain.mirrored, cookies=t.cookies)


def _remembered(t: Turn) -> Routes:
    run = t.run
    if t.in_run and run is not None and run.weight is not None:
        return Routes(TOTAL - run.weight, run.weight, run.mirrored)
    weight = min(TOTAL, max(0, t.status.canary_weight))
    return Routes(TOTAL - weight, weight)


def ensure_routes(t: Turn) -> None:
    """Repair the traffic object around the weights as they are."""
    if t.snapshot.has_weights:
        t.do(EnsureRoutes(t.routes))
        t.follow_baseline()


def needs_target(t: Turn) -> bool:
    """Whether users must be served by the target, because only that can.

    It has everything already (`sole`), or its revision was reviewed, so that it is as good as the primary: while that is
    rolled out without a pod left, or lost all of them.
    """
    return t.target_serves and not t.primary_able and (t.sole or is_reviewed(t))


def _without_primary(t: Turn) -> End | None:
    reviewed = is_reviewed(t)
    t.do(EnsureServices(apex=False))
    if reviewed:
        t.do(EnsurePrimary(t.target.revision))
        t.say(t.voice.primary_rebuilt())
    else:
        t.say(t.voice.primary_missing())
        if workloads.parked(t.target, kind=t.kind):
            wake_target(t)
    lean_on_target(t)
    baseline.clear(t)
    # the reviewed one is on its way: nothing to decide before it is there
    return t.interval if reviewed else None


def lean_on_target(t: Turn) -> None:
    """Give the target everything if it can serve: the weights, and the Services of apex and primary. It is stored (`sole`)."""
    if not t.target_serves:
        return
    t.do(EnsureServices(apex=True, to_target=True))
    ensure_routes(t)
    if t.in_run:
        t.update_run(sole=True)
    t.update(canary_weight=TOTAL)
    if t.routes.canary != TOTAL or t.routes.mirrored:
        t.move(TOTAL)


def wake_target(t: Turn) -> None:
    """Scale the target up, its autoscaler first."""
    if t.snapshot.has_scaler:
        t.do(PauseScaler(paused=False))
    t.do(ScaleTarget(up=True))


def park_target(t: Turn) -> None:
    """Scale the target to zero, its autoscaler first, so that it does not scale it up again."""
    if t.snapshot.has_scaler:
        t.do(PauseScaler(paused=True))
    t.do(ScaleTarget(up=False))


def restore(t: Turn) -> End | None:
    """Settled, and the target had everything because the primary could not serve: give it back once the primary is ready.

    Only when the primary is known to be what it should be: the target is at the promoted revision (then it is parked again),
    or a new revision is about to be released. After a failed promotion nothing is known to be promoted, so traffic stays
    where it is served until then.
    """
    home = at_promoted(t)
    # moved, and not stored: a crash in `lean_on_target`. A person's edit looks alike, and is undone only between equal copies
    forgotten = home and t.routes.canary == TOTAL
    if not (t.sole or forgotten) or not t.primary_ready:
        return None
    if not home and not has_changed(t):
        return None
    t.move(0)
    t.update(canary_weight=0)
    t.say(t.voice.primary_restored())
    if home:
        park_target(t)
    return AT_ONCE
