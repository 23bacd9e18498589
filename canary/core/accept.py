"""From rest to a run: is there a new revision, may it be released, and its acceptance (reference 2.3 steps 14-18)."""

from __future__ import annotations

from canary.api.analysis import WebhookType
from canary.api.status import Phase
from canary.core import baseline
from canary.core.gates import first_refusal
from canary.core.model import Readiness, Unknown
from canary.core.revisions import at_promoted, has_changed, is_repairing
from canary.core.rollback import refuse
from canary.core.runs import begin
from canary.core.turn import ASLEEP, AT_ONCE, End, Turn
from canary.core.upkeep import wake_target


def rest(t: Turn) -> End | None:
    """Settled: nothing new means sleep.

    A failed canary follows its target, so that going back to the promoted revision is no release, and the bad revision
    *after* that is one again. It is written only when it differs (upstream rewrites the status at every interval, Q38).
    """
    if has_changed(t):
        return None
    if t.phase is Phase.FAILED:
        t.update(last_applied_spec=t.target.revision, tracked_configs=t.configs)
    return t.interval if t.primary is None and not t.target_serves else ASLEEP


def withdrawn(t: Turn) -> End | None:
    """Waiting: the change was taken back before it was approved, so there is nothing to approve (Q42)."""
    if has_changed(t):
        return None
    t.say(t.voice.withdrawn())
    t.update(phase=Phase.INITIALIZED if at_promoted(t) else Phase.FAILED)
    return AT_ONCE


def primary_at_rest(t: Turn) -> End | None:
    """The primary must be ready before anything new begins, unless the release is there to repair it."""
    if t.canary.spec.skip_analysis or t.primary_ready or t.primary is None or t.sole:
        return None
    primary = t.primary
    if primary.readiness is not Readiness.STUCK:
        t.wait_for(f"primary {t.voice.primary}", primary.message)
        return t.interval
    if is_repairing(t):
        return None
    t.say(t.voice.stuck(f"primary {t.voice.primary}", primary.message))
    return refuse(t, reason=f"primary not ready: {primary.message}")


def routes_readable(t: Turn) -> End | None:
    """Nothing new is decided on weights that cannot be read (step 17)."""
    routes = t.snapshot.routes
    if t.snapshot.has_weights and isinstance(routes, Unknown):
        t.say(t.voice.unobservable("routes", routes.message))
        return t.interval
    return None


def accept(t: Turn) -> End:
    """Ask the confirm-rollout gates; once they pass, scale the target up and start the run. Ends the tick in all cases."""
    if end := baseline.in_the_way(t):
        return end
    hook, _ = first_refusal(t, WebhookType.CONFIRM_ROLLOUT, phase=t.phase)
    if hook is not None:
        if t.phase is not Phase.WAITING:
            t.say(t.voice.gate_rollout(hook))
            t.update(phase=Phase.WAITING)
        return t.interval
    begin(t, sole=t.sole)
    t.say(t.voice.new_revision(fresh=t.fresh))
    baseline.start(t)
    wake_target(t)
    return AT_ONCE
