"""Latency is compared at bucket bounds, which histograms know exactly; what they do not know is not made up."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from canary.core.judge import Arm, SequentialJudge
from canary.core.judge.latency import choose, slower
from tests.judge.releases import Service, config, release

ARM = Arm(1000, 0, {100: 600, 250: 950, 500: 990, math.inf: 1000})


@pytest.mark.parametrize(("bound", "expected"), [(250, (50, 50)), (400, (10, 50)), (50, (400, 1000)), (900, (0, 10))])
def test_between_two_bounds_what_is_sure_counts_against_and_what_may_be_counts_in_favour(bound: float, expected: tuple[int, int]):
    assert slower(ARM, bound) == expected


def test_the_top_bucket_may_be_left_out():
    assert slower(Arm(1000, 0, {100: 600, 250: 950}), 250) == (50, 50)


def test_bounds_are_chosen_where_they_tell_something():
    bounds, tail = choose({10: 0.99, 50: 0.7, 100: 0.4, 250: 0.03, 500: 0.002, 1000: 0.0001, math.inf: 0.0})
    assert (bounds, tail) == ([100, 250, 500], 250)


def test_many_bounds_are_thinned_out_and_the_tail_kept():
    shares = {round(10 * 1.1**k, 2): 0.9 * 0.9**k for k in range(60)}
    bounds, tail = choose(shares)
    assert len(bounds) <= 4
    assert tail in bounds
    assert shares[tail] <= 0.05


def test_a_service_quicker_than_all_bounds_is_watched_at_the_first():
    assert choose({100: 0.0, 250: 0.0}) == ([100], 100)


def test_a_service_slower_than_all_bounds_is_watched_at_the_last():
    assert choose({100: 1.0, 250: 0.9}) == ([250], 250)


def test_a_slow_canary_is_taken_back_and_the_sentence_names_the_bound():
    service = Service(1, canary_slow=0.1)
    judge = SequentialJudge(config(), service.history())
    last = release(judge, service)[-1]
    assert last.verdict == "rollback"
    assert "canary requests took longer than 250 ms" in last.reason


def test_a_quicker_canary_is_no_regression():
    service = Service(1, slow=0.05, canary_slow=0.001)
    judge = SequentialJudge(config(), service.history())
    assert release(judge, service)[-1].verdict == "promote"


def test_other_bounds_of_the_canary_are_compared_without_guessing():
    """The canary's histogram lacks 250 ms: only what is over 500 ms counts against it, and all over 100 ms in its favour."""
    service = Service(1)
    judge = SequentialJudge(config(), service.history())
    strip = lambda tick: replace(tick, canary=replace(tick.canary, buckets={at: n for at, n in tick.canary.buckets.items() if at != 250}))  # noqa: E731
    found = release(judge, service, ticks=60, change=dict.fromkeys(range(1, 61), strip))
    assert {one.verdict for one in found} <= {"continue", "hold"}
    assert found[-1].evidence["latency"]["pass"] < 1


def test_a_limit_between_bounds_is_told_to_be_unresolvable():
    service = Service(1)
    judge = SequentialJudge(config(thresholds={"slowMs": [400, 1]}), service.history())
    decision = judge.observe(service.tick(1))
    assert "Your buckets cannot resolve 400 ms (250, 500)." in decision.reason
    assert decision.evidence["latencyThreshold"]["unresolvedMs"] == [250, 500]


def test_bounds_are_learnt_from_the_run_when_there_is_no_history():
    service = Service(1, canary_slow=0.2)
    judge = SequentialJudge(config(), [])
    first = judge.observe(service.tick(1))
    assert first.evidence["latency"]["fail"] == 1.0
    assert first.evidence["latency"]["canaryRequests"] == 0
    assert judge.observe(service.tick(1)).evidence["latency"]["canaryRequests"] > 0
    assert release(judge, service)[-1].verdict == "rollback"
