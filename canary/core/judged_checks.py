"""Between the spec, the judge and what people read: its settings from the analysis, its numbers as checks.

Built-in checks are read as limits of shares: `request-success-rate` of at least 99 is "at most 1 % fail", `request-duration` of at most 500 is
"at most 1 % take longer than 500 ms", which is what a 99th percentile says. Under `sequential` they are no counted checks any more.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from canary.api.analysis import Analysis, Metric, ThresholdRange
from canary.api.sequential import HIGHEST_TOP_WEIGHT, Baseline, Judge
from canary.api.status import CheckStatus, Evidence, Verdict
from canary.core.evidence import LONGEST_TEXT, shortened
from canary.core.judge import Decision, JudgeConfig
from canary.core.judge.judge import SUSPICIOUS
from canary.core.judge.pairs import PREFIX
from canary.core.times import precise
from canary.core.turn import Turn
from canary.core.verdicts import DURATION, SUCCESS_RATE

SOURCE = "judge"
"""`source` of the checks that the judge makes."""
SHARES = "sampleRatio"
_SHARES_WRONG = 1000.0
_LIMITS = ("errorThreshold", "latencyThreshold")
_P99 = 1.0
"""Percent of requests above a 99th percentile."""


def config_of(analysis: Analysis, *, baseline: Baseline | None = None) -> JudgeConfig:
    """The judge's settings; `baseline` is what a run is compared with in fact. Raises JudgeConfigError for values that no API server has checked."""
    given = {key: value for key, value in analysis.sequential.to_dict().items() if value not in ("", None)}
    given.pop("steps", None)  # a fixed schedule is the rules' own; the judge only says whether to go on
    if analysis.judge is Judge.GUARDED:
        given["onInconclusive"] = "hold"  # it promotes nothing, so that nothing is owed at a deadline
    given["maxWeight"] = max(1, min(HIGHEST_TOP_WEIGHT, analysis.max_weight_effective))
    given["baseline"] = (analysis.baseline if baseline is None else baseline).value
    given["interval"] = analysis.interval_seconds
    given["thresholds"] = _thresholds(analysis)
    return JudgeConfig.from_spec(given)


def _thresholds(analysis: Analysis) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for metric in analysis.metrics:
        if metric.informational:
            continue
        failing = _failing(metric)
        if failing is not None:
            found["errorRate"] = min(failing, found.get("errorRate", failing))
        slow = metric.bounds.max
        if metric.name == DURATION and slow is not None and slow > 0:
            found["slowMs"] = min([slow, _P99], found.get("slowMs", [slow, _P99]))
    return found


def _failing(metric: Metric) -> float | None:
    """Percent of requests that may fail; None when the check says nothing, or that none may: no share can be tested against that."""
    least = metric.bounds.min
    if metric.name != SUCCESS_RATE or least is None or not 0 < least < 100:
        return None
    return 100 - least


def show(t: Turn, config: JudgeConfig, decision: Decision) -> None:
    """Put the judge's numbers among the checks of the status."""
    mine = tuple(_check(t, config, name, numbers) for name, numbers in decision.evidence.items())
    t.update(checks=(*others(t.status.checks), *mine))


def others(checks: tuple[CheckStatus, ...]) -> tuple[CheckStatus, ...]:
    """The checks that the judge did not make."""
    return tuple(check for check in checks if check.source != SOURCE)


def own(checks: tuple[CheckStatus, ...]) -> tuple[CheckStatus, ...]:
    """The checks that the judge made."""
    return tuple(check for check in checks if check.source == SOURCE)


def _check(t: Turn, config: JudgeConfig, name: str, numbers: Mapping[str, Any]) -> CheckStatus:
    n, bad = int(numbers.get("canaryRequests", 0)), int(numbers.get("canaryBad", 0))
    against, favour = float(numbers["fail"]), float(numbers["pass"])
    limit = numbers.get("limit")
    return CheckStatus(
        name=f"{SOURCE}/{name}",
        verdict=_verdict(t, config, name, numbers),
        value=_share(name, numbers),
        bound=ThresholdRange(max=100 * limit) if name in _LIMITS and limit is not None else None,
        window="run",
        samples=n,
        source=SOURCE,
        weight=t.routes.canary,
        time=precise(t.now),
        message=shortened(_sentence(name, numbers, n, bad, other=config.other), LONGEST_TEXT),
        evidence=Evidence(
            fail=_log10(against),
            passed=_log10(favour),
            upper=numbers.get("upper"),
            lower=numbers.get("lower"),
            needed=numbers.get("needed"),
        ),
    )


def _verdict(t: Turn, config: JudgeConfig, name: str, numbers: Mapping[str, Any]) -> Verdict:
    """Fail and Pass are shown by evidence; what is neither has not enough data. Where nothing need be shown, no objection is a Pass."""
    if numbers["fail"] >= (_SHARES_WRONG if name == SHARES else 1 / config.alpha):
        return Verdict.FAIL
    if t.analysis.judge is Judge.SEQUENTIAL and numbers.get("required"):
        return Verdict.PASS if numbers["pass"] >= 1 / config.pass_alpha else Verdict.NO_DATA
    return Verdict.PASS if numbers.get("canaryRequests") else Verdict.NO_DATA


def _share(name: str, numbers: Mapping[str, Any]) -> float | None:
    """Percent of the canary's requests that are bad; for the shares, of the requests that its weight promises those that came."""
    n = numbers.get("canaryRequests") or 0
    part, whole = (n, numbers.get("expected") or 0) if name == SHARES else (numbers.get("canaryBad") or 0, n)
    return round(100 * part / whole, 4) if whole else None


def _sentence(name: str, numbers: Mapping[str, Any], n: int, bad: int, *, other: str) -> str:
    if name == SHARES:
        return f"{n} requests of the canary where its share promises {numbers.get('expected') or 0:.0f}"
    bound = numbers.get("boundMs")
    what = f"canary requests took longer than {bound:g} ms" if bound else "canary requests failed"
    if name.startswith(PREFIX):
        what = "counted of the canary are bad"
    text = f"{bad} of {n} {what}, {other} {numbers.get('primaryBad', 0)} of {numbers.get('primaryRequests', 0)}"
    if numbers["fail"] >= SUSPICIOUS:
        text += f"; so far apart in fewer than 1 of {numbers['fail']:.3g} tolerable releases"
    return text


def _log10(value: float) -> float | None:
    return round(math.log10(value), 3) if value > 0 else None
