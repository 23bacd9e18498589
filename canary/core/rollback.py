"""Taking a release back, and the one question behind it: which copy can still serve?

Traffic moves at once, in the tick that decides; the reason is stored with it. The tick after that scales the target down
and writes Failed. So a crash in between neither forgets the decision nor leaves it to a new look at a world that the
half-done rollback has changed. Upstream sends all traffic to the primary whatever its state (Q1, Q2); here the copy that
serves keeps the traffic, and is never scaled to zero.

`analysis.onFailure: hold` stands between a verdict and its rollback, and nowhere else. A verdict is a judgement on a version that serves
users: failed checks reached the threshold, a critical check failed, evidence against it. Going back may then be worse than staying (a
database was migrated), and only a person knows. What is no such judgement rolls back as ever: a deadline of a copy that is not ready (it
serves nobody, so that staying helps nobody, and its share of the traffic is being lost), `onInconclusive: rollback` (written for this one
case), a rollback hook and the command `abort` (a person's word). The veto of the primary comes before all of this: what the primary does
as well is no verdict, so there is nothing to hold.
"""

from __future__ import annotations

from canary.api.analysis import OnFailure
from canary.core import workloads
from canary.core.evidence import shortened
from canary.core.gates import rollback_wanted
from canary.core.judged_checks import SOURCE
from canary.core.model import Readiness
from canary.core.revisions import is_repairing
from canary.core.runs import fail
from canary.core.telling import Notice
from canary.core.turn import AT_ONCE, End, Turn
from canary.core.upkeep import park_target, wake_target
from canary.core.weights import TOTAL

LONGEST_HELD = 800
"""Characters of `run.held`: events have room for a thousand."""


def retreat(t: Turn) -> int:
    """Move all traffic to the copy that serves, the primary if it can; returns the canary's share, 0 or 100.

    When neither serves, it is the primary's: what it holds was promoted once. Without a primary the target is all there is.
    """
    if t.primary_able:
        weight = 0
    elif t.target_serves or t.primary is None:
        weight = TOTAL
    else:
        weight = 0
    t.move(weight)
    return weight


def begin_rollback(t: Turn, *, reason: str) -> End:
    """Decide to roll the run back: traffic moves now, the rest follows in the next tick."""
    weight = retreat(t)
    t.update(canary_weight=weight)
    t.update_run(rolling_back=reason, held="")
    return AT_ONCE


def finish_rollback(t: Turn) -> End | None:
    """Complete a rollback that an earlier tick decided (`run.rollingBack`)."""
    if t.run is None or not t.run.rolling_back:
        return None
    return _fail(t, reason=t.run.rolling_back)


def refuse(t: Turn, *, reason: str) -> End:
    """Fail a revision that was not accepted yet; it counts as looked at, so that it is not tried again."""
    t.update(last_applied_spec=t.target.revision, tracked_configs=t.configs)
    return _fail(t, reason=reason)


def _fail(t: Turn, *, reason: str) -> End:
    weight = retreat(t)
    if weight == 0:
        t.say(t.voice.rolled_back())
        park_target(t)
    else:
        t.say(t.voice.rolled_back_onto_target())
    return fail(t, reason=reason, weight=weight)


def condemn(t: Turn, *, reason: str, notice: Notice) -> End:
    """A verdict against the run: roll back, saying `notice`; with `onFailure: hold` store why, raise the alarm, and move nothing.

    The alarm is raised by the tick that stores `run.held`, so that neither later ticks nor another process raise it again.
    """
    if t.analysis.on_failure is OnFailure.HOLD:
        if t.run is not None and not t.run.held:
            reason = shortened(reason, LONGEST_HELD)
            t.update_run(held=reason)
            t.say(t.voice.held(reason))
        return AT_ONCE
    t.say(notice)
    return begin_rollback(t, reason=reason)


def threshold(t: Turn) -> End | None:
    """Enough failed checks: a verdict, once."""
    failed = t.status.failed_checks
    if failed < t.analysis.threshold_count or (t.run is not None and t.run.held):
        return None
    return condemn(t, reason=_checks_reason(t, failed), notice=t.voice.threshold_reached(failed))


def critical(t: Turn, text: str) -> End:
    """One critical check has a value out of its bounds: a verdict, whatever the threshold."""
    return condemn(t, reason=f"critical check failed: {text}", notice=t.voice.critical_failed(text))


def _checks_reason(t: Turn, failed: int) -> str:
    checks = [check for check in t.status.checks if check.source != SOURCE]  # evidence that does not suffice is no failed check
    wrong = [check.message for check in checks if check.verdict != "Pass" and not check.dry_run]
    return f"failed checks threshold reached {failed}" + (f" ({'; '.join(wrong)})" if wrong else "")


def signaled(t: Turn) -> End | None:
    """In a run: a rollback hook wishes it rolled back."""
    hook = rollback_wanted(t)
    if hook is None:
        return None
    t.say(t.voice.rollback_signaled(hook))
    return begin_rollback(t, reason=f"rollback hook {hook.name}")


def signaled_while_waiting(t: Turn) -> End | None:
    """A rollback hook refuses a revision that waits for approval (promised by upstream's documentation, Q8)."""
    hook = rollback_wanted(t)
    if hook is None:
        return None
    t.say(t.voice.rollback_signaled(hook))
    return refuse(t, reason=f"rollback hook {hook.name}")


def primary_in_run(t: Turn) -> End | None:
    """The primary must be ready (reference 2.3 step 16), unless the release is there to repair it."""
    if t.canary.spec.skip_analysis or t.primary_ready:
        return None
    primary = t.primary
    if primary is None:
        return None if t.sole else t.interval
    if t.sole or (primary.readiness is Readiness.STUCK and is_repairing(t)):
        return None
    if primary.readiness is Readiness.STUCK:
        t.say(t.voice.stuck(f"primary {t.voice.primary}", primary.message))
        return begin_rollback(t, reason=f"primary not ready: {primary.message}")
    t.wait_for(f"primary {t.voice.primary}", primary.message)
    return t.interval


def target_in_run(t: Turn) -> End | None:
    """The target must be ready (step 20). Until it is, nothing is measured; a rollback hook is heard nevertheless (Q8)."""
    target = t.target
    if target.readiness is Readiness.STUCK:
        t.say(t.voice.stuck(f"canary {t.voice.target}", target.message))
        return begin_rollback(t, reason=f"canary not ready: {target.message}")
    empty = workloads.without_nodes(target, t.primary, kind=t.kind)
    if workloads.parked(target, kind=t.kind) and not empty:
        wake_target(t)
    elif target.readiness is Readiness.READY and (t.target_serves or empty):
        return None
    t.wait_for(f"canary {t.voice.target}", target.message)
    return signaled(t) or t.interval


def baseline_in_run(t: Turn) -> End | None:
    """Before its first traffic a run waits for its fresh baseline too. Later it does not: the evidence waits instead."""
    if not t.fresh or t.routes.canary > 0 or t.baseline_answers:
        return None
    t.wait_for(f"baseline {t.voice.baseline}", t.baseline.message if t.baseline is not None else "")
    return signaled(t) or t.interval
