"""RolloutPlan: how a release walks through rings of clusters, gated by what the clusters of earlier rings have written to Git.

The copy in the repository rules, because it is reviewed and every cluster reads the same one; an object in a cluster is that copy, applied with the
rest of the folder. Nothing reads it there, so it names no repository and has no status: `canary rings` asks the repository that it is in. Branches and
paths end up in arguments of git, so bad values are refused by the CRD and by the model alike, as those of a GitSink. Rejected: limits as floats
(0.2 could be a share or a count); an amount is a whole number or a text with a percent sign.
"""

from __future__ import annotations

import enum
import functools
import math
import re
from collections.abc import Mapping
from fractions import Fraction
from typing import Annotated, Any, Final, Self

from pydantic import AfterValidator, BeforeValidator, Field, WithJsonSchema, model_validator

from canary.api.common import (
    EXTENSION_API_VERSION,
    Flag,
    Integer,
    Metadata,
    Model,
    NamespaceName,
    ObjectName,
    Text,
    describe,
    is_empty,
    parse_duration,
)
from canary.api.cron import parse_cron
from canary.api.gitsink import LabelSelector
from canary.api.gitvalues import Branch, ClusterName, RepositoryPath, matching
from canary.api.parsing import parse_object

MAX_RINGS: Final = 32
_PERCENT: Final = r"^(100(\.0{1,3})?|[0-9]{1,2}(\.[0-9]{1,3})?)%$"
_DURATION: Final = r"^([0-9]+(\.[0-9]+)?(s|m|h))+$"
_CRON: Final = r"^\S+(\s+\S+){4}$"
_ZONE: Final = r"^[A-Za-z0-9][A-Za-z0-9._+-]*(/[A-Za-z0-9][A-Za-z0-9._+-]*)*$"
_RING: Final = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"


def _amount(value: object) -> int | str:
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return value
    if isinstance(value, str) and re.fullmatch(_PERCENT, value):
        return value
    raise ValueError(f"must be a whole number or a percentage like 95%, not {describe(value)}")


def _duration(value: str) -> str:
    if not re.fullmatch(_DURATION, value):
        raise ValueError(f"must be a duration like 90s, 30m or 12h, not {describe(value)}")
    parse_duration(value)
    return value


def _cron(value: str) -> str:
    parse_cron(value)
    return value


Amount = Annotated[int | str, BeforeValidator(_amount), WithJsonSchema({"x-kubernetes-int-or-string": True, "pattern": _PERCENT})]
"""A number of clusters, or a percentage of those in question."""
Duration = Annotated[Text, AfterValidator(_duration), WithJsonSchema({"type": "string", "maxLength": 32, "pattern": _DURATION})]
CronText = Annotated[Text, AfterValidator(_cron), WithJsonSchema({"type": "string", "maxLength": 100, "pattern": _CRON})]
Zone = Annotated[
    Text,
    matching(_ZONE, "must be a time zone like Europe/Copenhagen"),
    WithJsonSchema({"type": "string", "maxLength": 64, "pattern": _ZONE}),
]
RingName = Annotated[
    Text,
    matching(_RING, "must be lower-case letters, digits and `-`"),
    WithJsonSchema({"type": "string", "maxLength": 63, "pattern": _RING}),
]


_seconds = functools.lru_cache(maxsize=256)(parse_duration)
"""Plans are asked thousands of times a second."""


@functools.lru_cache(maxsize=1024)
def at_least(amount: int | str, of: int) -> int:
    """Clusters that a lower bound asks for: shares are rounded up."""
    return amount if isinstance(amount, int) else math.ceil(_share(amount) * of)


@functools.lru_cache(maxsize=1024)
def at_most(amount: int | str, of: int) -> int:
    """Clusters that an upper bound allows: shares are rounded down."""
    return amount if isinstance(amount, int) else math.floor(_share(amount) * of)


@functools.cache
def _share(text: str) -> Fraction:
    return Fraction(text.removesuffix("%")) / 100


class Mode(enum.StrEnum):
    """What opens a ring: an answer to its clusters' gates, the move of its branch, or an edit of its overlay."""

    GATE = "gate"
    BRANCH = "branch"
    OVERLAY = "overlay"


class Supersede(enum.StrEnum):
    """What a newer release does to an older one on its way."""

    NEWEST_GOOD = "newest-good"
    LATEST = "latest"
    QUEUE = "queue"


class Layout(enum.StrEnum):
    """Where clusters write their records."""

    BRANCHES = "branches"
    REFS = "refs"
    SHARED = "shared"


class Signatures(enum.StrEnum):
    """Whether a record must be signed by its cluster."""

    NONE = "none"
    REQUIRED = "required"


class ApprovalKind(enum.StrEnum):
    """Whether a person must agree before a ring opens."""

    NONE = "none"
    GIT = "git"


class InFlight(enum.StrEnum):
    """What happens to runs that are under way when a release is halted."""

    FINISH = "finish"
    ABORT = "abort"


class Then(enum.StrEnum):
    """What happens to rings that have a halted release."""

    HOLD = "hold"
    REVERT = "revert"


class PlannedCanary(Model):
    """The canary whose releases walk; it has this name in every cluster."""

    namespace: NamespaceName
    """Namespace of the Canary, and of its target."""
    name: ObjectName
    """Name of the Canary."""
    target: Annotated[Text, WithJsonSchema({"type": "string", "maxLength": 253})] = ""
    """Name of the Deployment, DaemonSet or Knative Service in manifests; the Canary's name when absent."""

    @property
    def target_name(self) -> str:
        """Name of the workload in manifests."""
        return self.target or self.name


class Source(Model):
    """Where releases begin."""

    branch: Branch = "main"
    """Branch that people merge to; it also holds the list of clusters, approvals and signers. main when absent."""
    path: Annotated[RepositoryPath | None, Field(exclude_if=is_empty)] = None
    """Folder or file that names the release, where several places of the branch name images of the canary."""


class EvidenceFrom(Model):
    """Where the outcomes of clusters are, and which of them are believed."""

    layout: Layout = Layout.BRANCHES
    """branches (the default): one branch per cluster; refs: one ref per cluster outside of branches; shared: one branch for all clusters."""
    branch: Branch = "canary-outcomes"
    """The branch of layout shared; canary-outcomes when absent."""
    prefix: Branch = "canary/o"
    """Beginning of the branches `<prefix>/<ring>/<cluster>` of layout branches; canary/o when absent."""
    signatures: Signatures = Signatures.NONE
    """required: a record counts only when the newest commit of its cluster is signed by that cluster's key in `signers`. Not with layout shared."""

    @model_validator(mode="after")
    def _provable(self) -> Self:
        if self.layout is Layout.SHARED and self.signatures is Signatures.REQUIRED:
            raise ValueError("a shared branch has commits of many clusters: signatures need layout branches or refs")
        return self


class PlanFiles(Model):
    """Reviewed files on the source branch."""

    clusters: RepositoryPath = "fleet/clusters.yaml"
    """Which cluster is in which ring; fleet/clusters.yaml when absent."""
    signers: RepositoryPath = "fleet/allowed_signers"
    """Keys of clusters, as ssh-keygen reads them, the cluster's name as principal; fleet/allowed_signers when absent."""
    approvals: RepositoryPath = "fleet/approvals"
    """Folder of approvals, exceptions and rollbacks; fleet/approvals when absent."""


class Window(Model):
    """A time that begins whenever a cron expression matches."""

    cron: CronText
    """When it begins: minute, hour, day of the month, month, day of the week."""
    duration: Duration
    """How long it lasts, such as 7h."""
    tz: Zone = "UTC"
    """Time zone of the expression; UTC when absent."""

    @property
    def seconds(self) -> float:
        """Its duration."""
        return _seconds(self.duration)


class Passing(Model):
    """When a ring has passed."""

    succeeded: Amount = "100%"
    """Clusters of the ring that must have succeeded; all when absent."""
    failed: Amount = 0
    """Clusters that may have failed; none when absent."""
    missing: Amount = 0
    """Laggards: clusters that may have said nothing, once `missingAfter` has passed; none when absent."""
    missing_after: Annotated[Duration | None, Field(exclude_if=is_empty)] = None
    """How long laggards are waited for after the ring has opened; for ever when absent."""
    min_samples: Annotated[Integer, WithJsonSchema({"type": "integer", "minimum": 0})] = 0
    """Measurements of all checks of all its clusters together that must have been made."""


class Ring(Model):
    """One ring of clusters."""

    name: RingName
    """Name of the ring."""
    clusters: Annotated[tuple[ClusterName, ...], Field(json_schema_extra={"maxItems": 10000})] = ()
    """Its clusters by name; with neither names nor a selector, those whose `ring` in the list of clusters is this one."""
    selector: LabelSelector | None = None
    """Its clusters by labels."""
    branch: Annotated[Branch | None, Field(exclude_if=is_empty)] = None
    """Mode branch: what its clusters are delivered from; the ring's name when absent."""
    path: Annotated[RepositoryPath | None, Field(exclude_if=is_empty)] = None
    """Mode overlay: the folder that names its release; `rings/` and the ring's name when absent."""
    bake_time: Duration = "0s"
    """How long the last of its successes must have lasted before the next ring may open."""
    passing: Annotated[Passing, Field(alias="pass")] = Passing()
    """When it has passed."""
    max_concurrent: Amount = 0
    """Clusters that may release at the same time, as far as they ask the gate; 0: all."""
    min_members: Annotated[Integer, WithJsonSchema({"type": "integer", "minimum": 0})] = 1
    """A ring with fewer clusters makes the plan unusable; 1 when absent. 0 lets an empty ring pass."""
    windows: Annotated[tuple[Window, ...], Field(json_schema_extra={"maxItems": 32})] = ()
    """When it may open; always when empty."""
    approval: ApprovalKind = ApprovalKind.NONE
    """git: it opens only after a reviewed file or a commit's trailer has approved it for the release."""

    @property
    def branch_name(self) -> str:
        """The branch of mode branch."""
        return self.branch or self.name

    @property
    def folder(self) -> str:
        """The folder of mode overlay."""
        return self.path or f"rings/{self.name}"

    @property
    def bake(self) -> float:
        """Seconds of bakeTime."""
        return _seconds(self.bake_time)

    @property
    def patience(self) -> float:
        """Seconds of missingAfter."""
        return _seconds(self.passing.missing_after) if self.passing.missing_after else math.inf


class Halt(Model):
    """When a release is stopped in all rings."""

    failed: Amount = 1
    """Failures, over all rings, that stop it; a percentage is of all clusters. 1 when absent."""
    in_flight: InFlight = InFlight.FINISH
    """finish (the default) lets runs that are under way end by themselves; abort answers their rollback gates."""
    then: Then = Then.HOLD
    """hold (the default) leaves rings at what they have; revert takes those that have it back to the release before it that they had passed. Not in mode gate."""


class RolloutPlanSpec(Model):
    """Which releases walk through which rings, and what they must have shown before each."""

    canary: PlannedCanary
    """The canary whose releases walk; it has this name in every cluster."""
    mode: Mode = Mode.GATE
    """gate (the default): clusters ask before they begin; branch: rings follow branches, which are moved; overlay: rings have folders, which are edited."""
    supersede: Supersede = Supersede.NEWEST_GOOD
    """newest-good (the default): a ring gets the newest release that has passed the ring before; latest: only the newest release opens rings; queue: one after another."""
    source: Source = Source()
    """Where releases begin."""
    records: EvidenceFrom = EvidenceFrom()
    """Where the outcomes of clusters are, and which of them are believed."""
    files: PlanFiles = PlanFiles()
    """Reviewed files on the source branch."""
    state_branch: Branch = "canary-state"
    """Branch where it is written why rings have passed and releases were halted; canary-state when absent."""
    rings: Annotated[tuple[Ring, ...], Field(json_schema_extra={"minItems": 1, "maxItems": MAX_RINGS})]
    """The rings, the first one first."""
    freezes: Annotated[tuple[Window, ...], Field(json_schema_extra={"maxItems": 64})] = ()
    """Times in which no ring opens, whatever its windows say."""
    halt: Halt = Halt()
    """When a release is stopped in all rings."""
    suspend: Flag = False
    """Open no ring."""

    @model_validator(mode="after")
    def _distinct(self) -> Self:
        if not self.rings:
            raise ValueError("needs at least one ring")
        _unique("name", [ring.name for ring in self.rings])
        if self.mode is Mode.GATE and self.supersede is Supersede.QUEUE:
            raise ValueError("supersede: queue needs mode branch or overlay: in mode gate every cluster has the newest release before it")
        if self.mode is Mode.GATE and self.halt.then is Then.REVERT:
            raise ValueError(
                "halt.then: revert needs mode branch or overlay: in mode gate all rings have the source branch, and only people revert there; "
                "halt.inFlight: abort ends the runs that are under way"
            )
        if self.mode is Mode.BRANCH:
            _unique("branch", [ring.branch_name for ring in self.rings])
            if taken := {self.source.branch, self.state_branch}.intersection(ring.branch_name for ring in self.rings[1:]):
                raise ValueError(f"ring branch {min(taken)!r} is the source or the state branch; only the first ring may follow the source")
        if self.mode is Mode.OVERLAY:
            _apart([ring.folder for ring in self.rings])
        return self


def _unique(what: str, values: list[str]) -> None:
    for value in values:
        if values.count(value) > 1:
            raise ValueError(f"has two rings of {what} {value!r}")


def _apart(paths: list[str]) -> None:
    """Nested folders would let the edit of one ring change another."""
    for one in paths:
        for other in paths:
            if one is not other and f"{other}/".startswith(f"{one.rstrip('/')}/"):
                raise ValueError(f"has rings whose paths are not apart: {one!r} and {other!r}")


class RolloutPlan(Model):
    """Takes releases through rings of clusters, by Git alone."""

    api_version: Text = EXTENSION_API_VERSION
    kind: Text = "RolloutPlan"
    metadata: Metadata
    spec: RolloutPlanSpec
    """Which releases walk through which rings, and what they must have shown before each."""


def parse_rollout_plan(obj: Mapping[str, Any]) -> RolloutPlan:
    """A RolloutPlan from decoded JSON or YAML. Raises InvalidObject with every problem."""
    return parse_object(RolloutPlan, obj, EXTENSION_API_VERSION)
