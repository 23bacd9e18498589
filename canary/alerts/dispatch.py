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
from canary.api.analysis import ThresholdRange
from canary.api.canary import Canary
from canary.api.status import CheckStatus, Verdict
from canary.core.errors import CanaryError, Rejected, Retryable
from canary.core.evidence import shortened
from canary.core.telling import Severity
from canary.kube.cluster import Cluster
from canary.kube.resource import ALERT_PROVIDERS, SECRETS

TIMEOUT = 5.0
ATTEMPTS = 3
CHECKS = 3
"""Checks that one message explains; the rest are on the object."""
LONGEST_QUERY = 300
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

    def fields(self, canary: Canary, *, full: bool, checks: bool = False) -> tuple[tuple[str, str], ...]:
        """The facts under a message: the cluster always; target, limits and strategy when `full`; with `checks` those that did not pass."""
        fields = [("Cluster", self._cluster_name)] if self._cluster_name else []
        if full:
            spec, analysis = canary.spec, canary.spec.analysis
            fields += [
                ("Target", f"{spec.target_ref.kind}/{spec.target_ref.name}.{canary.metadata.namespace}"),
                ("Failed checks threshold", str(analysis.threshold_count)),
                ("Progress deadline", f"{spec.progress_deadline}s"),
                ("Traffic routing", _routing(canary)),
            ]
        if checks:
            wrong = [check for check in canary.status.checks if check.verdict is not Verdict.PASS and not check.dry_run]
            fields += [field for check in wrong[:CHECKS] for field in _evidence(check)]
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


def _evidence(check: CheckStatus) -> list[tuple[str, str]]:
    """Why a check did not pass."""
    where = "" if check.weight is None else f" at canary weight {check.weight}"
    value = check.error or ("no data" if check.value is None and check.verdict is Verdict.NO_DATA else _number(check.value))
    samples = "" if check.samples is None else f" ({check.samples} samples in {check.window})"
    fields = [("Check", f"{check.name}: {check.verdict}{where}"), ("Value", value + samples)]
    if check.bound is not None and (bound := _bound(check.bound)):
        fields.append(("Bound", bound))
    if check.query:
        fields.append(("Query", shortened(check.query, LONGEST_QUERY)))
    return fields


def _bound(bound: ThresholdRange) -> str:
    least, most = bound.min, bound.max
    return " and ".join([f"at least {_number(least)}"] * (least is not None) + [f"at most {_number(most)}"] * (most is not None))


def _number(value: float | None) -> str:
    """JSON knows no infinity, so a value that is none was infinite."""
    return "not finite" if value is None else f"{value:.6g}"


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
