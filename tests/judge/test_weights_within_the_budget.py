"""How the weight moves: users at risk stay within the budget, suspicion stops it, a schedule is kept."""

from __future__ import annotations

from dataclasses import replace

import pytest

from canary.core.judge import SequentialJudge
from canary.core.judge.ramp import adaptive, scheduled
from tests.judge.releases import Service, config, release


@pytest.mark.parametrize(("rate", "weight"), [(1000, 1), (10, 5), (1, 50), (0.1, 50)])
def test_the_first_weight_puts_as_many_users_at_risk_whatever_the_traffic(rate: float, weight: int):
    assert abs(SequentialJudge(config(), Service(1, rate=rate).history()).weight - weight) <= 1


def test_without_history_it_begins_with_one_percent():
    assert SequentialJudge(config(), []).weight == 1


@pytest.mark.parametrize("excess", [1.0, 0.1, 0.01, 0.003])
@pytest.mark.parametrize("traffic", [0.1, 10.0, 1000.0, 50_000.0])
def test_users_at_risk_never_exceed_the_budget_beyond_the_first_percent(excess: float, traffic: float):
    weight = adaptive(budget=25, traffic=traffic, reaction=45, excess=excess, tolerated=0.002, top=50)
    assert 1 <= weight <= 50
    assert weight == 1 or traffic * 45 * excess * weight / 100 <= 25


def test_a_tolerated_excess_needs_no_budget():
    assert adaptive(budget=25, traffic=1e6, reaction=45, excess=0.002, tolerated=0.002, top=50) == 50


def test_the_weight_never_falls_while_nothing_is_wrong():
    service = Service(4)
    judge = SequentialJudge(config(), service.history())
    weights = [one.weight for one in release(judge, service)]
    assert weights == sorted(weights)
    assert weights[-1] == 50


def test_suspicion_keeps_the_weight():
    service = Service(4, canary=0.02)
    judge = SequentialJudge(config(), service.history())
    found = release(judge, service)
    held = [one for one in found if one.verdict == "hold"]
    assert held
    assert len({one.weight for one in held}) == 1
    assert found[-1].weight == 0


def test_minimum_duration_is_kept():
    service = Service(4)
    judge = SequentialJudge(config(minDuration="10m"), service.history())
    assert len(release(judge, service)) == 1 + 600 // 15


def test_a_fixed_schedule_moves_by_its_steps_and_intervals():
    service = Service(4)
    judge = SequentialJudge(config(steps="fixed", stepWeight=10, interval="1m"), service.history())
    assert judge.weight == 10
    weights = [one.weight for one in release(judge, service)]
    assert sorted(set(weights)) == [10, 20, 30, 40, 50]
    assert all(weights.count(weight) >= 4 for weight in (20, 30, 40))


def test_a_fixed_schedule_stops_for_a_suspicion():
    service = Service(4, canary=0.05)
    judge = SequentialJudge(config(steps="fixed", stepWeights=[1, 5, 25], interval="15s"), service.history())
    found = release(judge, service)
    assert found[-1].verdict == "rollback"
    assert max(one.weight for one in found) < 50


@pytest.mark.parametrize(("now", "waited", "expected"), [(0, 0, 5), (5, 59, 5), (5, 60, 20), (7, 60, 20), (50, 600, 50)])
def test_the_next_weight_of_a_schedule(now: int, waited: float, expected: int):
    assert scheduled([5, 20, 50], now=now, waited=waited, interval=60) == expected


@pytest.mark.parametrize("spacing", [5.0, 60.0])
def test_times_scale_with_the_spacing_of_scrapes(spacing: float):
    service = Service(4, canary=0.2, spacing=spacing)
    judge = SequentialJudge(config(), service.history(60))
    found = release(judge, service)
    assert found[-1].verdict == "rollback"
    assert 3 <= len(found) <= 10


@pytest.mark.parametrize("steps", [{}, {"steps": "fixed", "stepWeights": [10, 50, 100], "interval": "30s"}], ids=["adaptive", "fixed"])
def test_all_of_the_traffic_only_once_health_is_shown(steps: dict):
    """At 100 % nothing is left to compare with, and the primary has nothing to report."""
    service = Service(4)
    judge = SequentialJudge(config(maxWeight=100, **steps), service.history())
    change = {k: lambda tick: replace(tick, primary=None) if tick.weight == 100 else tick for k in range(1, 241)}
    found = release(judge, service, change=change)
    assert found[-1].verdict == "promote"
    assert found[-1].weight == 100
    first = next(k for k, one in enumerate(found) if one.weight == 100)
    assert min(found[first].evidence[name]["pass"] for name in ("errorRate", "latency")) >= 20


def test_before_the_first_weight_nothing_is_missing():
    service = Service(4)
    judge = SequentialJudge(config(), service.history())
    decision = judge.observe(replace(service.tick(0), canary=None))
    assert (decision.verdict, decision.weight) == ("continue", judge.weight)


def test_a_small_margin_does_not_keep_a_busy_service_below_its_top_weight():
    service = Service(4, rate=20_000, primary=0.0001, canary=0.0001)
    judge = SequentialJudge(config(margin={"errorRate": 0.02}), service.history(60))
    assert 50 in {one.weight for one in release(judge, service, ticks=40)}
