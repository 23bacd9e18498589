"""The target kind Deployment: the user's Deployment is the canary, `<name>-primary` is the copy that serves.

Reads come from the watch cache; a write is made only when something has to change. A promotion copies the very object whose
revision was compared, so no moment lies between the check and the copy (Q21); the patch is conditional on the primary.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from canary.api.canary import Canary
from canary.core.errors import CanaryError, Conflict, NotFound
from canary.core.hashing import revision_of
from canary.core.model import Readiness, Unknown, Workload
from canary.core.release import Options, Release
from canary.kube.cluster import Cluster
from canary.kube.resource import CONFIG_MAPS, DEPLOYMENTS, SECRETS, SERVICES, Object, Resource
from canary.targets import autoscaler, baseline
from canary.targets.base import Observed
from canary.targets.config_copies import sync_copies
from canary.targets.config_refs import mandatory
from canary.targets.config_tracker import ConfigTracker
from canary.targets.objects import SUFFIX
from canary.targets.pod_template import Naming, same_version, to_target, with_images
from canary.targets.ports import discovered_ports
from canary.targets.primary import new_primary, promotion, replicas_of
from canary.targets.readiness import deployment_readiness


class DeploymentTarget:
    """`Target` for Deployments. One instance serves all canaries; it keeps only fingerprints of configs."""

    def __init__(self) -> None:
        self._tracker = ConfigTracker()

    def resources(self) -> tuple[Resource, ...]:
        """Deployments and Services; configs and autoscalers are watched only once a canary needs them."""
        return DEPLOYMENTS, SERVICES

    async def observe(self, cluster: Cluster, canary: Canary, options: Options, *, now: float | None = None) -> Observed:
        """State of target, primary and tracked configs at `now` (Unix time; the clock's when absent)."""
        now = time.time() if now is None else now
        namespace, name = canary.metadata.namespace, canary.spec.target_ref.name
        target = cluster.get(DEPLOYMENTS, namespace, name)
        primary = cluster.get(DEPLOYMENTS, namespace, name + SUFFIX)
        if target is None:
            unknown = Unknown("TargetNotFound", f"deployment {name}.{namespace} get query error: it does not exist")
            return Observed(unknown, _primary(canary, primary, None, now=now), configs=None)
        naming = _naming(target, options)
        if isinstance(naming, Unknown):
            return Observed(naming, _primary(canary, primary, None, now=now), configs=None)
        same = primary is not None and same_version(target["spec"]["template"], primary["spec"]["template"], naming)
        configs: Mapping[str, str] | Unknown | None
        try:
            configs = await self._configs(cluster, namespace, target, options)
        except CanaryError as error:
            configs = Unknown(error.reason, f"{error.message}; {error.hint}" if error.hint else error.message)
        ready = deployment_readiness(
            target, threshold=canary.spec.analysis.canary_ready_percent, deadline=canary.spec.progress_deadline, now=now
        )
        copy, left = baseline.observe(cluster, canary, now=now)
        return Observed(
            target=_workload(target, target["spec"]["template"], ready, same=same),
            primary=_primary(canary, primary, (target, naming), now=now, same=same),
            configs=configs,
            label=naming.label,
            label_value=naming.value,
            ports=discovered_ports(canary.spec.service, target["spec"]["template"]),
            baseline=copy,
            baseline_left=left,
        )

    async def ensure_primary(
        self, cluster: Cluster, release: Release, *, revision: str = "", images: Mapping[str, str] | None = None
    ) -> None:
        """Create the primary and its config copies if the primary does not exist; with these images by container, where they are given.

        Raises NotFound without a target, Conflict when the target is no longer `revision` (empty: any will do).
        """
        if cluster.get(DEPLOYMENTS, release.namespace, release.primary) is not None:
            return
        target = _required(cluster, release)
        current = revision_of(target["spec"]["template"])
        if revision and current != revision:
            raise Conflict(f"deployment {release.target}.{release.namespace} is no longer the revision that the primary is to be made from")
        configs = await self._configs(cluster, release.namespace, target, release.options)
        if images:
            template = with_images(target["spec"]["template"], images)
            target, current = {**target, "spec": {**target["spec"], "template": template}}, revision_of(template)
        await self._create(cluster, release, target, revision=current, configs=configs)

    async def promote(self, cluster: Cluster, release: Release, *, revision: str, configs: Mapping[str, str] | None) -> None:
        """Copy the target onto the primary, configs first. Raises Conflict when the target is no longer `revision` with `configs`."""
        target = cluster.get(DEPLOYMENTS, release.namespace, release.target)
        if target is None or revision_of(target["spec"]["template"]) != revision:
            raise Conflict(f"deployment {release.target}.{release.namespace} is no longer the revision that was analysed")
        current = await self._configs(cluster, release.namespace, target, release.options)
        if (current or {}) != (configs or {}):
            raise Conflict(f"configs of deployment {release.target}.{release.namespace} have changed since they were analysed")
        primary = cluster.get(DEPLOYMENTS, release.namespace, release.primary)
        if primary is None:
            await self._create(cluster, release, target, revision=revision, configs=configs)
            return
        await sync_copies(cluster, release, self._tracker, configs=configs or {})
        if ops := promotion(release, target, primary, revision=revision, configs=configs):
            await cluster.json_patch(DEPLOYMENTS, release.namespace, release.primary, ops)

    async def ensure_baseline(self, cluster: Cluster, release: Release, *, run_id: str) -> None:
        """Make the fresh copy of the primary for this run, or keep its number of pods: the target's, or what a parked target wakes up with."""
        replicas = replicas_of(_required(cluster, release)) or await _wake_up_replicas(cluster, release)
        await baseline.ensure(cluster, release, run_id=run_id, replicas=replicas)

    async def remove_baseline(self, cluster: Cluster, release: Release) -> None:
        """Delete the fresh copy of the primary and then its Service, as far as they are ours."""
        await baseline.remove(cluster, release)

    async def scale(self, cluster: Cluster, release: Release, *, up: bool) -> None:
        """Scale the target up to what it has, the primary has, or its autoscaler's minimum; or to zero. No request when it is there."""
        target = _required(cluster, release) if up else cluster.get(DEPLOYMENTS, release.namespace, release.target)
        if target is None:
            return
        if not up:
            await _set_replicas(cluster, release, target, 0)
        elif replicas_of(target) == 0:
            await _set_replicas(cluster, release, target, await _wake_up_replicas(cluster, release))

    async def revert(self, cluster: Cluster, release: Release) -> None:
        """Give the target the primary's replicas back; without a primary, scale it up. A target that serves is never parked."""
        target = cluster.get(DEPLOYMENTS, release.namespace, release.target)
        if target is None:
            return
        primary = cluster.get(DEPLOYMENTS, release.namespace, release.primary)
        if primary is None:
            await self.scale(cluster, release, up=True)
        elif replicas_of(primary) > 0:
            await _set_replicas(cluster, release, target, replicas_of(primary))

    async def _configs(self, cluster: Cluster, namespace: str, target: Object, options: Options) -> Mapping[str, str] | None:
        """Tracked configs of the target with their checksums; None when tracking is off or nothing is tracked."""
        if not options.config_tracking or not mandatory(target["spec"]["template"]):
            return None
        await cluster.watch(CONFIG_MAPS, SECRETS)
        return await self._tracker.tracked(cluster, namespace, target["spec"]["template"]) or None

    async def _create(
        self, cluster: Cluster, release: Release, target: Object, *, revision: str, configs: Mapping[str, str] | None
    ) -> None:
        await sync_copies(cluster, release, self._tracker, configs=configs or {})
        await cluster.create(DEPLOYMENTS, new_primary(release, target, revision=revision, configs=configs))


def _required(cluster: Cluster, release: Release) -> Object:
    target = cluster.get(DEPLOYMENTS, release.namespace, release.target)
    if target is None:
        raise NotFound(
            f"deployment {release.target}.{release.namespace} get query error: it does not exist",
            hint="create the Deployment that spec.targetRef names, or correct the name",
        )
    return target


def _naming(target: Object, options: Options) -> Naming | Unknown:
    """Selector label and value: the first candidate key that the target selects by."""
    labels = (target["spec"].get("selector") or {}).get("matchLabels") or {}
    for key in options.selector_labels:
        if key in labels:
            return Naming(target["metadata"]["name"], key, labels[key], options.selector_labels)
    meta = target["metadata"]
    return Unknown(
        "SelectorMissing",
        f"deployment {meta['name']}.{meta['namespace']} spec.selector.matchLabels must contain one of "
        f"[{' '.join(options.selector_labels)}]",
    )


def _workload(deployment: Object, template: Mapping[str, Any], ready: tuple[Readiness, str], *, same: bool) -> Workload:
    spec = deployment["spec"]["template"].get("spec") or {}
    containers = (*(spec.get("initContainers") or ()), *(spec.get("containers") or ()))
    return Workload(
        name=deployment["metadata"]["name"],
        revision=revision_of(template),
        replicas=replicas_of(deployment),
        ready_replicas=(deployment.get("status") or {}).get("availableReplicas") or 0,
        readiness=ready[0],
        message=ready[1],
        images={container["name"]: container.get("image", "") for container in containers},
        foreign_equal=same,
    )


def _primary(
    canary: Canary, primary: Object | None, of: tuple[Object, Naming] | None, *, now: float, same: bool = False
) -> Workload | None:
    """The primary; its revision is that of the template with the transforms undone, so that it compares with the target's."""
    if primary is None:
        return None
    ready = deployment_readiness(
        primary, threshold=canary.spec.analysis.primary_ready_percent, deadline=canary.spec.progress_deadline, now=now
    )
    template = primary["spec"]["template"]
    if of is not None:
        template = to_target(template, of[1], configs=mandatory(of[0]["spec"]["template"]).keys())
    return _workload(primary, template, ready, same=same)


async def _wake_up_replicas(cluster: Cluster, release: Release) -> int:
    """How many pods a parked target starts with."""
    if release.canary.spec.autoscaler_ref is not None:
        return max(1, await autoscaler.min_replicas(cluster, release))
    primary = cluster.get(DEPLOYMENTS, release.namespace, release.primary)
    return max(1, replicas_of(primary)) if primary else 1


async def _set_replicas(cluster: Cluster, release: Release, target: Object, replicas: int) -> None:
    if replicas_of(target) != replicas:
        await cluster.merge(DEPLOYMENTS, release.namespace, release.target, {"spec": {"replicas": replicas}})
