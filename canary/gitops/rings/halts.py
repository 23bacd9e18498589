"""Why a release is stopped in all rings, and where that began. Pure.

A halt has two sources: records that fail now, and what somebody wrote down when they did, which sticks. Either stops a release. Only the first takes
one back (`halt.then: revert`): whoever may push to the state branch can stop a fleet, and must not be able to turn it back as well.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from canary.api.rolloutplan import RolloutPlan, at_least
from canary.gitops.rings import state
from canary.gitops.rings.view import Candidate, Tally, View

SHOWN = 3
"""Clusters named in a sentence."""


@dataclass(frozen=True, slots=True)
class Halt:
    """Of one release. `rings`: where clusters failed, empty when nobody says; `proven`: their records say so now."""

    why: str
    rings: tuple[str, ...] = ()
    proven: bool = False

    @property
    def behind(self) -> str:
        """What rings say that nobody failed in."""
        names = " and ".join(self.rings)
        return f"waiting behind the halt in ring{'s' if len(self.rings) > 1 else ''} {names}"


def halt_of(plan: RolloutPlan, view: View, one: Candidate) -> Halt | None:
    """Why a release is stopped everywhere, or None. What is published sticks, also when its clusters succeed after all."""
    resumed = view.resumed.get(one.release, -math.inf)
    failing = {ring.name: sorted(_failing(view.tally(ring.name, one.release), resumed)) for ring in plan.spec.rings}
    names = sorted(name for names in failing.values() for name in names)
    everybody = sum(len(members) for members in view.members.values())
    if names and len(names) >= at_least(plan.spec.halt.failed, everybody):
        shown = ", ".join(names[:SHOWN]) + (" and others" if len(names) > SHOWN else "")
        return Halt(
            f"{len(names)} of {everybody} clusters failed ({shown})", tuple(ring for ring, some in failing.items() if some), proven=True
        )
    path = state.halt_path(plan, one.release, resumed)
    if path in view.published:
        return Halt(state.why_halted(view.published[path]), state.halted_rings(plan, view.published[path]))
    return None


def _failing(tally: Tally, resumed: float) -> Iterator[str]:
    return (tally.named(cluster) for at, cluster in tally.bad if at > resumed)
