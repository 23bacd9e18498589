"""When the next step is due, and what it starts from.

Steps are spaced by the interval from times that are stored, so that neither events nor crashes make a release faster. A
crash between moving weights and storing the status shows as weights that nobody recorded; so does a person's edit. Both are
taken as the new starting point, and the interval begins anew.
"""

from __future__ import annotations

from canary.api.status import Phase
from canary.core.strategies import Strategy
from canary.core.times import precise, remaining
from canary.core.turn import End, Turn


def not_due(t: Turn) -> End | None:
    """Ends the tick until an interval has passed since the last step."""
    last = t.run.last_tick_time if t.run is not None else None
    left = remaining(last, interval=t.analysis.interval_seconds, now=t.now)
    return End(left) if left > 0 else None


def mark(t: Turn) -> None:
    """Store that a step is taken now."""
    t.update_run(last_tick_time=precise(t.now))


def moved_outside(t: Turn) -> bool:
    """Whether live weights differ from those last recorded; if so they are recorded.

    Counting strategies need no such care while they count: their progress is `status.iterations`, which only the status
    write advances.
    """
    run = t.run
    counting = t.strategy is not Strategy.CANARY and t.phase is not Phase.PROMOTING
    if run is None or run.weight is None or not t.snapshot.has_weights or counting:
        return False
    if (run.weight, run.mirrored) == (t.routes.canary, t.routes.mirrored):
        return False
    t.update(canary_weight=t.routes.canary)
    t.update_run(weight=t.routes.canary, mirrored=t.routes.mirrored)
    t.say(t.voice.weights_moved(t.routes.canary))
    return True
