"""MetricTemplate: a query that many canaries share, and where it is asked."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Final

from pydantic import Field, WithJsonSchema

from canary.api.common import FLAGGER_GROUP, Flag, Metadata, Model, SecretRef, Text
from canary.api.parsing import parse_object

API_VERSION: Final = f"{FLAGGER_GROUP}/v1beta1"
METRIC_PROVIDERS: Final = (
    "prometheus",
    "influxdb",
    "datadog",
    "externalmetrics",
    "stackdriver",
    "cloudwatch",
    "newrelic",
    "graphite",
    "dynatrace",
    "keptn",
    "splunk",
)
"""Kinds of metric sources that a template may name."""


class MetricProviderSpec(Model):
    """Where the query is asked."""

    type: Annotated[Text, WithJsonSchema({"type": "string", "enum": list(METRIC_PROVIDERS)})]
    """Kind of the source."""
    address: Text = ""
    """URL of the source."""
    headers: dict[Text, tuple[Text, ...]] = Field(default_factory=dict)
    """HTTP headers to send, each with its values."""
    secret_ref: SecretRef | None = None
    """Secret in the template's namespace with the credentials."""
    region: Text = ""
    """Cloud region; CloudWatch only."""
    insecure_skip_verify: Flag = False
    """Accept any certificate."""


class MetricTemplateSpec(Model):
    """A query and where it is asked."""

    provider: MetricProviderSpec
    """Where the query is asked."""
    query: Text
    """The query, with placeholders such as `{{ target }}`, `{{ namespace }}` and `{{ interval }}`."""


class MetricTemplate(Model):
    """A query that the checks of many canaries share."""

    api_version: Text = API_VERSION
    kind: Text = "MetricTemplate"
    metadata: Metadata
    spec: MetricTemplateSpec
    """The query and where it is asked."""


def parse_metric_template(obj: Mapping[str, Any]) -> MetricTemplate:
    """A MetricTemplate from decoded JSON. Raises InvalidObject with every problem."""
    return parse_object(MetricTemplate, obj, API_VERSION)
