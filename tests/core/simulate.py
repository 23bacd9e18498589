"""A small world for the rules: two workloads, routes, Services, hooks, metrics, and virtual time.

It does to effects what the plug-ins do, as far as the rules can tell, and keeps books: which hooks were called, which
revisions were reviewed, how much of the traffic was answered. Nothing waits; `settle` makes pods ready, `pass_deadline` makes
them stuck.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from canary.api.canary import Canary
from canary.api.status import CanaryStatus, Phase, RunRow
from canary.core import evidence, machine, turn
from canary.core.errors import Conflict
from canary.core.model import (
    Answer,
    Ask,
    CloseRun,
    CountersAsk,
    Decision,
    Effect,
    EnsureBaseline,
    EnsurePrimary,
    EnsureRoutes,
    EnsureScaler,
    EnsureServices,
    HookAsk,
    HookResult,
    MetricAsk,
    MetricSource,
    OpenRun,
    PastAsk,
    PauseScaler,
    Promote,
    ProvidersAsk,
    ProvidersResult,
    Readiness,
    RemoveBaseline,
    Revert,
    Routes,
    Sample,
    SaveRun,
    ScaleTarget,
    SetFinalizer,
    SetRoutes,
    Snapshot,
    Unknown,
    Workload,
)
from canary.core.telling import Notice
from tests.core.counting import Traffic

START = 1_800_000_000.0
FINALIZER = "finalizer.flagger.app"
DEFAULT_ANALYSIS: Mapping[str, Any] = {
    "interval": "10s",
    "threshold": 2,
    "stepWeight": 10,
    "maxWeight": 30,
    "metrics": [{"name": "request-success-rate", "thresholdRange": {"min": 99}}],
}


class CrashError(Exception):
    """The process dies."""


def rev(name: str) -> str:
    """A revision in our own spelling."""
    return f"v2:{name}"


@dataclass
class Copy:
    """One workload. `ready` pods run `running`; the template says `revision`."""

    name: str
    revision: str
    replicas: int
    ready: int
    readiness: Readiness = Readiness.READY
    running: str = ""
    configs: dict[str, str] | None = None

    def view(self, *, equal: bool = False) -> Workload:
        message = "" if self.readiness is Readiness.READY else f"{self.ready} of {self.replicas} pods available"
        return Workload(
            self.name, self.revision, self.replicas, self.ready, self.readiness, message, {"app": self.revision}, foreign_equal=equal
        )


@dataclass
class World:
    """The cluster, the hooks' receivers, the metric sources, and the operator's loop over them."""

    analysis: dict[str, Any] = field(default_factory=lambda: dict(DEFAULT_ANALYSIS))
    spec: dict[str, Any] = field(default_factory=dict)
    provider: str = "istio"
    can_mirror: bool = True
    copied: int = 100
    has_scaler: bool = False
    kind: str = "Deployment"
    recreate: bool = False

    def __post_init__(self) -> None:
        self.now = START
        self.status = CanaryStatus()
        self.generation = 1
        self.uid = "uid-1"
        self.annotations: dict[str, str] = {}
        self.finalizers: list[str] = []
        self.deleted = False
        self.gone = False
        self.target: Copy | Unknown = Copy("app", rev("A"), 2, 2, running=rev("A"))
        self.primary: Copy | None = None
        self.baseline: Copy | Unknown | None = None
        self.baseline_service = False
        self._named = False
        self.configs: dict[str, str] | None = None
        self.routes: Routes | Unknown | None = None
        self.apex_on_target = True
        self.apex_managed = False
        self.paused = False
        self.broken: set[str] = set()
        self.hooks: dict[str, bool | Callable[[HookAsk], bool]] = {}
        self.metrics: dict[str, Sample | Callable[[], Sample]] = {}
        self.providers: tuple[str, ...] = ()
        self.traffic: Traffic | None = None
        self.runs: dict[str, str] = {}
        self.rows: dict[str, tuple[RunRow, ...]] = {}
        self.asked: list[Ask] = []
        self.notices: list[Notice] = []
        self.effects: list[Effect] = []
        self.decisions: list[Decision] = []
        self.writes = 0
        self.reviewed: set[tuple[str, str]] = set()
        self.half_done = False
        self.on_effect: Callable[[World, Effect, float, float], None] | None = None
        self._parsed: dict[tuple[object, ...], Canary] = {}

    # ------------------------------------------------------------------------------------------------ the manifest

    @property
    def canary(self) -> Canary:
        key = (self.generation, self.deleted, tuple(self.finalizers), tuple(sorted(self.annotations.items())))
        if key not in self._parsed:
            self._parsed[key] = self._parse()
        return self._parsed[key].model_copy(update={"status": self.status})

    def _parse(self) -> Canary:
        spec: dict[str, Any] = {
            "targetRef": {"apiVersion": "apps/v1", "kind": self.kind, "name": "app"},
            "service": {"port": 80},
            "analysis": self.analysis,
            **self.spec,
        }
        if self.has_scaler:
            spec["autoscalerRef"] = {"apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler", "name": "app"}
        metadata: dict[str, Any] = {
            "name": "app",
            "namespace": "test",
            "uid": self.uid,
            "generation": self.generation,
            "annotations": self.annotations,
            "finalizers": self.finalizers,
        }
        if self.deleted:
            metadata["deletionTimestamp"] = "2027-01-15T08:00:00Z"
        return Canary.model_validate({"metadata": metadata, "spec": spec})

    def edit(self, **analysis: Any) -> None:
        """Change fields of `spec.analysis`; None removes one."""
        merged = {**self.analysis, **analysis}
        self.analysis = {key: value for key, value in merged.items() if value is not None}
        self.generation += 1

    def edit_spec(self, **fields: Any) -> None:
        """Change fields of `spec`."""
        self.spec = {**self.spec, **fields}
        self.generation += 1

    def hook(self, name: str, kind: str, *, answer: bool | Callable[[HookAsk], bool] = True, mute: bool = False) -> None:
        """Add a webhook and what it answers."""
        hooks = [*self.analysis.get("webhooks", []), {"name": name, "type": kind, "url": f"http://{name}/", "muteAlert": mute}]
        self.edit(webhooks=hooks)
        self.hooks[name] = answer

    def command(self, text: str, *, by: str = "", reason: str = "") -> None:
        """A person annotates the Canary."""
        notes = {"canary.dev/command": text, "canary.dev/by": by, "canary.dev/reason": reason}
        self.annotations = {**self.annotations, **{key: value for key, value in notes.items() if value}}

    # ------------------------------------------------------------------------------------------------ one tick

    @property
    def has_weights(self) -> bool:
        return self.provider != "kubernetes"

    def snapshot(self) -> Snapshot:
        target = self.target if isinstance(self.target, Unknown) else self.target.view(equal=self.equal())
        return Snapshot(
            canary=self.canary,
            now=self.now,
            provider=self.provider,
            target=target,
            primary=None if self.primary is None else self.primary.view(),
            configs=None if self.configs is None else dict(self.configs),
            routes=self.routes if self.has_weights else None,
            can_mirror=self.can_mirror,
            copied=self.copied,
            has_weights=self.has_weights,
            has_scaler=self.has_scaler,
            baseline=self._baseline_seen(),
            baseline_left=isinstance(self.baseline, Copy) or self.baseline_service,
        )

    def equal(self) -> bool:
        """Whether the target equals the primary."""
        target, primary = self.target, self.primary
        if not isinstance(target, Copy) or primary is None:
            return False
        return (target.revision, self.configs) == (primary.revision, primary.configs)

    def _baseline_seen(self) -> Workload | Unknown | None:
        """Nobody reaches it without its Service."""
        if not isinstance(self.baseline, Copy):
            return self.baseline
        seen = self.baseline.view()
        return seen if self.baseline_service else replace(seen, ready_replicas=0, readiness=Readiness.WAITING)

    def answer(self, ask: Ask) -> Answer:
        self.asked.append(ask)
        webhooks = self.canary.spec.analysis.webhooks
        match ask:
            case HookAsk(index=index):
                wish = self.hooks[webhooks[index].name]
                ok = wish(ask) if callable(wish) else wish
                return HookResult(ok, "" if ok else "said no")
            case MetricAsk(index=index, source=source):
                name = self.canary.spec.analysis.metrics[index].name
                builtin = name
                name = f"primary's {name}" if source is MetricSource.PRIMARY else name
                sample = self.metrics.get(name, Sample(100.0 if builtin == "request-success-rate" else 0.0, query=f"q({name})"))
                return sample() if callable(sample) else sample
            case ProvidersAsk():
                return ProvidersResult(self.providers)
            case CountersAsk(since=since, copies=copies, baseline=baseline):
                assert self.traffic is not None, "nobody counts requests in this world"
                return self.traffic.counters(since, self.now, copies=copies, **({"baseline": True} if baseline else {}))
            case PastAsk():
                assert self.traffic is not None, "nobody counts requests in this world"
                return self.traffic.past(self.now)

    def decide(self) -> Decision:
        """Ask until there is a decision; nothing is applied."""
        self._named = isinstance(self.routes, Routes) and self.routes.baseline > 0
        snapshot, world = self.snapshot(), dict[Ask, Answer]()
        for _ in range(100):
            try:
                return machine.decide(snapshot, world)
            except turn.MissingAnswersError as missing:
                asks = missing.asks
            assert set(asks).isdisjoint(world), "asked twice"
            world |= {ask: self.answer(ask) for ask in asks}
        raise AssertionError("the rules never stop asking")

    def tick(self, *, crash_at: int | None = None) -> Decision:
        """Decide and carry out. `crash_at=n` dies before effect n (n = number of effects: before the status write)."""
        decision = self.decide()
        for number, effect in enumerate(decision.effects):
            if number == crash_at:
                self.half_done = True
                raise CrashError
            self._check_and_apply(effect)
        if crash_at is not None and crash_at >= len(decision.effects):
            self.half_done = True
            raise CrashError
        self.half_done = False
        self._book_review(decision)
        if decision.status != self.status:
            self.writes += 1
        self.status = decision.status
        self.notices += decision.notices
        self.effects += decision.effects
        self.decisions.append(decision)
        return decision

    def _book_review(self, decision: Decision) -> None:
        """A revision counts as reviewed when the tick that sends it to promotion ran all checks, and they passed, or when a person says so."""
        promoting = decision.status.phase is Phase.PROMOTING and self.status.phase is not Phase.PROMOTING
        fresh = [check for check in decision.status.checks if not check.dry_run]
        commanded = any(notice.kind == "PromotedByCommand" for notice in decision.notices)
        skipped = self.canary.spec.skip_analysis or commanded
        if promoting and (skipped or (decision.checks_run and all(c.verdict == "Pass" for c in fresh))):
            self.reviewed.add((decision.status.last_applied_spec, str(decision.status.tracked_configs)))

    # ------------------------------------------------------------------------------------------------ effects

    def _check_and_apply(self, effect: Effect) -> None:
        before = self.served(beside=False)
        self.apply(effect)
        if self.on_effect:
            self.on_effect(self, effect, before, self.served(beside=False))

    def apply(self, effect: Effect) -> None:
        match effect:
            case EnsureServices(apex=apex, to_target=to_target):
                if apex:
                    self.apex_managed, self.apex_on_target = True, to_target
            case EnsurePrimary(revision=revision):
                self._ensure_primary(revision)
            case EnsureScaler():
                pass
            case EnsureBaseline(run_id=run_id):
                self._ensure_baseline(run_id)
            case RemoveBaseline():
                live = self.routes
                assert not (isinstance(live, Routes) and live.baseline), "the baseline is taken away under its traffic"
                assert not self._named, "the baseline is taken away in the tick that takes its traffic away"
                self.baseline_service = False
                if isinstance(self.baseline, Copy):
                    self.baseline = None
            case PauseScaler(paused=paused):
                self.paused = paused
            case ScaleTarget(up=up):
                self._scale(up=up)
            case EnsureRoutes(routes=routes) | SetRoutes(routes=routes):
                assert routes.primary + routes.canary == 100, routes
                assert 0 <= routes.baseline <= routes.primary - routes.baseline, f"{routes}: the primary has less than the baseline"
                assert routes.baseline <= routes.canary, f"{routes}: the baseline has more than the canary"
                if routes.baseline:
                    self._named = True
                    assert isinstance(self.baseline, Copy), f"{routes}: there is no baseline"
                    assert self.baseline.ready > 0, f"{routes}: the baseline answers nobody"
                    assert self.baseline_service, f"{routes}: the baseline has no Service"
                assert self.has_weights, "a provider without weights has no routes"
                self.routes = routes
            case Promote(revision=revision, configs=configs):
                self._promote(revision, configs)
            case SetFinalizer(present=present):
                self.finalizers = [FINALIZER] if present else []
                self.gone = self.deleted and not present
            case Revert(part=part):
                if part == "target":
                    self._scale(up=True)
            case OpenRun(run_id=run_id):
                assert self.status.run is not None, "opened before its id was stored"
                assert self.status.run.id == run_id, "opened before its id was stored"
                self.runs.setdefault(run_id, "")
            case SaveRun(run_id=run_id, history=history):
                self.rows[run_id] = evidence.merged(self.rows.get(run_id, ()), history)
            case CloseRun(run_id=run_id, outcome=outcome, history=history):
                if not self.runs.get(run_id):
                    self.rows[run_id] = evidence.merged(self.rows.get(run_id, ()), history)
                self.runs[run_id] = outcome

    def apply_all(self, effects: Iterable[Effect]) -> None:
        """Apply effects in order, without the rest of a tick."""
        for effect in effects:
            self.apply(effect)

    def _ensure_primary(self, revision: str) -> None:
        if self.primary is not None:
            return
        target = self._target()
        if revision and target.revision != revision:
            raise Conflict("target changed")
        replicas = target.replicas or 1
        self.primary = Copy("app-primary", target.revision, replicas, 0, Readiness.WAITING, "", self.configs)
        if self.status.phase in (Phase.NONE, Phase.INITIALIZING):
            self.reviewed.add((target.revision, str(self.configs)))

    def _ensure_baseline(self, run_id: str) -> None:
        if self.primary is None:
            raise Conflict("no primary")
        replicas = self._target().replicas or self.primary.replicas or 1
        if self.baseline is None:
            self.baseline = Copy("app-baseline", run_id, replicas, 0, Readiness.WAITING)
        elif isinstance(self.baseline, Copy) and self.baseline.revision == run_id and self.baseline.replicas != replicas:
            self.baseline.replicas, self.baseline.readiness = replicas, Readiness.WAITING
        self.baseline_service = True

    def _promote(self, revision: str, configs: Mapping[str, str] | None) -> None:
        target = self._target()
        if target.revision != revision or (configs or None) != (self.configs or None):
            raise Conflict("target changed")
        assert self.primary is not None
        if self.status.phase in (Phase.NONE, Phase.INITIALIZING):
            self.reviewed.add((revision, str(self.configs)))
        if (self.primary.revision, self.primary.configs) == (revision, self.configs):
            return
        self.primary.revision, self.primary.configs = revision, self.configs
        self.primary.readiness = Readiness.WAITING
        if self.recreate:
            self.primary.ready = 0
        if target.replicas and not self.has_scaler:
            self.primary.replicas = target.replicas

    def _scale(self, *, up: bool) -> None:
        target = self._target()
        if up and target.replicas == 0:
            target.replicas = (self.primary.replicas if self.primary else 0) or 1
            target.ready, target.readiness = 0, Readiness.WAITING
        elif not up:
            target.replicas, target.ready, target.readiness = 0, 0, Readiness.READY

    def _target(self) -> Copy:
        assert isinstance(self.target, Copy)
        return self.target

    # ------------------------------------------------------------------------------------------------ what happens by itself

    def settle(self, *names: str) -> None:
        """Rollouts finish: pods of a healthy revision are ready, those of a broken one never are."""
        for copy in (self.target, self.primary, self.baseline):
            if not isinstance(copy, Copy) or (names and copy.name not in names):
                continue
            if copy.name == "app-baseline" and "baseline" in self.broken:
                continue
            if copy.replicas == 0:
                copy.ready, copy.readiness = 0, Readiness.READY
            elif copy.revision not in self.broken:
                copy.ready, copy.readiness, copy.running = copy.replicas, Readiness.READY, copy.revision

    def pass_deadline(self, name: str) -> None:
        """What is still rolling out is stuck from now on."""
        for copy in (self.target, self.primary, self.baseline):
            if isinstance(copy, Copy) and copy.name == name and copy.readiness is Readiness.WAITING:
                copy.readiness = Readiness.STUCK

    def crash_pods(self, name: str) -> None:
        """All pods of a copy stop being available."""
        for copy in (self.target, self.primary, self.baseline):
            if isinstance(copy, Copy) and copy.name == name and copy.replicas:
                copy.ready, copy.readiness = 0, Readiness.WAITING

    def release(self, name: str, *, configs: Mapping[str, str] | None = None) -> None:
        """The user changes the target's template (and perhaps its configs)."""
        target = self._target()
        if configs is not None:
            self.configs = dict(configs)
        if target.revision == rev(name):
            return
        target.revision = rev(name)
        if target.replicas:
            target.readiness = Readiness.WAITING

    def served(self, *, beside: bool = True) -> float:
        """The part of the traffic that is answered, 0 to 1, as routes, Services and pods are now. Not `beside`: by target and primary alone."""
        target, primary = self.target, self.primary
        on_target = isinstance(target, Copy) and target.ready > 0
        # an autoscaler that scales to zero answers from a cold start
        on_primary = primary is not None and (primary.ready > 0 or (self.has_scaler and primary.replicas == 0))
        if not self.apex_managed:
            return 1.0 if on_target else 0.0
        behind_primary = on_target if self.apex_on_target else on_primary
        routes = self.routes if self.has_weights and isinstance(self.routes, Routes) else Routes(100, 0)
        on_baseline = isinstance(self.baseline, Copy) and self.baseline.ready > 0 and self.baseline_service
        old = (routes.primary - routes.baseline) * behind_primary + routes.baseline * (on_baseline if beside else behind_primary)
        return (old + routes.canary * on_target) / 100

    # ------------------------------------------------------------------------------------------------ loops

    def run(self, *, until: Phase | None = None, ticks: int = 200, settle: bool = True) -> list[Decision]:
        """Tick until the phase, or until nothing more happens; virtual time jumps to the next tick."""
        done: list[Decision] = []
        for _ in range(ticks):
            decision = self.tick()
            done.append(decision)
            if settle:
                self.settle()
            if self.gone or (until is not None and self.status.phase is until):
                return done
            if decision.wake_after is None:
                return done
            self.now += decision.wake_after
        raise AssertionError(f"no end after {ticks} ticks: {self.status.phase} {self.status.run}")

    def bootstrap(self) -> World:
        """Bring the canary to Initialized and at rest."""
        self.run()
        assert self.status.phase is Phase.INITIALIZED, self.status
        self.forget()
        return self

    def forget(self) -> None:
        """Empty the books, keep the world."""
        for book in (self.asked, self.notices, self.effects, self.decisions):
            book.clear()
        self.writes = 0

    def steps(self) -> list[tuple[str, int, int]]:
        """(phase, live canary weight, iterations) after each recorded tick, repeats dropped."""
        found: list[tuple[str, int, int]] = []
        weight = 0
        for decision in self.decisions:
            for effect in decision.effects:
                if isinstance(effect, SetRoutes | EnsureRoutes):
                    weight = effect.routes.canary
            state = (decision.status.phase.value, weight, decision.status.iterations)
            if not found or found[-1] != state:
                found.append(state)
        return found

    def kinds(self) -> list[str]:
        """Kinds of the recorded notices."""
        return [notice.kind for notice in self.notices]

    def calls(self, kind: str | None = None) -> list[tuple[str, str]]:
        """(hook name, phase) of the recorded hook calls, of one type or all."""
        hooks = self.canary.spec.analysis.webhooks
        return [
            (hooks[ask.index].name, ask.phase.value)
            for ask in self.asked
            if isinstance(ask, HookAsk) and (kind is None or hooks[ask.index].type_effective == kind)
        ]

    def crashed(self) -> World:
        """A new process: nothing in memory (the rules have none), everything in the API."""
        return replace_world(self)


def replace_world(world: World) -> World:
    """A copy that shares nothing mutable with the original, so that two futures can be compared."""
    import copy

    twin = copy.copy(world)
    for name, value in vars(world).items():
        if isinstance(value, Copy):
            setattr(twin, name, replace(value))
        elif isinstance(value, list | dict | set):
            setattr(twin, name, value.copy())
    return twin
