"""The rules of rings: what opens, what waits and why, what stops; all of it from values and a time."""

from __future__ import annotations

from dataclasses import replace

import pytest

from canary.api.rolloutplan import at_least, at_most
from canary.gitops.rings.decide import decide
from canary.gitops.rings.gate import abort, answer, order, turns
from canary.gitops.rings.standing import Phase
from canary.gitops.rings.view import Approval, Exemption, Head, Outcome, Rollback
from tests.rings.support import HOUR, T0, bad, candidates, members, ok, plan, view

FIRST = [ok("first-0"), ok("first-1")]
SECOND = [ok(f"second-{number}", at=T0 + 2 * HOUR) for number in range(3)]
THIRD = [ok(f"third-{number}", at=T0 + 4 * HOUR) for number in range(4)]


def phases(decision, release="v1"):
    return [decision.standing(release, ring).phase for ring in ("first", "second", "third")]


def why(decision, ring, release="v1"):
    return decision.standing(release, ring).why


# ------------------------------------------------------------------------------------------------- the walk


def test_a_new_release_may_begin_in_the_first_ring_and_nowhere_else():
    decision = decide(plan(), view(), T0 + 1)
    assert phases(decision) == [Phase.OPEN, Phase.WAITING, Phase.WAITING]
    assert decision.targets == {"first": "v1"}
    assert why(decision, "second") == "ring first has not passed"


def test_a_ring_passes_one_bake_time_after_its_last_success():
    seen = view([*FIRST[:1], ok("first-1", at=T0 + HOUR)])
    early, late = (decide(plan(), seen, T0 + 2 * HOUR + seconds) for seconds in (-1, 0))
    assert phases(early) == [Phase.BAKING, Phase.WAITING, Phase.WAITING]
    assert early.wake_at == T0 + 2 * HOUR
    assert phases(late) == [Phase.PASSED, Phase.OPEN, Phase.WAITING]
    assert late.targets == {"first": "v1", "second": "v1"}


def test_a_release_walks_through_all_rings():
    decision = decide(plan(), view([*FIRST, *SECOND, *THIRD]), T0 + 5 * HOUR)
    assert phases(decision) == [Phase.PASSED] * 3


def test_no_ring_is_skipped_though_later_rings_already_succeeded():
    decision = decide(plan(), view([*SECOND, *THIRD]), T0 + 9 * HOUR)
    assert phases(decision) == [Phase.OPEN, Phase.WAITING, Phase.WAITING]


def test_a_laggard_that_succeeds_later_does_not_close_the_next_ring_again():
    rules = plan({"name": "first", "pass": {"succeeded": "50%", "missing": "50%", "missingAfter": "1h"}}, {"name": "second"})
    late = ok("first-1", at=T0 + 10 * HOUR)
    for records in (FIRST[:1], [*FIRST[:1], late]):
        decision = decide(rules, view(records), T0 + 10 * HOUR + 1)
        assert decision.standing("v1", "first").passed_at == T0 + 60 + HOUR
        assert decision.targets["second"] == "v1"


def test_laggards_are_waited_for_and_then_allowed_up_to_a_limit():
    rules = plan({"name": "first", "pass": {"succeeded": 8, "missing": "10%", "missingAfter": "6h"}}, {"name": "second"})
    ten = members(first=10, second=1)
    nine = [ok(f"first-{number}") for number in range(9)]
    assert decide(rules, view(nine, of=ten), T0 + 6 * HOUR - 1).standing("v1", "first").phase is Phase.BAKING
    assert decide(rules, view(nine, of=ten), T0 + 6 * HOUR).standing("v1", "first").phase is Phase.PASSED
    eight = decide(rules, view(nine[:8], of=ten), T0 + 99 * HOUR).standing("v1", "first")
    assert (eight.phase, eight.why) == (Phase.OPEN, "8 of 10 succeeded; 2 have said nothing, 1 may")


def test_without_missing_after_laggards_are_waited_for_for_ever():
    rules = plan({"name": "first", "pass": {"succeeded": 1, "missing": 1}}, {"name": "second"})
    assert decide(rules, view(FIRST[:1]), T0 + 1e8).standing("v1", "first").phase is Phase.OPEN


def test_a_ring_needs_its_samples():
    rules = plan({"name": "first", "pass": {"minSamples": 100}}, {"name": "second"})
    few = decide(rules, view(FIRST), T0 + 9 * HOUR).standing("v1", "first")
    assert (few.phase, few.why) == (Phase.OPEN, "2 of 2 succeeded; 20 samples were taken, 100 are needed")
    assert decide(rules, view([ok("first-0", samples=99), ok("first-1", samples=1)]), T0 + 9 * HOUR).standing("v1", "first").passed


def test_a_success_that_was_replaced_before_it_had_baked_proves_nothing():
    short = [FIRST[0], ok("first-1", replaced=T0 + 60 + HOUR - 1)]
    found = decide(plan(), view(short), T0 + 9 * HOUR).standing("v1", "first")
    assert (found.phase, found.succeeded) == (Phase.OPEN, 1)
    assert "1 replaced before they had baked" in found.why
    assert decide(plan(), view([FIRST[0], ok("first-1", replaced=T0 + 60 + HOUR)]), T0 + 9 * HOUR).standing("v1", "first").passed


@pytest.mark.parametrize(("size", "opens"), [(0, False), (1, True)])
def test_an_empty_ring_closes_the_way_unless_the_plan_allows_it(size, opens):
    of = members(first=2, second=size, third=1)
    decision = decide(plan(), view([*FIRST, ok("second-0", at=T0 + HOUR)], of=of), T0 + 9 * HOUR)
    assert ("third" in decision.targets) is opens
    allowed = decide(plan({"name": "first"}, {"name": "second", "minMembers": 0}, {"name": "third"}), view(FIRST, of=of), T0 + 9 * HOUR)
    assert ("third" in allowed.targets) is (size == 0)


@pytest.mark.parametrize(("amount", "low", "high"), [("95%", 95, 95), ("0.2%", 1, 0), ("99.5%", 100, 99), (3, 3, 3)])
def test_shares_are_rounded_to_the_safe_side(amount, low, high):
    assert (at_least(amount, 100), at_most(amount, 100)) == (low, high)


# ----------------------------------------------------------------------------------------------- when it fails


def test_a_failure_halts_the_release_in_all_rings_at_once():
    decision = decide(plan(), view([*FIRST, bad("second-1", at=T0 + 2 * HOUR)]), T0 + 3 * HOUR)
    assert decision.halted == {"v1": "1 of 9 clusters failed (second-1)"}
    assert decision.targets == {}
    assert [one.path for one in decision.publish] == ["podinfo/v1/halt.json"]


def test_a_failure_counts_whatever_the_clusters_clock_says():
    for at in (0.0, T0 + 1e7):
        assert decide(plan(), view([bad("first-0", at=at)]), T0 + 60).halted


def test_a_release_that_broke_after_its_success_is_a_failure():
    decision = decide(plan(), view([bad("first-0", outcome=Outcome.DEGRADED)]), T0 + HOUR)
    assert decision.halted == {"v1": "1 of 9 clusters failed (first-0 degraded)"}


def test_no_budget_allows_what_broke_after_its_success():
    rules = plan({"name": "first", "pass": {"succeeded": "50%", "failed": 1}}, {"name": "second"}, halt={"failed": 2})
    found = decide(rules, view([FIRST[0], bad("first-1", outcome=Outcome.DEGRADED)]), T0 + 9 * HOUR).standing("v1", "first")
    assert found.phase is Phase.FAILED
    assert found.why == "1 of 2 succeeded, 1 failed (first-1 degraded); what broke after it had succeeded has not baked"
    forgiven = view([FIRST[0], bad("first-1", outcome=Outcome.DEGRADED)], resumed={"v1": T0 + HOUR})
    assert decide(rules, forgiven, T0 + 9 * HOUR).standing("v1", "first").phase is Phase.OPEN


def test_a_halt_sticks_when_the_cluster_succeeds_after_all():
    first = decide(plan(), view([bad("first-0")]), T0 + HOUR)
    published = {one.path: one.content for one in first.publish}
    later = decide(plan(), view(FIRST, published=published), T0 + 9 * HOUR)
    assert later.halted == first.halted
    assert later.publish == ()


def test_a_reviewed_file_resumes_and_a_new_failure_halts_again():
    published = {one.path: one.content for one in decide(plan(), view([bad("first-0")]), T0 + HOUR).publish}
    resumed = {"v1": T0 + HOUR}
    again = decide(plan(), view([bad("first-0")], published=published, resumed=resumed), T0 + 2 * HOUR)
    assert (again.halted, again.targets) == ({}, {"first": "v1"})
    worse = decide(plan(), view([bad("first-0"), bad("first-1", at=T0 + 2 * HOUR)], published=published, resumed=resumed), T0 + 3 * HOUR)
    assert worse.halted == {"v1": "1 of 9 clusters failed (first-1)"}
    assert [one.path for one in worse.publish] == [f"podinfo/v1/halt-{int(T0 + HOUR)}.json"]


def test_a_halt_is_shown_where_it_began_and_the_others_wait_behind_it():
    decision = decide(plan(), view([*FIRST, bad("second-1", at=T0 + 2 * HOUR)]), T0 + 3 * HOUR)
    assert phases(decision) == [Phase.PASSED, Phase.HALTED, Phase.WAITING]
    assert decision.where == {"v1": ("second",)}
    assert why(decision, "second") == "1 of 9 clusters failed (second-1)"
    assert why(decision, "third") == "waiting behind the halt in ring second"
    assert not any(decision.standing("v1", ring).opens for ring in ("first", "second", "third"))


def test_a_halt_in_two_rings_is_in_both():
    both = decide(plan(halt={"failed": 2}), view([bad("first-0"), bad("third-0")]), T0 + HOUR)
    assert phases(both) == [Phase.HALTED, Phase.WAITING, Phase.HALTED]
    assert why(both, "second") == "waiting behind the halt in rings first and third"


def test_a_halt_that_is_only_written_down_says_where_it_was_and_one_that_does_not_is_everywhere():
    first = decide(plan(), view([bad("second-1")]), T0 + HOUR)
    published = {one.path: one.content for one in first.publish}
    assert phases(decide(plan(), view(FIRST, published=published), T0 + 9 * HOUR)) == [Phase.PASSED, Phase.HALTED, Phase.WAITING]
    for text in (b"{}", b"broken", b'{"failed": {"elsewhere": ["x"]}}', b'{"failed": 3}'):
        unknown = decide(plan(), view(published={"podinfo/v1/halt.json": text}), T0 + HOUR)
        assert phases(unknown) == [Phase.HALTED] * 3


def test_a_newer_release_does_not_hide_where_an_older_one_was_halted():
    two = candidates("v1", "v2")
    decision = decide(plan(supersede="latest"), view([*FIRST, bad("second-0")], releases=two), two[0].at + 1)
    assert [decision.standing("v1", ring).phase for ring in ("second", "third")] == [Phase.HALTED, Phase.WAITING]
    assert why(decision, "third") == "waiting behind the halt in ring second"


def test_failures_within_the_budget_stop_neither_ring_nor_release():
    rules = plan({"name": "first", "pass": {"succeeded": "50%", "failed": 1}}, {"name": "second"}, halt={"failed": 2})
    decision = decide(rules, view([FIRST[0], bad("first-1")]), T0 + 9 * HOUR)
    assert decision.halted == {}
    assert decision.standing("v1", "first").phase is Phase.PASSED


def test_a_ring_over_its_own_limit_fails_without_a_halt():
    decision = decide(plan(halt={"failed": 2}), view([FIRST[0], bad("first-1")]), T0 + 9 * HOUR)
    assert decision.standing("v1", "first").why == "1 of 2 succeeded, 1 failed (first-1); 0 may fail"
    assert decision.targets == {}


def test_the_one_release_is_halted_and_the_next_begins_at_the_first_ring():
    two = candidates("v1", "v2")
    decision = decide(plan(), view([*FIRST, bad("second-0")], releases=two), two[0].at + 1)
    assert set(decision.halted) == {"v1"}
    assert decision.targets == {"first": "v2"}


# -------------------------------------------------------------------------------------------------- which release


def test_a_ring_gets_the_newest_release_that_has_passed_the_ring_before():
    three = candidates("v1", "v2", "v3", every=HOUR)
    done = [ok(f"first-{number}", release, at=T0 + 60) for release in ("v1", "v2") for number in range(2)]
    decision = decide(plan(), view(done, releases=three), T0 + 9 * HOUR)
    assert decision.targets == {"first": "v3", "second": "v2"}
    assert decision.standing("v1", "second") is None or decision.standing("v1", "second").phase is Phase.SUPERSEDED


def test_latest_lets_an_older_release_open_no_more_rings():
    two = candidates("v1", "v2", every=9 * HOUR)
    decision = decide(plan(supersede="latest"), view(FIRST, releases=two), two[0].at + 1)
    assert decision.targets == {"first": "v2"}
    assert why(decision, "second", "v1") == "superseded by v2"


def test_latest_falls_back_to_the_release_before_when_the_newest_is_halted():
    two = candidates("v1", "v2")
    decision = decide(plan(supersede="latest"), view([*FIRST, bad("first-0", "v2")], releases=two), two[0].at + 9 * HOUR)
    assert decision.targets == {"first": "v1", "second": "v1"}


def test_queue_lets_the_older_release_finish_first():
    two = candidates("v1", "v2")
    heads = {ring: Head(release="v0", position=2) for ring in ("first", "second", "third")}
    rules = plan(mode="branch", supersede="queue")
    assert decide(rules, view(FIRST, releases=two, heads=heads), two[0].at).targets == {"first": "v1", "second": "v1"}
    done = decide(rules, view([*FIRST, *SECOND, *THIRD], releases=two, heads=heads), two[0].at)
    assert done.targets == {"first": "v2"}


def test_a_release_that_the_last_ring_had_before_there_were_records_holds_no_queue_up():
    two = candidates("v1", "v2")
    heads = {ring: Head(release="v1", position=1) for ring in ("first", "second", "third")}
    assert decide(plan(mode="branch", supersede="queue"), view(releases=two, heads=heads), two[0].at).targets["first"] in {"v1", "v2"}


def test_a_release_that_all_rings_know_as_good_returns_at_once():
    again = (replace(candidates("v1")[0], commit="revert", at=T0 + 99 * HOUR), *candidates("v2", at=T0 + 50 * HOUR))
    decision = decide(plan(), view([*FIRST, *SECOND, *THIRD], releases=again), T0 + 99 * HOUR)
    assert phases(decision) == [Phase.PASSED] * 3
    assert set(decision.targets.values()) == {"v1"}


# ---------------------------------------------------------------------------------------------------------- time

DAYS = [{"cron": "0 9 * * mon-thu", "duration": "7h", "tz": "Europe/Copenhagen"}]
MONDAY = T0 + 3 * 24 * HOUR
"""2027-01-18 08:00Z, 9 o'clock in Copenhagen."""


def test_a_ring_opens_in_its_window_and_begins_nothing_outside_of_it():
    rules = plan({"name": "first"}, {"name": "second", "windows": DAYS})
    friday = decide(rules, view(FIRST), T0 + 9 * HOUR)
    assert "second" not in friday.targets
    assert friday.wake_at == MONDAY
    assert "next at 2027-01-18 08:00:00Z" in why(friday, "second")
    assert decide(rules, view(FIRST), MONDAY).targets["second"] == "v1"
    night = decide(rules, view(FIRST), MONDAY + 7 * HOUR)
    assert "second" not in night.targets
    assert night.standing("v1", "second").since == MONDAY


def test_laggards_are_waited_for_from_the_moment_at_which_the_window_opened():
    rules = plan({"name": "first"}, {"name": "second", "windows": DAYS, "pass": {"succeeded": 2, "missing": 1, "missingAfter": "6h"}})
    two = [ok(f"second-{number}", at=MONDAY + 60) for number in range(2)]
    assert decide(rules, view([*FIRST, *two]), MONDAY + 6 * HOUR).standing("v1", "second").passed_at == MONDAY + 6 * HOUR


def test_a_freeze_wins_over_a_window():
    freeze = {"cron": "0 0 16 1 *", "duration": "240h"}
    rules = plan({"name": "first"}, {"name": "second", "windows": DAYS}, freezes=[freeze])
    frozen = decide(rules, view(FIRST), MONDAY)
    assert frozen.targets == {}
    assert "next at 2027-01-26 08:00:00Z" in why(frozen, "second")  # thawed on Tuesday at midnight


def test_an_exemption_lifts_freezes_and_windows_but_no_ring():
    rules = plan(freezes=[{"cron": "0 0 1 1 *", "duration": "8000h"}])
    seen = view(exemptions={"v1": Exemption(T0)})
    assert decide(rules, view(), T0 + 1).targets == {}
    assert decide(rules, seen, T0 + 1).targets == {"first": "v1"}
    assert decide(rules, view(exemptions={"v1": Exemption(T0, ring="second")}), T0 + 1).targets == {"first": "v1", "second": "v1"}


def test_a_success_from_the_future_does_not_count_yet():
    ahead = view([FIRST[0], ok("first-1", at=T0 + 9 * HOUR)])
    assert decide(plan(), ahead, T0 + 2 * HOUR).standing("v1", "first").succeeded == 1
    slightly = view([FIRST[0], ok("first-1", at=T0 + 2 * HOUR + 200)])
    assert decide(plan(), slightly, T0 + 2 * HOUR).standing("v1", "first").succeeded == 2


def test_a_committers_clock_that_is_ahead_delays_nothing():
    assert decide(plan(), view(releases=candidates("v1", at=T0 + 99 * HOUR)), T0).targets == {"first": "v1"}


def test_a_ring_that_wants_approval_waits_for_it():
    rules = plan({"name": "first"}, {"name": "second", "approval": "git"})
    assert why(decide(rules, view(FIRST), T0 + 9 * HOUR), "second") == "nobody has approved v1 for ring second"
    approved = view(FIRST, approvals={("v1", "second"): Approval(T0 + 8 * HOUR, "ann")})
    found = decide(rules, approved, T0 + 9 * HOUR)
    assert found.standing("v1", "second").since == T0 + 8 * HOUR
    assert found.targets["second"] == "v1"


def test_a_suspended_plan_opens_nothing():
    decision = decide(plan(suspend=True), view(FIRST), T0 + 9 * HOUR)
    assert decision.targets == {}
    assert why(decision, "first") == "the plan is suspended"


# --------------------------------------------------------------------------------------------------------- moves

TWO = candidates("v1", "v2")


def heads(first=0, second=1, third=1):
    positions = {"first": first, "second": second, "third": third}
    return {ring: Head(f"head-{ring}", ["v2", "v1", "v0"][at], at) for ring, at in positions.items()}


V2 = [ok("first-0", "v2", at=TWO[0].at + 60), ok("first-1", "v2", at=TWO[0].at + 60)]


def test_a_branch_moves_to_the_exact_commit_that_the_ring_before_has_baked():
    decision = decide(plan(mode="branch"), view([*V2, *FIRST, *SECOND], releases=TWO, heads=heads()), TWO[0].at + 2 * HOUR)
    (move,) = decision.moves
    assert (move.ring, move.commit, move.expected, move.back) == ("second", "commit-v2", "head-second", False)


def test_a_ring_never_goes_back_by_itself():
    seen = view([*FIRST, bad("first-0", "v2")], releases=TWO, heads=heads(first=0, second=0))
    decision = decide(plan(mode="branch"), seen, TWO[0].at + 9 * HOUR)
    assert decision.targets["second"] == "v1"
    assert decision.moves == ()


def test_a_recorded_rollback_takes_rings_back_and_no_ring_forward():
    back = dict.fromkeys(("first", "second", "third"), Rollback(TWO[0].at + HOUR, "v1"))
    seen = view(V2, releases=TWO, heads=heads(first=0, second=0, third=2), rollbacks=back)
    moves = decide(plan(mode="overlay"), seen, TWO[0].at + 9 * HOUR).moves
    assert [(move.ring, move.release, move.back) for move in moves] == [("first", "v1", True), ("second", "v1", True)]


def test_after_a_rollback_only_newer_releases_go_on():
    newer = candidates("v1", "v2", "v3")
    back = {"first": Rollback(newer[1].at + HOUR, "v1")}
    heads = {"first": Head("h", "v1", 2)}
    (move,) = decide(plan({"name": "first"}, mode="overlay"), view(releases=newer, heads=heads, rollbacks=back), newer[0].at + 1).moves
    assert (move.release, move.back) == ("v3", False)


def test_a_branch_that_somebody_else_moved_is_left_alone():
    astray = {**heads(), "second": Head("x", astray="it has commits that main has not")}
    assert decide(plan(mode="branch"), view(V2, releases=TWO, heads=astray), TWO[0].at + 9 * HOUR).moves == ()


def test_the_first_ring_is_not_moved_when_it_follows_the_source():
    rules = plan({"name": "first", "branch": "main"}, {"name": "second"}, mode="branch")
    assert decide(rules, view(releases=TWO, heads=heads(first=1)), TWO[0].at + 1).moves == ()
    own = plan({"name": "first"}, {"name": "second"}, mode="branch")
    assert [move.ring for move in decide(own, view(releases=TWO, heads=heads(first=1)), TWO[0].at + 1).moves] == ["first"]


# ------------------------------------------------------------------------------------------------- back by itself

BACK = {"mode": "branch", "halt": {"then": "revert"}}
KNOWN = [*FIRST, *SECOND, *THIRD]
"""All rings have passed v1."""
FAILED = [*KNOWN, *V2, bad("second-0", "v2", at=TWO[0].at + 2 * HOUR)]
LATE = TWO[0].at + 9 * HOUR


def moves(decision):
    return [(move.ring, move.release, move.back) for move in decision.moves]


@pytest.mark.parametrize("mode", ["branch", "overlay"])
def test_rings_go_back_from_a_halted_release_to_the_one_that_they_had_passed(mode):
    seen = view(FAILED, releases=TWO, heads=heads(first=0, second=0, third=1))
    decision = decide(plan(**BACK | {"mode": mode}), seen, LATE)
    assert moves(decision) == [("first", "v1", True), ("second", "v1", True)]
    assert why(decision, "first", "v2") == "2 of 2 succeeded; it goes back to v1"
    assert why(decision, "second", "v2") == "1 of 9 clusters failed (second-0); it goes back to v1"
    assert why(decision, "third", "v2") == "waiting behind the halt in ring second"
    assert decide(plan(mode=mode), seen, LATE).moves == ()  # hold


def test_what_went_back_stays_there():
    decision = decide(plan(**BACK), view(FAILED, releases=TWO, heads=heads(first=1, second=1)), LATE)
    assert decision.moves == ()


def test_neither_windows_nor_freezes_keep_a_bad_release():
    freeze = [{"cron": "0 0 16 1 *", "duration": "240h"}]  # since before v2, and after v1 had passed
    rules = plan(**BACK, freezes=freeze)
    before = view(FAILED, releases=TWO, heads=heads(first=1, second=0))
    assert moves(decide(rules, before, LATE)) == [("second", "v1", True)]
    after = view(FAILED, releases=TWO, heads=heads(first=1, second=1))
    assert ask(rules, after, "second-1", LATE, release="v1").open
    assert not ask(plan(mode="branch", freezes=freeze), after, "second-1", LATE, release="v1").open


def test_a_suspended_plan_takes_nothing_back():
    assert decide(plan(**BACK, suspend=True), view(FAILED, releases=TWO, heads=heads(first=0, second=0)), LATE).moves == ()


def test_a_ring_whose_past_nobody_knows_stays_and_says_so():
    seen = view([*V2, bad("second-0", "v2")], releases=TWO, heads=heads(first=0, second=0))
    decision = decide(plan(**BACK), seen, LATE)
    assert decision.moves == ()
    assert why(decision, "second", "v2").endswith("; no release before this one has passed here, so it does not go back by itself")


def test_a_halt_that_no_record_proves_stops_and_takes_nothing_back():
    """Anybody who may push to the state branch can write one."""
    path = "podinfo/v2/halt.json"
    seen = view([*KNOWN, *V2], releases=TWO, heads=heads(first=0, second=1), published={path: b'{"failed": {"second": ["x"]}}'})
    decision = decide(plan(**BACK), seen, LATE)
    assert (set(decision.halted), decision.moves) == ({"v2"}, ())
    assert why(decision, "first", "v2") == "2 of 2 succeeded; no record says so now, so it does not go back by itself"


def test_the_ring_that_follows_the_source_is_left_to_people():
    rings = ({"name": "first", "branch": "main"}, {"name": "second"}, {"name": "third"})
    decision = decide(plan(*rings, **BACK), view(FAILED, releases=TWO, heads=heads(first=0, second=0)), LATE)
    assert moves(decision) == [("second", "v1", True)]
    assert why(decision, "first", "v2") == "2 of 2 succeeded; it follows main, so people revert there"


def test_a_newer_release_goes_before_the_way_back():
    three = candidates("v1", "v2", "v3")
    seen = view(FAILED, releases=three, heads={ring: replace(one, position=one.position + 1) for ring, one in heads(0, 0, 1).items()})
    assert moves(decide(plan(**BACK), seen, three[0].at + 1)) == [("first", "v3", False), ("second", "v1", True)]


def test_an_older_release_that_was_halted_too_is_not_gone_back_to():
    three = candidates("v0", "v1", "v2")
    old = [replace(one, release="v0", finished=one.finished - 9 * HOUR) for one in KNOWN]
    seen = view([*old, bad("first-0"), *V2, bad("first-1", "v2")], releases=three, heads=dict.fromkeys(("first",), Head("h", "v2", 0)))
    (move,) = decide(plan({"name": "first"}, **BACK), seen, three[0].at + 9 * HOUR).moves
    assert (move.release, move.expected, move.back) == ("v0", "h", True)


def test_a_resumed_release_goes_forward_again():
    seen = view(FAILED, releases=TWO, heads=heads(first=1, second=1), resumed={"v2": LATE})
    assert moves(decide(plan(**BACK), seen, LATE + 1)) == [("first", "v2", False), ("second", "v2", False)]


# --------------------------------------------------------------------------------------------------------- gates


def ask(rules, seen, cluster, now, **more):
    return answer(rules, seen, decide(rules, seen, now), cluster, now=now, **more)


def test_the_gate_is_open_for_a_cluster_whose_ring_is_open_and_says_why_otherwise():
    assert ask(plan(), view(), "first-0", T0 + 1).open
    refused = ask(plan(), view(), "second-0", T0 + 1)
    assert (refused.open, refused.why) == (False, "v1 in ring second: ring first has not passed")
    assert ask(plan(), view(), "elsewhere", T0 + 1).why == "elsewhere is in no ring of plan podinfo"
    assert ask(plan(), view(FIRST), "second-2", T0 + 2 * HOUR).open
    assert "is halted: 1 of 9" in ask(plan(), view([bad("first-0")]), "first-1", T0 + 60).why
    assert not ask(plan(), view(), "first-0", T0 + 1, release="v9").open


def test_clusters_of_a_ring_take_turns():
    rules = plan({"name": "first", "maxConcurrent": 3})
    ten = members(first=10)
    line = order("v1", ten["first"])
    assert [name for name in ten["first"] if ask(rules, view(of=ten), name, T0 + 1).open] == sorted(line[:3])
    after = view([ok(line[1]), ok(line[2])], of=ten)
    assert {name for name in ten["first"] if ask(rules, after, name, T0 + 61).open} == set(line[:5])
    assert order("v1", ten["first"]) != order("v2", ten["first"])


def test_a_share_of_concurrent_clusters_is_at_least_one():
    rules = plan({"name": "first", "maxConcurrent": "10%"})
    few = members(first=3)
    assert len(turns(view(of=few), decide(rules, view(of=few), T0), rules.spec.rings[0], "v1", now=T0)) == 1


def test_a_laggard_holds_its_slot_only_as_long_as_it_is_waited_for():
    rules = plan({"name": "first", "maxConcurrent": 1, "pass": {"missing": 1, "missingAfter": "6h"}})
    assert not ask(rules, view(), order("v1", ("first-0", "first-1"))[1], T0 + 6 * HOUR - 1).open
    assert ask(rules, view(), order("v1", ("first-0", "first-1"))[1], T0 + 6 * HOUR).open


@pytest.mark.parametrize(("in_flight", "goes_back"), [("abort", True), ("finish", False)])
def test_runs_under_way_are_taken_back_on_a_halt_only_if_the_plan_says_so(in_flight, goes_back):
    rules = plan(halt={"inFlight": in_flight})
    halted, fine = view([bad("first-0")]), view()
    assert abort(rules, halted, decide(rules, halted, T0)).open is goes_back
    assert not abort(rules, fine, decide(rules, fine, T0)).open


def test_why_a_ring_passed_is_written_once_for_a_plan_and_alike_by_everybody():
    seen = view(FIRST)
    one, other = (decide(plan(), seen, T0 + hours * HOUR).publish for hours in (2, 9))
    assert one == other
    assert [each.path for each in one] == ["podinfo/v1/ring-first.json"]
    known = view(FIRST, published={each.path: each.content for each in one})
    assert decide(plan(), known, T0 + 9 * HOUR).publish == ()
    assert decide(plan(suspend=False, halt={"failed": 2}), known, T0 + 9 * HOUR).publish != ()
