"""Heads of generated mesh objects, and whose an object is that exists already.

Every mesh needs the same answers: which labels, annotations and owner it writes, and whether what it found under its name is
its own, a user's (taken over, but never owned: it must outlive the Canary), or another Canary's (refused: two writers would
fight over the weights for ever). Adding an owner to a user's object was rejected: deleting the Canary would delete it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from canary.api.service import Service
from canary.core.errors import Rejected
from canary.core.release import FLUX_MARKERS, Release
from canary.kube.resource import DEPLOYMENTS, SERVICES, Object, Resource
from canary.routers.base import Live, ObjectRef, Wanted


def service_of(release: Release) -> Service:
    """`spec.service`. Raises Rejected when the canary has none: no mesh object can be named or ported without it."""
    service = release.canary.spec.service
    if service is None:
        raise Rejected(
            f"canary {release.namespace}/{release.name} has no spec.service, which provider {release.provider!r} needs",
            hint="set spec.service.port",
        )
    return service


def head(release: Release, resource: Resource, *, live: Object | None, name: str, custom: bool = True) -> Object:
    """apiVersion, kind and metadata of a generated object (reference 3.1).

    `custom` adds the labels and annotations of `service.apex` and the Flux markers, which DestinationRules do not get. With
    `service.apex` the label of the apex Service comes along, as upstream's does. Raises Rejected when `live` belongs to
    another Canary.
    """
    body = resource.head(release.namespace, name)
    refuse_foreign(release, body, live)
    if custom:
        apex = service_of(release).apex
        labels = {**(apex.labels or {}), release.label: release.apex} if apex and release.label else {}
        if labels:
            body["metadata"]["labels"] = labels
        body["metadata"]["annotations"] = {**((apex and apex.annotations) or {}), **FLUX_MARKERS}
    if not release.options.separate_mesh_cluster and (live is None or owned(release, live)):
        body["metadata"]["ownerReferences"] = [dict(release.owner_reference)]
    return body


def exactly(resource: Resource, body: Object, live: Object | None, *keys: str) -> Wanted:
    """`body`, which owns the fields `keys` of the spec entirely; one that it leaves out shall not be there.

    Comparing says nothing about what is absent. So while a field has to go the whole spec is claimed, with everybody else's
    fields repeated; writing the field empty instead makes the API server store null for a map, and then refuse it.
    """
    spec, found = body["spec"], (live or {}).get("spec") or {}
    if not any(found.get(key) and key not in spec for key in keys):
        return Wanted(resource, body, exact=tuple(("spec", key) for key in keys))
    others = {key: value for key, value in found.items() if key not in keys}
    return Wanted(resource, {**body, "spec": {**others, **spec}}, exact=(("spec",),))


def owned(release: Release, live: Object) -> bool:
    """Our Canary is among the object's owners."""
    return any(ref.get("uid") == release.canary.metadata.uid for ref in owners(live))


def baseline_refs(release: Release) -> tuple[ObjectRef, ...]:
    """What a baseline consists of; nothing of it is written here."""
    return (ObjectRef(SERVICES, release.apex_baseline), ObjectRef(DEPLOYMENTS, release.baseline))


def beside(release: Release, live: Live) -> bool:
    """Whether a baseline is there, so that a route may name it. It does so without a share as well.

    A proxy that hears of a route before it knows the backend in it answers 503 for its share, and so does one that has forgotten a backend before
    it hears of the route without it. So the baseline is in the route before its share comes, and after that has gone. Its Service is taken away
    later than its Deployment, when no route names it: one backend that does not exist may make a mesh refuse the whole route.
    """
    found = [live.get(ref) for ref in baseline_refs(release)]
    return all(one is not None and owned(release, one) and not one["metadata"].get("deletionTimestamp") for one in found)


def taken(release: Release, live: Object) -> bool:
    """We (or Flagger before us) have written this object: it is owned by this Canary, or carries the Flux markers."""
    annotations: Mapping[str, str] = live["metadata"].get("annotations") or {}
    return owned(release, live) or all(annotations.get(key) == value for key, value in FLUX_MARKERS.items())


def refuse_foreign(release: Release, body: Object, live: Object | None) -> None:
    """Raises Rejected when another Canary controls `live`."""
    for ref in owners(live or {}):
        is_canary = ref.get("kind") == "Canary" and str(ref.get("apiVersion", "")).startswith("flagger.app/")
        if is_canary and ref.get("controller") and ref.get("name") != release.name:
            raise Rejected(
                f"{body['kind']} {release.namespace}/{body['metadata']['name']} is controlled by Canary {ref.get('name')!r}",
                hint="give one of the two canaries another spec.service.name, or delete it",
            )


def owners(live: Object) -> Sequence[Mapping[str, Any]]:
    """Its owner references."""
    return (live.get("metadata") or {}).get("ownerReferences") or ()
