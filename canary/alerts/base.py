"""The seam of a chat: one alert in, one POST out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from canary.core.telling import Severity


@dataclass(frozen=True, slots=True)
class Channel:
    """Where an alert goes: an AlertProvider with its Secret resolved. `token` is a bearer token (Slack only), or empty."""

    type: str
    address: str
    channel: str = "general"
    username: str = "flagger"
    proxy: str = ""
    token: str = ""


@dataclass(frozen=True, slots=True)
class Alert:
    """What is said. `fields` are (title, value) pairs."""

    canary: str
    namespace: str
    message: str
    severity: Severity
    fields: tuple[tuple[str, str], ...] = ()


class AlertSender(Protocol):
    """One chat. Raises `Retryable` when it did not take the message, `Rejected` when it never will."""

    async def send(self, channel: Channel, alert: Alert, *, timeout: float) -> None:
        """Post the alert once."""
        ...
