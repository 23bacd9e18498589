"""Who hears of what: a canary's own alerts, or else the one global chat (reference flagger-analysis 4.1).

`info` hears everything, `warn` warnings and errors, `error` errors only. An empty severity is `info`, as documented (upstream's code
sends nothing then). Sending is tried three times, because a chat that was restarting is no reason to lose the news of a rollback.
"""

from __future__ import annotations

import asyncio
import base64
from importlib.metadata import entry_points
from typing import Protocol

from canary.alerts.base import Alert, AlertSender, Channel
from canary.api.alertprovider import parse_alert_provider
from canary.api.analysis import Alert as AlertRef
from canary.api.canary import Canary
from canary.core.errors import CanaryError, Rejected, Retryable
from canary.core.model import Severity
from canary.kube.cluster import Cluster
from canary.kube.resource import ALERT_PROVIDERS, SECRETS

TIMEOUT = 5.0
ATTEMPTS = 3
_HEARS = {
    "info": (Severity.INFO, Severity.WARN, Severity.ERROR),
    "warn": (Severity.WARN, Severity.ERROR),
    "error": (Severity.ERROR,),
}


class Chat(Protocol):
    """The global chat's settings."""

    @property
    def type(self) -> str: ...
    @property
    def url(self) -> str: ...
    @property
    def token(self) -> str: ...
    @property
    def proxy(self) -> str: ...
    @property
    def channel(self) -> str: ...
    @property
    def username(self) -> str: ...


class Alerter:
    """Resolves channels and sends."""

    def __init__(self, cluster: Cluster, *, chat: Chat, cluster_name: str = "", pause: float = 1.0) -> None:
        self._cluster = cluster
        self._chat = chat
        self._cluster_name = cluster_name
        self._pause = pause
        self._senders: dict[str, AlertSender] = {}

    def fields(self, canary: Canary, *, full: bool) -> tuple[tuple[str, str], ...]:
        """The facts under a message: the cluster always, target, limits and strategy when `full`."""
        fields = [("Cluster", self._cluster_name)] if self._cluster_name else []
        if full:
            spec, analysis = canary.spec, canary.spec.analysis
            fields += [
                ("Target", f"{spec.target_ref.kind}/{spec.target_ref.name}.{canary.metadata.namespace}"),
                ("Failed checks threshold", str(analysis.threshold_count)),
                ("Progress deadline", f"{spec.progress_deadline}s"),
                ("Traffic routing", _routing(canary)),
            ]
        return tuple(fields)

    async def send(self, canary: Canary, alert: Alert) -> None:
        """Tell everyone who wants to hear this severity. Raises the last error after all were tried."""
        error: CanaryError | None = None
        refs = canary.spec.analysis.alerts
        if not refs and self._chat.url:
            error = await self._try(self._global(), alert)
        for ref in refs:
            if alert.severity not in _HEARS[ref.severity_effective]:
                continue
            try:
                channel = await self._resolve(canary, ref)
            except CanaryError as problem:
                error = problem
                continue
            error = await self._try(channel, alert) or error
        if error:
            raise error

    async def close(self) -> None:
        """Nothing is kept open between alerts."""

    def _global(self) -> Channel:
        chat = self._chat
        if chat.type == "slack" and not chat.channel:
            raise Rejected("the global Slack chat has no channel", hint="set --slack-channel")
        return Channel(chat.type, chat.url, chat.channel or "general", chat.username, chat.proxy, chat.token)

    async def _resolve(self, canary: Canary, ref: AlertRef) -> Channel:
        namespace = ref.provider_ref.namespace or canary.metadata.namespace
        body = self._cluster.get(ALERT_PROVIDERS, namespace, ref.provider_ref.name)
        if body is None:
            raise Rejected(f"alert provider {ref.provider_ref.name}.{namespace} of alert {ref.name} not found")
        spec = parse_alert_provider(body).spec
        address, token = spec.address or "", ""
        if spec.secret_ref is not None:
            data = (await self._cluster.read(SECRETS, namespace, spec.secret_ref.name)).get("data") or {}
            if "address" not in data:
                raise Rejected(f"secret {spec.secret_ref.name}.{namespace} has no key `address`", hint="put the chat's URL there")
            address = base64.b64decode(data["address"]).decode().strip()
            token = base64.b64decode(data.get("token", "")).decode().strip()
        return Channel(spec.type, address, spec.channel or "general", spec.username or "flagger", spec.proxy or "", token)

    async def _try(self, channel: Channel, alert: Alert) -> CanaryError | None:
        for attempt in range(ATTEMPTS):
            try:
                await self._sender(channel.type).send(channel, alert, timeout=TIMEOUT)
            except Retryable as error:
                if attempt == ATTEMPTS - 1:
                    return error
                await asyncio.sleep(self._pause * 2**attempt)
            except CanaryError as error:
                return error
            else:
                return None
        return None

    def _sender(self, kind: str) -> AlertSender:
        if kind not in self._senders:
            found = {point.name: point for point in entry_points(group="canary.alerts")}
            if kind not in found:
                raise Rejected(f"unknown alert provider type {kind!r}", hint=f"supported are: {', '.join(sorted(found))}")
            self._senders[kind] = found[kind].load()()
        return self._senders[kind]


def _routing(canary: Canary) -> str:
    """Upstream's words for the strategy."""
    analysis = canary.spec.analysis
    if analysis.match:
        return "A/B Testing"
    if analysis.iterations:
        return "Blue/Green"
    if analysis.step_weights:
        steps = ",".join(f"{weight:g}" for weight in analysis.step_weights)
        return f"Weight steps: {steps} max: {analysis.max_weight_effective}"
    return f"Weight step: {analysis.step_weight or 0} max: {analysis.max_weight_effective}"
