"""`judge: sequential`: weight, promotion and rollback follow the evidence; gates, hooks and other checks keep their meaning."""

import json
from typing import ClassVar

import pytest

from canary.api.status import Phase
from canary.core import judged, machine
from canary.core.judge import Decision
from canary.core.model import CloseRun, CountersAsk, MetricAsk, PastAsk, Readiness, Routes, Sample, SaveRun, SetRoutes
from tests.core.counting import watched
from tests.core.simulate import CrashError, World, replace_world

ANALYSIS = {
    "interval": "30s",
    "threshold": 3,
    "stepWeight": 10,
    "maxWeight": 50,
    "judge": "sequential",
    "sequential": {"minDuration": "1m"},
    "metrics": [{"name": "request-success-rate", "thresholdRange": {"min": 99}}],
}
DEAD = "prometheus:9090 cannot be reached"


def released(*, traffic=None, **analysis):
    """A canary whose next revision is ready to be analysed."""
    world = watched(World(analysis=ANALYSIS | analysis).bootstrap(), **(traffic or {}))
    world.release("B")
    world.settle()
    world.run(until=Phase.PROGRESSING)
    world.forget()
    return world


def go(world, seconds, *, until=None, crash=None):
    """Tick as the scheduler would, for this long or until the phase. `crash(n)` says where tick n dies, None for not at all."""
    end, number = world.now + seconds, 0
    while world.now <= end:
        number += 1
        try:
            decision = world.tick(crash_at=crash(number) if crash else None)
        except CrashError:
            decision = world.tick()
        world.settle()
        if decision.wake_after is None or world.status.phase is until:
            break
        assert decision.wake_after > 0 or number < 5000
        world.now += decision.wake_after
    return world


def weights(world):
    return [effect.routes.canary for decision in world.decisions for effect in decision.effects if isinstance(effect, SetRoutes)]


def checks(world):
    return {check.name: check for check in world.status.checks}


def judge(world):
    return world.status.run.judge


# ------------------------------------------------------------------------------------------------ with the real judge


def test_a_healthy_version_climbs_at_its_own_pace_and_is_promoted_with_what_was_shown():
    world = go(released(), 900)
    assert world.status.phase is Phase.SUCCEEDED
    climbed = weights(world)[: weights(world).index(50) + 1]
    assert climbed == sorted(climbed)
    assert 10 not in climbed or len(climbed) < 5, "not the schedule's steps"
    [closed] = [effect for effect in world.effects if isinstance(effect, CloseRun)]
    assert closed.reason.startswith("Promoted: error rate is at most")
    assert world.status.run.judge is None, "what only the judge needs is gone with the run"
    shown = checks(world)
    assert shown["judge/errorRate"].verdict == "Pass"
    assert shown["judge/errorRate"].evidence.passed >= 1.3
    assert shown["judge/errorRate"].samples > 1000


@pytest.mark.parametrize("rate", [20, 100, 1000])
def test_half_of_the_requests_failing_is_rolled_back_after_three_bad_ticks(rate):
    world = released(traffic={"errors": {"canary": 0.5}, "rate": rate})
    began = world.now
    go(world, 600)
    assert world.status.phase is Phase.FAILED
    assert world.now - began <= 75
    assert world.status.failure_reason.startswith("Rolled back after")
    assert "canary requests failed" in world.status.failure_reason
    assert checks(world)["judge/errorRate"].verdict == "Fail"
    assert "EvidenceAgainst" in world.kinds()
    assert world.status.failed_checks == 0
    assert world.routes.canary == 0
    assert world.target.replicas == 0


def test_both_versions_failing_rolls_nothing_back_and_promotes_nothing():
    world = go(released(traffic={"errors": {"canary": 0.3, "primary": 0.3}}), 1500)
    assert world.status.phase is Phase.PROGRESSING
    assert judge(world).verdict == "hold"
    assert "primary fails too" in judge(world).reason
    world.traffic.errors.update(canary=0.001, primary=0.001)
    go(world, 3600)
    assert world.status.phase is Phase.SUCCEEDED


def test_built_in_checks_are_limits_and_are_not_asked():
    world = go(released(), 60)
    assert not [ask for ask in world.asked if isinstance(ask, MetricAsk)]
    assert checks(world)["judge/errorThreshold"].bound.max == pytest.approx(1)


def test_a_built_in_check_that_informs_only_is_shown_and_is_no_limit():
    world = released(metrics=[{"name": "request-success-rate", "thresholdRange": {"min": 99}, "dryRun": True}])
    world.metrics["request-success-rate"] = Sample(3.0)
    go(world, 100)
    assert checks(world)["request-success-rate"].verdict == "Fail"
    assert "judge/errorThreshold" not in checks(world)
    assert world.status.failed_checks == 0


@pytest.mark.parametrize("traffic", [{}, {"errors": {"canary": 0.02}}, {"errors": {"canary": 0.5}}])
@pytest.mark.parametrize("quiet", ["dead", "silent"])
def test_a_dead_source_in_the_middle_changes_no_verdict(traffic, quiet):
    """Many ticks without an answer, or without a scrape; then it goes on as if nothing had been."""
    plain, disturbed = (released(traffic=traffic) for _ in range(2))
    go(plain, 3000)
    go(disturbed, 20)
    before = disturbed.routes
    setattr(disturbed.traffic, quiet, DEAD)
    go(disturbed, 400)
    assert disturbed.status.phase is Phase.PROGRESSING
    assert disturbed.status.failed_checks == 0
    assert disturbed.routes == before, "nothing moves without data"
    assert judge(disturbed).verdict == "hold"
    assert "no verdict without data" in judge(disturbed).reason
    assert (DEAD in judge(disturbed).reason) is (quiet == "dead")
    assert disturbed.kinds().count("EvidenceHolds") == 1
    setattr(disturbed.traffic, quiet, "")
    go(disturbed, 3000)
    assert disturbed.status.phase is plain.status.phase
    assert disturbed.status.phase in (Phase.SUCCEEDED, Phase.FAILED)


def test_a_source_that_is_dead_from_the_beginning_lets_nothing_begin():
    world = released()
    world.traffic.dead = DEAD
    world.hook("warm-up", "pre-rollout")
    go(world, 300)
    assert (world.status.phase, world.routes.canary, world.status.failed_checks) == (Phase.PROGRESSING, 0, 0)
    assert DEAD in judge(world).reason
    assert not world.calls(), "no hook is called for a step that cannot come"
    assert world.kinds().count("EvidenceHolds") == 1
    world.traffic.dead = ""
    go(world, 900)
    assert world.status.phase is Phase.SUCCEEDED


def test_the_past_is_asked_for_once_and_looks_follow_the_scrapes():
    world = released(interval="60s")
    began = world.now
    go(world, 120)
    assert sum(isinstance(ask, PastAsk) for ask in world.asked) == 1
    looks = [ask for ask in world.asked if isinstance(ask, CountersAsk)]
    assert looks[0].since == 0
    assert len(looks) == (world.now - began) // 15
    assert all(look.since >= began - 15 for look in looks[1:])


def test_rare_scrapes_are_no_silence():
    """One a minute, looked for every 15 s: between two of them nothing is missing."""
    world = released(traffic={"every": 60})
    reasons = set()
    for _ in range(200):
        decision = world.tick()
        world.settle()
        if decision.wake_after is None:
            break
        if world.status.run.judge is not None:
            reasons.add(judge(world).reason)
        world.now += decision.wake_after
    assert world.status.phase is Phase.SUCCEEDED
    assert not [reason for reason in reasons if "without data" in reason]


@pytest.mark.slow
def test_the_state_stays_small_whatever_happens():
    world = go(released(traffic={"errors": {"canary": 0.012, "primary": 0.01}, "proxies": 90, "rate": 300, "history": 900}), 900)
    for decision in world.decisions:
        if decision.status.run is not None and (kept := decision.status.run.judge) is not None:
            assert len(kept.state) <= 4096
            assert len(kept.marks) <= 2048


# ------------------------------------------------------------------------------------------------ crashes and replays


def test_the_same_tick_decides_the_same():
    world = released(traffic={"errors": {"canary": 0.02}})
    for _ in range(60):
        assert world.decide() == world.decide()
        decision = world.tick()
        if decision.wake_after is None:
            break
        world.now += decision.wake_after
    assert world.status.phase is Phase.FAILED


@pytest.mark.parametrize("traffic", [{}, {"errors": {"canary": 0.5}}, {"errors": {"canary": 0.01}}])
def test_dying_at_any_moment_changes_neither_the_counts_nor_the_end(traffic):
    """Every third tick dies after its effects and before its status; every fifth before its first effect."""
    plain = go(released(traffic=traffic), 3000)
    crashing = go(released(traffic=traffic), 3000, crash=lambda n: 99 if n % 3 == 0 else 0 if n % 5 == 0 else None)
    assert crashing.status.phase is plain.status.phase
    assert crashing.status.phase in (Phase.SUCCEEDED, Phase.FAILED)
    assert abs(crashing.traffic.harmed - plain.traffic.harmed) <= 0.5 * plain.traffic.harmed + 10


def test_a_rollback_that_was_decided_and_not_stored_is_decided_again():
    world = released(traffic={"errors": {"canary": 0.5}})
    while not any(isinstance(effect, SetRoutes) and effect.routes.canary == 0 for effect in world.decide().effects):
        world.now += world.tick().wake_after
    effects = world.decide().effects
    with pytest.raises(CrashError):
        world.tick(crash_at=len(effects))
    assert world.routes.canary == 0
    assert world.status.phase is Phase.PROGRESSING, "only the traffic has moved"
    again = world.tick()
    assert again.status.run.rolling_back.startswith("Rolled back")


def test_an_edited_analysis_begins_the_evidence_anew():
    world = go(released(), 40)
    world.edit(metrics=[{"name": "request-duration", "thresholdRange": {"max": 500}}])
    world.status = world.status.model_copy(
        update={"run": world.status.run.model_copy(update={"judge": judge(world).model_copy(update={"state": '{"v":99}'})})}
    )
    go(world, 40)
    assert "EvidenceRestarts" in world.kinds()
    assert sum(isinstance(ask, PastAsk) for ask in world.asked) == 2
    go(world, 900)
    assert world.status.phase is Phase.SUCCEEDED


def test_a_clock_that_was_set_back_does_not_make_it_deaf():
    """Another replica's clock, ten minutes behind: what was counted since is taken at once, not when it has caught up."""
    world = go(released(), 100)
    world.traffic.errors["canary"] = 0.5
    honest = world.traffic.counters
    world.traffic.counters = lambda since, now, **_: honest(since, now + 600)  # those who scrape have the right time
    world.now -= 600
    counted = judge(world).counted_at
    go(world, 100)
    assert world.status.phase is Phase.FAILED
    assert next(d.status.run.judge for d in reversed(world.decisions) if d.status.run.judge).counted_at > counted


def test_requests_count_for_the_weight_under_which_they_came(monkeypatch):
    """Not for one that somebody has set by hand since."""
    monkeypatch.setattr(judged, "SequentialJudge", Scripted)
    monkeypatch.setattr(Scripted, "says", ("continue", 5))
    monkeypatch.setattr(Scripted, "seen", [])
    world = go(released(), 31)
    world.routes = Routes(60, 40)
    world.now += 15
    world.tick()
    assert Scripted.seen[-1].weight == 5


# ------------------------------------------------------------------------------------------------ gates, hooks, other checks


def test_a_closed_traffic_gate_holds_the_weight_and_a_new_fault_is_seen_behind_it():
    world = released()
    world.hook("gate", "confirm-traffic-increase", answer=lambda _: world.routes.canary == 0)
    go(world, 300)
    assert world.routes.canary == weights(world)[0]
    assert "GateWaiting" in world.kinds()
    assert len(world.calls()) <= 12, "asked once a step, not once a look"
    world.traffic.errors["canary"] = 0.5
    go(world, 300)
    assert world.status.phase is Phase.FAILED


def test_a_promotion_that_waits_for_its_gate_is_no_verdict_on_what_comes():
    world = released()
    world.hook("gate", "confirm-promotion", answer=False)
    go(world, 900, until=Phase.WAITING_PROMOTION)
    assert judge(world).verdict == "promote"
    go(world, 300)
    assert (world.status.phase, world.routes.canary) == (Phase.WAITING_PROMOTION, 50)
    world.traffic.errors["canary"] = 0.5
    go(world, 300)
    assert world.status.phase is Phase.FAILED
    assert world.status.failure_reason.startswith("Rolled back")


def test_a_rollback_hook_is_heard():
    world = released()
    world.hook("stop", "rollback", answer=lambda _: world.now > judge_began + 70)
    judge_began = world.now
    go(world, 600)
    assert world.status.phase is Phase.FAILED
    assert world.status.failure_reason == "rollback hook stop"


def test_a_failed_rollout_hook_counts_and_holds_the_weight():
    world = released()
    world.hook("acceptance", "rollout", answer=lambda _: world.routes.canary == 0)
    go(world, 70)
    assert world.status.failed_checks == 2
    first, *rest = weights(world)
    assert all(weight == first or weight == 0 for weight in rest[1:]), "nothing climbs while a check stands against it"
    go(world, 300)
    assert world.status.phase is Phase.FAILED
    assert world.status.failure_reason.startswith("failed checks threshold reached 3")


def test_a_failed_template_counts_as_ever():
    template = {"name": "queue", "templateRef": {"name": "queue"}, "thresholdRange": {"max": 10}}
    world = released(metrics=[*ANALYSIS["metrics"], template])
    world.metrics["queue"] = Sample(11.0)
    go(world, 600)
    assert world.status.phase is Phase.FAILED
    assert world.status.failure_reason == "failed checks threshold reached 3 (queue 11.00 > 10)"


def test_rows_of_the_run_tell_what_the_judge_said():
    world = go(released(), 900)
    rows = [row for effect in world.effects if isinstance(effect, CloseRun | SaveRun) for row in effect.history]
    assert any(text.startswith("Pass") for row in rows for text in row.checks)
    assert len(rows) < 30, "one per step, not one per look"


# ------------------------------------------------------------------------------------------------ deadlines


def slow(**sequential):
    """A service that a promotion cannot be shown for in time."""
    return released(sequential={"maxDuration": "10m"} | sequential, traffic={"rate": 1})


@pytest.mark.slow
def test_an_inconclusive_run_holds_its_weight_and_calls_a_person_once():
    world = go(slow(), 1500)
    assert world.status.phase is Phase.PROGRESSING
    assert judge(world).verdict == "inconclusive"
    [notice] = [notice for notice in world.notices if notice.kind == "Inconclusive"]
    assert "Inconclusive after 10 min" in notice.message
    assert notice.severity is not None
    assert world.routes.canary > 0


def test_an_inconclusive_run_is_rolled_back_if_so_wished():
    world = go(slow(onInconclusive="rollback"), 1500)
    assert world.status.phase is Phase.FAILED
    assert "onInconclusive" in world.status.failure_reason


def test_an_inconclusive_run_is_promoted_if_so_wished():
    world = go(slow(onInconclusive="promote"), 1500)
    assert world.status.phase is Phase.SUCCEEDED


def test_nothing_is_promoted_before_its_time():
    world = released(sequential={"minDuration": "20m"})
    began = world.now
    go(world, 1190)
    assert (world.status.phase, world.routes.canary) == (Phase.PROGRESSING, 50)
    go(world, 120)
    assert world.status.phase is Phase.SUCCEEDED
    assert world.now - began >= 1200


def test_hold_on_failure_keeps_the_weight_and_waits():
    world = released(traffic={"errors": {"canary": 0.5}}, onFailure="hold")
    go(world, 600)
    assert world.status.phase is Phase.PROGRESSING
    assert world.routes.canary > 0
    assert world.decisions[-1].wake_after is None
    assert "AnalysisHeld" in world.kinds()
    assert judge(world).verdict == "rollback"
    asked = len(world.asked)
    world.tick()
    assert len(world.asked) == asked, "there is nothing to look for any more"
    decided = replace_world(world)
    decided.edit(onFailure="rollback")
    go(decided, 60)
    assert decided.status.phase is Phase.FAILED
    world.release("A")
    world.settle()
    go(world, 60)
    assert world.status.phase is Phase.INITIALIZED


# ------------------------------------------------------------------------------------------------ fixed steps


def test_fixed_steps_are_the_users_own():
    world = go(released(sequential={"minDuration": "1m", "steps": "fixed"}), 1500)
    assert world.status.phase is Phase.SUCCEEDED
    assert weights(world)[:5] == [10, 20, 30, 40, 50]


def test_fixed_steps_are_held_by_doubt():
    world = released(sequential={"minDuration": "1m", "steps": "fixed"}, traffic={"errors": {"canary": 0.2, "primary": 0.2}})
    go(world, 900)
    assert world.status.phase is Phase.PROGRESSING
    assert judge(world).verdict == "hold"
    assert weights(world)[-1] < 50


# ------------------------------------------------------------------------------------------------ every verdict


class Scripted:
    """A judge that says what it is told."""

    weight = 5
    says = ("continue", 5)
    seen: ClassVar = []

    def __init__(self, config, *past):
        self.ended = "ended"

    @classmethod
    def restore(cls, config, state):
        return cls(config)

    def observe(self, tick, *_):
        self.seen.append(tick)
        verdict, weight = self.says
        return Decision(verdict, weight, f"Because {verdict}.", {}, 1000.0 if verdict == "rollback" else 1.0)

    def reopen(self):
        self.ended = None

    def state(self):
        return {"run": [None, None, None, self.ended]}


@pytest.mark.parametrize(
    ("verdict", "weight", "phase", "live", "kind"),
    [
        ("continue", 5, Phase.PROGRESSING, 5, None),
        ("continue", 30, Phase.PROGRESSING, 30, "WeightAdvanced"),
        ("continue", 90, Phase.PROGRESSING, 50, "WeightAdvanced"),  # never above the top
        ("continue", 1, Phase.PROGRESSING, 5, None),  # never lowered
        ("hold", 30, Phase.PROGRESSING, 5, "EvidenceHolds"),
        ("inconclusive", 30, Phase.PROGRESSING, 5, "Inconclusive"),
        ("promote", 5, Phase.PROMOTING, 5, "EvidenceAllows"),
        ("rollback", 0, Phase.PROGRESSING, 0, "EvidenceAgainst"),
    ],
)
def test_what_follows_from_each_verdict(monkeypatch, verdict, weight, phase, live, kind):
    monkeypatch.setattr(judged, "SequentialJudge", Scripted)
    monkeypatch.setattr(Scripted, "says", ("continue", 5))
    world = go(released(), 16)
    assert world.routes.canary == 5
    world.forget()
    monkeypatch.setattr(Scripted, "says", (verdict, weight))
    for _ in range(3):
        decision = world.tick()
        if world.status.phase is not Phase.PROGRESSING or not decision.wake_after:
            break
        world.now += decision.wake_after
    assert (world.status.phase, world.routes.canary) == (phase, live)
    assert (kind in world.kinds()) if kind else not {"EvidenceHolds", "Inconclusive", "EvidenceAgainst"} & set(world.kinds())
    if verdict == "rollback":
        assert world.status.run.rolling_back == "Because rollback."
    if verdict == "promote":
        assert json.loads(judge(world).state)["run"][-1] is None, "not final until it is carried out"


def test_a_roll_back_after_a_hold_is_told_once(monkeypatch):
    monkeypatch.setattr(judged, "SequentialJudge", Scripted)
    monkeypatch.setattr(Scripted, "says", ("hold", 5))
    world = go(released(), 16)
    assert "EvidenceHolds" in world.kinds()
    world.forget()
    monkeypatch.setattr(Scripted, "says", ("rollback", 0))
    go(world, 30)
    assert world.kinds().count("EvidenceAgainst") == 1
    assert "EvidenceAllows" not in world.kinds()


def test_nothing_is_looked_at_before_the_target_is_ready():
    world = released()
    world.target.readiness = Readiness.WAITING
    assert not [ask for ask in machine.needs(world.snapshot(), {}) if isinstance(ask, CountersAsk | PastAsk)]
    assert world.tick().wake_after == 30


def test_a_primary_that_cannot_serve_leaves_nothing_to_compare_with():
    """The target has all of the traffic: the counted checks decide, as without a judge."""
    world = released()
    world.primary.ready = 0
    world.status = world.status.model_copy(update={"run": world.status.run.model_copy(update={"sole": True})})
    go(world, 100)
    assert [ask for ask in world.asked if isinstance(ask, MetricAsk)]
    assert not [ask for ask in world.asked if isinstance(ask, CountersAsk)]
