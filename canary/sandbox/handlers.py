"""From a request to its answer: everything that is answered at once, which is all but watches.

Synchronous on purpose: between reading the body and sending the answer nothing else of this process runs.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from canary.sandbox import bodies, discovery, errors, openapi
from canary.sandbox.calls import Call, ListOptions, write_options
from canary.sandbox.cluster import Cluster
from canary.sandbox.deletes import DeleteOptions
from canary.sandbox.reads import check_version, get_record, list_page, selection
from canary.sandbox.resources import Resource
from canary.sandbox.reviews import review
from canary.sandbox.scale import scale_of, write_scale
from canary.sandbox.store import Object, encode
from canary.sandbox.views import View, negotiate
from canary.sandbox.writes import APPLY_PATCH, Written

JSON: Final = "application/json"


@dataclass(frozen=True, slots=True)
class Reply:
    """An HTTP answer."""

    code: int
    body: bytes
    type: str = JSON
    warnings: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Body:
    """What came with the request."""

    data: bytes
    type: str
    accept: str


class Handlers:
    """Answers requests on a cluster."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._verbs: Mapping[str, Callable[[Resource, Call, Body], Reply]] = {
            "get": self._get,
            "list": self._list,
            "create": self._create,
            "update": self._update,
            "patch": self._patch,
            "delete": self._delete,
            "deletecollection": self._delete_collection,
        }

    def find(self, call: Call) -> Resource:
        """The resource that a call is about. Raises ApiError 404 or 405."""
        address = call.address
        resource = self._cluster.registry.find(address.group, address.version, address.plural)
        if resource is None or (address.subresource and address.subresource not in resource.subresources()):
            raise errors.no_such_resource()
        if (address.namespace is not None) and not resource.namespaced:
            raise errors.no_such_resource()
        if call.verb not in resource.verbs and not (address.subresource and call.verb in ("get", "update", "patch")):
            raise errors.method_not_allowed()
        named, wants_name = address.name is not None, call.verb in ("get", "update", "patch", "delete")
        if named != wants_name and call.verb != "watch":
            raise errors.method_not_allowed()
        if resource.namespaced and address.namespace is None and (named or call.verb == "create"):
            raise errors.method_not_allowed() if call.verb == "create" else errors.no_such_resource()
        return resource

    def answer(self, resource: Resource, call: Call, body: Body) -> Reply:
        """Carry out a call. Raises ApiError."""
        return self._verbs[call.verb](resource, call, body)

    def _get(self, resource: Resource, call: Call, body: Body) -> Reply:
        address = call.address
        version = call.query.get("resourceVersion", "")
        if version and version != "0":
            options = ListOptions.parse({"resourceVersion": version}, watch=False)
            check_version(self._cluster.store, options.version or 0)
        record = get_record(resource, namespace=address.namespace or "", name=address.name or "")
        if address.subresource == "scale":
            return Reply(200, encode(scale_of(resource, record.obj)))
        return Reply(200, self._view(call, body).one(resource, record))

    def _view(self, call: Call, body: Body) -> View:
        return negotiate(body.accept, call.query.get("includeObject", ""))

    def _list(self, resource: Resource, call: Call, body: Body) -> Reply:
        options = ListOptions.parse(call.query, watch=False)
        page = list_page(self._cluster.store, resource, namespace=call.address.namespace, options=options)
        return Reply(200, self._view(call, body).many(resource, page.records, page.metadata))

    def _create(self, resource: Resource, call: Call, body: Body) -> Reply:
        options = write_options(call.query, agent=call.agent, kind="CreateOptions")
        obj = bodies.read_object(resource, body.data, body.type, strict=options.validation == "Strict")
        if resource.virtual:
            return Reply(201, encode(review(resource, obj)))
        written = self._cluster.writer.create(resource, obj, namespace=call.address.namespace or "", options=options)
        return self._written(resource, call, body, written)

    def _update(self, resource: Resource, call: Call, body: Body) -> Reply:
        address = call.address
        options = write_options(call.query, agent=call.agent, kind="UpdateOptions")
        obj = bodies.read_object(resource, body.data, body.type, strict=options.validation == "Strict")
        namespace, name = address.namespace or "", address.name or ""
        if address.subresource == "scale":
            written = write_scale(self._cluster.writer, resource, obj, form="", namespace=namespace, name=name, options=options)
            return Reply(200, encode(scale_of(resource, written.record.obj)))
        written = self._cluster.writer.update(
            resource, obj, namespace=namespace, name=name, subresource=address.subresource, options=options
        )
        return self._written(resource, call, body, written)

    def _patch(self, resource: Resource, call: Call, body: Body) -> Reply:
        address = call.address
        form = bodies.patch_form(resource, body.type)
        options = write_options(call.query, agent=call.agent, kind="PatchOptions", apply=form == APPLY_PATCH)
        patch = bodies.read_patch(body.data, form)
        namespace, name, writer = address.namespace or "", address.name or "", self._cluster.writer
        if address.subresource == "scale":
            written = write_scale(writer, resource, patch, form=form, namespace=namespace, name=name, options=options)
            return Reply(200, encode(scale_of(resource, written.record.obj)))
        if form == APPLY_PATCH:
            written = writer.apply(resource, patch, namespace=namespace, name=name, subresource=address.subresource, options=options)
        else:
            written = writer.patch(
                resource, patch, form=form, namespace=namespace, name=name, subresource=address.subresource, options=options
            )
        return self._written(resource, call, body, written)

    def _written(self, resource: Resource, call: Call, body: Body, written: Written) -> Reply:
        view = self._view(call, body)
        return Reply(201 if written.created else 200, view.one(resource, written.record), warnings=written.warnings)

    def _delete(self, resource: Resource, call: Call, body: Body) -> Reply:
        address = call.address
        options = DeleteOptions.parse(self._delete_body(body), call.query)
        deleted = self._cluster.deleter.delete(resource, namespace=address.namespace or "", name=address.name or "", options=options)
        if deleted.gone and not resource.returns_deleted:
            details = {**errors.object_details(address.name or "", resource.group, resource.plural), "uid": deleted.obj["metadata"]["uid"]}
            return Reply(200, encode({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details}))
        return Reply(200, encode(resource.present(deleted.obj)))

    def _delete_collection(self, resource: Resource, call: Call, body: Body) -> Reply:
        options = ListOptions.parse(call.query, watch=False)
        match = selection(resource, options)
        found = self._cluster.deleter.delete_collection(
            resource, namespace=call.address.namespace, match=match, options=DeleteOptions.parse(self._delete_body(body), call.query)
        )
        metadata = {"resourceVersion": str(self._cluster.store.revision)}
        return Reply(200, self._view(call, body).many(resource, found, metadata))

    def _delete_body(self, body: Body) -> Any:
        if not body.data:
            return None
        return bodies.read_options(body.data, body.type)

    def about(self, path: str, accept: str, host: str) -> Reply | None:
        """Health, version, discovery and OpenAPI; None for an unknown path."""
        parts = [part for part in path.split("/") if part]
        if parts and parts[0] in ("healthz", "readyz", "livez"):
            return Reply(200, b"ok", type="text/plain")
        if path == "/openapi/v2":
            if "com.github.proto-openapi" in accept:
                return Reply(200, openapi.empty_v2_protobuf(), type="application/com.github.proto-openapi.spec.v2@v1.0+protobuf")
            return Reply(200, encode(openapi.EMPTY_V2))
        found = self._document(parts, accept, host)
        if found is None:
            return None
        if found.get("kind") == "APIGroupDiscoveryList":
            return Reply(200, encode(found), type="application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList")
        return Reply(200, encode(found))

    def _document(self, parts: list[str], accept: str, host: str) -> Object | None:
        registry = self._cluster.registry
        aggregated = "as=APIGroupDiscoveryList" in accept and "v=v2" in accept
        match parts:
            case []:
                return {"paths": ["/api", "/api/v1", "/apis", "/healthz", "/livez", "/openapi/v2", "/openapi/v3", "/readyz", "/version"]}
            case ["version"]:
                return discovery.VERSION
            case ["api"]:
                return discovery.aggregated(registry, core=True) if aggregated else discovery.core_versions(host)
            case ["api", "v1"]:
                return discovery.resource_list(registry, "", "v1")
            case ["apis"]:
                return discovery.aggregated(registry, core=False) if aggregated else discovery.group_list(registry)
            case ["apis", group]:
                return discovery.group(registry, group)
            case ["apis", group, version]:
                return discovery.resource_list(registry, group, version)
            case ["openapi", "v3"]:
                return openapi.index(registry)
            case ["openapi", "v3", "api", version]:
                return openapi.document(registry, "", version)
            case ["openapi", "v3", "apis", group, version]:
                return openapi.document(registry, group, version)
        return None
