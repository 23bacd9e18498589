"""From a provider's name to its router, through the entry points of group `canary.routers`.

A newcomer's mesh is found without a change here. Modules are imported when a canary first asks for them. Upstream takes any
unknown name for Istio, and a typo then waits for VirtualServices for ever; here an unknown name is an error that lists the
known ones.
"""

from __future__ import annotations

from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import Final, cast

from canary.core.errors import Rejected
from canary.routers.base import Router

GROUP: Final = "canary.routers"

_INSTEAD: Final = {
    "gatewayapi": "write gatewayapi:v1; it manages the same HTTPRoutes",
    "linkerd": "Linkerd 2.12 and newer follow the Gateway API: use gatewayapi:v1 with a Service in service.gatewayRefs",
    "kuma": "Kuma follows the Gateway API: use gatewayapi:v1",
}
_UPSTREAM: Final = frozenset(
    {"apisix", "appmesh", "crossover", "gatewayapi", "gloo", "knative", "kuma", "linkerd", "nginx", "osm", "skipper", "smi", "traefik"}
)
"""Families that Flagger knows, by the part of the name before a colon."""


@cache
def providers() -> tuple[str, ...]:
    """Names of all installed routers, sorted."""
    return tuple(sorted(_installed()))


@cache
def router(provider: str) -> Router:
    """The router of `provider` (`spec.provider`, or the operator's flag), made once.

    Raises Rejected for a name that is not installed, saying which are.
    """
    found = _installed().get(provider)
    if found is None:
        raise _unknown(provider)
    return cast("Router", found.load()())


@cache
def _installed() -> dict[str, EntryPoint]:
    return {point.name: point for point in entry_points(group=GROUP)}


def _unknown(provider: str) -> Rejected:
    family = provider.partition(":")[0]
    supported = "supported are " + ", ".join(providers())
    if family in _UPSTREAM:
        instead = _INSTEAD.get(family)
        return Rejected(f"provider {provider!r} is not supported yet", hint=f"{supported}; {instead}" if instead else supported)
    return Rejected(f"unknown provider {provider!r}", hint=supported)
