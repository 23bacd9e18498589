"""The three ways to expose a new version, as pure functions from where we are to where to go.

A class per strategy was rejected: each is one decision on two numbers, and upstream's own dispatch (reference 2.3 step 28)
is by fields of the spec, which may change in the middle of a run.
"""

from __future__ import annotations

import enum

from canary.api.analysis import Analysis
from canary.core.model import ALL_TO_PRIMARY, Routes
from canary.core.weights import TOTAL, raised

DEFAULT_ITERATIONS = 10
"""Checks of a release by the `kubernetes` provider when the spec gives steps, which it cannot do (reference 2.3 step 27)."""

ALL_TO_CANARY = Routes(0, TOTAL)


class Strategy(enum.StrEnum):
    """The values of the label `deployment_strategy` of upstream's counters."""

    CANARY = "canary"
    AB_TESTING = "ab-testing"
    BLUE_GREEN = "blue-green"


class Stage(enum.Enum):
    """What an iteration-counting strategy does next."""

    CHECK = "check"
    CUT_OVER = "cut over"
    PROMOTE = "promote"


def iterations_of(analysis: Analysis, *, has_weights: bool) -> int:
    """Number of checks; 0 for a weighted release. Without weights there must be some."""
    if has_weights or analysis.iterations >= 1:
        return analysis.iterations
    return DEFAULT_ITERATIONS


def strategy_of(analysis: Analysis, *, has_weights: bool) -> Strategy:
    """Reference 2.3 steps 27 and 28: without weights `match` is ignored; `match` with steps is a weighted release."""
    if iterations_of(analysis, has_weights=has_weights) <= 0:
        return Strategy.CANARY
    return Strategy.AB_TESTING if analysis.match and has_weights else Strategy.BLUE_GREEN


def weighted(routes: Routes, *, step: int, maximum: int, mirror: bool) -> Routes | None:
    """The next weights, or None when the schedule is complete.

    `mirror` (the spec asks for it and the router can): one step of copied traffic comes before the first real one.
    """
    if routes.canary >= maximum:
        return None
    if mirror and routes.canary == 0 and not routes.mirrored:
        return Routes(ALL_TO_PRIMARY.primary, ALL_TO_PRIMARY.canary, mirrored=True)
    canary = raised(routes.canary, step)
    return Routes(TOTAL - canary, canary)


def ab_testing(iterations: int, total: int) -> Stage:
    """A/B: all matched traffic at once, `total` checks, promotion. More than `total` (the spec was lowered) promotes too."""
    return Stage.CHECK if iterations < total else Stage.PROMOTE


def blue_green(iterations: int, total: int) -> Stage:
    """Blue/green: `total` checks without traffic, the cut-over, one more check under all traffic, promotion."""
    if iterations < total:
        return Stage.CHECK
    return Stage.CUT_OVER if iterations == total else Stage.PROMOTE
