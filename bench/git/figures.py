"""What was measured, as values; quantiles; and whether everything that was to be written is there, once. Pure."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Push:
    """A branch that the server moved. `at`: seconds by the clock that processes share."""

    branch: str
    commit: str
    at: float


@dataclass(frozen=True, slots=True)
class Told:
    """What the server has seen: pushes that it took, requests of fetches, and how often somebody was about to push."""

    pushes: tuple[Push, ...]
    fetches: int
    attempts: int

    @property
    def conflicts(self) -> int:
        """Pushes that were given up because somebody had been faster."""
        return self.attempts - len(self.pushes)


@dataclass(frozen=True, kw_only=True)
class Used:
    """Of the worker's process: MiB at most, MiB before it began, MiB of its git processes together at most, MiB of its mirrors on the disk, CPU seconds with
    children.
    """

    peak: float
    before: float
    git: float
    disk: float
    cpu: float


@dataclass(frozen=True, kw_only=True)
class Drift:
    """One revert after another. Seconds from the end of a run to the revert on the branch, and until record and revert were noted.

    `ready`: seconds until a new mirror had the branch; `first`: of the first revert in it, which reads every manifest and is not among the others.
    """

    files: int
    ready: float
    first: float
    on_branch: Sequence[float]
    noted: Sequence[float]
    fetches: int
    pushes: int
    used: Used

    def at(self, share: float) -> float:
        """A quantile of the time to the revert on the branch."""
        return quantile(share, self.on_branch)


@dataclass(frozen=True, kw_only=True)
class Traffic:
    """Many canaries that fail again and again, while people commit to the same branch.

    `reverts` and `records` were noted as done within `seconds`; `latencies` are from the end of a run until both were noted.
    """

    canaries: int
    clusters: int
    seconds: float
    reverts: int
    records: int
    pushes: Mapping[str, int]
    people: int
    conflicts: int
    fetches: int
    latencies: Sequence[float]
    wrong: Sequence[str]
    used: Used

    @property
    def per_minute(self) -> float:
        """Write-backs: records and reverts."""
        return 60 * (self.reverts + self.records) / self.seconds


def quantile(share: float, values: Sequence[float]) -> float:
    """The smallest value that this share of the values does not exceed."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


@dataclass(frozen=True, slots=True)
class Written:
    """What a run must have left: its name, the path of its record, the commit that the worker named for its revert, the file that went back."""

    run: str
    record: str
    commit: str


def wrong(
    runs: Iterable[Written], *, reverts: Sequence[tuple[str, str]], records: Iterable[str], people: Mapping[str, int], asked: int
) -> list[str]:
    """Sentences about what was lost or done twice; none when all is well.

    `reverts`: (commit, what it says it did) of the commits of the branch; `records`: paths on the branch of records; `people`: how often each commit of
    theirs is in the history, of `asked` that they made.
    """
    found: list[str] = []
    said = Counter(effect for _, effect in reverts)
    by_effect = {effect: commit for commit, effect in reverts}
    paths = set(records)
    for one in runs:
        effect = f"revert {one.run}"
        if said[effect] != 1:
            found.append(f"{effect}: {said[effect]} commits")
        elif by_effect[effect] != one.commit:
            found.append(f"{effect}: is {by_effect[effect][:12]}, and was noted as {one.commit[:12]}")
        if one.record not in paths:
            found.append(f"{one.record} is missing")
    strangers = said.keys() - {f"revert {one.run}" for one in runs}
    found += [f"{effect}: nobody asked for it" for effect in sorted(strangers)]
    if len(people) != asked or any(count != 1 for count in people.values()):
        found.append(f"people made {asked} commits, {sum(people.values())} are in the history")
    return found
