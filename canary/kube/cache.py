"""The `Cluster` of the running operator: reads from watches, writes through the client, one view of both.

A watch starts when somebody first needs the kind, so a fleet of Deployments behind Contour never lists Istio's objects.
ConfigMaps and Secrets are watched by metadata only: their versions say when to look, and no secret sits in our memory.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping

from canary.core.errors import NotFound, Rejected
from canary.kube.backoff import Backoff
from canary.kube.client import ApiClient
from canary.kube.cluster import Ops
from canary.kube.reflector import Reflector
from canary.kube.resource import METADATA_ONLY, Object, Resource
from canary.kube.store import Store, Tell

log = logging.getLogger(__name__)


class WatchedCluster:
    """Implements `canary.kube.cluster.Cluster`. `namespace`: the only one watched, empty for all. `close` it before the client."""

    def __init__(
        self,
        client: ApiClient,
        *,
        namespace: str = "",
        metadata_only: frozenset[Resource] = METADATA_ONLY,
        page_size: int = 250,
        backoff: Callable[[], Backoff] = Backoff,
    ) -> None:
        self.client = client
        self.namespace = namespace
        self._metadata_only = metadata_only
        self._page_size = page_size
        self._backoff = backoff
        self._reflectors: dict[Resource, Reflector] = {}
        self._subscribers: list[Tell] = []

    async def close(self) -> None:
        """Stop all watches."""
        await asyncio.gather(*(reflector.close() for reflector in self._reflectors.values()))

    def on_change(self, callback: Tell) -> Callable[[], None]:
        """Have `callback(resource, type, object, old)` called for every change that a watch reports; returns how to stop.

        It runs inside the watch's task: it must be quick. Our own writes are reported too, when the watch brings them.
        """
        self._subscribers.append(callback)
        return lambda: self._subscribers.remove(callback)

    async def watch(self, *resources: Resource) -> None:
        """Watch these kinds (idempotent); returns when all are complete. Raises NotFound, Forbidden, Retryable."""
        reflectors = [self._reflector(resource) for resource in resources]
        for reflector in reflectors:
            reflector.start()
        for reflector in reflectors:
            await reflector.ready()

    def age(self, resource: Resource) -> float:
        """Seconds for which reads of this kind may be behind: 0 while its watch is open, infinite before the first list."""
        return self._reflectors[resource].age if resource in self._reflectors else float("inf")

    def ages(self) -> Mapping[Resource, float]:
        """`age` of every kind that is complete, for metrics and the readiness probe."""
        return {resource: reflector.age for resource, reflector in self._reflectors.items() if reflector.synced}

    def get(self, resource: Resource, namespace: str, name: str) -> Object | None:
        """The cached object. KeyError when the kind is not watched, Rejected when the namespace is outside the scope."""
        return self._store(resource, namespace).get(namespace if resource.namespaced else "", name)

    def list(self, resource: Resource, namespace: str | None = None) -> Iterable[Object]:
        """Cached objects of a namespace, or all. Errors as `get`."""
        return self._store(resource, namespace).list(namespace if resource.namespaced else None)

    async def read(self, resource: Resource, namespace: str, name: str, *, params: Mapping[str, str] | None = None) -> Object:
        """A GET. The answer also refreshes the cache."""
        return self._wrote(resource, await self.client.get(resource, namespace, name, params=params))

    async def create(self, resource: Resource, body: Object) -> Object:
        """POST."""
        return self._wrote(resource, await self.client.create(resource, body))

    async def apply(self, resource: Resource, body: Object, *, force: bool = True) -> Object:
        """Server-side apply."""
        return self._wrote(resource, await self.client.apply(resource, body, force=force))

    async def merge(self, resource: Resource, namespace: str, name: str, patch: Object, *, subresource: str = "") -> Object:
        """JSON merge patch."""
        answer = await self.client.merge(resource, namespace, name, patch, subresource=subresource)
        # `scale` and the like answer with another kind, which has no place in this store
        return self._wrote(resource, answer) if answer.get("kind") == resource.kind else answer

    async def json_patch(self, resource: Resource, namespace: str, name: str, ops: Ops) -> Object:
        """RFC 6902 patch."""
        return self._wrote(resource, await self.client.json_patch(resource, namespace, name, ops))

    async def delete(self, resource: Resource, namespace: str, name: str, *, uid: str = "") -> None:
        """DELETE; what does not exist any more is not an error, but an object of the same name with another uid is (Conflict)."""
        try:
            answer = await self.client.delete(resource, namespace, name, uid=uid)
        except NotFound:
            return
        meta = answer.get("metadata") or {}
        if meta.get("deletionTimestamp") and (meta.get("finalizers") or meta.get("deletionGracePeriodSeconds")):
            self._wrote(resource, answer)
        elif self._covers(resource, namespace):
            gone = (answer.get("details") or {}).get("uid") or meta.get("uid") or uid
            self._reflectors[resource].store.removed(namespace if resource.namespaced else "", name, gone)

    def _wrote(self, resource: Resource, answer: Object) -> Object:
        if self._covers(resource, (answer.get("metadata") or {}).get("namespace", "")):
            self._reflectors[resource].store.put(answer)
        return answer

    def _covers(self, resource: Resource, namespace: str) -> bool:
        inside = not self.namespace or not resource.namespaced or namespace == self.namespace
        return inside and resource in self._reflectors and self._reflectors[resource].synced

    def _reflector(self, resource: Resource) -> Reflector:
        if resource not in self._reflectors:
            store = Store(resource, metadata_only=resource in self._metadata_only, tell=self._tell)
            self._reflectors[resource] = Reflector(
                self.client, store, namespace=self.namespace or None, page_size=self._page_size, backoff=self._backoff()
            )
        return self._reflectors[resource]

    def _store(self, resource: Resource, namespace: str | None) -> Store:
        reflector = self._reflectors.get(resource)
        if reflector is None or not reflector.synced:
            raise KeyError(f"{resource.title} is not watched: await watch() first")
        if resource.namespaced and self.namespace and namespace not in (None, self.namespace):
            raise Rejected(
                f"{resource.title} in namespace {namespace} cannot be read: only namespace {self.namespace} is watched",
                hint=f"move it to namespace {self.namespace}, or run the operator without --namespace",
            )
        return reflector.store

    def _tell(self, resource: Resource, kind: str, body: Object, old: Object | None) -> None:
        for callback in tuple(self._subscribers):
            try:
                callback(resource, kind, body, old)
            except Exception:
                # one subscriber's bug must neither end the watch nor keep the news from the others
                log.exception("subscriber of %s failed", resource.title)
