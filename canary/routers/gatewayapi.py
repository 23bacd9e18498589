"""Gateway API v1: one HTTPRoute named like the apex, bound to `service.gatewayRefs` (Gateways, or Services for a mesh).

Rules in order: bearers of a session cookie, requests that `analysis.match` names, and everybody else. Ours are
`parentRefs`, `hostnames` and `rules`; other fields of a route that was taken over stay. Mirroring works in every strategy
that moves traffic by weight, not in blue/green only: upstream waits for ever in the others (reference Q6).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from canary.api.service import GatewayRef
from canary.core.errors import Rejected
from canary.core.model import Routes, Unknown
from canary.core.release import Release
from canary.kube.resource import DEPLOYMENTS, HTTP_ROUTES, SERVICES, Object, Resource
from canary.routers import affinity, gatewayapi_filters, gatewayapi_matches, gatewayapi_status, matching, objects, queries, weights
from canary.routers.base import NO_CANARY_RULE, NOT_ACCEPTED, Live, ObjectRef, Wanted


class GatewayApiRouter:
    """Weights are those of the last rule that names the canary."""

    name: Final = "gatewayapi:v1"
    has_weights: Final = True
    builtin_queries: Final = queries.HTTP
    grouped_queries: Final = queries.HTTP_GROUPED
    duration_unit_ms: Final = 1000.0
    arm_queries: Final = queries.envoy_arms(queries.CONTOUR_CLUSTER, queries.ISTIO_CLUSTER, checks=queries.HTTP_PRIMARY)

    def resources(self) -> tuple[Resource, ...]:
        """HTTPRoutes, and what baselines consist of."""
        return (HTTP_ROUTES, SERVICES, DEPLOYMENTS)

    def mirrored_percent(self, release: Release) -> int:  # noqa: ARG002
        """All of them: `mirrorWeight` has no place in the filter, as upstream."""
        return 100

    def can_mirror(self, release: Release) -> bool:
        """By a RequestMirror filter, except in an A/B test, which has no phase without canary traffic."""
        return not matching.is_ab_test(release)

    def objects(self, release: Release) -> tuple[ObjectRef, ...]:
        """The HTTPRoute, and the baseline that it may name."""
        return (_route(release), *objects.baseline_refs(release))

    def read(self, release: Release, live: Live) -> Routes | Unknown | None:
        """Shares of the weighted rule, once all parents that report have accepted the newest spec."""
        ref = _route(release)
        route = live.get(ref)
        if route is None:
            return None
        rules = [rule for rule in (route.get("spec") or {}).get("rules") or () if release.apex_canary in _weights(rule)]
        if not rules:
            message = f"HTTPRoute {ref.name} has no rule with {release.apex_canary}"
            return Unknown(NO_CANARY_RULE, message) if objects.taken(release, route) else None
        if why := gatewayapi_status.problem(route, _parents(release)):
            return Unknown(NOT_ACCEPTED, why)
        routes = weights.read(release, _weights(rules[-1]), mirrored=_mirrors(rules[-1], release.apex_canary))
        return routes or Unknown(NO_CANARY_RULE, f"HTTPRoute {ref.name} gives neither primary nor canary a weight")

    def wanted(self, release: Release, live: Live, routes: Routes) -> Sequence[Wanted]:
        """The HTTPRoute. Raises Rejected for what the Gateway API cannot express, or without gatewayRefs."""
        ref = _route(release)
        service, parents = objects.service_of(release), _parents(release)
        if not parents:
            raise Rejected(
                "spec.service.gatewayRefs is empty, which provider gatewayapi:v1 needs",
                hint="name the Gateway (or, for a mesh, the Service) that the HTTPRoute belongs to, or run with --default-gateway",
            )
        body = objects.head(release, HTTP_ROUTES, live=live.get(ref), name=ref.name)
        body["spec"] = {"parentRefs": parents, "rules": _rules(release, routes, beside=objects.beside(release, live))}
        if service.hosts:
            body["spec"]["hostnames"] = list(service.hosts)
        return (objects.exactly(HTTP_ROUTES, body, live.get(ref), "parentRefs", "hostnames", "rules"),)

    def finalize(self, release: Release, live: Live) -> Sequence[Wanted]:  # noqa: ARG002
        """An owned route is garbage collected, a user's own keeps our rules, as upstream."""
        return ()


def _weights(rule: Mapping[str, Any]) -> dict[str, int]:
    # A weight that is left out is 1 in this API, not 0.
    return {ref["name"]: int(ref.get("weight", 1)) for ref in rule.get("backendRefs") or ()}


def _mirrors(rule: Mapping[str, Any], name: str) -> bool:
    return any(((one.get("requestMirror") or {}).get("backendRef") or {}).get("name") == name for one in rule.get("filters") or ())


def _parents(release: Release) -> list[Object]:
    """What the Canary names, or else the operator's default Gateway."""
    refs = objects.service_of(release).gateway_refs
    namespace, _, name = release.options.default_gateway.rpartition("/")
    if not refs and name:
        return [_parent(GatewayRef(name=name, namespace=namespace))]
    return [_parent(ref) for ref in refs]


def _parent(ref: GatewayRef) -> Object:
    body: Object = {"group": ref.group, "kind": ref.kind, "name": ref.name}
    if ref.namespace:
        body["namespace"] = ref.namespace
    if ref.section_name:
        body["sectionName"] = ref.section_name
    if ref.port:
        body["port"] = ref.port
    return body


def _route(release: Release) -> ObjectRef:
    return ObjectRef(HTTP_ROUTES, release.apex)


def _rules(release: Release, routes: Routes, *, beside: bool) -> list[Object]:
    service = objects.service_of(release)
    matches = gatewayapi_matches.service_matches(service.match)
    common = gatewayapi_filters.filters(service)
    mirrored = [*common, gatewayapi_filters.mirror(_ref(release, release.apex_canary))] if routes.mirrored else common
    if release.canary.spec.analysis.match:
        tested = gatewayapi_matches.canary_matches(release.canary.spec.analysis.match, matches)
        both = _backends(release, routes, beside=beside)
        primary = [{**_ref(release, release.apex_primary), "weight": 100}]
        rules = [_rule(release, tested, mirrored, both), _rule(release, matches, common, primary)]
    else:
        rules = _weighted(release, routes, (matches, mirrored), beside=beside)
    for rule in rules:
        _check_prefix_rewrite(rule)
    return rules


def _weighted(release: Release, routes: Routes, common: tuple[list[Object], list[Object]], *, beside: bool) -> list[Object]:
    """Rules for bearers of session cookies, and the rule that splits by weight (last: `read` relies on it). `common`: matches and filters."""
    matches, filters = common
    sticky = affinity.affinity(release, routes)
    rules: list[Object] = []
    for one in sticky.rules:
        edited = gatewayapi_filters.with_set_cookie(filters, one.set_cookie) if one.set_cookie else filters
        held = gatewayapi_matches.cookie_matches(one.pattern, matches)
        rules.append(_rule(release, held, edited, _backends(release, Routes(one.primary, one.canary))))
    backends = _backends(release, routes, beside=beside)
    for backend, cookie in zip(backends, sticky.by_destination, strict=False):
        if cookie:
            backend["filters"] = [gatewayapi_filters.set_cookie(cookie)]
    return [*rules, _rule(release, matches, filters, backends)]


def _rule(release: Release, matches: list[Object], filters: list[Object], backends: list[Object]) -> Object:
    rule: Object = {"matches": matches, "backendRefs": backends}
    if filters:
        rule["filters"] = filters
    if limits := gatewayapi_filters.timeouts(objects.service_of(release)):
        rule["timeouts"] = limits
    return rule


def _backends(release: Release, routes: Routes, *, beside: bool = False) -> list[Object]:
    return [{**_ref(release, name), "weight": weight} for name, weight in weights.split(release, routes, beside=beside)]


def _ref(release: Release, name: str) -> Object:
    return {"group": "", "kind": "Service", "name": name, "port": objects.service_of(release).port}


def _check_prefix_rewrite(rule: Object) -> None:
    """The API server refuses a prefix rewrite unless the rule has one match, by prefix; say so before, in the user's words."""
    rewrites = [one["urlRewrite"].get("path") or {} for one in rule.get("filters", ()) if one["type"] == "URLRewrite"]
    if not any(path.get("type") == "ReplacePrefixMatch" for path in rewrites):
        return
    if len(rule["matches"]) != 1 or rule["matches"][0]["path"]["type"] != "PathPrefix":
        raise Rejected(
            "spec.service.rewrite.type ReplacePrefixMatch needs exactly one request match, and that one by uri.prefix",
            hint="leave one entry with uri.prefix in service.match (and at most one in analysis.match), or use ReplaceFullPath",
        )
