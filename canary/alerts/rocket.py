"""Rocket.Chat: Slack's payload with colours as hex numbers."""

from __future__ import annotations

from canary.alerts.base import Alert, Channel
from canary.alerts.chat import post_json
from canary.alerts.slack import slack_payload


class RocketSender:
    """Posts to an incoming integration."""

    async def send(self, channel: Channel, alert: Alert, *, timeout: float) -> None:
        """Post once."""
        payload = slack_payload(channel, alert, good="#0076D7", bad="#FF0000")
        await post_json(channel, channel.address, payload, timeout=timeout)
