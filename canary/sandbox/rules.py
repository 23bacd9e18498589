"""What the API server refuses in built-in kinds beyond wrong types: required parts, ranges, immutable fields.

A chosen part of the real rules: those that an operator or a hand-written manifest can run into. Rules about volumes, security contexts and
scheduling are left out, since nothing in progressive delivery writes them; an object that only those refuse is accepted here.
"""

import ipaddress
import json
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

from canary.sandbox.definition_rules import definition_violations
from canary.sandbox.names import label_violations
from canary.sandbox.schema_checks import Violation
from canary.sandbox.schema_nodes import show

Obj = Mapping[str, Any]
Found = Iterator[Violation]
_CONFIG_KEY: Final = re.compile(r"[-._a-zA-Z0-9]+\Z")
_CONFIG_KEY_TEXT: Final = (
    "a valid config key must consist of alphanumeric characters, '-', '_' or '.' (e.g. 'key.name',  or 'KEY_NAME',  or 'key-name', "
    "regex used for validation is '[-._a-zA-Z0-9]+')"
)
IMMUTABLE: Final = "field is immutable"


def violations(kind: str, obj: Obj, old: Obj | None) -> list[Violation]:
    """Everything that the rules of `kind` refuse in `obj`; `old` is the state that an update starts from."""
    rule = _RULES.get(kind)
    return list(rule(obj, old)) if rule is not None else []


def compact(value: Any) -> str:
    """A list or an object as messages quote it."""
    return json.dumps(value, separators=(",", ":"))


def _not_negative(value: Any, path: str) -> Found:
    if isinstance(value, int) and value < 0:
        yield Violation(path, f"Invalid value: {value}: must be greater than or equal to 0")


def selector_matches(selector: Mapping[str, Any], labels: Mapping[str, str]) -> bool:
    """Whether a LabelSelector accepts the labels."""
    if any(labels.get(key) != value for key, value in (selector.get("matchLabels") or {}).items()):
        return False
    for one in selector.get("matchExpressions") or ():
        key, operator, values = one.get("key"), one.get("operator"), one.get("values") or []
        present = key in labels
        holds = {
            "In": present and labels.get(key) in values,
            "NotIn": labels.get(key) not in values,
            "Exists": present,
            "DoesNotExist": not present,
        }.get(operator, False)
        if not holds:
            return False
    return True


def _workload(obj: Obj, old: Obj | None) -> Found:
    spec = obj["spec"]
    yield from _not_negative(spec.get("replicas"), "spec.replicas")
    yield from _not_negative(spec.get("minReadySeconds"), "spec.minReadySeconds")
    selector, template = spec.get("selector"), spec.get("template") or {}
    if selector is None:
        yield Violation("spec.selector", "Required value")
        selector = {}
    elif not selector.get("matchLabels") and not selector.get("matchExpressions"):
        yield Violation("spec.selector", "Invalid value: {}: empty selector is invalid for deployment")
    labels = (template.get("metadata") or {}).get("labels") or {}
    if selector and not selector_matches(selector, labels):
        yield Violation("spec.template.metadata.labels", f"Invalid value: {compact(labels)}: `selector` does not match template `labels`")
    yield from label_violations(labels, "spec.template.labels")
    yield from _pod_spec(template.get("spec") or {}, "spec.template.spec")
    policy = (template.get("spec") or {}).get("restartPolicy")
    if policy not in (None, "Always"):
        yield Violation("spec.template.spec.restartPolicy", f'Unsupported value: {show(policy)}: supported values: "Always"')
    if old is not None and old["spec"].get("selector") != selector:
        yield Violation("spec.selector", f"Invalid value: {compact(selector)}: {IMMUTABLE}")


def _deployment(obj: Obj, old: Obj | None) -> Found:
    yield from _workload(obj, old)
    spec = obj["spec"]
    strategy = spec.get("strategy") or {}
    kind, rolling = strategy.get("type"), strategy.get("rollingUpdate")
    if kind not in ("Recreate", "RollingUpdate"):
        yield Violation("spec.strategy.type", f'Unsupported value: {show(kind)}: supported values: "Recreate", "RollingUpdate"')
    elif kind == "Recreate" and rolling is not None:
        yield Violation("spec.strategy.rollingUpdate", "Forbidden: may not be specified when strategy `type` is 'Recreate'")
    elif rolling and rolling.get("maxUnavailable") in (0, "0%") and rolling.get("maxSurge") in (0, "0%"):
        yield Violation("spec.strategy.rollingUpdate.maxUnavailable", "Invalid value: 0: may not be 0 when `maxSurge` is 0")
    deadline, ready = spec.get("progressDeadlineSeconds"), spec.get("minReadySeconds") or 0
    if isinstance(deadline, int) and deadline <= ready:
        yield Violation("spec.progressDeadlineSeconds", f"Invalid value: {deadline}: must be greater than minReadySeconds")


def _pod_spec(spec: Obj, path: str) -> Found:
    containers = spec.get("containers")
    if not containers:
        yield Violation(f"{path}.containers", "Required value")
    names: set[str] = set()
    for group in ("initContainers", "containers"):
        for index, container in enumerate(spec.get(group) or ()):
            yield from _container(container, f"{path}.{group}[{index}]", names)
    volumes: set[str] = {volume.get("name", "") for volume in spec.get("volumes") or ()}
    for group in ("initContainers", "containers"):
        for index, container in enumerate(spec.get(group) or ()):
            for at, mount in enumerate(container.get("volumeMounts") or ()):
                if mount.get("name") not in volumes:
                    yield Violation(f"{path}.{group}[{index}].volumeMounts[{at}].name", f"Not found: {show(mount.get('name'))}")


def _container(container: Obj, path: str, names: set[str]) -> Found:
    name = container.get("name")
    if not name:
        yield Violation(f"{path}.name", "Required value")
    elif name in names:
        yield Violation(f"{path}.name", f"Duplicate value: {show(name)}")
    names.add(name or "")
    if not container.get("image"):
        yield Violation(f"{path}.image", "Required value")
    for index, port in enumerate(container.get("ports") or ()):
        yield from _port_number(port.get("containerPort"), f"{path}.ports[{index}].containerPort")


def _port_number(port: Any, path: str) -> Found:
    if port in (None, 0):
        yield Violation(path, "Required value")
    elif isinstance(port, int) and not 1 <= port <= 65535:
        yield Violation(path, f"Invalid value: {port}: must be between 1 and 65535, inclusive")


def _pod(obj: Obj, old: Obj | None) -> Found:
    yield from _pod_spec(obj["spec"], "spec")
    if old is None:
        return
    changeable = frozenset(
        ("containers", "initContainers", "activeDeadlineSeconds", "terminationGracePeriodSeconds", "tolerations", "nodeName")
    )
    before, after = dict(old["spec"]), dict(obj["spec"])
    for spec in (before, after):
        for group in ("containers", "initContainers"):
            spec[group + "'"] = [{key: value for key, value in one.items() if key != "image"} for one in spec.get(group) or ()]
    if any(before.get(key) != after.get(key) for key in {*before, *after} - changeable):
        text = (
            "pod updates may not change fields other than `spec.containers[*].image`,`spec.initContainers[*].image`,"
            "`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),"
            "`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)"
        )
        yield Violation("spec", f"Forbidden: {text}")


def _service(obj: Obj, old: Obj | None) -> Found:
    spec = obj["spec"]
    kind, ports = spec.get("type"), spec.get("ports") or []
    if kind not in ("ClusterIP", "ExternalName", "LoadBalancer", "NodePort"):
        yield Violation(
            "spec.type", f'Unsupported value: {show(kind)}: supported values: "ClusterIP", "ExternalName", "LoadBalancer", "NodePort"'
        )
    if kind == "ExternalName":
        if not spec.get("externalName"):
            yield Violation("spec.externalName", "Required value")
        return
    if not ports and spec.get("clusterIP") != "None":
        yield Violation("spec.ports", "Required value")
    names: set[str] = set()
    for index, port in enumerate(ports):
        path = f"spec.ports[{index}]"
        if not port.get("name") and len(ports) > 1:
            yield Violation(f"{path}.name", "Required value")
        elif port.get("name") in names and len(ports) > 1:
            yield Violation(f"{path}.name", f"Duplicate value: {show(port['name'])}")
        names.add(port.get("name") or "")
        yield from _port_number(port.get("port"), f"{path}.port")
    yield from label_violations(spec.get("selector") or {}, "spec.selector")
    before = (old or {}).get("spec", {}).get("clusterIP")
    if before and spec.get("clusterIP") != before:
        yield Violation("spec.clusterIPs[0]", f"Invalid value: {compact([spec.get('clusterIP')])}: may not change once set")


def _config_map(obj: Obj, old: Obj | None) -> Found:
    yield from _frozen_data(obj, old, ("data", "binaryData"))
    for part in ("data", "binaryData"):
        for key in obj.get(part) or ():
            if not _CONFIG_KEY.match(key):
                yield Violation(f"{part}[{key}]", f"Invalid value: {show(key)}: {_CONFIG_KEY_TEXT}")
            elif part == "data" and key in (obj.get("binaryData") or {}):
                yield Violation(f"data[{key}]", f"Invalid value: {show(key)}: duplicate of key present in binaryData")


def _secret(obj: Obj, old: Obj | None) -> Found:
    yield from _frozen_data(obj, old, ("data",))
    for key in obj.get("data") or ():
        if not _CONFIG_KEY.match(key):
            yield Violation(f"data[{key}]", f"Invalid value: {show(key)}: {_CONFIG_KEY_TEXT}")
    if old is not None and old.get("type") != obj.get("type"):
        yield Violation("type", f"Invalid value: {show(obj.get('type'))}: {IMMUTABLE}")


def _frozen_data(obj: Obj, old: Obj | None, parts: tuple[str, ...]) -> Found:
    if old is None or not old.get("immutable"):
        return
    if not obj.get("immutable"):
        yield Violation("immutable", "Forbidden: field is immutable when `immutable` is set")
    for part in parts:
        if (obj.get(part) or {}) != (old.get(part) or {}):
            yield Violation(part, "Forbidden: field is immutable when `immutable` is set")


def _autoscaler(obj: Obj, _old: Obj | None) -> Found:
    spec = obj["spec"]
    least, most, target = spec.get("minReplicas"), spec.get("maxReplicas"), spec.get("scaleTargetRef") or {}
    if isinstance(least, int) and least < 1:
        yield Violation("spec.minReplicas", f"Invalid value: {least}: must be greater than or equal to 1")
    if not isinstance(most, int) or most < 1:
        yield Violation("spec.maxReplicas", f"Invalid value: {most or 0}: must be greater than 0")
    if isinstance(least, int) and isinstance(most, int) and most < least:
        yield Violation("spec.maxReplicas", f"Invalid value: {most}: must be greater than or equal to `minReplicas`")
    for key in ("kind", "name"):
        if not target.get(key):
            yield Violation(f"spec.scaleTargetRef.{key}", "Required value")
    if not target.get("apiVersion"):
        yield Violation("spec.scaleTargetRef.apiVersion", 'Invalid value: "": apiVersion must specify API group')


def _ingress(obj: Obj, _old: Obj | None) -> Found:
    spec = obj["spec"]
    if not spec.get("rules") and not spec.get("defaultBackend"):
        yield Violation("spec", "Invalid value: {}: either `defaultBackend` or `rules` must be specified")
    for index, rule in enumerate(spec.get("rules") or ()):
        for at, one in enumerate((rule.get("http") or {}).get("paths") or ()):
            path = f"spec.rules[{index}].http.paths[{at}]"
            if not one.get("pathType"):
                yield Violation(f"{path}.pathType", "Required value: pathType must be specified")
            elif one["pathType"] in ("Exact", "Prefix") and not str(one.get("path") or "").startswith("/"):
                yield Violation(f"{path}.path", f"Invalid value: {show(one.get('path') or '')}: must be an absolute path")
            backend = one.get("backend") or {}
            if "service" in backend and not (backend["service"].get("port") or {}):
                yield Violation(f"{path}.backend", "Required value: port name or number is required")
            elif "service" in backend and not backend["service"].get("name"):
                yield Violation(f"{path}.backend.service.name", "Required value")


def _endpoint_slice(obj: Obj, old: Obj | None) -> Found:
    kind = obj.get("addressType")
    if not kind:
        yield Violation("addressType", "Required value")
    elif kind not in ("IPv4", "IPv6", "FQDN"):
        yield Violation("addressType", f'Unsupported value: {show(kind)}: supported values: "FQDN", "IPv4", "IPv6"')
    elif old is not None and old.get("addressType") != kind:
        yield Violation("addressType", f"Invalid value: {show(kind)}: {IMMUTABLE}")
    for index, endpoint in enumerate(obj.get("endpoints") or ()):
        if not endpoint.get("addresses"):
            yield Violation(f"endpoints[{index}].addresses", "Required value: must contain at least 1 address")
        for at, address in enumerate(endpoint.get("addresses") or ()):
            if kind in ("IPv4", "IPv6") and not _is_address(address, int(kind[-1])):
                yield Violation(f"endpoints[{index}].addresses[{at}]", f"Invalid value: {show(address)}: must be an {kind} address")


def _is_address(text: str, version: int) -> bool:
    try:
        return ipaddress.ip_address(text).version == version
    except ValueError:
        return False


def _event(obj: Obj, _old: Obj | None) -> Found:
    namespace = obj["metadata"].get("namespace")
    involved = obj.get("involvedObject") or {}
    if namespace != (involved.get("namespace") or "default"):
        yield Violation(
            "involvedObject.namespace", f"Invalid value: {show(involved.get('namespace') or '')}: does not match event.namespace"
        )


def _new_event(obj: Obj, old: Obj | None) -> Found:
    """The stricter rules of events.k8s.io; the paths are those of that version."""
    regarding = obj.get("involvedObject") or {}
    if obj["metadata"].get("namespace") != (regarding.get("namespace") or "default"):
        yield Violation(
            "involvedObject.namespace", f"Invalid value: {show(regarding.get('namespace') or '')}: does not match event.namespace"
        )
    if old is not None:
        return
    if not obj.get("eventTime"):
        yield Violation("eventTime", "Required value")
        return
    for path, key in (
        ("reportingController", "reportingComponent"),
        ("reportingInstance", "reportingInstance"),
        ("action", "action"),
        ("reason", "reason"),
    ):
        if not obj.get(key):
            yield Violation(path, "Required value")
    if obj.get("type") not in ("Normal", "Warning"):
        yield Violation("type", f"Invalid value: {show(obj.get('type') or '')}: has invalid value: {obj.get('type') or ''}")
    if len(obj.get("message") or "") > 1024:
        yield Violation("message", "Too long: may not be more than 1024 bytes")


def _role_binding(obj: Obj, old: Obj | None) -> Found:
    reference = obj.get("roleRef") or {}
    if not reference.get("name"):
        yield Violation("roleRef.name", "Required value")
    if reference.get("kind") not in ("Role", "ClusterRole"):
        yield Violation("roleRef.kind", f'Unsupported value: {show(reference.get("kind") or "")}: supported values: "Role", "ClusterRole"')
    if old is not None and old.get("roleRef") != reference:
        yield Violation("roleRef", f"Invalid value: {compact(reference)}: cannot change roleRef")


_RULES: Final[Mapping[str, Callable[[Obj, Obj | None], Found]]] = {
    "Deployment": _deployment,
    "DaemonSet": _workload,
    "ReplicaSet": _workload,
    "StatefulSet": _workload,
    "Pod": _pod,
    "Service": _service,
    "ConfigMap": _config_map,
    "Secret": _secret,
    "HorizontalPodAutoscaler": _autoscaler,
    "Ingress": _ingress,
    "EndpointSlice": _endpoint_slice,
    "Event": _event,
    "Event/events.k8s.io": _new_event,
    "RoleBinding": _role_binding,
    "ClusterRoleBinding": _role_binding,
    "CustomResourceDefinition": definition_violations,
}
