"""Our kinds in somebody's cluster: which are missing or outdated, and installing them for the length of a demo."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from canary.api.crd import KINDS, Kind, crd
from canary.core.errors import NotFound, Rejected
from canary.kube.client import ApiClient
from canary.kube.resource import Object, Resource

DEFINITIONS = Resource("apiextensions.k8s.io", "v1", "customresourcedefinitions", "CustomResourceDefinition", namespaced=False)
_SERVED_WITHIN = 30.0
"""Seconds."""


async def compare(client: ApiClient) -> dict[str, str]:
    """Name of each definition to what is wrong with it in this cluster: `missing`, `outdated: ...`, or nothing. Raises CanaryError."""
    await client.version()  # a server that is not there is another thing than a definition that is not
    return {kind.crd_name: await _problem(client, kind) for kind in KINDS}


async def install(client: ApiClient, names: Iterable[str]) -> None:
    """Create these definitions and wait until they are served. Raises CanaryError."""
    wanted = [crd(kind) for kind in KINDS if kind.crd_name in set(names)]
    for definition in wanted:
        await client.apply(DEFINITIONS, definition)
    try:
        async with asyncio.timeout(_SERVED_WITHIN):
            for definition in wanted:
                while not _established(await client.get(DEFINITIONS, "", definition["metadata"]["name"])):  # noqa: ASYNC110 - asked, not told
                    await asyncio.sleep(0.1)
    except TimeoutError:
        raise Rejected(f"the kinds are not served {_SERVED_WITHIN:g} s after they were installed") from None


def lacking(ours: Any, theirs: Any, path: str = "spec") -> Iterator[str]:
    """Where a definition in a cluster does not hold what ours says; what it holds besides (defaults, a conversion) is fine."""
    if isinstance(ours, Mapping) and isinstance(theirs, Mapping):
        for key, value in ours.items():
            if key in theirs:
                yield from lacking(value, theirs[key], f"{path}.{key}")
            elif value not in ({}, [], "", None, False):
                yield f"{path}.{key} is missing"
    elif isinstance(ours, list) and isinstance(theirs, list) and len(ours) == len(theirs):
        for index, (mine, other) in enumerate(zip(ours, theirs, strict=True)):
            yield from lacking(mine, other, f"{path}[{index}]")
    elif ours != theirs:
        yield f"{path} differs"


async def _problem(client: ApiClient, kind: Kind) -> str:
    try:
        live = await client.get(DEFINITIONS, "", kind.crd_name)
    except NotFound:
        return "missing"
    lacks = next(lacking(crd(kind)["spec"], live["spec"]), "")
    return f"outdated: {lacks}" if lacks else ""


def _established(definition: Object) -> bool:
    conditions = (definition.get("status") or {}).get("conditions") or ()
    return any(one["type"] == "Established" and one["status"] == "True" for one in conditions)
