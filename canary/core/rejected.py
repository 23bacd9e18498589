"""A revision that was rejected, taken back in Git, and has come again: it is held before its analysis, and the primary serves on.

Upstream tries it again each time, because to it going back and coming again are two changes. That is harmless as long as nobody takes anything back; with
reverts in Git and an image bot it is a loop that shows a bad release to users every few minutes, for ever.
"""

from __future__ import annotations

from canary.api.status import Phase
from canary.core.revisions import is_repairing
from canary.core.turn import End, Turn


def rejected(t: Turn) -> End | None:
    """Before any gate is asked: nobody should approve what is not going to run. What may repair a primary is always tried."""
    if not t.snapshot.rejected or is_repairing(t):
        return None
    if t.phase is not Phase.WAITING:
        t.say(t.voice.rejected_again(t.snapshot.rejected))
        t.update(phase=Phase.WAITING)
    return t.interval


def held_back(t: Turn) -> str:
    """Why the revision is held, as the conditions say it; empty while none is."""
    return t.snapshot.rejected if t.phase is Phase.WAITING and not is_repairing(t) else ""
