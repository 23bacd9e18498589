"""Exact binomial bounds, so that a measured split is judged by chance and not by a guessed tolerance.

Envoy picks a weighted cluster at random for each request, so the number of requests that reach a version is binomial. A fixed tolerance
("90 % give or take 3") either fails by chance or hides a wrong weight, depending on the sample. Rejected: the normal approximation
(wrong at 1 %), scipy (a dependency for thirty lines).
"""

import math


def log_probability(count: int, total: int, share: float) -> float:
    """The natural logarithm of P(X = count) for X ~ Binomial(total, share)."""
    if share in {0.0, 1.0}:
        return 0.0 if count == round(total * share) else -math.inf
    ways = math.lgamma(total + 1) - math.lgamma(count + 1) - math.lgamma(total - count + 1)
    return ways + count * math.log(share) + (total - count) * math.log1p(-share)


def tails(count: int, total: int, share: float) -> tuple[float, float]:
    """P(X <= count) and P(X >= count). Raises ValueError when `count` or `share` is out of range."""
    if not 0 <= count <= total or not 0.0 <= share <= 1.0:
        raise ValueError(f"no binomial: {count} of {total} with share {share}")
    lower = math.fsum(math.exp(log_probability(k, total, share)) for k in range(count + 1))
    upper = math.fsum(math.exp(log_probability(k, total, share)) for k in range(count, total + 1))
    return min(1.0, lower), min(1.0, upper)


def bounds(total: int, share: float, *, alpha: float) -> tuple[int, int]:
    """The smallest and largest counts that a two-sided test at `alpha` accepts."""
    low, mass = 0, math.exp(log_probability(0, total, share))
    while mass <= alpha / 2 and low < total:
        low += 1
        mass += math.exp(log_probability(low, total, share))
    high, mass = total, math.exp(log_probability(total, total, share))
    while mass <= alpha / 2 and high > low:
        high -= 1
        mass += math.exp(log_probability(high, total, share))
    return low, high
