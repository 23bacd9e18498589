"""A service and what can be wrong with a new version of it, as people write them: `errors=2%`, `latency=1.3x`, `p50=80ms,p99=256ms`.

Latency is lognormal: two percentiles, which everybody knows of his service, say all of it, and bodies and tails of real services are not far
from it. A histogram as input was rejected: who has one can use `canary replay`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Final

from canary.api.common import parse_duration
from canary.core.errors import Rejected

ISTIO: Final = (0.5, 1, 5, 10, 25, 50, 100, 250, 500, 1000, 2500, 5000, 10000, 30000, 60000, 300000, 600000, 1800000, 3600000)
"""Bounds of Istio's histogram in milliseconds; Envoy's are the same."""
_NORMAL: Final = NormalDist()
_TAIL: Final = 0.01
_UNITS: Final = {"s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0}
_PERCENT: Final = re.compile(r"\+?(\d+(?:\.\d+)?)\s*%")
_TRAFFIC: Final = re.compile(r"(\d+(?:\.\d+)?)(?:/(s|m|min|h))?")
_TIMES: Final = re.compile(r"x?(\d+(?:\.\d+)?)x?")
_QUANTILE: Final = re.compile(r"p(\d+(?:\.\d+)?)")


class UnreadableError(Rejected, ValueError):
    """A description of a service or a fault that cannot be used; says which, why and how to write it."""

    reason = "Unreadable"


@dataclass(frozen=True, slots=True)
class Latency:
    """A lognormal latency: its median in milliseconds and the standard deviation of its logarithm."""

    median: float = 80.0
    sigma: float = 0.5

    def above(self, bound: float, factor: float = 1.0) -> float:
        """Share of requests that take longer than `bound` ms, when everything takes `factor` times as long."""
        if math.isinf(bound):
            return 0.0
        return 1.0 - _NORMAL.cdf(math.log(bound / (self.median * factor)) / self.sigma)

    def quantile(self, share: float) -> float:
        """The latency in ms that this share of requests does not exceed."""
        return self.median * math.exp(self.sigma * _NORMAL.inv_cdf(share))


@dataclass(frozen=True, slots=True)
class Service:
    """`traffic` in requests a second of both versions, `errors` as a share, `spacing` seconds between scrapes.

    `burst`: mean number of failures that come as one. `young`: what every version does worse in the first `young_for` seconds of its pods.
    """

    traffic: float
    errors: float = 0.001
    latency: Latency = Latency()
    bounds: tuple[float, ...] = ISTIO
    spacing: float = 15.0
    burst: float = 1.0
    young: Fault | None = None
    young_for: float = 0.0


@dataclass(frozen=True, slots=True)
class Fault:
    """What the canary does worse: fails at a share (`errors`), or by so much more (`added`), and takes `slow` times as long."""

    name: str
    errors: float | None = None
    added: float = 0.0
    slow: float = 1.0

    @property
    def healthy(self) -> bool:
        return self.errors is None and not self.added and self.slow <= 1.0

    def rate(self, base: float) -> float:
        """The canary's share of failures for a primary that fails at `base`."""
        return min(1.0, max(base, self.errors or 0.0) + self.added)

    def excess(self, service: Service) -> float:
        """Bad responses per request of the canary that would not have been bad on the primary.

        A slow response counts when it takes longer than 99 % of the healthy ones.
        """
        bound = service.latency.quantile(1 - _TAIL)
        slower = service.latency.above(bound, self.slow) - _TAIL if self.slow > 1 else 0.0
        return max(0.0, self.rate(service.errors) - service.errors) + slower


HEALTHY: Final = Fault("healthy")
USUAL_FAULTS: Final = ("errors=+0.5%", "errors=2%", "errors=20%", "latency=1.3x", "latency=2x")


def parse_fault(text: str) -> Fault:
    """`errors=2%` (fails so many), `errors=+0.5%` (so many more), `latency=1.3x`; several joined by a comma. Raises UnreadableError."""
    errors, added, slow = None, 0.0, 1.0
    for part in text.split(","):
        kind, equals, value = part.strip().partition("=")
        if kind == "errors" and equals and value.startswith("+"):
            added = share(value, f"fault {text!r}")
        elif kind == "errors" and equals:
            errors = share(value, f"fault {text!r}")
        elif kind == "latency" and (found := _TIMES.fullmatch(value)) and float(found[1]) > 0:
            slow = float(found[1])
        else:
            raise UnreadableError(f"fault {text!r}: {part!r} is none", hint="write errors=2%, errors=+0.5% or latency=1.3x")
    return Fault(text, errors, added, slow)


def share(text: str, what: str) -> float:
    """A percentage as a share; the sign is required, because 2 could mean either. Raises UnreadableError."""
    found = _PERCENT.fullmatch(text.strip())
    if found is None or not 0 <= float(found[1]) <= 100:
        raise UnreadableError(f"{what}: {text!r} is no percentage", hint="write it like 0.1% or 2%")
    return float(found[1]) / 100


def traffic(text: str) -> float:
    """Requests per second from `50`, `50/s`, `3000/m` or `10/h`. Raises UnreadableError."""
    found = _TRAFFIC.fullmatch(text.strip())
    rate = float(found[1]) / _UNITS[found[2] or "s"] if found else 0.0
    if not 0 < rate < 1e7:
        raise UnreadableError(f"traffic {text!r} is no number of requests", hint="write requests a second, such as 50, or 3000/m")
    return rate


def latency(text: str) -> Latency:
    """A lognormal through percentiles such as `p50=80ms,p99=256ms`: exact for two, least squares for more. Raises UnreadableError."""
    hint = "write at least two percentiles, such as p50=80ms,p99=256ms"
    points = [_point(part.strip(), hint) for part in text.split(",")]
    if len({quantile for quantile, _ in points}) < 2:
        raise UnreadableError(f"latency {text!r} has one percentile, which does not say how wide it is", hint=hint)
    xs, ys = [_NORMAL.inv_cdf(quantile) for quantile, _ in points], [math.log(ms) for _, ms in points]
    sigma, at = _line(xs, ys)
    if sigma <= 0:
        raise UnreadableError(f"latency {text!r} does not rise with its percentiles", hint=hint)
    return Latency(math.exp(at), sigma)


def _point(part: str, hint: str) -> tuple[float, float]:
    name, _, value = part.partition("=")
    found = _QUANTILE.fullmatch(name.strip().lower())
    try:
        ms = 1000 * parse_duration(value)
    except ValueError as error:
        raise UnreadableError(f"latency {part!r}: {error}", hint=hint) from error
    if found is None or not 0 < float(found[1]) < 100 or ms <= 0:
        raise UnreadableError(f"latency {part!r} is no percentile", hint=hint)
    return float(found[1]) / 100, ms


def _line(xs: Sequence[float], ys: Sequence[float]) -> tuple[float, float]:
    """Slope and value at 0 of the least squares line."""
    x, y = math.fsum(xs) / len(xs), math.fsum(ys) / len(ys)
    slope = math.fsum((a - x) * (b - y) for a, b in zip(xs, ys, strict=True)) / math.fsum((a - x) ** 2 for a in xs)
    return slope, y - slope * x
