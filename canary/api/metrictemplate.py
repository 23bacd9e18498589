"""MetricTemplate: a query that many canaries share, and where it is asked."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Final, Self

from pydantic import ConfigDict, Field, WithJsonSchema, model_validator

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


_TOGETHER: Final = "total and bad come together: the one counts all, the other the bad part of it"
_COUNTERS: Final = "total and bad are counters of a Prometheus: other sources give no raw samples to count"


class MetricTemplateSpec(Model):
    """A query and where it is asked."""

    model_config = ConfigDict(
        json_schema_extra={
            "x-kubernetes-validations": [
                {"rule": "has(self.total) == has(self.bad)", "message": _TOGETHER},
                {"rule": "!has(self.total) || self.provider.type == 'prometheus'", "message": _COUNTERS},
            ]
        }
    )

    provider: MetricProviderSpec
    """Where the query is asked."""
    query: Text
    """The query, with placeholders such as `{{ target }}`, `{{ namespace }}` and `{{ interval }}`."""
    total: Text = ""
    """Selector of the counters that count everything, of the version that `{{ workload }}` or `{{ arm }}` names; with `bad`, for a judge by evidence."""
    bad: Text = ""
    """Selector of the counters that count the bad part of `total`."""

    @property
    def paired(self) -> bool:
        """Whether evidence can be taken from it."""
        return bool(self.total and self.bad)

    @model_validator(mode="after")
    def _whole(self) -> Self:
        """As the schema's rules: for objects that no API server has seen."""
        if bool(self.total) is not bool(self.bad):
            raise ValueError(_TOGETHER)
        if self.total and self.provider.type != "prometheus":
            raise ValueError(_COUNTERS)
        return self


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
