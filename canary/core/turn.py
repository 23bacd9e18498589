"""One tick while it is being decided: what the rules may look at, and where they put what they decide.

A rule is a function `(Turn) -> End | None`: End ends the tick, None lets the next rule speak. The turn collects effects,
notices and the next status; nothing happens until the shell carries the decision out. Passing all of this from rule to rule
as arguments and results was tried on paper: every rule then repeats the same six names.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from canary.api.analysis import Analysis
from canary.api.canary import Canary
from canary.api.sequential import Baseline, Judge
from canary.api.status import CanaryStatus, CheckStatus, Phase, RunStatus
from canary.core import workloads
from canary.core.cookies import cookies_for
from canary.core.counted import Counters, Past, Stage
from canary.core.delivery import CONVERGED, Delivery, DeliveryAsk, Replicas, ReplicasAsk
from canary.core.delivery import Answer as Converged
from canary.core.model import (
    ALL_TO_PRIMARY,
    Answer,
    Ask,
    Cookies,
    CountersAsk,
    Effect,
    HookAsk,
    HookResult,
    MetricAsk,
    PastAsk,
    ProvidersAsk,
    ProvidersResult,
    Readiness,
    Routes,
    Sample,
    SetRoutes,
    Snapshot,
    Unknown,
    Workload,
    World,
)
from canary.core.notices import Voice
from canary.core.strategies import Strategy, strategy_of
from canary.core.telling import Counter, Notice
from canary.core.weights import TOTAL, beside


class MissingAnswersError(LookupError):
    """The rules came upon questions that the world has no answer to. `needs` catches it; from `decide` it is a bug of the caller."""

    def __init__(self, asks: tuple[Ask, ...]) -> None:
        super().__init__(f"no answer to {', '.join(map(repr, asks))}: call needs() until it returns nothing")
        self.asks = asks


@dataclass(frozen=True, slots=True)
class End:
    """The tick is over; `wake_after` seconds until the next, None: sleep until something changes."""

    wake_after: float | None


AT_ONCE = End(0.0)
ASLEEP = End(None)


class Turn:
    """What is known (`snapshot`, `status`), what may be asked, and what has been decided so far."""

    def __init__(self, snapshot: Snapshot, world: World) -> None:
        self.snapshot = snapshot
        self.canary: Canary = snapshot.canary
        self.now: float = snapshot.now
        self.status: CanaryStatus = snapshot.canary.status
        self.routes: Routes = ALL_TO_PRIMARY
        """Where traffic goes: as read back, or as remembered while that cannot be read, or as this tick moved it."""
        self.effects: list[Effect] = []
        self.notices: list[Notice] = []
        self.counter: Counter | None = None
        self.checks_run = False
        self.looking = False
        """Whether this tick came as far as the evidence, so that the next look may be planned."""
        self.stall: Unknown | None = None
        self.converged: Converged | None = Converged.of(self.status.condition(CONVERGED))
        """The condition `Converged` as this tick leaves it."""
        self.contested = ""
        """Why the target does not stay parked; empty when it does."""
        self.look_again: float | None = None
        """In how many seconds the engine that delivers the target is looked at again, if it is."""
        self.measured: tuple[CheckStatus, ...] = ()
        """What the checks said, when this tick made them."""
        self.answers: list[str] = []
        """What gates answered in this tick, and which other hooks refused, as the run's history shows it."""
        self._world = world

    # ------------------------------------------------------------------------------------------------ what is known

    @property
    def analysis(self) -> Analysis:
        """`spec.analysis`."""
        return self.canary.spec.analysis

    @property
    def phase(self) -> Phase:
        """The phase as this tick leaves it so far."""
        return self.status.phase

    @property
    def run(self) -> RunStatus | None:
        """The run under way, or the last one."""
        return self.status.run

    @property
    def interval(self) -> End:
        """End the tick and look again after one interval."""
        return End(self.analysis.interval_seconds)

    @property
    def kind(self) -> str:
        """`targetRef.kind`."""
        return self.canary.spec.target_ref.kind

    @property
    def target(self) -> Workload:
        """The target; rules that need it come after the one that makes sure it was observed."""
        assert isinstance(self.snapshot.target, Workload)
        return self.snapshot.target

    @property
    def primary(self) -> Workload | None:
        """The primary, None when it does not exist; rules that need it come after the one that makes sure it was observed."""
        assert not isinstance(self.snapshot.primary, Unknown)
        return self.snapshot.primary

    @property
    def configs(self) -> dict[str, str] | None:
        """Checksums of the tracked configs as they are now; None when nothing is tracked."""
        assert not isinstance(self.snapshot.configs, Unknown)
        return None if self.snapshot.configs is None else dict(self.snapshot.configs)

    @property
    def target_serves(self) -> bool:
        """Whether the target has a pod that answers."""
        return isinstance(self.snapshot.target, Workload) and workloads.serves(self.snapshot.target, kind=self.kind)

    @property
    def primary_serves(self) -> bool:
        """Whether the primary has a pod that answers."""
        return isinstance(self.snapshot.primary, Workload) and workloads.serves(self.snapshot.primary, kind=self.kind)

    @property
    def primary_ready(self) -> bool:
        """Ready, and with a pod that answers (unless none is what was asked for)."""
        primary = self.snapshot.primary
        return isinstance(primary, Workload) and workloads.primary_ready(primary, kind=self.kind, has_scaler=self.snapshot.has_scaler)

    @property
    def primary_able(self) -> bool:
        """Whether traffic may be sent to the primary: it has a pod that answers, or none because none is wanted."""
        return self.primary_serves or self.primary_ready

    @property
    def strategy(self) -> Strategy:
        """How this release exposes the new version."""
        return strategy_of(self.analysis, has_weights=self.snapshot.has_weights)

    @property
    def in_run(self) -> bool:
        """Whether a run is under way (a revision that waits for approval has none yet)."""
        return self.phase in (Phase.PROGRESSING, Phase.WAITING_PROMOTION, Phase.PROMOTING, Phase.FINALISING)

    @property
    def analysed(self) -> bool:
        """Whether a run is under way that has not been decided in favour of the new version."""
        return self.phase in (Phase.PROGRESSING, Phase.WAITING_PROMOTION)

    @property
    def sole(self) -> bool:
        """Whether the target carries all traffic because the primary cannot serve (or could not when that was decided)."""
        if self.in_run:
            return self.run is not None and self.run.sole
        return self.status.canary_weight == TOTAL

    @property
    def judging(self) -> bool:
        """Whether evidence takes part: there must be weights, and a primary to compare with."""
        if self.analysis.judge is Judge.THRESHOLD or self.sole or self.canary.spec.skip_analysis:
            return False
        return self.in_run and self.snapshot.has_weights and self.strategy is Strategy.CANARY

    @property
    def fresh(self) -> bool:
        """Whether the canary is compared with a fresh copy of the old version, as long as its analysis goes on."""
        run = self.run
        if run is None or run.baseline is None or not run.baseline.fresh or run.rolling_back or run.outcome:
            return False
        return self.analysed and self.judging and self.analysis.baseline is Baseline.FRESH

    @property
    def baseline(self) -> Workload | None:
        """The fresh copy that was made for this run, if it is there."""
        found = self.snapshot.baseline
        return found if isinstance(found, Workload) and self.run is not None and found.revision == self.run.id else None

    @property
    def baseline_answers(self) -> bool:
        """Whether the fresh copy may get requests: once it is ready, and from then on for as long as it has a pod that answers."""
        copy = self.baseline
        if copy is None or not workloads.serves(copy, kind=self.kind):
            return False
        return copy.readiness is Readiness.READY or self.baseline_had > 0

    @property
    def baseline_had(self) -> int:
        """The share of the fresh copy as it was last stored."""
        stored = self.snapshot.canary.status.run
        same = stored is not None and self.run is not None and stored.id == self.run.id
        return stored.baseline.weight if same and stored is not None and stored.baseline is not None else 0

    def routed(self, canary: int, *, mirrored: bool = False, cookies: Cookies | None = None) -> Routes:
        """The routes with this share of the canary. The fresh baseline's follows from it, so that whoever moves traffic need not know of it."""
        share = beside(canary) if self.fresh and self.baseline_answers and not mirrored else 0
        return Routes(TOTAL - canary, canary, mirrored, cookies or Cookies(), share)

    def follow_baseline(self) -> None:
        """Remember the share that the fresh baseline has now."""
        run = self.run
        if run is not None and run.baseline is not None and run.baseline.weight != self.routes.baseline:
            self.update_run(baseline=run.baseline.model_copy(update={"weight": self.routes.baseline}))

    @property
    def voice(self) -> Voice:
        """Texts about this canary, in the phase as it is now."""
        return Voice(self.canary, self.phase)

    # ------------------------------------------------------------------------------------------------ what is asked

    def hook(self, index: int, *, phase: Phase) -> HookResult:
        """Answer of webhook `index`, called with `phase` in its payload."""
        (answer,) = self._answers((HookAsk(index, phase),))
        assert isinstance(answer, HookResult)
        return answer

    def samples(self, asks: Sequence[MetricAsk]) -> tuple[Sample, ...]:
        """Answers of all these metrics; missing ones are asked together."""
        answers = self._answers(tuple(asks))
        return tuple(answer for answer in answers if isinstance(answer, Sample))

    def providers(self) -> ProvidersResult:
        """Whether the metric providers are reachable."""
        (answer,) = self._answers((ProvidersAsk(),))
        assert isinstance(answer, ProvidersResult)
        return answer

    def counted(self, since: float, *, stage: Stage, past: bool) -> tuple[Counters, Past | None]:
        """Requests of both versions in this stage since then, and with `past` the primary's last hour; asked together."""
        ask = CountersAsk(since, copies=stage is Stage.COPIES, baseline=stage is Stage.BASELINE)
        counters, *rest = self._answers((ask, *((PastAsk(),) if past else ())))
        assert isinstance(counters, Counters)
        return counters, next((answer for answer in rest if isinstance(answer, Past)), None)

    def delivery(self) -> Delivery:
        """What whoever delivers the target says that it has applied."""
        (answer,) = self._answers((DeliveryAsk(),))
        assert isinstance(answer, Delivery)
        return answer

    def replicas_by(self) -> str | None:
        """The engine that set the target's replicas last; empty when it was somebody else, None when that is not known."""
        (answer,) = self._answers((ReplicasAsk(),))
        assert isinstance(answer, Replicas)
        return answer.by

    def _answers(self, asks: tuple[Ask, ...]) -> tuple[Answer, ...]:
        if missing := tuple(ask for ask in asks if ask not in self._world):
            raise MissingAnswersError(missing)
        return tuple(self._world[ask] for ask in asks)

    # ------------------------------------------------------------------------------------------------ what is decided

    def do(self, *effects: Effect) -> None:
        """Append effects."""
        self.effects.extend(effects)

    def say(self, notice: Notice) -> None:
        """Append a notice."""
        self.notices.append(notice)

    def wait_for(self, which: str, message: str) -> None:
        """Say that a copy is not ready, once that has lasted an interval: a rollout that has just begun is no news.

        Upstream looks once an interval, so it never sees the moment after its own scale-up; we are woken by it.
        """
        since = self.status.last_transition_time
        if since is None or self.now - since.timestamp() >= self.analysis.interval_seconds:
            self.say(self.voice.not_ready(which, message))

    def update(self, **changes: Any) -> None:
        """Change fields of the next status."""
        self.status = self.status.model_copy(update=changes)

    def update_run(self, **changes: Any) -> None:
        """Change fields of the run in the next status, if there is one."""
        if self.status.run is not None:
            self.update(run=self.status.run.model_copy(update=changes))

    def move(self, canary: int, *, mirrored: bool = False) -> None:
        """Give the canary this share of the traffic (percent), with the cookies that go with it, and remember both.

        The weight in the status (`canaryWeight`) is a report and is left to the rule, because upstream reports differently
        by strategy. Without a traffic object nothing is emitted: the Services of `EnsureServices` are all there is.
        """
        cookies = self._cookies(canary)
        self.routes = self.routed(canary, mirrored=mirrored, cookies=cookies)
        if self.snapshot.has_weights:
            self.do(SetRoutes(self.routes))
        self.update(
            session_affinity_cookie=cookies.current,
            previous_session_affinity_cookie=cookies.previous,
            primary_session_affinity_cookie=cookies.primary,
        )
        if self.run is not None:
            highest = max(self.run.max_weight_reached, canary) if self.in_run else self.run.max_weight_reached
            self.update_run(weight=canary, mirrored=mirrored, max_weight_reached=highest)
            self.follow_baseline()

    @property
    def cookies(self) -> Cookies:
        """The cookies in force, from the status; none without session affinity."""
        if self.analysis.session_affinity is None:
            return Cookies()
        status = self.status
        return Cookies(status.session_affinity_cookie, status.previous_session_affinity_cookie, status.primary_session_affinity_cookie)

    def _cookies(self, canary: int) -> Cookies:
        affinity = None if self.analysis.match else self.analysis.session_affinity
        run = self.run.id if self.run is not None else ""
        return cookies_for(self.cookies, affinity, weight=canary, uid=self.canary.metadata.uid, run=run)
