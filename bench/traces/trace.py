"""From a journal to a trace: what one run did at each of its ticks. Pure."""

from typing import Any

from bench.traces.script import Json, Script
from bench.traces.scripted import Entry, Journal

_LISTS = {"call": "calls", "event": "events", "state": "states", "route": "routes", "seen": "seen"}


class TraceError(Exception):
    """The recording cannot be used; the message says why."""


def trace(script: Script, journal: Journal, *, last: int, primary: str) -> Json:
    """One run: its script, its ticks 0 to `last`, how it ended.

    A tick holds, each in order and left out when empty: `calls` (["metric", name] or ["hook", name, phase it was told]), `events` ([type,
    phase, text]), `states` ([phase, canaryWeight, failedChecks, iterations] written), `routes` ([canary's percent, mirrored] written),
    `seen` (what the cluster did by itself after the tick). `before` is the state that tick 0 found. Raises TraceError.
    """
    entries = [entry for entry in journal.entries if entry.run == script.name]
    rhythm = journal.rhythm
    assert rhythm is not None
    doubtful = [
        entry
        for entry in entries
        if entry.kind in {"call", "event", "state"} and not rhythm.clear(entry.at) and journal.tick(script.name, entry.at) >= -1
    ]
    if doubtful:
        shown = [(round(rhythm.offset(entry.at), 1), entry.kind, *entry.what) for entry in doubtful]
        raise TraceError(f"{script.name}: heard between two ticks, so that nobody knows which: {shown}")
    by_tick: dict[int, Json] = {}
    before: tuple[Any, ...] = ()
    for entry in entries:
        number = journal.tick(script.name, entry.at)
        if number < 0 and entry.kind == "state":
            before = entry.what
        if 0 <= number <= last:
            _add(by_tick.setdefault(number, {}), entry)
    ticks = [{"tick": number, **by_tick[number]} for number in sorted(by_tick)]
    return script.plain() | {"before": list(before), "ticks": ticks, "last": last, "primary": primary}


def _add(tick: Json, entry: Entry) -> None:
    tick.setdefault(_LISTS[entry.kind], []).append(list(entry.what))
