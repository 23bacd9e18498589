"""The state machine: which rules speak in which phase, in which order.

`needs` and `decide` run the same rules. A rule that comes upon a question without an answer interrupts them: the shell lets them
decide, asks what they miss, and they run again from the start with one answer more. They are pure and take tens of microseconds
(a look at evidence: milliseconds), so running them several times per tick costs little, and there is one body of rules instead of
two that must agree. The order inside a tick is upstream's (reference 2.3); where it differs, the module of the rule says why.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from canary.api.status import CanaryStatus, Phase
from canary.core import conditions
from canary.core.accept import accept, primary_at_rest, rest, routes_readable, withdrawn
from canary.core.advance import advance, climb
from canary.core.commands import interrupted, interrupted_while_waiting, overheard, waits
from canary.core.converged import contested, converge, shown
from canary.core.deletion import finalizer, terminating
from canary.core.evidence import note
from canary.core.held import against, held
from canary.core.initialize import bootstrap
from canary.core.judged import awake, look
from canary.core.model import Ask, Decision, Snapshot, Unknown, World
from canary.core.pace import not_due
from canary.core.promote import copy, finish, primary_in_promotion, shift, skip, target_in_promotion
from canary.core.rejected import held_back, rejected
from canary.core.revisions import at_promoted, has_moved
from canary.core.rollback import (
    baseline_in_run,
    finish_rollback,
    primary_in_run,
    signaled_while_waiting,
    target_in_run,
    threshold,
)
from canary.core.runs import cancel, closing, opened, restart
from canary.core.takeover import start_over, take_over
from canary.core.times import whole
from canary.core.turn import ASLEEP, End, MissingAnswersError, Turn
from canary.core.upkeep import restore, upkeep

Rule = Callable[[Turn], End | None]

RECONCILE_REQUEST = "reconcile.fluxcd.io/requestedAt"
"""Annotation of `flux reconcile`; answered in `status.lastHandledReconcileAt`."""
_PASSING = frozenset({"Unavailable", "Conflict", "Timeout", "Unreachable"})
"""Reasons of an Unknown that may pass by themselves; any other stalls the canary until one of its user's objects changes."""


def needs(snapshot: Snapshot, world: World) -> tuple[Ask, ...]:
    """The questions that the rules come upon next, as `decide` raises them; empty when `world` answers all of them.

    Metrics of one tick come together, so that they are asked concurrently; hooks one at a time in the order of the spec,
    because the first refusal spares the rest.
    """
    try:
        _run(Turn(snapshot, world))
    except MissingAnswersError as missing:
        return missing.asks
    return ()


def decide(snapshot: Snapshot, world: World) -> Decision:
    """The decision of one tick. Deterministic: the same inputs give the same decision.

    Raises MissingAnswersError with `needs(snapshot, world)` when that is not empty.
    """
    t = Turn(snapshot, world)
    end = awake(t, _run(t))
    note(t)
    return Decision(
        status=_status(t),
        effects=tuple(t.effects),
        notices=tuple(t.notices),
        wake_after=_sooner(end.wake_after, t.look_again),
        counter=t.counter,
        checks_run=t.checks_run,
    )


def _sooner(one: float | None, other: float | None) -> float | None:
    return min((wait for wait in (one, other) if wait is not None), default=None)


def _run(t: Turn) -> End:
    for rule in _PREAMBLE:
        if end := rule(t):
            return end
    for rule in _RULES[t.phase]:
        if end := rule(t):
            return end
    return ASLEEP


# ------------------------------------------------------------------------------------------------ before the phases


def _suspended(t: Turn) -> End | None:
    """Freeze everything; the finalizer is still kept in order, because deletion is not suspended."""
    finalizer(t)
    if not t.canary.spec.suspend:
        return None
    t.say(t.voice.suspended())
    return ASLEEP


def _observed(t: Turn) -> End | None:
    """Target, primary and configs must have been observed before anything is decided on them."""
    snapshot = t.snapshot
    for what, seen in (("target", snapshot.target), ("primary", snapshot.primary), ("configs", snapshot.configs)):
        if isinstance(seen, Unknown):
            t.say(t.voice.unobservable(what, seen.message))
            if seen.reason not in _PASSING:
                t.stall = seen
            if t.phase is Phase.NONE:
                t.update(phase=Phase.INITIALIZING)
            return t.interval
    return None


def _taken_over(t: Turn) -> None:
    take_over(t)


_PREAMBLE: tuple[Rule, ...] = (terminating, _suspended, _observed, _taken_over)


# ------------------------------------------------------------------------------------------------ rules by phase


def _moved(t: Turn) -> End | None:
    """The target changed in the middle of a run: start over, or cancel when it went back (step 19)."""
    if not has_moved(t):
        return None
    return cancel(t) if at_promoted(t) else restart(t)


_BOOTSTRAP: tuple[Rule, ...] = (overheard, bootstrap)
_SETTLED: tuple[Rule, ...] = (
    overheard, converge, upkeep, closing, restore, contested, rest, primary_at_rest, routes_readable, rejected, accept
)  # fmt: skip
_WAITING: tuple[Rule, ...] = (
    upkeep, restore, withdrawn, interrupted_while_waiting, signaled_while_waiting, primary_at_rest, routes_readable, rejected, accept
)  # fmt: skip
_ANALYSIS: tuple[Rule, ...] = (
    upkeep, start_over, opened, finish_rollback, interrupted, primary_in_run, _moved, threshold,
    target_in_run, baseline_in_run, skip, routes_readable, held, look, climb, not_due, advance,
)  # fmt: skip
_PROMOTING: tuple[Rule, ...] = (overheard, upkeep, copy, primary_in_promotion, routes_readable, target_in_promotion, shift)
_FINALISING: tuple[Rule, ...] = (overheard, upkeep, primary_in_promotion, routes_readable, target_in_promotion, finish)

_RULES: Mapping[Phase, tuple[Rule, ...]] = {
    Phase.NONE: _BOOTSTRAP,
    Phase.INITIALIZING: _BOOTSTRAP,
    Phase.INITIALIZED: _SETTLED,
    Phase.SUCCEEDED: _SETTLED,
    Phase.FAILED: _SETTLED,
    # without a deletion these are leftovers of a restored object: at rest is what they are
    Phase.TERMINATING: _SETTLED,
    Phase.TERMINATED: _SETTLED,
    Phase.WAITING: _WAITING,
    Phase.PROGRESSING: _ANALYSIS,
    Phase.WAITING_PROMOTION: _ANALYSIS,
    Phase.PROMOTING: _PROMOTING,
    Phase.FINALISING: _FINALISING,
}


# ------------------------------------------------------------------------------------------------ the status


def _status(t: Turn) -> CanaryStatus:
    """The next status: what the rules changed, the conditions that follow, and the time of the write if there is one."""
    meta = t.canary.metadata
    if t.phase is Phase.NONE:
        return t.snapshot.canary.status
    changes: dict[str, object] = {"observed_generation": meta.generation or t.status.observed_generation}
    if not t.canary.spec.suspend or meta.deletion_timestamp is not None:
        changes["conditions"] = conditions.compute(t.status.conditions, _facts(t), now=t.now)
    else:
        changes["conditions"] = conditions.suspended(t.status.conditions)
    if requested := meta.annotations.get(RECONCILE_REQUEST):
        changes["last_handled_reconcile_at"] = requested
    after = t.status.model_copy(update=changes)
    before = t.snapshot.canary.status
    return before if after == before else after.model_copy(update={"last_transition_time": whole(t.now)})


def _facts(t: Turn) -> conditions.Facts:
    phase, run = t.phase, t.run
    waiting = against(t) if run is not None and not run.rolling_back and phase in conditions.ANALYSED and waits(t) else ""
    return conditions.Facts(
        phase=phase,
        serving=_serving(t),
        stall=t.stall,
        failure=t.status.failure_reason,
        rejected=held_back(t),
        waiting=waiting,
        inconclusive=bool(waiting) and run is not None and not run.held,
        converged=shown(t),
        contested=t.contested,
    )


def _serving(t: Turn) -> bool | None:
    """Whether the copy that has the traffic has a pod to answer it; None when it was not observed."""
    copy_in_charge = t.snapshot.target if t.sole else t.snapshot.primary
    if isinstance(copy_in_charge, Unknown):
        return None
    return t.target_serves if t.sole else t.primary_able
