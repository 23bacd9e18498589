"""Native histograms, as the API of Prometheus gives them, as counts below bounds: what a classic histogram is.

A sample lists its buckets that are not empty, as `[rule, lower, upper, count]`. How many lie below a bound is known exactly at every bound
that is not inside of one of them, so the bounds that all samples know exactly are the grid: that of the coarsest schema seen, as those of
exponential schemas nest, and as well the author's own bounds where a classic histogram was stored as a native one. Rejected:
`histogram_fraction`, which interpolates and takes a rate, so that no whole request is left to count; and to work out schemas and indexes,
which the API does not tell and custom bounds do not have.
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

MOST_BOUNDS: Final = 160
"""Bounds of a grid; of more, those of the finest schemas are left out. As many as the clients of most languages keep in one histogram."""
_FINEST: Final = 8
_CUSTOM: Final = _FINEST + 1


@dataclass(frozen=True, slots=True)
class Histogram:
    """Running totals of one series at one scrape: all observations, and (lower, upper, count) of every bucket that has any."""

    count: float
    buckets: tuple[tuple[float, float, float], ...] = ()


def parsed(body: Any) -> Histogram:
    """From the JSON of a sample. Raises ValueError for what is none."""
    try:
        buckets = tuple((float(lower), float(upper), float(count)) for _, lower, upper, count in body.get("buckets") or ())
        return Histogram(float(body["count"]), buckets)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise ValueError(f"the metrics server gave a native histogram that cannot be read: {error!r}") from None


def grid(histograms: Iterable[Histogram]) -> tuple[float, ...]:
    """The bounds above zero that all of them know exactly, rising, in the unit of the values; at most `MOST_BOUNDS`."""
    spans = {(lower, upper) for one in histograms for lower, upper, count in one.buckets if count > 0}
    edges = sorted({edge for span in spans for edge in span if 0 < edge < math.inf})
    inside: set[float] = set()
    for lower, upper in spans:
        inside.update(edges[bisect_right(edges, lower) : bisect_left(edges, upper)])
    return _thinned([edge for edge in edges if edge not in inside])


def _thinned(edges: list[float]) -> tuple[float, ...]:
    """Without the finest schemas, as long as there are too many. Which ones stay depends on nothing but the bounds, so that looks agree."""
    kept = [(edge, _schema(edge)) for edge in edges]
    while len(kept) > MOST_BOUNDS:
        finest = max(schema for _, schema in kept)
        coarser = [(edge, schema) for edge, schema in kept if schema < finest]
        if not coarser:
            break
        kept = coarser
    return tuple(edge for edge, _ in kept)


def _schema(edge: float) -> int:
    """The coarsest schema that has this bound."""
    exponent = math.log2(edge)
    return next((schema for schema in range(_FINEST + 1) if _whole(math.ldexp(exponent, schema))), _CUSTOM)


def _whole(number: float) -> bool:
    return abs(number - round(number)) < 1e-6


def below(one: Histogram, bounds: Sequence[float]) -> Mapping[float, float]:
    """How many of its observations are at most each of these bounds (see `grid`), and all of them at infinity."""
    found: dict[float, float] = {}
    waiting, total = sorted(one.buckets, key=lambda bucket: bucket[1]), 0.0
    at = 0
    for bound in bounds:
        while at < len(waiting) and waiting[at][1] <= bound:
            total += waiting[at][2]
            at += 1
        found[bound] = total
    return found | {math.inf: one.count}
