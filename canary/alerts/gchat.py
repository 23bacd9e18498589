"""Google Chat: one card; unlike upstream the text is escaped and errors are visible (reference flagger-analysis 4.3)."""

from __future__ import annotations

from html import escape

from canary.alerts.base import Alert, Channel
from canary.alerts.chat import post_json
from canary.core.telling import Severity


class GoogleChatSender:
    """Posts a v1 card with the message and its facts as text paragraphs."""

    async def send(self, channel: Channel, alert: Alert, *, timeout: float) -> None:
        """Post once."""
        colour = "#FF0000" if alert.severity is Severity.ERROR else "#0076D7"
        lines = [f'<font color="{colour}">{escape(alert.message)}</font>']
        lines += [f"<b>{escape(title)}</b>: {escape(value)}" for title, value in alert.fields]
        card = {
            "cards": [
                {
                    "header": {"title": "Flagger", "subtitle": f"{alert.canary}.{alert.namespace}", "imageUrl": ""},
                    "sections": [{"widgets": [{"textParagraph": {"text": line}} for line in lines]}],
                }
            ]
        }
        await post_json(channel, channel.address, card, timeout=timeout)
