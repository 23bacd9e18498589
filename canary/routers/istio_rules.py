"""Istio: the HTTP and TCP rules of the VirtualService.

Users write `service.match`, `headers`, `corsPolicy` and `retries` in Istio's own words, so they pass through as they are.
Istio matches a whole value by RE2 and has no suffix; a suffix in `analysis.match` becomes the equal regex.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from canary.api.matches import AnalysisMatch, HeaderMatch, QueryMatch
from canary.core.errors import Rejected
from canary.core.model import Routes
from canary.core.release import Release
from canary.kube.resource import Object
from canary.routers import affinity, matching, objects, weights

MESH = "Istio"


def is_tcp(release: Release) -> bool:
    """`service.appProtocol: tcp`, in any case: plain connections, no requests to look into."""
    return (objects.service_of(release).app_protocol or "").lower() == "tcp"


def tcp_rules(release: Release, routes: Routes) -> list[Object]:
    """One rule by weight; of `service.match` only ports mean anything. Raises Rejected for an A/B test."""
    if release.canary.spec.analysis.match:
        raise Rejected(
            "spec.analysis.match cannot be used with spec.service.appProtocol tcp: a connection has no headers",
            hint="remove analysis.match, or route HTTP",
        )
    rule: Object = {}
    if ports := [{"port": match.port} for match in objects.service_of(release).match or () if match.port]:
        rule["match"] = ports
    rule["route"] = _split(release, routes)
    return [rule]


def http_rules(release: Release, routes: Routes) -> list[Object]:
    """Rules for cookie bearers or A/B testers, then everybody else; of those that name the canary the weighted one is last."""
    service = [match.to_dict() for match in objects.service_of(release).match or ()]
    entries = release.canary.spec.analysis.match
    if entries:
        tested = matching.product(
            [_test(entry, index) for index, entry in enumerate(entries)], service, lambda test, other: {**other, **test}
        )
        rules = [
            _rule(release, tested, _split(release, routes)),
            _rule(release, service, [_destination(release, release.apex_primary, 100)]),
        ]
        mirrored = rules[:1]
    else:
        rules = mirrored = _weighted(release, routes, service)
    if routes.mirrored:
        for rule in mirrored:
            rule.update(_mirror(release))
    return rules


def _weighted(release: Release, routes: Routes, service: list[Object]) -> list[Object]:
    sticky = affinity.affinity(release, routes)
    rules: list[Object] = []
    for one in sticky.rules:
        held = _with_cookie(one.pattern, service)
        rule = _rule(release, held, _split(release, Routes(one.primary, one.canary)))
        if one.set_cookie:
            rule["headers"] = _with_set_cookie(rule.get("headers"), one.set_cookie)
        rules.append(rule)
    split = _split(release, routes)
    for destination, cookie in zip(split, sticky.by_destination, strict=False):
        if cookie:
            destination["headers"] = {"response": {"add": {affinity.SET_COOKIE: cookie}}}
    return [*rules, _rule(release, service, split)]


def _rule(release: Release, match: Sequence[Object], route: list[Object]) -> Object:
    service = objects.service_of(release)
    rule: Object = {}
    if match:
        rule["match"] = list(match)
    if service.rewrite and (service.rewrite.uri or service.rewrite.authority):
        edit = {"uri": service.rewrite.uri, "authority": service.rewrite.authority}
        rule["rewrite"] = {key: value for key, value in edit.items() if value}
    if service.timeout:
        rule["timeout"] = service.timeout
    for key, value in (("retries", service.retries), ("corsPolicy", service.cors_policy), ("headers", service.headers)):
        if value is not None:
            rule[key] = value.to_dict()
    rule["route"] = route
    return rule


def _split(release: Release, routes: Routes) -> list[Object]:
    return [_destination(release, host, weight) for host, weight in weights.split(release, routes)]


def _destination(release: Release, host: str, weight: int) -> Object:
    service = objects.service_of(release)
    destination: Object = {"host": host}
    at_gateway = bool(service.gateways) and service.gateways[0] != "mesh"
    if service.port_discovery and (at_gateway or service.delegation):
        # A Service with several ports is ambiguous to a gateway.
        destination["port"] = {"number": service.port}
    return {"destination": destination, "weight": weight}


def _mirror(release: Release) -> Object:
    # The port matters for the same reason, and to the same listeners, as that of a destination.
    mirror: Object = {"mirror": _destination(release, release.apex_canary, 0)["destination"]}
    share = release.canary.spec.analysis.mirror_weight
    if share is not None and share > 0:
        mirror["mirrorPercentage"] = {"value": share}
    return mirror


def copied_percent(release: Release) -> int:
    """How many percent of the requests `mirrorPercentage` copies; all of them without it."""
    return min(100, release.canary.spec.analysis.mirror_weight or 100)


def _with_cookie(pattern: str, service: list[Object]) -> list[Object]:
    cookie = {affinity.COOKIE: {"regex": pattern}}
    return [{**match, "headers": {**match.get("headers", {}), **cookie}} for match in service or [{}]]


def _with_set_cookie(headers: Object | None, cookie: str) -> Object:
    """A copy of the rule's header edits that also answers with this cookie; the rule for everybody else keeps its own."""
    headers = headers or {}
    response: dict[str, Any] = headers.get("response") or {}
    return {**headers, "response": {**response, "add": {**(response.get("add") or {}), affinity.SET_COOKIE: cookie}}}


def _test(entry: AnalysisMatch, index: int) -> Object:
    where = f"spec.analysis.match[{index}]"
    test: Object = {}
    if entry.headers:
        test["headers"] = {name: _compare(way, f"{where}.headers.{name}") for name, way in entry.headers.items()}
    if entry.query_params:
        test["queryParams"] = {name: _compare(way, f"{where}.queryParams.{name}") for name, way in entry.query_params.items()}
    if entry.source_labels:
        test["sourceLabels"] = dict(entry.source_labels)
    if not test:
        raise matching.inexpressible(
            MESH, where, "it is empty, so every request would match", hint="name a header, a query parameter or source labels"
        )
    return test


def _compare(way: HeaderMatch | QueryMatch, where: str) -> Object:
    suffix = getattr(way, "suffix", None)
    regex = f".*{affinity.quote(suffix)}" if suffix else way.regex
    for key, value in (("exact", way.exact), ("prefix", way.prefix), ("regex", regex)):
        if value:
            return {key: value}
    raise matching.inexpressible(MESH, where, "it has no value to compare with", hint="give it exact, prefix, suffix or regex")
