"""Discord, through its Slack-compatible address."""

from __future__ import annotations

from urllib.parse import urlsplit, urlunsplit

from canary.alerts.base import Alert, Channel
from canary.alerts.chat import post_json
from canary.alerts.slack import slack_payload


class DiscordSender:
    """Posts Slack's payload to `<address>/slack`."""

    async def send(self, channel: Channel, alert: Alert, *, timeout: float) -> None:
        """Post once."""
        parts = urlsplit(channel.address)
        path = parts.path if parts.path.endswith("/slack") else f"{parts.path.rstrip('/')}/slack"
        await post_json(channel, urlunsplit(parts._replace(path=path)), slack_payload(channel, alert), timeout=timeout)
