"""AlertProvider: a chat in which the story of a release is told."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Final

from pydantic import ConfigDict, WithJsonSchema

from canary.api.common import FLAGGER_GROUP, Metadata, Model, SecretRef, Text
from canary.api.parsing import parse_object

API_VERSION: Final = f"{FLAGGER_GROUP}/v1beta1"
ALERT_TYPES: Final = ("slack", "msteams", "discord", "rocket", "gchat")
"""Chats that a provider may name."""


class AlertProviderSpec(Model):
    """Where alerts are posted: `type` with either `address` or `secretRef`."""

    model_config = ConfigDict(json_schema_extra={"oneOf": [{"required": ["type", "address"]}, {"required": ["type", "secretRef"]}]})

    type: Annotated[Text, WithJsonSchema({"type": "string", "enum": list(ALERT_TYPES)})]
    """Kind of the chat."""
    channel: Text = ""
    """Channel to post in; general when absent."""
    username: Text = ""
    """Name to post under; flagger when absent."""
    address: Text = ""
    """URL of the chat's webhook."""
    proxy: Text = ""
    """URL of an HTTP proxy."""
    secret_ref: SecretRef | None = None
    """Secret in the provider's namespace: `address`, and `token` for Slack."""


class AlertProvider(Model):
    """A chat in which the story of a release is told."""

    api_version: Text = API_VERSION
    kind: Text = "AlertProvider"
    metadata: Metadata
    spec: AlertProviderSpec
    """Where alerts are posted."""


def parse_alert_provider(obj: Mapping[str, Any]) -> AlertProvider:
    """An AlertProvider from decoded JSON. Raises InvalidObject with every problem."""
    return parse_object(AlertProvider, obj, API_VERSION)
