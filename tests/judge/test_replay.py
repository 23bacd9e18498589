"""All progress lives in the API: a judge restored from its state at any tick decides as if nothing had happened, bit for bit."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from canary.core.judge import JudgeConfig, SequentialJudge, Tick
from tests.judge.releases import Service, begun, config, release

CASES = {
    "healthy": {},
    "failing": {"canary": 0.02},
    "slow": {"canary_slow": 0.03},
    "low traffic": {"rate": 0.5, "canary": 0.05},
}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("known", [True, False], ids=["with history", "without history"])
def test_a_judge_restored_after_every_tick_decides_the_same(case: str, known: bool):
    service, twin = (Service(5, **CASES[case]) for _ in range(2))
    history = service.history(60), twin.history(60)
    whole = SequentialJudge(config(), history[0] if known else [])
    broken = SequentialJudge(config(), history[1] if known else [])
    weight = whole.weight
    for _ in range(80):
        tick = service.tick(weight)
        assert tick == twin.tick(weight)
        expected = whole.observe(tick)
        broken = SequentialJudge.restore(config(), json.loads(json.dumps(broken.state(), allow_nan=False)))
        found = broken.observe(tick)
        assert found == expected
        assert json.dumps(broken.state()) == json.dumps(whole.state())
        weight = expected.weight


@pytest.mark.parametrize("settings", [{}, {"baseline": "fresh", "maxWeight": 33}, {"warmup": 60}])
def test_a_past_that_is_learnt_once_leads_to_the_same_decisions(settings: dict[str, Any]):
    """As tests do that begin with the same past many times."""
    drawn, kept = Service(4, canary=0.006), Service(4, canary=0.006)
    begun(config(), Service(4))
    one, other = SequentialJudge(config(**settings), drawn.history()), begun(config(**settings), kept)
    assert release(other, kept) == release(one, drawn)
    assert other.state() == one.state()


def test_a_restored_judge_keeps_a_verdict():
    service = Service(5, canary=0.2)
    judge = SequentialJudge(config(), service.history())
    last = release(judge, service)[-1]
    assert last.verdict == "rollback"
    again = SequentialJudge.restore(config(), json.loads(json.dumps(judge.state())))
    later = again.observe(service.tick(0))
    assert (later.verdict, later.weight, later.reason) == ("rollback", 0, last.reason)


def _promoted(**kind: float) -> tuple[SequentialJudge, Service]:
    service = Service(3, **kind)
    judge = SequentialJudge(config(), service.history())
    assert release(judge, service)[-1].verdict == "promote"
    return judge, service


def test_a_promotion_that_waits_may_still_be_taken_back():
    """Behind a gate the version goes on serving, and may begin to fail."""
    judge, service = _promoted()
    service.canary = 0.3
    assert judge.observe(service.tick(50)).verdict == "promote", "final, unless it is reopened"
    for _ in range(8):
        judge.reopen()
        judge = SequentialJudge.restore(config(), json.loads(json.dumps(judge.state())))
        decision = judge.observe(service.tick(50))
        if decision.verdict == "rollback":
            break
    assert (decision.verdict, decision.weight) == ("rollback", 0)
    judge.reopen()
    assert judge.observe(service.tick(0)).verdict == "rollback", "a roll-back is final"


def test_a_promotion_that_waits_is_repeated_while_nothing_speaks_against_it():
    judge, service = _promoted(primary=0.0, canary=0.0, slow=0.0)
    for _ in range(4):
        judge.reopen()
        assert judge.observe(service.tick(50)).verdict == "promote"


def test_evidence_of_all_metrics_together_takes_back_at_one_in_alpha():
    service = Service(5, canary=0.03)
    *before, last = release(SequentialJudge(config(), service.history()), service)
    assert before
    assert all(one.fail < 100 for one in before)
    assert last.verdict == "rollback"
    assert last.fail >= 100
    assert last.fail <= max(one["fail"] for name, one in last.evidence.items() if name != "sampleRatio"), "an average"


def test_a_tick_that_was_seen_before_changes_nothing():
    service = Service(1)
    judge = SequentialJudge(config(), service.history())
    tick = service.tick(1)
    judge.observe(tick)
    state = json.dumps(judge.state())
    judge.observe(tick)
    judge.observe(replace(tick, ts=tick.ts - 15, weight=50))
    assert json.dumps(judge.state()) == state


@pytest.mark.parametrize("known", [True, False], ids=["with history", "without history"])
@pytest.mark.parametrize("rate", [0.05, 3000])
def test_the_state_fits_into_a_status(rate: float, known: bool):
    fine = Service(2, rate=rate)
    wide = [1.09**k for k in range(160)]

    def shaped(tick: Tick) -> Tick:
        def arm(one):
            return (
                None if one is None else replace(one, buckets={round(at, 3): round(one.total * (1 - 0.97**k)) for k, at in enumerate(wide)})
            )

        return replace(tick, canary=arm(tick.canary), primary=arm(tick.primary))

    judge = SequentialJudge(config(), [shaped(tick) for tick in fine.history()] if known else [])
    weight = judge.weight
    for _ in range(60):
        weight = judge.observe(shaped(fine.tick(weight))).weight
        assert len(json.dumps(judge.state())) <= 4096


def test_a_state_of_another_version_is_refused_in_words():
    with pytest.raises(ValueError, match="version 0; this judge writes 2: begin the run anew"):
        SequentialJudge.restore(config(), {"v": 0})


def test_a_state_of_another_configuration_is_refused_in_words():
    state = SequentialJudge(JudgeConfig.from_spec({}), []).state()
    with pytest.raises(ValueError, match="begin the run anew"):
        SequentialJudge.restore(config(), state)
