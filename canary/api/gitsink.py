"""GitSink: where and how the outcomes of releases are written to Git.

Its values end up in arguments of the `git` program and in paths of a repository, so here (unlike the kinds shared with
Flagger, whose manifests must never become unreadable) bad values are refused both by the CRD and by the model.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from typing import Annotated, Any, Final, Self

from pydantic import ConfigDict, Field, WithJsonSchema, model_validator

from canary.api.common import (
    EXTENSION_API_VERSION,
    Condition,
    Flag,
    Int64,
    Integer,
    Metadata,
    Model,
    OptionalText,
    SecretRef,
    Status,
    StringMap,
    Text,
    Timestamp,
    is_empty,
)
from canary.api.gitvalues import Branch, ClusterName, HttpUrl, Line, Ref, RepositoryPath, RepositoryUrl, checked_ref
from canary.api.parsing import parse_object

_ONE_PLACE: Final = "records have one place: `branch` or `ref`"
_SIGNED_REF: Final = "the forge makes commits on branches only: with identity.signing.type api, records need `branch` and no `ref`"
_REF_IS_SET: Final = "has(self.records) && has(self.records.ref)"
_SIGNED_BY_FORGE: Final = (
    "has(self.identity) && has(self.identity.signing) && has(self.identity.signing.type) && self.identity.signing.type == 'api'"
)


class Revert(enum.StrEnum):
    """What is taken back in Git after a failed release."""

    IMAGE = "image"
    NONE = "none"


class Delivery(enum.StrEnum):
    """How a revert comes to the branch."""

    PUSH = "push"
    PULL_REQUEST = "pullRequest"
    AUTO = "auto"


class ForgeType(enum.StrEnum):
    """Whose API the forge speaks."""

    AUTO = "auto"
    GITHUB = "github"
    GITLAB = "gitlab"
    GITEA = "gitea"
    BITBUCKET = "bitbucket"
    BITBUCKET_SERVER = "bitbucketServer"
    AZURE = "azure"


class SigningType(enum.StrEnum):
    """Who signs commits."""

    NONE = "none"
    SSH = "ssh"
    GPG = "gpg"
    API = "api"


class BootstrapPrimary(enum.StrEnum):
    """With which version a primary begins."""

    TEMPLATE = "template"
    PROMOTED = "promoted"


class StatusTarget(enum.StrEnum):
    """What shows how a run goes."""

    COMMIT = "commit"
    NONE = "none"


class RecordTarget(enum.StrEnum):
    """Where records go."""

    BRANCH = "branch"
    NONE = "none"


class Repository(Model):
    """The repository that the cluster is delivered from."""

    url: RepositoryUrl
    """HTTP, HTTPS or SSH URL of the repository; credentials belong into the Secret."""
    branch: Branch = "main"
    """Branch that the cluster is delivered from; main when absent."""
    secret_ref: SecretRef | None = None
    """Secret in the sink's namespace: `username` and `password`, or `bearerToken`, or `identity` and `known_hosts`; `ca.crt`."""


class Provider(Model):
    """The forge that hosts the repository: for pull requests, commit statuses, and commits that it signs."""

    type: ForgeType = ForgeType.AUTO
    """Whose API it speaks; auto (the default) tells by the name of the host."""
    api: HttpUrl = ""
    """Base URL of its API, when that is not where it usually is."""
    secret_ref: SecretRef | None = None
    """Secret with `token`, or `username` and `password`; `ca.crt`. The repository's Secret when absent."""


class Signing(Model):
    """Signatures of commits and tags."""

    type: SigningType = SigningType.NONE
    """Who signs: none (the default), ssh or gpg with a key of ours, api for the forge itself."""
    secret_ref: SecretRef | None = None
    """Secret with the key: `identity` (ssh), or `git.asc` and `passphrase` (gpg). The repository's Secret when absent."""


class Identity(Model):
    """Author of the commits."""

    name: Line = "canary"
    """Name of the author; canary when absent."""
    email: Line = "canary@canary.dev"
    """Mail address of the author; canary@canary.dev when absent."""
    signing: Signing = Signing()
    """Signatures of commits and tags."""


class LabelSelector(Model):
    """Chooses objects by their labels; an empty selector chooses all."""

    match_labels: StringMap = Field(default_factory=dict)
    """Labels that must all be there with these values."""

    def matches(self, labels: Mapping[str, str]) -> bool:
        """Whether an object with these labels is chosen."""
        return all(labels.get(key) == value for key, value in self.match_labels.items())


class FailureWrite(Model):
    """What a failed release writes."""

    revert: Revert = Revert.IMAGE
    """What is taken back: image (the default) restores the versions that the primary runs; none leaves the manifests alone."""
    delivery: Delivery = Delivery.PUSH
    """How it comes to the branch: push (the default), pullRequest, or auto, which pushes and asks where the branch refuses that."""


class Breaker(Model):
    """When a release that comes back, after it was rejected and taken back, is left alone. It counts the last 24 hours of one canary."""

    max_reverts_per_release: Annotated[Integer, WithJsonSchema({"type": "integer", "minimum": 1, "maximum": 100})] = 1
    """How often the same release is taken back; 1 when absent. Beyond that it is held before its analysis, and no commit is made for it."""
    max_reverts_per_day: Annotated[Integer, WithJsonSchema({"type": "integer", "minimum": 1, "maximum": 100})] = 5
    """How many reverts one canary gets, of whatever releases; 5 when absent. Beyond that a failed release stays in Git."""


class SuccessWrite(Model):
    """What a promoted release writes, besides its record."""

    tag: Flag = False
    """Set an annotated tag on the commit that was promoted."""


class BootstrapRead(Model):
    """How a canary begins that has no primary yet, as on a rebuilt cluster."""

    primary: BootstrapPrimary = BootstrapPrimary.TEMPLATE
    """Version of the first primary: template (the default) takes the workload's; promoted takes the one that the records say was promoted last."""


class Statuses(Model):
    """Commit statuses of runs."""

    target: StatusTarget = StatusTarget.NONE
    """What shows how a run goes: none (the default), or the commit that started it."""
    url: HttpUrl = ""
    """Where a person finds more; `{cluster}`, `{namespace}`, `{name}` and `{run}` are filled in."""


class Records(Model):
    """Records of runs."""

    model_config = ConfigDict(
        json_schema_extra={"x-kubernetes-validations": [{"rule": "!has(self.ref) || !has(self.branch)", "message": _ONE_PLACE}]}
    )
    target: RecordTarget = RecordTarget.BRANCH
    """Where records go: branch (the default; or the ref, where there is one) or none."""
    branch: Branch = "canary-outcomes"
    """Branch of the records; canary-outcomes when absent."""
    ref: Annotated[Ref | None, Field(exclude_if=is_empty)] = None
    """Ref outside of branches that takes the place of the branch, such as `refs/canary/outcomes/<ring>/{cluster}`; `{cluster}` is filled in."""
    keep: Annotated[Integer, WithJsonSchema({"type": "integer", "minimum": 1, "maximum": 10000})] = 200
    """How many records of one canary are kept; 200 when absent."""

    @model_validator(mode="after")
    def _in_one_place(self) -> Self:
        if self.ref and "branch" in self.model_fields_set:
            raise ValueError(_ONE_PLACE)
        return self


class Limits(Model):
    """What a write may touch."""

    allowed_paths: Annotated[tuple[RepositoryPath, ...], Field(json_schema_extra={"maxItems": 64})] = ()
    """Patterns of paths that may be edited, such as `apps/**`; all when empty."""
    max_files: Annotated[Integer, WithJsonSchema({"type": "integer", "minimum": 1, "maximum": 1000})] = 10
    """How many files one commit may edit; 10 when absent."""
    max_bytes: Annotated[Integer, WithJsonSchema({"type": "integer", "minimum": 1, "maximum": 10485760})] = 65536
    """Size of the largest file that may be edited; 65536 when absent."""


class GitSinkSpec(Model):
    """Where outcomes are written, for which canaries, and how much may be touched."""

    model_config = ConfigDict(
        json_schema_extra={"x-kubernetes-validations": [{"rule": f"!({_REF_IS_SET} && {_SIGNED_BY_FORGE})", "message": _SIGNED_REF}]}
    )
    repository: Repository
    """The repository that the cluster is delivered from."""
    cluster: ClusterName
    """Name of this cluster in records and commits. Clusters that write to one repository must differ in it."""
    provider: Provider = Provider()
    """The forge that hosts the repository."""
    identity: Identity = Identity()
    """Author of the commits."""
    canaries: LabelSelector = LabelSelector()
    """Canaries of the sink's namespace whose outcomes are written; all when empty."""
    on_failure: FailureWrite = FailureWrite()
    """What a failed release writes."""
    breaker: Breaker = Breaker()
    """When a release that comes back, after it was rejected and taken back, is left alone."""
    on_bootstrap: BootstrapRead = BootstrapRead()
    """How a canary begins that has no primary yet, as on a rebuilt cluster."""
    on_success: SuccessWrite = SuccessWrite()
    """What a promoted release writes, besides its record."""
    statuses: Statuses = Statuses()
    """Commit statuses of runs."""
    records: Records = Records()
    """Records of runs."""
    limits: Limits = Limits()
    """What a write may touch."""
    suspend: Flag = False
    """Write nothing; outcomes wait."""

    @property
    def records_ref(self) -> str:
        """The whole name of the ref that records go to; empty where they go to a branch."""
        return (self.records.ref or "").replace("{cluster}", self.cluster)

    @model_validator(mode="after")
    def _writable(self) -> Self:
        """As the schema's rules: for objects that no API server has seen."""
        if not self.records_ref:
            return self
        try:
            checked_ref(self.records_ref)
        except ValueError as error:
            raise ValueError(f"records.ref, with the cluster's name in it, {error}") from None
        if self.identity.signing.type is SigningType.API:
            raise ValueError(_SIGNED_REF)
        return self


class LastPush(Status):
    """The last push that the server accepted."""

    time: Timestamp
    """When it was accepted."""
    commit: Text
    """Commit that was pushed."""
    branch: Text
    """Branch that was pushed to; the whole name of a ref that is none."""
    message: OptionalText = ""
    """Subject line of the commit."""


class GitSinkStatus(Status):
    """How writing goes."""

    observed_generation: Int64 | None = None
    """Generation of the spec that the status speaks about."""
    conditions: Annotated[tuple[Condition, ...], Field(exclude_if=is_empty)] = ()
    """Ready, and Stalled with the reason why nothing can be written."""
    last_push: LastPush | None = None
    """The last push that the server accepted."""


class GitSink(Model):
    """Writes the outcomes of releases to a Git repository."""

    api_version: Text = EXTENSION_API_VERSION
    kind: Text = "GitSink"
    metadata: Metadata
    spec: GitSinkSpec
    """Where outcomes are written, for which canaries, and how much may be touched."""
    status: GitSinkStatus = GitSinkStatus()
    """How writing goes. Written by the operator."""


def parse_git_sink(obj: Mapping[str, Any]) -> GitSink:
    """A GitSink from decoded JSON. Raises InvalidObject with every problem."""
    return parse_object(GitSink, obj, EXTENSION_API_VERSION)
