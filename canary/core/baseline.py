"""A fresh copy of the old version beside the canary, to compare it with (`analysis.baseline: fresh`).

A canary that has just started and a primary that has run for days differ in more than their version: caches, compiled code, heaps. So a copy of
the primary is begun with the canary, gets as many pods and as many requests, and takes the primary's place in the comparison.

It is a yardstick and nothing that a release may fail for. What keeps it from being there costs one warning; from then on the run is compared with
the primary, and stays so. While it has no pod that answers it has no share, and the evidence waits. A copy belongs to one run: what an
earlier one has left, and what a restart leaves, is taken away and made anew, since it is of another age, and perhaps of another version. It is
taken away only when no route names it any more.

Rejected: to let it wait or fail like the canary, and to leave it running between runs, which would age it.
"""

from __future__ import annotations

from dataclasses import replace

from canary.api.sequential import Baseline, Judge
from canary.api.status import FRESH, PRIMARY, BaselineStatus
from canary.core.evidence import shortened
from canary.core.model import EnsureBaseline, EnsureRoutes, Readiness, RemoveBaseline, Routes, SetRoutes, Unknown, Workload
from canary.core.strategies import Strategy
from canary.core.turn import End, Turn

TAKEN = "BaselineTaken"
"""Reason of an Unknown: an object of its name is there and is not ours."""
LONGEST_REASON = 500
"""Characters: events have room for a thousand, and a policy's refusal may be long."""
SOON = 1.0
"""Seconds after which a run looks again for what it has had removed."""


def wanted(t: Turn, *, sole: bool) -> BaselineStatus | None:
    """What a run that begins now is compared with; None where that is the primary, because nobody asks for anything else."""
    analysis = t.analysis
    if analysis.baseline is not Baseline.FRESH or analysis.judge is Judge.THRESHOLD:
        return None
    if sole or t.canary.spec.skip_analysis or not t.snapshot.has_weights or t.strategy is not Strategy.CANARY:
        return None
    return BaselineStatus(compared=FRESH)


def in_the_way(t: Turn) -> End | None:
    """Before a run: an object that is not ours has the name of the fresh copy. It is not touched, and nothing begins until it is gone."""
    found = t.snapshot.baseline
    if not isinstance(found, Unknown) or found.reason != TAKEN or wanted(t, sole=t.sole) is None:
        return None
    t.say(t.voice.unobservable("baseline", found.message))
    t.stall = found
    return t.interval


def start(t: Turn) -> None:
    """The run has just begun: its copy begins with the target, unless something must go first."""
    if t.fresh and t.snapshot.baseline is None and not t.snapshot.baseline_left and t.primary is not None:
        assert t.run is not None
        t.do(EnsureBaseline(t.run.id))


def judge_fate(t: Turn) -> None:
    """In a run that has a fresh copy: give it up when it cannot be had, or when nobody wants it any more."""
    run = t.run
    if run is None or run.baseline is None or not run.baseline.fresh or run.outcome or not t.analysed:
        return
    found = t.snapshot.baseline
    if t.analysis.baseline is not Baseline.FRESH:
        give_up(t, "the analysis no longer asks for it")
    elif t.fresh and isinstance(found, Unknown):
        give_up(t, found.message)
    elif t.fresh and t.baseline is not None and t.baseline.readiness is Readiness.STUCK:
        give_up(t, t.baseline.message)


def give_up(t: Turn, why: str) -> None:
    """Compare this run with the primary from now on."""
    assert t.run is not None
    assert t.run.baseline is not None
    why = shortened(why, LONGEST_REASON)
    t.say(t.voice.baseline_given_up(why))
    t.update_run(baseline=BaselineStatus(compared=PRIMARY, reason=why, weight=t.run.baseline.weight))


def keep(t: Turn) -> None:
    """The copy of this run is there, with as many pods as the target."""
    if t.fresh and t.primary is not None and not _of_another_run(t):
        assert t.run is not None
        t.do(EnsureBaseline(t.run.id))


def clear(t: Turn) -> None:
    """Take away what no run needs; after the routes, which must not name it any more. Until that is done it is looked at again."""
    if not t.snapshot.baseline_left or (t.fresh and not _of_another_run(t)):
        return
    if not _named(t):
        t.do(RemoveBaseline())
    soon = SOON if t.fresh else t.analysis.interval_seconds
    t.look_again = soon if t.look_again is None else min(t.look_again, soon)


def let_go(t: Turn) -> None:
    """The Canary is being deleted: no route names the copy any more, and it goes."""
    live = t.snapshot.routes
    if isinstance(live, Routes) and live.baseline:
        t.do(SetRoutes(replace(live, cookies=t.cookies, baseline=0)))
    clear(t)


def _of_another_run(t: Turn) -> bool:
    """Whether what is there was made for another run, or is what is left of one."""
    if isinstance(t.snapshot.baseline, Workload):
        return t.baseline is None
    return False


def _named(t: Turn) -> bool:
    """Whether requests may still be sent there: routes as they were read name it or cannot be read, or those that this tick makes again do."""
    if any(isinstance(effect, EnsureRoutes | SetRoutes) and effect.routes.baseline for effect in t.effects):
        return True
    live = t.snapshot.routes
    if not t.snapshot.has_weights or live is None:
        return False
    return not isinstance(live, Routes) or live.baseline > 0
