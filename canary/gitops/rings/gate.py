"""The answer to one cluster that asks whether it may begin: the `confirm-rollout` gate of a stock Flagger, or of ours.

Slots need no locks and no leases: clusters of a ring have an order that everybody computes alike (a hash of release and cluster, so that no cluster is
always the first victim), and a cluster may begin when fewer than `maxConcurrent` before it have yet to finish. What cannot be told stays closed.
"""

from __future__ import annotations

import functools
import hashlib
import itertools
from dataclasses import dataclass

from canary.api.rolloutplan import InFlight, Ring, RolloutPlan, Then, at_most
from canary.gitops.rings.decide import Decision
from canary.gitops.rings.view import Head, View


@dataclass(frozen=True, slots=True)
class Answer:
    """Whether the cluster may go on, and why, in one sentence."""

    open: bool
    why: str


def answer(plan: RolloutPlan, view: View, decision: Decision, cluster: str, *, now: float, release: str = "") -> Answer:
    """Whether `cluster` may begin `release` (the newest one on the source branch when empty) at this moment."""
    ring = next((one for one in plan.spec.rings if cluster in view.members.get(one.name, ())), None)
    if ring is None:
        return Answer(open=False, why=f"{cluster} is in no ring of plan {plan.metadata.name}")
    if not view.candidates:
        return Answer(open=False, why=f"no release of {plan.spec.canary.namespace}/{plan.spec.canary.name} is on {plan.spec.source.branch}")
    wanted = release or view.candidates[0].release
    if wanted in decision.halted:
        return Answer(open=False, why=f"{wanted} is halted: {decision.halted[wanted]}")
    if not may_begin(plan, view, decision, ring, wanted):
        standing = decision.standing(wanted, ring.name)
        other = decision.targets.get(ring.name)
        why = standing.why if standing else f"ring {ring.name} takes {other}" if other else "it is no release that is known"
        return Answer(open=False, why=f"{wanted} in ring {ring.name}: {why}")
    finished = cluster in view.tally(ring.name, wanted).said
    if not finished and cluster not in turns(view, decision, ring, wanted, now=now):
        return Answer(open=False, why=f"{wanted} in ring {ring.name}: {cluster} waits for its turn")
    return Answer(open=True, why=f"{wanted} may begin in ring {ring.name}")


def abort(plan: RolloutPlan, view: View, decision: Decision, *, release: str = "") -> Answer:
    """The rollback gate: open (go back) only when the release is halted and the plan says that runs under way are to end."""
    wanted = release or (view.candidates[0].release if view.candidates else "")
    if wanted not in decision.halted:
        return Answer(open=False, why=f"{wanted or 'nothing'} is not halted")
    if plan.spec.halt.in_flight is InFlight.FINISH:
        return Answer(open=False, why=f"{wanted} is halted; runs under way may finish")
    return Answer(open=True, why=f"{wanted} is halted: {decision.halted[wanted]}")


def may_begin(plan: RolloutPlan, view: View, decision: Decision, ring: Ring, release: str) -> bool:
    """Whether clusters of the ring may begin a release: it is the ring's target, which is open; or the ring has had it and was taken back to it."""
    if plan.spec.suspend:
        return False
    standing = decision.standing(release, ring.name)
    if (
        plan.spec.halt.then is Then.REVERT
        and standing is not None
        and standing.passed
        and view.heads.get(ring.name, Head()).release == release
    ):
        return True  # it came back to what it has passed: nothing new, so neither windows nor freezes hold it up
    if decision.targets.get(ring.name) != release:
        return False
    rollback = view.rollbacks.get(ring.name)
    returning = rollback is not None and rollback.release == release and bool(view.tally(ring.name, release).said)
    return returning or (standing is not None and standing.opens)


def turns(view: View, decision: Decision, ring: Ring, release: str, *, now: float) -> frozenset[str]:
    """The clusters that have yet to finish and whose turn it is. Does not ask whether the ring is open."""
    members = view.members.get(ring.name, ())
    said = view.tally(ring.name, release).said
    standing = decision.standing(release, ring.name)
    waiting = (cluster for cluster in order(release, tuple(members)) if cluster not in said)
    if not ring.max_concurrent or (standing is not None and now >= standing.since + ring.patience):
        return frozenset(waiting)
    return frozenset(itertools.islice(waiting, at_most(ring.max_concurrent, len(members)) or 1))


@functools.lru_cache(maxsize=256)
def order(release: str, members: tuple[str, ...]) -> tuple[str, ...]:
    """The ring's clusters in the order in which this release comes to them."""
    return tuple(sorted(members, key=lambda cluster: hashlib.sha256(f"{release}\0{cluster}".encode()).digest()))
