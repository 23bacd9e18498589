"""`spec.analysis.match`: which requests take part in an A/B test.

The shapes are upstream's. Every router translates them into its own; what a router cannot match it refuses (`canary.routers`).
"""

from __future__ import annotations

from pydantic import ConfigDict, Field

from canary.api.common import Model, StringMap, Text, at_most_one, exactly_one


class HeaderMatch(Model):
    """How a header is compared: exactly one of the four ways."""

    model_config = ConfigDict(json_schema_extra=exactly_one("exact", "prefix", "suffix", "regex"))

    exact: Text | None = None
    """The header must be equal to this."""
    prefix: Text | None = None
    """The header must begin with this."""
    suffix: Text | None = None
    """The header must end with this."""
    regex: Text | None = None
    """The header must match this RE2 expression."""


class QueryMatch(Model):
    """How a query parameter is compared: at most one of the three ways."""

    model_config = ConfigDict(json_schema_extra=at_most_one("exact", "prefix", "regex"))

    exact: Text | None = None
    """The parameter must be equal to this."""
    prefix: Text | None = None
    """The parameter must begin with this."""
    regex: Text | None = None
    """The parameter must match this RE2 expression."""


class AnalysisMatch(Model):
    """Which requests take part: all conditions of one entry must hold."""

    headers: dict[Text, HeaderMatch] = Field(default_factory=dict)
    """Conditions on request headers, by header name."""
    query_params: dict[Text, QueryMatch] = Field(default_factory=dict)
    """Conditions on query parameters, by parameter name."""
    source_labels: StringMap = Field(default_factory=dict)
    """Labels of the calling workload; only where `service.gateways` includes `mesh`."""
