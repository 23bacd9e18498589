"""What a sink asks for, run by run: which effects are queued, and whether one that waits is still wanted.

`pending` is the commit status of a run under way; it is queued when the run begins and forgotten when it ends. So is `source`, the search for the commit that
started it, where nobody has said that. `pr` and `revert` are one thing by two ways,
and a sink that changes its mind takes what waits along. `amend` adds to the record what came of the revert: neither of the two waits for the other, so
the record is written before its run has been reverted, mostly.
"""

from __future__ import annotations

from canary.api.canaryrun import RunPhase
from canary.api.gitsink import Delivery, GitSinkSpec, RecordTarget, Revert, StatusTarget

PENDING, RECORD, REVERT, PROPOSAL, STATUS, TAG, AMEND, SOURCE = "pending", "record", "revert", "pr", "status", "tag", "amend", "source"
ORDER = {PENDING: 0, RECORD: 1, REVERT: 2, PROPOSAL: 2, STATUS: 3, TAG: 4, AMEND: 5, SOURCE: 6}
"""What is written first. What people must see is not kept waiting by what they may want to see."""


def of_unread(outcome: str) -> list[str]:
    """Kinds of effects for a sink that cannot be read."""
    return [RECORD, REVERT, AMEND] if outcome == RunPhase.FAILED else [RECORD]


def at_start(spec: GitSinkSpec) -> list[str]:
    """Kinds of effects of a run that begins; `SOURCE` only of one whose commit nobody has said."""
    return ([SOURCE] if needs_source(spec) else []) + ([PENDING] if spec.statuses.target is StatusTarget.COMMIT else [])


def at_end(spec: GitSinkSpec, outcome: str) -> list[str]:
    """Kinds of effects of a run that ended so."""
    kinds = [RECORD] if spec.records.target is RecordTarget.BRANCH else []
    if outcome == RunPhase.FAILED and spec.on_failure.revert is Revert.IMAGE:
        kinds.append(PROPOSAL if spec.on_failure.delivery is Delivery.PULL_REQUEST else REVERT)
        kinds += [AMEND] if RECORD in kinds else []
    if spec.statuses.target is StatusTarget.COMMIT:
        kinds.append(STATUS)
    if outcome == RunPhase.SUCCEEDED and spec.on_success.tag:
        kinds.append(TAG)
    return kinds


def asked(spec: GitSinkSpec, kind: str, outcome: str) -> bool:
    """Whether the sink, as it is now, asks for this effect of a run that ended so (empty: it has not)."""
    if not outcome:
        return kind in at_start(spec)
    kinds = at_end(spec, RunPhase(outcome.capitalize()))
    return kind in kinds or (kind in {REVERT, PROPOSAL} and not {REVERT, PROPOSAL}.isdisjoint(kinds))


def needs_source(spec: GitSinkSpec) -> bool:
    """Whether the commit that starts a run matters to this sink: records name it. To ask costs requests, so where nobody writes nobody is asked."""
    return spec.records.target is RecordTarget.BRANCH or spec.statuses.target is StatusTarget.COMMIT or spec.on_success.tag
