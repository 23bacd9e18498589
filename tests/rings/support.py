"""Plans and views of rings, written shortly."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

from canary.api.rolloutplan import RolloutPlan, parse_rollout_plan
from canary.gitops.rings.view import Candidate, Outcome, Record, Tally, View, tally

HOUR = 3600.0
T0 = 1_800_000_000.0
"""When the first release was committed: 2027-01-15 08:00:00Z, a Friday."""
RINGS: tuple[dict[str, Any], ...] = ({"name": "first"}, {"name": "second"}, {"name": "third"})


def plan(*rings: Mapping[str, Any], **spec: Any) -> RolloutPlan:
    """A plan with these rings, bake time 1 h unless they say otherwise."""
    each = [{"bakeTime": "1h", **ring} for ring in rings or RINGS]
    return parse_rollout_plan(
        {"metadata": {"name": "podinfo"}, "spec": {"canary": {"namespace": "prod", "name": "podinfo"}, "rings": each, **spec}}
    )


def members(**sizes: int) -> dict[str, tuple[str, ...]]:
    """Clusters `first-0`, `first-1`, … by ring."""
    return {name: tuple(f"{name}-{number}" for number in range(size)) for name, size in sizes.items()}


def candidates(*names: str, at: float = T0, every: float = 24 * HOUR) -> tuple[Candidate, ...]:
    """Releases, the oldest first as given, newest first as a view has them."""
    return tuple(reversed([Candidate(name, f"commit-{name}", at + number * every) for number, name in enumerate(names)]))


def ok(cluster: str, release: str = "v1", *, at: float = T0 + 60, samples: int = 10, replaced: float = math.inf) -> Record:
    return Record(cluster, release, Outcome.SUCCEEDED, at - 60, at, samples, replaced)


def bad(cluster: str, release: str = "v1", *, at: float = T0 + 60, outcome: Outcome = Outcome.FAILED) -> Record:
    return Record(cluster, release, outcome, at - 60, at)


def view(
    records: Iterable[Record] = (),
    *,
    bake: float = HOUR,
    of: Mapping[str, tuple[str, ...]] | None = None,
    releases: tuple[Candidate, ...] | None = None,
    **more: Any,
) -> View:
    """A view; each record goes to the ring that its cluster's name begins with."""
    groups: dict[tuple[str, str], list[Record]] = {}
    for record in records:
        groups.setdefault((record.cluster.rpartition("-")[0], record.release), []).append(record)
    tallies: dict[tuple[str, str], Tally] = {key: tally(found, bake=bake) for key, found in groups.items()}
    return View(candidates=releases or candidates("v1"), members=of or members(first=2, second=3, third=4), tallies=tallies, **more)
