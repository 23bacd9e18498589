"""From the counters of one look to the tick that the judge takes: what is new, what is lacking, and up to where it was counted.

Apart from `judged`, which knows the status and the turn, so that a replay feeds the judge by these very lines.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import pairwise
from statistics import median

from canary.core.counted import Counters, Fresh, Marks, Past, Stage, fresh
from canary.core.evidence import shortened
from canary.core.judge import Deltas, Tick
from canary.core.paired import paired
from canary.core.weights import beside

USUAL_SPACING = 15.0
"""Seconds between two looks while the spacing of scrapes is unknown, and at most."""
SHORTEST_SPACING, LONGEST_SPACING = 1.0, 120.0
PATIENCE = 5.0
"""Seconds without news that are no silence, whatever the spacing."""
UNKNOWN_PATIENCE = 90.0
"""The same while the spacing is unknown."""
LONGEST_REASON = 800
"""Characters: events have room for a thousand."""


@dataclass(frozen=True, slots=True)
class Seen:
    """Under which weights the news came (percent), and of which requests they are. `copied`: the canary got copies of so many, and no others."""

    stage: Stage
    weight: int
    baseline: int = 0
    copied: int = 0

    @property
    def alone(self) -> str:
        """Why there is nothing to compare with; empty where there is."""
        if self.stage is not Stage.ALONE:
            return ""
        return (
            "the fresh baseline has no pod that answers"
            if beside(self.weight)
            else "no share of the traffic is left for the fresh baseline"
        )


@dataclass(frozen=True, slots=True)
class Looked:
    """What the judge is to be shown; no `tick` while there is no news and it is too early to call that silence.

    `lacking`: what should have been counted and was not. `note`: what the counters do not tell.
    """

    tick: Tick | None
    marks: Marks
    lacking: str = ""
    note: str = ""


def looked(counters: Counters, marks: Marks, seen: Seen, *, now: float, counted: float, spacing: float | None) -> Looked:
    """What no look has counted yet. `marks` are of this stage; `counted` is the time of the last tick (0: none), `spacing` that between scrapes.

    Without news the judge is left alone for a while: proxies are not scraped at our pace.
    """
    found, alone = news_since(counters, marks), seen.alone
    note, kept = (found, marks) if isinstance(found, str) else (counters.note, found.marks)
    deltas = found.deltas if isinstance(found, Fresh) and found.newest is not None else None
    if deltas is None and not alone and now - counted < patience(spacing):
        # targets that were seen for the first time: what they count from now on is new
        return Looked(None, replace(marks, by_target=kept.by_target), note=note)
    # a clock that was set back must not make the judge deaf: its time goes on, from look to look
    at = now if now > counted else counted + (spacing or SHORTEST_SPACING)
    tick = replace((deltas or Deltas(None, None)).tick(at, seen.weight), copied=seen.copied, baseline=seen.baseline)
    if deltas is None:
        return Looked(tick, kept, alone, "" if alone else note)
    pairs = paired(counters, marks, kept)
    return Looked(replace(tick, pairs=pairs.arms), pairs.marks, pairs.lacking, note)


def news_since(counters: Counters, marks: Marks) -> Fresh | str:
    """What is new, or why that cannot be said."""
    if counters.error:
        return counters.error
    try:
        return fresh(counters, marks)
    except ValueError as error:
        return str(error)


def spacing_of(past: Past) -> float | None:
    """Seconds between two scrapes; None while that is unknown."""
    gaps = [later.ts - earlier.ts for earlier, later in pairwise(past.ticks)]
    return round(min(LONGEST_SPACING, max(SHORTEST_SPACING, median(gaps))), 3) if gaps else None


def patience(spacing: float | None) -> float:
    """Seconds without a scrape after which there is no data, rather than none yet."""
    return max(PATIENCE, 3 * spacing) if spacing else UNKNOWN_PATIENCE


def noted(reason: str, note: str) -> str:
    """A reason with what the counters do not tell."""
    return shortened(f"{reason} ({note})" if note else reason, LONGEST_REASON)
