"""CanaryRun: the evidence of one run, and the outbox of what must be written to Git because of it.

Created before any traffic moves and closed with the outcome, so that a crash at any point leaves either no run or one that
can be finished. Named by the run's identifier and owned by its Canary. The outbox is part of the object rather than a queue
elsewhere: each effect looks at the world before it acts and writes its state here afterwards.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import ConfigDict, Field

from canary.api.analysis import ThresholdRange
from canary.api.canary import TargetRef
from canary.api.common import (
    EXTENSION_API_VERSION,
    Integer,
    Measured,
    Metadata,
    Model,
    OptionalText,
    Status,
    StringMap,
    Text,
    Timestamp,
    is_empty,
)
from canary.api.parsing import parse_object
from canary.api.status import BaselineStatus, RunRow, VerdictText


class RunPhase(enum.StrEnum):
    """How a run ended, or that it goes on."""

    RUNNING = "Running"
    SUCCEEDED = "Succeeded"
    FAILED = "Failed"
    CANCELED = "Canceled"


class EffectState(enum.StrEnum):
    """Where one effect of the outbox stands."""

    QUEUED = "Queued"
    WORKING = "Working"
    WAITING = "Waiting"
    DONE = "Done"
    SKIPPED = "Skipped"
    BLOCKED = "Blocked"
    RETRYING = "Retrying"

    @property
    def final(self) -> bool:
        """Whether nothing more will happen to the effect."""
        return self in (EffectState.DONE, EffectState.SKIPPED)


class CanaryRef(Model):
    """The canary that a run belongs to."""

    name: Text
    """Name of the Canary, in the run's namespace."""
    uid: Text
    """Identity of the Canary, so that a new object of the same name is not mistaken for it."""


class ReleaseInfo(Model):
    """One version of the workload."""

    images: StringMap = Field(default_factory=dict)
    """Images by container."""
    template_hash: Text = ""
    """Hash of the pod template."""
    config_hash: Text = ""
    """Hash over the tracked ConfigMaps and Secrets."""


class SourceConfidence(enum.StrEnum):
    """How sure a source is. LOW: it is the newest that is known, and something else may have started the run."""

    HIGH = "high"
    LOW = "low"


class SourceInfo(Model):
    """The commit that a version was delivered from, as the workload or its deliverer said when the run began."""

    revision: Text
    """Id of the commit."""
    repository: Text = ""
    """URL of its repository, where that is known."""
    path: Text = ""
    """Folder or file in the repository that the workload is delivered from, where that is known."""
    via: Text = ""
    """Who said so: annotation, Kustomization, HelmRelease, Application, or search for one that was found in the repository."""
    confidence: SourceConfidence = SourceConfidence.HIGH
    """Whether this commit has set the version (high), or is only the last that was applied or found (low)."""


class CanaryRunSpec(Model):
    """What is tried; fixed when the run starts."""

    model_config = ConfigDict(
        json_schema_extra={"x-kubernetes-validations": [{"rule": "self == oldSelf", "message": "the spec of a run is fixed"}]}
    )

    canary_ref: CanaryRef
    """The canary that the run belongs to."""
    target: TargetRef
    """The workload that is released."""
    started_at: Timestamp
    """When the new revision was accepted."""
    strategy: Text = ""
    """canary, ab-testing or blue-green."""
    release: ReleaseInfo
    """The version that is tried."""
    previous: ReleaseInfo | None = None
    """The version that the primary runs."""
    source: SourceInfo | None = None
    """The commit that the version was delivered from, where somebody knew it when the run began."""


class CheckEvidence(Status):
    """What one check said over the whole run."""

    name: Text
    """Name of the check."""
    bound: ThresholdRange | None = None
    """Accepted values."""
    samples: Integer = 0
    """How often the check was evaluated with data."""
    worst: Measured = None
    """The value furthest on the wrong side, or closest to it."""
    min: Measured = None
    """The smallest value."""
    max: Measured = None
    """The largest value."""
    last: Measured = None
    """The value of the last evaluation that had one."""
    passed: Integer = 0
    """How often the check passed."""
    failed: Integer = 0
    """How often the check failed."""
    no_data: Integer = 0
    """How often the source had nothing to say."""
    errors: Integer = 0
    """How often the source could not be asked."""
    verdict: VerdictText | None = None
    """Verdict of the last evaluation."""
    query: OptionalText = ""
    """The query as it was last sent."""
    source: OptionalText = ""
    """Who was asked."""
    provider: OptionalText = ""
    """Kind of the source that was asked."""
    error: OptionalText = ""
    """What the source, or the way to it, said when it could not be asked the last time."""


class EffectStatus(Status):
    """One thing that must be written because of the run."""

    name: Text
    """What is written, such as record or revert."""
    state: EffectState = EffectState.QUEUED
    """Where it stands."""
    attempts: Integer = 0
    """How often it was tried."""
    next_at: Timestamp | None = None
    """When it is tried again."""
    done_at: Timestamp | None = None
    """When it was found to be done."""
    ref: OptionalText = ""
    """What came of it: a commit, or the URL of a pull request."""
    reason: OptionalText = ""
    """CamelCase word for why it was skipped or is blocked."""
    error: OptionalText = ""
    """What went wrong the last time."""


class CanaryRunStatus(Status):
    """What came of the run."""

    phase: RunPhase = RunPhase.RUNNING
    """Running, Succeeded, Failed or Canceled."""
    reason: OptionalText = ""
    """Why the run ended as it did, in one sentence."""
    finished_at: Timestamp | None = None
    """When it ended."""
    max_weight_reached: Integer = 0
    """Largest share of the traffic that the canary has had, in percent."""
    failed_checks: Integer = 0
    """How many checks failed."""
    checks: Annotated[tuple[CheckEvidence, ...], Field(exclude_if=is_empty)] = ()
    """What each check said over the whole run."""
    history: Annotated[tuple[RunRow, ...], Field(exclude_if=is_empty)] = ()
    """The run tick by tick; very long runs are thinned, and keep what went wrong and what moved."""
    baseline: BaselineStatus | None = None
    """What the canary was compared with; absent where that was the primary and nobody had asked for anything else."""
    source: SourceInfo | None = None
    """The commit that the version was delivered from, where nobody knew it when the run began and it was found in a sink's repository."""
    effects: Annotated[tuple[EffectStatus, ...], Field(exclude_if=is_empty)] = ()
    """What must be written because of the run, and where each stands."""

    @property
    def outcome(self) -> str:
        """The phase as records spell it: succeeded, failed, canceled; empty while the run goes on."""
        return "" if self.phase is RunPhase.RUNNING else self.phase.value.lower()


class CanaryRun(Model):
    """The evidence of one run."""

    api_version: Text = EXTENSION_API_VERSION
    kind: Text = "CanaryRun"
    metadata: Metadata
    spec: CanaryRunSpec
    """What is tried; fixed when the run starts."""
    status: CanaryRunStatus = CanaryRunStatus()
    """What came of the run. Written by the operator."""

    @property
    def source(self) -> SourceInfo | None:
        """The commit that started it, as it was said at first, or as it was found since."""
        return self.spec.source or self.status.source


def parse_canary_run(obj: Mapping[str, Any]) -> CanaryRun:
    """A CanaryRun from decoded JSON. Raises InvalidObject with every problem."""
    return parse_object(CanaryRun, obj, EXTENSION_API_VERSION)
