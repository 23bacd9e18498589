"""The three generated Services as they should look (reference 3.2): `<apex>-canary`, `<apex>-primary` and `<apex>`.

Ports and selector are ours on every Service of these names, also on one that the user made before. Labels and annotations are
ours only on Services that this Canary controls, except for the keys in `unmanagedMetadata`. `type` and `clusterIP` of an
existing Service are never changed: a user may have done so, or nobody can.

An unowned Service stays unowned: with our owner reference, deleting the Canary would delete the user's Service.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from canary.api.service import CustomMetadata, Service
from canary.core.errors import Rejected
from canary.core.release import FLUX_MARKERS, Release
from canary.kube.cluster import Cluster
from canary.kube.resource import SERVICES, Object, Resource
from canary.targets.objects import annotations_of, clone, controller_of, is_canary, labels_of, owned

LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"
_Path = tuple[str, ...]
_PORTS, _SELECTOR, _DISTRIBUTION = ("spec", "ports"), ("spec", "selector"), ("spec", "trafficDistribution")
_LABELS, _ANNOTATIONS = ("metadata", "labels"), ("metadata", "annotations")


@dataclass(frozen=True, slots=True)
class Wanted:
    """One Service as it should look, for `canary.kube.ensure` (see `canary.kube.compare.Wanted`, which this satisfies)."""

    body: Object
    exact: tuple[_Path, ...]
    resource: Resource = SERVICES
    adopt: bool = True


def wanted(cluster: Cluster, release: Release, *, apex: bool, to_target: bool = False) -> Sequence[Wanted]:
    """`<apex>-canary` and `<apex>-primary`, and with `apex` the Service that users call, which selects the primary.

    `to_target`: the primary cannot serve, so what selects it selects the target's pods instead.
    Raises Rejected without `spec.service`, and when one of the Services is controlled by another Canary.
    """
    service = _service(release)
    primary = release.label_value if to_target else release.primary_label_value
    services = [
        _wanted(cluster, release, release.apex_canary, value=release.label_value, custom=service.canary),
        _wanted(cluster, release, release.apex_primary, value=primary, custom=service.primary),
    ]
    if apex:
        services.append(_wanted(cluster, release, release.apex, value=primary, custom=service.apex))
    return services


def baseline(cluster: Cluster, release: Release) -> Wanted:
    """`<apex>-baseline`, which selects the pods of a fresh baseline and is otherwise as `<apex>-canary`.

    Raises Rejected when somebody else has a Service of that name: unlike the other three it comes and goes, so none is taken over.
    """
    live = cluster.get(SERVICES, release.namespace, release.apex_baseline)
    if live is not None and not owned(release, live):
        raise Rejected(
            f"Service {release.apex_baseline}.{release.namespace} exists already and is not ours",
            hint="delete or rename it, or set analysis.baseline to primary",
        )
    found = _wanted(cluster, release, release.apex_baseline, value=release.baseline_label_value, custom=_service(release).canary)
    return replace(found, adopt=False)


def reverted(cluster: Cluster, release: Release) -> Sequence[Wanted]:
    """The apex Service as the user had it, for `revertOnDeletion`: nothing when it is ours (it is collected) or gone.

    The selector comes from what kubectl applied last, if that is known, else it is the target's. The markers that keep Flux
    away are taken off, so that Flux manages its Service again.
    """
    live = cluster.get(SERVICES, release.namespace, release.apex)
    if live is None or is_canary(controller_of(live)):
        return ()
    applied = _last_applied(live)
    kept = annotations_of(applied or {})
    body = SERVICES.head(release.namespace, release.apex)
    body["metadata"]["annotations"] = {
        key: value for key, value in annotations_of(live).items() if FLUX_MARKERS.get(key) != value or key in kept
    }
    if applied is None:
        ports, selector = _ports(release, live), {release.label: release.label_value}
    else:
        # ports are named also where they stay: server-side apply takes away what we no longer name and nobody else owns
        ports, selector = clone(live["spec"].get("ports") or []), dict((applied.get("spec") or {}).get("selector") or {})
    body["spec"] = {"ports": ports, "selector": selector}
    return (Wanted(body, (_PORTS, _SELECTOR, _ANNOTATIONS)),)


def _service(release: Release) -> Service:
    service = release.canary.spec.service
    if service is None:
        raise Rejected(
            f"canary {release.name}.{release.namespace} has no spec.service",
            hint="set spec.service.port to the port that the application serves",
        )
    return service


def _wanted(cluster: Cluster, release: Release, name: str, *, value: str, custom: CustomMetadata | None) -> Wanted:
    live = cluster.get(SERVICES, release.namespace, name)
    body = SERVICES.head(release.namespace, name)
    body["spec"] = {"ports": _ports(release, live), "selector": {release.label: value}}
    exact = [_PORTS, _SELECTOR]
    if live is None or owned(release, live):
        body["metadata"].update(_metadata(release, name, live, custom))
        exact += [_LABELS, _ANNOTATIONS, _DISTRIBUTION]
    else:
        _refuse_foreign(release, live)
        body["metadata"]["annotations"] = dict(FLUX_MARKERS)
    _add_kind(release, body["spec"], live)
    return Wanted(body, tuple(exact))


def _metadata(release: Release, name: str, live: Object | None, custom: CustomMetadata | None) -> Object:
    """Labels, annotations and owner of a Service of ours. Keys in `unmanagedMetadata` keep the value that they have now."""
    unmanaged = _service(release).unmanaged_metadata
    labels = {**(custom.labels if custom else {}), release.label: name}
    annotations = {**(custom.annotations if custom else {}), **FLUX_MARKERS}
    if live is not None and unmanaged is not None:
        labels |= {key: labels_of(live)[key] for key in unmanaged.labels if key in labels_of(live)}
        annotations |= {key: annotations_of(live)[key] for key in unmanaged.annotations if key in annotations_of(live)}
    return {"labels": labels, "annotations": annotations, "ownerReferences": [dict(release.owner_reference)]}


def _refuse_foreign(release: Release, live: Object) -> None:
    """Two canaries would rewrite each other's selector for ever, and send users to the wrong pods half of the time."""
    ref = controller_of(live)
    if ref is not None and is_canary(ref):
        raise Rejected(
            f"Service {live['metadata']['name']}.{release.namespace} is controlled by Canary {ref.get('name')!r}",
            hint="give one of the two canaries another spec.service.name, or delete it",
        )


def _add_kind(release: Release, spec: Object, live: Object | None) -> None:
    """`type` and `clusterIP` are set once; `trafficDistribution` can be changed later (Q49).

    On a Service of ours all fields that it was created with are named again, with the values that they have now: server-side
    apply takes away what we no longer name. A distribution that the Canary no longer asks for is nulled there; on a user's
    Service it is the user's.
    """
    service = _service(release)
    if service.traffic_distribution:
        spec["trafficDistribution"] = service.traffic_distribution
    if live is None:
        spec["type"] = "ClusterIP"
        if service.headless:
            spec["clusterIP"] = "None"
    elif owned(release, live):
        spec["type"] = live["spec"].get("type", "ClusterIP")
        if live["spec"].get("clusterIP") == "None":
            spec["clusterIP"] = "None"
        if live["spec"].get("trafficDistribution"):
            spec.setdefault("trafficDistribution", None)


def _ports(release: Release, live: Object | None) -> list[Object]:
    """Ports as they should be: the main one, then the discovered ones. Node ports stay, by port name.

    When the live ports are the same ones in another order they are returned as they are: order carries no meaning.
    """
    service = _service(release)
    main: Object = {
        "name": service.port_name_effective,
        "protocol": "TCP",
        "port": service.port,
        "targetPort": service.target_port_effective,
    }
    if service.app_protocol:
        main["appProtocol"] = service.app_protocol
    more = [{"name": port.name, "protocol": port.protocol, "port": port.port, "targetPort": port.port} for port in release.ports]
    ports = [main, *more]
    now: Sequence[Mapping[str, Any]] = ((live or {}).get("spec") or {}).get("ports") or ()
    node_ports = {port.get("name"): port["nodePort"] for port in now if port.get("nodePort")}
    for port in ports:
        if port["name"] in node_ports:
            port["nodePort"] = node_ports[port["name"]]
    same = sorted(now, key=_port_order) == sorted(ports, key=_port_order)
    return [dict(port) for port in now] if same else ports


def _port_order(port: Mapping[str, Any]) -> tuple[int, str]:
    return port["port"], port.get("protocol") or "TCP"


def _last_applied(live: Object) -> Object | None:
    """The manifest that kubectl applied last; None when there is none or it cannot be read (a deletion must not hang, Q45)."""
    try:
        applied = json.loads(annotations_of(live).get(LAST_APPLIED, ""))
    except ValueError:
        return None
    return applied if isinstance(applied, dict) else None
