"""Contour: one HTTPProxy named like the apex, without a virtual host; the user's root proxy includes it.

Upstream replaces the whole spec. Here `routes` is ours and every other field (a virtual host, includes, TCP) stays with
whoever wrote it. Each entry of `analysis.match` becomes a route of its own: conditions of one Contour route must all hold,
while the entries are alternatives. Session affinity, header edits, CORS and rewrites are not offered here, as upstream.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from canary.api.matches import AnalysisMatch, HeaderMatch, QueryMatch
from canary.core.errors import Rejected
from canary.core.grouped import GroupKey
from canary.core.model import ALL_TO_PRIMARY, Routes, Unknown
from canary.core.release import Release
from canary.kube.resource import DEPLOYMENTS, HTTP_PROXIES, SERVICES, Object, Resource
from canary.routers import matching, objects, queries, weights
from canary.routers.base import NO_CANARY_RULE, Live, ObjectRef, Wanted

_CLUSTERS: Final = f"({{{{ {queries.TARGET} }}}})-canary_[0-9a-zA-Z-]+"
"""Of many canaries. None is that of two: what follows the name has one underscore, right after `-canary`."""


class ContourRouter:
    """Weights are those of the services of the first route."""

    name: Final = "contour"
    has_weights: Final = True
    builtin_queries: Final = queries.builtin(
        requests="envoy_cluster_upstream_rq",
        buckets="envoy_cluster_upstream_rq_time_bucket",
        selector='envoy_cluster_name=~"{{ namespace }}_{{ service }}-canary_[0-9a-zA-Z-]+"',
        code="envoy_response_code",
    )
    grouped_queries: Final = queries.grouped(
        requests="envoy_cluster_upstream_rq",
        buckets="envoy_cluster_upstream_rq_time_bucket",
        selector=f'envoy_cluster_name=~"{_CLUSTERS}"',
        code="envoy_response_code",
        keys=(GroupKey(queries.TARGET, "{{ namespace }}_{{ service }}"),),
        target=("envoy_cluster_name", _CLUSTERS),
    )
    duration_unit_ms: Final = 1.0
    arm_queries: Final = queries.envoy_arms(queries.CONTOUR_CLUSTER)

    def resources(self) -> tuple[Resource, ...]:
        """HTTPProxies, and what baselines consist of."""
        return (HTTP_PROXIES, SERVICES, DEPLOYMENTS)

    def mirrored_percent(self, release: Release) -> int:  # noqa: ARG002
        """None."""
        return 0

    def can_mirror(self, release: Release) -> bool:  # noqa: ARG002
        """Not offered, as upstream."""
        return False

    def objects(self, release: Release) -> tuple[ObjectRef, ...]:
        """The HTTPProxy, and the baseline that it may name."""
        return (_proxy(release), *objects.baseline_refs(release))

    def read(self, release: Release, live: Live) -> Routes | Unknown | None:
        """Shares of the first route that names the canary."""
        ref = _proxy(release)
        proxy = live.get(ref)
        if proxy is None:
            return None
        for route in (proxy.get("spec") or {}).get("routes") or ():
            by_name = {service["name"]: int(service.get("weight") or 0) for service in route.get("services") or ()}
            if release.apex_canary in by_name:
                return weights.read(release, by_name) or Unknown(
                    NO_CANARY_RULE, f"HTTPProxy {ref.name} gives neither primary nor canary a weight"
                )
        if not objects.taken(release, proxy):
            return None
        return Unknown(NO_CANARY_RULE, f"HTTPProxy {ref.name} has no route to {release.apex_canary}")

    def wanted(self, release: Release, live: Live, routes: Routes) -> Sequence[Wanted]:
        """The HTTPProxy. Raises Rejected for a match that Contour cannot express."""
        ref = _proxy(release)
        body = objects.head(release, HTTP_PROXIES, live=live.get(ref), name=ref.name)
        body["spec"] = {"routes": _routes(release, routes, beside=objects.beside(release, live))}
        if release.options.ingress_class:
            body["spec"]["ingressClassName"] = release.options.ingress_class
        return (objects.exactly(HTTP_PROXIES, body, live.get(ref), "routes"),)

    def finalize(self, release: Release, live: Live) -> Sequence[Wanted]:  # noqa: ARG002
        """An owned proxy is garbage collected, a user's own keeps our routes, as upstream."""
        return ()


def _proxy(release: Release) -> ObjectRef:
    return ObjectRef(HTTP_PROXIES, release.apex)


def _routes(release: Release, routes: Routes, *, beside: bool) -> list[Object]:
    prefix: Object = {"prefix": _prefix(release)}
    match = release.canary.spec.analysis.match
    if not match:
        return [_route(release, [prefix], routes, beside=beside)]
    tests = [_route(release, [prefix, *_conditions(entry, index)], routes, beside=beside) for index, entry in enumerate(match)]
    return [*tests, _route(release, [prefix], ALL_TO_PRIMARY)]


def _route(release: Release, conditions: list[Object], routes: Routes, *, beside: bool = False) -> Object:
    service = objects.service_of(release)
    route: Object = {"conditions": conditions}
    if service.timeout:
        route["timeoutPolicy"] = {"response": service.timeout, "idle": "5m"}
    if service.retries:
        retry: Object = {"count": service.retries.attempts or 0}
        if service.retries.per_try_timeout:
            retry["perTryTimeout"] = service.retries.per_try_timeout
        if service.retries.retry_on:
            retry["retryOn"] = [word.strip() for word in service.retries.retry_on.split(",") if word.strip()]
        route["retryPolicy"] = retry
    route["services"] = [_service(release, name, weight) for name, weight in weights.split(release, routes, beside=beside)]
    return route


def _service(release: Release, name: str, weight: int) -> Object:
    port = objects.service_of(release).port
    # Linkerd behind Contour routes by this header instead of the address.
    override = {"name": "l5d-dst-override", "value": f"{name}.{release.namespace}.svc.cluster.local:{port}"}
    return {"name": name, "port": port, "weight": weight, "requestHeadersPolicy": {"set": [override]}}


def _prefix(release: Release) -> str:
    match = objects.service_of(release).match
    return (match[0].uri.prefix if match and match[0].uri else None) or "/"


def _conditions(entry: AnalysisMatch, index: int) -> list[Object]:
    where = f"spec.analysis.match[{index}]"
    headers = [{"header": {"name": name, **_header(test, f"{where}.headers.{name}")}} for name, test in sorted(entry.headers.items())]
    params = [
        {"queryParameter": {"name": name, **_param(test, f"{where}.queryParams.{name}")}}
        for name, test in sorted(entry.query_params.items())
    ]
    if not headers and not params:
        raise matching.inexpressible(
            "Contour", where, "it names neither a header nor a query parameter, so every request would match", hint="add a header"
        )
    return headers + params


def _header(test: HeaderMatch, where: str) -> Object:
    if test.exact:
        return {"exact": test.exact}
    if test.regex:
        return {"regex": test.regex}
    part = test.prefix or test.suffix  # Contour has no anchored form: upstream's reading, and so ours
    if part:
        return {"contains": part}
    raise _empty(where)


def _param(test: QueryMatch, where: str) -> Object:
    for way, value in (("exact", test.exact), ("regex", test.regex), ("prefix", test.prefix)):
        if value:
            return {way: value}
    raise _empty(where)


def _empty(where: str) -> Rejected:
    return matching.inexpressible("Contour", where, "it has no value to compare with", hint="give it exact, prefix or regex")
