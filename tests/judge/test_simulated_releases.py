"""Levels and power on seeded releases. `python -m bench.judge` measures the same with more runs."""

from __future__ import annotations

import functools
import math
from dataclasses import replace
from statistics import fmean, median

import pytest

from bench.judge.bars import BARS, rows
from bench.judge.cells import CELLS
from bench.judge.rivals import flagger, kayenta, ours
from bench.judge.summary import summary


@functools.cache
def _runs(cell: str, count: int, judge=ours, first: int = 1000):
    """The same runs for every test that asks for them: a seed decides all of a run."""
    return [judge(CELLS[cell], first + seed) for seed in range(count)]


def test_healthy_versions_are_promoted_in_minutes():
    found = _runs("healthy 0.1% 100 rps", 12)
    assert {one.verdict for one in found} == {"promote"}
    assert median(one.after for one in found) <= 300


def test_a_fault_is_caught_sooner_and_hurts_fewer_than_by_counting_failed_checks():
    mine, theirs = _runs("fails 2 % 100 rps", 12), _runs("fails 2 % 100 rps", 12, flagger)
    assert {one.verdict for one in (*mine, *theirs)} == {"rollback"}
    assert median(one.after for one in mine) <= 180 < median(one.after for one in theirs)
    assert fmean(one.harmed for one in mine) * 1.5 < fmean(one.harmed for one in theirs)


def test_a_slow_version_is_caught():
    assert {one.verdict for one in _runs("P99 x1.3 100 rps", 10)} == {"rollback"}


def test_an_outage_takes_nothing_back_where_counting_would():
    assert "rollback" not in {one.verdict for one in _runs("outage, from the start, 10 rps", 4)}
    assert {one.verdict for one in _runs("outage, from the start, 100 rps", 4, flagger)} == {"rollback"}


@pytest.mark.parametrize(
    "cell", ["every 5 s: fails 2 %", "every 60 s: fails 2 %", "buckets fine: P99 x2", "buckets sparse: P99 x2", "latency quick: P99 x2"]
)
def test_other_spacings_and_layouts_catch_faults_too(cell: str):
    assert {one.verdict for one in _runs(cell, 6)} == {"rollback"}


def test_the_rank_test_is_blind_to_rare_failures():
    """Why rates per scrape were rejected: most are zero."""
    assert "promote" in {one.verdict for one in _runs("fails 2 % 10 rps", 6, kayenta)}


@pytest.mark.slow
@pytest.mark.parametrize(
    "cell", ["healthy 0.8% 100 rps", "bursts of 10, 0.5%, 100 rps", "outage, minutes 1-16, skewed, 100 rps", "at margin 100 rps"]
)
def test_false_roll_backs_stay_within_alpha(cell: str):
    count = 40
    back = sum(one.verdict == "rollback" for one in _runs(cell, count))
    assert back <= 0.01 * count + 3 * math.sqrt(0.01 * count)


@pytest.mark.slow
def test_a_version_at_the_margin_is_rarely_promoted():
    found = _runs("at margin 100 rps", 40)
    assert sum(one.verdict == "promote" for one in found) <= 0.05 * 40 + 3 * math.sqrt(0.05 * 40)


def test_every_bar_belongs_to_a_cell():
    assert {bar.cell for bar in BARS} <= set(CELLS)


def test_a_bar_that_is_missed_is_said_to_fail():
    good = summary(_runs("fails 20 % 100 rps", 3))
    assert {row[-1] for row in rows({"fails 20 % 100 rps": {"ours": good}})} == {"pass"}
    assert {row[-1] for row in rows({"healthy 0.1% 100 rps": {"ours": good}}) if row[0] == "1"} == {"FAIL"}


def test_times_fewer_harmed_is_a_bar_and_no_ornament():
    good = summary(_runs("fails 20 % 100 rps", 3))

    def verdicts(times: float) -> set[str]:
        found = rows({"fails 20 % 100 rps": {"ours": good, "flagger": replace(good, harmed=times * good.harmed)}})
        return {row[-1] for row in found if row[2] == "harmed >= 20x fewer"}

    assert verdicts(19.0) == {"FAIL"}
    assert verdicts(20.5) == {"pass"}
