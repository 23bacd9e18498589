"""A verdict explains itself: counts, rates, margin, chance, who was harmed, what is missing. Numbers can be checked by hand."""

from __future__ import annotations

import re

from canary.core.judge import SequentialJudge
from tests.judge.releases import Service, config, release


def _run(seed: int, ticks: int = 240, spec: dict | None = None, **service):
    world = Service(seed, **service)
    judge = SequentialJudge(config(**(spec or {})), world.history())
    return release(judge, world, ticks=ticks)


def _number(text: str) -> int:
    return int(text.replace(" ", ""))


def test_a_roll_back_names_counts_rates_margin_chance_and_users():
    last = _run(3, canary=0.03, primary=0.001)[-1]
    text = re.fullmatch(
        r"Rolled back after (\d+ s|\d+ min) at (\d+) %: ([\d ]+) of ([\d ]+) canary requests failed \(([\d.]+) %\), primary ([\d ]+) of ([\d ]+) \(([\d.]+) %\)\. "
        r"Data this far apart would appear in fewer than 1 of ([\d ]+) releases no more than 0\.2 pp worse \(limit 1 in 100\)\. "
        r"About ([\d ]+) users were affected\.",
        last.reason,
    )
    assert text, last.reason
    evidence = last.evidence["errorRate"]
    assert [_number(text[k]) for k in (3, 4, 6, 7)] == [
        evidence["canaryBad"],
        evidence["canaryRequests"],
        evidence["primaryBad"],
        evidence["primaryRequests"],
    ]
    assert float(text[5]) == float(f"{100 * evidence['canaryBad'] / evidence['canaryRequests']:.2g}")
    assert _number(text[9]) >= 100
    excess = evidence["canaryBad"] - evidence["canaryRequests"] * evidence["primaryBad"] / evidence["primaryRequests"]
    assert abs(_number(text[10]) - excess) <= 1


def test_a_promotion_names_what_was_shown_and_how_surely():
    last = _run(3)[-1]
    assert re.match(r"Promoted: error rate is at most 0\.\d+ pp above primary \(95 %, valid at every look; ", last.reason), last.reason
    assert "requests over 250 ms are at most 1.25 times the primary's share plus 0.5 pp." in last.reason


def test_inconclusive_names_what_is_missing_and_the_options():
    last = _run(3, ticks=241, rate=1.0)[-1]
    assert last.verdict == "inconclusive"
    assert re.match(
        r"Inconclusive after 60 min: 1 [78]\d\d canary requests; ~[\d ]+ needed to (exclude \+0\.2 pp|show that requests over)", last.reason
    ), last.reason
    assert "more at present traffic." in last.reason
    assert re.search(
        r"Excess so far at most [\d.]+ pp\. Options: wait, send load, or allow 60 bad responses an hour \(maxExcessPerHour: 60, \+1\.[67] pp",
        last.reason,
    ), last.reason


def test_the_proposal_of_the_inconclusive_run_would_have_decided_it():
    assert _run(3, rate=1.0, spec={"maxExcessPerHour": 60})[-1].verdict == "promote"


def test_bursts_are_told_with_what_they_cost():
    service = Service(5, rate=50)

    def burst(arm):
        return type(arm)(arm.total, 20 if service.random.random() < 0.05 else 0, arm.buckets)

    history = [type(tick)(tick.ts, tick.canary, burst(tick.primary), 0) for tick in service.history()]
    judge = SequentialJudge(config(), history)
    decision = judge.observe(service.tick(1))
    assert decision.evidence["errorRate"]["phi"] > 5
    assert re.search(r"Bad requests come in bursts \(phi = \d+\): [\d ]+ requests count as 100\.", decision.reason), decision.reason


def test_holding_says_what_has_been_seen_so_far():
    held = next(one for one in _run(3, canary=0.03) if one.verdict == "hold")
    assert re.match(
        r"Holding at \d+ %: .* So far this would appear in fewer than 1 of \d+ releases .*; roll-back at 1 of 100\.", held.reason
    ), held.reason


def test_every_metric_brings_the_same_numbers():
    for one in _run(3, canary=0.01):
        for metric in one.evidence.values():
            assert {"fail", "pass", "upper", "lower", "phi", "needed", "canaryRequests", "canaryBad"} <= set(metric)


def test_bounds_of_the_excess_contain_the_truth():
    wrong = 0
    for seed in range(8):
        for one in _run(seed, ticks=40, canary=0.011, primary=0.001, spec={"alpha": 1e-9, "thresholds": {}}):
            bounds = one.evidence["errorRate"]
            wrong += not bounds["lower"] <= 0.010 <= bounds["upper"]
    assert wrong == 0


def test_a_ratio_margin_speaks_of_ratios():
    spec = {"margin": {"errorRatio": 2}, "thresholds": {}}
    last = _run(3, canary=0.03, primary=0.002, spec=spec)[-1]
    assert last.verdict == "rollback"
    assert "releases with at most 2 times the primary's failures" in last.reason
    good = _run(3, canary=0.01, primary=0.01, spec=spec)[-1]
    assert good.verdict == "promote"
    assert "failures are fewer than 2 times the primary's" in good.reason
