"""The Canary object: what is released (`targetRef` and friends), and the envelope around spec and status.

`spec.canaryAnalysis` is the name that `flagger.app/v1alpha3` gave to `spec.analysis`. The CRD stores both versions without
conversion, so both spellings can be in etcd: here they are one field, and only problems are told in the user's spelling.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Final, Self

from pydantic import AliasChoices, ConfigDict, Field, ModelWrapValidatorHandler, PrivateAttr, WithJsonSchema, model_validator

from canary.api.analysis import SCHEDULE_RULE, Analysis
from canary.api.common import FLAGGER_GROUP, Flag, Metadata, Model, StringMap, Text, Whole
from canary.api.parsing import parse_object
from canary.api.service import Service
from canary.api.status import CanaryStatus

API_VERSION: Final = f"{FLAGGER_GROUP}/v1beta1"
LEGACY_API_VERSION: Final = f"{FLAGGER_GROUP}/v1alpha3"
KNATIVE_API_VERSION: Final = "serving.knative.dev/v1"
DEFAULT_PROGRESS_DEADLINE: Final = 600

PROVIDERS: Final = (
    "apisix",
    "appmesh",
    "appmesh:v1beta2",
    "contour",
    "gatewayapi:v1",
    "gatewayapi:v1beta1",
    "gloo",
    "istio",
    "knative",
    "kubernetes",
    "kuma",
    "linkerd",
    "nginx",
    "osm",
    "skipper",
    "smi:v1alpha1",
    "smi:v1alpha2",
    "smi:v1alpha3",
    "traefik",
)
"""Providers that a manifest may name (the flag knows a few more spellings)."""
TARGET_KINDS: Final = ("DaemonSet", "Deployment", "Service")
SCALER_KINDS: Final = ("HorizontalPodAutoscaler", "ScaledObject")


def _one_of(*values: str) -> WithJsonSchema:
    return WithJsonSchema({"type": "string", "enum": list(values)})


class TargetRef(Model):
    """The workload to release."""

    api_version: Text
    """API version of the workload; `serving.knative.dev/v1` with kind Service is a Knative service."""
    kind: Annotated[Text, _one_of(*TARGET_KINDS)]
    """Kind of the workload."""
    name: Text
    """Name of the workload."""

    @property
    def is_knative(self) -> bool:
        """Whether the target is a Knative service rather than a core one."""
        return self.kind == "Service" and self.api_version == KNATIVE_API_VERSION


class ScalerReplicas(Model):
    """Bounds for the primary's autoscaler, where they differ from the target's."""

    min_replicas: Annotated[Whole | None, WithJsonSchema({"type": "integer", "minimum": 1})] = None
    """Smallest number of replicas of the primary."""
    max_replicas: Annotated[Whole | None, WithJsonSchema({"type": "integer", "minimum": 1})] = None
    """Largest number of replicas of the primary."""


class ScalerRef(Model):
    """The autoscaler of the target."""

    api_version: Text
    """API version of the autoscaler."""
    kind: Annotated[Text, _one_of(*SCALER_KINDS)]
    """Kind of the autoscaler."""
    name: Text
    """Name of the autoscaler."""
    primary_scaler_queries: StringMap = Field(default_factory=dict)
    """Queries for the primary's ScaledObject, by trigger name."""
    primary_scaler_replicas: ScalerReplicas | None = None
    """Bounds for the primary's autoscaler."""


class IngressRef(Model):
    """The Ingress that exposes the application (NGINX, Skipper)."""

    api_version: Text
    """API version of the Ingress."""
    kind: Annotated[Text, _one_of("Ingress")]
    """Kind of the object."""
    name: Text
    """Name of the Ingress."""


class RouteRef(Model):
    """The ApisixRoute that exposes the application."""

    api_version: Text
    """API version of the route."""
    kind: Annotated[Text, _one_of("ApisixRoute")]
    """Kind of the object."""
    name: Text
    """Name of the route."""


class UpstreamRef(Model):
    """The Gloo Upstream whose settings are copied."""

    api_version: Text
    """API version of the Upstream."""
    kind: Annotated[Text, _one_of("Upstream")]
    """Kind of the object."""
    name: Text
    """Name of the Upstream."""
    namespace: Text = ""
    """Namespace of the Upstream."""


class CanarySpec(Model):
    """What is released, how it is exposed, and how it is judged."""

    model_config = ConfigDict(
        json_schema_extra={
            "anyOf": [
                {"required": ["analysis"]},
                {"required": ["canaryAnalysis"], "properties": {"canaryAnalysis": SCHEDULE_RULE}},
            ],
            "x-kubernetes-validations": [
                {
                    "rule": f"!has(self.{key}) || !has(self.{key}.baseline) || self.{key}.baseline != 'fresh' || self.targetRef.kind == 'Deployment'",
                    "message": "baseline: fresh needs a target of kind Deployment, of which a second copy can be made",
                }
                for key in ("analysis", "canaryAnalysis")
            ],
        }
    )

    provider: Annotated[Text, _one_of(*PROVIDERS)] = ""
    """What moves the traffic; the operator's -mesh-provider when absent."""
    metrics_server: Text = ""
    """URL of the Prometheus for built-in and inline checks; the operator's -metrics-server when absent."""
    progress_deadline_seconds: Whole | None = None
    """How long a workload may be unavailable before it counts as stuck; 600 when absent."""
    target_ref: TargetRef
    """The workload to release."""
    autoscaler_ref: ScalerRef | None = None
    """The autoscaler of the target."""
    ingress_ref: IngressRef | None = None
    """The Ingress that exposes the application."""
    route_ref: RouteRef | None = None
    """The ApisixRoute that exposes the application."""
    upstream_ref: UpstreamRef | None = None
    """The Gloo Upstream whose settings are copied."""
    service: Service | None = None
    """How the application is exposed; absent for Knative only."""
    skip_analysis: Flag = False
    """Promote a new revision as soon as it is ready."""
    revert_on_deletion: Flag = False
    """Give the target its replicas and routes back when the Canary is deleted."""
    suspend: Flag = False
    """Do nothing at all for this canary."""
    analysis: Annotated[Analysis, Field(validation_alias=AliasChoices("analysis", "canaryAnalysis"))]
    """How a new version is judged. `canaryAnalysis` is the older name of the same."""

    _analysis_key: str = PrivateAttr(default="analysis")

    @model_validator(mode="wrap")
    @classmethod
    def _remember_spelling(cls, data: object, handler: ModelWrapValidatorHandler[Self]) -> Self:
        spec = handler(data)
        if isinstance(data, Mapping) and "analysis" not in data and "canaryAnalysis" in data:
            spec._analysis_key = "canaryAnalysis"  # noqa: SLF001 - our own instance
        return spec

    @property
    def analysis_path(self) -> str:
        """`spec.analysis` as the manifest spells it, for messages."""
        return f"spec.{self._analysis_key}"

    @property
    def target_name(self) -> str:
        """`targetRef.name`."""
        return self.target_ref.name

    @property
    def primary_name(self) -> str:
        """Name of the primary workload: the target's with `-primary`."""
        return f"{self.target_ref.name}-primary"

    @property
    def baseline_name(self) -> str:
        """Name of the fresh copy of the old version: the target's with `-baseline`."""
        return f"{self.target_ref.name}-baseline"

    @property
    def apex_name(self) -> str:
        """Name of the Service that callers use and of the mesh objects: `service.name`, or else the target's name."""
        return (self.service.name if self.service is not None else "") or self.target_ref.name

    @property
    def apex_primary_name(self) -> str:
        """Name of the Service of the primary."""
        return f"{self.apex_name}-primary"

    @property
    def apex_canary_name(self) -> str:
        """Name of the Service of the canary."""
        return f"{self.apex_name}-canary"

    @property
    def apex_baseline_name(self) -> str:
        """Name of the Service of the fresh copy of the old version."""
        return f"{self.apex_name}-baseline"

    @property
    def progress_deadline(self) -> int:
        """Seconds that a workload may be unavailable before it counts as stuck."""
        return DEFAULT_PROGRESS_DEADLINE if self.progress_deadline_seconds is None else self.progress_deadline_seconds


class Canary(Model):
    """Releases new versions of one workload step by step, and takes them back when they are worse."""

    api_version: Text = API_VERSION
    kind: Text = "Canary"
    metadata: Metadata
    spec: CanarySpec
    """What is released, how it is exposed, and how it is judged."""
    status: CanaryStatus = CanaryStatus()
    """Where the release stands, and why. Written by the operator."""


def parse_canary(obj: Mapping[str, Any]) -> Canary:
    """A Canary of `flagger.app/v1beta1` or `v1alpha3` from decoded JSON. Raises InvalidObject with every problem."""
    return parse_object(Canary, obj, API_VERSION, LEGACY_API_VERSION)
