"""Whatever happens in whatever order, with a judge that says whatever it likes: what holds without one holds."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar
from unittest import mock

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import initialize, rule

from canary.api.status import Phase
from canary.core import judged
from canary.core.counted import Counters, Past
from canary.core.judge import Decision, JudgeConfig, Tick
from canary.core.judge import Sample as Scrape
from canary.core.model import Unknown
from tests.core.simulate import Copy
from tests.core.test_any_order_of_events import SCHEDULES, AnyOrder

pytestmark = pytest.mark.slow

WEIGHTED = sorted(name for name, schedule in SCHEDULES.items() if "iterations" not in schedule)


class Whim:
    """A judge that says what the test likes; `sense`: one that lets a good version through."""

    says: ClassVar[tuple[str, int]] = ("continue", 5)
    weight = 5
    against: ClassVar[float] = 1.0

    def __init__(self, config: JudgeConfig, *past: object) -> None:
        self.top = config.max_weight
        self.ended: str | None = None

    @classmethod
    def restore(cls, config: JudgeConfig, state: Mapping[str, Any]) -> Whim:
        assert state["run"][-1] is None, "a promotion is stored as if it were final"
        return cls(config)

    def observe(self, tick: Tick, *_: object) -> Decision:
        verdict, weight = self.says
        if verdict == "sense":
            verdict, weight = ("promote", tick.weight) if tick.weight >= self.top else ("continue", self.top)
        self.ended = verdict if verdict == "promote" else None
        return Decision(verdict, weight, f"Because {verdict}.", {}, fail=self.against)  # type: ignore[arg-type]

    def reopen(self) -> None:
        self.ended = None

    def state(self) -> dict[str, Any]:
        return {"run": [self.ended]}


class Steady:
    """Proxies that are scraped whenever they are looked at."""

    dead = ""

    def counters(self, since: float, now: float, *, copies: bool = False, baseline: bool = False) -> Counters:
        if self.dead:
            return Counters(now, error=self.dead)
        return Counters(now, tuple(Scrape("primary", "envoy", ts, {"2": ts}) for ts in (since or now - 10, now)))

    def past(self, now: float) -> Past:
        return Past(error=self.dead)


class UnderEvidence(AnyOrder):
    """The same, with evidence."""

    def __init__(self) -> None:
        super().__init__()
        self.patch = mock.patch.object(judged, "SequentialJudge", Whim)
        self.patch.start()
        Whim.says = ("continue", 5)

    @initialize(
        judge=st.sampled_from(["guarded", "sequential", "sequential"]),
        steps=st.sampled_from(["adaptive", "fixed"]),
        schedule=st.sampled_from(WEIGHTED),
        hooks=st.booleans(),
        on_failure=st.sampled_from(["rollback", "rollback", "hold"]),
        released=st.sampled_from(["bootstrap", "B", "B", "B"]),
        baseline=st.sampled_from(["primary", "fresh", "fresh"]),
    )
    def create(  # type: ignore[override]
        self, *, judge: str, steps: str, schedule: str, hooks: bool, on_failure: str, released: str, baseline: str
    ) -> None:
        super().create(
            schedule=schedule, provider="istio", has_scaler=False, hooks=hooks, on_failure=on_failure, released="bootstrap", recreate=False
        )
        self.world.edit(judge=judge, sequential={"steps": steps}, baseline=baseline)
        self.world.traffic = Steady()  # type: ignore[assignment]
        if released == "B":
            self.world.release("B")
            self.world.run(until=Phase.PROGRESSING)
            self.world.settle()

    @rule(
        says=st.sampled_from(["continue", "continue", "sense", "hold", "inconclusive", "promote", "rollback"]),
        weight=st.integers(0, 100),
        against=st.sampled_from([1.0, 1000.0, 1000.0]),
    )
    def judge_says(self, *, says: str, weight: int, against: float) -> None:
        Whim.says, Whim.against = (says, weight), against
        for _ in range(2):
            self.world.settle()
            self.tick()
            self.world.now += 10

    def condemn(self) -> None:
        Whim.against = 1000.0
        self.judge_says(says="rollback", weight=0, against=1000.0)
        self.judge_says(says="rollback", weight=0, against=1000.0)
        Whim.says = ("continue", 5)

    edit_skip = None  # type: ignore[assignment]  # without an analysis nobody judges

    @rule(dead=st.sampled_from(["", "", "down"]))
    def source_dies_or_comes_back(self, *, dead: str) -> None:
        self.world.traffic.dead = dead  # type: ignore[union-attr]

    @rule(baseline=st.sampled_from(["primary", "fresh"]))
    def edit_baseline(self, *, baseline: str) -> None:
        self.world.edit(baseline=baseline)

    @rule(what=st.sampled_from(["deployment", "service", "both"]))
    def delete_baseline(self, *, what: str) -> None:
        if what != "service" and isinstance(self.world.baseline, Copy):
            self.world.baseline = None
        if what != "deployment":
            self.world.baseline_service = False

    @rule(reason=st.sampled_from(["BaselineTaken", "BaselineRefused"]), stays=st.booleans())
    def baseline_cannot_be_had(self, *, reason: str, stays: bool) -> None:
        if self.world.baseline is None:
            self.world.baseline = Unknown(reason, "a quota, or another's object")
            self.tick()
            if not stays and isinstance(self.world.baseline, Unknown):
                self.world.baseline = None

    @rule(replicas=st.integers(1, 4))
    def target_is_scaled(self, *, replicas: int) -> None:
        target = self.world.target
        if isinstance(target, Copy) and target.replicas:
            target.replicas = replicas
            target.ready = min(target.ready, replicas)

    @rule(name=st.sampled_from("BC"))
    def run_with_a_fresh_baseline(self, *, name: str) -> None:
        """As far as the first requests of it."""
        self.world.edit(judge="sequential", baseline="fresh", mirror=None)
        self.world.edit_spec(suspend=False)
        self.world.release(name)
        Whim.says = ("continue", 20)
        for _ in range(6):
            self.world.settle()
            self.tick()
            self.world.now += 10

    @rule(judge=st.sampled_from(["threshold", "guarded", "sequential"]))
    def edit_judge(self, *, judge: str) -> None:
        self.world.edit(judge=judge)

    def teardown(self) -> None:
        try:
            if hasattr(self, "world"):
                Whim.says = ("sense", 0)
                self.world.traffic.dead = ""  # type: ignore[union-attr]
                super().teardown()
        finally:
            self.patch.stop()


UnderEvidence.TestCase.settings = settings(
    max_examples=100, stateful_step_count=40, deadline=None, report_multiple_bugs=False, suppress_health_check=list(HealthCheck)
)
TestAnyOrderUnderEvidence = UnderEvidence.TestCase
