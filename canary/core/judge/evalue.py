"""E-values of one tick: bets against "no worse than the margin" (or against "worse than it") that are fair whatever the rates are.

An e-value is a number with expectation at most 1 while its null hypothesis holds; products over ticks keep that, at every
stopping time, so the judge may look as often as it likes (Ville's inequality). Everything here returns log e and is exact for
independent requests: no normal approximation, which fails for rare errors. The alternatives (`canary_rate`, `primary_rate`)
must come from earlier ticks; a bad guess costs power, never validity.

Sources: Turner, Ly, Gruenwald, "Generic e-variables for exact sequential k-sample tests" (JSPI 2024) for `two_arms`; Lindon and
Malek, "Anytime-valid inference for multinomial count data" (NeurIPS 2022) for `ratio_only`. A Dirichlet mixture over all buckets
was rejected: it is two-sided and would roll back improvements.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

_STEPS: Final = 80
_TINY: Final = 1e-12


@dataclass(frozen=True, slots=True)
class Counts:
    """Requests (`n`) and bad ones among them (`x`) in one tick, of canary and primary."""

    canary_n: int
    canary_x: int
    primary_n: int
    primary_x: int

    def __add__(self, other: Counts) -> Counts:
        return Counts(
            self.canary_n + other.canary_n,
            self.canary_x + other.canary_x,
            self.primary_n + other.primary_n,
            self.primary_x + other.primary_x,
        )

    def listed(self) -> list[int]:
        return [self.canary_n, self.canary_x, self.primary_n, self.primary_x]


def two_arms(seen: Counts, canary_rate: float, primary_rate: float, *, ratio: float, margin: float) -> float:
    """Log e-value against the null whose border is `canary = ratio * primary + margin`, on the side away from the alternative.

    With `canary_rate` above the border the null is "no worse" (`<=`), below it "worse" (`>=`). The primary's true rate may
    differ from tick to tick. Rates and margin are shares (0..1), strictly inside (0, 1) for the alternatives; 0.0 when the
    border lies outside or the alternative on it.

    Why it is valid: the border point that minimises the Kullback-Leibler divergence from the alternative has a gradient that
    points out of the convex null, and log E[e] is concave and 0 there. It must be *the* minimiser, hence the exact root.
    """
    if seen.canary_n <= 0 or seen.primary_n <= 0:
        return 0.0
    p = _closest((seen.canary_n, canary_rate), (seen.primary_n, primary_rate), ratio, margin)
    if p is None:
        return 0.0
    q = ratio * p + margin
    return log_ratio(seen.canary_n, seen.canary_x, canary_rate, q) + log_ratio(seen.primary_n, seen.primary_x, primary_rate, p)


def ratio_only(seen: Counts, alternative: float, *, limit: float) -> float:
    """Log e-value against `canary <= limit * primary` (alternative above the limit) or `>=` (below), from failures alone.

    Whatever moves both rates alike cancels, so no baseline is estimated. Valid for every `limit`: with theta the canary's
    share of failures, E[e] <= exp(canary_n * p_C * (A - 1) + primary_n * p_B * (B - 1)), and the exponent is 0 at the limit
    and negative beyond it.
    """
    if seen.canary_n <= 0 or seen.primary_n <= 0:
        return 0.0
    null = seen.canary_n * limit / (seen.canary_n * limit + seen.primary_n)
    other = seen.canary_n * alternative / (seen.canary_n * alternative + seen.primary_n)
    return seen.canary_x * math.log(other / null) + seen.primary_x * (math.log1p(-other) - math.log1p(-null))


def log_ratio(n: float, x: float, alternative: float, null: float) -> float:
    """Log likelihood ratio of `x` bad among `n`: the one-sample e-value when the null is the border of "at most" or "at least"."""
    good = (n - x) * (math.log1p(-alternative) - math.log1p(-null))
    return good + x * math.log(alternative / null) if x else good


def divergence(one: float, other: float) -> float:
    """Kullback-Leibler divergence of two Bernoulli laws, in nats."""
    first = one * math.log(one / other) if one > 0 else 0.0
    return first + ((1 - one) * (math.log1p(-one) - math.log1p(-other)) if one < 1 else 0.0)


def information(canary_rate: float, primary_rate: float, *, ratio: float, margin: float, primaries: float) -> float:
    """Nats that one canary request brings when the alternative is true; `primaries` is primary requests per canary request."""
    p = _closest((1.0, canary_rate), (primaries, primary_rate), ratio, margin)
    if p is None:
        return 0.0
    return divergence(canary_rate, ratio * p + margin) + primaries * divergence(primary_rate, p)


def fluctuation(rate: float, *, ratio: float, margin: float, primaries: float) -> float:
    """Variance of what one canary request brings (`information` is its mean) when both versions fail at `rate`."""
    p = _closest((1.0, rate), (primaries, rate), ratio, margin)
    if p is None:
        return 0.0
    slopes = [_logit(rate) - _logit(null) for null in (ratio * p + margin, p)]
    return rate * (1 - rate) * (slopes[0] ** 2 + primaries * slopes[1] ** 2)


def _logit(share: float) -> float:
    return math.log(share) - math.log1p(-share)


def _closest(canary: tuple[float, float], primary: tuple[float, float], r: float, d: float) -> float | None:
    """The primary rate p of the border point that minimises n_c*KL(a_c | r*p+d) + n_b*KL(a_b | p); None when there is none.

    Each arm is its requests and its alternative rate, (n, a).
    The derivative times p(1-p)q(1-q) is a cubic without poles and with one root between a_b and (a_c-d)/r: Newton's method,
    kept inside that bracket.
    """
    (n_c, a_c), (n_b, a_b) = canary, primary
    low, high = sorted((a_b, (a_c - d) / r))
    low, high = max(low, 0.0), min(high, (1 - d) / r)
    if not low < high:
        return None
    p = (n_b * a_b + n_c * r * max(low, min(high, (a_c - d) / r))) / (n_b + n_c * r)
    for _ in range(_STEPS):
        if not low < p < high:
            p = (low + high) / 2
        q, p1 = r * p + d, 1 - p
        q1 = 1 - q
        slope_c, slope_b = q - a_c, p - a_b
        value = r * n_c * slope_c * p * p1 + n_b * slope_b * q * q1
        if value < 0:
            low = p
        elif value > 0:
            high = p
        else:
            return p
        steep = r * n_c * (r * p * p1 + slope_c * (p1 - p)) + n_b * (q * q1 + r * slope_b * (q1 - q))
        step = value / steep if steep > 0 else math.inf
        if abs(step) <= _TINY * p or high - low <= _TINY * low:
            return p - step if low < p - step < high else p
        p -= step
    return p
