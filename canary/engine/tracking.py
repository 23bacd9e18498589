"""The cluster as one tick sees it: it remembers what the tick read, and announces what it writes.

What was read decides what wakes this canary next; the echo of its own writes must not (the tick that wrote it knows). Both
facts come from here instead of from a table of kinds that every plug-in would have to keep in step.
"""

from __future__ import annotations

from collections.abc import Awaitable, Iterable, Mapping

from canary.engine.echoes import Echoes
from canary.engine.registry import Ref
from canary.engine.scheduler import Key
from canary.kube.cluster import Cluster, Ops
from canary.kube.resource import Object, Resource


class TrackingCluster:
    """A `Cluster` for one tick of the canary `key`, that keeps `refs` (what was looked at) and tells `echoes` of every write.

    Without `echoes` nobody is told: then there is no watch that would wake anything.
    """

    def __init__(self, cluster: Cluster, echoes: Echoes | None = None, key: Key = ("", "")) -> None:
        self._cluster = cluster
        self._echoes = echoes or Echoes()
        self._key = key
        self.refs: set[Ref] = set()

    async def watch(self, *resources: Resource) -> None:
        await self._cluster.watch(*resources)

    def get(self, resource: Resource, namespace: str, name: str) -> Object | None:
        self.refs.add((resource, namespace, name))
        return self._cluster.get(resource, namespace, name)

    def list(self, resource: Resource, namespace: str | None = None) -> Iterable[Object]:
        return self._cluster.list(resource, namespace)

    async def read(self, resource: Resource, namespace: str, name: str, *, params: Mapping[str, str] | None = None) -> Object:
        return await self._cluster.read(resource, namespace, name, params=params)

    async def create(self, resource: Resource, body: Object) -> Object:
        return await self._write(_ref(resource, body), self._cluster.create(resource, body))

    async def apply(self, resource: Resource, body: Object, *, force: bool = True) -> Object:
        return await self._write(_ref(resource, body), self._cluster.apply(resource, body, force=force))

    async def merge(self, resource: Resource, namespace: str, name: str, patch: Object, *, subresource: str = "") -> Object:
        write = self._cluster.merge(resource, namespace, name, patch, subresource=subresource)
        return await self._write((resource, namespace, name), write)

    async def json_patch(self, resource: Resource, namespace: str, name: str, ops: Ops) -> Object:
        return await self._write((resource, namespace, name), self._cluster.json_patch(resource, namespace, name, ops))

    async def delete(self, resource: Resource, namespace: str, name: str, *, uid: str = "") -> None:
        await self._cluster.delete(resource, namespace, name, uid=uid)

    async def _write(self, ref: Ref, write: Awaitable[Object]) -> Object:
        with self._echoes.writing(self._key, ref) as flight:
            answer = await write
            flight.version = answer["metadata"].get("resourceVersion", "")
        return answer


def _ref(resource: Resource, body: Object) -> Ref:
    meta = body["metadata"]
    return resource, meta.get("namespace", ""), meta.get("name", "")
