"""Gateway API: requests by path, method, headers and query parameters.

The API server fills in a missing path and missing match types. They are written here, sorted by name, so that what we want
equals what is stored (reference Q4: upstream resets the weights over such differences). Keys that the Gateway API has no
words for (scheme, authority, ports, source labels) are ignored next to others, as upstream; where nothing would be left of
an entry of `analysis.match` it is refused, because the canary would then get everybody.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from canary.api.matches import AnalysisMatch, HeaderMatch, QueryMatch
from canary.api.traffic import HttpMatch, StringMatch
from canary.kube.resource import Object
from canary.routers import affinity, matching

MESH = "the Gateway API"
_ANY_PATH = {"type": "PathPrefix", "value": "/"}


def service_matches(entries: Sequence[HttpMatch] | None) -> list[Object]:
    """`service.match` as HTTPRoute matches; never empty. Raises Rejected."""
    found = [_service_match(entry, f"spec.service.match[{index}]") for index, entry in enumerate(entries or ())]
    return [match for match in found if match] or [{"path": dict(_ANY_PATH)}]


def canary_matches(analysis: Sequence[AnalysisMatch], service: Sequence[Object]) -> list[Object]:
    """The product of `analysis.match` and the service's matches. Raises Rejected."""
    tests = [_analysis_match(entry, f"spec.analysis.match[{index}]") for index, entry in enumerate(analysis)]
    return matching.product(tests, service, lambda test, other: {**other, **test})


def cookie_matches(pattern: str, service: Sequence[Object]) -> list[Object]:
    """The service's matches, for bearers of the cookie only."""
    cookie = {"type": "RegularExpression", "name": affinity.COOKIE, "value": pattern}
    return [{**match, "headers": sorted([*match.get("headers", ()), cookie], key=_name)} for match in service]


def _service_match(entry: HttpMatch, where: str) -> Object:
    match: Object = {}
    if entry.uri:
        match["path"] = _path(entry.uri, f"{where}.uri")
    if entry.method:
        if not entry.method.exact:
            raise matching.inexpressible(
                MESH, f"{where}.method", "a method is compared exactly", hint="use method.exact, one entry per method"
            )
        match["method"] = entry.method.exact
    if entry.headers:
        match["headers"] = _pairs(entry.headers, f"{where}.headers")
    if entry.query_params:
        match["queryParams"] = _pairs(entry.query_params, f"{where}.queryParams")
    if match:
        match.setdefault("path", dict(_ANY_PATH))
    return match


def _analysis_match(entry: AnalysisMatch, where: str) -> Object:
    match: Object = {}
    if entry.headers:
        match["headers"] = _pairs(entry.headers, f"{where}.headers")
    if entry.query_params:
        match["queryParams"] = _pairs(entry.query_params, f"{where}.queryParams")
    if not match:
        raise matching.inexpressible(
            MESH, where, "it names neither a header nor a query parameter, so every request would match", hint="add a header"
        )
    return match


def _path(uri: StringMatch, where: str) -> Object:
    for kind, value in (("RegularExpression", uri.regex), ("Exact", uri.exact), ("PathPrefix", uri.prefix)):
        if value:
            return {"type": kind, "value": value}
    raise matching.inexpressible(MESH, where, "it has no value to compare with", hint="give it exact, prefix or regex")


def _pairs(tests: Mapping[str, StringMatch | HeaderMatch | QueryMatch], where: str) -> list[Object]:
    return [_pair(name, test, f"{where}.{name}") for name, test in sorted(tests.items())]


def _pair(name: str, test: StringMatch | HeaderMatch | QueryMatch, where: str) -> Object:
    if test.exact:
        return {"type": "Exact", "name": name, "value": test.exact}
    if test.regex:
        return {"type": "RegularExpression", "name": name, "value": test.regex}
    suffix = getattr(test, "suffix", None)
    if test.prefix:
        hint = f"use regex: {affinity.quote(test.prefix)}.*"
    elif suffix:
        hint = f"use regex: .*{affinity.quote(suffix)}"
    else:
        hint = "give it exact or regex"
    raise matching.inexpressible(MESH, where, "only exact and regex can be compared", hint=hint)


def _name(pair: Object) -> str:
    return str(pair["name"])
