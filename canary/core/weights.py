"""Step arithmetic of a weighted release, in whole percent.

`Analysis.max_weight_effective` has the other half (where promotion starts). Fractions of a percent were rejected: several
meshes count in whole percent, and upstream's weights are integers that sum to 100 (reference 2.4, 3.1).
"""

from __future__ import annotations

from collections.abc import Sequence

TOTAL = 100


def next_step(weight: int, *, step_weight: int, step_weights: Sequence[int]) -> int:
    """By how much the canary's share grows next (reference 2.4); 0 or less: the schedule never advances.

    `step_weight` wins over `step_weights`. With a list, a weight that stands in it goes to the entry after it; any other
    (edited by hand) goes to the next higher entry, where upstream jumps to 100 (Q10). An entry that does not lie above the
    weight is skipped, where upstream stops for ever. Beyond the list all that is left is taken; at 100 the answer is 1, so
    that the schedule counts as complete rather than as standing still.
    """
    if step_weight > 0 or not step_weights:
        return step_weight
    room = TOTAL - weight
    if room <= 0:
        return 1
    return min(room, _next_entry(weight, step_weights) - weight)


def _next_entry(weight: int, entries: Sequence[int]) -> int:
    for index, entry in enumerate(entries[:-1]):
        if entry == weight and entries[index + 1] > weight:
            return entries[index + 1]
    return min((entry for entry in entries if entry > weight), default=TOTAL)


def beside(weight: int) -> int:
    """The share of a fresh baseline beside a canary of this share: as much, as long as the primary keeps no less, so that its pods stay warm."""
    return min(weight, (TOTAL - weight) // 2)


def raised(weight: int, step: int) -> int:
    """The canary's share after one step, capped at all of the traffic."""
    return min(TOTAL, weight + step)


def lowered(weight: int, step: int) -> int:
    """The canary's share after one step of the promotion, floored at none of the traffic."""
    return max(0, weight - step)
