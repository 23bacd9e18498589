"""Exact expectations by enumeration: no simulation, no tolerance for luck."""

from __future__ import annotations

import math
from collections.abc import Callable

from canary.core.judge.evalue import Counts


def binomial(n: int, p: float) -> list[float]:
    """Probabilities of 0..n bad requests among n."""
    if p <= 0:
        return [1.0] + [0.0] * n
    if p >= 1:
        return [0.0] * n + [1.0]
    return [
        math.exp(math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1) + k * math.log(p) + (n - k) * math.log1p(-p))
        for k in range(n + 1)
    ]


def expectation(log_e: Callable[[Counts], float], n: int, m: int, canary: float, primary: float) -> float:
    """E[e] of one tick with n canary and m primary requests that are bad with these probabilities."""
    return math.fsum(
        px * py * math.exp(log_e(Counts(n, x, m, y)))
        for x, px in enumerate(binomial(n, canary))
        for y, py in enumerate(binomial(m, primary))
        if px * py > 0
    )
