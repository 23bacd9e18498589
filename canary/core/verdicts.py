"""From one sample to one verdict: Pass, Fail, NoData or Error, with the sentence that explains it.

Upstream's comparison is kept (reference 2.11): bounds are inclusive, `threshold` is a minimum for the built-in success rate
and a maximum everywhere else, `request-duration` compares whole milliseconds. Two corrections: a bound below one
millisecond is compared as it is instead of becoming 0 (Q29), and infinity is a value that no maximum admits. A check
without any bound keeps upstream's meaning, a maximum of 0, because manifests that survived with it rely on it.
"""

from __future__ import annotations

import enum
import math
from dataclasses import dataclass, replace

from canary.api.analysis import Metric, NoData, OnError, ThresholdRange
from canary.api.status import Verdict
from canary.core.model import MetricSource, Sample

SUCCESS_RATE, DURATION = "request-success-rate", "request-duration"


class Tally(enum.Enum):
    """What a verdict does to the run: it may advance, a failed check is counted, or neither."""

    ADVANCE = "advance"
    FAILED = "failed"
    HOLD = "hold"


@dataclass(frozen=True, slots=True)
class Judged:
    """One verdict. `text` explains it in one clause; `counts` is what it does to the run (an informational check never does anything).

    `fatal`: a critical check has a value out of its bounds, which ends the run whatever the threshold. Ignorance is never fatal: without
    data or answer a critical check counts as `noData` and `onError` say, like any other.
    """

    verdict: Verdict
    counts: Tally
    text: str
    bound: ThresholdRange
    fatal: bool = False


def judge(metric: Metric, source: MetricSource, sample: Sample) -> Judged:
    """Judge one sample of one source of a metric."""
    bound = bounds_of(metric, source)
    if sample.error:
        counts = Tally.HOLD if metric.on_error is OnError.HOLD else Tally.FAILED
        return _judged(metric, Verdict.ERROR, counts, f"{metric.name} query failed: {sample.error}", bound)
    value = sample.value
    if value is None or math.isnan(value):
        return _without_data(metric, f"{sample.provider} metric {metric.name}", bound)
    if metric.min_samples is not None and sample.samples is not None and sample.samples < metric.min_samples:
        return _without_data(metric, f"{metric.name}: {sample.samples} of {metric.min_samples} samples", bound)
    duration = source is MetricSource.BUILTIN and metric.name == DURATION
    breach = _breach(value, bound, whole=duration)
    if breach:
        text = f"{_subject(metric, source)} {_shown(value, metric, source)} {breach[0]} {_bound_shown(breach[1], metric, source)}"
        return _judged(metric, Verdict.FAIL, Tally.FAILED, text, bound)
    return _judged(metric, Verdict.PASS, Tally.ADVANCE, f"{_subject(metric, source)} {_shown(value, metric, source)}", bound)


def unusable(metric: Metric) -> Judged:
    """A metric that is no built-in and has neither a query nor a template: nothing to ask."""
    text = f"{metric.name} has no query and no template, and is not built in"
    return _judged(metric, Verdict.ERROR, Tally.FAILED, text, ThresholdRange())


def bounds_of(metric: Metric, source: MetricSource) -> ThresholdRange:
    """Accepted values for this source; `thresholdRange` hides `threshold`, and no bound at all means a threshold of 0."""
    if metric.threshold_range is not None:
        return metric.threshold_range
    threshold = metric.threshold or 0.0
    if source is MetricSource.BUILTIN and metric.name == SUCCESS_RATE:
        return ThresholdRange(min=threshold)
    return ThresholdRange(max=threshold)


def go_duration(milliseconds: float) -> str:
    """A duration as upstream's events write it: `500ms`, `1.515s`, `1m30s`; below a millisecond `250µs`."""
    if not math.isfinite(milliseconds):
        return "infinite" if milliseconds > 0 else str(milliseconds)
    sign, rest = ("-", -milliseconds) if milliseconds < 0 else ("", milliseconds)
    if rest == 0:
        return "0s"
    if rest < 1:
        return f"{sign}{_plain(round(rest * 1000, 3))}µs"
    if rest < 1000:
        return f"{sign}{_plain(round(rest, 6))}ms"
    whole_minutes, seconds = divmod(rest / 1000, 60)
    hours, minutes = divmod(int(whole_minutes), 60)
    text = f"{_plain(round(seconds, 9))}s"
    if hours:
        return f"{sign}{hours}h{minutes}m{text}"
    return f"{sign}{minutes}m{text}" if minutes else sign + text


def excused(judged: Judged, primary: Judged | None) -> Judged:
    """Guarded: what is not known, and what the primary fails as well, is no failed check but a wait. It spares critical checks, too:
    an outage of both versions says nothing about the new one. `primary`: the same check of the primary, None where it was not asked.
    """
    if judged.counts is not Tally.FAILED:
        return judged
    if judged.verdict is not Verdict.FAIL:
        return replace(judged, counts=Tally.HOLD)
    if primary is None or primary.verdict is not Verdict.FAIL:
        return judged
    return replace(judged, counts=Tally.HOLD, text=f"{judged.text}; the primary fails, too: {primary.text}", fatal=False)


def _breach(value: float, bound: ThresholdRange, *, whole: bool) -> tuple[str, float] | None:
    for sign, limit in (("<", bound.min), (">", bound.max)):
        if limit is None:
            continue
        seen, against = _whole_ms(value, limit) if whole else (value, limit)
        if (seen < against) if sign == "<" else (seen > against):
            return sign, limit
    return None


def _whole_ms(value: float, limit: float) -> tuple[float, float]:
    """Both cut to whole milliseconds, unless that would turn the bound into 0."""
    if 0 < abs(limit) < 1 or not math.isfinite(value):
        return value, limit
    return float(math.trunc(value)), float(math.trunc(limit))


def _without_data(metric: Metric, text: str, bound: ThresholdRange) -> Judged:
    counts = {NoData.FAIL: Tally.FAILED, NoData.HOLD: Tally.HOLD, NoData.PASS: Tally.ADVANCE}[metric.no_data]
    return _judged(metric, Verdict.NO_DATA, counts, text, bound)


def _judged(metric: Metric, verdict: Verdict, counts: Tally, text: str, bound: ThresholdRange) -> Judged:
    if metric.informational:
        return Judged(verdict, Tally.ADVANCE, text, bound)
    return Judged(verdict, counts, text, bound, fatal=metric.critical and verdict is Verdict.FAIL)


def _subject(metric: Metric, source: MetricSource) -> str:
    if source is MetricSource.BUILTIN:
        return {SUCCESS_RATE: "success rate", DURATION: "request duration"}[metric.name]
    return metric.name


def _shown(value: float, metric: Metric, source: MetricSource) -> str:
    if source is not MetricSource.BUILTIN:
        return f"{value:.2f}"
    return (
        f"{value:.2f}%"
        if metric.name == SUCCESS_RATE
        else go_duration(value if value < 1 else math.trunc(value) if math.isfinite(value) else value)
    )


def _bound_shown(limit: float, metric: Metric, source: MetricSource) -> str:
    if source is not MetricSource.BUILTIN:
        return _plain(limit)
    return f"{_plain(limit)}%" if metric.name == SUCCESS_RATE else go_duration(limit if abs(limit) < 1 else math.trunc(limit))


def _plain(number: float) -> str:
    return str(int(number)) if float(number).is_integer() and abs(number) < 1e15 else repr(number)
