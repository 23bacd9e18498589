"""One analysis tick of a running release: checks, then one step of the strategy, behind its gates (reference 2.3, 22-29)."""

from __future__ import annotations

from canary.api.analysis import WebhookType
from canary.api.status import Phase
from canary.core import analyze, judged, promote
from canary.core.analyze import Outcome
from canary.core.evidence import make_room
from canary.core.gates import first_refusal
from canary.core.model import Unknown
from canary.core.pace import mark, moved_outside
from canary.core.rollback import critical, signaled
from canary.core.strategies import Stage, Strategy, ab_testing, blue_green, iterations_of, weighted
from canary.core.turn import AT_ONCE, End, Turn
from canary.core.weights import TOTAL, next_step


def advance(t: Turn) -> End:
    """A step that is due. Ends the tick in all cases; the next is one interval away, unless the release now ends."""
    mark(t)
    if moved_outside(t):
        return t.interval
    if end := signaled(t):
        return end
    make_room(t)
    t.checks_run = True
    _warn_about_spec(t)
    outcome = _checked(t)
    judged.refuse(t, refused=not outcome.passed)
    if outcome.fatal:
        return critical(t, outcome.fatal)
    if not outcome.passed:
        reached = t.status.failed_checks >= t.analysis.threshold_count
        return AT_ONCE if reached else t.interval
    if t.strategy is Strategy.CANARY:
        return _by_evidence(t) if judged.deciding(t) else _weighted(t)
    return _ab_testing(t) if t.strategy is Strategy.AB_TESTING else _blue_green(t)


def _warn_about_spec(t: Turn) -> None:
    if t.snapshot.has_weights:
        return
    if t.analysis.match:
        t.say(t.voice.match_ignored())
    if t.analysis.iterations < 1:
        t.say(t.voice.iterations_forced(_total(t)))


def _checked(t: Turn) -> Outcome:
    """Before anything is routed: pre-rollout hooks, no metrics. Later: the analysis."""
    untouched = t.routes.canary == 0 and t.status.iterations == 0 and not (t.analysis.mirror and t.routes.mirrored)
    if not untouched:
        return analyze.passes(t)
    t.say(t.voice.started())
    return analyze.pre_rollout(t)


def _total(t: Turn) -> int:
    return iterations_of(t.analysis, has_weights=t.snapshot.has_weights)


# ------------------------------------------------------------------------------------------------------ weighted


def _weighted(t: Turn) -> End:
    step = next_step(t.routes.canary, step_weight=t.analysis.step_weight, step_weights=t.analysis.step_weights)
    if step <= 0:
        # upstream stands still without a word (Q11)
        t.say(t.voice.schedule_stands_still())
        t.stall = Unknown("NoStep", "The schedule has no step: set analysis.stepWeight, stepWeights or iterations above 0.")
        return t.interval
    if not t.routes.mirrored and t.phase is not Phase.WAITING_PROMOTION and not _traffic_allowed(t):
        return t.interval
    mirror = t.analysis.mirror and t.snapshot.can_mirror
    routes = weighted(t.routes, step=step, maximum=t.analysis.max_weight_effective, mirror=mirror)
    if routes is None:
        return promote.begin(t) if _promotion_allowed(t, iterations=0) else t.interval
    t.move(routes.canary, mirrored=routes.mirrored)
    t.update(canary_weight=routes.canary)
    t.say(t.voice.weight(routes.canary, mirrored=routes.mirrored))
    return t.interval


def climb(t: Turn) -> End | None:
    """Between two steps the weight follows the evidence, unless something stood against the last step, or weights were moved by others."""
    run = t.run
    untouched = t.routes.canary == 0 and not t.routes.mirrored
    if not judged.deciding(t) or run is None or untouched or (run.weight, run.mirrored) != (t.routes.canary, t.routes.mirrored):
        return None
    wish = judged.wish(t)
    if judged.adaptive(t) and run.judge is not None and not run.judge.refused and not wish.promote:
        make_room(t)
        _raise(t, wish.weight)
    return None


def _by_evidence(t: Turn) -> End:
    """A step of a release that evidence decides: its weight, or its promotion; gates keep their meaning."""
    wish = judged.wish(t)
    if wish.promote:
        return promote.begin(t) if _promotion_allowed(t, iterations=0) else t.interval
    if t.analysis.mirror and t.snapshot.can_mirror and t.routes.canary == 0 and not t.routes.mirrored:
        _mirror(t)
        return t.interval
    _raise(t, wish.weight if judged.adaptive(t) or not wish.weight else _scheduled(t))
    return t.interval


def _mirror(t: Turn) -> None:
    """Copies come before users, as long as the judge wants: it says 0 until they may end."""
    if not _traffic_allowed(t):
        judged.refuse(t, refused=True)
        return
    t.move(0, mirrored=True)
    t.say(t.voice.weight(0, mirrored=True))


def _scheduled(t: Turn) -> int:
    step = next_step(t.routes.canary, step_weight=t.analysis.step_weight, step_weights=t.analysis.step_weights)
    return min(t.analysis.max_weight_effective, t.routes.canary + step)


def _raise(t: Turn, weight: int) -> None:
    if weight <= t.routes.canary:
        return
    if not _traffic_allowed(t):
        judged.refuse(t, refused=True)
        return
    if t.phase is Phase.WAITING_PROMOTION:
        # the schedule was edited while it waited: it is not at its end any more, and would wait for ever
        t.update(phase=Phase.PROGRESSING)
    t.move(weight)
    t.update(canary_weight=weight)
    t.say(t.voice.weight(weight, mirrored=False))


def _traffic_allowed(t: Turn) -> bool:
    hook, _ = first_refusal(t, WebhookType.CONFIRM_TRAFFIC_INCREASE, phase=Phase.PROGRESSING)
    if hook is None:
        return True
    t.say(t.voice.gate_traffic(hook, weight=t.routes.canary))
    return False


def _promotion_allowed(t: Turn, *, iterations: int) -> bool:
    """Ask the confirm-promotion gates; a refusal is a phase of its own, in which the checks go on.

    `iterations` is what the counter goes back to, so that a counting strategy makes one more check before it asks again.
    """
    hook, _ = first_refusal(t, WebhookType.CONFIRM_PROMOTION, phase=Phase.PROGRESSING)
    if hook is None:
        return True
    if t.phase is not Phase.WAITING_PROMOTION:
        t.say(t.voice.gate_promotion(hook))
    t.update(phase=Phase.WAITING_PROMOTION, iterations=iterations)
    return False


# ------------------------------------------------------------------------------------------------------ counting


def _ab_testing(t: Turn) -> End:
    total, done = _total(t), t.status.iterations
    if ab_testing(done, total) is Stage.CHECK:
        t.move(TOTAL)
        return _iterated(t, done + 1, total)
    return promote.begin(t) if _promotion_allowed(t, iterations=total - 1) else t.interval


def _blue_green(t: Turn) -> End:
    total, done = _total(t), t.status.iterations
    stage = blue_green(done, total)
    if stage is Stage.CHECK:
        if t.analysis.mirror and t.snapshot.can_mirror and not t.routes.mirrored and t.routes.canary == 0:
            t.move(0, mirrored=True)
        return _iterated(t, done + 1, total)
    if not _promotion_allowed(t, iterations=total - 1):
        return t.interval
    if stage is Stage.PROMOTE:
        return promote.begin(t)
    if t.snapshot.has_weights:
        t.say(t.voice.cut_over(mirrored=t.routes.mirrored))
        t.move(TOTAL)
    t.update(iterations=done + 1)
    return t.interval


def _iterated(t: Turn, done: int, total: int) -> End:
    t.update(iterations=done)
    t.say(t.voice.iteration(done, total))
    return t.interval
