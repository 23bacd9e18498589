"""Has the target changed? What was promoted, what was reviewed, and what do revisions written by upstream mean.

Configs count like the template. `lastPromotedConfigs` is ours: with it, going back to the promoted revision is recognised as
a whole (Q9, Q43); without it (a status that upstream wrote) the template decides, as upstream does.
"""

from __future__ import annotations

from canary.api.status import Phase
from canary.core.hashing import is_foreign
from canary.core.turn import Turn


def configs_differ(t: Turn) -> bool:
    """Whether the tracked configs differ from those last accepted. Nothing tracked now: no (tracking is off)."""
    return t.configs is not None and t.configs != (t.status.tracked_configs or {})


def at_promoted(t: Turn) -> bool:
    """Whether the target is what was last promoted, template and configs."""
    status = t.status
    if not status.last_promoted_spec or t.target.revision != status.last_promoted_spec:
        return False
    if t.configs is None:
        return True
    if status.last_promoted_configs is not None:
        return t.configs == status.last_promoted_configs
    # unknown which configs were promoted: the accepted ones, unless they alone are what the run is about
    return not configs_differ(t) and (status.last_applied_spec != status.last_promoted_spec or not t.in_run)


def is_reviewed(t: Turn) -> bool:
    """Whether a primary may be made from the target as it is: promoted before, or past its analysis and being promoted."""
    return at_promoted(t) or (t.phase in (Phase.PROMOTING, Phase.FINALISING) and not has_moved(t))


def has_changed(t: Turn) -> bool:
    """Settled or waiting: is there a revision to be released (reference 2.12)?

    Neither the promoted revision ("manual rollback") nor the one that was last looked at ("do not retry a bad one") is new.
    """
    status, revision = t.status, t.target.revision
    if not status.last_applied_spec:
        return True
    if at_promoted(t):
        return False
    if revision not in (status.last_applied_spec, status.last_promoted_spec):
        return True
    return configs_differ(t)


def has_moved(t: Turn) -> bool:
    """In a run: is the target no longer what the run is about?"""
    return t.target.revision != t.status.last_applied_spec or configs_differ(t)


def is_repairing(t: Turn) -> bool:
    """Whether the primary is known to be no whole version (a promotion failed): releases must not wait for it to be ready."""
    return t.sole or not t.status.last_promoted_spec


def speaks_foreign(t: Turn) -> bool:
    """Whether upstream wrote the revisions in the status."""
    return is_foreign(t.status.last_applied_spec) or is_foreign(t.status.last_promoted_spec)
