"""Whatever happens in whatever order: the last copy that serves is never taken away, and every release comes to an end."""

from __future__ import annotations

import dataclasses
import itertools
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from canary.api.status import Phase
from canary.core.errors import Conflict
from canary.core.model import ALL_TO_PRIMARY, Effect, EnsureServices, Promote, Readiness, Routes, Sample, SetRoutes, Unknown
from tests.core.simulate import Copy, CrashError, World, replace_world, rev

ENDS = (Phase.SUCCEEDED, Phase.FAILED, Phase.INITIALIZED)
SCHEDULES: dict[str, dict[str, Any]] = {
    "steps": {"stepWeight": 20, "maxWeight": 50},
    "all": {"stepWeight": 100, "stepWeightPromotion": 50},
    "list": {"stepWeights": [5, 40, 80]},
    "mirror": {"stepWeight": 50, "mirror": True},
    "ab": {"iterations": 2, "match": [{"headers": {"x": {"exact": "y"}}}]},
    "blue-green": {"iterations": 2},
}
CLEARED = dict.fromkeys(("stepWeight", "maxWeight", "stepWeights", "stepWeightPromotion", "mirror", "iterations", "match"))
REVISIONS = st.sampled_from("ABCD")


class AnyOrder(RuleBasedStateMachine):
    """Users, workloads, receivers and crashes take turns with the operator."""

    @initialize(
        schedule=st.sampled_from(sorted(SCHEDULES)),
        provider=st.sampled_from(["istio", "istio", "kubernetes"]),
        has_scaler=st.booleans(),
        hooks=st.booleans(),
        on_failure=st.sampled_from(["rollback", "rollback", "hold"]),
        released=st.sampled_from(["nothing", "bootstrap", "bootstrap", "B", "B"]),
        recreate=st.booleans(),
    )
    def create(
        self, *, schedule: str, provider: str, has_scaler: bool, hooks: bool, on_failure: str, released: str, recreate: bool
    ) -> None:
        analysis = {
            "interval": "10s",
            "threshold": 2,
            "onFailure": on_failure,
            "metrics": [{"name": "request-success-rate", "thresholdRange": {"min": 99}}],
            **SCHEDULES[schedule],
        }
        self.world = World(analysis=analysis, provider=provider, has_scaler=has_scaler, recreate=recreate)
        if hooks:
            for kind in ("confirm-rollout", "pre-rollout", "rollout", "confirm-traffic-increase", "confirm-promotion", "post-rollout"):
                self.world.hook(kind, kind)
            self.world.hook("rollback", "rollback", answer=False)
        self.world.on_effect = self.effect_takes_nothing_away
        if released != "nothing":
            self.world.bootstrap()
        if released == "B":
            self.world.release("B")
            self.world.run(until=Phase.PROGRESSING)

    @staticmethod
    def effect_takes_nothing_away(world: World, effect: Effect, before: float, after: float) -> None:
        # Services that a crashed tick had pointed at the target follow the target's revision again: nothing remembers them
        forgotten = world.half_done and isinstance(effect, EnsureServices)
        # who wants the primary re-created rather than rolled has no pods of it for a while
        asked_for = world.recreate and isinstance(effect, Promote)
        assert after >= before - 1e-9 or forgotten or asked_for, f"{effect} took traffic from a copy that served it: {before} -> {after}"
        if isinstance(effect, Promote):
            assert world.primary is not None
            wanted = (world.primary.revision, str(world.primary.configs))
            assert wanted in world.reviewed, f"{wanted} was promoted without having passed its analysis"

    # ------------------------------------------------------------------------------------------ the operator

    alarms = holds = 0

    def tick(self, crash_at: int | None = None) -> None:
        if self.world.gone:
            return
        before, routes = held(self.world), self.world.routes
        try:
            decision = self.world.tick(crash_at=crash_at)
        except (CrashError, Conflict):
            return
        self.nobody_meets_a_dead_baseline()
        after = held(self.world)
        self.alarms += sum(notice.kind == "AnalysisHeld" for notice in decision.notices)
        self.holds += after and not before
        assert self.alarms == self.holds, "one alarm for each verdict that is held"
        if before and after and not self.world.canary.spec.suspend and not (self.world.status.run and self.world.status.run.sole):
            moved = [effect.routes for effect in decision.effects if isinstance(effect, SetRoutes)]
            assert not moved, f"{routes} moved to {moved} while a person decides"

    def nobody_meets_a_dead_baseline(self) -> None:
        """After a tick; one that may change nothing (suspended) leaves what there was."""
        world = self.world
        if not isinstance(world.routes, Routes) or world.canary.spec.suspend or not world.has_weights:
            return
        run = world.status.run
        if run is not None and run.baseline is not None:
            assert run.baseline.weight == world.routes.baseline, "what is stored is not what it has"
        if not world.routes.baseline:
            return
        assert isinstance(world.baseline, Copy), "routes name a baseline that is not there"
        assert world.baseline.ready > 0, "routes name a baseline that answers nobody"
        assert world.baseline_service
        assert run is not None
        assert run.baseline is not None
        assert (run.baseline.compared, world.baseline.revision) == ("fresh", run.id)

    @rule()
    def wake(self) -> None:
        self.tick()

    @rule(after=st.integers(1, 15), settle=st.booleans())
    def time_passes(self, *, after: int, settle: bool) -> None:
        self.world.now += after
        if settle:
            self.world.settle()
        self.tick()

    @rule(crash_at=st.integers(0, 9))
    def crash(self, *, crash_at: int) -> None:
        self.tick(crash_at)

    @rule()
    def everything_goes_well_for_a_while(self) -> None:
        for _ in range(4):
            self.tick()
            self.world.settle()
            self.world.now += 10

    @rule()
    def repeated_effects_change_nothing(self) -> None:
        if self.world.gone:
            return
        once = replace_world(self.world)
        decision = once.decide()
        try:
            for effect in decision.effects:
                once.apply(effect)
        except Conflict:
            return
        twice = replace_world(once)
        for effect in decision.effects:
            twice.apply(effect)
        assert state_of(once) == state_of(twice)
        assert replace_world(self.world).decide() == decision, "not deterministic"

    # ------------------------------------------------------------------------------------------ the users

    @rule(name=REVISIONS, broken=st.booleans())
    def new_revision(self, *, name: str, broken: bool) -> None:
        world = self.world
        if broken and world.primary is not None and name != "A":
            world.broken.add(rev(name))
        world.release(name)

    @rule(value=st.sampled_from("xyz"))
    def new_config(self, *, value: str) -> None:
        self.world.configs = {"configmap/app": value}

    @rule(schedule=st.sampled_from(sorted(SCHEDULES)))
    def edit_schedule(self, *, schedule: str) -> None:
        self.world.edit(**{**CLEARED, **SCHEDULES[schedule]})

    @rule(skip=st.booleans())
    def edit_skip(self, *, skip: bool) -> None:
        self.world.edit_spec(skipAnalysis=skip)

    @rule(on_failure=st.sampled_from(["rollback", "hold"]), threshold=st.integers(1, 3))
    def edit_threshold(self, *, on_failure: str, threshold: int) -> None:
        self.world.edit(onFailure=on_failure, threshold=threshold)

    @rule(role=st.sampled_from([None, "critical", "informational"]))
    def edit_role(self, *, role: str | None) -> None:
        check = {"name": "request-success-rate", "thresholdRange": {"min": 99}} | ({"role": role} if role else {})
        self.world.edit(metrics=[check])

    @rule(on_failure=st.sampled_from(["hold", "hold", "rollback"]), role=st.sampled_from([None, "critical"]))
    def version_turns_bad(self, *, on_failure: str, role: str | None) -> None:
        """A release is under way, and its checks fail until something else is said."""
        self.edit_role(role=role)
        self.world.edit(onFailure=on_failure, threshold=1)
        self.world.edit_spec(suspend=False)
        self.condemn()

    def condemn(self) -> None:
        """Let the verdict be one against the version, and time pass."""
        self.world.metrics["request-success-rate"] = Sample(50.0)
        for _ in range(4):
            self.world.settle()
            self.tick()
            self.world.now += 10

    @rule(verb=st.sampled_from(["retry", "promote", "abort", "again"]), nonce=st.integers(0, 9), good=st.booleans())
    def person_says(self, *, verb: str, nonce: int, good: bool) -> None:
        self.world.command(f"{verb}@{nonce}")
        if good:
            self.world.metrics.clear()
        for _ in range(2):
            self.tick()

    @rule(suspend=st.booleans())
    def edit_suspend(self, *, suspend: bool) -> None:
        self.world.edit_spec(suspend=suspend)

    @rule()
    def delete_primary(self) -> None:
        if self.world.status.phase not in (Phase.NONE, Phase.INITIALIZING):
            self.world.primary = None

    @rule()
    def delete_routes(self) -> None:
        self.world.routes = None

    @rule(weight=st.sampled_from([0, 10, 50]))
    @precondition(lambda self: self.world.status.phase in (Phase.PROGRESSING, Phase.WAITING_PROMOTION))
    def edit_weights(self, *, weight: int) -> None:
        if isinstance(self.world.target, Copy) and self.world.target.ready and self.world.has_weights:
            self.world.routes = Routes(100 - weight, weight)

    @rule()
    def git_restores_replicas(self) -> None:
        target = self.world.target
        if isinstance(target, Copy) and target.replicas == 0:
            target.replicas, target.readiness = 2, Readiness.WAITING

    # ------------------------------------------------------------------------------------------ the world

    @rule(name=st.sampled_from(["app", "app-primary", "app-baseline"]))
    def pods_become_ready(self, *, name: str) -> None:
        self.world.settle(name)

    @rule(replicas=st.sampled_from([0, 2]))
    def autoscaler_scales_the_primary(self, *, replicas: int) -> None:
        primary = self.world.primary
        if self.world.has_scaler and primary is not None and primary.readiness is Readiness.READY and primary.replicas != replicas:
            primary.replicas, primary.ready = replicas, 0
            primary.readiness = Readiness.WAITING if replicas else Readiness.READY

    @rule(name=st.sampled_from(["app", "app-primary", "app-baseline"]))
    def deadline_passes(self, *, name: str) -> None:
        self.world.pass_deadline(name)

    @rule(name=st.sampled_from(["app", "app-primary", "app-baseline"]))
    def pods_crash(self, *, name: str) -> None:
        self.world.crash_pods(name)

    @rule(sample=st.sampled_from([Sample(100.0), Sample(50.0), Sample(), Sample(error="down"), Sample(float("inf"))]))
    def metrics_change(self, *, sample: Sample) -> None:
        self.world.metrics["request-success-rate"] = sample

    @rule(data=st.data())
    def hook_changes(self, *, data: st.DataObject) -> None:
        if self.world.hooks:
            name = data.draw(st.sampled_from(sorted(self.world.hooks)))
            self.world.hooks[name] = not self.world.hooks[name]

    # ------------------------------------------------------------------------------------------ what always holds

    @invariant()
    def status_is_sane(self) -> None:
        if not hasattr(self, "world"):
            return
        status = self.world.status
        assert 0 <= status.canary_weight <= 100
        assert status.iterations >= 0
        assert (status.phase is Phase.NONE) == (not status.conditions)
        if status.run is not None and status.phase in ENDS and status.run.started_at is not None:
            assert status.run.outcome, "a settled canary has a run without an outcome"

    @invariant()
    def every_move_of_a_run_is_in_its_evidence(self) -> None:
        """Rows follow one another without a gap, and the last one says what the canary has."""
        run = self.world.status.run if hasattr(self, "world") else None
        if run is None:
            return
        assert not (run.outcome and run.history)
        for history in (run.history, *self.world.rows.values()):
            for before, after in itertools.pairwise(history):
                assert after.seq == before.seq + 1
                assert after.weight == (before.weight if before.to is None else before.to)
        if run.history:
            last = run.history[-1]
            assert run.weight == (last.weight if last.to is None else last.to)
            assert last.failed == self.world.status.failed_checks

    @invariant()
    def the_only_copy_left_gets_traffic(self) -> None:
        """Past its review, a target that serves while the primary does not is never without traffic for more than a tick."""
        if not hasattr(self, "world") or self.world.canary.spec.suspend or self.world.gone:
            return
        world = self.world
        if world.status.phase not in (Phase.PROMOTING, Phase.FINALISING):
            return
        if not (isinstance(world.target, Copy) and world.target.ready) or (world.primary and world.primary.ready):
            return
        if world.primary is not None and world.primary.replicas == 0:
            return
        world = replace_world(world)
        for _ in range(3):
            try:
                world.tick()
            except Conflict:
                continue
        if world.status.phase in (Phase.PROMOTING, Phase.FINALISING):
            assert world.served() > 0, "the only healthy copy gets no traffic"

    def teardown(self) -> None:
        if not hasattr(self, "world"):
            return
        good_end(replace_world(self.world))
        deleted_end(replace_world(self.world))


def held(world: World) -> bool:
    """Whether the run waits for a person, as far as is stored."""
    return world.status.run is not None and bool(world.status.run.held)


def good_end(world: World) -> None:
    """From any state: when the world becomes good, the release comes to its end and everybody is served."""
    world.on_effect = None
    world.broken.clear()
    world.metrics.clear()
    world.edit_spec(suspend=False)
    for name in world.hooks:
        world.hooks[name] = name != "rollback"
    if isinstance(world.baseline, Unknown):
        world.baseline = None
    world.settle()
    if world.status.failed_checks or held(world):
        world.edit(onFailure="rollback")
    settled(world)
    assert world.status.phase in ENDS, world.status
    if world.status.phase is Phase.FAILED or world.primary is None:
        # a failed revision waits for the next one, which is good
        world.release("E")
        settled(world)
        assert world.status.phase is Phase.SUCCEEDED, world.status
    if isinstance(world.routes, Routes) and world.status.canary_weight == 0:
        assert (world.routes.primary, world.routes.canary, world.routes.baseline) == (100, 0, 0)
    assert world.baseline is None, "a baseline was left"
    assert not world.baseline_service, "the Service of a baseline was left"
    assert world.served() == 1.0, (world.status, world.primary, world.target)
    assert world.primary is not None
    assert (world.primary.revision, str(world.primary.configs)) in world.reviewed
    assert all(world.runs.values()), "a run was left open"
    run = world.status.run
    assert run is None or world.runs.get(run.id, run.outcome) == run.outcome


def settled(world: World) -> None:
    for _ in range(120):
        try:
            decision = world.tick()
        except Conflict:
            continue
        world.settle()
        if decision.wake_after is None:
            return
        world.now += decision.wake_after
    raise AssertionError(f"no end: {world.status}")


def deleted_end(world: World) -> None:
    """From any state: deleting with `revertOnDeletion` ends, and the target serves alone before the primary is released."""
    world.on_effect = None
    world.broken.clear()
    world.edit_spec(revertOnDeletion=True, suspend=False)
    world.finalizers = ["finalizer.flagger.app"]
    world.deleted = True
    for _ in range(12):
        world.tick()
        if world.gone:
            break
        world.settle()
        world.now += 10
    assert world.gone
    assert isinstance(world.target, Copy)
    assert world.target.ready > 0


def state_of(world: World) -> tuple[object, ...]:
    copies = tuple(dataclasses.astuple(each) for each in (world.target, world.primary, world.baseline) if isinstance(each, Copy))
    return (
        copies,
        world.baseline_service,
        world.routes or ALL_TO_PRIMARY,
        world.apex_on_target,
        world.paused,
        world.finalizers,
        world.runs,
    )


AnyOrder.TestCase.settings = settings(
    max_examples=150, stateful_step_count=40, deadline=None, report_multiple_bugs=False, suppress_health_check=list(HealthCheck)
)
TestAnyOrderOfEvents = AnyOrder.TestCase
