"""Gateway API: what is done to requests and answers on their way (filters and time limits).

The order of the filters is upstream's. Header lists are sorted and the server's defaults written out, so that nothing differs
from what is stored. CORS origins given as prefix or regex are left out, as upstream: the Gateway API has literals only.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from canary.api.common import parse_duration
from canary.api.service import MirrorBackend, Service
from canary.api.traffic import CorsPolicy, HeaderEdit, Rewrite
from canary.core.errors import Rejected
from canary.kube.resource import Object
from canary.routers import affinity

DEFAULT_CORS_AGE = 5
"""Seconds; what the API server writes when `maxAge` is left out."""
_GATEWAY_DURATION = re.compile(r"([0-9]{1,5}(h|m|s|ms)){1,4}")
_UNITS = (("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1))


def filters(service: Service) -> list[Object]:
    """What `spec.service` asks for, in order. Raises Rejected."""
    found: list[Object] = []
    if service.headers:
        found += _modifier("RequestHeaderModifier", "requestHeaderModifier", service.headers.request)
        found += _modifier("ResponseHeaderModifier", "responseHeaderModifier", service.headers.response)
    if service.rewrite:
        found += _rewrite(service.rewrite)
    found += [mirror(_backend(one.backend_ref)) for one in service.mirror or () if one.backend_ref]
    if service.cors_policy:
        found.append(_cors(service.cors_policy))
    return found


def timeouts(service: Service) -> Object:
    """`timeouts` of a rule, empty for none. Raises Rejected for a text that is no duration."""
    wish = {"request": (service.timeout, "timeout"), "backendRequest": (service.backend_timeout, "backendTimeout")}
    return {key: duration(text, f"spec.service.{field}") for key, (text, field) in wish.items() if text}


def mirror(backend: Object) -> Object:
    """A filter that sends a copy of each request to `backend`."""
    return {"type": "RequestMirror", "requestMirror": {"backendRef": backend}}


def set_cookie(cookie: str) -> Object:
    """A filter that adds a Set-Cookie header to the answer."""
    return {"type": "ResponseHeaderModifier", "responseHeaderModifier": {"add": [{"name": affinity.SET_COOKIE, "value": cookie}]}}


def with_set_cookie(existing: Iterable[Object], cookie: str) -> list[Object]:
    """`existing` and a Set-Cookie header; a rule may hold one filter of a kind, so an edit of the answer's headers is extended."""
    addition = set_cookie(cookie)
    result = list(existing)
    for index, one in enumerate(result):
        edit = one.get("responseHeaderModifier")
        if edit is None:
            continue
        added = [*edit.get("add", ()), *addition["responseHeaderModifier"]["add"]]
        if len({pair["name"] for pair in added}) < len(added):
            raise Rejected(
                f"spec.service.headers.response.add.{affinity.SET_COOKIE} collides with spec.analysis.sessionAffinity",
                hint="a Gateway API rule can add one Set-Cookie header only; drop one of the two",
            )
        result[index] = {**one, "responseHeaderModifier": {**edit, "add": sorted(added, key=lambda pair: str(pair["name"]))}}
        return result
    return [*result, addition]


def duration(text: str, where: str) -> str:
    """A duration as the Gateway API spells it (GEP-2257: whole numbers of h, m, s, ms), from any Go duration text.

    Raises Rejected for a text that is none, is negative, or is finer than a millisecond.
    """
    if _GATEWAY_DURATION.fullmatch(text):
        return text
    try:
        left = round(parse_duration(text) * 1_000_000)
    except ValueError as error:
        raise Rejected(f"{where}: {error}") from error
    if left < 0 or left % 1000:
        raise Rejected(f"{where}: {text!r} is not a whole, positive number of milliseconds", hint="write it like 1m30s or 500ms")
    left //= 1000
    parts: list[str] = []
    for unit, size in _UNITS:
        count, left = divmod(left, size)
        if count:
            parts.append(f"{count}{unit}")
    return "".join(parts) or "0s"


def _modifier(kind: str, key: str, edit: HeaderEdit | None) -> list[Object]:
    body: Object = {}
    if edit and edit.add:
        body["add"] = _headers(edit.add)
    if edit and edit.set:
        body["set"] = _headers(edit.set)
    if edit and edit.remove:
        body["remove"] = list(dict.fromkeys(edit.remove))
    return [{"type": kind, key: body}] if body else []


def _headers(values: Mapping[str, str]) -> list[Object]:
    return [{"name": name, "value": value} for name, value in sorted(values.items())]


def _rewrite(rewrite: Rewrite) -> list[Object]:
    body: Object = {}
    if rewrite.authority:
        body["hostname"] = rewrite.authority
    if rewrite.uri:
        if rewrite.type == "ReplacePrefixMatch":
            body["path"] = {"type": "ReplacePrefixMatch", "replacePrefixMatch": rewrite.uri}
        else:
            body["path"] = {"type": "ReplaceFullPath", "replaceFullPath": rewrite.uri}
    return [{"type": "URLRewrite", "urlRewrite": body}] if body else []


def _backend(ref: MirrorBackend) -> Object:
    body: Object = {"group": ref.group, "kind": ref.kind, "name": ref.name}
    if ref.namespace:
        body["namespace"] = ref.namespace
    if ref.port:
        body["port"] = ref.port
    return body


def _cors(policy: CorsPolicy) -> Object:
    literal = [origin.exact for origin in policy.allow_origins or () if origin.exact]
    body: Object = {}
    for key, values in (
        ("allowOrigins", [*(policy.allow_origin or ()), *literal]),
        ("allowMethods", policy.allow_methods or ()),
        ("allowHeaders", policy.allow_headers or ()),
        ("exposeHeaders", policy.expose_headers or ()),
    ):
        if values:
            body[key] = list(dict.fromkeys(values))
    if policy.allow_credentials:
        body["allowCredentials"] = True
    body["maxAge"] = _cors_age(policy.max_age) if policy.max_age else DEFAULT_CORS_AGE
    return {"type": "CORS", "cors": body}


def _cors_age(text: str) -> int:
    try:
        age = int(parse_duration(text))
    except ValueError as error:
        raise Rejected(f"spec.service.corsPolicy.maxAge: {error}") from error
    if age < 1:
        raise Rejected(
            f"spec.service.corsPolicy.maxAge: {text!r} is less than a second", hint="the Gateway API takes whole seconds, at least 1s"
        )
    return age
