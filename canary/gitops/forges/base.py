"""The seam of a forge: a handful of calls, the same for all of them, over JSON and HTTP.

Vendors' client libraries were rejected: they are synchronous, or large, or dead, and of their hundreds of calls nine are needed here. A forge is stateless;
looking before acting is the caller's work (`pulls.py`, `commit_status.py`), so that no forge has an idea of its own of what "once" means.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from canary.gitops.failures import Failure, GitFailed, Reaction


class ForgeFailed(GitFailed):
    """The forge said no, or nothing. Its trouble is not that of the repository: pushes go on."""

    @property
    def of_the_item(self) -> bool:
        """Whether it is about what was asked, so that another question may be answered; else the forge as a whole is concerned."""
        return self.failure.reason in {"Refused", "NotFound", "Protected", "SignatureRequired", "Stale", "Exists", "Unsupported"}


class State(enum.StrEnum):
    """State of a commit status."""

    PENDING = "pending"
    SUCCESS = "success"
    FAILURE = "failure"
    CANCELED = "canceled"


@dataclass(frozen=True, slots=True)
class CommitStatus:
    """One line beside a commit. `context` tells statuses of one commit apart; `url` is where more is said, and may be empty."""

    context: str
    state: State
    description: str = ""
    url: str = ""


class PullState(enum.StrEnum):
    """What became of a pull request."""

    OPEN = "open"
    MERGED = "merged"
    CLOSED = "closed"


@dataclass(frozen=True, slots=True)
class Pull:
    """A pull request (or merge request) as the forge has it. `version` is what an update must name, where a forge wants that."""

    number: int
    url: str
    state: PullState
    head: str
    base: str
    title: str = ""
    body: str = ""
    version: int = 0
    reviewers: Sequence[Mapping[str, object]] = ()
    foreign: bool = False
    """From another repository, such as somebody's fork, whose branch may have any name."""


@dataclass(frozen=True, slots=True)
class Proposal:
    """A pull request as we want it."""

    head: str
    base: str
    title: str
    body: str


@dataclass(frozen=True, slots=True)
class FileEdits:
    """A commit for the forge to make: paths with new content (None removes), and the blobs that they replace."""

    branch: str
    parent: str
    message: str
    edits: Mapping[str, bytes | None]
    replaced: Mapping[str, str] = field(default_factory=dict)
    """Ids of the blobs at `parent` by path; a path that is missing is new."""
    name: str = ""
    email: str = ""


class Forge(Protocol):
    """One repository at a forge. Every call raises ForgeFailed."""

    name: str

    async def statuses(self, revision: str, context: str) -> CommitStatus | None:
        """The latest status of this context, as far as the forge tells its parts; None without one."""
        ...

    async def set_status(self, revision: str, status: CommitStatus) -> None:
        """Add it to the commit. A forge that has exactly this one already is content."""
        ...

    async def pulls(self, head: str) -> list[Pull]:
        """Pull requests from this branch, in any state, newest first."""
        ...

    async def open_pull(self, proposal: Proposal) -> Pull:
        """Open it. ForgeFailed `Exists` when there is an open one from this branch."""
        ...

    async def update_pull(self, pull: Pull, *, title: str, body: str) -> None:
        """Other words."""
        ...

    async def close_pull(self, pull: Pull, *, comment: str) -> None:
        """Say why (nothing, when there is no comment), and close it unmerged."""
        ...

    async def commit(self, edits: FileEdits) -> str:
        """A commit on the branch, signed by the forge; its id.

        Compare-and-swap: ForgeFailed `Stale` (RECOMPUTE) when the branch, or what is edited of it, is not that of `parent`. `Unsupported` where the
        forge cannot.
        """
        ...

    async def close(self) -> None:
        """Give connections back."""
        ...


def unsupported(forge: str, edits: FileEdits) -> ForgeFailed:
    """Commits by API are not to be had here."""
    text = f"{forge} cannot sign a commit to {edits.branch} for us: set identity.signing.type to ssh or gpg"
    return ForgeFailed(Failure("Unsupported", Reaction.BLOCKED, text))


def ours(pulls: Iterable[Pull], head: str) -> list[Pull]:
    """Those from this branch of the repository itself, newest first."""
    return sorted((one for one in pulls if one.head == head and not one.foreign), key=lambda one: -one.number)


def short(text: str, limit: int) -> str:
    """At most `limit` characters, with dots where something is missing."""
    return text if len(text) <= limit else f"{text[: limit - 3]}..."
