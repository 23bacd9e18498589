"""A Git of values: a linear history, compare-and-swap, and for each version the view that a reader of it has.

Records pass through the code that reads real ones: they are JSON in a cluster's place, and forged ones are refused there and nowhere else.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

from canary.api.rolloutplan import RolloutPlan
from canary.gitops.rings import evidence
from canary.gitops.rings.evidence import Filed
from canary.gitops.rings.view import Candidate, Head, Record, Tally, View, tally

KEPT = 4
"""Records of a cluster that are looked at together: enough to see what replaced what."""


class Stale(Exception):  # noqa: N818 - reads as what happened
    """Somebody was faster."""


def text(cluster: str, release: str, outcome: str, *, started: float, finished: float, **lies: Any) -> bytes:
    """A record as an operator writes it, with what a liar changes."""
    data = {
        "schema": 1,
        "runId": f"run-{release}",
        "cluster": cluster,
        "namespace": "prod",
        "name": "podinfo",
        "outcome": outcome,
        "startedAt": datetime.fromtimestamp(started, UTC).isoformat(),
        "finishedAt": datetime.fromtimestamp(finished, UTC).isoformat(),
        "release": {"images": {"podinfo": f"podinfo:{release}"}},
        "checks": [{"name": "x", "samples": 10}],
    }
    return json.dumps(data | lies).encode()


@dataclass(slots=True)
class VirtualGit:
    """Everything in the repository now; `version` grows with every accepted push."""

    plan: RolloutPlan
    members: Mapping[str, tuple[str, ...]]
    candidates: tuple[Candidate, ...] = ()
    heads: dict[str, Head] = field(default_factory=dict)
    published: dict[str, bytes] = field(default_factory=dict)
    version: int = 0
    pushes: int = 0
    refused: int = 0
    told: int = 0
    records: dict[tuple[str, str], dict[str, Record]] = field(default_factory=lambda: defaultdict(dict))
    _files: dict[str, list[Filed]] = field(default_factory=lambda: defaultdict(list))
    _dirty: set[tuple[str, str]] = field(default_factory=set)
    _tallies: dict[tuple[str, str], Tally] = field(default_factory=dict)
    _bakes: dict[str, float] = field(default_factory=dict)
    _ring_of: dict[str, str] = field(default_factory=dict)
    _view: tuple[int, View] | None = None

    def __post_init__(self) -> None:
        self._bakes = {ring.name: ring.bake for ring in self.plan.spec.rings}
        self._ring_of = {name: ring for ring, names in self.members.items() for name in names}

    def release(self, name: str, at: float) -> None:
        self.candidates = (Candidate(name, f"commit-{name}", at, frozenset({f"podinfo:{name}"})), *self.candidates)
        self.heads = {ring: replace(head, position=head.position + 1) for ring, head in self.heads.items()}
        self._pushed()

    def push_record(self, place: str, content: bytes, *, run: str) -> None:
        """A push to the ref of a cluster; the same push twice is nothing new."""
        filed = Filed(place, f"{run}.json", content)
        if any(one.name == filed.name and one.content == filed.content for one in self._files[place]):
            return
        self._files[place] = [*(one for one in self._files[place] if one.name != filed.name), filed][-KEPT:]
        found, doubts = evidence.read(self.plan, self._files[place], self.candidates)
        self.told += len(doubts)
        ring = self._ring_of[place]
        for one in found:
            known = self.records[ring, one.release].get(place)
            if known != one:
                self.records[ring, one.release][place] = one
                if known is None or replace(known, replaced=one.replaced) != one or one.replaced < one.finished + self._bakes[ring]:
                    self._dirty.add((ring, one.release))
        self._pushed()

    def move(self, ring: str, head: Head, *, expected: str) -> None:
        """Raises Stale."""
        if self.heads.get(ring, Head()).commit != expected:
            self.refused += 1
            raise Stale(ring)
        self.heads = {**self.heads, ring: head}
        self._pushed()

    def publish(self, path: str, content: bytes) -> None:
        """Create-only. Raises Stale."""
        if path in self.published:
            self.refused += 1
            raise Stale(path)
        self.published = {**self.published, path: content}
        self._pushed()

    def _pushed(self) -> None:
        self.version += 1
        self.pushes += 1

    def view(self) -> View:
        """What a reader of this version has. Tallies are counted anew only where records came."""
        if self._view is None or self._view[0] != self.version:
            for ring, release in self._dirty:
                self._tallies[ring, release] = tally(self.records[ring, release].values(), bake=self._bakes[ring])
            self._dirty.clear()
            known = {one.release for one in self.candidates[:6]}
            tallies = {key: found for key, found in self._tallies.items() if key[1] in known}
            self._view = (self.version, View(self.candidates[:6], self.members, tallies, dict(self.heads), published=self.published))
        return self._view[1]
