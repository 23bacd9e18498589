"""Planning: loads of the week, how long and what an analysis sees in each slot, and the windows that follow."""

import math
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest

from canary.api.analysis import Analysis
from canary.core.forecast.week import HOUR, Hour, Load, Slot, Week, loads, windows

MONDAY = datetime(2027, 1, 11, tzinfo=UTC).timestamp()
CHECKED = {
    "interval": "1m",
    "threshold": 5,
    "stepWeight": 10,
    "maxWeight": 50,
    "metrics": [{"name": "request-success-rate", "thresholdRange": {"min": 99}}],
}
BUCKETS = {100.0: 0.7, 250.0: 0.98, 500.0: 0.998, math.inf: 1.0}


def load(traffic, errors=0.001):
    return Load(traffic, errors, {bound: 1000 * part for bound, part in BUCKETS.items()})


def week(by_slot, **analysis):
    return Week(Analysis.model_validate(CHECKED | analysis), by_slot, spacing=15.0)


def test_hours_of_the_same_name_are_one_slot():
    hours = [Hour(MONDAY + 3600 * at + 604800 * number, 3600.0 * (number + 1), 3000.0, 3.0) for number in range(2) for at in range(3)]
    found = loads(hours, UTC)
    assert list(found) == [0, 1, 2]
    assert found[0].traffic == pytest.approx(1.5)
    assert found[0].errors == pytest.approx(0.001)
    assert list(loads(hours, ZoneInfo("Asia/Tokyo"))) == [9, 10, 11]


def test_slow_shares_are_read_as_prometheus_reads_quantiles():
    one = load(10)
    assert one.slower(500) == pytest.approx(0.002)
    assert one.slower(175) == pytest.approx(1 - 0.84)
    assert one.tail == pytest.approx(0.02)
    assert Load(1, 0, {}).slower(500) == 0
    assert Load(1, 0, {}).tail is None


def test_an_analysis_goes_on_into_the_next_hours():
    busy = {number: load(100.0 if number == 1 else 0.1) for number in range(168)}
    early, there = week(busy, judge="sequential", sequential={"minDuration": "1m"}).slots()[:2]
    assert there.seconds < HOUR
    assert early.seconds == pytest.approx(HOUR + there.seconds, rel=0.1)


def test_more_traffic_sees_smaller_faults_and_sooner():
    slots = week({number: load(10.0 ** (number % 4)) for number in range(4)}, judge="sequential").slots()
    seen = [slot.detectable for slot in slots]
    assert seen == sorted(seen, reverse=True)
    times = [slot.seconds for slot in slots]
    assert times == sorted(times, reverse=True)
    assert slots[0].users_per_hour, "one request a second is not decided within the hour without tolerating some"
    assert slots[3].users_per_hour is None


def test_copies_take_their_time_before_users():
    by_slot = {number: load(10.0 ** (number % 4)) for number in range(4)}
    evidence = {"judge": "sequential", "sequential": {"minDuration": "1m"}}
    plain, staged = week(by_slot, **evidence).slots(), week(by_slot, mirror=True, **evidence).slots()
    assert [one.copying for one in plain] == [None] * 4
    assert staged[0].copying == 900 + 30, "a quarter of an hour, where copies show nothing sooner"
    assert staged[3].copying == 60 + 30, "an interval at least"
    for before, after in zip(plain[1:], staged[1:], strict=True):
        assert after.seconds == pytest.approx(before.seconds + after.copying)
        assert after.detectable <= before.detectable, "copies are all of the requests, users of the canary a part"
    assert staged[0].users_per_hour >= plain[0].users_per_hour, "users have less time"
    counted = week(by_slot, mirror=True).slots()
    assert [one.copying for one in counted] == [60.0] * 4
    assert counted[3].seconds == pytest.approx(360)


def test_a_fresh_baseline_costs_time_and_sight():
    """The canary and what it is compared with have a third of the traffic each, instead of half."""
    evidence = {"judge": "sequential", "maxWeight": 0, "sequential": {"minDuration": "1m"}}
    [plain], [fresh] = (week({0: load(20.0)}, **evidence, **more).slots() for more in ({}, {"baseline": "fresh"}))
    assert fresh.seconds == pytest.approx(1.5 * plain.seconds, rel=0.15)
    assert fresh.detectable > plain.detectable


def test_users_of_a_quiet_hour_are_waited_for_after_long_copies():
    """Six hours of copies reach into the busy hours, which are then half over."""
    day = {"judge": "sequential", "mirror": True, "sequential": {"minDuration": "1m", "maxDuration": "24h"}}
    [slot, *_] = week({0: load(0.01), 1: load(0.01), **dict.fromkeys(range(2, 168), load(100.0))}, **day).slots()
    assert slot.copying == 6 * HOUR + 30
    assert slot.copying + 60 <= slot.seconds < slot.copying + 300


def test_counted_checks_see_what_exceeds_the_bound_and_nothing_where_luck_decides():
    quiet, busy = week({0: load(0.05), 1: load(1000.0)}).slots()
    assert quiet.false_rollback > 0.6
    assert quiet.detectable is None
    assert busy.false_rollback < 1e-6
    assert busy.detectable == pytest.approx(0.009, rel=0.3), "the bound of 1 % less what fails anyway"
    assert busy.seconds == pytest.approx(300)


def test_a_base_rate_near_the_bound_is_told_in_false_failed_checks():
    [near] = week({0: load(100.0, errors=0.009)}).slots()
    assert near.false_failures > 2
    assert near.false_rollback > 0.05


def test_good_hours_end_in_time_and_see_well():
    by_slot = {number: load(100.0 if 8 <= number % 24 < 18 and number < 120 else 0.5) for number in range(168)}
    planned = week(by_slot, judge="sequential")
    good = planned.good(planned.slots())
    assert {slot.number % 24 for slot in good} == set(range(8, 18))
    assert windows(good) == ["Mon-Fri 08:00-18:00"]
    assert planned.deadline == 3600


def test_windows_join_hours_and_days():
    slot = lambda number: Slot(number, 1.0, 0.0, 1.0, 0.1, 0.0, 0.0, 1.0)  # noqa: E731
    assert windows([]) == []
    numbers = [9, 10, 12, 24 + 9, 24 + 10, 24 + 12, 6 * 24 + 23]
    assert windows([slot(number) for number in numbers]) == ["Mon-Tue 09:00-11:00, 12:00-13:00", "Sun 23:00-24:00"]


def test_an_empty_hour_shows_nothing():
    [empty] = week({0: Load(0.0, 0.0, {})}, judge="sequential").slots()
    assert (empty.seconds, empty.detectable, empty.requests) == (None, None, 0)
