"""The simulation, small: whole fleets with everything that goes wrong, and random walks; the invariants are checked after every event."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bench.rings.fleet import HOUR, Faults, Scenario
from bench.rings.invariants import Broken, Invariants
from bench.rings.world import World
from canary.gitops.rings import decide as rules
from canary.gitops.rings.gate import may_begin, turns
from canary.gitops.rings.standing import Phase, count, passes_at
from canary.gitops.rings.view import Head, Outcome, Record, tally
from tests.rings.support import RINGS, T0, bad, candidates, members, ok, plan, view

SMALL = Scenario(sizes=(3, 6, 12, 20, 40), releases=5, bad=((1, 1.0), (3, 0.3)))


@pytest.mark.parametrize("mode", ["gate", "branch"])
def test_a_small_fleet_keeps_all_invariants(mode):
    report = World(replace(SMALL, mode=mode)).finish()
    wanted = {"I1", "I2", "I3", "I4", "I5", "I6", "I8"} | ({"I7"} if mode == "branch" else set())
    assert set(report.checks) == wanted
    assert report.exposed["v1"] <= 3
    assert set(report.passed) >= {"v0", "v2", "v4"}
    assert report.forged
    assert report.crashes


def test_a_small_fleet_that_goes_back_from_halted_releases_keeps_all_invariants():
    report = World(replace(SMALL, mode="branch", then="revert", seed=3)).finish()
    assert report.backs
    assert report.checks["I9"] == 2 * report.backs
    assert set(report.passed) >= {"v0", "v2", "v4"}


@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    seed=st.integers(0, 2**32),
    sizes=st.tuples(st.integers(1, 3), st.integers(1, 4), st.integers(1, 4)),
    mode=st.sampled_from([("gate", "hold"), ("branch", "hold"), ("branch", "revert")]),
    share=st.floats(0.1, 1),
)
def test_any_small_fleet_keeps_all_invariants(seed, sizes, mode, share):
    faults = Faults(crash=0.3, lost_reply=0.3, stale=0.3, forger=0.3, partitions=10, partition_length=6 * HOUR, dead=0, ahead=0.1)
    World(Scenario(sizes=sizes, releases=3, bad=((1, share),), mode=mode[0], then=mode[1], seed=seed, faults=faults)).finish()


# ------------------------------------------------------------------------------- the invariants can be broken


@pytest.fixture
def held():
    records = {("first", "v1"): {name: Record(name, "v1", Outcome.SUCCEEDED, T0, T0 + 60) for name in ("first-0", "first-1")}}
    return Invariants(plan({"name": "first", "maxConcurrent": 1}, {"name": "second"}), {"first": 2, "second": 3}, records, delay=60)


def test_a_start_before_the_ring_before_has_baked_breaks_the_first(held):
    held.start("second-0", "second", "v1", T0 + 60 + HOUR)
    with pytest.raises(Broken, match="I1"):
        Invariants(held.plan, held.sizes, held.records, delay=60).start("second-0", "second", "v1", T0 + 1800)


def test_a_start_long_after_a_halt_breaks_the_second(held):
    held.halted_at["v1"] = T0
    held.start("first-0", "first", "v1", T0 + 60)
    with pytest.raises(Broken, match="I2"):
        held.start("first-1", "first", "v1", T0 + 61)


def test_too_many_at_once_a_second_run_two_outcomes_and_doubles_break_theirs(held):
    held.start("first-0", "first", "v1", T0)
    with pytest.raises(Broken, match="I3"):
        held.start("first-1", "first", "v1", T0)
    held.recorded("first-0", "first", "v1", "succeeded", T0)
    with pytest.raises(Broken, match="I4"):
        held.recorded("first-0", "first", "v1", "failed", T0)
    held.published("a", b"1")
    with pytest.raises(Broken, match="I5"):
        held.published("a", b"2")
    with pytest.raises(Broken, match="I6"):
        held.finished("v1")
    with pytest.raises(Broken, match="I7"):
        held.moved("second", "v2", T0, before="v1")
    held.wrote("a")
    with pytest.raises(Broken, match="I8"):
        held.wrote("a")


def test_a_way_back_from_what_was_not_halted_or_to_what_had_not_passed_breaks_the_ninth(held):
    assert held.gate("second", "v1", T0 + 9 * HOUR)
    with pytest.raises(Broken, match="I9: ring first went back from v2, which was not halted"):
        held.went_back("first", "v2", "v1", T0 + 9 * HOUR)
    held.halted_at["v2"] = T0
    assert held.gate("first", "v1", T0)
    held.went_back("first", "v2", "v1", T0 + 9 * HOUR)
    with pytest.raises(Broken, match="I9: ring second went back to v1, which it had not passed"):
        held.went_back("second", "v2", "v1", T0 + 9 * HOUR)


@pytest.mark.parametrize("rule", ["opens", "halts", "turns"])
def test_the_simulation_finds_rules_that_are_broken(monkeypatch, rule):
    """The alarm is tested by starting a fire."""
    if rule == "opens":
        monkeypatch.setattr(rules._Walk, "_skips", lambda *_: True)
    elif rule == "halts":
        monkeypatch.setattr(rules, "halt_of", lambda *_: None)
        monkeypatch.setattr("canary.gitops.rings.decide.judge", lambda ring, tally, found, *, since, now: (Phase.PASSED, "", since))
    else:
        monkeypatch.setattr("bench.rings.world.turns", lambda view, decision, ring, release, *, now: frozenset(view.members[ring.name]))
    with pytest.raises(Broken):
        World(SMALL).finish()


# ----------------------------------------------------------------------------------- random histories of rules

OF = members(first=2, second=2, third=2)
EVERYBODY = [name for names in OF.values() for name in names]
STEPS = st.lists(st.tuples(st.sampled_from(EVERYBODY), st.sampled_from(["v1", "v2"]), st.booleans(), st.floats(0, 20 * HOUR)), max_size=24)


def seen(steps, now):
    """What Git says at a moment: each cluster's last word about each release, as far as its time has come."""
    last = {}
    for cluster, release, fine, after in sorted(steps, key=lambda step: step[3]):
        if T0 + after <= now:
            last[cluster, release] = ok(cluster, release, at=T0 + after) if fine else bad(cluster, release, at=T0 + after)
    return view(last.values(), of=OF, releases=candidates("v1", "v2", every=6 * HOUR))


@settings(max_examples=150, deadline=None)
@given(steps=STEPS, now=st.floats(0, 30 * HOUR), supersede=st.sampled_from(["newest-good", "latest"]))
def test_whatever_clusters_say_no_ring_is_skipped_and_no_failure_opens_anything(steps, now, supersede):
    moment = T0 + now
    view, policy = seen(steps, moment), plan(*RINGS, supersede=supersede)
    decision = rules.decide(policy, view, moment)
    for row in decision.standings:
        for number, one in enumerate(row):
            earlier = [view.tally(ring.ring, one.release) for ring in row[:number]]
            if one.opens:
                assert all(len(tally.good) == 2 and not tally.bad for tally in earlier)
                assert all(tally.good[-1][0] + HOUR <= moment for tally in earlier)
                assert one.release not in decision.halted
            if one.passed:
                assert view.tally(one.ring, one.release).good[-1][0] + HOUR <= moment
    for ring in policy.spec.rings:
        target = decision.targets.get(ring.name)
        if target and may_begin(policy, view, decision, ring, target):
            assert set(turns(view, decision, ring, target, now=moment)) <= set(OF[ring.name])


@settings(max_examples=150, deadline=None)
@given(steps=STEPS, now=st.floats(0, 30 * HOUR), at=st.tuples(*[st.integers(0, 2)] * 3))
def test_a_ring_goes_back_from_a_halted_release_only_and_to_what_it_had_passed(steps, now, at):
    moment = T0 + now
    found = seen(steps, moment)
    heads = {ring: Head(f"head-{ring}", ("v2", "v1", "")[position], position) for ring, position in zip(OF, at, strict=True)}
    there = replace(found, heads=heads)
    hold, back = (rules.decide(plan(mode="branch", halt={"then": then}), there, moment) for then in ("hold", "revert"))
    assert not any(move.back for move in hold.moves)
    assert [move for move in back.moves if not move.back] == list(hold.moves)
    for move in back.moves:
        if move.back:
            assert heads[move.ring].release in back.halted
            assert move.release not in back.halted
            assert back.standing(move.release, move.ring).passed


@settings(max_examples=100, deadline=None)
@given(steps=STEPS, now=st.floats(0, 30 * HOUR))
def test_between_now_and_the_moment_that_a_decision_names_it_stays_the_same(steps, now):
    """Who sleeps until then misses nothing."""
    moment, view = T0 + now, seen(steps, T0 + now)
    first = rules.decide(plan(), view, moment)
    until = min(first.wake_at, moment + 100 * HOUR)
    for share in (0.3, 0.999):
        later = rules.decide(plan(), view, moment + (until - moment) * share)
        assert (later.targets, later.halted, later.publish) == (first.targets, first.halted, first.publish)


@settings(max_examples=300, deadline=None)
@given(
    times=st.lists(st.floats(0, 40), max_size=12),
    need=st.integers(0, 6),
    missing=st.integers(0, 6),
    size=st.integers(0, 6),
    bake=st.floats(0, 10),
    patience=st.one_of(st.just(float("inf")), st.floats(0, 20)),
    samples=st.integers(0, 60),
)
def test_a_ring_passes_at_the_first_moment_at_which_all_that_is_asked_was_true(times, need, missing, size, bake, patience, samples):
    """Against every moment tried in turn."""
    size = max(size, len(times))
    rules_ = {"succeeded": need, "missing": missing, "minSamples": samples} | ({"missingAfter": f"{patience}s"} if patience < 30 else {})
    ring = plan(
        {"name": "first", "bakeTime": f"{bake:.6f}s", "pass": {**rules_, "missingAfter": f"{patience:.6f}s"} if patience < 30 else rules_}
    ).spec.rings[0]
    counted = tally([ok(str(number), at=at, samples=10) for number, at in enumerate(times)], bake=0)
    found = count(counted, size, now=100.0, resumed=0.0)
    fine = []
    for moment in {*(at + ring.bake for at in times), ring.bake, ring.patience, 0.0}:
        then = [at for at in times if at <= moment]
        asked = len(then) >= need and len(then) * 10 >= samples and size - len(then) <= missing
        rested = moment >= (max(then) if then else 0.0) + ring.bake
        if asked and rested and (len(then) == size or moment >= ring.patience):
            fine.append(moment)
    assert passes_at(ring, counted, found, since=0.0) == pytest.approx(min(fine, default=float("inf")))
