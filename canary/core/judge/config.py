"""`analysis.sequential`: what an operator may set, with defaults that need no tuning.

The keys and their defaults are read here and nowhere else. Unknown keys are errors: a misspelt margin that is silently ignored
would promote what the author meant to stop.
"""

from __future__ import annotations

import enum
import itertools
import math
import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Self, TypeVar

from canary.api.common import parse_duration
from canary.core.errors import Rejected
from canary.core.weights import TOTAL, beside

_Choice = TypeVar("_Choice", bound=enum.Enum)


class JudgeConfigError(Rejected, ValueError):
    """A value of `analysis.sequential` cannot be used; says which, why and what would do."""

    reason = "InvalidSequential"


class OnInconclusive(enum.Enum):
    """What to do at the deadline when the data allow no verdict."""

    HOLD = "hold"
    ROLLBACK = "rollback"
    PROMOTE = "promote"


class Steps(enum.Enum):
    """Who sets the weight: the evidence (`adaptive`), or a schedule that evidence only stops (`fixed`)."""

    ADAPTIVE = "adaptive"
    FIXED = "fixed"


class Baseline(enum.Enum):
    """What the canary is compared with: the primary, or a fresh copy of it that gets as much of the traffic as the canary."""

    PRIMARY = "primary"
    FRESH = "fresh"


@dataclass(frozen=True, slots=True)
class Margin:
    """What is tolerated. Shares (0..1); the spec writes percentage points.

    Errors: canary <= primary + `error_rate`, or with `error_ratio` canary <= ratio * primary (+ `error_rate` if that is given
    too; None leaves failures alone to decide). Latency: slow share <= `slow_ratio` * primary's + `slow_share`, at each bound.
    """

    error_rate: float | None = 0.002
    error_ratio: float | None = None
    slow_ratio: float = 1.25
    slow_share: float = 0.005


@dataclass(frozen=True, slots=True)
class Thresholds:
    """The author's own absolute bounds, as shares: failures at most, and slower than `slow_ms` milliseconds at most."""

    error_rate: float | None = None
    slow_ms: float | None = None
    slow_share: float | None = None


@dataclass(frozen=True, slots=True)
class JudgeConfig:
    """Everything the judge needs to know beforehand. Durations in seconds, weights in percent."""

    alpha: float = 0.01
    pass_alpha: float = 0.05
    margin: Margin = field(default_factory=Margin)
    thresholds: Thresholds = field(default_factory=Thresholds)
    harm_budget: float = 25.0
    max_excess_per_hour: float = 0.0
    warmup: float = 0.0
    min_duration: float = 600.0
    max_duration: float = 3600.0
    on_inconclusive: OnInconclusive = OnInconclusive.HOLD
    steps: Steps = Steps.ADAPTIVE
    max_weight: int = 50
    step_weights: tuple[int, ...] = ()
    interval: float = 60.0
    baseline: Baseline = Baseline.PRIMARY

    @property
    def compared_weight(self) -> int:
        """The top until health is shown: beyond it the primary (or a fresh baseline) is seen less and less, and at 100 % not at all."""
        return min(self.max_weight, TOP[self.baseline])

    @property
    def other(self) -> str:
        """What the canary is compared with, in words."""
        return "fresh baseline" if self.baseline is Baseline.FRESH else "primary"

    def against(self, weight: int) -> float:
        """Requests that the canary's are compared with, for each of its own, at this weight (percent, above 0)."""
        return (beside(weight) if self.baseline is Baseline.FRESH else TOTAL - weight) / weight

    @classmethod
    def from_spec(cls, spec: Mapping[str, Any]) -> Self:
        """From the keys of `analysis.sequential` plus `maxWeight`, `thresholds`, `stepWeight`, `stepWeights`, `interval` and `baseline`.

        `max_weight` defaults to 50, or 33 with a fresh baseline (both versions equally well observed), not to upstream's 100,
        where nothing is left to compare with. Raises JudgeConfigError.
        """
        keys = _Keys("analysis.sequential", spec, _TOP)
        steps = keys.choice("steps", Steps, Steps.ADAPTIVE)
        baseline = keys.choice("baseline", Baseline, Baseline.PRIMARY)
        top = keys.whole("maxWeight", TOP[baseline], least=1, most=100)
        deadline = keys.seconds("maxDuration", 3600.0, above=0)
        config = cls(
            alpha=keys.number("alpha", 0.01, above=0, below=0.5),
            pass_alpha=keys.number("passAlpha", 0.05, above=0, below=0.5),
            margin=_margin(keys.part("margin", _MARGIN)),
            thresholds=_thresholds(keys.part("thresholds", _THRESHOLDS)),
            harm_budget=keys.number("harmBudget", 25.0, above=0),
            max_excess_per_hour=keys.number("maxExcessPerHour", 0.0, least=0),
            warmup=keys.seconds("warmup", 0.0),
            min_duration=keys.seconds("minDuration", min(600.0, deadline)),
            max_duration=deadline,
            on_inconclusive=keys.choice("onInconclusive", OnInconclusive, OnInconclusive.HOLD),
            steps=steps,
            max_weight=top,
            step_weights=_schedule(keys, top) if steps is Steps.FIXED else (),
            interval=keys.seconds("interval", 60.0, above=0),
            baseline=baseline,
        )
        if config.min_duration > config.max_duration:
            raise keys.bad("minDuration", f"is longer than maxDuration ({config.max_duration:g} s)", "lower it, or raise maxDuration")
        return config


TOP: Final = {Baseline.PRIMARY: 50, Baseline.FRESH: 33}
"""Weights at which both versions are equally well observed, and the primary's pods no more loaded than the canary's."""
_TOP = (
    *("alpha", "passAlpha", "margin", "harmBudget", "maxExcessPerHour", "warmup", "minDuration", "maxDuration", "onInconclusive"),
    *("steps", "maxWeight", "thresholds", "stepWeight", "stepWeights", "interval", "baseline"),
)
_MARGIN = ("errorRate", "errorRatio", "slowRatio", "slowShare")
_THRESHOLDS = ("errorRate", "slowMs")


def _margin(keys: _Keys) -> Margin:
    ratio = keys.maybe("errorRatio", above=1)
    rate = keys.maybe("errorRate", least=0, below=100)
    if rate is None and ratio is None:
        rate = 0.2
    if rate == 0 and ratio is None:
        raise keys.bad("errorRate", "is 0, so that no amount of data could show health", "write a number above 0, or add errorRatio")
    slow_ratio, slow_share = keys.number("slowRatio", 1.25, least=1), keys.number("slowShare", 0.5, least=0, below=100)
    if slow_ratio == 1 and slow_share == 0:
        raise keys.bad("slowShare", "is 0 with slowRatio 1, so that no amount of data could show health", "raise one of them")
    return Margin(None if rate is None else rate / 100, ratio, slow_ratio, slow_share / 100)


def _thresholds(keys: _Keys) -> Thresholds:
    rate = keys.maybe("errorRate", above=0, below=100)
    slow = keys.values.get("slowMs")
    if slow is None:
        return Thresholds(error_rate=None if rate is None else rate / 100)
    if not isinstance(slow, Sequence) or isinstance(slow, str) or len(slow) != 2:
        raise keys.bad("slowMs", f"is {slow!r}", "write [milliseconds, percent], for example [500, 1]")
    bound = _number(keys.within("slowMs[0]"), slow[0], above=0)
    share = _number(keys.within("slowMs[1]"), slow[1], above=0, below=100)
    return Thresholds(error_rate=None if rate is None else rate / 100, slow_ms=bound, slow_share=share / 100)


def _schedule(keys: _Keys, top: int) -> tuple[int, ...]:
    """The weights of a fixed schedule, rising, the last one the top."""
    listed = keys.values.get("stepWeights")
    if listed is not None:
        if not isinstance(listed, Sequence) or isinstance(listed, str) or not listed:
            raise keys.bad("stepWeights", f"is {listed!r}", "write a list of percentages, for example [1, 5, 25, 50]")
        weights = [_whole(keys.within(f"stepWeights[{at}]"), weight, least=1, most=100) for at, weight in enumerate(listed)]
        if any(after <= before for before, after in itertools.pairwise(weights)):
            raise keys.bad("stepWeights", f"is {list(listed)}", "write weights that rise")
        return (*(weight for weight in weights if weight < top), top)
    step = keys.whole("stepWeight", 5, least=1, most=100)
    return (*range(step, top, step), top)


@dataclass(frozen=True, slots=True)
class _Keys:
    """One mapping of the spec and where it stands."""

    where: str
    values: Mapping[str, Any]
    known: Sequence[str]

    def __post_init__(self) -> None:
        if not isinstance(self.values, Mapping):
            raise JudgeConfigError(f"{self.where}: is {self.values!r}", hint="write a mapping of settings")
        for key in self.values:
            if key not in self.known:
                raise JudgeConfigError(f"{self.where}.{key}: unknown setting", hint=f"use one of {', '.join(self.known)}")

    def within(self, key: str) -> str:
        return f"{self.where}.{key}"

    def bad(self, key: str, what: str, mend: str) -> JudgeConfigError:
        return JudgeConfigError(f"{self.within(key)}: {what}; {mend}", hint=mend)

    def part(self, key: str, known: Sequence[str]) -> _Keys:
        given = self.values.get(key)
        return _Keys(self.within(key), {} if given is None else given, known)

    def number(self, key: str, default: float, **bounds: float) -> float:
        given = self.values.get(key)
        return default if given is None else _number(self.within(key), given, **bounds)

    def maybe(self, key: str, **bounds: float) -> float | None:
        given = self.values.get(key)
        return None if given is None else _number(self.within(key), given, **bounds)

    def whole(self, key: str, default: int, *, least: int, most: int) -> int:
        given = self.values.get(key)
        return default if given is None else _whole(self.within(key), given, least=least, most=most)

    def seconds(self, key: str, default: float, **bounds: float) -> float:
        given = self.values.get(key)
        if given is None:
            return default
        if isinstance(given, str):
            try:
                given = parse_duration(given)
            except ValueError as error:
                raise JudgeConfigError(f"{self.within(key)}: {error}", hint="write a duration like 10m or 1h30m") from error
        return _number(self.within(key), given, **({"least": 0.0} | bounds))

    def choice(self, key: str, kind: type[_Choice], default: _Choice) -> _Choice:
        given = self.values.get(key)
        if given is None or isinstance(given, kind):
            return default if given is None else given
        known = [member.value for member in kind]
        if given not in known:
            raise self.bad(key, f"is {given!r}", f"use one of {', '.join(known)}")
        return kind(given)


def _number(where: str, given: Any, **bounds: float) -> float:
    """A finite number within `above`/`least` and `below`/`most`. Raises JudgeConfigError."""
    value = given
    if isinstance(given, str):
        try:
            value = float(given)
        except ValueError:
            value = None
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise JudgeConfigError(f"{where}: is {given!r}, which is no number", hint="write a plain number")
    for key, (words, holds) in _BOUNDS.items():
        if key in bounds and not holds(value, bounds[key]):
            mend = f"write a number {words} {bounds[key]:g}"
            raise JudgeConfigError(f"{where}: is {given!r}; {mend}", hint=mend)
    return float(value)


_BOUNDS: Final[Mapping[str, tuple[str, Callable[[float, float], bool]]]] = {
    "above": ("above", operator.gt),
    "least": ("of at least", operator.ge),
    "below": ("below", operator.lt),
    "most": ("of at most", operator.le),
}


def _whole(where: str, given: Any, *, least: int, most: int) -> int:
    value = _number(where, given, least=least, most=most)
    if value != int(value):
        raise JudgeConfigError(f"{where}: is {given!r}; write a whole number", hint="write a whole number")
    return int(value)
