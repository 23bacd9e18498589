"""Telling people: events on the object, alerts in chats, the event webhook. Never on a tick's own time.

Upstream sends all three inside the tick, so one slow chat stretches every interval (Q24, flagger-analysis 8.21). Here a
tick only queues; one drain per canary keeps their order, and a canary whose receiver is slow delays nobody else.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable

from canary.alerts.base import Alert
from canary.alerts.dispatch import Alerter
from canary.api.canary import Canary
from canary.core import telling
from canary.core.errors import CanaryError
from canary.engine.logs import about
from canary.engine.scheduler import Key
from canary.engine.settings import Settings
from canary.hooks.client import HookClient
from canary.hooks.payload import event_payload, global_event_hook
from canary.kube.recorder import EventRecorder
from canary.kube.resource import Object

log = logging.getLogger(__name__)

BACKLOG = 200
"""Notices kept per canary while their receivers are slow; the oldest go first."""


class Notifier:
    """Queues notices and delivers them in order, one drain per canary."""

    def __init__(
        self, settings: Settings, recorder: EventRecorder, alerter: Alerter, hooks: HookClient, *, clock: Callable[[], float] = time.time
    ) -> None:
        self._settings = settings
        self._recorder = recorder
        self._alerter = alerter
        self._hooks = hooks
        self._clock = clock
        self._queues: dict[Key, deque[tuple[Canary, telling.Notice, float]]] = {}
        self._drains: dict[Key, asyncio.Task[None]] = {}
        self._last: dict[tuple[Key, str], str] = {}

    def post(self, canary: Canary, notices: tuple[telling.Notice, ...]) -> None:
        """Queue the notices of one tick."""
        key = (canary.metadata.namespace, canary.metadata.name)
        for notice in notices:
            if notice.once and self._last.get((key, notice.kind)) == notice.message:
                continue
            self._last[key, notice.kind] = notice.message
            self._record(canary, notice)
            self._queue(key, canary, notice)

    def warn(self, body: Object, message: str, *, kind: str) -> None:
        """One warning event about an object whose tick failed; repeats are counted by the recorder, not posted."""
        self._recorder.record(body, message=message, kind=kind, warning=True)

    def forget(self, key: Key) -> None:
        """Drop what is remembered of a deleted canary."""
        for known in [known for known in self._last if known[0] == key]:
            del self._last[known]

    def _record(self, canary: Canary, notice: telling.Notice) -> None:
        meta = canary.metadata
        level = logging.WARNING if notice.warning else logging.INFO
        log.log(level, notice.message, extra=about(meta.namespace, meta.name, kind=notice.kind))
        body: Object = {
            "apiVersion": "flagger.app/v1beta1",
            "kind": "Canary",
            "metadata": {"name": meta.name, "namespace": meta.namespace, "uid": meta.uid, "resourceVersion": meta.resource_version},
        }
        self._recorder.record(body, message=notice.message, kind=notice.kind, warning=notice.warning)

    def _queue(self, key: Key, canary: Canary, notice: telling.Notice) -> None:
        hooks = [hook for hook in canary.spec.analysis.webhooks if hook.type_effective == "event"]
        if not (hooks or self._settings.event_webhook or notice.severity):
            return
        queue = self._queues.setdefault(key, deque(maxlen=BACKLOG))
        queue.append((canary, notice, self._clock()))
        if key not in self._drains:
            self._drains[key] = asyncio.get_running_loop().create_task(self._drain(key, queue), name=f"notices {key[0]}/{key[1]}")

    async def _drain(self, key: Key, queue: deque[tuple[Canary, telling.Notice, float]]) -> None:
        try:
            while queue:
                canary, notice, at = queue.popleft()
                await self._call_event_hooks(canary, notice, at)
                if notice.severity:
                    await self._send_alert(canary, notice, notice.severity)
        finally:
            self._drains.pop(key, None)
            self._queues.pop(key, None)

    async def _call_event_hooks(self, canary: Canary, notice: telling.Notice, at: float) -> None:
        own = [hook for hook in canary.spec.analysis.webhooks if hook.type_effective == "event"]
        fallback = [global_event_hook(self._settings.event_webhook)] if self._settings.event_webhook and not own else []
        for hook in own or fallback:
            payload = event_payload(canary, hook, notice=notice, at=at)
            result = await self._hooks.call(hook, payload)
            if not result.ok:
                log.error("event webhook %s: %s", hook.name, result.message, extra=about(canary.metadata.namespace, canary.metadata.name))

    async def _send_alert(self, canary: Canary, notice: telling.Notice, severity: telling.Severity) -> None:
        meta = canary.metadata
        alert = Alert(
            canary=meta.name,
            namespace=meta.namespace,
            message=notice.alert or notice.message,
            severity=severity,
            fields=self._alerter.fields(canary, full=notice.with_fields, checks=notice.with_checks),
        )
        try:
            await self._alerter.send(canary, alert)
        except CanaryError as error:
            log.warning("alert not delivered: %s", error, extra=about(meta.namespace, meta.name))

    async def close(self, *, deadline: float) -> None:
        """Deliver what is queued, at most for `deadline` seconds."""
        if tasks := list(self._drains.values()):
            _, pending = await asyncio.wait(tasks, timeout=deadline)
            for task in pending:
                task.cancel()
