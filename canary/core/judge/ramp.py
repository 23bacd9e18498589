"""From evidence to weight.

Harm of a bad version = the requests that the test needs times the excess (whatever the weight) + excess * weight * traffic *
reaction time. So the weight is raised until the second part reaches a budget of users, with the excess bounded by what the data
allow so far, and no clock is waited for. Clean data shrink that bound like 1/n, so the weight grows exponentially.
"""

from __future__ import annotations

from collections.abc import Sequence


def adaptive(*, budget: float, traffic: float | None, reaction: float, excess: float, tolerated: float, top: int) -> int:
    """The weight in percent (1..top) whose delay part is at most `budget` users; the top once the excess is within what is tolerated."""
    if excess <= tolerated:
        return top
    if traffic is None:
        return 1
    at_risk = traffic * reaction * excess
    return top if at_risk <= 0 else max(1, min(top, int(100 * budget / at_risk)))


def scheduled(weights: Sequence[int], *, now: int, waited: float, interval: float) -> int:
    """The next weight of a fixed schedule when `interval` seconds have been spent at the present one."""
    if now and waited < interval:
        return now
    return next((weight for weight in weights if weight > now), now)
