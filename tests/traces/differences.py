"""Where our rules are meant to decide otherwise than the peer: one table, each entry with its row of docs/reference/differences.md.

An entry does not excuse a mismatch, it predicts: it turns what the peer did into what we must do. Whatever differs from the prediction
is a failure. `TICKS` are about single ticks of any run; `RUNS` about scripts that exist to show one difference, from a tick on.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from tests.traces.replay import Tick

Run = Mapping[str, Any]
State = tuple[str, int, int, int]


@dataclass(frozen=True, slots=True)
class TickRule:
    """`row`: the beginning of the left column; `predict`: the run, the peer's ticks before and now, and now what we do."""

    row: str
    predict: Callable[[Run, Sequence[Tick], Tick], Tick]


@dataclass(frozen=True, slots=True)
class RunRule:
    """From tick `since` on our states are `states`; the last one stays. The primary ends with `primary`."""

    row: str
    since: int
    states: Sequence[State]
    primary: str


def _weighted(run: Run) -> bool:
    return "iterations" not in run["analysis"] and run["provider"] != "kubernetes"


def _live_weight(run: Run, before: Sequence[Tick], tick: Tick) -> Tick:
    """From the first refusal of a promotion until the traffic goes back."""
    phase, weight, failed, iterations = tick.state
    waited = any(one.state[0] == "WaitingPromotion" for one in [*before, tick])
    if not (waited and _weighted(run) and phase in {"WaitingPromotion", "Promoting"}):
        return tick
    return replace(tick, state=(phase, tick.route[0] or weight, failed, max(0, iterations)))


def order(run: Run) -> list[str]:
    """Names of the checks in the order in which they are asked."""
    metrics = run["analysis"].get("metrics", [])
    builtin = {"request-success-rate", "request-duration"}
    direct = [metric["name"] for metric in metrics if metric["name"] in builtin or "query" in metric]
    return direct + [metric["name"] for metric in metrics if "templateRef" in metric and metric["name"] != "absent"]


def _all_asked(run: Run, before: Sequence[Tick], tick: Tick) -> Tick:
    """A tick that counted a failed check and whose last call was a metric: those after it are asked, too."""
    last = before[-1].state if before else tuple(run["before"])
    if not tick.calls or tick.calls[-1][0] != "metric" or tick.state[2] <= last[2]:
        return tick
    asked = [call[1] for call in tick.calls if call[0] == "metric"]
    return replace(tick, calls=[*tick.calls, *(["metric", name] for name in order(run)[len(asked) :])])


TICKS: Mapping[str, TickRule] = {
    "live weight while waiting": TickRule("`WaitingPromotion` shows weight 0", _live_weight),
    "all metrics asked": TickRule("stops asking at the first metric that fails", _all_asked),
}


def _plain(*weights: int) -> list[State]:
    """A weighted release without a failed check, after these weights."""
    last = weights[-1]
    steps = [("Progressing", weight, 0, 0) for weight in weights]
    return [*steps, ("Promoting", last, 0, 0), ("Finalising", 0, 0, 0), ("Succeeded", 0, 0, 0)]


_SKIPPED: Sequence[State] = (("Promoting", 0, 0, 0), ("Finalising", 0, 0, 0), ("Succeeded", 0, 0, 0))
_SKIPS = "`skipAnalysis`: scales the target down without waiting"
_CANCELED: Sequence[State] = (("Initialized", 0, 0, 0),)
_INFINITE: Sequence[State] = (
    ("Progressing", 10, 1, 0),
    ("Progressing", 20, 1, 0),
    ("Progressing", 30, 1, 0),
    ("Promoting", 30, 1, 0),
    ("Finalising", 0, 1, 0),
    ("Succeeded", 0, 1, 0),
)

RUNS: Mapping[str, RunRule] = {
    "steps-falling": RunRule("`stepWeights` that do not rise stop for ever", 2, _plain(50), "app:2"),
    "mirror-contour": RunRule("`mirror` with weights never advances", 1, _plain(50, 100), "app:2"),
    "edited-weights": RunRule("a manual edit of the weights is stepped on", 3, _plain(35, 45, 55), "app:2"),
    "back": RunRule("back at the promoted revision in the middle", 3, _CANCELED, "app:1"),
    "withdrawn": RunRule("a change taken back while it waits", 2, _CANCELED, "app:1"),
    "rollback-before-approval": RunRule(
        "rollback hooks are not asked while a revision waits", 1, (("Waiting", 0, 0, 0), ("Failed", 0, 0, 0)), "app:1"
    ),
    "rollback-unready": RunRule(
        "thresholds and rollback hooks are not looked at", 1, (("Progressing", 0, 0, 0), ("Failed", 0, 0, 0)), "app:1"
    ),
    "skipped": RunRule(_SKIPS, 1, _SKIPPED, "app:2"),
    "skipped-gate": RunRule(_SKIPS, 5, _SKIPPED, "app:2"),
    "skipped-midway": RunRule(_SKIPS, 3, _SKIPPED, "app:2"),
    "latency-infinite": RunRule("a `request-duration` of +Inf", 2, _INFINITE, "app:2"),
}
