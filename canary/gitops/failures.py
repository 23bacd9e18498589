"""Why Git said no, and what follows from it.

Git tells failures apart in prose only, so this is a table of the prose: what servers and the client print (LC_ALL=C), most specific first.
The class decides what the outbox does: try at once on a new tip, wait, or stop and say so.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Iterable
from dataclasses import dataclass

SHOWN = 500
"""Characters of the server's words that are kept."""


class Reaction(enum.StrEnum):
    """RECOMPUTE: somebody was faster, do it again on the new tip. BACK_OFF: try later. BLOCKED: a person must change something."""

    RECOMPUTE = "recompute"
    BACK_OFF = "back-off"
    BLOCKED = "blocked"


@dataclass(frozen=True, slots=True)
class Failure:
    """`reason` is CamelCase and stable; `text` is the scrubbed prose."""

    reason: str
    reaction: Reaction
    text: str


class GitFailed(Exception):  # noqa: N818 - reads as what happened
    """A git command failed."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(f"{failure.reason}: {failure.text}")
        self.failure = failure


_TABLE: tuple[tuple[str, Reaction, str], ...] = (
    ("Stale", Reaction.RECOMPUTE, r"stale info|non-fast-forward|fetch first|cannot lock ref|incorrect old value"),
    ("SignatureRequired", Reaction.BLOCKED, r"unverified commit|must have verified signatures|signed commit"),
    ("Auth", Reaction.BLOCKED, r"authentication failed|could not read username|terminal prompts disabled|error: 401|http code = 401|permission denied \(publickey|host key verification failed|invalid username or password"),
    ("Protected", Reaction.BLOCKED, r"pre-receive hook declined|update hook declined|protected branch|gh006|gh013|not allowed to push|protected from changing"),
    ("Throttled", Reaction.BACK_OFF, r"error: 429|too many requests"),
    ("Forbidden", Reaction.BLOCKED, r"error: 403|repository .*not found|repository not found|does not appear to be a git repository|error: 404"),
    ("Unreachable", Reaction.BACK_OFF, r"error: 5\d\d|could not resolve host|failed to connect|connection refused|connection reset|connection timed out|early eof|rpc failed|unexpected disconnect|hung up|timed out|empty reply"),
    ("Local", Reaction.BACK_OFF, r"no space left|read-only file system|index\.lock|shallow\.lock|missing promisor|bad object|object file .* is empty|loose object"),
    ("Refused", Reaction.BLOCKED, r"remote rejected|\[rejected\]|declined"),
)  # fmt: skip


def classify(text: str, *, secrets: Iterable[str] = ()) -> Failure:
    """The class of a failure from what git printed; unknown prose backs off, because it may pass."""
    shown = scrub(text, secrets=secrets)
    for reason, reaction, pattern in _TABLE:
        if re.search(pattern, text, re.IGNORECASE):
            return Failure(reason, reaction, shown)
    return Failure("Unknown", Reaction.BACK_OFF, shown)


def scrub(text: str, *, secrets: Iterable[str] = ()) -> str:
    """Prose without credentials and control characters, short enough for a condition."""
    for secret in sorted((secret for secret in secrets if len(secret) > 2), key=len, reverse=True):
        text = text.replace(secret, "***")
    text = re.sub(r"(https?://)[^/@\s]+@", r"\1***@", text)
    lines = [re.sub(r"[\x00-\x1f\x7f]", " ", line).strip() for line in text.splitlines()]
    return "; ".join(line for line in lines if line and not line.startswith("hint:"))[-SHOWN:]
