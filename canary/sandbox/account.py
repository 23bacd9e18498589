"""What came of one release of the story, as the objects of the API tell it.

Read from the CanaryRun, whose life is one release: the Canary's own phase was `Succeeded` or `Failed` before, too, and a watch may skip
whatever came in between.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from canary.api.canaryrun import CanaryRun
from canary.api.status import CanaryStatus

Happening = dict[str, Any]
"""One JSON object: `event` says what happened; `at` is seconds since the story began."""
OUTCOMES = {"good": "Succeeded", "bad": "Failed"}
"""How each scenario should end."""
_BAD_VERDICTS = ("Fail", "Error", "NoData")
"""Of a check, the one that explains most first."""


@dataclass(slots=True)
class Account:
    """One scenario as it unfolds; `summary` is the contract of `--json`."""

    scenario: str
    image: str
    weights: list[int] = field(default_factory=list)
    outcome: str = ""
    failed_check: str | None = None
    reason: str = ""
    requests: int = 0
    failed: int = 0
    finished: datetime | None = None
    """When it ended, by the cluster's clock."""
    record: str | None = None
    revert: str | None = None
    unwritten: str = "Git was not written to"
    """Why Git does not hold everything that it should, or nothing."""
    converged: bool = False
    """Whether the cluster runs what the branch says afterwards, and no other run has begun."""

    def see(self, status: CanaryStatus) -> None:
        """The Canary's status has changed during the release."""
        weight = status.canary_weight
        if str(status.phase) == "Progressing" and weight and weight not in self.weights:
            self.weights.append(weight)
        for verdict in _BAD_VERDICTS:
            if names := [check.name for check in status.checks if str(check.verdict) == verdict]:
                self.failed_check = names[0]
                return

    def close(self, run: CanaryRun) -> None:
        """The run of this release, which may have ended; what its effects have written to Git."""
        if run.status.outcome and not self.outcome:
            self.outcome, self.reason, self.finished = str(run.status.phase), run.status.reason, run.status.finished_at
            if self.outcome == "Succeeded":
                self.failed_check = None
        effects = {effect.name.partition("/")[0]: effect for effect in run.status.effects}
        self.record, self.revert = (effects[kind].ref or None if kind in effects else None for kind in ("record", "revert"))
        waiting = [effect for effect in run.status.effects if not effect.state.final]
        self.unwritten = "; ".join(f"{one.name}: {one.error or one.reason or one.state}" for one in waiting)
        if not effects:
            self.unwritten = "the operator has nothing to write to Git"

    @property
    def as_it_should(self) -> bool:
        """Good ones are promoted without harm, bad ones rolled back and reverted; both are recorded, and the cluster rests afterwards."""
        if self.outcome != OUTCOMES[self.scenario] or not self.record or not self.converged:
            return False
        if self.scenario == "good":
            return self.failed == 0 and self.revert is None
        return self.revert is not None and self.failed_check is not None

    def summary(self) -> Mapping[str, Any]:
        """What a program needs of it."""
        return {
            "scenario": self.scenario,
            "outcome": self.outcome,
            "weights": self.weights,
            "requests": self.requests,
            "failed_requests": self.failed,
            "failed_check": self.failed_check,
            "git": {"record": self.record, "revert": self.revert},
        }
