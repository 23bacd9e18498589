"""Conditions of a Canary: `Promoted` as upstream writes it; `Ready`, `Reconciling`, `Stalled` for kstatus (Flux, Helm, kpt).

Everything follows from a few facts, so the conditions are computed anew at every tick and never edited. Two readings of
`Ready` exist: `workload`, the drop-in default, asks whether users are served; `analysis` asks whether the newest revision
was promoted, so that Flux and Helm wait for it and fail with it. Every condition has a short message, because Argo CD joins
them all; `Reconciling` and `Stalled` are absent rather than False, because kstatus takes the first that is there. `Converged` and
`ReplicasContested` are about whoever delivers the target (`canary.core.converged`), and absent where nobody does.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass

from canary.api.annotations import CHOICE
from canary.api.common import Condition, ConditionStatus
from canary.api.status import CanaryStatus, Phase
from canary.core.delivery import CONTESTED, CONVERGED, Answer
from canary.core.model import Unknown
from canary.core.times import whole

PROMOTED, READY, RECONCILING, STALLED = "Promoted", "Ready", "Reconciling", "Stalled"
HELD, INCONCLUSIVE = "Held", "Inconclusive"
"""Reasons of `Promoted` while a run waits for a person."""
BREAKER_OPEN, REJECTED_RELEASE = "BreakerOpen", "RejectedRelease"
_TRUE, _FALSE, _UNKNOWN = ConditionStatus.TRUE, ConditionStatus.FALSE, ConditionStatus.UNKNOWN

_MESSAGES = {
    Phase.INITIALIZING: "Bootstrap: the primary copy is being made.",
    Phase.INITIALIZED: "The primary serves; no release is under way.",
    Phase.WAITING: "A new revision waits for approval to be rolled out.",
    Phase.PROGRESSING: "A new revision is being analysed.",
    Phase.WAITING_PROMOTION: "A new revision waits for approval to be promoted.",
    Phase.PROMOTING: "The new revision passed and is rolled out to the primary.",
    Phase.FINALISING: "The primary has the new revision and all of the traffic.",
    Phase.SUCCEEDED: "The new revision was promoted.",
    Phase.FAILED: "The new revision was not promoted.",
    Phase.TERMINATING: "The canary is being removed; the target takes its place again.",
    Phase.TERMINATED: "The canary was removed.",
}
_RUNNING = frozenset({Phase.WAITING, Phase.PROGRESSING, Phase.WAITING_PROMOTION, Phase.PROMOTING, Phase.FINALISING})
ANALYSED = frozenset({Phase.PROGRESSING, Phase.WAITING_PROMOTION})
"""Phases in which a run can wait for a person."""
_BETWEEN = frozenset({Phase.INITIALIZING, Phase.TERMINATING})


class ReadyPolicy(enum.StrEnum):
    """What `Ready` means: the application is served, or the newest revision was promoted.

    WORKLOAD is the drop-in: `flux --wait` and `helm --wait` go on while a release is analysed, as they do with upstream, which
    has no such conditions. With ANALYSIS they wait for the verdict.
    """

    WORKLOAD = "workload"
    ANALYSIS = "analysis"


DEFAULT_POLICY = ReadyPolicy.WORKLOAD


@dataclass(frozen=True, slots=True)
class Facts:
    """What the conditions follow from.

    `serving`: the copy that has the traffic has an available pod; None when that could not be observed. `stall`: why
    nothing can go on until one of the user's objects changes. `failure`: why the last run failed. `waiting`: why the run waits for a
    person; `inconclusive`: because there was no verdict by its deadline, rather than because one is held.
    `rejected`: why a revision that came again is held. `converged`: whether Git and the cluster agree again, where that was asked.
    `contested`: why the target does not stay parked.
    """

    phase: Phase
    serving: bool | None
    stall: Unknown | None = None
    failure: str = ""
    waiting: str = ""
    inconclusive: bool = False
    rejected: str = ""
    converged: Answer | None = None
    contested: str = ""


def promoted_status(phase: Phase) -> ConditionStatus:
    """Status of `Promoted` (reference 2.12.2)."""
    if phase in (Phase.INITIALIZED, Phase.SUCCEEDED):
        return _TRUE
    return _FALSE if phase is Phase.FAILED else _UNKNOWN


def compute(old: tuple[Condition, ...], facts: Facts, *, now: float, policy: ReadyPolicy = DEFAULT_POLICY) -> tuple[Condition, ...]:
    """All conditions, in the order that kstatus and Argo CD should read them.

    `lastTransitionTime` moves only when the status of a condition flips, `lastUpdateTime` when anything of it changes.
    """
    known = {condition.type: condition for condition in old}
    wanted = [_promoted(facts), _ready(facts, policy, known.get(READY))]
    if facts.stall is not None:
        wanted.append((STALLED, _TRUE, facts.stall.reason, facts.stall.message))
    elif facts.waiting and policy is ReadyPolicy.ANALYSIS:
        wanted.append((STALLED, _TRUE, *_waiting(facts)))  # nobody who waits for the verdict should wait in vain
    elif facts.rejected and policy is ReadyPolicy.ANALYSIS:
        wanted.append((STALLED, _TRUE, REJECTED_RELEASE, facts.rejected))
    elif facts.phase in _BETWEEN or (facts.phase in _RUNNING and policy is ReadyPolicy.ANALYSIS):
        gate = facts.phase in (Phase.WAITING, Phase.WAITING_PROMOTION)
        wanted.append((RECONCILING, _TRUE, "GateWaiting" if gate else facts.phase.value, _MESSAGES[facts.phase]))
    elif facts.phase is Phase.FAILED and policy is ReadyPolicy.ANALYSIS:
        wanted.append((STALLED, _TRUE, facts.phase.value, _failed(facts)))
    if facts.converged is not None:
        wanted.append((CONVERGED, facts.converged.status, facts.converged.reason, facts.converged.message))
    if facts.contested:
        wanted.append((CONTESTED, _TRUE, "ReplicasInGit", facts.contested))
    if facts.rejected:
        wanted.append((BREAKER_OPEN, _TRUE, REJECTED_RELEASE, facts.rejected))
    return tuple(_keep_times(known.get(each[0]), each, now=now) for each in wanted)


_Wanted = tuple[str, ConditionStatus, str, str]


def _failed(facts: Facts) -> str:
    return f"Not promoted: {facts.failure}" if facts.failure else _MESSAGES[Phase.FAILED]


def _waiting(facts: Facts) -> tuple[str, str]:
    """Reason and message of a run that waits for a person: what to write comes first, because lists cut messages off."""
    if facts.inconclusive:
        # the sentence of the judge has counts that change at every look: it stays in the run
        return INCONCLUSIVE, f"No verdict by the deadline (see status.run.judge.reason); a person decides by {CHOICE}."
    return HELD, f"A person decides by {CHOICE}. Held: {facts.waiting}"


def _promoted(facts: Facts) -> _Wanted:
    if facts.waiting:
        return (PROMOTED, _UNKNOWN, *_waiting(facts))
    message = _failed(facts) if facts.phase is Phase.FAILED else _MESSAGES[facts.phase]
    return (PROMOTED, promoted_status(facts.phase), facts.phase.value, message)


def _ready(facts: Facts, policy: ReadyPolicy, known: Condition | None) -> _Wanted:
    if policy is ReadyPolicy.ANALYSIS:
        if facts.stall is not None:
            return (READY, _FALSE, facts.stall.reason, facts.stall.message)
        if facts.waiting:
            return (READY, _UNKNOWN, *_waiting(facts))
        message = _failed(facts) if facts.phase is Phase.FAILED else _MESSAGES[facts.phase]
        return (READY, promoted_status(facts.phase), facts.phase.value, message)
    if facts.phase is Phase.INITIALIZING:
        return (READY, _UNKNOWN, facts.phase.value, _MESSAGES[facts.phase])
    if facts.serving is None:
        if known is not None:
            return (READY, ConditionStatus(known.status), known.reason, known.message)
        return (READY, _UNKNOWN, "Unobserved", "Not observed yet.")
    if facts.serving:
        return (READY, _TRUE, "Serving", "The application is served.")
    return (READY, _FALSE, "NotServing", "The copy that has the traffic has no available pod.")


def _keep_times(known: Condition | None, wanted: _Wanted, *, now: float) -> Condition:
    type_, status, reason, message = wanted
    if known is not None and (known.status, known.reason, known.message) == (status, reason, message):
        return known
    moment = whole(now)
    flipped = known is None or known.status != status or known.last_transition_time is None
    since = moment if flipped or known is None else known.last_transition_time
    return Condition(type=type_, status=status.value, reason=reason, message=message, last_update_time=moment, last_transition_time=since)


def stalled(status: CanaryStatus, *, reason: str, message: str, generation: int, now: float) -> CanaryStatus:
    """The status of a canary whose tick could not even begin, or was refused by the API server.

    Phase, weight and conditions are there together also in the first status ever written (Argo CD computes with them).
    """
    phase = status.phase or Phase.INITIALIZING
    known = Answer.of(status.condition(CONVERGED))
    facts = Facts(phase=phase, serving=None, stall=Unknown(reason, message), failure=status.failure_reason, converged=known)
    changes = {
        "phase": phase,
        "conditions": compute(status.conditions, facts, now=now),
        "observed_generation": generation or status.observed_generation,
    }
    after = status.model_copy(update=changes)
    return status if after == status else after.model_copy(update={"last_transition_time": whole(now)})


def suspended(old: tuple[Condition, ...]) -> tuple[Condition, ...]:
    """What stays while a canary is suspended: `Promoted` and `Ready` as they were; nobody is reconciling, nothing is stalled."""
    return tuple(condition for condition in old if condition.type not in (RECONCILING, STALLED))
