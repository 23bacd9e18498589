"""From HTTP answers of the API server to the errors of `canary.core.errors`, with what, where and how to mend.

The server's own message is kept word for word: it is what people search for. One function instead of an exception class
per status, because a caller only asks whether to try again (`canary.core.errors`).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from canary.core.errors import CanaryError, Conflict, Forbidden, NotFound, Rejected, Retryable


class Gone(Retryable):
    """410: the resourceVersion or the continue token is too old; list again."""

    reason = "Gone"


@dataclass(frozen=True, slots=True)
class Answer:
    """An HTTP answer that is not a success, with the decoded `Status` object when there was one."""

    status: int
    text: str = ""
    detail: Mapping[str, Any] = field(default_factory=dict)
    retry_after: float | None = None
    """Seconds, as the server asked; None when it did not."""

    @property
    def causes(self) -> list[Any]:
        """`details.causes` of the Status: present for validation errors, absent for a failed JSON patch."""
        return list((self.detail.get("details") or {}).get("causes") or [])


def parse(status: int, body: bytes, *, retry_after: str = "") -> Answer:
    """Read an error answer, whoever wrote it (the API server, a proxy before it, or a webhook)."""
    try:
        detail = json.loads(body)
    except ValueError:
        detail = None
    if not isinstance(detail, dict) or detail.get("kind") != "Status":
        detail = {}
    text = str(detail.get("message") or body[:300].decode(errors="replace").strip() or f"HTTP {status}")
    return Answer(status, text, detail, _seconds(retry_after))


def _seconds(header: str) -> float | None:
    try:
        return max(0.0, float(header))
    except ValueError:  # an HTTP date: the API server never sends one
        return None


def from_answer(answer: Answer, *, what: str, who: str, conditional: bool = False) -> CanaryError:
    """The error for an answer.

    `what` is the request in words ("patch services shop/podinfo"), `who` names the credentials and the server. `conditional`
    says that the request was a JSON patch with a `test`: the server answers 422 without causes when the test fails, which is
    a conflict and not the user's fault.
    """
    text = f"cannot {what}: {answer.text}"
    match answer.status:
        case 401:
            return Forbidden(
                f"cannot {what}: the API server does not accept the credentials of {who}: {answer.text}",
                hint="renew them (log in again, or look whether the service account or its token was deleted)",
            )
        case 403:
            return Forbidden(text, hint=_grant(answer, what))
        case 404:
            return NotFound(text)
        case 409:
            return Conflict(text)
        case 410:
            return Gone(text)
        case 422 if conditional and not answer.causes:
            return Conflict(text)
        case 429:
            return Retryable(text, hint="the API server is overloaded, or limits us by priority and fairness")
        # server-side apply answers 500 when a field is not in the schema: trying again cannot help
        case 500 if "field not declared in schema" in answer.text:
            return Rejected(text, hint="the CustomResourceDefinition in the cluster is older than what we write: upgrade it")
        case status if status >= 500:
            return Retryable(text)
        case _:
            return Rejected(text)


def _grant(answer: Answer, what: str) -> str:
    """RBAC refusals are mended by a rule; quota, terminating namespaces and admission policies say themselves what to do."""
    if "cannot" in answer.text and "User" in answer.text:
        verb, _, rest = what.partition(" ")
        return f"grant the verb {verb} on {rest.split()[0]} to that user (the chart's ClusterRole has all rules)"
    return ""
