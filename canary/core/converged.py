"""After a failed run: is it out of Git, and has whoever delivers the target followed? And does that engine keep scaling up what is parked?

Only reports: no rule here moves traffic or ends a tick. An engine that undoes what we do is told about, never fought: it applies what Git
says at every interval, and a second hand on the same field would make two writes an interval, for ever, and solve nothing.
"""

from __future__ import annotations

from canary.api.common import ConditionStatus
from canary.api.status import Phase
from canary.core import workloads
from canary.core.delivery import CONTESTED, CONVERGED, REVERT_DRIFT, SET_AGAIN, Answer, Target, judge, needs_engine
from canary.core.revisions import at_promoted, has_changed
from canary.core.turn import End, Turn
from canary.core.upkeep import park_target

_KEPT = frozenset({Phase.WAITING, Phase.PROGRESSING, Phase.WAITING_PROMOTION, Phase.PROMOTING, Phase.FINALISING})


def converge(t: Turn) -> End | None:
    """Settled: the condition `Converged`. Never ends the tick; plans the next look at the engine."""
    back, known = t.snapshot.write_back, t.status.condition(CONVERGED)
    if t.phase is not Phase.FAILED or back is None:
        t.converged = None
        return None
    target = Target(t.voice.target, promoted=at_promoted(t), new=has_changed(t))
    if known is not None and known.status == ConditionStatus.TRUE and (target.promoted or target.new):
        t.converged = t.converged if target.promoted else None
        return None  # it was over once: the engine is asked no more, and what comes now is another release
    said = t.delivery() if needs_engine(back, target) else None
    answer = judge(back, said, target, known, now=t.now)
    t.converged = answer
    if answer is not None:
        t.look_again = answer.again
        _tell(t, answer)
    return None


def _tell(t: Turn, answer: Answer) -> None:
    known = t.status.condition(CONVERGED)
    if answer.status is ConditionStatus.TRUE:
        t.say(t.voice.converged(answer.message))
    elif answer.reason in {REVERT_DRIFT, SET_AGAIN} and (known is None or known.reason != answer.reason):
        t.say(t.voice.revert_undone(answer.reason, answer.message))


def shown(t: Turn) -> Answer | None:
    """What the status says at the end of the tick. In a run it stays only where the run is of what an engine made of our revert."""
    if t.phase is Phase.FAILED:
        return t.converged
    return t.converged if t.phase in _KEPT and t.converged is not None and t.converged.reason == REVERT_DRIFT else None


def contested(t: Turn) -> End | None:
    """Settled: the target is parked by us, and scaled up by the engine that delivers it because Git names its replicas.

    Parked once more when Git names them no longer: the API server then made 1 of them, and nobody else would.
    """
    if not t.snapshot.delivered or t.sole or t.primary is None or has_changed(t) or workloads.parked(t.target, kind=t.kind):
        return None
    by, known = t.replicas_by(), t.status.condition(CONTESTED)
    if by:
        notice = t.voice.replicas_contested(by)
        t.contested = notice.message
        t.say(notice)
    elif by is None and known is not None:
        t.contested = known.message
    elif known is not None and t.primary_ready:
        park_target(t)
    return None
