"""What the peer did, turned into what we must do, held against what we do."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tests.traces.differences import RUNS, TICKS, Run
from tests.traces.replay import Pace, Tick, ours, theirs


@dataclass(frozen=True, slots=True)
class Gap:
    """One thing that is not as it must be."""

    run: str
    tick: int
    what: str
    expected: Any
    found: Any

    def __str__(self) -> str:
        return f"{self.run}, tick {self.tick}, {self.what}: expected {self.expected}, found {self.found}"


@dataclass(frozen=True, slots=True)
class Comparison:
    """`used`: the names of the differences that were needed, scripts of RUNS by their own."""

    gaps: tuple[Gap, ...]
    used: frozenset[str]
    ticks: int


def compare(run: Run, pace: Pace) -> Comparison:
    """Decide the run anew and hold it against the trace."""
    found, world = ours(dict(run), pace)
    expected, used = predicted(run)
    rule = RUNS.get(run["name"])
    gaps = [
        gap
        for number, tick in enumerate(found)
        for gap in _gaps(run, number, expected[number], tick, own=rule is not None and number >= rule.since)
    ]
    primary = run["primary"] if rule is None else rule.primary
    if world.image() != primary:
        gaps.append(Gap(run["name"], run["last"], "primary", primary, world.image()))
    return Comparison(tuple(gaps), used, len(found))


def predicted(run: Run) -> tuple[list[Tick], frozenset[str]]:
    """What we must do at each tick, and which differences say so."""
    recorded = theirs(dict(run))
    used: set[str] = set()
    expected = []
    for number, tick in enumerate(recorded):
        for name, rule in TICKS.items():
            changed = rule.predict(run, recorded[:number], tick)
            if (changed.calls, changed.state) != (tick.calls, tick.state):
                used.add(name)
            tick = changed
        expected.append(tick)
    if own := RUNS.get(run["name"]):
        used.add(run["name"])
        expected = [*expected[: own.since], *_own(own.states, len(expected) - own.since)]
    return expected, frozenset(used)


def _own(states: Sequence[Any], count: int) -> list[Tick]:
    return [Tick(state=states[min(number, len(states) - 1)]) for number in range(count)]


def _gaps(run: Run, number: int, expected: Tick, found: Tick, *, own: bool) -> list[Gap]:
    """Where we go our own way the states are foretold, and the live weight is the one that the state shows."""
    pairs: list[tuple[str, Any, Any]] = [("state", expected.state, found.state)]
    if own:
        pairs.append(("route", (expected.state[1], False), found.route))
    else:
        pairs += [(what, getattr(expected, what), getattr(found, what)) for what in ("route", "phases", "calls")]
    return [Gap(run["name"], number, what, wanted, seen) for what, wanted, seen in pairs if wanted != seen]


def spoiled(run: Run, tick: int, **changes: Any) -> dict[str, Any]:
    """The same run with another answer of the peer at a tick: what a test of the comparison itself needs."""
    ticks = [one | changes if one["tick"] == tick else one for one in run["ticks"]]
    return {**run, "ticks": ticks}
