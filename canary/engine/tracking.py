"""The cluster as one tick sees it: it remembers what the tick read, and which writes were its own.

What was read decides what wakes this canary next; what was written by ourselves must not wake it (the tick that wrote it
knows). Both facts come from here instead of from a table of kinds that every plug-in would have to keep in step.
"""

from __future__ import annotations

from collections.abc import Iterable

from canary.engine.registry import Ref
from canary.kube.cluster import Cluster, Ops
from canary.kube.resource import Object, Resource


class TrackingCluster:
    """A `Cluster` that keeps `refs` (what was looked at) and `written` (ref to resourceVersion of our own last write)."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self.refs: set[Ref] = set()
        self.written: dict[Ref, str] = {}

    async def watch(self, *resources: Resource) -> None:
        await self._cluster.watch(*resources)

    def get(self, resource: Resource, namespace: str, name: str) -> Object | None:
        self.refs.add((resource, namespace, name))
        return self._cluster.get(resource, namespace, name)

    def list(self, resource: Resource, namespace: str | None = None) -> Iterable[Object]:
        return self._cluster.list(resource, namespace)

    async def read(self, resource: Resource, namespace: str, name: str) -> Object:
        return await self._cluster.read(resource, namespace, name)

    async def create(self, resource: Resource, body: Object) -> Object:
        return self._wrote(resource, await self._cluster.create(resource, body))

    async def apply(self, resource: Resource, body: Object, *, force: bool = True) -> Object:
        return self._wrote(resource, await self._cluster.apply(resource, body, force=force))

    async def merge(self, resource: Resource, namespace: str, name: str, patch: Object, *, subresource: str = "") -> Object:
        return self._wrote(resource, await self._cluster.merge(resource, namespace, name, patch, subresource=subresource))

    async def json_patch(self, resource: Resource, namespace: str, name: str, ops: Ops) -> Object:
        return self._wrote(resource, await self._cluster.json_patch(resource, namespace, name, ops))

    async def delete(self, resource: Resource, namespace: str, name: str, *, uid: str = "") -> None:
        await self._cluster.delete(resource, namespace, name, uid=uid)

    def _wrote(self, resource: Resource, answer: Object) -> Object:
        meta = answer["metadata"]
        self.written[resource, meta.get("namespace", ""), meta["name"]] = meta.get("resourceVersion", "")
        return answer
