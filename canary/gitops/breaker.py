"""The breaker: a release that was rejected, taken back in Git, and comes back all the same, is left alone.

Flagger has no such loop, because it never writes to Git. We do: an image bot sets the rejected tag again within a minute of our revert, the cluster sees a
new revision, it fails, and we revert it again, for ever. So a release is taken back once; when it comes again it is held before its analysis, and
whoever sets it again is told. Only the last 24 hours count, and a person may say earlier that it is to be tried again. What has been taken back
is read from the CanaryRuns, where the outbox has written it down, and from the commits themselves, because a process may have died between the two. A
file of rejected releases on the outcomes branch was rejected: the cluster would have to ask Git before a release may begin.
"""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import dataclass
from datetime import UTC, datetime

from canary.api.canaryrun import CanaryRun, EffectState, ReleaseInfo, RunPhase
from canary.api.gitsink import Breaker
from canary.gitops import wanted

DAY = 86_400.0
"""Seconds that a revert counts."""
RETRY = "canary.dev/retry"
"""Annotation of a Canary: the name of a run. What was taken back up to that run counts no more."""
REASON = "BreakerOpen"


@dataclass(frozen=True, slots=True)
class Verdict:
    """Why nothing is written: a sentence, and until when (Unix time)."""

    text: str
    until: float


@dataclass(frozen=True, slots=True)
class Past:
    """What one sink has taken back of one canary. `runs`: all of its runs; `now`: Unix time; `forgiven`: the value of `RETRY`."""

    sink: str
    limits: Breaker
    runs: tuple[CanaryRun, ...]
    now: float
    forgiven: str = ""

    def against(self, release: ReleaseInfo, *, but: str = "", written: Collection[str] = ()) -> Verdict | None:
        """Whether, and why, the breaker is open for this release. Pure.

        `but`: the run that asks. `written`: names of runs that a commit says it has taken back, whatever the API knows of it.
        """
        if found := self.same(release, but=but, written=written):
            return found
        taken = self._taken(but, written)
        over = len(taken) - self.limits.max_reverts_per_day
        if over < 0:
            return None
        text = f"{len(taken)} releases of this canary were taken back within 24 hours, which is what breaker.maxRevertsPerDay allows"
        return self._verdict(text, taken[over][0], but or taken[-1][1].metadata.name)

    def same(self, release: ReleaseInfo, *, but: str = "", written: Collection[str] = ()) -> Verdict | None:
        """The same, for the limit of one release alone: that which keeps a release from being tried."""
        promoted = max(
            (_started(run) for run in self.runs if run.status.phase is RunPhase.SUCCEEDED and _same(run, release)), default=-math.inf
        )
        taken = [(at, run) for at, run in self._taken(but, written) if _same(run, release) and _started(run) > promoted]
        over = len(taken) - self.limits.max_reverts_per_release
        if over < 0:
            return None
        last = taken[-1][1].metadata.name
        text = f"this release was rejected by run {last} and taken back in Git, and somebody has set it again"
        return self._verdict(text, taken[over][0], but or last)

    def doubtful(self, run: CanaryRun) -> list[CanaryRun]:
        """Earlier failures of the same release whose revert was not written down, so that their commits must be looked for."""
        return [
            other
            for other in self.runs
            if _same(other, run.spec.release)
            and other.status.phase is RunPhase.FAILED
            and _started(other) < _started(run)
            and self.now < (other.status.finished_at or other.spec.started_at).timestamp() + DAY
            and _reverted_at(other, self.sink, ()) is None
        ]

    def _taken(self, but: str, written: Collection[str]) -> list[tuple[float, CanaryRun]]:
        """Reverts that count, oldest first, with their times."""
        since = next((_started(run) for run in self.runs if run.metadata.name == self.forgiven), -math.inf)
        found = ((_reverted_at(run, self.sink, written), run) for run in self.runs if _started(run) > since and run.metadata.name != but)
        return sorted(
            ((at, run) for at, run in found if at is not None and self.now < at + DAY), key=lambda one: (one[0], _started(one[1]))
        )

    @staticmethod
    def _verdict(text: str, oldest: float, run: str) -> Verdict:
        until = oldest + DAY
        shown = datetime.fromtimestamp(until, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
        return Verdict(f"{text}; nothing more is done about it until {shown}, or until the Canary has the annotation {RETRY}: {run}", until)


def remembered(run: CanaryRun, *, now: float) -> bool:
    """Whether a revert of this run still counts, for whatever sink, so that the run must be kept."""
    names = {effect.name.partition("/")[2] for effect in run.status.effects}
    times = (_reverted_at(run, name, ()) for name in names)
    return any(at is not None and now < at + DAY for at in times)


def _reverted_at(run: CanaryRun, sink: str, written: Collection[str]) -> float | None:
    names = (f"{wanted.REVERT}/{sink}", f"{wanted.PROPOSAL}/{sink}")
    done = next((one for one in run.status.effects if one.state is EffectState.DONE and one.name in names), None)
    if done is None and run.metadata.name not in written:
        return None
    at = done.done_at if done else None
    return (at or run.status.finished_at or run.spec.started_at).timestamp()


def _same(run: CanaryRun, release: ReleaseInfo) -> bool:
    """All of it: who changes anything else of the template, or a tracked config, has made another release."""
    return run.spec.release == release


def _started(run: CanaryRun) -> float:
    return run.spec.started_at.timestamp()
