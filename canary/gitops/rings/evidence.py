"""What clusters wrote about their releases, and which of it is believed.

A record counts only where its writer is who it says: in the ref of its cluster, in the folder of its cluster, naming its cluster, the canary and the
run of its path; and with signatures required, in a ref whose newest commit that cluster has signed. The rest is told as a problem and counts as
nothing said. A cluster that lies about itself has one vote, and its ring's size, quorum and samples are against it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from canary.api.rolloutplan import RolloutPlan
from canary.gitops import record as records
from canary.gitops.failures import plain
from canary.gitops.rings.releases import belongs, release_of
from canary.gitops.rings.view import SKEW, Candidate, Outcome, Record, Tally, tally

_OUTCOMES = frozenset(Outcome)


@dataclass(frozen=True, slots=True)
class Filed:
    """A file where records are: whose place it is in, its name, and its content."""

    cluster: str
    name: str
    content: bytes


def read(plan: RolloutPlan, files: Iterable[Filed], candidates: Sequence[Candidate]) -> tuple[list[Record], list[str]]:
    """The last word of each cluster about each release, and what was not believed."""
    found: dict[tuple[str, str], Record] = {}
    problems: list[str] = []
    for filed in files:
        if filed.name == records.POINTER or not filed.name.endswith(".json"):
            continue
        data = records.decode(filed.content)
        if problem := _forged(plan, filed, data):
            problems.append(f"{filed.cluster}: {filed.name[:80]}: {problem}")
        elif one := _record(filed.cluster, data, candidates):
            known = found.get((one.cluster, one.release))
            if known is None or known.finished <= one.finished:
                found[one.cluster, one.release] = one
    return _replaced(found.values()), problems


def _forged(plan: RolloutPlan, filed: Filed, data: Mapping[str, Any]) -> str:
    """Why a file is not what its place says, or empty."""
    if not data:
        return "it is no record"
    if data.get("schema") != records.SCHEMA:
        return f"schema {plain(str(data.get('schema')))[:20]} is not known"
    canary = plan.spec.canary
    for key, expected in (
        ("cluster", filed.cluster),
        ("namespace", canary.namespace),
        ("name", canary.name),
        ("runId", filed.name.removesuffix(".json")),
    ):
        if data.get(key) != expected:
            return f"it says {key} {plain(str(data.get(key)))[:80]!r}, and is where {expected!r} writes"
    return ""


def _record(cluster: str, data: Mapping[str, Any], candidates: Sequence[Candidate]) -> Record | None:
    """None for what does not count: a run that goes on or was canceled, or without times or images."""
    started, finished = _time(data.get("startedAt")), _time(data.get("finishedAt"))
    release = data.get("release")
    images = release.get("images") if isinstance(release, dict) else None
    if data.get("outcome") not in _OUTCOMES or started is None or finished is None or not isinstance(images, dict):
        return None
    ran = [image for image in images.values() if isinstance(image, str)]
    return Record(
        cluster,
        belongs(ran, candidates) or f"-{release_of(ran)}",
        Outcome(data["outcome"]),
        started,
        finished,
        _samples(data.get("checks")),
    )


def _samples(checks: object) -> int:
    found = [check.get("samples") for check in checks if isinstance(check, dict)] if isinstance(checks, list) else []
    return sum(number for number in found if isinstance(number, int) and 0 <= number < 1_000_000_000)


def _time(value: object) -> float | None:
    try:
        found = datetime.fromisoformat(value) if isinstance(value, str) else None
    except ValueError:
        return None
    return found.timestamp() if found and found.tzinfo else None


def _replaced(found: Iterable[Record]) -> list[Record]:
    """Each with the time at which the next success of another release took its place."""
    by_cluster: dict[str, list[Record]] = {}
    for one in found:
        by_cluster.setdefault(one.cluster, []).append(one)
    result = []
    for own in by_cluster.values():
        own.sort(key=lambda one: one.finished)
        for number, one in enumerate(own):
            later = (other.finished for other in own[number + 1 :] if other.outcome is Outcome.SUCCEEDED)
            result.append(replace(one, replaced=next(later, math.inf)))
    return result


def broken(found: Iterable[Record], degraded: Mapping[tuple[str, str], float]) -> tuple[list[Record], list[str]]:
    """Records with what people saw later: by release and cluster, when a success had turned out to be none. A success clearly after that stands.

    What is said of a cluster that has not succeeded is told: a name with a mistake in it must not pass for having stopped a release.
    """
    result: list[Record] = []
    left = dict(degraded)
    for one in found:
        at = left.pop((one.release, one.cluster), -math.inf)
        broke = one.outcome is Outcome.SUCCEEDED and one.finished <= at + SKEW
        result.append(replace(one, outcome=Outcome.DEGRADED, finished=at) if broke else one)
    return result, [f"{cluster} is said to have broken with {release}, and has no record of it" for release, cluster in sorted(left)]


def tallies(plan: RolloutPlan, members: Mapping[str, Sequence[str]], found: Iterable[Record]) -> dict[tuple[str, str], Tally]:
    """Records by ring and release, of members only."""
    ring_of = {cluster: ring for ring, clusters in members.items() for cluster in clusters}
    groups: dict[tuple[str, str], list[Record]] = {}
    for one in found:
        if one.cluster in ring_of:
            groups.setdefault((ring_of[one.cluster], one.release), []).append(one)
    bakes = {ring.name: ring.bake for ring in plan.spec.rings}
    return {key: tally(group, bake=bakes[key[0]]) for key, group in groups.items()}
