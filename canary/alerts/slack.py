"""Slack, and the payload that Discord and Rocket.Chat understand too (reference flagger-analysis 4.3)."""

from __future__ import annotations

import json
from typing import Any

from canary.alerts.base import Alert, Channel
from canary.alerts.chat import post_json
from canary.core.errors import Rejected
from canary.core.telling import Severity


def slack_payload(channel: Channel, alert: Alert, *, good: str = "good", bad: str = "danger") -> dict[str, Any]:
    """Slack's webhook JSON as upstream sends it; the colour turns for errors only."""
    return {
        "channel": channel.channel,
        "username": channel.username,
        "icon_url": "",
        "icon_emoji": ":rocket:",
        "attachments": [
            {
                "color": bad if alert.severity is Severity.ERROR else good,
                "author_name": f"{alert.canary}.{alert.namespace}",
                "text": alert.message,
                "mrkdwn_in": ["text"],
                "fields": [{"title": title, "value": value, "short": False} for title, value in alert.fields],
            }
        ],
    }


class SlackSender:
    """Slack's incoming webhooks, or chat.postMessage with a token."""

    async def send(self, channel: Channel, alert: Alert, *, timeout: float) -> None:
        """Post once. Slack's API answers 200 with `ok: false` when it refuses: that is a refusal, not a delivery."""
        text = await post_json(channel, channel.address, slack_payload(channel, alert), timeout=timeout, token=channel.token)
        try:
            answer = json.loads(text)
        except ValueError:
            return  # incoming webhooks answer "ok"
        if isinstance(answer, dict) and answer.get("ok") is False:
            raise Rejected(f"slack refused the alert: {answer.get('error', 'no reason given')}")
