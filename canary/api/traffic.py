"""Istio's shapes inside `spec.service`: request matching, header edits, CORS, connection and load-balancer settings.

Users paste these from mesh manifests, and upstream's schema names every key, so every key is a model field here: a typo
would otherwise be pruned in silence. Fields that upstream's Go types know but its CRD prunes (`connectionPool.tcp`,
`portLevelSettings`, locality failover priorities, `suffix` in a service match) stay out on purpose: a manifest that carries
them today runs without them, and must not start to mean something else on the day our CRD is installed.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import ConfigDict, Field, WithJsonSchema

from canary.api.common import Flag, Int32, Integer, Model, StringMap, Text, at_most_one, exactly_one


class StringMatch(Model):
    """How a text is compared: at most one of the three ways; none means that the text may be anything."""

    model_config = ConfigDict(json_schema_extra=at_most_one("exact", "prefix", "regex"))

    exact: Text | None = None
    """The text must be equal to this."""
    prefix: Text | None = None
    """The text must begin with this."""
    regex: Text | None = None
    """The text must match this RE2 expression."""


class HttpMatch(Model):
    """Conditions on a request; all that are given must hold."""

    name: Text | None = None
    """Name of the match, for the mesh's own telemetry."""
    uri: StringMatch | None = None
    """Condition on the path of the request."""
    scheme: StringMatch | None = None
    """Condition on the URI scheme."""
    method: StringMatch | None = None
    """Condition on the HTTP method."""
    authority: StringMatch | None = None
    """Condition on the HTTP authority (the Host header)."""
    headers: dict[Text, StringMatch] = Field(default_factory=dict)
    """Conditions on request headers, by lower-case header name."""
    query_params: dict[Text, StringMatch] = Field(default_factory=dict)
    """Conditions on query parameters, by parameter name."""
    without_headers: dict[Text, StringMatch] = Field(default_factory=dict)
    """Like headers, but a request that fulfils one of them does not match."""
    port: Integer | None = None
    """Port that the request was sent to."""
    source_labels: StringMap = Field(default_factory=dict)
    """Labels of the calling workload; only where the gateway `mesh` is used."""
    source_namespace: Text | None = None
    """Namespace of the calling workload."""
    gateways: tuple[Text, ...] = ()
    """Gateways that the conditions apply to."""
    ignore_uri_case: Flag | None = None
    """Compare the path without regard to case; for exact and prefix only."""


class HeaderEdit(Model):
    """Edits of the headers of one direction."""

    add: StringMap = Field(default_factory=dict)
    """Header values to append, by header name."""
    set: StringMap = Field(default_factory=dict)
    """Header values to put in place of what is there, by header name."""
    remove: tuple[Text, ...] = ()
    """Names of headers to take away."""


class Headers(Model):
    """Header edits in both directions."""

    request: HeaderEdit | None = None
    """Edits before a request is passed on."""
    response: HeaderEdit | None = None
    """Edits before a response is returned."""


class Rewrite(Model):
    """How a request is rewritten before it is passed on."""

    uri: Text | None = None
    """New path, or new prefix of the path."""
    authority: Text | None = None
    """New value of the Host header."""
    type: Text | None = None
    """Gateway API only: ReplacePrefixMatch, or ReplaceFullPath, which every other value means too."""


class Retries(Model):
    """Retries by the mesh."""

    attempts: Int32 | None = None
    """How often a failed request is tried again."""
    per_try_timeout: Text | None = None
    """Time limit of one attempt."""
    retry_on: Text | None = None
    """Comma-separated conditions for a retry, in Envoy's words."""


class OriginMatch(Model):
    """A CORS origin: exactly one of the three ways to compare it."""

    model_config = ConfigDict(json_schema_extra=exactly_one("exact", "prefix", "regex"))

    exact: Text | None = None
    """The origin must be equal to this."""
    prefix: Text | None = None
    """The origin must begin with this."""
    regex: Text | None = None
    """The origin must match this RE2 expression."""


class CorsPolicy(Model):
    """Cross-origin resource sharing."""

    allow_origin: tuple[Text, ...] = ()
    """Origins that may ask, as literal texts; `*` is all."""
    allow_origins: tuple[OriginMatch, ...] = ()
    """Patterns of origins that may ask."""
    allow_methods: tuple[Text, ...] = ()
    """HTTP methods that may be used."""
    allow_headers: tuple[Text, ...] = ()
    """Request headers that may be used."""
    expose_headers: tuple[Text, ...] = ()
    """Response headers that a browser may show to the page."""
    allow_credentials: Flag | None = None
    """Whether a request may carry credentials."""
    max_age: Text | None = None
    """How long a preflight answer may be cached, as a duration."""


UpgradePolicy = Annotated[Text, WithJsonSchema({"type": "string", "enum": ["DEFAULT", "DO_NOT_UPGRADE", "UPGRADE"]})]
SimpleBalancer = Annotated[
    Text,
    WithJsonSchema({"type": "string", "enum": ["ROUND_ROBIN", "LEAST_CONN", "RANDOM", "PASSTHROUGH", "LEAST_REQUEST"]}),
]
TlsMode = Annotated[Text, WithJsonSchema({"type": "string", "enum": ["DISABLE", "SIMPLE", "MUTUAL", "ISTIO_MUTUAL"]})]


class HttpPool(Model):
    """Limits on HTTP connections to one destination."""

    h2_upgrade_policy: UpgradePolicy | None = None
    """Whether HTTP/1.1 connections are upgraded to HTTP/2."""
    http1_max_pending_requests: Int32 | None = None
    """How many requests may wait for a connection."""
    http2_max_requests: Int32 | None = None
    """How many requests may be under way at once."""
    idle_timeout: Text | None = None
    """How long an unused connection is kept."""
    max_requests_per_connection: Int32 | None = None
    """How many requests one connection may serve; 1 turns keep-alive off."""
    max_retries: Int32 | None = None
    """How many retries may be under way at once."""


class ConnectionPool(Model):
    """Limits on connections to one destination."""

    http: HttpPool | None = None
    """Limits on HTTP connections."""


class HttpCookie(Model):
    """Cookie that a hashing load balancer uses or issues."""

    name: Text | None = None
    """Name of the cookie."""
    path: Text | None = None
    """Path of the cookie."""
    ttl: Text | None = None
    """Lifetime of the cookie, as a duration."""


class ConsistentHash(Model):
    """Sticky load balancing by a property of the request."""

    http_header_name: Text | None = None
    """Hash this header."""
    http_cookie: HttpCookie | None = None
    """Hash this cookie; the mesh issues it when it is missing."""
    use_source_ip: Flag | None = None
    """Hash the caller's address."""
    http_query_parameter_name: Text | None = None
    """Hash this query parameter."""
    minimum_ring_size: Integer | None = None
    """Smallest number of points on the hash ring."""


class LocalityDistribute(Model):
    """Where the traffic of one locality goes."""

    from_: Annotated[Text | None, Field(alias="from")] = None
    """Locality of the callers, as region/zone/sub-zone."""
    to: dict[Text, Integer] = Field(default_factory=dict)
    """Percent of the traffic by destination locality; the sum is 100."""


class LocalityFailover(Model):
    """Where the traffic of one region goes when the region has no healthy endpoint."""

    from_: Annotated[Text | None, Field(alias="from")] = None
    """Region of the callers."""
    to: Text | None = None
    """Region that takes over."""


class LocalityLbSetting(Model):
    """Load balancing by locality; `distribute` and `failover` exclude each other."""

    enabled: Flag | None = None
    """Turn locality load balancing on or off, whatever the mesh's default is."""
    distribute: tuple[LocalityDistribute, ...] = ()
    """Explicit shares by locality."""
    failover: tuple[LocalityFailover, ...] = ()
    """Explicit order of regions on failure."""


_HASH_KEYS = ("httpHeaderName", "httpCookie", "useSourceIp", "httpQueryParameterName")


class LoadBalancer(Model):
    """How an endpoint is chosen: `simple`, or `consistentHash` with exactly one thing to hash."""

    model_config = ConfigDict(
        json_schema_extra={
            "oneOf": [
                {"required": ["simple"]},
                {"properties": {"consistentHash": exactly_one(*_HASH_KEYS)}, "required": ["consistentHash"]},
            ]
        }
    )

    simple: SimpleBalancer | None = None
    """A standard algorithm."""
    consistent_hash: ConsistentHash | None = None
    """Sticky load balancing by hash."""
    locality_lb_setting: LocalityLbSetting | None = None
    """Load balancing by locality."""
    warmup_duration_secs: Text | None = None
    """How long a new endpoint gets less than its share, as a duration."""


class OutlierDetection(Model):
    """When an endpoint that answers badly is left out for a while."""

    base_ejection_time: Text | None = None
    """Shortest time that an endpoint is left out, as a duration."""
    consecutive5xx_errors: Annotated[Integer | None, Field(alias="consecutive5xxErrors")] = None
    """How many 5xx answers in a row eject an endpoint."""
    consecutive_errors: Int32 | None = None
    """Older name for the number of errors in a row."""
    consecutive_gateway_errors: Int32 | None = None
    """How many 502, 503 or 504 answers in a row eject an endpoint."""
    consecutive_local_origin_failures: Int32 | None = None
    """How many failures to connect in a row eject an endpoint; needs splitExternalLocalOriginErrors."""
    interval: Text | None = None
    """Time between two sweeps, as a duration."""
    max_ejection_percent: Int32 | None = None
    """Largest share of the endpoints that may be left out."""
    min_health_percent: Int32 | None = None
    """Below this share of healthy endpoints nothing is left out."""
    split_external_local_origin_errors: Flag | None = None
    """Count failures to connect apart from errors that the endpoint answered."""


class TlsSettings(Model):
    """TLS to the endpoints."""

    mode: TlsMode | None = None
    """Kind of TLS."""
    ca_certificates: Text | None = None
    """Path of the certificates of the authorities that sign the endpoints' certificates."""
    client_certificate: Text | None = None
    """Path of our client certificate; needed for MUTUAL."""
    private_key: Text | None = None
    """Path of its private key; needed for MUTUAL."""
    sni: Text | None = None
    """Server name sent in the handshake."""
    subject_alt_names: tuple[Text, ...] = ()
    """Names of which one must be in the endpoint's certificate."""


class TrafficPolicy(Model):
    """Settings of the destinations; written as they are into Istio's DestinationRules."""

    connection_pool: ConnectionPool | None = None
    """Limits on connections."""
    load_balancer: LoadBalancer | None = None
    """How an endpoint is chosen."""
    outlier_detection: OutlierDetection | None = None
    """When an endpoint is left out."""
    tls: TlsSettings | None = None
    """TLS to the endpoints."""
