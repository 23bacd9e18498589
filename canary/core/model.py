"""The values that the rules look at and the values that they answer with.

A tick is `decide(snapshot, world) -> Decision`. `Snapshot` holds what is known without asking anybody (the watch
cache); `World` holds answers to questions (`Ask`) that cost a call: hooks and metrics. `needs(snapshot, world)` names
the questions that the rules stumble over next, so the shell asks exactly what upstream would have asked, in its order,
and the rules stay pure. An observation that failed is a value (`Unknown`, `HookResult.ok`, `Sample.error`), never an
exception, because the rules must decide on it.

Effects are idempotent and are applied in order *before* the status is written; notices (events, alerts) are queued
*after* it. A crash in between repeats the same decision and the same effects.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field

from canary.api.canary import Canary
from canary.api.status import CanaryStatus, Phase, RunRow
from canary.core.counted import Counters, Past
from canary.core.delivery import Delivery, DeliveryAsk, Replicas, ReplicasAsk, WriteBack
from canary.core.pin import Pin
from canary.core.telling import Counter, Notice


@dataclass(frozen=True, slots=True)
class Unknown:
    """Something that could not be observed. `reason` is CamelCase and stable; `message` is for people.

    The reasons NotFound, Forbidden and Rejected say that no retry can help until one of the user's objects changes: the
    canary is then shown as stalled.
    """

    reason: str
    message: str


# --------------------------------------------------------------------------------------------- what is known


class Readiness(enum.StrEnum):
    """Ready; still rolling out (retry); or stuck past its deadline (upstream: non-retriable)."""

    READY = "Ready"
    WAITING = "Waiting"
    STUCK = "Stuck"


@dataclass(frozen=True, slots=True)
class Workload:
    """The target or its primary as last seen.

    `revision` is our hash of the pod template ("v2:..." canonical JSON of the stored object, `flagger-id` and the like
    excluded). `replicas` is `spec.replicas`, `ready_replicas` the number of available pods. `images` maps container
    name to image. `message` explains a readiness other than READY. `foreign_equal` is used on first contact only
    (take-over, a primary that was found): the target equals the primary after the known transforms are undone (reference
    7.1). Of kind Service only the readiness counts. A target that is parked has 0 replicas, a DaemonSet too.
    """

    name: str
    revision: str
    replicas: int
    ready_replicas: int
    readiness: Readiness
    message: str = ""
    images: Mapping[str, str] = field(default_factory=dict)
    foreign_equal: bool = False


@dataclass(frozen=True, slots=True)
class Cookies:
    """Session affinity: `<name>=<value>` of this run, of the run before (to be expired), and of the primary. Empty: none."""

    current: str = ""
    previous: str = ""
    primary: str = ""


@dataclass(frozen=True, slots=True)
class Routes:
    """Where traffic goes: percent to primary and to canary (they sum to 100), and whether the canary gets a mirror copy.

    `baseline`: how many percent of the primary's the baseline answers (`analysis.baseline: fresh`); it runs the primary's version.
    """

    primary: int
    canary: int
    mirrored: bool = False
    cookies: Cookies = field(default_factory=Cookies)
    baseline: int = 0


ALL_TO_PRIMARY = Routes(100, 0)


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Everything that is known before anything is asked. `now` is Unix time in seconds.

    `primary` is None when it does not exist yet. `configs` maps `configmap/<n>` / `secret/<n>` to checksums of what the
    target mounts now; None when tracking is off or nothing is tracked. `routes` are the live weights read back from the
    mesh's own object; None when that object does not exist yet; Unknown while they cannot be believed (not accepted, or a
    status that lags behind what was set: steps would start from a weight that is history). `provider` is resolved (spec,
    then flag).
    `can_mirror` tells whether the router can copy traffic in the strategy at hand, `copied` how many percent of it. `has_weights` is False for the
    `kubernetes` provider, which knows no weights. `write_back` is the revert in Git of the run that failed last, where an
    engine delivers the target; `delivered` tells, at rest, whether one does.
    `rejected` says why the target's revision is not tried: it was rejected before and taken back in Git; empty otherwise.
    `baseline`: the fresh copy of the old version, whose `revision` is the id of the run that it was made for; None when there is none, Unknown
    when there cannot be one. `baseline_left`: something of it is ours to take away.
    `pin` is None where nobody wants a primary to begin with anything but the template.
    """

    canary: Canary
    now: float
    provider: str
    target: Workload | Unknown
    primary: Workload | Unknown | None
    configs: Mapping[str, str] | Unknown | None
    routes: Routes | Unknown | None
    can_mirror: bool = False
    copied: int = 100
    has_weights: bool = True
    has_scaler: bool = False
    write_back: WriteBack | None = None
    delivered: bool = False
    rejected: str = ""
    baseline: Workload | Unknown | None = None
    baseline_left: bool = False
    pin: Pin | None = None


# --------------------------------------------------------------------------------------------- what is asked


@dataclass(frozen=True, slots=True)
class HookAsk:
    """Call `spec.analysis.webhooks[index]`, sending `phase` in the payload."""

    index: int
    phase: Phase


class MetricSource(enum.StrEnum):
    """Which part of a metric entry is asked: a built-in of the router, the same about the primary, the inline query, or the template."""

    BUILTIN = "builtin"
    PRIMARY = "primary"  # the built-in, about the primary
    QUERY = "query"
    TEMPLATE = "template"


@dataclass(frozen=True, slots=True)
class MetricAsk:
    """Ask `spec.analysis.metrics[index]` of one of its sources."""

    index: int
    source: MetricSource


@dataclass(frozen=True, slots=True)
class ProvidersAsk:
    """Are the metric providers of this canary reachable? (bootstrap only)"""


@dataclass(frozen=True, slots=True)
class CountersAsk:
    """How many requests of both versions were counted since then (Unix time, seconds)? 0: where the counters stand.

    `copies`: the canary gets copies of requests, which not every proxy counts where it counts requests. `baseline`: the old version is the
    fresh copy of it, not the primary.
    """

    since: float
    copies: bool = False
    baseline: bool = False


@dataclass(frozen=True, slots=True)
class PastAsk:
    """What has the primary done in the last hour? (once per run)"""


Ask = HookAsk | MetricAsk | ProvidersAsk | CountersAsk | PastAsk | DeliveryAsk | ReplicasAsk


@dataclass(frozen=True, slots=True)
class HookResult:
    """Answer of a webhook. `message` is the response text or the error, for the event."""

    ok: bool
    message: str = ""


@dataclass(frozen=True, slots=True)
class Sample:
    """Answer of a metric query.

    Exactly one of these holds: `value` is a finite number or infinite; `no_data` (empty result or NaN); `error` says why
    the query could not be answered. `request-duration` values are milliseconds. `query` is the rendered text.
    """

    value: float | None = None
    error: str = ""
    query: str = ""
    provider: str = "prometheus"
    samples: int | None = None

    @property
    def no_data(self) -> bool:
        """The source answered, and had nothing to say."""
        return self.value is None and not self.error


@dataclass(frozen=True, slots=True)
class ProvidersResult:
    """Empty `errors`: all reachable."""

    errors: tuple[str, ...] = ()


Answer = HookResult | Sample | ProvidersResult | Counters | Past | Delivery | Replicas
World = Mapping[Ask, Answer]

# --------------------------------------------------------------------------------------------- what is done


@dataclass(frozen=True, slots=True)
class EnsureServices:
    """Make `<apex>-canary` and `<apex>-primary` (and, when `apex`, `<apex>` selecting the primary) as wanted.

    `to_target`: the primary cannot serve and the target carries all traffic, so `<apex>` and `<apex>-primary` select the
    target's pods. It reaches what weights do not: the `kubernetes` provider, and requests outside an A/B match.
    """

    apex: bool
    to_target: bool = False


@dataclass(frozen=True, slots=True)
class EnsurePrimary:
    """Create the primary copy and its config copies from the target, if it does not exist. Never updates.

    `revision`: create only from this revision of the target (else Conflict), so that no other one slips in; empty: any.
    `images`: by container, instead of the target's.
    """

    revision: str = ""
    images: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class EnsureScaler:
    """Create the primary's autoscaler if missing; with `update`, bring it in line with the target's."""

    update: bool = False


@dataclass(frozen=True, slots=True)
class EnsureBaseline:
    """Make a copy of the primary with the target's number of pods, and a Service for it, for this run; keep that number. Rejected if in the way.

    The copy is never updated otherwise: one of another run is taken away and made anew. What does not let us make it does not end the tick.
    """

    run_id: str


@dataclass(frozen=True, slots=True)
class RemoveBaseline:
    """Delete the fresh copy of the old version and then its Service, as far as they are ours. Emitted once no route names them any more."""


@dataclass(frozen=True, slots=True)
class PauseScaler:
    """Stop the target's autoscaler (`paused`) or let it work again."""

    paused: bool


@dataclass(frozen=True, slots=True)
class ScaleTarget:
    """Scale the target up (to what it had, or the primary has) or to zero."""

    up: bool


@dataclass(frozen=True, slots=True)
class EnsureRoutes:
    """Make the mesh's objects as the spec wants them, with these weights (read back, so drift never moves traffic)."""

    routes: Routes


@dataclass(frozen=True, slots=True)
class SetRoutes:
    """Move traffic."""

    routes: Routes


@dataclass(frozen=True, slots=True)
class Promote:
    """Copy the target onto the primary, only if the target still is `revision` with `configs` (else Conflict)."""

    revision: str
    configs: Mapping[str, str] | None


@dataclass(frozen=True, slots=True)
class SetFinalizer:
    """Add or remove `finalizer.flagger.app` on the Canary."""

    present: bool


@dataclass(frozen=True, slots=True)
class Revert:
    """Undo on deletion (`revertOnDeletion`): give back the target's replicas, then services, then routes, as `part` says."""

    part: str  # "target" | "services" | "routes"


@dataclass(frozen=True, slots=True)
class OpenRun:
    """Create the CanaryRun of `status.run.id`, before any traffic moves.

    Emitted only after the id is in the stored status (so a crash leaves no orphan), and again at every tick until the
    first step: creating a run that exists is no error.
    """

    run_id: str


@dataclass(frozen=True, slots=True)
class SaveRun:
    """Write rows that the status has no room for on the CanaryRun. They are stored rows only, and one that is there already stays.

    Emitted before anything of its tick moves: when it cannot be done, nothing has happened and the rows are still in the status.
    """

    run_id: str
    history: tuple[RunRow, ...]


@dataclass(frozen=True, slots=True)
class CloseRun:
    """Write outcome and evidence on the CanaryRun and queue its Git effects. `outcome`: Succeeded | Failed | Canceled.

    `history`: the rows that the status held, this tick's included; the status that follows has none. Repeated after a crash.
    When the world changed in between, the outcome may be another one, and the last one counts.
    """

    run_id: str
    outcome: str
    reason: str
    history: tuple[RunRow, ...] = field(default=(), compare=False)


Effect = (
    EnsureServices
    | EnsurePrimary
    | EnsureScaler
    | EnsureBaseline
    | RemoveBaseline
    | PauseScaler
    | ScaleTarget
    | EnsureRoutes
    | SetRoutes
    | Promote
    | SetFinalizer
    | Revert
    | OpenRun
    | SaveRun
    | CloseRun
)


@dataclass(frozen=True, slots=True)
class Decision:
    """The answer of one tick.

    `effects` are applied in order, then `status` is written if it differs, then `notices` are queued in order.
    `wake_after` is seconds until the next tick is due, 0 for at once, None to sleep until something changes (or the slow
    resync). `checks_run` says that this tick evaluated the analysis (its wall time goes into the duration histogram).
    """

    status: CanaryStatus
    effects: tuple[Effect, ...] = ()
    notices: tuple[Notice, ...] = ()
    wake_after: float | None = None
    counter: Counter | None = None
    checks_run: bool = False
