"""Reading numbers out of Prometheus' text format. Pure.

The client library's parser was tried: an API server exposes five megabytes, of which we want forty lines, and it builds an object for
every sample (2 s of CPU that would be taken from what is being measured). Lines of one family are picked by their name instead.
"""

import math
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

_LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')
_ESCAPE = re.compile(r"\\(.)")


def samples(text: str, name: str) -> Iterator[tuple[dict[str, str], float]]:
    """Labels and value of every sample called exactly `name` (a counter's ends in `_total`, a histogram's in `_bucket`)."""
    for found in re.finditer(rf"^{re.escape(name)}(?:\{{(.*)\}})? (\S+)", text, re.MULTILINE):
        labels = {key: _ESCAPE.sub(lambda m: {"n": "\n"}.get(m[1], m[1]), value) for key, value in _LABEL.findall(found[1] or "")}
        yield labels, float(found[2])


def counted(text: str, name: str, labels: Sequence[str]) -> Counter[tuple[str, ...]]:
    """A family of counters, summed over all labels but the named ones."""
    found: Counter[tuple[str, ...]] = Counter()
    for seen, value in samples(text, name):
        found[tuple(seen.get(label, "") for label in labels)] += int(value)
    return found


def buckets(text: str, name: str) -> dict[float, float]:
    """A histogram's cumulative counts by upper bound, summed over all other labels."""
    found: dict[float, float] = {}
    for labels, value in samples(text, f"{name}_bucket"):
        bound = float(labels["le"])
        found[bound] = found.get(bound, 0.0) + value
    return found


def since(before: Mapping[float, float], after: Mapping[float, float]) -> dict[float, float]:
    """The histogram of what happened between two looks."""
    return {bound: count - before.get(bound, 0.0) for bound, count in after.items()}


def quantile(q: float, cumulative: Mapping[float, float]) -> float | None:
    """As Prometheus' histogram_quantile: linear inside a bucket, from 0 in the first; None without observations.

    An answer in the last, unbounded bucket is its lower bound: then the true value is at least that.
    """
    bounds = sorted(cumulative)
    if not bounds or cumulative[bounds[-1]] <= 0:
        return None
    rank = q * cumulative[bounds[-1]]
    low, below = 0.0, 0.0
    for bound in bounds:
        count = cumulative[bound]
        if count >= rank and count > below:
            return low if math.isinf(bound) else low + (bound - low) * (rank - below) / (count - below)
        low, below = (low if math.isinf(bound) else bound), count
    return low
