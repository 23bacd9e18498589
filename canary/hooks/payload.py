"""What webhooks are told: upstream's JSON, key for key (reference flagger-analysis 2.1, 2.3)."""

from __future__ import annotations

from typing import Any

from canary.api.analysis import Webhook, WebhookType
from canary.api.canary import Canary
from canary.core.hashing import webhook_checksum
from canary.core.telling import Notice


def hook_payload(canary: Canary, hook: Webhook, *, phase: str, checksum: str) -> dict[str, Any]:
    """`{name, namespace, phase, checksum, metadata}`; `metadata` is left out when empty."""
    meta = canary.metadata
    payload: dict[str, Any] = {"name": meta.name, "namespace": meta.namespace, "phase": str(phase), "checksum": checksum}
    if hook.metadata:
        payload["metadata"] = dict(hook.metadata)
    return payload


def event_payload(canary: Canary, hook: Webhook, *, notice: Notice, at: float) -> dict[str, Any]:
    """The envelope plus the three keys of an event, which the hook's own metadata cannot override. `at`: Unix seconds."""
    status = canary.status
    checksum = webhook_checksum(status.tracked_configs, status.last_applied_spec or "")
    payload = hook_payload(canary, hook, phase=notice.phase, checksum=checksum)
    payload["metadata"] = {
        **hook.metadata,
        "eventMessage": notice.message,
        "eventType": "Warning" if notice.warning else "Normal",
        "timestamp": str(int(at * 1000)),
    }
    return payload


def global_event_hook(url: str) -> Webhook:
    """The hook behind `--event-webhook`: no metadata, upstream's 10 s, no retries."""
    return Webhook(name="event-webhook", url=url, type=WebhookType.EVENT)
