"""One sample, one verdict: bounds, units, missing data, errors (reference 2.11, flagger-analysis 1.6 and 1.7, Q29)."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from canary.api.analysis import Metric
from canary.api.status import Verdict
from canary.core.model import MetricSource, Sample
from canary.core.verdicts import Tally, go_duration, judge, unusable

BUILTIN, QUERY, TEMPLATE = MetricSource.BUILTIN, MetricSource.QUERY, MetricSource.TEMPLATE
RATE, DURATION, OWN = "request-success-rate", "request-duration", "not-found-percentage"


def verdict(value: float, *, name: str = OWN, source: MetricSource = QUERY, **fields: Any) -> Verdict:
    return judge(Metric.model_validate({"name": name, **fields}), source, Sample(value)).verdict


@pytest.mark.parametrize(("value", "passes"), [(99.0, True), (100.0, True), (98.999, False), (math.inf, True), (-math.inf, False)])
def test_the_threshold_of_the_success_rate_is_a_minimum(value: float, passes: bool) -> None:
    assert (verdict(value, name=RATE, source=BUILTIN, threshold=99.0) is Verdict.PASS) is passes


@pytest.mark.parametrize(("value", "passes"), [(500.0, True), (500.9, True), (501.0, False), (math.inf, False)])
def test_the_threshold_of_the_duration_is_a_maximum_in_whole_milliseconds(value: float, passes: bool) -> None:
    assert (verdict(value, name=DURATION, source=BUILTIN, threshold=500.0) is Verdict.PASS) is passes


@pytest.mark.parametrize("source", [QUERY, TEMPLATE])
@pytest.mark.parametrize("name", [OWN, RATE])
def test_the_threshold_of_everything_else_is_a_maximum(source: MetricSource, name: str) -> None:
    assert verdict(5.0, name=name, source=source, threshold=5.0) is Verdict.PASS
    assert verdict(5.001, name=name, source=source, threshold=5.0) is Verdict.FAIL


@pytest.mark.parametrize(
    ("bounds", "value", "passes"),
    [
        ({"min": 1.0, "max": 2.0}, 1.0, True),
        ({"min": 1.0, "max": 2.0}, 2.0, True),
        ({"min": 1.0, "max": 2.0}, 0.99, False),
        ({"min": 1.0, "max": 2.0}, 2.01, False),
        ({"min": 1.0}, 1e9, True),
        ({"max": 1.0}, -1e9, True),
        ({}, 1e9, True),
    ],
)
@pytest.mark.parametrize("source", [QUERY, TEMPLATE])
def test_a_range_is_inclusive_and_hides_the_threshold(source: MetricSource, bounds: dict[str, float], value: float, passes: bool) -> None:
    assert (verdict(value, source=source, threshold=0.0, thresholdRange=bounds) is Verdict.PASS) is passes


def test_without_any_bound_zero_is_the_limit_as_upstream() -> None:
    assert verdict(0.0) is Verdict.PASS
    assert verdict(0.001) is Verdict.FAIL
    assert verdict(0.0, name=RATE, source=BUILTIN) is Verdict.PASS
    assert verdict(0.9, name=DURATION, source=BUILTIN) is Verdict.PASS
    assert verdict(1.0, name=DURATION, source=BUILTIN) is Verdict.FAIL


def test_q29_a_bound_below_a_millisecond_does_not_become_zero() -> None:
    assert verdict(0.4, name=DURATION, source=BUILTIN, thresholdRange={"max": 0.5}) is Verdict.PASS
    assert verdict(0.6, name=DURATION, source=BUILTIN, thresholdRange={"max": 0.5}) is Verdict.FAIL
    assert verdict(0.2, name=DURATION, source=BUILTIN, thresholdRange={"min": 0.5}) is Verdict.FAIL


@given(st.floats(1, 1e6), st.floats(1, 1e6))
def test_durations_compare_as_whole_milliseconds_like_upstream(value: float, limit: float) -> None:
    assert (verdict(value, name=DURATION, source=BUILTIN, thresholdRange={"max": limit}) is Verdict.FAIL) == (int(value) > int(limit))
    assert (verdict(value, name=DURATION, source=BUILTIN, thresholdRange={"min": limit}) is Verdict.FAIL) == (int(value) < int(limit))


@pytest.mark.parametrize(("policy", "tally"), [("fail", Tally.FAILED), ("hold", Tally.HOLD), ("pass", Tally.ADVANCE)])
@pytest.mark.parametrize("sample", [Sample(), Sample(math.nan)])
def test_no_data_is_not_failure_unless_the_check_says_so(sample: Sample, policy: str, tally: Tally) -> None:
    judged = judge(Metric.model_validate({"name": OWN, "noData": policy}), QUERY, sample)
    assert (judged.verdict, judged.counts) == (Verdict.NO_DATA, tally)


@pytest.mark.parametrize(("policy", "tally"), [("fail", Tally.FAILED), ("hold", Tally.HOLD)])
def test_an_error_is_not_failure_unless_the_check_says_so(policy: str, tally: Tally) -> None:
    judged = judge(Metric.model_validate({"name": OWN, "onError": policy}), QUERY, Sample(error="connection refused"))
    assert (judged.verdict, judged.counts) == (Verdict.ERROR, tally)
    assert "connection refused" in judged.text


def test_by_default_missing_data_and_errors_count_as_failed_as_upstream() -> None:
    plain = Metric(name=OWN)
    assert judge(plain, QUERY, Sample()).counts is Tally.FAILED
    assert judge(plain, QUERY, Sample(error="x")).counts is Tally.FAILED


@pytest.mark.parametrize("sample", [Sample(1e9), Sample(), Sample(error="x")])
def test_a_dry_run_is_judged_and_decides_nothing(sample: Sample) -> None:
    judged = judge(Metric.model_validate({"name": OWN, "dryRun": True}), QUERY, sample)
    assert judged.verdict is not Verdict.PASS
    assert judged.counts is Tally.ADVANCE


@pytest.mark.parametrize(("samples", "seen"), [(4, Verdict.NO_DATA), (5, Verdict.PASS), (None, Verdict.PASS)])
def test_too_few_samples_are_no_data_if_their_number_is_known(samples: int | None, seen: Verdict) -> None:
    metric = Metric.model_validate({"name": OWN, "minSamples": 5, "threshold": 10.0})
    assert judge(metric, QUERY, Sample(1.0, samples=samples)).verdict is seen


def test_a_metric_that_nobody_can_ask_is_an_error_that_counts() -> None:
    judged = unusable(Metric(name=OWN))
    assert (judged.verdict, judged.counts) == (Verdict.ERROR, Tally.FAILED)
    assert OWN in judged.text


@pytest.mark.parametrize(
    ("name", "source", "value", "bounds", "text"),
    [
        (RATE, BUILTIN, 97.126, {"min": 99.0}, "success rate 97.13% < 99%"),
        (RATE, BUILTIN, 100.0, {"max": 99.5}, "success rate 100.00% > 99.5%"),
        (DURATION, BUILTIN, 1515.7, {"max": 500.0}, "request duration 1.515s > 500ms"),
        (DURATION, BUILTIN, math.inf, {"max": 500.0}, "request duration infinite > 500ms"),
        (DURATION, BUILTIN, 0.75, {"max": 0.5}, "request duration 750µs > 500µs"),
        (OWN, QUERY, 12.3456, {"max": 5.0}, "not-found-percentage 12.35 > 5"),
        (OWN, TEMPLATE, 0.1, {"min": 0.25}, "not-found-percentage 0.10 < 0.25"),
    ],
)
def test_the_text_names_value_and_bound_as_upstreams_events_do(
    name: str, source: MetricSource, value: float, bounds: dict[str, float], text: str
) -> None:
    judged = judge(Metric.model_validate({"name": name, "thresholdRange": bounds}), source, Sample(value))
    assert judged.verdict is Verdict.FAIL
    assert judged.text == text


@pytest.mark.parametrize(
    ("milliseconds", "text"),
    [
        (0, "0s"),
        (0.25, "250µs"),
        (1, "1ms"),
        (500, "500ms"),
        (1000, "1s"),
        (1515, "1.515s"),
        (90_000, "1m30s"),
        (3_661_000, "1h1m1s"),
        (-5, "-5ms"),
    ],
)
def test_durations_read_as_in_go(milliseconds: float, text: str) -> None:
    assert go_duration(milliseconds) == text
