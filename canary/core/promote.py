"""Promotion: copy the target onto the primary, wait for it, give it the traffic, park the target (reference 2.6).

The phase is stored before the copy is made. So a crash in the middle of copying is resumed by copying again, and cannot be
mistaken for a release that is still being analysed on top of a primary that already changed. Whatever ends a promotion other
than success forgets what was promoted before, because the primary may hold either: the next revision, the old one included,
is then a release like any other (Q2).
"""

from __future__ import annotations

from canary.api.status import Phase
from canary.core.model import EnsurePrimary, EnsureScaler, Promote, Readiness
from canary.core.pace import mark, moved_outside, not_due
from canary.core.revisions import has_moved
from canary.core.runs import fail, restart, succeed
from canary.core.turn import AT_ONCE, End, Turn
from canary.core.upkeep import lean_on_target
from canary.core.weights import TOTAL, lowered


def begin(t: Turn) -> End:
    """The analysis is complete and approved: store that, copy in the next tick."""
    t.say(t.voice.promoting())
    t.update(phase=Phase.PROMOTING)
    # nothing waits for a person any more, whoever decided
    t.update_run(copied=False, last_tick_time=None, held="")
    return AT_ONCE


def skip(t: Turn) -> End | None:
    """`skipAnalysis`: promote on readiness alone (reference 2.8), yet wait for the primary before the target goes (Q51)."""
    if not t.canary.spec.skip_analysis:
        return None
    if t.primary_ready:
        t.move(0)
        t.update(canary_weight=0)
    return begin(t)


def copy(t: Turn) -> End | None:
    """Copy the target onto the primary, once, only if it still is what was analysed (Q21)."""
    if t.run is None or t.run.copied:
        return None
    if has_moved(t):
        return _start_over(t)
    revision = t.status.last_applied_spec
    t.do(EnsurePrimary(revision), Promote(revision, t.status.tracked_configs))
    t.update_run(copied=True)
    return AT_ONCE


def _start_over(t: Turn) -> End:
    t.update(last_promoted_spec="", last_promoted_configs=None)
    return restart(t)


def primary_in_promotion(t: Turn) -> End | None:
    """The primary must be ready with the new revision; stuck means that the promotion failed."""
    if t.primary_ready:
        return None
    primary = t.primary
    if primary is None:
        # deleted, and the target has moved on: the promoted revision is nowhere any more
        return _start_over(t)
    if primary.readiness is Readiness.STUCK:
        return _failed(t, primary.message)
    if not t.primary_serves:
        # it lost its last pod (it may be re-created rather than rolled): its share goes where it is served
        lean_on_target(t)
    t.wait_for(f"primary {t.voice.primary}", primary.message)
    return t.interval


def _failed(t: Turn, message: str) -> End:
    """The copy that serves keeps the traffic, and the target is not scaled down (reference 2.7, Q1)."""
    t.say(t.voice.promotion_failed(message))
    weight = 0 if t.primary_serves and not t.target_serves else TOTAL
    t.move(weight)
    t.update(last_promoted_spec="", last_promoted_configs=None)
    return fail(t, reason=f"promotion failed, primary not ready: {message}", weight=weight)


def target_in_promotion(t: Turn) -> End | None:
    """The target should be ready while it has traffic; when it is stuck or serves nobody, the primary takes over at once (Q2)."""
    target = t.target
    if _abandoned(t):
        if target.readiness is Readiness.STUCK:
            t.say(t.voice.finished_without_target(target.message))
        return None
    if target.readiness is Readiness.READY:
        return None
    t.wait_for(f"canary {t.voice.target}", target.message)
    return t.interval


def _abandoned(t: Turn) -> bool:
    return t.target.readiness is Readiness.STUCK or not t.target_serves


def shift(t: Turn) -> End:
    """Give the primary its traffic back, at once or in steps of `stepWeightPromotion`, one per interval."""
    if t.snapshot.has_scaler:
        t.do(EnsureScaler(update=True))
    step = t.analysis.step_weight_promotion
    weight = t.routes.canary
    stepwise = step > 0 and weight > 0 and t.snapshot.has_weights and t.run is not None
    if not stepwise or _abandoned(t) or t.canary.spec.skip_analysis:
        return _all_to_primary(t)
    if end := not_due(t):
        return end
    mark(t)
    if moved_outside(t):
        return t.interval
    weight = lowered(weight, step)
    t.move(weight)
    t.say(t.voice.primary_weight(TOTAL - weight))
    if weight == 0:
        return _finalise(t)
    t.update(canary_weight=weight)
    return t.interval


def _all_to_primary(t: Turn) -> End:
    if t.snapshot.has_weights:
        t.say(t.voice.to_primary())
    t.move(0)
    return _finalise(t)


def _finalise(t: Turn) -> End:
    t.update(phase=Phase.FINALISING, canary_weight=0, iterations=0)
    t.update_run(sole=False)
    return AT_ONCE


def finish(t: Turn) -> End:
    """The traffic is back on the primary: park the target, done. Traffic that came back meanwhile is moved first."""
    if t.routes.canary > 0 or t.sole:
        _all_to_primary(t)
        # some meshes show a change only after a while: no hot loop until they do
        return t.interval if t.snapshot.has_weights else AT_ONCE
    return succeed(t)
