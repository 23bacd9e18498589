"""What the plug-ins are handed: reads from the watch cache, writes to the API server.

One small protocol instead of the client itself, so that a plug-in's test needs no server and no plug-in can open a
connection of its own. Reads never cost a request once a resource is watched; every write's answer is put into the cache
at once, so that the next tick sees what this one did even when the watch lags.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Protocol

from canary.kube.resource import Object, Resource

FIELD_MANAGER = "canary"

Ops = list[Object]
"""Operations of an RFC 6902 patch. A name of its own, because inside the protocol `list` is a method."""


class Cluster(Protocol):
    """Reads are synchronous and come from the cache; writes are requests.

    Writes raise the errors of `canary.core.errors`: Conflict (409), NotFound (404), Forbidden (401/403), Rejected
    (other 4xx: the server's message is kept), Retryable (5xx, 429, network, time-out).
    """

    async def watch(self, *resources: Resource) -> None:
        """Start watching (idempotent) and return when the first list is in. NotFound: the CRD is not installed."""
        ...

    def get(self, resource: Resource, namespace: str, name: str) -> Object | None:
        """The cached object, None when it does not exist. Treat it as frozen: copy before changing. KeyError if not watched."""
        ...

    def list(self, resource: Resource, namespace: str | None = None) -> Iterable[Object]:
        """All cached objects of a namespace, or of the watch scope."""
        ...

    async def read(self, resource: Resource, namespace: str, name: str, *, params: Mapping[str, str] | None = None) -> Object:
        """A GET past the cache, with `params` in its query (aggregated APIs take some). Raises NotFound."""
        ...

    async def create(self, resource: Resource, body: Object) -> Object:
        """POST. Conflict when it exists already."""
        ...

    async def apply(self, resource: Resource, body: Object, *, force: bool = True) -> Object:
        """Server-side apply as field manager `canary`: we own exactly the fields in `body`."""
        ...

    async def merge(self, resource: Resource, namespace: str, name: str, patch: Object, *, subresource: str = "") -> Object:
        """JSON merge patch. Put `metadata.resourceVersion` in the patch to make it conditional."""
        ...

    async def json_patch(self, resource: Resource, namespace: str, name: str, ops: Ops) -> Object:
        """RFC 6902 patch; a `test` on /metadata/resourceVersion makes it conditional (its failure raises Conflict)."""
        ...

    async def delete(self, resource: Resource, namespace: str, name: str, *, uid: str = "") -> None:
        """DELETE; NotFound is not an error."""
        ...
