"""What a decision tells: notices for events and chats, and counters. Values; their texts are in `canary.core.notices`.

Apart from what is looked at, asked and done (`canary.core.model`), because those who only tell (chats, event hooks) need nothing else.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass

from canary.api.status import Phase


class Severity(enum.StrEnum):
    """Of an alert."""

    INFO = "info"
    WARN = "warn"
    ERROR = "error"


@dataclass(frozen=True, slots=True)
class Notice:
    """One event on the Canary, and, with `severity`, one alert of the same moment.

    `message` follows upstream's shape (scripts grep it); `alert` replaces it in the chat when given. `kind` is our
    specific CamelCase word (NewRevision, WeightAdvanced, CheckFailed, GateWaiting, Promoted, RolledBack, ...): the event's
    `action`, while its `reason` stays `Synced`. `phase` is what the event webhook's payload carries. `once` notices are
    posted only when they differ from the last one with the same kind (repeated waiting, suspension). `with_fields` adds the
    facts of the canary to an alert, `with_checks` the checks that did not pass.
    """

    message: str
    kind: str
    phase: Phase
    warning: bool = False
    severity: Severity | None = None
    alert: str = ""
    with_fields: bool = False
    once: bool = False
    with_checks: bool = False


@dataclass(frozen=True, slots=True)
class Counter:
    """One increment of `flagger_canary_successes_total` / `..._failures_total`. `analysis`: completed | skipped."""

    success: bool
    analysis: str
    strategy: str  # canary | blue-green | ab-testing
