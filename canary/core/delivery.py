"""Do Git and the cluster say the same again, after a failed release was taken back in Git?

A rollback leaves the target at the failed revision, scaled to zero, and a revert is a commit and nothing more: only when whoever delivers the
workload (Flux, Argo CD) has applied it, and the target is what was promoted, is the story over. Both facts are needed. A target that somebody mended by
hand is put back by an engine that has not seen the revert; an engine that calls the revert applied may have applied only a part of it.

Commits are compared by their names alone, because their order is known to Git and not to the cluster. Where the engine has gone on to a later
commit, it counts as one that holds the revert when the engine's source fetched it after the run had ended. What an engine applied of a branch that holds the
revert, and is the failed release all the same, was set again, by an image bot that was faster than the engine: no revision has come, so no run will. Rejected: asking the mirror of the
repository for ancestors at every look, which makes a Git server part of a question about the cluster.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass

from canary.api.common import Condition, ConditionStatus
from canary.core.times import whole

CONVERGED, CONTESTED = "Converged", "ReplicasContested"
REVERT_DRIFT, SET_AGAIN = "RevertDrift", "SetAgain"
SHORT = 12
"""Characters of a commit that people are shown; Helm charts from Git carry as many."""
GRACE = 10.0
"""Seconds that the workload may lag behind what the engine says of it."""
SOONEST, SLOWEST = 1.0, 60.0
"""Seconds between two looks at the engine: at first, and after a long time."""


class Written(enum.StrEnum):
    """What became of the revert: it is under way; Git names the promoted images (by a commit of ours, or already); it was left to a person."""

    OPEN = "Open"
    DONE = "Done"
    LEFT = "Left"


@dataclass(frozen=True, slots=True)
class WriteBack:
    """The revert of the run that failed last, of a workload that is delivered by somebody.

    `by` is who delivers it, `<kind> <namespace>/<name>`. `commit` is the revert; empty where Git had it already. `failed` is the commit that started the run, where that
    is known. `ended` and `written` are Unix times: of the run's end, and when the revert was seen in Git (None: nobody knows). `reason` and `text` are those of the
    outbox.
    """

    by: str
    state: Written
    ended: float
    written: float | None = None
    commit: str = ""
    failed: str = ""
    reason: str = ""
    text: str = ""


@dataclass(frozen=True, slots=True)
class DeliveryAsk:
    """What does whoever delivers the target say that it has applied? (after a revert, until it is applied)"""


@dataclass(frozen=True, slots=True)
class Delivery:
    """What the engine says: commits, or their first characters.

    `applied`: all of it is in the cluster. `attempted`: being applied, or refused. `fetched`: Unix time at which its source fetched `applied`, if nothing newer is known
    there. `trouble`: why it does not go on, of `suspended` because somebody wants that. `error`: it could not be asked.
    """

    applied: str = ""
    attempted: str = ""
    fetched: float | None = None
    trouble: str = ""
    suspended: bool = False
    error: str = ""


@dataclass(frozen=True, slots=True)
class ReplicasAsk:
    """Who set the target's replicas last? (while it is at rest and not parked; the watch cache has no such notes)"""


@dataclass(frozen=True, slots=True)
class Replicas:
    """`by` is the engine and its object; empty: it was not an engine; None: that could not be read."""

    by: str | None


@dataclass(frozen=True, slots=True)
class Target:
    """The target's template: what was promoted last, a revision that nobody has looked at, or (neither) the one that failed."""

    name: str
    promoted: bool
    new: bool


@dataclass(frozen=True, slots=True)
class Answer:
    """The condition `Converged`, and in how many seconds the engine is looked at again; None: when something changes."""

    status: ConditionStatus
    reason: str
    message: str
    again: float | None = None

    @classmethod
    def of(cls, known: Condition | None) -> Answer | None:
        """The stored condition."""
        return None if known is None else cls(ConditionStatus(known.status), known.reason, known.message)


def needs_engine(back: WriteBack, target: Target) -> bool:
    """Whether the answer depends on what the engine says: otherwise nobody needs to ask it."""
    return back.state is Written.DONE or target.promoted


def judge(back: WriteBack, said: Delivery | None, target: Target, known: Condition | None, *, now: float) -> Answer | None:
    """Whether all agree again; None when the question is over, because a newer revision has come.

    `said`: None only where `needs_engine` says so. `known`: the condition as it is stored.
    """
    again = _pause(known, now, quick=target.promoted)
    if said is None or not needs_engine(back, target):
        return None if target.new else _unwritten(back)
    if target.new:
        return _drift(back, said, target) if _same(said.attempted or said.applied, back.commit) else None
    if said.error:
        return _no("EngineUnknown", f"{back.by} cannot be read: {said.error}", again)
    if not _holds_revert(back, said, target):
        return _set_again(back, said, target, known, now=now, again=again) or _waiting(back, said, again)
    if target.promoted:
        return Answer(ConditionStatus.TRUE, CONVERGED, f"{back.by} has applied {said.applied[:SHORT]}; {target.name} is what was promoted.")
    if _lasted(known, now, REVERT_DRIFT):
        return _drift(back, said, target, again)
    return _settling(back, said, target, again)


def _unwritten(back: WriteBack) -> Answer:
    if back.state is Written.OPEN:
        words = {
            "PullRequest": ("PullRequestOpen", "the revert waits for its pull request"),
            "": ("WritingBack", "the revert is being written"),
        }
        reason, text = words.get(back.reason, (back.reason, "the revert is not in Git yet"))
        return _no(reason, f"{text}: {back.text}" if back.text else f"{text}.")
    return _no("NotReverted", f"Git still names the release that failed ({back.reason}): {back.text or 'revert it by hand'}")


def _waiting(back: WriteBack, said: Delivery, again: float) -> Answer:
    """The engine has not come to the revert."""
    wanted = f"the revert {back.commit[:SHORT]}" if back.commit else "a commit without the failed release"
    if said.suspended:
        return _no("EngineSuspended", f"{back.by} is suspended before {wanted}: {said.trouble}", again)
    if said.trouble:
        return _no("EngineFailing", f"{back.by} does not come to {wanted}: {said.trouble}", again)
    has = f"has applied {said.applied[:SHORT]}" if said.applied else "has applied nothing yet"
    return _no("WaitingForEngine", f"{back.by} {has}, not yet {wanted}.", again)


def _settling(back: WriteBack, said: Delivery, target: Target, again: float) -> Answer:
    return _no("Settling", f"{back.by} has applied {said.applied[:SHORT]}; {target.name} has not followed yet.", min(again, GRACE / 2))


def _set_again(back: WriteBack, said: Delivery, target: Target, known: Condition | None, *, now: float, again: float) -> Answer | None:
    """The source has fetched since the revert was there, so what is applied comes after it, and the target is the failed revision still.

    By more than a clone takes: one that began before the revert may have ended after it.
    """
    passed = back.written is not None and said.fetched is not None and said.fetched >= back.written + GRACE
    if not passed or target.promoted or not said.applied or said.trouble or _same(said.applied, back.failed):
        return None
    if not _lasted(known, now, SET_AGAIN):
        return _settling(back, said, target, again)
    text = (
        f"{back.by} has applied {said.applied[:SHORT]}, which comes after the revert {back.commit[:SHORT]} and asks for the failed release again: somebody, or an "
        f"image bot, has set it. {target.name} is not tried again, and the primary serves on: stop what sets it, and set what was promoted, or a new release."
    )
    return _no(SET_AGAIN, text, again)


def _drift(back: WriteBack, said: Delivery, target: Target, again: float | None = None) -> Answer:
    """It is there, and the target is still not what was promoted. A second revert would be of the same images: none is made."""
    what = "a revision that was never promoted: it is analysed as a new one" if target.new else "not what was promoted"
    text = (
        f"{back.by} has applied the revert {(back.commit or said.applied)[:SHORT]}, and {target.name} is {what}. Only images are taken back: "
        "look for other fields that the failed release changed, for a webhook that changes templates, and for what the engine ignores."
    )
    return _no(REVERT_DRIFT, text, again)


def _holds_revert(back: WriteBack, said: Delivery, target: Target) -> bool:
    """Whether what is applied holds the revert.

    Of a target that is what was promoted a later commit is believed, too: it was fetched after the run had ended. Somebody else's commit may have come before the
    revert, so it is no reason to call a target that has not followed a drift.
    """
    if not said.applied or _same(said.applied, back.failed):
        return False
    if _same(said.applied, back.commit):
        return True
    later = said.fetched is not None and said.fetched >= whole(back.ended).timestamp()
    return target.promoted and (later or (not back.commit and bool(back.failed)))


def _same(one: str, other: str) -> bool:
    """Whether two names mean one commit: either may be cut short."""
    length = min(len(one), len(other))
    return length >= SHORT and one[:length] == other[:length]


def _no(reason: str, message: str, again: float | None = None) -> Answer:
    return Answer(ConditionStatus.FALSE, reason, message, again)


def _pause(known: Condition | None, now: float, *, quick: bool) -> float:
    """A quarter of the time that the condition has not changed: seldom, when nothing happens. `quick`: the workload is there already."""
    since = known.last_update_time if known is not None else None
    age = now - since.timestamp() if since is not None else 0.0
    return min(SLOWEST, max(SOONEST if quick else 5 * SOONEST, age / 4))


def _lasted(known: Condition | None, now: float, reason: str) -> bool:
    """Whether the workload has had the time to follow."""
    if known is None or known.reason not in ("Settling", reason):
        return False
    since = known.last_update_time
    return known.reason == reason or (since is not None and now - since.timestamp() >= GRACE)
