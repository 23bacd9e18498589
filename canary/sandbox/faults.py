"""The seam through which tests disturb the sandbox, and the count of what was asked of it.

A hook is one async function of a `Call`. It may wait (a slow server), answer an ApiError (a refusing one), or a `Drop` (a connection that
breaks before or after the effect: the client cannot know which). Rejected: a table of rules; tests are programs and say more in a function.
"""

from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from canary.sandbox.calls import Call
from canary.sandbox.errors import ApiError


@dataclass(frozen=True, slots=True)
class Drop:
    """Break the connection instead of answering; with `after_effect` only once the request has been carried out."""

    after_effect: bool = False


Hook = Callable[[Call], Awaitable[ApiError | Drop | None]]


class Requests:
    """How often what was asked: `(verb, resource, agent)` -> number. `resource` as in `Call.resource`, `agent` the client's first word."""

    def __init__(self) -> None:
        self.counts: Counter[tuple[str, str, str]] = Counter()

    def note(self, call: Call) -> None:
        """Count a request."""
        self.counts[call.verb, call.resource, call.agent] += 1

    def total(self, *, verb: str | None = None, resource: str | None = None, agent: str | None = None) -> int:
        """Requests that fit every given part; `agent` fits by its beginning."""
        return sum(
            count
            for (one_verb, one_resource, one_agent), count in self.counts.items()
            if verb in (None, one_verb) and resource in (None, one_resource) and (agent is None or one_agent.startswith(agent))
        )

    def clear(self) -> None:
        """Begin to count anew."""
        self.counts.clear()
