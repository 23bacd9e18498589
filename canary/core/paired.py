"""What is new of the pairs that templates count, a look at a time: the same marks and the same rules as for the requests of the mesh."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from canary.core.counted import Counters, Marks, fresh
from canary.core.judge import Arm

ALL, BAD = "all", "error"
"""Classes of a scrape: what was counted in all, and the bad part, which is in both."""
_OF = "\x1e"
"""Between a metric's name and its target, so that two metrics of one target have marks of their own."""
MOST_TOLD = 160
"""Characters of one metric's problem: the status is small."""


@dataclass(frozen=True, slots=True)
class Paired:
    """New counts of each pair, canary and primary (None: nothing new); which of them could not be had, and why; the next marks."""

    arms: Mapping[str, tuple[Arm | None, Arm | None]]
    lacking: str
    marks: Marks


def paired(counters: Counters, marks: Marks, after: Marks) -> Paired:
    """What no look has counted yet. `marks` are those before this look, `after` those of the requests in it."""
    arms: dict[str, tuple[Arm | None, Arm | None]] = {}
    problems: list[str] = []
    for name, pair in counters.pairs.items():
        own = replace(pair, scrapes=tuple(replace(scrape, pod=f"{name}{_OF}{scrape.pod}") for scrape in pair.scrapes))
        arms[name], problem = (None, None), pair.error
        try:
            news = fresh(own, marks)
            arms[name] = (whole_of(news.deltas.canary), whole_of(news.deltas.primary))
            after = after.merged(news.marks)
        except ValueError as error:
            problem = str(error)
        if problem:
            problems.append(f"metric {name}: {problem[:MOST_TOLD]}")
    return Paired(arms, "; ".join(problems), after)


def whole_of(delta: Arm | None) -> Arm | None:
    """The counts of both classes, of which the whole contains the bad part already, as requests and failures.

    Raises ValueError when there is more bad than there is in all: then `bad` counts something else.
    """
    if delta is None:
        return None
    total = delta.total - delta.errors
    if delta.errors > total:
        raise ValueError(f"{delta.errors} are bad of {total} in all: `bad` must count a part of what `total` counts")
    return Arm(total, delta.errors)
