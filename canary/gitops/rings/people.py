"""What people decided or saw: approvals, exemptions, resumptions, rollbacks and damage, as reviewed files or as trailers of commits on the source branch.

    <approvals>/<plan>/<release>/<ring>.yaml     the ring may open for the release      (or trailer `Canary-Approve: <plan>/<release>/<ring>`)
    <approvals>/<plan>/<release>/bypass.yaml     no windows and freezes for it; `ring: NAME` begins there
    <approvals>/<plan>/<release>/resume.yaml     failures until now are forgiven
    <approvals>/<plan>/<release>/degraded.yaml   it broke in `clusters: [NAME]` after it had succeeded there
    <approvals>/<plan>/rollback.yaml             `release: NAME`, and `rings: [NAME]` unless it is all of them

Whoever may merge may decide; that is what the protection of the branch is for. Only the branch's own commits are read, not those that a merge
brings along: their messages are seldom reviewed.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import yaml

from canary.api.rolloutplan import RolloutPlan
from canary.gitops.failures import plain
from canary.gitops.rings.plumbing import Commit
from canary.gitops.rings.view import Approval, Exemption, Rollback

TRAILER = "Canary-Approve"
RELEASE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,99}")
_SUFFIXES = (".yaml", ".yml")
BYPASS, RESUME, DEGRADED, ROLLBACK = "bypass", "resume", "degraded", "rollback"


@dataclass(slots=True)
class Decisions:
    """By release and ring, by release, by release, by release and cluster, and by ring; and what was not understood."""

    approvals: dict[tuple[str, str], Approval] = field(default_factory=dict)
    exemptions: dict[str, Exemption] = field(default_factory=dict)
    resumed: dict[str, float] = field(default_factory=dict)
    degraded: dict[tuple[str, str], float] = field(default_factory=dict)
    rollbacks: dict[str, Rollback] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)


def decisions(plan: RolloutPlan, files: Mapping[str, bytes], when: Mapping[str, tuple[float, str]], history: Iterable[Commit]) -> Decisions:
    """All of them. `files`: what is under the approvals folder; `when`: time and author of each file's last change."""
    found = Decisions()
    prefix = f"{plan.spec.files.approvals}/{plan.metadata.name}/"
    for path in sorted(files):
        stem = next((path.removesuffix(end) for end in _SUFFIXES if path.endswith(end)), "")
        if path.startswith(prefix) and stem:
            _file(plan, found, path, stem.removeprefix(prefix).split("/"), files[path], when.get(path))
    rings = {ring.name for ring in plan.spec.rings}
    for commit in history:
        for value in commit.trailers.get(TRAILER, ()):
            name, release, ring = [*value.split("/"), "", ""][:3]
            if name == plan.metadata.name and ring in rings and RELEASE.fullmatch(release):
                known = found.approvals.get((release, ring))
                if known is None or commit.at < known.at:
                    found.approvals[release, ring] = Approval(commit.at, commit.author)
            elif name == plan.metadata.name:
                found.problems.append(f"commit {commit.oid[:12]} approves {plain(value)[:80]!r}, which is not PLAN/RELEASE/RING")
    return found


def _file(plan: RolloutPlan, found: Decisions, path: str, parts: list[str], content: bytes, when: tuple[float, str] | None) -> None:  # noqa: PLR0917
    if when is None:
        found.problems.append(f"{path}: it cannot be told when it was committed")
        return
    at, by = when
    try:
        data: Any = yaml.safe_load(content)
    except (yaml.YAMLError, ValueError, RecursionError):
        found.problems.append(f"{path} is not YAML and is ignored")
        return
    data = data if isinstance(data, dict) else {}
    rings = [ring.name for ring in plan.spec.rings]
    match parts:
        case [name] if name == ROLLBACK:
            _rollback(found, path, data, rings, at, by)
        case [release, name] if name == BYPASS:
            ring = data.get("ring", "")
            if ring and ring not in rings:
                found.problems.append(f"{path}: {plain(str(ring))[:80]!r} is no ring of the plan; the file is ignored")
            else:
                found.exemptions[release] = Exemption(at, ring, by)
        case [release, name] if name == RESUME:
            found.resumed[release] = at
        case [release, name] if name == DEGRADED:
            _degraded(found, path, release, data.get("clusters"), at)
        case [release, ring] if ring in rings:
            found.approvals[release, ring] = Approval(at, by)
        case _:
            found.problems.append(f"{path} is neither for a ring of the plan nor bypass, resume, degraded or rollback")


def _degraded(found: Decisions, path: str, release: str, clusters: object, at: float) -> None:
    if not isinstance(clusters, list) or not clusters or not all(isinstance(name, str) for name in clusters):
        found.problems.append(f"{path} names no `clusters` in which it broke, and is ignored")
    else:
        found.degraded.update({(release, name): at for name in clusters})


def _rollback(found: Decisions, path: str, data: Mapping[str, Any], rings: list[str], at: float, by: str) -> None:  # noqa: PLR0917
    release, named = data.get("release"), data.get("rings", rings)
    if not isinstance(release, str) or not RELEASE.fullmatch(release):
        found.problems.append(f"{path} names no `release` to go back to, and is ignored")
    elif not isinstance(named, list) or not set(named) <= set(rings):
        found.problems.append(f"{path}: `rings` must be a list of rings of the plan; the file is ignored")
    else:
        found.rollbacks.update({ring: Rollback(at, release, by) for ring in named})
