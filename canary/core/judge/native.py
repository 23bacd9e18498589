"""Native (exponential) histograms as cumulative buckets, on one grid for all pods and times.

Bounds of schema s are 2^(k * 2^-s); those of a coarser schema are a subset, so counts add up exactly on the coarsest one seen.
Refining was rejected: it would have to invent where in a bucket requests lie.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

COARSEST, FINEST = -4, 8
_MILLISECONDS: Final = 1000.0


@dataclass(frozen=True, slots=True)
class Native:
    """A native histogram of durations in seconds: running totals per bucket, not cumulative over buckets.

    Bucket `k` of `positive` holds what lies in (2^((k-1) * 2^-schema), 2^(k * 2^-schema)]; `zero` what is at most `threshold`.
    """

    schema: int
    positive: Mapping[int, float] = field(default_factory=dict)
    zero: float = 0.0


def coarsened(index: int, schema: int, to: int) -> int:
    """The bucket of the coarser schema that holds this one (exact, as bounds nest)."""
    step = 1 << (schema - to)
    return -(-index // step)


def bound(index: int, schema: int) -> float:
    """Upper bound of a bucket in milliseconds."""
    return _MILLISECONDS * math.pow(2.0, math.ldexp(index, -schema))


def merged(histogram: Native, to: int) -> dict[int, float]:
    """Counts per bucket of schema `to`, which must not be finer than the histogram's own."""
    found: dict[int, float] = {}
    for index, count in histogram.positive.items():
        at = coarsened(index, histogram.schema, to)
        found[at] = found.get(at, 0.0) + count
    return found
