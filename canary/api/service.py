"""`spec.service`: how the application is exposed, and the names of the Services and mesh objects that follow from it.

Defaults that depend on other fields (`targetPort` falls back to `port`, the name to the target's name) are properties, not
CRD defaults: a default written into the stored object would look like drift to a GitOps engine.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import ConfigDict, Field, WithJsonSchema

from canary.api.common import (
    GROUP_PATTERN,
    DnsGroup,
    Flag,
    IntOrString,
    KindName,
    Model,
    NamespaceName,
    ObjectName,
    PortNumber,
    StringMap,
    Text,
    Whole,
)
from canary.api.traffic import CorsPolicy, Headers, HttpMatch, Retries, Rewrite, TrafficPolicy

SectionName = Annotated[
    Text,
    WithJsonSchema({"type": "string", "minLength": 1, "maxLength": 253, "pattern": GROUP_PATTERN.removeprefix("^$|")}),
]
TrafficDistribution = Annotated[Text, WithJsonSchema({"type": "string", "enum": ["PreferClose", "PreferSameZone", "PreferSameNode"]})]
_PORT_RULE = "(size(self.group) == 0 && self.kind == 'Service') ? has(self.port) : true"


class GatewayRef(Model):
    """Parent of the generated HTTPRoute: a Gateway, or a Service for a mesh that follows GAMMA."""

    group: Annotated[DnsGroup, Field(json_schema_extra={"default": "gateway.networking.k8s.io"})] = "gateway.networking.k8s.io"
    """API group of the parent; for a Service write `core`."""
    kind: Annotated[KindName, Field(json_schema_extra={"default": "Gateway"})] = "Gateway"
    """Kind of the parent."""
    name: ObjectName
    """Name of the parent."""
    namespace: NamespaceName | None = None
    """Namespace of the parent; the canary's own when absent."""
    section_name: SectionName | None = None
    """Listener of the Gateway."""
    port: PortNumber | None = None
    """Port of the parent."""


class MirrorBackend(Model):
    """Where a copy of each request goes."""

    model_config = ConfigDict(
        json_schema_extra={"x-kubernetes-validations": [{"rule": _PORT_RULE, "message": "Must have port for Service reference"}]}
    )

    group: Annotated[DnsGroup, Field(json_schema_extra={"default": ""})] = ""
    """API group of the backend; empty is the core group."""
    kind: Annotated[KindName, Field(json_schema_extra={"default": "Service"})] = "Service"
    """Kind of the backend."""
    name: ObjectName
    """Name of the backend."""
    namespace: NamespaceName | None = None
    """Namespace of the backend; the canary's own when absent."""
    port: PortNumber | None = None
    """Port of the backend; needed for a Service."""


class RequestMirror(Model):
    """One permanent copy of the traffic (Gateway API); unrelated to `analysis.mirror`."""

    backend_ref: MirrorBackend | None = None
    """Where the copy goes."""


class CustomMetadata(Model):
    """Labels and annotations for one generated Service."""

    labels: StringMap = Field(default_factory=dict)
    """Labels to set."""
    annotations: StringMap = Field(default_factory=dict)
    """Annotations to set."""


class UnmanagedMetadata(Model):
    """Keys on generated Services that belong to others and are left as they are."""

    annotations: tuple[Text, ...] = ()
    """Annotation keys to leave alone."""
    labels: tuple[Text, ...] = ()
    """Label keys to leave alone."""


class Service(Model):
    """How the application is exposed. All names derive from `name`: treat it as fixed once the canary exists."""

    name: Text | None = None
    """Name of the Service that callers use and of every mesh object; the target's name when absent."""
    port: Whole
    """Port of the generated Services."""
    port_name: Text | None = None
    """Name of that port; `http` when absent."""
    app_protocol: Text | None = None
    """Application protocol of that port; `tcp` makes Istio routes plain TCP."""
    traffic_distribution: TrafficDistribution | None = None
    """Which endpoints are preferred, as in a Service."""
    target_port: IntOrString | None = None
    """Number or name of the container's port; the same as `port` when absent or 0."""
    port_discovery: Flag = False
    """Expose the other ports of the target's containers as well."""
    headless: Flag = False
    """Make the generated Services headless."""
    timeout: Text | None = None
    """Time limit of a request, as a duration."""
    backend_timeout: Text | None = None
    """Time limit of one try at a backend, as a duration; Gateway API only."""
    mesh_name: Text | None = None
    """Name of the App Mesh mesh."""
    backends: tuple[Text, ...] = ()
    """Services that the application calls; App Mesh only."""
    hosts: tuple[Text, ...] = ()
    """Host names that the routes answer to."""
    delegation: Flag = False
    """Make Istio's VirtualService a delegate, which has neither hosts nor gateways."""
    match: tuple[HttpMatch, ...] = ()
    """Conditions on requests; one of them must hold."""
    retries: Retries | None = None
    """Retries of failed requests by the mesh."""
    rewrite: Rewrite | None = None
    """How requests are rewritten."""
    mirror: tuple[RequestMirror, ...] = ()
    """Permanent copies of the traffic; Gateway API only."""
    headers: Headers | None = None
    """Edits of request and response headers."""
    gateways: tuple[Text, ...] = ()
    """Istio gateways that the routes are bound to; `mesh` when absent."""
    gateway_refs: Annotated[tuple[GatewayRef, ...], Field(json_schema_extra={"maxItems": 32})] = ()
    """Parents of the generated HTTPRoute; needed for the Gateway API."""
    cors_policy: CorsPolicy | None = None
    """Cross-origin resource sharing."""
    traffic_policy: TrafficPolicy | None = None
    """Istio settings for connections, load balancing, outliers and TLS."""
    apex: CustomMetadata | None = None
    """Metadata for the Service that callers use, and for the mesh object of the same name."""
    primary: CustomMetadata | None = None
    """Metadata for the Service of the primary."""
    canary: CustomMetadata | None = None
    """Metadata for the Service of the canary."""
    unmanaged_metadata: UnmanagedMetadata | None = None
    """Metadata keys on generated Services that are left to others."""

    @property
    def port_name_effective(self) -> str:
        """`portName`, or `http`."""
        return self.port_name or "http"

    @property
    def target_port_effective(self) -> int | str:
        """`targetPort`, or `port` when it is absent, empty or 0 (as number or text)."""
        return self.port if self.target_port in (None, "", 0, "0") else self.target_port
