"""`status` of a Canary: where a release stands, and why.

Upstream's fields keep names and meaning, so that its tools and its `kubectl wait` recipes work, and so that a cluster can
move to us and back. Ours are additive and optional. The status is read and written at every tick: it has no validators
beyond its types, and `to_dict` is one pydantic dump. Counters are always written, also when they are 0, because Argo CD's
health check does arithmetic on them; empty texts and lists never are.
"""

from __future__ import annotations

import enum
from typing import Annotated

from pydantic import Field, WithJsonSchema

from canary.api.analysis import ThresholdRange
from canary.api.common import (
    Condition,
    Int64,
    Integer,
    Measured,
    OptionalText,
    Status,
    StringMap,
    Text,
    Timestamp,
    Whole,
    is_empty,
)


class Phase(enum.StrEnum):
    """Where a release stands; NONE is a canary that nobody has looked at yet. TERMINATED is never written, as upstream."""

    NONE = ""
    INITIALIZING = "Initializing"
    INITIALIZED = "Initialized"
    WAITING = "Waiting"
    PROGRESSING = "Progressing"
    WAITING_PROMOTION = "WaitingPromotion"
    PROMOTING = "Promoting"
    FINALISING = "Finalising"
    SUCCEEDED = "Succeeded"
    FAILED = "Failed"
    TERMINATING = "Terminating"
    TERMINATED = "Terminated"


class Verdict(enum.StrEnum):
    """What one check said. NO_DATA and ERROR are not FAIL: ignorance is not failure."""

    PASS = "Pass"  # noqa: S105 - not a password
    FAIL = "Fail"
    NO_DATA = "NoData"
    ERROR = "Error"


OptionalFlag = Annotated[bool, Field(exclude_if=is_empty)]
"""A flag that is left out of the written status while it is false."""
VerdictText = Annotated[Verdict, WithJsonSchema({"type": "string", "enum": [verdict.value for verdict in Verdict]})]


OptionalCount = Annotated[Integer, Field(exclude_if=is_empty)]
"""A count that is left out of the written status while it is 0."""
OptionalNumber = Annotated[Integer | None, WithJsonSchema({"type": "integer"})]
"""A whole number that may be absent, where 0 says something."""
Texts = Annotated[tuple[Text, ...], Field(exclude_if=is_empty)]
"""Texts that are left out of the written status while there are none."""


FRESH, PRIMARY = "fresh", "primary"
"""Values of `BaselineStatus.compared`."""


class RunRow(Status):
    """One tick of a run that measured something, asked a gate or moved traffic."""

    seq: Integer
    """Number of the row, from 1; missing numbers are rows that were thinned out of a long run."""
    at: Measured = None
    """Seconds since the run started."""
    weight: Integer = 0
    """Share of the traffic that the canary had while it was measured, in percent."""
    to: OptionalNumber = None
    """Share that it was then given, in percent; absent when the traffic stayed as it was."""
    mirrored: OptionalFlag = False
    """The canary was then given a copy of the traffic."""
    failed: OptionalCount = 0
    """Failed checks of the run so far."""
    checks: Texts = ()
    """Verdict and value of each check, in the order of the run's list of checks; - for one that was not made."""
    gates: Texts = ()
    """What gates answered, and which other hooks refused, as <webhook>: yes or no, with their words."""


class CheckTotals(Status):
    """What one check has said in the run so far."""

    name: Text
    """Name of the check."""
    source: OptionalText = ""
    """Who was asked, as in `checks[].source`."""
    passed: OptionalCount = 0
    """How often it passed."""
    failed: OptionalCount = 0
    """How often it failed."""
    no_data: OptionalCount = 0
    """How often the source had nothing to say."""
    errors: OptionalCount = 0
    """How often the source could not be asked."""
    min: Measured = None
    """The smallest value."""
    max: Measured = None
    """The largest value."""
    last: Measured = None
    """The value of the last evaluation that had one."""


class JudgeStatus(Status):
    """What the judge of the run under way knows and wants, where evidence takes part (`analysis.judge`)."""

    verdict: OptionalText = ""
    """continue, hold, rollback, promote or inconclusive."""
    weight: Integer = 0
    """Share of the traffic that the evidence allows the canary, in percent."""
    reason: OptionalText = ""
    """The verdict in one sentence."""
    looked_at: Timestamp | None = None
    """When the counters of both versions were last asked for."""
    counted_at: Timestamp | None = None
    """When the judge last took what had happened."""
    spacing: Measured = None
    """Seconds between two scrapes, as far as known."""
    refused: OptionalFlag = False
    """The other checks of the last step did not pass, so that the weight stays until they do."""
    marks: OptionalText = ""
    """Up to where requests are counted, by who counts them."""
    state: OptionalText = ""
    """The evidence, for the judge alone."""


class BaselineStatus(Status):
    """What the canary is compared with, where the analysis asks for a fresh copy of the old version."""

    compared: Text
    """fresh, or primary once the fresh copy was given up; that is final for the run."""
    reason: OptionalText = ""
    """Why the fresh copy was given up."""
    weight: OptionalCount = 0
    """Share of the traffic that the operator last gave to the fresh copy, in percent; the primary's share includes it."""

    @property
    def fresh(self) -> bool:
        """Whether there is a fresh copy, as far as this run goes."""
        return self.compared == FRESH


class RunStatus(Status):
    """The run under way, or the last one. Fixed and stored before any traffic moves."""

    id: Text
    """Identifier of the run, and name of its CanaryRun."""
    started_at: Timestamp | None = None
    """When the new revision was accepted."""
    last_tick_time: Timestamp | None = None
    """When the last analysis tick began."""
    strategy: OptionalText = ""
    """canary, ab-testing or blue-green."""
    images: StringMap = Field(default_factory=dict, exclude_if=is_empty)
    """Images under test, by container."""
    baseline_images: StringMap = Field(default_factory=dict, exclude_if=is_empty)
    """Images of the primary when the run started, by container."""
    source_revision: OptionalText = ""
    """Git revision that brought the change, when known."""
    max_weight_reached: Annotated[Whole, WithJsonSchema({"type": "integer"})] = 0
    """Largest share of the traffic that the canary has had, in percent."""
    finished_at: Timestamp | None = None
    """When the run ended."""
    outcome: OptionalText = ""
    """Succeeded, Failed or Canceled; empty while the run is under way."""
    weight: OptionalNumber = None
    """Share of the traffic that the operator last gave to the canary, in percent."""
    mirrored: OptionalFlag = False
    """The operator last gave the canary a copy of the traffic."""
    copied: OptionalFlag = False
    """The target has been copied onto the primary (while promoting)."""
    rolling_back: OptionalText = ""
    """Why the run is being rolled back, stored before anything is taken away."""
    held: OptionalText = ""
    """Why the run waits for a person instead of being rolled back (`analysis.onFailure: hold`); empty while it does not."""
    decided: OptionalText = ""
    """What a person last decided about the run (retry or promote), and who."""
    sole: OptionalFlag = False
    """The target carries all of the traffic because the primary cannot serve."""
    closing: OptionalFlag = False
    """The run has ended, and its post-rollout hooks are yet to be called."""
    checks: Annotated[tuple[CheckTotals, ...], Field(exclude_if=is_empty)] = ()
    """What each check has said in the run so far."""
    baseline: BaselineStatus | None = None
    """What the canary is compared with; absent where that is the primary and nobody asked for anything else."""
    judge: JudgeStatus | None = None
    """What the judge knows, where evidence takes part; gone once the run has ended."""
    history: Annotated[tuple[RunRow, ...], Field(exclude_if=is_empty)] = ()
    """The ticks of the run that are not in its CanaryRun yet; empty once the run has ended."""


class Evidence(Status):
    """How sure the judge is of one comparison. Evidence of 2 means: so far apart in fewer than 1 of 100 releases within the margin."""

    fail: Measured = None
    """Decimal logarithm of the evidence that the canary is worse than tolerated."""
    passed: Measured = None
    """Decimal logarithm of the evidence that it is not."""
    upper: Measured = None
    """Most by which the canary is worse than the primary, as a share of requests."""
    lower: Measured = None
    """Least by which it is."""
    needed: OptionalNumber = None
    """Canary requests that a promotion will have taken in all, as far as can be foreseen."""


class CheckStatus(Status):
    """What one check said the last time."""

    name: Text
    """Name of the check."""
    verdict: VerdictText
    """Pass, Fail, NoData (the source had nothing to say) or Error (it could not be asked)."""
    value: Measured = None
    """What was measured; absent without data."""
    bound: ThresholdRange | None = None
    """Accepted values."""
    query: OptionalText = ""
    """The query as it was sent; its beginning, if it is very long."""
    window: OptionalText = ""
    """Window of the query, as duration text."""
    samples: OptionalNumber = None
    """Number of samples in the window, when the source knows it."""
    source: OptionalText = ""
    """Who was asked, such as prometheus or template/<namespace>/<name>."""
    provider: OptionalText = ""
    """Kind of the source that was asked, such as prometheus or datadog; absent when none could be."""
    error: OptionalText = ""
    """What the source, or the way to it, said when it could not be asked."""
    weight: OptionalNumber = None
    """Share of the traffic that the canary had, in percent."""
    time: Timestamp | None = None
    """When the check was made."""
    message: OptionalText = ""
    """The verdict in one sentence."""
    dry_run: Annotated[bool, Field(exclude_if=is_empty)] = False
    """The check is shown and decides nothing (role informational, or dryRun)."""
    critical: Annotated[bool, Field(exclude_if=is_empty)] = False
    """One value out of bounds ends the run (role critical)."""
    evidence: Evidence | None = None
    """How sure the judge is, where the check is a comparison with the primary."""


class CanaryStatus(Status):
    """Where a release stands, and why."""

    phase: Phase = Phase.NONE
    """Phase of the canary."""
    failed_checks: Whole = 0
    """Failed checks of the run so far."""
    canary_weight: Whole = 0
    """Share of the traffic that the canary has, in percent."""
    iterations: Whole = 0
    """Checks made so far in an A/B test or a blue/green release."""
    tracked_configs: StringMap | None = None
    """Checksums of the ConfigMaps and Secrets that the target uses, by configmap/<name> or secret/<name>."""
    last_applied_spec: OptionalText = ""
    """Hash of the revision of the target that was last accepted."""
    last_promoted_spec: OptionalText = ""
    """Hash of the revision of the target that was last promoted."""
    last_promoted_configs: StringMap | None = None
    """Checksums of the tracked configs that were last promoted, as in `trackedConfigs`."""
    pinned_images: StringMap = Field(default_factory=dict, exclude_if=is_empty)
    """Images that the first primary gets instead of the workload's, by container: those promoted last, as Git says. Empty once it serves."""
    last_transition_time: Timestamp | None = None
    """When the status was last written."""
    session_affinity_cookie: OptionalText = ""
    """Cookie of users of the canary in this run, as name=value."""
    primary_session_affinity_cookie: OptionalText = ""
    """Cookie of users of the primary in this run, as name=value."""
    previous_session_affinity_cookie: OptionalText = ""
    """Cookie of the run before, which is taken back from browsers."""
    conditions: Annotated[tuple[Condition, ...], Field(exclude_if=is_empty)] = ()
    """Promoted; for kstatus Ready, Reconciling and Stalled; about Git, where they matter, Converged, ReplicasContested and BreakerOpen."""
    observed_generation: Int64 | None = None
    """Generation of the spec that the status speaks about."""
    last_tracked_revision: OptionalText = ""
    """Revision of the target that both hashes were computed from."""
    last_handled_reconcile_at: OptionalText = ""
    """Value of the annotation reconcile.fluxcd.io/requestedAt that was answered last."""
    last_command: OptionalText = ""
    """Value of the annotation canary.dev/command that was answered last: obeyed, or refused with an event that says why."""
    run: RunStatus | None = None
    """The run under way, or the last one."""
    checks: Annotated[tuple[CheckStatus, ...], Field(exclude_if=is_empty)] = ()
    """What each check said the last time."""
    failure_reason: OptionalText = ""
    """Why the last run failed, in one sentence."""

    def condition(self, type_: str) -> Condition | None:
        """The condition of this type, if there is one."""
        return next((condition for condition in self.conditions if condition.type == type_), None)
