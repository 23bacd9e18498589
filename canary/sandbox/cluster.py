"""The sandbox without its HTTP face: registry, store, writers and janitor put together, and a Python API on them.

Controllers and the demo that run in the same process use this: the same rules as over HTTP, without the bytes. What `get` and `list_all` answer
is a copy and may be changed freely.
"""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Final

from canary.sandbox import builtin, calls, errors
from canary.sandbox.allocation import Allocator
from canary.sandbox.definitions import Definitions
from canary.sandbox.deletes import DeleteOptions, Deleter
from canary.sandbox.garbage import Janitor
from canary.sandbox.objects import Object, clone
from canary.sandbox.reads import list_page
from canary.sandbox.resources import Registry, Resource
from canary.sandbox.selectors import label_match
from canary.sandbox.store import Bucket, Change, Record, Store
from canary.sandbox.writes import MERGE_PATCH, Clock, WriteOptions, Writer

_NAMESPACES: Final = ("default", "kube-node-lease", "kube-public", "kube-system")
_EVERYTHING: Final = calls.ListOptions.parse({}, watch=False)


def _now() -> datetime:
    return datetime.now(UTC)


def _copy(resource: Resource, record: Record) -> Object:
    out: Object = clone(resource.present(record.obj))
    return out


class Cluster:
    """All of the state and rules. `history` changes per kind can be watched from; `clock` stamps objects."""

    def __init__(self, *, history: int = 4096, clock: Clock = _now) -> None:
        self.store = Store(history=history)
        self.registry = Registry()
        builtin.register(self.registry, self.store)
        allocator = Allocator(self.store.bucket("", "services"))
        self.writer = Writer(self.store, namespaces=lambda: self.store.bucket("", "namespaces"), clock=clock, allocator=allocator)
        self.deleter = Deleter(self.store, clock=clock)
        self.janitor = Janitor(self.store, self.registry, self.deleter)
        definitions = Definitions(self.store, self.registry, clock=clock)
        # The janitor sees a change last: it must find the registry as the change has left it.
        self.store.listeners += [allocator.observe, definitions.observe, self.janitor.observe]
        self._seed()

    def _seed(self) -> None:
        for name in _NAMESPACES:
            self.create("v1", "Namespace", {"metadata": {"name": name}})
        ports = [{"name": "https", "port": 443, "protocol": "TCP", "targetPort": 6443}]
        labels = {"component": "apiserver", "provider": "kubernetes"}
        spec = {"type": "ClusterIP", "clusterIP": "10.96.0.1", "ports": ports}
        self.create("v1", "Service", {"metadata": {"name": "kubernetes", "labels": labels}, "spec": spec}, namespace="default")

    def resource(self, api_version: str, kind: str) -> Resource:
        """The resource of a kind. Raises ApiError 404 when it is not served."""
        found = self.registry.by_kind(api_version, kind)
        if found is None:
            raise errors.no_such_resource()
        return found

    def subscribe(self, listener: Callable[[Bucket, Change], None]) -> Callable[[], None]:
        """Call `listener` after every change, synchronously; the answer ends it. A listener must not block, and may write."""
        self.store.listeners.append(listener)
        return lambda: self.store.listeners.remove(listener)

    def get(self, api_version: str, kind: str, name: str, *, namespace: str = "") -> Object | None:
        """A copy of an object; None when there is none."""
        resource = self.resource(api_version, kind)
        record = resource.bucket.get(namespace, name)
        return None if record is None else _copy(resource, record)

    def list_all(self, api_version: str, kind: str, *, namespace: str | None = None, labels: str = "") -> list[Object]:
        """Copies of all objects of a kind (in a namespace, with labels in the text form of selectors)."""
        resource = self.resource(api_version, kind)
        match = label_match(labels) if labels else None
        page = list_page(self.store, resource, namespace=namespace, options=_EVERYTHING)
        return [_copy(resource, record) for record in page.records if match is None or match(record.obj)]

    def create(self, api_version: str, kind: str, obj: Object, *, namespace: str = "", manager: str = "sandbox") -> Object:
        """Create an object. Raises ApiError."""
        resource = self.resource(api_version, kind)
        body = {"apiVersion": api_version, "kind": kind, **obj}
        written = self.writer.create(resource, body, namespace=namespace, options=WriteOptions(manager=manager))
        return _copy(resource, written.record)

    def patch(
        self, api_version: str, kind: str, name: str, patch: Any, *, namespace: str = "", subresource: str = "", form: str = MERGE_PATCH, manager: str = "sandbox",
    ) -> Object:  # fmt: skip
        """Patch an object or its status. Raises ApiError."""
        resource = self.resource(api_version, kind)
        options = WriteOptions(manager=manager)
        written = self.writer.patch(resource, patch, form=form, namespace=namespace, name=name, subresource=subresource, options=options)
        return _copy(resource, written.record)

    def apply(
        self,
        api_version: str,
        kind: str,
        name: str,
        config: Object,
        *,
        namespace: str = "",
        subresource: str = "",
        manager: str = "sandbox",
    ) -> Object:
        """Server-side apply, with force. Raises ApiError."""
        resource = self.resource(api_version, kind)
        body = {"apiVersion": api_version, "kind": kind, **config}
        options = WriteOptions(manager=manager, force=True)
        written = self.writer.apply(resource, body, namespace=namespace, name=name, subresource=subresource, options=options)
        return _copy(resource, written.record)

    def delete(
        self, api_version: str, kind: str, name: str, *, namespace: str = "", propagation: str = "Background", grace: int | None = None
    ) -> None:
        """Delete an object; one that is gone already is fine."""
        resource = self.resource(api_version, kind)
        try:
            self.deleter.delete(resource, namespace=namespace, name=name, options=DeleteOptions(propagation=propagation, grace=grace))
        except errors.ApiError as error:
            if error.code != 404:
                raise
