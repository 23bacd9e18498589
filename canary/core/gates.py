"""Asking webhooks: one at a time in the order of the spec, because the first refusal spares the rest (reference 2.9)."""

from __future__ import annotations

from canary.api.analysis import Webhook, WebhookType
from canary.api.status import Phase
from canary.core.evidence import answered
from canary.core.turn import Turn

_GATES = (WebhookType.CONFIRM_ROLLOUT, WebhookType.CONFIRM_TRAFFIC_INCREASE, WebhookType.CONFIRM_PROMOTION)


def has_hooks(t: Turn, kind: WebhookType) -> bool:
    """Whether the spec has hooks of this type."""
    return any(hook.type_effective == kind for hook in t.analysis.webhooks)


def first_refusal(t: Turn, kind: WebhookType, *, phase: Phase, silent: bool = False) -> tuple[Webhook | None, str]:
    """Ask all hooks of this type until one fails: that one and what it said, or None when all passed.

    Every pass is told, unless `silent` (rollout hooks, which pass at every interval).
    """
    for index, hook in enumerate(t.analysis.webhooks):
        if hook.type_effective != kind:
            continue
        result = t.hook(index, phase=phase)
        if kind in _GATES or not result.ok:
            answered(t, hook, result)
        if not result.ok:
            return hook, result.message
        if not silent:
            t.say(t.voice.hook_passed(hook))
    return None, ""


def rollback_wanted(t: Turn) -> Webhook | None:
    """The first rollback hook that answers with success, which is a wish to roll back (reference 2.9)."""
    for index, hook in enumerate(t.analysis.webhooks):
        if hook.type_effective != WebhookType.ROLLBACK:
            continue
        result = t.hook(index, phase=t.phase)
        if result.ok:
            answered(t, hook, result)
            return hook
        t.say(t.voice.rollback_not_signaled(hook))
    return None
