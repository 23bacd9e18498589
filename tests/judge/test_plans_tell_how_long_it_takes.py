"""Forecasts before anything is released."""

from __future__ import annotations

from statistics import median

import pytest

from canary.core.judge import SequentialJudge
from canary.core.judge.plan import after_copies, copying, detection, promotion
from tests.judge.releases import Service, config, release
from tests.judge.test_copies_condemn_and_do_not_acquit import Mirror


def test_the_requests_of_the_page():
    """0.2 pp at 0.1 %: about 4 100 to 4 900 canary requests; 0.8 %: about 30 000."""
    assert 4000 <= promotion(config(), traffic=100, error_rate=0.001).requests <= 6000
    assert 25_000 <= promotion(config(), traffic=100, error_rate=0.008).requests <= 36_000


def test_a_service_that_cannot_be_decided_in_time_is_told_what_would_do():
    found = promotion(config(), traffic=1.0, error_rate=0.001, slow_share=0.01)
    assert found.seconds > 3600
    assert found.users_per_hour is not None
    allowed = promotion(config(maxExcessPerHour=found.users_per_hour), traffic=1.0, error_rate=0.001, slow_share=0.01)
    assert allowed.seconds <= 3600
    assert allowed.users_per_hour is None


def test_bursts_cost_what_they_cost():
    assert promotion(config(), traffic=100, error_rate=0.001, phi=10).requests == pytest.approx(
        10 * promotion(config(), traffic=100, error_rate=0.001).requests, rel=0.01
    )


def test_what_is_tolerated_is_not_detected():
    assert detection(config(), rate=0.002, traffic=100, error_rate=0.001, weight=5) is None


def test_three_ticks_at_least():
    assert detection(config(), rate=0.9, traffic=1000, error_rate=0.001, weight=5).seconds == 45


@pytest.mark.slow
def test_detection_takes_about_as_long_as_forecast():
    forecast = detection(config(), rate=0.02, traffic=100, error_rate=0.001, weight=5)
    requests = []
    for seed in range(30):
        service = Service(seed, canary=0.02)
        judge = SequentialJudge(config(steps="fixed", stepWeights=[5], maxWeight=5), service.history())
        requests.append(release(judge, service)[-1].evidence["errorRate"]["canaryRequests"])
    assert 0.5 <= median(requests) / forecast.requests <= 2


def test_copies_last_an_interval_at_least_and_a_quarter_of_the_deadline_at_most():
    ask = {"copied": 100, "error_rate": 0.001, "spacing": 15.0}
    assert copying(config(), traffic=1000, **ask).seconds == 60 + 30
    assert copying(config(warmup="5m"), traffic=1000, **ask).seconds >= 300 + 30
    slow = copying(config(), traffic=1, **ask)
    assert slow.seconds == 900 + 30
    assert slow.shown > 900


@pytest.mark.parametrize("copied", [100, 30])
def test_copies_end_about_when_forecast(copied):
    about = {"copied": copied, "traffic": 30.0, "error_rate": 0.001, "slow_share": 0.01, "spacing": 15.0}
    forecast = copying(config(maxDuration="10h"), **about)
    times = []
    for seed in range(5):
        service = Mirror(seed, rate=30.0, copied=copied)
        judge, began = SequentialJudge(config(maxDuration="10h"), service.history()), service.now
        while not judge.observe(service.mirrored()).weight:
            assert service.now < began + 10 * forecast.seconds
        times.append(service.now - began)
    assert 0.5 <= median(times) / forecast.seconds <= 2


def test_users_have_what_copies_leave_of_the_deadline():
    left = after_copies(config(maxDuration="20m", minDuration="10m"), 300)
    assert (left.max_duration, left.min_duration) == (900, 300)
    assert after_copies(config(maxDuration="5m", minDuration="1m"), 330).max_duration == 1


def test_what_copies_show_harms_nobody_and_comes_sooner():
    users = detection(config(), rate=0.02, traffic=100, error_rate=0.001, weight=5)
    copies = detection(config(), rate=0.02, traffic=100, error_rate=0.001, weight=5, copied=100)
    assert copies.users == 0 < users.users
    assert copies.seconds < users.seconds
