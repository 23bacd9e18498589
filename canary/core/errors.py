"""What can go wrong outside the rules, split by what the caller does about it.

Splitting by source (HTTP, Prometheus, YAML) was rejected: a tick never cares who failed, only whether to try
again, to tell the user, or to stop.

    CanaryError
    +-- Retryable     the world was not ready or not reachable: end the tick, try again
    |   +-- Conflict  somebody else wrote first: drop the tick, decide anew from what is there now
    +-- Rejected      the user's objects are at fault; retrying cannot help until one of them changes
    |   +-- NotFound  an object that was named does not exist
    |   +-- Forbidden the API server, or a policy, does not let us
    +-- Lost          we are no longer the one who may act: stop at once, write nothing
"""

from __future__ import annotations


class CanaryError(Exception):
    """Base of everything that the engine handles; `hint` says how to mend it, in one sentence, or is empty."""

    reason = "Error"

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class Retryable(CanaryError):
    """The world was not ready: end the tick and try again."""

    reason = "Unavailable"


class Conflict(Retryable):
    """A write was refused because the object had moved on."""

    reason = "Conflict"


class Rejected(CanaryError):
    """The user's objects are at fault; shown as condition `Stalled` and as an event."""

    reason = "Rejected"


class NotFound(Rejected):
    """An object that was named does not exist."""

    reason = "NotFound"


class Forbidden(Rejected):
    """The API server, or a policy, does not let us."""

    reason = "Forbidden"


class Lost(CanaryError):
    """Leadership or the object itself is gone: stop the loop and write nothing."""

    reason = "Lost"
