"""Istio: a VirtualService named like the apex, and DestinationRules for primary, canary and, while it is routed to, the baseline.

`hosts`, `gateways`, `http` and `tcp` of the VirtualService are ours; `exportTo`, `tls` and what else a user's own object has
stay (upstream drops them, reference Q5). Subsets of one host instead of two Services were rejected: metrics, Services and the
other meshes speak of `<apex>-primary` and `<apex>-canary`.

The baseline's DestinationRule is owned by its Service. So the garbage collector takes it once the Service goes, which is after no route names
it: never before its routes, and without a right to delete. To leave it to the next run was rejected: tools that look for mistakes in a mesh
tell of a rule whose host does not exist.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from canary.core.errors import Rejected
from canary.core.grouped import GroupKey
from canary.core.model import Routes, Unknown
from canary.core.release import Release
from canary.kube.resource import DESTINATION_RULES, SERVICES, VIRTUAL_SERVICES, Object, Resource
from canary.routers import istio_original, istio_rules, matching, objects, queries, weights
from canary.routers.base import NO_CANARY_RULE, Live, ObjectRef, Wanted

_COPIES: Final = queries.arms(
    requests="istio_requests_total",
    buckets="istio_request_duration_milliseconds_bucket",
    # of those who answer: who sends a copy keeps no account of it (istio/istio#23496); and by workload, since a copy may name another host
    canary='reporter="destination",destination_workload_namespace="{{ namespace }}",destination_workload="{{ target }}"',
    primary='reporter="destination",destination_workload_namespace="{{ namespace }}",destination_workload="{{ target }}-primary"',
    baseline='reporter="destination",destination_workload_namespace="{{ namespace }}",destination_workload="{{ target }}-baseline"',
    code="response_code",
)


class IstioRouter:
    """Weights are those of the last rule that names the canary."""

    name: Final = "istio"
    has_weights: Final = True
    builtin_queries: Final = queries.builtin(
        requests="istio_requests_total",
        buckets="istio_request_duration_milliseconds_bucket",
        selector=('reporter="destination",destination_workload_namespace="{{ namespace }}",destination_workload=~"{{ target }}"'),
        code="response_code",
    )
    grouped_queries: Final = queries.grouped(
        requests="istio_requests_total",
        buckets="istio_request_duration_milliseconds_bucket",
        selector=(
            'reporter="destination",destination_workload_namespace=~"{{ destination_workload_namespace }}",'
            'destination_workload=~"{{ destination_workload }}"'
        ),
        code="response_code",
        keys=(GroupKey("destination_workload_namespace", "{{ namespace }}"), GroupKey("destination_workload", "{{ target }}")),
    )
    duration_unit_ms: Final = 1.0
    arm_queries: Final = queries.arms(
        requests="istio_requests_total",
        buckets="istio_request_duration_milliseconds_bucket",
        # of those who call, not of those who answer: a pod that is gone reports no errors
        canary='reporter="source",destination_service_namespace="{{ namespace }}",destination_service_name="{{ service }}-canary"',
        primary='reporter="source",destination_service_namespace="{{ namespace }}",destination_service_name="{{ service }}-primary"',
        baseline='reporter="source",destination_service_namespace="{{ namespace }}",destination_service_name="{{ service }}-baseline"',
        code="response_code",
        checks=queries.builtin(
            requests="istio_requests_total",
            buckets="istio_request_duration_milliseconds_bucket",
            selector='reporter="destination",destination_workload_namespace="{{ namespace }}",destination_workload=~"{{ target }}-primary"',
            code="response_code",
        ),
        copies=_COPIES,
    )

    def resources(self) -> tuple[Resource, ...]:
        """VirtualServices, DestinationRules, and the Services of baselines."""
        return (VIRTUAL_SERVICES, DESTINATION_RULES, SERVICES)

    def mirrored_percent(self, release: Release) -> int:
        """`mirrorWeight`; all of them without it."""
        return istio_rules.copied_percent(release)

    def can_mirror(self, release: Release) -> bool:
        """HTTP only; not in an A/B test, which has no phase without canary traffic."""
        return not istio_rules.is_tcp(release) and not matching.is_ab_test(release)

    def objects(self, release: Release) -> tuple[ObjectRef, ...]:
        """VirtualService, then DestinationRules of canary, primary and baseline, and the Service that the last one goes with."""
        rules = (ObjectRef(DESTINATION_RULES, name) for name in (release.apex_canary, release.apex_primary, release.apex_baseline))
        return (_virtual_service(release), *rules, _baseline_service(release))  # sidecars know every Service, routed to or not: no `beside`

    def read(self, release: Release, live: Live) -> Routes | Unknown | None:
        """Shares of the weighted rule."""
        ref = _virtual_service(release)
        service = live.get(ref)
        if service is None:
            return None
        spec: Mapping[str, Any] = service.get("spec") or {}
        rules = spec.get("tcp" if istio_rules.is_tcp(release) else "http") or ()
        found = [rule for rule in rules if release.apex_canary in _weights(rule)]
        if not found:
            message = f"VirtualService {ref.name} has no route to {release.apex_canary}"
            return Unknown(NO_CANARY_RULE, message) if objects.taken(release, service) else None
        mirrored = (found[-1].get("mirror") or {}).get("host") == release.apex_canary
        routes = weights.read(release, _weights(found[-1]), mirrored=mirrored)
        return routes or Unknown(NO_CANARY_RULE, f"VirtualService {ref.name} gives neither primary nor canary a weight")

    def wanted(self, release: Release, live: Live, routes: Routes) -> Sequence[Wanted]:
        """DestinationRules first: a route to a host whose policy is missing would run without it. Raises Rejected."""
        rules = [_destination_rule(release, live, name) for name in (release.apex_canary, release.apex_primary)]
        if routes.baseline:
            rules.append(_baseline_rule(release, live))
        return (*rules, _wanted_service(release, live, routes))

    def finalize(self, release: Release, live: Live) -> Sequence[Wanted]:
        """A user's own VirtualService gets its original spec back, if it is known; our markers go."""
        ref = _virtual_service(release)
        service = live.get(ref)
        if service is None or objects.owned(release, service):
            return ()
        spec = istio_original.original(service)
        if spec is None:
            return ()
        return (Wanted(VIRTUAL_SERVICES, {**VIRTUAL_SERVICES.head(release.namespace, ref.name), "spec": spec}),)


def _virtual_service(release: Release) -> ObjectRef:
    return ObjectRef(VIRTUAL_SERVICES, release.apex)


def _baseline_service(release: Release) -> ObjectRef:
    return ObjectRef(SERVICES, release.apex_baseline)


def _weights(rule: Mapping[str, Any]) -> dict[str, int]:
    route = rule.get("route") or ()
    # A lone destination gets everything, whatever its weight says.
    return {one["destination"]["host"]: int(one.get("weight") or 0) if len(route) > 1 else 100 for one in route}


def _destination_rule(release: Release, live: Live, name: str) -> Wanted:
    found = live.get(ObjectRef(DESTINATION_RULES, name))
    body = objects.head(release, DESTINATION_RULES, live=found, name=name, custom=False)
    body["spec"] = {"host": name}
    policy = objects.service_of(release).traffic_policy
    if policy is not None:
        body["spec"]["trafficPolicy"] = policy.to_dict()
    return objects.exactly(DESTINATION_RULES, body, found, "host", "trafficPolicy")


def _baseline_rule(release: Release, live: Live) -> Wanted:
    """Raises Rejected when somebody else has one of that name."""
    name = release.apex_baseline
    found, service = live.get(ObjectRef(DESTINATION_RULES, name)), live.get(_baseline_service(release))
    wanted = _destination_rule(release, live, name)
    if release.options.separate_mesh_cluster:
        return wanted  # nothing tells whose it is, and nobody collects it: as it is with the other two
    if found is not None:
        # As it is, even of a Service that was made again since: the collector is about to take it, and the next tick makes it anew.
        ours = [
            dict(ref)
            for ref in objects.owners(found)
            if (ref.get("kind"), ref.get("name")) in {("Service", name), ("Canary", release.name)}
        ]
        if not ours:
            raise Rejected(
                f"DestinationRule {release.namespace}/{name} exists already and is not ours, while analysis.baseline: fresh needs that name",
                hint="delete or rename it, or leave analysis.baseline out",
            )
        wanted.body["metadata"]["ownerReferences"] = ours
    elif service is not None and objects.owned(release, service):
        owner = {"apiVersion": "v1", "kind": "Service", "name": name, "uid": service["metadata"]["uid"]}
        wanted.body["metadata"]["ownerReferences"] = [owner]
    return wanted


def _wanted_service(release: Release, live: Live, routes: Routes) -> Wanted:
    ref = _virtual_service(release)
    found = live.get(ref)
    body = objects.head(release, VIRTUAL_SERVICES, live=found, name=ref.name)
    body["metadata"]["annotations"] |= istio_original.remember(release, found)
    spec: Object = _binding(release)
    if istio_rules.is_tcp(release):
        spec["tcp"] = istio_rules.tcp_rules(release, routes)
    else:
        spec["http"] = istio_rules.http_rules(release, routes)
    body["spec"] = spec
    return objects.exactly(VIRTUAL_SERVICES, body, found, "hosts", "gateways", "http", "tcp")


def _binding(release: Release) -> Object:
    """Hosts and gateways; a delegate must have neither."""
    service = objects.service_of(release)
    hosts, gateways = service.hosts or (), service.gateways or ()
    if service.delegation:
        if hosts or gateways:
            raise Rejected(
                "spec.service.delegation excludes spec.service.hosts and spec.service.gateways",
                hint="leave hosts and gateways to the VirtualService that delegates to this one",
            )
        return {}
    listed = release.apex in hosts or "*" in hosts
    return {"hosts": [*hosts, *(() if listed else (release.apex,))], "gateways": list(gateways) or ["mesh"]}
