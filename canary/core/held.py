"""A run that waits for a person, because a verdict against it was held (`onFailure: hold`) or its evidence was inconclusive at the deadline.

Why it waits is in the status (`run.held`, `run.judge`), so another process goes on waiting and raises no second alarm. Nothing is measured
and no weight moves while a verdict is held. It ends by a command (`retry`, `promote`, `abort`), by a rollback hook, by `onFailure: rollback`
in the spec, by a new revision or the return of the promoted one, and by a copy that misses its deadline. A raised `threshold` does not
end it: who edits numbers in Git need not know that a release hangs on them.

`retry` keeps the weight and forgets the counted failures and the evidence; the next checks come one interval later. `promote` overrules the
verdict and nothing else: the target must be ready, and a confirm-promotion gate that is closed still holds it; the command then waits for the
gate. An inconclusive run is no verdict, so it is looked at further and may still be promoted by evidence.
"""

from __future__ import annotations

from canary.api.analysis import OnFailure, WebhookType
from canary.core import promote
from canary.core.commands import Command, Verb, obey, pending, waits
from canary.core.evidence import shortened
from canary.core.gates import first_refusal, has_hooks
from canary.core.pace import mark
from canary.core.rollback import begin_rollback, signaled
from canary.core.turn import ASLEEP, End, Turn

LONGEST_VERDICT = 500
"""Characters of the verdict in the sentence about its overruling: events have room for a thousand."""


def held(t: Turn) -> End | None:
    """Answer a person's command; keep a held run as it is until one comes."""
    run = t.run
    if run is None or not waits(t):
        return None
    if run.held and t.analysis.on_failure is OnFailure.ROLLBACK:
        return begin_rollback(t, reason=run.held)
    command = pending(t)
    if command is not None and command.verb is Verb.RETRY:
        return _retry(t, command)
    if command is not None and command.verb is Verb.PROMOTE:
        return _promote(t, command)
    if not run.held:
        return None
    return signaled(t) or (t.interval if has_hooks(t, WebhookType.ROLLBACK) else ASLEEP)


def _retry(t: Turn, command: Command) -> End:
    obey(t, command)
    mark(t)
    t.update(failed_checks=0)
    t.update_run(held="", judge=None, decided=command.said)
    t.say(t.voice.retried(command.said))
    return t.interval


def _promote(t: Turn, command: Command) -> End:
    hook, _ = first_refusal(t, WebhookType.CONFIRM_PROMOTION, phase=t.phase)
    if hook is not None:
        t.say(t.voice.gate_promotion(hook))
        return signaled(t) or t.interval
    obey(t, command)
    verdict = shortened(against(t), LONGEST_VERDICT)
    t.say(t.voice.promoted_by_command(command.said, against=verdict))
    t.update_run(decided=f"{command.said}, against the verdict: {verdict}")
    return promote.begin(t)


def against(t: Turn) -> str:
    """Why the run waits."""
    run = t.run
    if run is None:
        return ""
    return run.held or (run.judge.reason if run.judge is not None else "")
