"""What the peer says and what we say, in the same words: the kinds of our notices.

Texts are not compared: theirs hold Go's error messages and addresses. What people and alerts live by is which moments are told, in which
order, whether as a warning, and in which phase (the event webhook's payload).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from canary.core.telling import Notice
from tests.traces.differences import RUNS, Run
from tests.traces.replay import Pace, Tick, ours, theirs

Said = tuple[str, str, str]
"""Kind, type, phase."""

_KINDS: Sequence[tuple[str, str]] = (
    (r"New revision detected! (Scaling up|Restarting)", "NewRevision|AnalysisRestarted"),
    (r"Starting canary analysis", "AnalysisStarted"),
    (r"Advance \S+ canary weight", "WeightAdvanced"),
    (r"Advance \S+ canary iteration", "IterationAdvanced"),
    (r"Advance \S+ primary weight", "PrimaryWeightAdvanced"),
    (r"Copying \S+ template spec", "Promoting"),
    (r"Routing all traffic to primary", "RoutedToPrimary"),
    (r"(Stop traffic mirroring and route|Routing) all traffic to canary", "RoutedToCanary"),
    (r"Promotion completed! Canary analysis was skipped", "PromotedWithoutAnalysis"),
    (r"Promotion completed! Scaling down", "Promoted"),
    (r"Rolling back \S+ failed checks threshold reached", "ThresholdReached"),
    (r"Rolling back \S+ manual webhook invoked|Rollback check \S+ passed", "RollbackSignaled"),
    (r"Rollback hook \S+ not signaling", "RollbackNotSignaled"),
    (r"Canary failed! Scaling down", "RolledBack"),
    (r"Halt \S+ advancement waiting for .*approval", "GateWaiting"),
    (r"(Confirm-\S+|Pre-rollout|Post-rollout) check \S+ passed", "HookPassed"),
    (r"Halt \S+ advancement (pre-rollout|external) check|Post-rollout hook \S+ failed", "HookFailed"),
    (r"\S+ deployment \S+ not ready", "NotReady"),
    (r"skipping canary run as object is suspended", "Suspended"),
    (r"Progressive traffic is not supported|Setting canaryAnalysis.iterations", "IterationsForced"),
    (r"A/B testing is not supported", "SpecIgnored"),
    (r"Halt (\S+ )?advancement|(Prometheus|Metric) query failed|[Mm]etric", "CheckFailed"),
)


def kind_of(text: str) -> str:
    """The kind of notice that a text of the peer is. Raises LookupError: a text that nobody has looked at."""
    for pattern, kind in _KINDS:
        if found := re.match(pattern, text):
            first, _, second = kind.partition("|")
            return second if second and found[1].startswith("Restarting") else first
    raise LookupError(f"a text of the peer without a kind: {text}")


def said_by_peer(tick: Tick) -> list[Said]:
    """What the peer told in a tick."""
    return [(kind_of(text), kind, phase) for kind, phase, text in tick.events]


def said_by_us(tick: Tick) -> list[Said]:
    """What our rules tell in a tick, as its notices say; the shell leaves out what repeats."""
    return [_said(notice) for notice in tick.events]


def _said(notice: Notice) -> Said:
    return notice.kind, "Warning" if notice.warning else "Normal", notice.phase.value


@dataclass(frozen=True, slots=True)
class TellRule:
    """`row` as in `differences`; `predict`: what the peer told in a tick, turned into what we tell."""

    row: str
    predict: Callable[[list[Said]], list[Said]]


def _standing_still(said: list[Said]) -> list[Said]:
    """A release that starts anew at each tick without a step after it."""
    return [*said, ("NoStep", "Warning", "Progressing")] if [one[0] for one in said] == ["AnalysisStarted"] else said


def _one_signal(said: list[Said]) -> list[Said]:
    return [one for number, one in enumerate(said) if one[0] != "RollbackSignaled" or one not in said[:number]]


def _ended(said: list[Said]) -> list[Said]:
    """A hook that refuses after the end is told in the phase of the end."""
    kinds = [one[0] for one in said]
    if "RolledBack" not in kinds:
        return said
    end = kinds.index("RolledBack")
    return [*said[:end], *((kind, kind_of_event, "Failed") for kind, kind_of_event, _ in said[end:])]


def _spec_first(said: list[Said]) -> list[Said]:
    """What the provider cannot do is told once, and before anything else of the tick."""
    about = [one for one in said if one[0] in {"IterationsForced", "SpecIgnored"}]
    return [*dict.fromkeys(about), *(one for one in said if one not in about)]


def _stuck(said: list[Said]) -> list[Said]:
    """Not ready and rolled back in the same tick: the deadline has a kind of its own."""
    if [one[0] for one in said] != ["NotReady", "RolledBack"]:
        return said
    return [("Stuck", *said[0][1:]), said[1]]


TELLS: Mapping[str, TellRule] = {
    "standing still": TellRule("`stepWeight: 0` alone hangs silently", _standing_still),
    "deadline": TellRule("no alert when a progress deadline is exceeded", _stuck),
    "one signal": TellRule("two events for a rollback hook", _one_signal),
    "after the end": TellRule("tells of a post-rollout hook that refused", _ended),
    "spec first": TellRule("two events at each tick for steps", _spec_first),
}


def told(run: Run) -> tuple[list[tuple[int, list[Said], list[Said]]], set[str]]:
    """The ticks in which we tell something else than foretold (tick, expected, found), and the rules that were needed.

    Only up to the tick from which a script shows a difference of its own.
    """
    used: set[str] = set()
    wrong = []
    end = RUNS[run["name"]].since if run["name"] in RUNS else None
    decided, _ = ours(dict(run), Pace.PEER)
    for number, (peer, mine) in enumerate(zip(theirs(dict(run))[:end], decided[:end], strict=True)):
        expected = said_by_peer(peer)
        for name, rule in TELLS.items():
            changed = rule.predict(expected)
            used |= {name} if changed != expected else set()
            expected = changed
        if (found := said_by_us(mine)) != expected:
            wrong.append((number, expected, found))
    return wrong, used
