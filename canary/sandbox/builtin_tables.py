"""Columns and rows of built-in kinds for `kubectl get`, as the real server computes them."""

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, Final

from canary.sandbox.durations import age
from canary.sandbox.resources import Column
from canary.sandbox.scale import selector_text

Obj = Mapping[str, Any]
Row = list[Any]
_NONE: Final = "<none>"


def _columns(text: str) -> tuple[Column, ...]:
    """`Name, Ready, IP+, Desired:integer`: plus means wide output only."""
    out: list[Column] = []
    for part in text.split(", "):
        name, _, kind = part.partition(":")
        wide = name.endswith("+")
        out.append(
            Column(name.removesuffix("+"), kind or "string", "", priority=int(wide), format="name" if name.rstrip("+") == "Name" else "")
        )
    return tuple(out)


BUILTIN_COLUMNS: Final[Mapping[str, tuple[Column, ...]]] = {
    "Pod": _columns("Name, Ready, Status, Restarts, Age, IP+, Node+, Nominated Node+, Readiness Gates+"),
    "Service": _columns("Name, Type, Cluster-IP, External-IP, Port(s), Age, Selector+"),
    "ConfigMap": _columns("Name, Data, Age"),
    "Secret": _columns("Name, Type, Data, Age"),
    "Event": _columns("Last Seen, Type, Reason, Object, Subobject+, Source+, Message, First Seen+, Count+, Name+"),
    "Endpoints": _columns("Name, Endpoints, Age"),
    "Node": _columns("Name, Status, Roles, Age, Version, Internal-IP+, External-IP+, OS-Image+, Kernel-Version+, Container-Runtime+"),
    "Namespace": _columns("Name, Status, Age"),
    "CustomResourceDefinition": _columns("Name, Created At:date"),
    "ClusterRole": _columns("Name, Created At:date"),
    "Role": _columns("Name, Created At:date"),
    "RoleBinding": _columns("Name, Role, Age, Users+, Groups+, ServiceAccounts+"),
    "ClusterRoleBinding": _columns("Name, Role, Age, Users+, Groups+, ServiceAccounts+"),
    "Deployment": _columns("Name, Ready, Up-to-date, Available, Age, Containers+, Images+, Selector+"),
    "DaemonSet": _columns("Name, Desired:integer, Current:integer, Ready:integer, Up-to-date:integer, Available:integer, Node Selector, Age, Containers+, Images+, Selector+"),
    "ReplicaSet": _columns("Name, Desired:integer, Current:integer, Ready:integer, Age, Containers+, Images+, Selector+"),
    "StatefulSet": _columns("Name, Ready, Age, Containers+, Images+"),
    "EndpointSlice": _columns("Name, AddressType, Ports, Endpoints, Age"),
    "HorizontalPodAutoscaler": _columns("Name, Reference, Targets, MinPods, MaxPods, Replicas, Age"),
    "Ingress": _columns("Name, Class, Hosts, Address, Ports, Age"),
    "NetworkPolicy": _columns("Name, Pod-Selector, Age"),
    "Lease": _columns("Name, Holder, Age"),
    "PodDisruptionBudget": _columns("Name, Min Available, Max Unavailable, Allowed Disruptions:integer, Age"),
}  # fmt: skip


def _name(obj: Obj) -> str:
    return str(obj["metadata"].get("name", ""))


def _age(obj: Obj, now: datetime) -> str:
    return age(obj["metadata"].get("creationTimestamp"), now)


def _template(obj: Obj) -> tuple[str, str]:
    containers = obj["spec"]["template"]["spec"].get("containers") or []
    return ",".join(one["name"] for one in containers), ",".join(one.get("image", "") for one in containers)


def _count(obj: Obj, name: str) -> int:
    return int((obj.get("status") or {}).get(name) or 0)


def _pairs(labels: Any) -> str:
    return ",".join(f"{key}={value}" for key, value in sorted((labels or {}).items())) or _NONE


def _pod(obj: Obj, now: datetime) -> Row:
    spec, status = obj["spec"], obj.get("status") or {}
    containers = status.get("containerStatuses") or []
    state = "Terminating" if obj["metadata"].get("deletionTimestamp") else status.get("reason") or status.get("phase", "")
    for one in reversed(containers):
        waiting = (one.get("state") or {}).get("waiting") or (one.get("state") or {}).get("terminated") or {}
        if waiting.get("reason") and state != "Terminating":
            state = waiting["reason"]
    ready = f"{sum(bool(one.get('ready')) for one in containers)}/{len(spec.get('containers') or ())}"
    restarts = str(sum(one.get("restartCount", 0) for one in containers))
    gates = _NONE if not spec.get("readinessGates") else f"0/{len(spec['readinessGates'])}"
    return [
        _name(obj),
        ready,
        state,
        restarts,
        _age(obj, now),
        status.get("podIP") or _NONE,
        spec.get("nodeName") or _NONE,
        status.get("nominatedNodeName") or _NONE,
        gates,
    ]


def _service(obj: Obj, now: datetime) -> Row:
    spec = obj["spec"]
    ports = ",".join(
        f"{port['port']}:{port['nodePort']}/{port['protocol']}" if port.get("nodePort") else f"{port['port']}/{port['protocol']}"
        for port in spec.get("ports") or ()
    )
    external = ",".join(spec.get("externalIPs") or ()) or _NONE
    if spec.get("type") == "ExternalName":
        external = spec.get("externalName", "")
    elif spec.get("type") == "LoadBalancer":
        found = ((obj.get("status") or {}).get("loadBalancer") or {}).get("ingress") or []
        external = ",".join(one.get("ip") or one.get("hostname", "") for one in found) or "<pending>"
    return [
        _name(obj),
        spec.get("type", ""),
        spec.get("clusterIP") or _NONE,
        external,
        ports or _NONE,
        _age(obj, now),
        _pairs(spec.get("selector")),
    ]


def _event(obj: Obj, now: datetime) -> Row:
    first, series = obj.get("firstTimestamp") or obj.get("eventTime"), obj.get("series") or {}
    last = series.get("lastObservedTime") or obj.get("lastTimestamp") or first
    about, source = obj.get("involvedObject") or {}, obj.get("source") or {}
    parts = (source.get("component"), source.get("host")) if source else (obj.get("reportingComponent"), obj.get("reportingInstance"))
    return [
        age(last, now), obj.get("type", ""), obj.get("reason", ""), f"{about.get('kind', '').lower()}/{about.get('name', '')}",
        about.get("fieldPath", ""), ", ".join(one for one in parts if one), str(obj.get("message", "")).strip(), age(first, now),
        series.get("count") or obj.get("count") or 1, _name(obj),
    ]  # fmt: skip


def _endpoints(obj: Obj, now: datetime) -> Row:
    found = [
        f"{address['ip']}:{port['port']}"
        for subset in obj.get("subsets") or ()
        for port in subset.get("ports") or ()
        for address in subset.get("addresses") or ()
    ]
    more = f" + {len(found) - 3} more..." if len(found) > 3 else ""
    return [_name(obj), ",".join(found[:3]) + more or _NONE, _age(obj, now)]


def _node(obj: Obj, now: datetime) -> Row:
    status, labels = obj.get("status") or {}, obj["metadata"].get("labels") or {}
    ready = next((one["status"] for one in status.get("conditions") or () if one["type"] == "Ready"), "Unknown")
    state = {"True": "Ready", "False": "NotReady"}.get(ready, "Unknown")
    if obj["spec"].get("unschedulable"):
        state += ",SchedulingDisabled"
    roles = ",".join(sorted(key.removeprefix("node-role.kubernetes.io/") for key in labels if key.startswith("node-role.kubernetes.io/")))
    info, addresses = status.get("nodeInfo") or {}, {one["type"]: one["address"] for one in status.get("addresses") or ()}
    details = [info.get(key) or "<unknown>" for key in ("osImage", "kernelVersion", "containerRuntimeVersion")]
    return [
        _name(obj),
        state,
        roles or _NONE,
        _age(obj, now),
        info.get("kubeletVersion", ""),
        addresses.get("InternalIP", _NONE),
        addresses.get("ExternalIP", _NONE),
        *details,
    ]


def _binding(obj: Obj, now: datetime) -> Row:
    subjects = obj.get("subjects") or []
    named = {kind: ", ".join(one["name"] for one in subjects if one.get("kind") == kind) for kind in ("User", "Group")}
    accounts = ", ".join(f"{one.get('namespace', '')}/{one['name']}" for one in subjects if one.get("kind") == "ServiceAccount")
    role = obj.get("roleRef") or {}
    return [_name(obj), f"{role.get('kind')}/{role.get('name')}", _age(obj, now), named["User"], named["Group"], accounts]


def _deployment(obj: Obj, now: datetime) -> Row:
    ready = f"{_count(obj, 'readyReplicas')}/{obj['spec'].get('replicas', 0)}"
    selector = selector_text(obj["spec"].get("selector"))
    return [_name(obj), ready, _count(obj, "updatedReplicas"), _count(obj, "availableReplicas"), _age(obj, now), *_template(obj), selector]


def _daemon_set(obj: Obj, now: datetime) -> Row:
    names = ("desiredNumberScheduled", "currentNumberScheduled", "numberReady", "updatedNumberScheduled", "numberAvailable")
    nodes = _pairs(obj["spec"]["template"]["spec"].get("nodeSelector"))
    return [
        _name(obj),
        *(_count(obj, name) for name in names),
        nodes,
        _age(obj, now),
        *_template(obj),
        selector_text(obj["spec"].get("selector")),
    ]


def _replica_set(obj: Obj, now: datetime) -> Row:
    counts = (obj["spec"].get("replicas", 0), _count(obj, "replicas"), _count(obj, "readyReplicas"))
    return [_name(obj), *counts, _age(obj, now), *_template(obj), selector_text(obj["spec"].get("selector"))]


def _stateful_set(obj: Obj, now: datetime) -> Row:
    return [_name(obj), f"{_count(obj, 'readyReplicas')}/{obj['spec'].get('replicas', 0)}", _age(obj, now), *_template(obj)]


def _endpoint_slice(obj: Obj, now: datetime) -> Row:
    ports = ",".join(str(port.get("port", "*")) for port in obj.get("ports") or ())
    found = [address for endpoint in obj.get("endpoints") or () for address in endpoint.get("addresses") or ()]
    more = f" + {len(found) - 3} more..." if len(found) > 3 else ""
    return [_name(obj), obj.get("addressType", ""), ports or "<unset>", ",".join(found[:3]) + more or "<unset>", _age(obj, now)]


def _autoscaler(obj: Obj, now: datetime) -> Row:
    spec, status = obj["spec"], obj.get("status") or {}
    current = {
        (one.get("resource") or {}).get("name"): one["resource"]
        for one in status.get("currentMetrics") or ()
        if one.get("type") == "Resource"
    }
    targets: list[str] = []
    for metric in spec.get("metrics") or ():
        source = metric.get("resource")
        if source is None:
            targets.append(f"{metric.get('type')}: <unknown>")
            continue
        seen, target = (current.get(source["name"]) or {}).get("current") or {}, source["target"]
        if target.get("averageUtilization") is not None:
            shown = f"{seen['averageUtilization']}%" if seen.get("averageUtilization") is not None else "<unknown>"
            targets.append(f"{source['name']}: {shown}/{target['averageUtilization']}%")
        else:
            targets.append(f"{source['name']}: {seen.get('averageValue', '<unknown>')}/{target.get('averageValue', '')}")
    about = spec["scaleTargetRef"]
    least = str(spec["minReplicas"]) if spec.get("minReplicas") is not None else "<unset>"
    return [
        _name(obj),
        f"{about['kind']}/{about['name']}",
        ", ".join(targets) or _NONE,
        least,
        spec["maxReplicas"],
        status.get("currentReplicas", 0),
        _age(obj, now),
    ]


def _ingress(obj: Obj, now: datetime) -> Row:
    spec = obj["spec"]
    hosts = ",".join(rule["host"] for rule in spec.get("rules") or () if rule.get("host")) or "*"
    found = ((obj.get("status") or {}).get("loadBalancer") or {}).get("ingress") or []
    address = ",".join(one.get("ip") or one.get("hostname", "") for one in found)
    return [_name(obj), spec.get("ingressClassName") or _NONE, hosts, address, "80, 443" if spec.get("tls") else "80", _age(obj, now)]


def _budget(obj: Obj, now: datetime) -> Row:
    spec = obj["spec"]
    return [
        _name(obj),
        str(spec.get("minAvailable", "N/A")),
        str(spec.get("maxUnavailable", "N/A")),
        _count(obj, "disruptionsAllowed"),
        _age(obj, now),
    ]


def _created(obj: Obj, _now: datetime) -> Row:
    return [_name(obj), obj["metadata"].get("creationTimestamp")]


BUILTIN_ROWS: Final[Mapping[str, Callable[[Obj, datetime], Row]]] = {
    "Pod": _pod,
    "Service": _service,
    "ConfigMap": lambda obj, now: [_name(obj), len(obj.get("data") or ()) + len(obj.get("binaryData") or ()), _age(obj, now)],
    "Secret": lambda obj, now: [_name(obj), obj.get("type", ""), len(obj.get("data") or ()), _age(obj, now)],
    "Event": _event,
    "Endpoints": _endpoints,
    "Node": _node,
    "Namespace": lambda obj, now: [_name(obj), (obj.get("status") or {}).get("phase", ""), _age(obj, now)],
    "CustomResourceDefinition": _created,
    "ClusterRole": _created,
    "Role": _created,
    "RoleBinding": _binding,
    "ClusterRoleBinding": _binding,
    "Deployment": _deployment,
    "DaemonSet": _daemon_set,
    "ReplicaSet": _replica_set,
    "StatefulSet": _stateful_set,
    "EndpointSlice": _endpoint_slice,
    "HorizontalPodAutoscaler": _autoscaler,
    "Ingress": _ingress,
    "NetworkPolicy": lambda obj, now: [_name(obj), selector_text(obj["spec"].get("podSelector")) or _NONE, _age(obj, now)],
    "Lease": lambda obj, now: [_name(obj), (obj.get("spec") or {}).get("holderIdentity") or "", _age(obj, now)],
    "PodDisruptionBudget": _budget,
}
