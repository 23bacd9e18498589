"""The evidence of a run: a row for each tick that counts, totals per check, bounded whatever happens, and whole through crashes."""

from __future__ import annotations

import json
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from canary.api.analysis import ThresholdRange
from canary.api.status import CanaryStatus, CheckStatus, CheckTotals, Phase, RunRow, RunStatus, Verdict
from canary.core import evidence
from canary.core.model import CloseRun, HookResult, OpenRun, Sample, SaveRun
from tests.core.simulate import CrashError, World

RATE, LATENCY = "request-success-rate", "request-duration"
TWO = [{"name": RATE, "thresholdRange": {"min": 99}}, {"name": LATENCY, "thresholdRange": {"max": 500}}]


def released(**analysis: object) -> World:
    """A run under way, before its first step."""
    world = World(analysis={"interval": "10s", "threshold": 2, "stepWeight": 10, "metrics": TWO, **analysis}).bootstrap()
    world.metrics = {RATE: Sample(99.981, query="rate"), LATENCY: Sample(12.0, query="latency")}
    world.release("B")
    return world


def rows(world: World) -> tuple[RunRow, ...]:
    """Of the only run that was ever closed."""
    (run,) = world.rows.values()
    return run


def in_status(world: World) -> int:
    """Bytes of the status as it is stored."""
    return len(json.dumps(world.status.to_dict()))


def saves(world: World) -> int:
    return sum(isinstance(effect, SaveRun) for effect in world.effects)


def check_whole(history: tuple[RunRow, ...]) -> None:
    """No row is missing or there twice, and where one ends the next begins."""
    assert [row.seq for row in history] == list(range(1, len(history) + 1))
    for before, after in pairwise(history):
        assert after.weight == (before.weight if before.to is None else before.to)
        assert after.at is not None
        assert before.at is not None
        assert after.at >= before.at


# ------------------------------------------------------------------------------------------------ what a row says


def test_a_run_of_twenty_steps_has_a_row_for_each() -> None:
    world = released(stepWeight=5)
    world.run()
    steps = [row for row in rows(world) if row.to]
    assert [row.to for row in steps] == list(range(5, 101, 5))
    assert [row.weight for row in steps] == list(range(0, 100, 5))
    assert steps[0].checks == (), "before the first step nothing is measured"
    assert {row.checks for row in steps[1:]} == {("Pass 99.981", "Pass 12")}
    assert steps[1].at == pytest.approx((steps[0].at or 0) + 10)
    check_whole(rows(world))
    passed, back = rows(world)[20:]
    assert (passed.weight, passed.to, passed.checks) == (100, None, ("Pass 99.981", "Pass 12"))
    assert (back.weight, back.to) == (100, 0)


def test_a_run_of_ten_steps_costs_no_request_more() -> None:
    world = released(stepWeight=10)
    world.run()
    assert world.status.phase is Phase.SUCCEEDED
    kinds = [type(effect) for effect in world.effects if isinstance(effect, OpenRun | SaveRun | CloseRun)]
    assert kinds == [OpenRun, CloseRun]
    assert len([row for row in rows(world) if row.to]) == 10


def test_rows_say_what_failed_and_how_often() -> None:
    world = released()
    answers = iter([Sample(50.0), Sample(), Sample(error="down")])
    world.metrics[RATE] = lambda: next(answers)
    world.edit(threshold=3)
    world.run()
    assert world.status.phase is Phase.FAILED
    assert [(row.checks, row.failed, row.to) for row in rows(world)] == [
        ((), 0, 10),
        (("Fail 50", "Pass 12"), 1, None),
        (("NoData", "Pass 12"), 2, None),
        (("Error", "Pass 12"), 3, None),
        ((), 3, 0),
    ]


def test_rows_say_who_approved_and_who_did_not() -> None:
    world = released(stepWeight=50)
    answers = iter([False, True, True, True])
    world.hook("boss", "confirm-rollout", answer=True)
    world.hook("oncall", "confirm-traffic-increase", answer=lambda _: next(answers))
    world.hook("load", "rollout", answer=True)
    world.run(until=Phase.PROMOTING)
    assert world.status.run is not None
    assert [row.gates for row in world.status.run.history] == [
        ("boss: yes",),
        ("oncall: no (said no)",),
        ("oncall: yes",),
        ("oncall: yes",),
        ("oncall: yes",),
    ]


def test_a_rollback_hook_that_rolls_back_is_named() -> None:
    world = released()
    world.hook("panic", "rollback", answer=False)
    world.tick()
    world.settle()
    world.tick()
    world.hooks["panic"] = True
    world.now += 10
    world.run()
    assert rows(world)[-1].gates == ("panic: yes",)
    assert (rows(world)[-1].weight, rows(world)[-1].to) == (10, 0)
    assert rows(world)[0].gates == (), "that it does not want a rollback is no news"


def test_a_load_test_that_fails_is_in_its_row() -> None:
    world = released()
    world.hook("load", "rollout", answer=False)
    world.run()
    assert rows(world)[1].gates == ("load: no (said no)",)
    assert rows(world)[1].checks == ()


def test_what_a_hook_says_is_cut_to_one_short_line() -> None:
    world = released()
    world.hook("approve" * 20, "confirm-rollout")
    real = world.answer
    world.answer = lambda ask: HookResult(ok=True, message="<html>\n" + "x" * 5000) if "HookAsk" in repr(ask) else real(ask)  # type: ignore[method-assign]
    world.run(until=Phase.PROGRESSING)
    assert world.status.run is not None
    (text,) = world.status.run.history[0].gates
    assert len(text) < 140
    assert "\n" not in text


def test_a_move_by_somebody_else_is_a_row() -> None:
    world = released()
    world.run(until=Phase.PROGRESSING)
    world.tick()
    world.now += 10
    with pytest.raises(CrashError):
        world.tick(crash_at=99)  # the traffic has moved, and nobody knows why
    world.tick()
    assert world.status.run is not None
    last = world.status.run.history[-1]
    assert (last.weight, last.to, last.checks) == (10, 20, ())


def test_counting_strategies_have_a_row_per_iteration() -> None:
    world = released(stepWeight=0, iterations=6, match=[{"headers": {"x": {"exact": "y"}}}])
    world.run()
    assert len([row for row in rows(world) if row.checks]) == 6
    check_whole(rows(world))


def test_a_release_without_analysis_has_no_rows() -> None:
    world = World(spec={"skipAnalysis": True}).bootstrap()
    world.release("B")
    world.run()
    assert world.status.phase is Phase.SUCCEEDED
    assert rows(world) == ()


def test_an_interrupted_run_takes_its_rows_along_and_the_next_begins_at_one() -> None:
    world = released()
    world.run(until=Phase.PROGRESSING)
    world.tick()
    world.now += 10
    world.tick()
    first = world.status.run
    world.release("C")
    world.tick()
    assert first is not None
    assert world.status.run is not None
    assert world.status.run.history == ()
    assert world.status.run.checks == ()
    assert [(row.weight, row.to) for row in world.rows[first.id]] == [(0, 10), (10, 20), (20, 0)]
    world.run()
    check_whole(world.rows[world.status.run.id])


# ------------------------------------------------------------------------------------------------ totals


def test_totals_count_every_verdict_and_keep_the_extremes() -> None:
    world = released(threshold=9)
    answers = iter([Sample(100.0), Sample(97.5), Sample(), Sample(error="down"), *[Sample(99.5)] * 50])
    world.metrics[RATE] = lambda: next(answers)
    world.run()
    assert world.status.run is not None
    total = world.status.run.checks[0]
    assert (total.passed, total.failed, total.no_data, total.errors) == (10, 1, 1, 1)
    assert (total.min, total.max, total.last) == (97.5, 100.0, 99.5)
    (found, _) = evidence.summary(world.status.run, world.status.checks)
    assert (found.samples, found.worst, found.bound, found.verdict) == (11, 97.5, ThresholdRange(min=99), Verdict.PASS)


@pytest.mark.parametrize(
    ("bound", "worst"),
    [({"min": 99}, 90), ({"max": 50}, 100), ({"min": 80, "max": 99}, 100), ({"min": 99, "max": 105}, 90), ({}, None)],
)
def test_the_worst_value_is_the_one_furthest_on_the_wrong_side(bound: dict[str, float], worst: float | None) -> None:
    run = RunStatus(id="r", checks=(CheckTotals(name="x", passed=2, min=90, max=100, last=95),))
    (found,) = evidence.summary(run, [CheckStatus(name="x", verdict=Verdict.PASS, bound=ThresholdRange(**bound))])
    assert found.worst == worst


def test_checks_that_come_and_go_in_a_run_keep_their_places() -> None:
    world = released()
    world.run(until=Phase.PROGRESSING)
    world.tick()
    for names in ([RATE, LATENCY], [LATENCY], [LATENCY, "mine", RATE]):
        world.edit(metrics=[{"name": name, "query": "up" if name == "mine" else "", "thresholdRange": {"min": 0}} for name in names])
        world.now += 10
        world.tick()
    assert world.status.run is not None
    assert [total.name for total in world.status.run.checks] == [RATE, LATENCY, "mine"]
    assert [row.checks for row in world.status.run.history[1:]] == [
        ("Pass 99.981", "Pass 12"),
        ("-", "Pass 12"),
        ("Pass 99.981", "Pass 12", "Pass 0"),
    ]


def test_checks_of_the_same_name_are_told_apart() -> None:
    twins = [
        CheckStatus(name="x", verdict=Verdict.PASS, value=1, source="a"),
        CheckStatus(name="x", verdict=Verdict.FAIL, value=2, source="a"),
    ]
    totals, first = evidence.tallied((), twins)
    totals, second = evidence.tallied(totals, twins)
    assert first == second == ("Pass 1", "Fail 2")
    assert [(total.passed, total.failed) for total in totals] == [(2, 0), (0, 2)]
    assert [found.verdict for found in evidence.summary(RunStatus(id="r", checks=totals), twins)] == ["Pass", "Fail"]


def test_there_is_an_end_to_the_checks_that_one_run_counts() -> None:
    totals: tuple[CheckTotals, ...] = ()
    for number in range(500):
        totals, row = evidence.tallied(totals, [CheckStatus(name=f"c{number}", verdict=Verdict.PASS, value=1)])
    assert len(totals) == evidence.MOST_CHECKS
    assert row == ()


def test_a_dry_run_and_an_infinite_value_can_be_told() -> None:
    checks = [
        CheckStatus(name="x", verdict=Verdict.FAIL, value=7, dry_run=True),
        CheckStatus(name="y", verdict=Verdict.FAIL, value=float("inf")),
    ]
    totals, row = evidence.tallied((), checks)
    assert row == ("Fail 7 (dry run)", "Fail")
    assert (totals[1].failed, totals[1].min) == (1, None)


# ------------------------------------------------------------------------------------------------ the last tick


def test_a_check_on_the_object_says_everything_and_not_too_much() -> None:
    world = released()
    world.metrics = {RATE: Sample(99.5, query="q" * 50_000, samples=12), LATENCY: Sample(error="e" * 50_000, query="q")}
    world.run(until=Phase.PROGRESSING)
    world.tick()
    world.now += 10
    world.tick()
    rate, latency = world.status.checks
    assert (rate.value, rate.bound, rate.samples, rate.provider, rate.error) == (99.5, ThresholdRange(min=99), 12, "prometheus", "")
    assert len(rate.query) == evidence.LONGEST_QUERY
    assert rate.query.endswith("q...")
    assert (latency.verdict, len(latency.error), len(latency.message)) == (Verdict.ERROR, evidence.LONGEST_TEXT, evidence.LONGEST_TEXT)


def test_who_was_never_asked_is_not_named() -> None:
    world = released(metrics=[{"name": "mine", "templateRef": {"name": "t"}, "thresholdRange": {"max": 1}}])
    world.metrics = {"mine": Sample(error="metric template t.test not found")}
    world.run(until=Phase.PROGRESSING)
    world.tick()
    world.now += 10
    world.tick()
    (check,) = world.status.checks
    assert (check.provider, check.source, check.error) == ("", "template/test/t", "metric template t.test not found")


# ------------------------------------------------------------------------------------------------ bounds


@pytest.mark.slow
def test_a_run_of_a_thousand_ticks_stays_bounded_and_tells_what_happened() -> None:
    world = released(stepWeight=10, threshold=1000)
    closed = {"gate": True}
    world.hook("oncall", "confirm-traffic-increase", answer=lambda _: not closed["gate"])
    world.run(until=Phase.PROGRESSING)
    world.hooks["oncall"] = True
    for number in range(1000):
        if number == 3:
            world.hooks["oncall"] = False
        if number == 995:
            world.hooks["oncall"] = True
        world.metrics[RATE] = Sample(90.0 if number in (400, 401) else 99.9 + number / 1e4)
        world.tick()
        assert in_status(world) < 6 * 1024
        world.now += 10
    world.run()
    assert world.status.phase is Phase.SUCCEEDED
    history = rows(world)
    assert evidence.size(history) <= evidence.MOST
    assert 300 < len(history) < 1000
    assert history[0].seq == 1
    assert history[-1].seq > 1000
    assert len([row for row in history if row.checks and row.checks[0] == "Fail 90"]) == 2
    assert [row.to for row in history if row.to] == [*range(10, 101, 10)]
    assert [row.seq for row in history] == sorted({row.seq for row in history})
    assert saves(world) < 1000 / 15, "a request for many ticks"
    assert world.status.run is not None
    assert world.status.run.history == ()
    assert world.status.run.checks[0].failed == 2
    assert world.status.run.checks[0].passed > 990


def test_a_promotion_in_many_steps_stays_bounded() -> None:
    world = released(stepWeight=1, stepWeightPromotion=1)
    most = 0
    for _ in range(400):
        decision = world.tick()
        world.settle()
        most = max(most, in_status(world))
        if decision.wake_after is None:
            break
        world.now += decision.wake_after
    assert world.status.phase is Phase.SUCCEEDED
    assert most < 2 * evidence.ROOM + 4 * 1024
    check_numbers = [row.seq for row in rows(world)]
    assert check_numbers == sorted(set(check_numbers))
    assert rows(world)[-1].to == 0


ROWS = st.lists(
    st.builds(
        RunRow,
        seq=st.integers(1, 9),
        weight=st.integers(0, 100),
        to=st.none() | st.none() | st.integers(0, 100),
        checks=st.sampled_from([(), ("Pass 1",), ("Pass 1", "Fail 2"), ("-", "NoData")]),
        gates=st.sampled_from([(), (), ("g: yes",), ("g: no",)]),
    ),
    max_size=60,
).map(lambda found: [row.model_copy(update={"seq": number, "at": float(number)}) for number, row in enumerate(found, start=1)])


@given(ROWS)
def test_sizes_are_those_of_the_json_and_a_few_bytes_more(found: list[RunRow]) -> None:
    written = sum(len(json.dumps(row.to_dict(), separators=(",", ":"))) + 1 for row in found)
    assert written <= evidence.size(found) <= written + 15 * len(found)


@given(ROWS, st.integers(0, 4000))
def test_thinning_keeps_order_ends_and_what_moved_as_long_as_it_can(found: list[RunRow], room: int) -> None:
    kept = evidence.thinned(found, room)
    assert evidence.size(kept) <= room or len(kept) <= 2
    numbers = [row.seq for row in kept]
    assert numbers == sorted(set(numbers))
    assert kept[:1] == tuple(found[:1])
    assert kept[-1:] == tuple(found[-1:])
    moved = [row for row in found[1:-1] if row.to is not None]
    if lost := [row for row in moved if row not in kept]:
        assert all(row.to is not None for row in kept[1:-1]), f"{lost} went before what tells less"
    assert evidence.thinned(kept, room) == kept


@given(ROWS, st.integers(0, 60), st.integers(0, 60))
def test_rows_that_are_saved_again_are_there_once(found: list[RunRow], first: int, second: int) -> None:
    """The status keeps the last row that was saved; a crash saves the same rows again."""
    first, second = sorted((min(first, len(found)), min(second, len(found))))
    room = 10**6
    stored = evidence.merged((), found[:first], room=room)
    stored = evidence.merged(stored, found[:first], room=room)
    stored = evidence.merged(stored, found[max(0, first - 1) : second], room=room)
    stored = evidence.merged(stored, found[max(0, second - 1) :], room=room)
    assert stored == tuple(found)


@given(ROWS, st.integers(200, 2000))
def test_saving_again_what_was_thinned_brings_nothing_back(found: list[RunRow], room: int) -> None:
    stored = evidence.merged((), found, room=room)
    assert evidence.merged(stored, found, room=room) == stored


# ------------------------------------------------------------------------------------------------ crashes and versions


@pytest.mark.slow
@settings(max_examples=25, deadline=None)
@given(st.data())
def test_no_crash_loses_or_doubles_a_row(data: st.DataObject) -> None:
    world = released(stepWeight=data.draw(st.sampled_from([2, 3, 7])), stepWeightPromotion=data.draw(st.sampled_from([0, 30])))
    plan = data.draw(st.lists(st.none() | st.integers(0, 6), min_size=30, max_size=30))
    for number in range(600):
        crash = plan[number % len(plan)] if number < 300 else None
        try:
            decision = world.tick(crash_at=crash)
        except CrashError:
            world.now += 1
            continue
        world.settle()
        if decision.wake_after is None:
            break
        world.now += decision.wake_after
    assert world.status.phase is Phase.SUCCEEDED
    check_whole(rows(world))
    assert rows(world)[-1].to == 0


def test_rows_that_could_not_be_saved_are_still_in_the_status() -> None:
    world = released(stepWeight=1)
    names: list[str] = []
    while "SaveRun" not in names:
        if names:
            world.tick()
            world.settle()
            world.now += 10
        names = [type(effect).__name__ for effect in world.decide().effects]
    assert names.index("SaveRun") < names.index("SetRoutes"), "nothing has moved when the rows cannot be saved"
    before = world.status
    for crash_at in range(len(names) + 1):
        with pytest.raises(CrashError):
            world.tick(crash_at=crash_at)
        assert world.status == before
    world.run()
    check_whole(rows(world))


def test_a_run_that_an_earlier_version_began_goes_on() -> None:
    world = released()
    world.run(until=Phase.PROGRESSING)
    for _ in range(3):
        world.tick()
        world.now += 10
    stored = world.status.to_dict()
    for name in ("checks", "history"):
        stored["run"].pop(name, None)
    for check in stored["checks"]:
        check.pop("provider", None)
    world.status = CanaryStatus.from_dict(stored)
    world.run()
    assert world.status.phase is Phase.SUCCEEDED
    assert (rows(world)[0].seq, rows(world)[0].weight, rows(world)[0].to) == (1, 30, 40)
    check_whole(rows(world))


def test_of_a_run_that_ended_under_an_earlier_version_the_last_checks_are_known() -> None:
    checks = [
        CheckStatus(name=RATE, verdict=Verdict.FAIL, value=50, query="q", bound=ThresholdRange(min=99)),
        CheckStatus(name="x", verdict=Verdict.NO_DATA),
    ]
    first, second = evidence.summary(RunStatus(id="r"), checks)
    assert (first.failed, first.last, first.worst, first.query) == (1, 50, 50, "q")
    assert (second.no_data, second.samples) == (1, 0)


def test_a_rollback_waits_for_no_evidence() -> None:
    world = released(stepWeight=1)
    world.hook("panic", "rollback", answer=False)
    while not any(isinstance(effect, SaveRun) for effect in world.decide().effects):
        world.tick()
        world.settle()
        world.now += 10
    world.hooks["panic"] = True
    decision = world.tick()
    assert not any(isinstance(effect, SaveRun) for effect in decision.effects)
    assert decision.status.run is not None
    assert decision.status.run.rolling_back
    world.run()
    check_whole(rows(world))


def test_the_alert_about_a_failed_analysis_is_asked_to_show_the_checks() -> None:
    for policy, kind in (("rollback", "ThresholdReached"), ("hold", "AnalysisHeld")):
        world = released(onFailure=policy)
        world.metrics[RATE] = Sample(50.0)
        world.run(ticks=200) if policy == "rollback" else [world.run(until=Phase.PROGRESSING), *(_later(world) for _ in range(6))]
        (notice, *_) = [notice for notice in world.notices if notice.kind == kind]
        assert notice.with_checks
        assert [notice.kind for notice in world.notices if notice.with_checks and notice.kind != kind] == []


def _later(world: World) -> None:
    world.tick()
    world.now += 10
