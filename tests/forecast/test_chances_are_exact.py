"""Chances of counted checks: against enumeration, and against the simulation of whole runs."""

import itertools
import math

import pytest

from canary.api.analysis import Analysis
from canary.core.forecast.advice import chances_of
from canary.core.forecast.chances import Limit, exceeds, independent, limits, luck, run
from canary.core.forecast.release import Release, Rules
from canary.core.forecast.service import HEALTHY, Service, parse_fault
from canary.core.forecast.summary import summary, wilson

CHECKED = {
    "interval": "1m",
    "threshold": 5,
    "stepWeight": 5,
    "maxWeight": 50,
    "metrics": [{"name": "request-success-rate", "thresholdRange": {"min": 99}}],
}

RUNS = 100


def pois(count, mean):
    return math.exp(count * math.log(mean) - mean - math.lgamma(count + 1)) if mean else float(count == 0)


def enumerated(requests, bad, limit, most=230):
    """The same chance, pair by pair."""
    return sum(
        pois(x, requests * bad) * pois(good, requests * (1 - bad))
        for x in range(1, most)
        for good in range(most)
        if x > limit * (x + good) + 1e-12
    )


@pytest.mark.parametrize(
    ("requests", "bad", "limit"),
    [(0.5, 0.01, 0.01), (30, 0.02, 0.01), (60, 0.05, 0.1), (45, 0.3, 0.25), (20, 0.004, 0.05), (99, 0.01, 0.01)],
)
def test_the_chance_that_a_share_is_exceeded_is_that_of_enumeration(requests, bad, limit):
    assert exceeds(requests, bad, limit) == pytest.approx(enumerated(requests, bad, limit), rel=1e-9)


def test_chances_at_their_ends():
    assert exceeds(1e5, 0.02, 0.01) == pytest.approx(1.0)
    assert exceeds(1e5, 0.005, 0.01) < 1e-9
    assert exceeds(100, 0.02, 0.0) == pytest.approx(1 - math.exp(-2))
    assert exceeds(0, 0.5, 0.1) == exceeds(10, 0.0, 0.1) == exceeds(10, 0.5, 1.0) == 0.0


def test_a_run_of_failing_steps_is_that_of_enumeration():
    fails, threshold = (0.3, 0.1, 0.5), 2
    expected = dict.fromkeys(("back", "failed", "steps"), 0.0)
    for coins in itertools.product((True, False), repeat=len(fails) + threshold):
        at = failed = steps = 0
        chance = 1.0
        for coin in coins:
            if at < len(fails) and failed < threshold:
                chance *= fails[at] if coin else 1 - fails[at]
                steps += 1
                failed, at = (failed + 1, at) if coin else (failed, at + 1)
            else:
                chance *= 0.5
        expected["back"] += chance * (failed >= threshold)
        expected["failed"] += chance * failed
        expected["steps"] += chance * steps
    found = run(fails, threshold)
    assert (found.rolled_back, found.failed, found.steps) == pytest.approx(tuple(expected.values()))


def test_a_check_that_never_fails_takes_as_many_steps_as_the_schedule_has():
    found = run((0.0,) * 10, 5)
    assert (found.rolled_back, found.failed, found.steps) == (0.0, 0.0, 10.0)


def test_rate_sees_one_scrape_less_than_its_window_holds():
    limit = Limit("request-success-rate", 0.01, 60.0)
    assert limit.requests(10, 15) == 450
    assert limit.requests(10, 30) == 300
    assert limit.requests(10, 60) == 0, "one scrape has no difference"


def test_checks_before_the_second_scrape_fail():
    service = Service(1000.0)
    for interval, blind in (("60s", 0), ("30s", 0), ("15s", 1), ("10s", 2)):
        analysis = Analysis.model_validate(CHECKED | {"interval": interval})
        [outcome] = [Release(Rules(analysis, service), HEALTHY, 1).run()]
        assert outcome.failed_checks == blind == round(chances_of(analysis, service, HEALTHY).failed, 6)
    hasty = Analysis.model_validate(CHECKED | {"interval": "5s"})
    assert chances_of(hasty, service, HEALTHY).rolled_back == 1.0
    assert Release(Rules(hasty, service), HEALTHY, 1).run().verdict == "rollback"


def test_what_two_steps_see_is_not_independent():
    assert independent(Analysis.model_validate(CHECKED))
    assert not independent(Analysis.model_validate(CHECKED | {"interval": "10s"}))


def test_a_window_without_requests_fails_unless_it_may_wait():
    limit = Limit("request-success-rate", 0.01, 60.0)
    empty = math.exp(-4.5)
    assert luck([(limit, 0.0)], rate=0.1, spacing=15).fails == pytest.approx(empty)
    patient = Limit("request-success-rate", 0.01, 60.0, no_data_fails=False)
    assert luck([(patient, 0.0)], rate=0.1, spacing=15).fails == 0


def test_checks_are_read_as_limits_of_shares():
    analysis = Analysis.model_validate(
        CHECKED | {"metrics": [*CHECKED["metrics"], {"name": "request-duration", "threshold": 500, "noData": "hold"}]}
    )
    assert [(one.share, one.slow_ms, one.no_data_fails) for one in limits(analysis)] == [
        (pytest.approx(0.01), None, True),
        (0.01, 500, False),
    ]


@pytest.mark.parametrize(
    ("traffic", "errors", "fault"),
    [(0.1, 0.001, HEALTHY), (10.0, 0.008, HEALTHY), (100.0, 0.008, HEALTHY), (1.0, 0.001, parse_fault("errors=2%"))],
)
def test_simulated_runs_end_as_often_as_computed(traffic, errors, fault):
    analysis, service = Analysis.model_validate(CHECKED), Service(traffic, errors)
    rules = Rules(analysis, service)
    found = summary([Release(rules, fault, seed).run() for seed in range(RUNS)], afterwards=0.0)
    exact = chances_of(analysis, service, fault)
    low, high = wilson(found.rolled_back, RUNS)
    assert low - 0.04 <= exact.rolled_back <= high + 0.04
    assert found.failed_checks == pytest.approx(exact.failed, abs=0.5)
    assert 0.02 < exact.rolled_back < 0.98


def test_copies_are_one_more_step_of_a_run():
    analysis, service = Analysis.model_validate(CHECKED | {"mirror": True, "mirrorWeight": 10}), Service(10.0, 0.008)
    plain, exact = (chances_of(one, service, HEALTHY) for one in (Analysis.model_validate(CHECKED), analysis))
    assert exact.steps > plain.steps
    assert exact.rolled_back > plain.rolled_back
    found = summary([Release(Rules(analysis, service), HEALTHY, seed).run() for seed in range(RUNS)], afterwards=0.0)
    low, high = wilson(found.rolled_back, RUNS)
    assert low - 0.04 <= exact.rolled_back <= high + 0.04
    assert found.failed_checks == pytest.approx(exact.failed, abs=0.5)
