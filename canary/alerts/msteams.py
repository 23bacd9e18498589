"""Microsoft Teams: the MessageCard of incoming webhooks (reference flagger-analysis 4.3)."""

from __future__ import annotations

from canary.alerts.base import Alert, Channel
from canary.alerts.chat import post_json
from canary.core.telling import Severity


class TeamsSender:
    """Posts a MessageCard with one section of facts."""

    async def send(self, channel: Channel, alert: Alert, *, timeout: float) -> None:
        """Post once."""
        title = f"{alert.canary}.{alert.namespace}"
        card = {
            "@type": "MessageCard",
            "@context": "http://schema.org/extensions",
            "themeColor": "FF0000" if alert.severity is Severity.ERROR else "0076D7",
            "summary": title,
            "sections": [
                {
                    "activityTitle": alert.message,
                    "activitySubtitle": title,
                    "facts": [{"name": name, "value": value} for name, value in alert.fields],
                }
            ],
        }
        await post_json(channel, channel.address, card, timeout=timeout)
