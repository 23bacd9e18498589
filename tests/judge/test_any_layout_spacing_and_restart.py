"""Through the public contract alone, from scrapes to verdicts: buckets, looks and pods as the bench does not have them.

A judge that was tuned on one layout and one spacing could be right there only. Each release is a few seeds; each judge and book is
restored from its state at every look.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import pytest

from canary.core.judge import Arm, CounterBook, JudgeConfig, SequentialJudge
from canary.core.judge.pace import Pace
from tests.judge.fleets import BEGAN, CLIENT, DECADES, ENDED, LINEAR, ODD, ONE, Fleet, every, run

LAYOUTS = {"client": CLIENT, "decades": DECADES, "linear": LINEAR, "one": ONE, "odd": ODD}
SPACINGS: dict[str, Sequence[float]] = {
    "1 s": [1],
    "2 s": [2],
    "7 s": [7],
    "30 s": [30],
    "2 min": [120],
    "5 min": [300],
    "1 s to 90 s": [1, 4, 15, 40, 90],
    "1 s to 5 min": [300, 1, 1, 60, 5],
    "about 15 s": [14, 16, 15.5, 13, 19],
}
UNEVEN = SPACINGS["1 s to 90 s"]
KINDS: dict[str, tuple[dict[str, Any], str]] = {
    "healthy": ({}, "promote"),
    "fails 5 %": ({"canary": 0.05}, "rollback"),
    "slow": ({"slower": 2.5}, "rollback"),
    "half of it unseen": ({"unseen": 0.5}, "inconclusive"),
}


def _ends(seeds: int, gaps: Sequence[float], *, known: bool = True, settings: dict[str, Any] | None = None, **fleet: Any) -> Counter[str]:
    return Counter(run(Fleet(seed, **fleet), gaps, known=known, **settings or {})[-1].verdict for seed in range(100, 100 + seeds))


def _both(bounds: Sequence[float]) -> dict[str, Sequence[float]]:
    return {"canary": bounds, "primary": bounds}


# ------------------------------------------------------------------------------------------------------------- spacings


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("spacing", [name for name in SPACINGS if name not in ("1 s", "2 s")])
@pytest.mark.slow
def test_any_spacing_of_looks_gives_the_same_verdict(spacing: str, kind: str):
    fleet, verdict = KINDS[kind]
    assert set(_ends(2, SPACINGS[spacing], **fleet)) == {verdict}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("spacing", ["1 s", "2 s"])
@pytest.mark.slow
def test_looks_every_second_or_two_give_the_same_verdict(spacing: str, kind: str):
    fleet, verdict = KINDS[kind]
    assert set(_ends(1, SPACINGS[spacing], settings={"maxDuration": "8m"}, **fleet)) == {verdict}


@pytest.mark.parametrize("spacing", ["7 s", "2 min", "1 s to 5 min"])
def test_nobody_is_promoted_before_a_minute_and_three_looks_at_the_top_weight(spacing: str):
    fleet = Fleet(3)
    found = run(fleet, SPACINGS[spacing])
    assert found[-1].verdict == "promote"
    assert [one.weight for one in found[-4:]] == [50] * 4


def test_uneven_looks_do_not_make_traffic_look_greater_than_it_is():
    """By the usual spacing of 15 s traffic would be twice what it is, and a margin in users half as wide."""
    fleet = Fleet(7, rate=2.0)
    pace = Pace(fleet.history(every(*UNEVEN)))
    assert pace.traffic == pytest.approx(2.0, rel=0.2)
    assert _ends(6, UNEVEN, rate=0.2, settings={"maxExcessPerHour": 60})["promote"] >= 5


def test_a_margin_in_users_waits_until_traffic_is_known():
    """Two of the first look's nine expected requests came: at that rate four times the harm would be allowed."""
    judge = SequentialJudge(JudgeConfig.from_spec({"maxExcessPerHour": 60, "minDuration": 0}), [])
    fleet, limits, weight = Fleet(1, rate=0.6), [], judge.weight
    book = CounterBook(since=BEGAN - 1)
    book.update(fleet.scrape(0.0, 0))
    for look in range(40):
        tick = book.update(fleet.scrape(15.0, weight)).tick(fleet.now, weight)
        if look == 0:
            tick = type(tick)(tick.ts, Arm(0, 0), Arm(2, 0, {bound: 2 for bound in CLIENT}), weight)
        decision = judge.observe(tick)
        weight = decision.weight
        limits.append(decision.evidence["errorRate"]["limit"])
    assert limits[0] == 0.002
    assert limits[-1] == pytest.approx(60 / 3600 / 0.6, rel=0.4)


# --------------------------------------------------------------------------------------------------------------- buckets


@pytest.mark.parametrize("kind", ["healthy", "fails 5 %", "slow"])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_any_layout_of_buckets_gives_the_same_verdict(layout: str, kind: str):
    fleet, verdict = KINDS[kind]
    assert set(_ends(2, [13, 17], bounds=_both(LAYOUTS[layout]), **fleet)) == {verdict}


@pytest.mark.parametrize("kind", ["healthy", "slow"])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_buckets_without_an_infinite_one_and_without_a_past_do_too(layout: str, kind: str):
    fleet, verdict = KINDS[kind]
    assert set(_ends(2, [13, 17], known=False, infinity=False, bounds=_both(LAYOUTS[layout]), **fleet)) == {verdict}


def test_a_canary_with_finer_buckets_than_the_primary_is_judged_at_the_bounds_of_the_primary():
    assert set(_ends(4, [15, 20], bounds={"canary": (*CLIENT, *ODD), "primary": ODD})) == {"promote"}
    assert set(_ends(4, [15, 20], bounds={"canary": (*CLIENT, *ODD), "primary": ODD}, slower=2.5)) == {"rollback"}


def test_a_canary_with_other_buckets_is_not_promoted_by_guessing_nor_taken_back():
    ends = _ends(4, [15, 20], bounds={"canary": ODD, "primary": CLIENT}, settings={"maxDuration": "15m"})
    assert "rollback" not in ends
    assert set(_ends(4, [15, 20], bounds={"canary": ODD, "primary": CLIENT}, slower=3)) == {"rollback"}, "what is sure still counts"


def test_a_canary_without_buckets_waits_and_says_so():
    last = run(Fleet(1, bounds={"canary": (), "primary": CLIENT}), [15, 20], maxDuration="15m")[-1]
    assert last.verdict == "inconclusive"
    assert "its histogram is missing" in last.reason


@pytest.mark.parametrize("known", [True, False])
def test_without_buckets_failures_decide(known: bool):
    none: dict[str, Any] = {"bounds": _both(())}
    assert set(_ends(3, [15, 20], known=known, **none)) == {"promote"}
    assert set(_ends(3, [15, 20], known=known, canary=0.05, **none)) == {"rollback"}


# ---------------------------------------------------------------------------------------------------------------- limits


def test_a_limit_between_two_bounds_takes_back_what_breaks_it_surely():
    slow = {"thresholds": {"slowMs": [300, 8]}}
    assert set(_ends(4, UNEVEN, settings=slow)) == {"promote"}
    assert set(_ends(4, UNEVEN, settings=slow, slower=4)) == {"rollback"}


def test_a_limit_that_was_broken_before_takes_nothing_back():
    ends = _ends(4, UNEVEN, primary=0.04, canary=0.04, settings={"thresholds": {"errorRate": 1}})
    assert "rollback" not in ends
    assert ends["promote"] >= 2


@pytest.mark.parametrize(("canary", "verdict"), [(0.01, "promote"), (0.05, "rollback")])
def test_a_margin_of_times_is_enough_of_a_margin(canary: float, verdict: str):
    assert set(_ends(4, UNEVEN, primary=0.01, canary=canary, settings={"margin": {"errorRatio": 2}})) == {verdict}


# -------------------------------------------------------------------------------------------------------------- restarts


@pytest.mark.parametrize("told", [True, False], ids=["start times known", "start times unknown"])
@pytest.mark.parametrize("kind", ["healthy", "fails 5 %", "half of it unseen"])
def test_counters_that_begin_anew_change_no_verdict(kind: str, told: bool):
    fleet, verdict = KINDS[kind]
    assert set(_ends(4, UNEVEN, restarts=0.1, told=told, **fleet)) == {verdict}


@pytest.mark.parametrize("kind", ["healthy", "slow"])
def test_pods_that_restart_at_every_other_look_are_judged_by_what_they_answered(kind: str):
    fleet, verdict = KINDS[kind]
    assert set(_ends(3, [15], restarts=0.6, **fleet)) == {verdict}


# --------------------------------------------------------------------------------------- looks more often than scrapes


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("pods", [(1, 1), (2, 3), (1, 6)], ids=["1 and 1", "2 and 3", "1 and 6"])
@pytest.mark.parametrize("period", [30.0, 60.0])
def test_pods_that_are_scraped_more_seldom_than_one_looks_and_each_at_its_own_time(period: float, pods: tuple[int, int], kind: str):
    """As the operator shows it: a version none of whose pods was scraped has zeros beside the other's requests. That is no silence."""
    kinds, verdict = KINDS[kind]
    fleet = Fleet(2, pods={"canary": pods[0], "primary": pods[1]}, **kinds)
    assert _phased(fleet, period) == verdict


def _phased(fleet: Fleet, period: float, look: float = 15.0) -> str:
    config = JudgeConfig.from_spec({"minDuration": 0})
    judge, book = SequentialJudge(config, fleet.history(every(period))), CounterBook(since=BEGAN - 1)
    book.update(fleet.scrape(0.0, 0))
    names = [f"{arm}-{pod}" for arm, count in fleet.pods.items() for pod in range(count)]
    phases = {name: (0.37 * period * at) % period for at, name in enumerate(names)}
    weight, verdict = judge.weight, ""
    while verdict not in (*ENDED, "inconclusive"):
        before, samples = fleet.now, fleet.scrape(look, weight)
        turns = {name: [(at - BEGAN - phase) // period for at in (before, fleet.now)] for name, phase in phases.items()}
        scraped = [sample for sample in samples if turns[sample.pod][1] > turns[sample.pod][0]]
        if not scraped:
            continue
        deltas = book.update(scraped)
        tick = type(deltas)(deltas.canary or Arm(0, 0), deltas.primary or Arm(0, 0)).tick(fleet.now, weight)
        decision = judge.observe(tick)
        weight, verdict = decision.weight, decision.verdict
    return verdict
