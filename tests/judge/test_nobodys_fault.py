"""An outage that both versions share, the wrong share of traffic, a cold start: reasons to wait, not to take a version back."""

from __future__ import annotations

from dataclasses import replace

from canary.core.judge import Arm, SequentialJudge
from tests.judge.releases import Service, config, release


def _outage(service: Service, share: float):
    def change(tick):
        canary, primary = (replace(arm, errors=service.among(arm.total, share)) for arm in (tick.canary, tick.primary))
        return replace(tick, canary=canary, primary=primary)

    return change


def test_an_outage_of_both_versions_waits_and_says_so():
    service = Service(7)
    judge = SequentialJudge(config(), service.history())
    found = release(judge, service, ticks=60, change=dict.fromkeys(range(2, 61), _outage(service, 0.05)))
    assert "rollback" not in {one.verdict for one in found}
    assert "promote" not in {one.verdict for one in found}
    assert any(one.reason.startswith("Holding: primary fails too (") and "not the canary's doing" in one.reason for one in found)
    assert found[-1].evidence["errorThreshold"]["vetoed"] is True


def test_after_the_outage_the_release_goes_on():
    service = Service(7)
    judge = SequentialJudge(config(), service.history())
    found = release(judge, service, change=dict.fromkeys(range(2, 61), _outage(service, 0.05)))
    assert found[-1].verdict == "promote"
    assert len(found) > 60


def test_an_outage_that_the_canarys_scrape_shows_first_takes_nothing_back():
    service = Service(8, rate=1000)
    judge = SequentialJudge(config(), service.history())
    first = lambda tick: replace(tick, canary=replace(tick.canary, errors=tick.canary.total // 20))  # noqa: E731
    change = {6: first} | dict.fromkeys(range(7, 61), _outage(service, 0.05))
    found = release(judge, service, ticks=60, change=change)
    assert "rollback" not in {one.verdict for one in found}


def test_a_canary_that_is_worse_than_the_outage_is_taken_back():
    service = Service(9)
    judge = SequentialJudge(config(), service.history())

    def worse(tick):
        broken = _outage(service, 0.05)(tick)
        return replace(broken, canary=replace(tick.canary, errors=service.among(tick.canary.total, 0.15)))

    assert release(judge, service, change=dict.fromkeys(range(1, 241), worse))[-1].verdict == "rollback"


def test_the_threshold_speaks_for_itself_when_the_primary_is_well():
    """At one request in two seconds the limit of 1 % convicts sooner than the comparison could."""
    service = Service(2, rate=0.5, canary=0.3)
    judge = SequentialJudge(config(), service.history())
    last = release(judge, service)[-1]
    assert last.verdict == "rollback"
    assert "that fail at most 1 % of requests" in last.reason


def test_one_tick_takes_nothing_back_whatever_happens_in_it():
    service = Service(2)
    judge = SequentialJudge(config(), service.history())
    all_fail = lambda tick: replace(tick, canary=Arm(10_000, 10_000, {250: 0, 500: 0}))  # noqa: E731
    found = release(judge, service, ticks=8, change={4: all_fail, 5: all_fail})
    assert "rollback" not in {one.verdict for one in found[:5]}
    assert found[4].verdict == "hold"


def test_a_canary_that_answers_half_its_share_is_held_not_promoted():
    service = Service(3)
    judge = SequentialJudge(config(), service.history())

    def half(tick):
        arm = tick.canary
        return replace(tick, canary=Arm(arm.total // 2, arm.errors // 2, {at: n // 2 for at, n in arm.buckets.items()}))

    found = release(judge, service, change=dict.fromkeys(range(1, 241), half))
    assert {one.verdict for one in found[-150:]} <= {"hold", "inconclusive"}
    assert "Telemetry or routing is wrong" in found[-1].reason


def test_a_mismatch_that_is_mended_lets_the_release_go_on():
    service = Service(3)
    judge = SequentialJudge(config(), service.history())

    def half(tick):
        arm = tick.canary
        return replace(tick, canary=Arm(arm.total // 2, 0, {at: n // 2 for at, n in arm.buckets.items()}))

    found = release(judge, service, change=dict.fromkeys(range(1, 30), half))
    assert any("routing is wrong" in one.reason for one in found[:30])
    assert found[-1].verdict == "promote"


def test_warmup_looks_away_and_keeps_the_weight():
    service = Service(3)
    judge = SequentialJudge(config(warmup="60s"), service.history())
    broken = lambda tick: replace(tick, canary=replace(tick.canary, errors=tick.canary.total))  # noqa: E731
    found = release(judge, service, change=dict.fromkeys(range(1, 5), broken))
    assert [one.verdict for one in found[:4]] == ["hold"] * 4
    assert "warms up" in found[0].reason
    assert {one.weight for one in found[:4]} == {judge.weight} or len({one.weight for one in found[:4]}) == 1
    assert found[-1].verdict == "promote"


def test_a_limit_that_was_broken_long_before_does_not_stand_in_the_way():
    """Else no fix of a failing service could ever be released."""
    service = Service(5, primary=0.05, canary=0.03, rate=300)
    judge = SequentialJudge(config(), service.history())
    found = release(judge, service)
    assert "The primary broke the limit of 1 % before this run: only the comparison counts." in found[0].reason
    assert found[0].evidence["errorThreshold"]["moot"] is True
    assert found[-1].verdict == "promote"
