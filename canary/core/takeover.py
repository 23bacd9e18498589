"""First contact with a status that upstream wrote (reference 7): its hashes say nothing to us, so find new ones.

Taking over a cluster must start no release and drop no request. What is at rest adopts the target as it is when it equals
the primary (`Workload.foreign_equal`); where it does not, a revision is pending that upstream would have released too. What
is under way starts over once, except a promotion: its primary was already changed, so it is finished.
"""

from __future__ import annotations

from canary.api.status import Phase
from canary.core.revisions import speaks_foreign
from canary.core.runs import cancel, restart
from canary.core.turn import End, Turn


def take_over(t: Turn) -> None:
    """Replace foreign revisions of the status before any rule compares them; in-flight analysis is left to `start_over`."""
    if not speaks_foreign(t) or t.phase in (Phase.PROGRESSING, Phase.WAITING_PROMOTION):
        return
    revision, equal = t.target.revision, _equal(t)
    t.say(t.voice.taken_over())
    match t.phase:
        case Phase.PROMOTING | Phase.FINALISING:
            # unequal: the target moved on; what the primary got has no name, so the next tick after Succeeded sees a change
            t.update(last_applied_spec=revision if equal else "", last_promoted_spec="")
        case Phase.FAILED:
            # a bad revision is not retried; the promoted one is known only if the target is back at it
            t.update(last_applied_spec=revision, last_promoted_spec=revision if equal else "")
        case _:
            adopted = revision if equal else ""
            t.update(last_applied_spec=adopted, last_promoted_spec=adopted)
    if equal:
        t.update(last_promoted_configs=t.configs or {})


def start_over(t: Turn) -> End | None:
    """An analysis that upstream began: start it over once, or end it when the target equals the primary."""
    if not speaks_foreign(t):
        return None
    t.say(t.voice.taken_over())
    if _equal(t):
        if not t.primary_ready:
            return t.interval
        t.update(last_applied_spec=t.target.revision, last_promoted_spec=t.target.revision)
        return cancel(t)
    t.update(last_promoted_spec="")
    return restart(t)


def _equal(t: Turn) -> bool:
    return t.primary is not None and t.target.foreign_equal
