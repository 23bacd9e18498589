"""Why Git said no, and what follows from it.

Git tells failures apart in prose only, so this is a table of the prose: what servers and the client print (LC_ALL=C), most specific first.
The class decides what the outbox does: compute anew at once, wait, or stop and say so; and whether one write, one branch or the
whole sink is concerned.
"""

from __future__ import annotations

import enum
import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass

from canary.api.errors import InvalidObject
from canary.core.errors import CanaryError, Retryable

SHOWN = 500
"""Characters of the server's words that are kept."""

_NOISE = ("hint:", "remote: hint:", "To ")
"""Beginnings of lines that say nothing about the cause."""
_USER = re.compile(r"(://)[^/@\s]{1,1000}@")
"""User and password in a URL. Bounded, because texts come from servers and may be long."""


class Reaction(enum.StrEnum):
    """RECOMPUTE: somebody was faster, do it again on the new tip. BACK_OFF: try later. BLOCKED: a person must change something."""

    RECOMPUTE = "recompute"
    BACK_OFF = "back-off"
    BLOCKED = "blocked"


@dataclass(frozen=True, slots=True)
class Failure:
    """`reason` is CamelCase and stable; `text` is the scrubbed prose; `wait` are the seconds that the server asked for, if it did."""

    reason: str
    reaction: Reaction
    text: str
    wait: float = 0.0

    @property
    def of_the_push(self) -> bool:
        """Whether the server refused what was pushed, so that another push may pass; else the whole sink is concerned."""
        return self.reason in {"Protected", "SignatureRequired", "Refused"}


class GitFailed(Exception):  # noqa: N818 - reads as what happened
    """A git command failed."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(f"{failure.reason}: {failure.text}")
        self.failure = failure


_TABLE: tuple[tuple[str, Reaction, str], ...] = (
    # A lock of our own that a killed git left behind reads almost like somebody else's push, and waiting would never mend it.
    ("Local", Reaction.BACK_OFF, r"unable to create '.{0,300}\.lock'|no space left|disk quota exceeded|read-only file system|missing promisor|bad object|object file .{0,300} is empty|loose object|not a git repository|index-pack failed|pack .{0,300} corrupt|inflate: data stream error"),
    ("Stale", Reaction.RECOMPUTE, r"stale info|non-fast-forward|fetch first|cannot lock ref|incorrect old value|reference already exists"),
    ("SignatureRequired", Reaction.BLOCKED, r"unverified commit|must have verified signatures|signed commit|unsigned commit"),
    ("Auth", Reaction.BLOCKED, r"authentication failed|could not read username|could not read password|terminal prompts disabled|error: 401|http code = 401|permission denied \(|host key verification failed|invalid username or password|invalid credentials"),
    ("Protected", Reaction.BLOCKED, r"pre-receive hook declined|update hook declined|protected branch|gh006|gh013|not allowed to push|protected from changing"),
    ("Throttled", Reaction.BACK_OFF, r"error: 429|too many requests|rate limit"),
    ("Moved", Reaction.BLOCKED, r"error: 30\d|redirect"),
    ("Certificate", Reaction.BLOCKED, r"certificate|ssl_connect|self.signed|cafile"),
    ("Forbidden", Reaction.BLOCKED, r"error: 403|repository .{0,300}not found|repository not found|does not appear to be a git repository|error: 404"),
    ("Unreachable", Reaction.BACK_OFF, r"error: 5\d\d|could not resolve|failed to connect|couldn't connect|connection refused|connection reset|connection timed out|connection closed|early eof|rpc failed|unexpected disconnect|hung up|timed out|too slow|empty reply|no route to host|network is unreachable"),
    ("Refused", Reaction.BLOCKED, r"remote rejected|\[rejected\]|declined"),
)  # fmt: skip


_MEANING = {
    "Auth": "the server does not accept the credentials",
    "Certificate": "the server's certificate is not trusted",
    "Forbidden": "the repository does not exist, or the credentials may not do this",
    "Moved": "the repository has moved; give its new URL",
    "Protected": "the branch refuses the push",
    "SignatureRequired": "the branch wants signed commits",
    "Throttled": "the server wants fewer requests",
    "Unreachable": "the server cannot be reached",
}
"""What git means, for those who do not speak it."""


def classify(text: str, *, secrets: Iterable[str] = ()) -> Failure:
    """The class of a failure from what git printed; unknown prose backs off, because it may pass."""
    shown = scrub(text, secrets=secrets)
    for reason, reaction, pattern in _TABLE:
        if re.search(pattern, text, re.IGNORECASE):
            meaning = _MEANING.get(reason)
            return Failure(reason, reaction, f"{meaning}: {shown}" if meaning else shown)
    return Failure("Unknown", Reaction.BACK_OFF, shown)


def as_failure(error: Exception) -> Failure:
    """Any error as a failure of the whole sink."""
    if isinstance(error, GitFailed):
        return error.failure
    if isinstance(error, OSError):
        return Failure("Local", Reaction.BACK_OFF, scrub(str(error)))
    if isinstance(error, InvalidObject):
        return Failure("InvalidSpec", Reaction.BLOCKED, scrub(str(error)))
    if isinstance(error, CanaryError):
        text = f"{error.message}; {error.hint}" if error.hint else error.message
        return Failure(error.reason, Reaction.BACK_OFF if isinstance(error, Retryable) else Reaction.BLOCKED, scrub(text))
    return Failure("Unexpected", Reaction.BACK_OFF, f"{type(error).__name__} in the operator; its log says more")


def scrub(text: str, *, secrets: Iterable[str] = ()) -> str:
    """Prose without credentials and control characters, short enough for a condition."""
    for secret in sorted((secret for secret in secrets if len(secret) > 2), key=len, reverse=True):
        text = text.replace(secret, "***")
    text = _USER.sub(r"\1***@", text)
    lines = [plain(line) for line in text.splitlines()]
    shown = "; ".join(line for line in lines if line and not line.startswith(_NOISE) and line != "Done")
    return shown if len(shown) <= SHOWN else f"{shown[: SHOWN // 2]} ... {shown[5 - SHOWN // 2 :]}"  # the cause may be at either end


def plain(text: str) -> str:
    """One line of text, spaces for every character that is none: controls, line breaks of any script, and the invisible ones
    that change how the rest is read.
    """
    return "".join(" " if unicodedata.category(char) in {"Cc", "Cf", "Cs", "Zl", "Zp"} else char for char in text).strip()
