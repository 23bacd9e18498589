"""From the cluster to values: what a tick knows (`look`) and what it asks (`answer`).

`look` reads the watch cache only; `answer` makes the calls that the rules asked for, concurrently, each with its own
deadline. What could not be had becomes an `Unknown`, a failed `HookResult` or an erroneous `Sample`: facts that the rules
decide on. Only a user's mistake that makes the whole canary unusable is raised (`Rejected`).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from canary.api.canary import Canary
from canary.api.sequential import Baseline, Judge
from canary.core import model
from canary.core.arms import ArmQueries
from canary.core.delivery import Delivery, DeliveryAsk, ReplicasAsk
from canary.core.errors import CanaryError, Rejected
from canary.core.hashing import webhook_checksum
from canary.core.release import Release
from canary.engine.delivered import delivered, replicas_by, target_of
from canary.engine.pin import Memory, pin_of
from canary.engine.recall import recall
from canary.engine.settings import Settings
from canary.engine.tracking import TrackingCluster
from canary.gitops.converged import delivery_of
from canary.hooks.client import HookClient
from canary.hooks.payload import hook_payload
from canary.kube.resource import SECRETS
from canary.metrics.asker import Asker
from canary.routers import registry as routers
from canary.routers.base import Live, Router
from canary.targets import registry as targets
from canary.targets.base import Target

METRIC_TIMEOUT = 5.0
"""Seconds for one metric query, as upstream; less when the interval is shorter."""


@dataclass(frozen=True, slots=True)
class Sight:
    """One look at a canary: the snapshot for the rules, and the plug-ins that will carry out what they decide.

    `release` is incomplete (no selector label) when the target could not be observed; the rules then decide nothing that
    would need it. `live` is what the router's objects look like now.
    """

    canary: Canary
    snapshot: model.Snapshot
    release: Release
    router: Router
    target: Target
    live: Live
    cluster: TrackingCluster


class Observer:
    """Looks and asks on behalf of ticks."""

    def __init__(
        self, settings: Settings, asker: Asker, hooks: HookClient, *, clock: Callable[[], float] = time.time, memory: Memory | None = None
    ) -> None:
        self._settings = settings
        self._asker = asker
        self._hooks = hooks
        self._clock = clock
        self._memory = memory

    async def look(self, canary: Canary, cluster: TrackingCluster) -> Sight:
        """Observe target, primary, configs and routes. Raises Rejected (unknown provider or kind, missing CRD)."""
        options = self._settings.options
        provider = canary.spec.provider or self._settings.mesh_provider
        router, target = routers.router(provider), targets.target(canary.spec.target_ref)
        if canary.spec.analysis.judge is not Judge.THRESHOLD and router.arm_queries is None:
            raise Rejected(
                f"provider {provider} does not count requests by version, which judge: {canary.spec.analysis.judge} needs",
                hint="use judge: threshold",
            )
        _refuse_unseen_baseline(canary, router)
        await cluster.watch(*target.resources(), *router.resources())
        seen = await target.observe(cluster, canary, options, now=self._clock())
        release = Release(canary, provider, seen.label, seen.label_value, seen.ports, options)
        live = {ref: cluster.get(ref.resource, ref.namespace or release.namespace, ref.name) for ref in router.objects(release)}
        write_back, is_delivered = delivered(cluster, canary, target)
        snapshot = model.Snapshot(
            canary=canary,
            now=self._clock(),
            provider=provider,
            target=seen.target,
            primary=seen.primary,
            configs=seen.configs,
            routes=router.read(release, live),
            can_mirror=router.can_mirror(release),
            copied=router.mirrored_percent(release),
            has_weights=router.has_weights,
            has_scaler=canary.spec.autoscaler_ref is not None,
            write_back=write_back,
            delivered=is_delivered,
            baseline=seen.baseline,
            baseline_left=seen.baseline_left,
            pin=await pin_of(self._memory, cluster, canary, target, seen),
            rejected=recall(cluster, canary, seen, now=self._clock()),
        )
        return Sight(canary, snapshot, release, router, target, live, cluster)

    async def answer(self, sight: Sight, asks: Iterable[model.Ask]) -> Mapping[model.Ask, model.Answer]:
        """Answer all asks concurrently; never raises for what the world did."""
        wanted = tuple(asks)
        answers = await asyncio.gather(*(self._answer(sight, ask) for ask in wanted))
        return dict(zip(wanted, answers, strict=True))

    async def _answer(self, sight: Sight, ask: model.Ask) -> model.Answer:
        match ask:
            case model.HookAsk():
                return await self._call(sight, ask)
            case model.MetricAsk():
                return await self._measure(sight, ask)
            case model.ProvidersAsk():
                return await self._asker.probe(sight.canary, sight.cluster, timeout=METRIC_TIMEOUT)
            case model.CountersAsk():
                seconds = _timeout(sight.canary)
                queries = _arms(sight, copies=ask.copies)
                return await self._asker.counters(
                    sight.canary, queries, since=ask.since, timeout=seconds, cluster=sight.cluster, baseline=ask.baseline
                )
            case ReplicasAsk():
                return await replicas_by(sight.cluster, sight.canary, sight.target)
            case DeliveryAsk():
                workload = target_of(sight.cluster, sight.canary, sight.target)
                return await delivery_of(sight.cluster, workload) if workload else Delivery(error="the target is gone")
            case model.PastAsk():
                return await self._asker.past(sight.canary, _arms(sight), timeout=METRIC_TIMEOUT, cluster=sight.cluster)

    async def _call(self, sight: Sight, ask: model.HookAsk) -> model.HookResult:
        hook = (sight.canary.spec.analysis.webhooks)[ask.index]
        status = sight.canary.status
        payload = hook_payload(
            sight.canary, hook, phase=ask.phase, checksum=webhook_checksum(status.tracked_configs, status.last_applied_spec or "")
        )
        secret: Mapping[str, str] = {}
        if hook.secret_ref is not None:
            try:
                secret = (await sight.cluster.read(SECRETS, sight.release.namespace, hook.secret_ref.name)).get("data") or {}
            except CanaryError as error:
                return model.HookResult(ok=False, message=f"secret {hook.secret_ref.name} of the webhook: {error}")
        return await self._hooks.call(hook, payload, secret=secret)

    async def _measure(self, sight: Sight, ask: model.MetricAsk) -> model.Sample:
        canary = sight.canary
        metric = (canary.spec.analysis.metrics)[ask.index]
        timeout = _timeout(canary)
        match ask.source:
            case model.MetricSource.BUILTIN:
                return await self._asker.builtin(
                    canary,
                    metric,
                    template=sight.router.builtin_queries[metric.name],
                    grouped=sight.router.grouped_queries.get(metric.name),
                    unit_ms=sight.router.duration_unit_ms,
                    timeout=timeout,
                )
            case model.MetricSource.PRIMARY:
                queries, unit_ms = sight.router.arm_queries, sight.router.duration_unit_ms
                if queries is None or metric.name not in queries.checks:
                    return model.Sample(error=f"provider {sight.router.name} has no check of the primary for {metric.name}")
                return await self._asker.builtin(canary, metric, template=queries.checks[metric.name], unit_ms=unit_ms, timeout=timeout)
            case model.MetricSource.QUERY:
                return await self._asker.inline(canary, metric, timeout=timeout)
            case model.MetricSource.TEMPLATE:
                longest = canary.spec.analysis.interval_seconds
                return await self._asker.template(canary, metric, sight.cluster, timeout=timeout, longest=longest)


def _refuse_unseen_baseline(canary: Canary, router: Router) -> None:
    """Evidence needs to see what it compares with. Raises Rejected."""
    analysis, queries = canary.spec.analysis, router.arm_queries
    if analysis.judge is Judge.THRESHOLD or analysis.baseline is not Baseline.FRESH or queries is None:
        return
    if queries.baseline is None:
        raise Rejected(f"provider {router.name} does not count requests of a fresh baseline apart", hint="use baseline: primary")


def _timeout(canary: Canary) -> float:
    return min(METRIC_TIMEOUT, max(1.0, canary.spec.analysis.interval_seconds))


def _arms(sight: Sight, *, copies: bool = False) -> ArmQueries:
    queries = sight.router.arm_queries
    assert queries is not None  # `look` has refused the others
    return queries.copies or queries if copies else queries
