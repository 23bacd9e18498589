"""How long a verdict will take, before anything is released: for people who choose margins and deadlines.

Expected values from the same divergences that the test bets on, not a simulation: within a factor of two of what runs take (bench).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Final

from canary.core.judge.comparison import EFFECTS, SLOW_EFFECTS, Border, required
from canary.core.judge.config import JudgeConfig
from canary.core.judge.evalue import divergence, information
from canary.core.judge.judge import COPIES
from canary.core.judge.threshold import ALTERNATIVES

_DILUTION: Final = 0.4
"""Part of the stake that the comparison with the primary gets; a limit of the author's own gets half of that."""
_START: Final = 0.7
_TICKS: Final = 3
_MINUTE: Final = 60.0


@dataclass(frozen=True, slots=True)
class Promotion:
    """What showing health takes: canary requests under the top weight, and seconds at the given traffic (None: never).

    `users_per_hour` is the smallest `maxExcessPerHour` that would decide within the deadline, when that is not so already.
    """

    requests: int | None
    seconds: float | None
    users_per_hour: int | None


@dataclass(frozen=True, slots=True)
class Detection:
    """What taking back a version that fails at `rate` takes: canary requests, seconds at this weight, and users affected by then."""

    rate: float
    requests: int
    seconds: float
    users: float


@dataclass(frozen=True, slots=True)
class Copying:
    """The stage of copies: seconds until a healthy version meets its first users, and until copies alone have shown its health (None: never)."""

    seconds: float
    shown: float | None


def promotion(config: JudgeConfig, *, traffic: float, error_rate: float, slow_share: float | None = None, phi: float = 1.0) -> Promotion:
    """For a service with `traffic` requests per second that fails at `error_rate` (share); `slow_share` is the share over the
    bucket bound at which latency is compared (about the highest below 5 %), `phi` its burst size.
    """
    requests = _healthy(config, config.max_excess_per_hour, traffic, error_rate, slow_share, phi=phi)
    seconds = _time(config, requests, traffic)
    if seconds is not None and seconds <= config.max_duration:
        return Promotion(requests, seconds, None)
    return Promotion(requests, seconds, _enough_users(config, traffic, error_rate, slow_share, phi=phi))


def copying(
    config: JudgeConfig,
    *,
    copied: int,
    traffic: float,
    error_rate: float,
    slow_share: float | None = None,
    phi: float = 1.0,
    spacing: float,
) -> Copying:
    """For a service as in `promotion`, `copied` percent of whose requests are copied to the canary before it gets any of its own.

    Two looks more than the judge asks for: who counts copies is not who counted before, so that the first one only anchors.
    """
    requests = _healthy(config, config.max_excess_per_hour, traffic, error_rate, slow_share, phi=phi, primaries=100 / copied)
    shown = None if requests is None else config.warmup + requests / (traffic * copied / 100)
    longest = COPIES * config.max_duration
    over = longest if shown is None else min(longest, shown)
    return Copying(max(config.interval, config.warmup, over) + 2 * spacing, shown)


def after_copies(config: JudgeConfig, seconds: float) -> JudgeConfig:
    """The settings for what comes after so many seconds of copies: both the deadline and the shortest time count from the first look."""
    left = max(1.0, config.max_duration - seconds)
    return replace(config, max_duration=left, min_duration=min(left, max(0.0, config.min_duration - seconds)))


def detection(
    config: JudgeConfig, *, rate: float, traffic: float, error_rate: float, weight: int, spacing: float = 15.0, copied: int = 0
) -> Detection | None:
    """For a canary that fails at `rate` (share) from the start at `weight` percent, or on copies of so many percent; None when that is tolerated."""
    margin, primaries = config.margin, 100 / copied if copied else config.against(weight)
    tolerated = (margin.error_ratio or 1.0) * error_rate + (margin.error_rate or 0.0)
    gains = []
    if rate > tolerated and margin.error_rate is not None:
        gain = information(rate, error_rate, ratio=margin.error_ratio or 1.0, margin=margin.error_rate, primaries=primaries)
        gains.append((math.log(len(EFFECTS) / config.alpha / _DILUTION) + _START) / gain)
    limit = config.thresholds.error_rate
    if limit is not None and rate > limit and error_rate < limit / 2:
        gains.append((math.log(2 * len(ALTERNATIVES) / config.alpha / _DILUTION) + _START) / divergence(rate, limit))
    if not gains:
        return None
    served = traffic * (copied or weight) / 100
    seconds = max(min(gains) / served, _TICKS * spacing)
    requests = math.ceil(seconds * served)
    return Detection(rate, requests, seconds, 0.0 if copied else requests * (rate - error_rate))


def _healthy(
    config: JudgeConfig,
    users: float,
    traffic: float,
    error_rate: float,
    slow_share: float | None,
    *,
    phi: float,
    primaries: float | None = None,
) -> int | None:
    """The most that any metric needs. `primaries`: requests of the primary for each of the canary; those of the top weight when absent."""
    margin, excess = config.margin, min(0.5, users / 3600 / traffic)
    strict = 1 / config.pass_alpha
    primaries = config.against(config.compared_weight) if primaries is None else primaries
    tolerated = None if margin.error_rate is None else max(margin.error_rate, excess)
    needs = [required(strict, max(error_rate, 1e-6), border=Border(margin.error_ratio or 1.0, tolerated), primaries=primaries, phi=phi)]
    if slow_share is not None:
        border = Border(margin.slow_ratio, max(margin.slow_share, excess), SLOW_EFFECTS, relative=True)
        needs.append(required(strict, max(slow_share, 1e-6), border=border, primaries=primaries))
    known = [need for need in needs if need is not None]
    most: int = max(known, default=0)
    return most if len(known) == len(needs) else None


def _time(config: JudgeConfig, requests: int | None, traffic: float) -> float | None:
    if requests is None:
        return None
    return max(requests / (traffic * config.compared_weight / 100), _MINUTE, config.min_duration)


def _enough_users(config: JudgeConfig, traffic: float, error_rate: float, slow_share: float | None, *, phi: float) -> int | None:
    """Smallest number with one leading digit of 1, 2, 3 or 6."""
    for users in (int(f"{lead}{'0' * zeros}") for zeros in range(6) for lead in (1, 2, 3, 6)):
        seconds = _time(config, _healthy(config, users, traffic, error_rate, slow_share, phi=phi), traffic)
        if seconds is not None and seconds <= config.max_duration:
            return users
    return None
