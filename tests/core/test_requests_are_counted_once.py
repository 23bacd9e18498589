"""From raw scrapes to requests since the last look: each once, whoever looks and however often, and none invented."""

import json
import random
from dataclasses import replace

import pytest

from canary.core.counted import MOST_TARGETS, MOST_TICKS, SEPARATOR, Counters, Marks, fresh, past
from canary.core.judge import Arm
from canary.core.judge import Sample as Scrape
from tests.core.counting import Traffic

START = 1_800_000_000.0


def scrape(ts, total, *, arm="primary", target="envoy-1", errors=0.0, rest="cluster=a"):
    return Scrape(arm, f"{target}{SEPARATOR}{rest}", START + ts, {"2": float(total - errors), "5": float(errors)})


def looks(*batches, marks=None):
    """What each look finds, in order; (canary, primary) totals, None where nothing was new."""
    marks, found = marks or Marks(), []
    for at, scrapes in batches:
        news = fresh(Counters(START + at, tuple(scrapes)), Marks.parse(marks.text()))
        marks = news.marks
        arms = (news.deltas.canary, news.deltas.primary)
        found.append(tuple(arm.total if arm is not None else None for arm in arms) if news.newest is not None else None)
    return found


def test_the_first_look_only_anchors():
    assert looks((20, [scrape(5, 900), scrape(15, 1000)])) == [None]


def test_what_comes_after_is_counted_once_however_often_it_is_seen():
    first, second, third = scrape(0, 1000), scrape(15, 1100), scrape(30, 1250)
    assert looks((1, [first]), (16, [first, second]), (17, [first, second]), (31, [second, third])) == [None, (0, 100), None, (0, 150)]


def test_scrapes_between_two_looks_add_up_across_a_restart():
    """2 000, then a new process at 30 and 70: 100 before the restart, 70 after it."""
    seen = [scrape(0, 2000), scrape(15, 2100), scrape(30, 30), scrape(45, 70)]
    assert looks((1, seen[:1]), (46, seen)) == [None, (0, 170)]


def test_a_version_that_a_known_proxy_has_never_named_had_no_requests_and_then_all_of_its_own():
    canary = scrape(15, 40, arm="canary", errors=4.0, rest="cluster=b")
    batch = (16, [scrape(0, 1000), scrape(15, 1100), canary])
    assert looks((1, [scrape(0, 1000)]), batch) == [None, (40, 100)]


def test_a_proxy_that_turns_up_late_brings_nothing_with_it():
    """It may have counted millions before anybody knew of it."""
    late = [scrape(15, 5_000_000, target="envoy-2"), scrape(30, 5_000_200, target="envoy-2")]
    batches = (1, [scrape(0, 10)]), (16, [scrape(0, 10), scrape(15, 20), late[0]]), (31, [scrape(15, 20), scrape(30, 40), *late])
    assert looks(*batches) == [None, (0, 10), (0, 220)]


def test_a_proxy_whose_last_counted_scrape_is_out_of_reach_anchors_anew():
    batches = (1, [scrape(0, 10)]), (2000, [scrape(1900, 90_000), scrape(1915, 90_100)])
    assert looks(*batches) == [None, (0, 100)]


def test_two_proxies_have_marks_of_their_own():
    """The second one's scrape of the same interval arrives after the first one's was counted."""
    early, late = [scrape(0, 10), scrape(15, 30)], [scrape(1, 500, target="envoy-2"), scrape(14, 560, target="envoy-2")]
    batches = (2, [early[0], late[0]]), (15.5, [*early, late[0]]), (16, [*early, *late])
    assert looks(*batches) == [None, (0, 20), (0, 60)]


def test_replicas_of_prometheus_do_not_tear_holes():
    """They scrape the same proxy 6 s apart; looks come in between. Every request is counted, and when one dies the other goes on."""
    rate, marks, total = 10, Marks(), 0
    for at in range(5, 605, 5):
        seen = [
            replace(scrape(ts, 1000 + rate * ts), replica=name)
            for name, offset, end in (("a", 0, 300), ("b", 6, 605))
            for ts in range(offset, min(at, end) + 1, 15)
            if at - 120 <= ts
        ]
        news = fresh(Counters(START + at, tuple(seen)), marks)
        marks, total = news.marks, total + (news.deltas.primary.total if news.deltas.primary else 0)
    assert total == pytest.approx(rate * 600, abs=rate * 21)
    assert total > rate * 580


def whole(ts, *, lacking=""):
    """A scrape of both versions, 10 and 2 requests a second of which a tenth fail, as a look sees it that misses one part."""
    found = [
        Scrape(arm, f"envoy-1{SEPARATOR}", START + ts, {"2": 9.0 * rate * ts, "5": 1.0 * rate * ts}, {100.0: 10.0 * rate * ts})
        for arm, rate in (("primary", 1), ("canary", 0.2))
        if arm != lacking
    ]
    if lacking == "errors":
        return [replace(one, requests={"2": one.requests["2"]}) for one in found]
    return [replace(one, buckets={}) for one in found] if lacking == "durations" else found


@pytest.mark.parametrize("lacking", ["primary", "canary", "errors", "durations"])
def test_a_scrape_that_is_stored_while_a_look_asks_is_counted_whole_and_later(lacking):
    first, torn = whole(15), [*whole(15), *whole(30, lacking=lacking)]
    batches = (16, first), (30.2, torn), (31, [*first, *whole(30)]), (46, [*whole(30), *whole(45)])
    assert looks(*batches) == [None, None, (30, 150), (30, 150)]
    marks = fresh(Counters(START + 16, tuple(first)), Marks()).marks
    marks = fresh(Counters(START + 30.2, tuple(torn)), marks).marks
    arms = fresh(Counters(START + 31, (*first, *whole(30))), marks).deltas
    assert (arms.canary, arms.primary) == (Arm(30, 3, {100.0: 30}), Arm(150, 15, {100.0: 150}))


def test_what_a_proxy_has_forgotten_is_not_waited_for():
    """Its newest scrape lacks the canary, and is as old as the one that lacks it because nobody sends it anything any more."""
    alone = whole(30, lacking="canary")
    assert looks((16, whole(15)), (35, [*whole(15), *alone])) == [None, (0, 150)]
    after = (31, [*whole(15), *alone]), (32, [*whole(15), *alone, *whole(31, lacking="canary")])
    assert looks((16, whole(15)), *after) == [None, None, (0, 160)]


def test_no_scrape_is_no_news_and_no_traffic_is():
    assert looks((1, [scrape(0, 10)]), (20, [scrape(0, 10)]), (21, [scrape(0, 10), scrape(20, 10)])) == [None, None, (0, 0)]


@pytest.mark.parametrize("seed", range(6))
def test_any_pace_of_looking_finds_the_same_requests(seed):
    chosen = random.Random(seed)
    sums = []
    for pace in ([15.0] * 40, [chosen.choice([0.0, 3.0, 7.0, 15.0, 44.0, 90.0]) for _ in range(200)]):
        traffic = Traffic(start=START, rate=20, every=15, proxies=3, seed=seed, weight=lambda: 20, history=300)
        marks, now, total = Marks(), START, {"canary": Arm(0, 0), "primary": Arm(0, 0)}
        for gap in [0.0, *pace]:
            now = min(now + gap, START + 600)
            news = fresh(traffic.counters(marks.since, now), marks)
            marks = Marks.parse(news.marks.text())
            for arm, so_far in total.items():
                if (more := getattr(news.deltas, arm)) is not None:
                    buckets = {at: so_far.buckets.get(at, 0) + count for at, count in more.buckets.items()}
                    total[arm] = Arm(so_far.total + more.total, so_far.errors + more.errors, buckets)
        if now == START + 600:
            sums.append({arm: (one.total, one.errors, max(one.buckets.values())) for arm, one in total.items()})
    assert len(sums) == 2
    assert sums[0] == sums[1]
    assert sums[0]["canary"][0] > 1000


def test_marks_are_small_and_survive_being_written():
    scrapes = [scrape(number, 1, target=f"client-{number}.namespace") for number in range(500)]
    marks = Marks().after(scrapes, at=START + 501)
    assert len(marks.by_target) == MOST_TARGETS
    assert len(marks.text()) < 2048
    assert Marks.parse(marks.text()) == marks
    assert marks.of("client-499.namespace") == round((START + 499) * 1000)
    assert marks.of("client-3.namespace") == marks.common, "without room for a mark of its own, that of the last look"


def test_more_proxies_than_marks_lose_nothing_that_came_in_time():
    targets = range(MOST_TARGETS + 30)
    first = [scrape(0, 100, target=f"c{number}") for number in targets]
    second = [scrape(15, 110, target=f"c{number}") for number in targets]
    assert looks((1, first), (16, [*first, *second])) == [None, (0, 10 * len(targets))]


@pytest.mark.parametrize("text", ["", "nonsense", "[]", "[1]", '["x",{}]', "[5,[1]]", json.dumps([5, {"a": None}]), "null"])
def test_damaged_marks_are_none(text):
    assert Marks.parse(text) == Marks()


def test_a_proxy_that_is_gone_does_not_stretch_the_question():
    marks = Marks().after([scrape(0, 1, target="gone"), scrape(1000, 1)], at=START + 1001)
    assert marks.since == START + 1000


def test_the_past_is_told_scrape_by_scrape():
    """Two proxies scraped half an interval apart are one stream of ticks, and neither brings its lifetime with it."""
    traffic = Traffic(start=START, rate=40, every=15, proxies=2, history=900)
    ticks = past([one for one in traffic.scrapes if one.arm == "primary"])
    totals = [tick.primary.total for tick in ticks]
    assert 55 <= len(ticks) <= 61
    assert max(totals) < 40 * 15 * 1.5
    assert sum(totals) == pytest.approx(40 * 885, rel=0.1)
    assert all(earlier.ts < later.ts for earlier, later in zip(ticks, ticks[1:], strict=False))


def test_of_a_long_past_the_newest_part_is_told():
    seen = [scrape(number, 10 * number) for number in range(3 * MOST_TICKS)]
    ticks = past(seen)
    assert len(ticks) == MOST_TICKS
    assert ticks[-1].ts == START + 3 * MOST_TICKS - 1
    assert {tick.primary.total for tick in ticks} == {10}


@pytest.mark.parametrize("scrapes", [[], [scrape(0, 10)]])
def test_too_short_a_past_is_none(scrapes):
    assert past(scrapes) == ()
