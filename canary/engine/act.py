"""From decisions to the cluster: each effect of the rules becomes calls of plug-ins, in order.

Effects are idempotent and are applied before the status is written, so a crash anywhere repeats them harmlessly. The first
one that fails ends the tick: later effects may rely on it (never shift traffic to a workload that was not scaled).
"""

from __future__ import annotations

from collections.abc import Iterable

from canary.api.status import CanaryStatus
from canary.core import model
from canary.engine.baselines import Baselines
from canary.engine.observe import Sight
from canary.engine.runs import Runs
from canary.kube.compare import Wanted
from canary.kube.ensure import ensure
from canary.kube.resource import CANARIES
from canary.targets import autoscaler, services

FINALIZER = "finalizer.flagger.app"


class Actor:
    """Carries out effects."""

    def __init__(self, runs: Runs) -> None:
        self._runs = runs
        self.baselines = Baselines()

    async def apply(self, sight: Sight, decision: model.Decision) -> None:
        """Apply all effects in order. Raises the errors of `canary.core.errors`."""
        for effect in decision.effects:
            await self._apply(sight, effect, decision.status)

    async def _apply(self, sight: Sight, effect: model.Effect, status: CanaryStatus) -> None:
        cluster, release = sight.cluster, sight.release
        match effect:
            case model.EnsureServices(apex=apex, to_target=to_target):
                await self._ensure(sight, services.wanted(cluster, release, apex=apex, to_target=to_target))
            case model.EnsurePrimary(revision=revision, images=images):
                await sight.target.ensure_primary(cluster, release, revision=revision, images=images)
            case model.EnsureScaler(update=update):
                await autoscaler.ensure(cluster, release, update=update)
            case model.EnsureBaseline(run_id=run_id):
                await self.baselines.ensure(sight, run_id)
            case model.RemoveBaseline():
                await self.baselines.remove(sight)
            case model.PauseScaler(paused=paused):
                await autoscaler.pause(cluster, release, paused=paused)
            case model.ScaleTarget(up=up):
                await sight.target.scale(cluster, release, up=up)
            case model.EnsureRoutes(routes=routes) | model.SetRoutes(routes=routes):
                await self._ensure(sight, self.baselines.routes(sight, routes))
            case model.Promote(revision=revision, configs=configs):
                await sight.target.promote(cluster, release, revision=revision, configs=configs)
            case model.SetFinalizer(present=present):
                await self._set_finalizer(sight, present=present)
            case model.Revert(part=part):
                await self._revert(sight, part)
            case model.OpenRun():
                await self._runs.open(sight, status)
            case model.SaveRun(history=history):
                await self._runs.save(sight, history=history)
            case model.CloseRun(outcome=outcome, reason=reason, history=history):
                await self._runs.close(sight, status, outcome=outcome, reason=reason, history=history)

    @staticmethod
    async def _ensure(sight: Sight, wanted: Iterable[Wanted]) -> None:
        for one in wanted:
            await ensure(sight.cluster, one)

    async def _revert(self, sight: Sight, part: str) -> None:
        match part:
            case "target":
                await sight.target.revert(sight.cluster, sight.release)
            case "services":
                await self._ensure(sight, services.reverted(sight.cluster, sight.release))
            case "routes":
                await self._ensure(sight, sight.router.finalize(sight.release, sight.live))

    @staticmethod
    async def _set_finalizer(sight: Sight, *, present: bool) -> None:
        meta = sight.canary.metadata
        others = [name for name in meta.finalizers if name != FINALIZER]
        patch = {
            # the list is replaced whole, so it must be the list that we have read
            "metadata": {"finalizers": [*others, *([FINALIZER] if present else [])], "resourceVersion": meta.resource_version}
        }
        await sight.cluster.merge(CANARIES, meta.namespace, meta.name, patch)
