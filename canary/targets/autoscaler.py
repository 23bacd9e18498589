"""The primary's autoscaler, and the pause of the target's (reference 2.16): HorizontalPodAutoscaler and KEDA's ScaledObject.

Both kinds are handled as plain JSON in one module: a copy of the user's spec with a few fields changed, so whatever a newer
KEDA knows survives (Q5). Two modules with a common base were rejected; they differ in one function and in the pause.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from canary.api.canary import ScalerRef
from canary.core.errors import NotFound, Rejected
from canary.core.release import Release
from canary.kube.cluster import Cluster
from canary.kube.resource import AUTOSCALERS, SCALED_OBJECTS, Object, Resource
from canary.targets.objects import (
    SUFFIX,
    annotations_of,
    clone,
    edit,
    included,
    labels_of,
    owned_head,
    unless_changed,
    without_toolkit,
)

PAUSED_REPLICAS = "autoscaling.keda.sh/paused-replicas"
_KEDA_NAME_LABEL = "scaledobject.keda.sh/name"
"""KEDA keeps this label equal to the object's own name; a copied value would be fought over."""
_RESOURCES: Mapping[str, Resource] = {"HorizontalPodAutoscaler": AUTOSCALERS, "ScaledObject": SCALED_OBJECTS}


async def ensure(cluster: Cluster, release: Release, *, update: bool) -> None:
    """Create the primary's autoscaler if it is missing; with `update`, bring it in line with the target's.

    Nothing without `autoscalerRef`. Raises NotFound when the referenced autoscaler does not exist, Rejected for an unknown kind.
    """
    ref = release.canary.spec.autoscaler_ref
    if ref is None:
        return
    resource = await _watched(cluster, ref)
    source = cluster.get(resource, release.namespace, ref.name)
    if source is None:
        raise NotFound(
            f"{ref.kind} {ref.name}.{release.namespace} get query error: it does not exist",
            hint=f"create the {ref.kind} that spec.autoscalerRef names, or correct the name",
        )
    primary = cluster.get(resource, release.namespace, ref.name + SUFFIX)
    if primary is None:
        await cluster.create(resource, _new(release, ref, resource, source))
    elif update and (ops := _update(release, ref, source, primary)):
        await cluster.json_patch(resource, release.namespace, ref.name + SUFFIX, ops)


async def pause(cluster: Cluster, release: Release, *, paused: bool) -> None:
    """Pin the target's ScaledObject at zero pods, or let it work again.

    An HPA needs neither, it rests at zero pods. A ScaledObject that does not exist is no error: there is nothing to pause, and
    a rollback or a deletion must not wait for it (Q45).
    """
    ref = release.canary.spec.autoscaler_ref
    if ref is None or await _watched(cluster, ref) is not SCALED_OBJECTS:
        return
    live = cluster.get(SCALED_OBJECTS, release.namespace, ref.name)
    wanted = "0" if paused else None
    if live is not None and annotations_of(live).get(PAUSED_REPLICAS) != wanted:
        # a merge patch of one key: the object is the user's, and its other fields are none of our business (Q5)
        await cluster.merge(SCALED_OBJECTS, release.namespace, ref.name, {"metadata": {"annotations": {PAUSED_REPLICAS: wanted}}})


async def min_replicas(cluster: Cluster, release: Release) -> int:
    """The least number of pods that the target's autoscaler keeps; 0 when there is none or it says nothing."""
    ref = release.canary.spec.autoscaler_ref
    if ref is None:
        return 0
    resource = await _watched(cluster, ref)
    spec = (cluster.get(resource, release.namespace, ref.name) or {}).get("spec") or {}
    return int(spec.get(_bound_fields(ref)[0]) or 0)


async def _watched(cluster: Cluster, ref: ScalerRef) -> Resource:
    resource = _RESOURCES.get(ref.kind)
    if resource is None:
        raise Rejected(
            f"spec.autoscalerRef.kind {ref.kind!r} is not known",
            hint=f"use one of {', '.join(_RESOURCES)}, or remove autoscalerRef",
        )
    await cluster.watch(resource)
    return resource


def _bound_fields(ref: ScalerRef) -> tuple[str, str]:
    return ("minReplicaCount", "maxReplicaCount") if ref.kind == "ScaledObject" else ("minReplicas", "maxReplicas")


def _new(release: Release, ref: ScalerRef, resource: Resource, source: Object) -> Object:
    """A ScaledObject takes the annotations along (they hold KEDA's settings), but never the pause, which would pin it (Q14)."""
    annotations = without_toolkit(annotations_of(source)) if resource is SCALED_OBJECTS else {}
    annotations.pop(PAUSED_REPLICAS, None)
    head = resource.head(release.namespace, ref.name + SUFFIX)
    return {**owned_head(release, head, labels=_labels(source), annotations=annotations), "spec": _spec(release, ref, source)}


def _update(release: Release, ref: ScalerRef, source: Object, primary: Object) -> list[Object]:
    """The spec is replaced; labels follow the source; of the annotations, those of the include prefixes are added (Q15)."""
    more = included(annotations_of(source), release.options.include_label_prefixes)
    more.pop(PAUSED_REPLICAS, None)
    own = {key: value for key, value in labels_of(primary).items() if key == _KEDA_NAME_LABEL}
    ops = edit(primary, ("spec",), _spec(release, ref, source))
    ops += edit(primary, ("metadata", "labels"), {**_labels(source), **own})
    ops += edit(primary, ("metadata", "annotations"), {**annotations_of(primary), **more})
    return unless_changed(primary, ops)


def _labels(source: Object) -> dict[str, str]:
    return {key: value for key, value in without_toolkit(labels_of(source)).items() if key != _KEDA_NAME_LABEL}


def _spec(release: Release, ref: ScalerRef, source: Object) -> Object:
    spec: Object = clone(source["spec"])
    spec["scaleTargetRef"] = {**spec["scaleTargetRef"], "name": release.primary}
    if replicas := ref.primary_scaler_replicas:
        for field, value in zip(_bound_fields(ref), (replicas.min_replicas, replicas.max_replicas), strict=True):
            if value is not None:
                spec[field] = value
    if ref.kind == "ScaledObject":
        _rename_hpa(spec)
        for trigger in spec.get("triggers") or ():
            _rewrite_query(trigger, ref, release.target)
    return spec


def _rename_hpa(spec: Object) -> None:
    """KEDA makes an HPA of this name; two ScaledObjects must not share it. `advanced` is always there, as upstream writes it."""
    config = spec.setdefault("advanced", {}).setdefault("horizontalPodAutoscalerConfig", {})
    if config.get("name"):
        config["name"] += SUFFIX


def _rewrite_query(trigger: Object, ref: ScalerRef, target: str) -> None:
    """With `primaryScalerQueries`, the one named like the trigger; else `<t>`, `<t>-canary` (and `<t>-primary`) become `<t>-primary`."""
    metadata: dict[str, Any] = trigger.get("metadata") or {}
    if ref.primary_scaler_queries:
        if query := ref.primary_scaler_queries.get(trigger.get("name", "")):
            trigger["metadata"] = {**metadata, "query": query}
    elif "query" in metadata:
        metadata["query"] = re.sub(rf"{re.escape(target)}(?:-canary|{SUFFIX})?", target + SUFFIX, metadata["query"])
