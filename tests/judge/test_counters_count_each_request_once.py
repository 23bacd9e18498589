"""Whatever happens to the telemetry, each request enters once: the differences add up to what was served."""

from __future__ import annotations

import json
import math
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from canary.core.judge import Arm, CounterBook, Native, Sample

BOUNDS = (100.0, 250.0, math.inf)


class Pod:
    """A process that serves and counts; `served` is the truth since the book knows it."""

    def __init__(self, arm: str, name: str, started: float, before: int = 0):
        self.arm, self.name, self.started = arm, name, started
        self.counters = {"200": before} if before else {}
        self.buckets = dict.fromkeys(BOUNDS, before)

    def serve(self, good: int, bad: int) -> None:
        for name, count in (("200", good), ("503", bad)):
            if count:  # as in Prometheus, a class appears with its first request
                self.counters[name] = self.counters.get(name, 0) + count
        self.buckets = {
            100.0: self.buckets[100.0] + good // 2,
            250.0: self.buckets[250.0] + good,
            math.inf: self.buckets[math.inf] + good + bad,
        }

    def restart(self, at: float) -> None:
        self.counters, self.buckets, self.started = {}, dict.fromkeys(BOUNDS, 0), at

    def scrape(self, ts: float, replica: str = "", *, tell: bool = True) -> Sample:
        return Sample(
            self.arm, self.name, ts, dict(self.counters), dict(self.buckets), started=self.started if tell else None, replica=replica
        )


def _sum(arms: list[Arm | None]) -> tuple[int, int, int, int]:
    known = [arm for arm in arms if arm is not None]
    return (
        sum(arm.total for arm in known),
        sum(arm.errors for arm in known),
        sum(arm.buckets.get(100.0, 0) for arm in known),
        sum(arm.buckets.get(250.0, 0) for arm in known),
    )


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6), st.booleans())
def test_differences_add_up_despite_duplicates_reordering_gaps_restarts_and_new_pods(seed: int, tell: bool):
    rng = random.Random(seed)
    pods = [
        Pod("canary", "c-0", -50.0, before=7),
        Pod("primary", "p-0", -5000.0, before=90_000),
        Pod("primary", "p-1", -5000.0, before=80_000),
    ]
    book = CounterBook(since=0.0)
    book.update([pod.scrape(0.0, tell=tell) for pod in pods])
    truth = {"canary": [0, 0, 0, 0], "primary": [0, 0, 0, 0]}
    deltas, seen, hidden = [], [], False
    for step in range(1, 25):
        now = 15.0 * step
        if rng.random() < 0.1:
            pods.append(Pod("canary", f"c-{step}", now - 5))
        scraped = []
        for pod in pods:
            # Right after a scrape, so that nothing is lost that a scrape could have shown. Without start times a restart shows only
            # as a counter that fell.
            if not hidden and rng.random() < 0.1 and (tell or pod.counters.get("200", 0) > 300):
                pod.restart(now - 1)
            good, bad = rng.randint(1, 40), rng.randint(0, 3)
            pod.serve(good, bad)
            for at, more in enumerate((good + bad, bad, good // 2, good)):
                truth[pod.arm][at] += more
            scraped.append(pod.scrape(now + rng.random(), tell=tell))
        hidden = rng.random() < 0.25 and step < 24
        if not hidden:
            batch = scraped + rng.sample(seen, min(len(seen), 4)) + scraped[:1]
            rng.shuffle(batch)
            deltas.append(book.update(batch))
            seen += scraped
            book = CounterBook.restore(json.loads(json.dumps(book.state(), allow_nan=False)))
    assert _sum([delta.canary for delta in deltas]) == tuple(truth["canary"])
    assert _sum([delta.primary for delta in deltas]) == tuple(truth["primary"])


def test_the_same_samples_again_say_nothing():
    pod = Pod("canary", "c", 5.0)
    book = CounterBook(since=0.0)
    pod.serve(10, 2)
    assert book.update([pod.scrape(15.0)]).canary == Arm(12, 2, {100.0: 5, 250.0: 10, math.inf: 12})
    again = book.update([pod.scrape(15.0)])
    assert (again.canary, again.primary) == (None, None)


def test_a_scrape_without_traffic_is_zero_and_not_unknown():
    pod = Pod("canary", "c", 5.0)
    book = CounterBook(since=0.0)
    book.update([pod.scrape(15.0)])
    assert book.update([pod.scrape(30.0)]).canary == Arm(0, 0, dict.fromkeys(BOUNDS, 0))


def test_a_pod_from_before_the_run_is_an_anchor_even_when_seen_late():
    old = Pod("primary", "p", -9000.0, before=1_000_000)
    book = CounterBook(since=0.0)
    book.update([Pod("primary", "other", -9000.0).scrape(15.0)])
    assert book.update([old.scrape(30.0)]).primary is None
    old.serve(5, 1)
    assert book.update([old.scrape(45.0)]).primary.total == 6


def test_without_start_times_the_first_sight_of_an_arm_is_the_anchor():
    book = CounterBook()
    first, late = Pod("canary", "a", 0.0, before=500), Pod("canary", "b", 0.0)
    assert book.update([first.scrape(0.0, tell=False)]).canary is None
    late.serve(3, 1)
    first.serve(10, 0)
    assert book.update([first.scrape(15.0, tell=False), late.scrape(15.0, tell=False)]).canary.total == 14


def test_a_restart_is_seen_even_when_the_failures_have_overtaken():
    """The class of failures is higher than before, the total lower: the process began anew, so all of it is new."""
    book = CounterBook()
    book.update([Sample("canary", "c", 0.0, {"200": 1000, "500": 2})])
    book.update([Sample("canary", "c", 15.0, {"200": 1010, "500": 2})])
    assert book.update([Sample("canary", "c", 30.0, {"200": 40, "500": 5})]).canary == Arm(45, 5, {})


def test_a_vanished_pod_takes_nothing_back():
    book = CounterBook()
    book.update([Sample("primary", "a", 0.0, {"200": 500}), Sample("primary", "b", 0.0, {"200": 700})])
    assert book.update([Sample("primary", "b", 15.0, {"200": 720})]).primary.total == 20
    assert book.update([Sample("primary", "a", 30.0, {"200": 530}), Sample("primary", "b", 30.0, {"200": 720})]).primary.total == 30


def test_a_class_that_was_missing_once_is_not_counted_again():
    book = CounterBook()
    book.update([Sample("canary", "c", 0.0, {"200": 10, "500": 4})])
    assert book.update([Sample("canary", "c", 15.0, {"200": 20})]).canary == Arm(10, 0, {})
    assert book.update([Sample("canary", "c", 30.0, {"200": 30, "500": 5})]).canary == Arm(11, 1, {})


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6))
def test_two_replicas_of_prometheus_count_once(seed: int):
    """Both scrape the same pods, at other moments and with clocks that differ; one of them is away for a while."""
    rng = random.Random(seed)
    pod, book, total, arms = Pod("canary", "c", 5.0), CounterBook(since=0.0), 0, []
    for step in range(1, 30):
        now = 15.0 * step
        batch = []
        for replica, offset, skew in (("a", 0.0, 0.0), ("b", 7.0, -3.0)):
            good = rng.randint(0, 30)
            pod.serve(good, 1)
            total += good + 1
            if not (replica == "a" and 10 <= step < 20) or step == 29:
                batch.append(pod.scrape(now + offset + skew, replica))
        rng.shuffle(batch)
        arms.append(book.update(batch).canary)
    counted = sum(arm.total for arm in arms if arm is not None)
    # what the followed replica has not scraped yet is still to come, never counted twice
    pod.serve(1, 0)
    last = book.update([pod.scrape(15.0 * 40, "a"), pod.scrape(15.0 * 40 + 4, "b")]).canary
    assert counted + last.total == total + 1


def test_deltas_become_a_tick():
    book = CounterBook()
    book.update([Sample("canary", "c", 0.0, {"200": 1}), Sample("primary", "p", 0.0, {"200": 1})])
    tick = book.update([Sample("canary", "c", 15.0, {"200": 4}), Sample("primary", "p", 15.0, {"200": 9})]).tick(15.0, 20)
    assert (tick.canary.total, tick.primary.total, tick.weight) == (3, 8, 20)


def test_only_bounds_that_all_pods_have_are_kept():
    book = CounterBook(since=0.0)
    one = Sample("primary", "a", 15.0, {"200": 10}, {100: 4, 250: 8, math.inf: 10}, started=1.0)
    other = Sample("primary", "b", 15.0, {"200": 10}, {250: 9, 500: 10, math.inf: 10}, started=1.0)
    assert book.update([one, other]).primary.buckets == {250: 17, math.inf: 20}


@pytest.mark.parametrize("value", [math.nan, -1.0, math.inf])
def test_what_is_no_counter_is_refused_in_words(value: float):
    with pytest.raises(ValueError, match="canary pod 'c' at 15.0: counters are finite numbers of at least 0"):
        CounterBook().update([Sample("canary", "c", 15.0, {"200": value})])


# ------------------------------------------------------------------------------------------------------- native histograms


def _native(rng: random.Random, schema: int, count: int) -> tuple[Native, list[float]]:
    times = [rng.lognormvariate(-2.5, 0.8) for _ in range(count)]
    positive: dict[int, float] = {}
    for seconds in times:
        index = math.ceil(math.log2(seconds) * 2**schema - 1e-9)
        positive[index] = positive.get(index, 0) + 1
    return Native(schema, positive), times


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**6))
def test_native_histograms_are_counted_on_the_coarsest_schema_seen(seed: int):
    rng = random.Random(seed)
    book = CounterBook(since=0.0)
    fine, times_fine = _native(rng, 5, 200)
    coarse, times_coarse = _native(rng, 2, 100)
    found = book.update(
        [
            Sample("canary", "c", 15.0, {"200": 200}, native=fine, started=1.0),
            Sample("primary", "p", 15.0, {"200": 100}, native=coarse, started=1.0),
        ]
    )
    assert list(found.canary.buckets) == list(found.primary.buckets)
    for arm, times in ((found.canary, times_fine), (found.primary, times_coarse)):
        for bound, count in arm.buckets.items():
            assert count == sum(1000 * seconds <= bound * (1 + 1e-9) for seconds in times)


def test_a_coarser_schema_later_keeps_the_differences_right():
    rng = random.Random(1)
    book = CounterBook(since=0.0)
    one, _ = _native(rng, 4, 50)
    book.update([Sample("canary", "c", 15.0, {"200": 50}, native=one, started=1.0)])
    other, _ = _native(rng, 1, 10)
    more = Native(4, {index: count + 2 for index, count in one.positive.items()})
    grown = book.update(
        [
            Sample("canary", "c", 30.0, {"200": 50 + 2 * len(one.positive)}, native=more, started=1.0),
            Sample("primary", "p", 30.0, {"200": 10}, native=other, started=1.0),
        ]
    )
    assert max(grown.canary.buckets.values()) == grown.canary.total == 2 * len(one.positive)


def test_a_native_histogram_with_custom_bounds_is_refused_in_words():
    with pytest.raises(ValueError, match="custom bounds belong in `buckets`"):
        CounterBook().update([Sample("canary", "c", 15.0, {}, native=Native(-53, {1: 2}))])
