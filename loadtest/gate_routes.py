"""`/gate/…` and `/rollback/…`: the confirm and rollback hooks ask here, people and pipelines answer here.

Upstream's paths, statuses and bodies; any method is taken, as there. Added: `metadata.gate` (one gate per hook),
`metadata.expiresIn`, `metadata.by`, `metadata.reason`, and `GET /gate/list`.
"""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta
from typing import Final

from aiohttp import web

from loadtest.access import NamespaceFilter
from loadtest.gates import KINDS, Gate, GateError, GateKey, GateStore
from loadtest.logs import log
from loadtest.payload import HookError, Payload
from loadtest.request_guard import CALLER, read_payload, text
from loadtest.units import now, parse_positive_duration

_MAX_NOTE: Final = 500


class GateRoutes:
    """The handlers; the store is asked in worker threads because it may read, lock and flush files."""

    def __init__(self, store: GateStore, namespaces: NamespaceFilter) -> None:
        self._store = store
        self._namespaces = namespaces

    def add_to(self, router: web.UrlDispatcher) -> None:
        """Register the paths."""
        router.add_route("*", "/gate/approve", self.approve)
        router.add_route("*", "/gate/halt", self.halt)
        router.add_get("/gate/list", self.list)
        for kind in KINDS:
            router.add_route("*", f"/{kind}/check", self.check)
            router.add_route("*", f"/{kind}/open", self.change)
            router.add_route("*", f"/{kind}/close", self.change)

    async def approve(self, _: web.Request) -> web.Response:
        """Always 200: for manifests that switch a gate off."""
        return text(200, "OK")

    async def halt(self, _: web.Request) -> web.Response:
        """Always 403: for manifests that pin a release."""
        return text(403, "Forbidden")

    async def check(self, request: web.Request) -> web.Response:
        """200 Approved when the gate is open, 403 Forbidden when it is closed, unknown or expired."""
        payload = await read_payload(request, self._namespaces)
        key = _key(_path_parts(request)[0], payload)
        try:
            approved = await asyncio.to_thread(self._store.is_open, key)
        except GateError as error:
            raise HookError(500, str(error)) from error
        log.info("%s %s check: approved %s", key, key.kind, str(approved).lower(), extra={"canary": payload.canary})
        return text(200, "Approved") if approved else text(403, "Forbidden")

    async def change(self, request: web.Request) -> web.Response:
        """202 when the new state is kept; 507 when it cannot be."""
        payload = await read_payload(request, self._namespaces)
        kind, verb = _path_parts(request)
        gate = _gate(_key(kind, payload), payload=payload, request=request, opening=verb == "open")
        try:
            await asyncio.to_thread(self._store.put, gate)
        except GateError as error:
            raise HookError(507, str(error)) from error
        word = "opened" if gate.open else "closed"
        log.info("%s %s %s by %s", gate.key, kind, word, gate.by or "unknown", extra={"canary": payload.canary, "address": gate.remote})
        return text(202)

    async def list(self, request: web.Request) -> web.Response:
        """Every gate of the namespaces served here; `?namespace=` narrows it."""
        try:
            gates = await asyncio.to_thread(self._store.all)
        except GateError as error:
            raise HookError(500, str(error)) from error
        wanted = request.query.get("namespace")
        at = now()
        shown = [
            gate.view(at)
            for key, gate in sorted(gates.items())
            if self._namespaces.allows(key.namespace) and wanted in (None, key.namespace)
        ]
        return web.json_response({"gates": shown})


def _path_parts(request: web.Request) -> tuple[str, str]:
    _, kind, verb = request.path.split("/")
    return kind, verb


def _key(kind: str, payload: Payload) -> GateKey:
    try:
        return GateKey.of(kind, namespace=payload.namespace, name=payload.name, gate=payload.metadata.get("gate", ""))
    except ValueError as error:
        raise HookError(400, str(error)) from error


def _gate(key: GateKey, *, payload: Payload, request: web.Request, opening: bool) -> Gate:
    metadata, changed_at = payload.metadata, now()
    return Gate(
        key=key,
        open=opening,
        changed_at=changed_at,
        expires_at=_expiry(metadata.get("expiresIn", ""), since=changed_at) if opening else None,
        # A name that came with the token cannot be overridden by what the body claims.
        by=(CALLER.get() or metadata.get("by", ""))[:_MAX_NOTE],
        reason=metadata.get("reason", "")[:_MAX_NOTE],
        remote=request.remote or "",
    )


def _expiry(duration: str, *, since: datetime) -> datetime | None:
    if not duration:
        return None
    try:
        return since + timedelta(seconds=parse_positive_duration(duration))
    except (ValueError, OverflowError) as error:
        raise HookError(400, f"metadata.expiresIn: {error}") from error
