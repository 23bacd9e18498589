"""The outbox: effects that wait on CanaryRuns are carried out, one sink at a time, for as long as it takes.

It lives in the API (`CanaryRun.status.effects`), so it survives this process, and a Git server that is down or refuses delays nothing but itself.
One drain per sink and one lock per repository: two canaries never race each other, only other people. A sink that was refused its credentials
rests as a whole, because fifty more attempts would lock the account.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import logging
import random
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from canary.api.canaryrun import CanaryRun, EffectState, EffectStatus, parse_canary_run
from canary.api.errors import InvalidObject
from canary.api.gitsink import GitSink, parse_git_sink
from canary.core.errors import CanaryError, Conflict
from canary.gitops import effects
from canary.gitops.credentials import auth_from
from canary.gitops.failures import Failure, GitFailed, Reaction
from canary.gitops.git import Mirror
from canary.gitops.report import report
from canary.kube.cluster import Cluster
from canary.kube.resource import CANARY_RUNS, GIT_SINKS, SECRETS, Object, Resource

log = logging.getLogger(__name__)

Key = tuple[str, str]
SHORTEST, LONGEST, HOURLY = 2.0, 600.0, 3600.0
"""Seconds: first back-off, longest back-off, and how often what is blocked is tried again."""
ACTS = {"record": effects.write_record, "revert": effects.revert_image}
OnChange = Callable[[Resource, str, Object, Object | None], None]
OnEffect = Callable[[str, str, int], None]
"""(effect, result, how many effects wait)."""
Warn = Callable[[Object, str, str], None]
"""(object, message, kind): an event on the run's Canary."""


class Watched(Cluster, Protocol):
    """A cluster that also tells of changes."""

    def on_change(self, callback: OnChange) -> Callable[[], None]:
        """Call back for every change of a watched object; returns how to stop that."""
        ...


@dataclass(slots=True)
class _Sink:
    """What is remembered of a sink between drains; nothing that could not be forgotten."""

    mirror: Mirror | None = None
    seen: tuple[str, str] = ("", "")
    rest_until: float = 0.0
    failures: int = 0
    task: asyncio.Task[None] | None = None


def effect_name(kind: str, sink: str) -> str:
    """`record/<sink>`: what is written, and where."""
    return f"{kind}/{sink}"


class Outbox:
    """Drains effects until cancelled."""

    def __init__(
        self,
        cluster: Watched,
        *,
        directory: str = "",
        on_effect: OnEffect = lambda *_: None,
        warn: Warn = lambda *_: None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._cluster = cluster
        self._temporary = None if directory else tempfile.TemporaryDirectory(prefix="canary-git-")
        self._directory = Path(directory or (self._temporary.name if self._temporary else "."))
        self._on_effect = on_effect
        self._warn = warn
        self._clock = clock
        self._sinks: dict[Key, _Sink] = {}
        self._wake = asyncio.Event()

    async def run(self) -> None:
        """Drain whenever something is due."""
        await self._cluster.watch(CANARY_RUNS, GIT_SINKS)
        forget = self._cluster.on_change(self._on_change)
        try:
            while True:
                self._wake.clear()
                due = self._start_drains()
                try:
                    async with asyncio.timeout(due):
                        await self._wake.wait()
                except TimeoutError:
                    pass
        finally:
            forget()
            tasks = [sink.task for sink in self._sinks.values() if sink.task]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            if self._temporary:
                self._temporary.cleanup()

    def _on_change(self, resource: Resource, kind: str, body: Object, old: Object | None) -> None:
        if resource == GIT_SINKS:
            key = (body["metadata"]["namespace"], body["metadata"]["name"])
            if kind == "DELETED":
                self._sinks.pop(key, None)
            elif old is None or old.get("spec") != body.get("spec"):
                self._sinks.setdefault(key, _Sink()).rest_until = 0.0  # whoever mended it wants to see it work
        if resource in {CANARY_RUNS, GIT_SINKS}:
            self._wake.set()

    def _start_drains(self) -> float:
        """Start a drain for each sink that has something due; seconds until the next one is."""
        soonest = HOURLY
        for key in {(run.metadata.namespace, sink) for run, _, sink in self._pending()}:
            state = self._sinks.setdefault(key, _Sink())
            if state.task and not state.task.done():
                continue
            wait = self._due(key, state) - self._clock()
            if wait <= 0:
                state.task = asyncio.create_task(self._drain(key, state), name=f"git {key[0]}/{key[1]}")
                state.task.add_done_callback(lambda _: self._wake.set())
            else:
                soonest = min(soonest, wait)
        return soonest

    def _due(self, key: Key, state: _Sink) -> float:
        times = [
            effect.next_at.timestamp() if effect.next_at else 0.0
            for run, effect, sink in self._pending()
            if (run.metadata.namespace, sink) == key
        ]
        return max(state.rest_until, min(times, default=0.0))

    def _pending(self) -> list[tuple[CanaryRun, EffectStatus, str]]:
        """Every effect that is not final, with its run and its sink's name; oldest runs first, records before reverts."""
        found = []
        for body in self._cluster.list(CANARY_RUNS):
            effects_of = (body.get("status") or {}).get("effects") or ()
            if all(effect.get("state") in {"Done", "Skipped"} for effect in effects_of):
                continue
            try:
                run = parse_canary_run(body)
            except InvalidObject as error:
                log.warning("%s", error)
                continue
            found += [(run, effect, effect.name.partition("/")[2]) for effect in run.status.effects if not effect.state.final]
        return sorted(found, key=lambda one: (one[0].spec.started_at, one[1].name))

    async def _drain(self, key: Key, state: _Sink) -> None:
        for run, effect, name in self._pending():
            if (run.metadata.namespace, name) != key or (effect.next_at and effect.next_at.timestamp() > self._clock()):
                continue
            body = self._cluster.get(GIT_SINKS, *key)
            if body is None:
                await self._note(run, effect, EffectState.SKIPPED, reason="SinkDeleted", error=f"GitSink {key[1]} does not exist any more")
                continue
            if not await self._carry_out(state, body, run, effect):
                return

    async def _carry_out(self, state: _Sink, body: Object, run: CanaryRun, effect: EffectStatus) -> bool:
        """One attempt; False when the whole sink must rest."""
        try:
            sink = parse_git_sink(body)
            if sink.spec.suspend:
                state.rest_until = self._clock() + HOURLY
                return False
            mirror = await self._mirror(state, sink)
            async with mirror.lock:
                done = await ACTS[effect.name.partition("/")[0]](mirror, sink, run)
        except (GitFailed, CanaryError, InvalidObject, OSError) as error:
            return await self._failed(state, body, run, effect, _as_failure(error))
        state.failures, state.rest_until = 0, 0.0
        wait = HOURLY if done.state is EffectState.BLOCKED else 0.0
        await self._note(run, effect, done.state, ref=done.ref, reason=done.reason, error=done.text, wait=wait)
        await report(self._cluster, body, failure=None, pushed=done if done.pushed_branch else None, now=self._clock())
        return True

    async def _failed(self, state: _Sink, body: Object, run: CanaryRun, effect: EffectStatus, failure: Failure) -> bool:
        state.failures += 1
        if failure.reason == "Local" and state.mirror:
            await state.mirror.drop()
        blocked = failure.reaction is Reaction.BLOCKED
        wait = HOURLY if blocked else random.uniform(SHORTEST, min(LONGEST, SHORTEST * 2**state.failures))
        state.rest_until = self._clock() + wait
        log.warning("git: %s", failure.text, extra={"fields": {"sink": body["metadata"]["name"], "reason": failure.reason}})
        kind = EffectState.BLOCKED if blocked else EffectState.RETRYING
        await self._note(run, effect, kind, reason=failure.reason, error=failure.text, wait=wait)
        await report(self._cluster, body, failure=failure, pushed=None, now=self._clock())
        return False

    async def _mirror(self, state: _Sink, sink: GitSink) -> Mirror:
        """The mirror of this sink, made anew when its URL or its Secret has changed."""
        url, secret = sink.spec.repository.url, sink.spec.repository.secret_ref
        data: dict[str, bytes] = {}
        version = ""
        if secret is not None:
            body = await self._cluster.read(SECRETS, sink.metadata.namespace, secret.name)
            data = {key: base64.b64decode(value) for key, value in (body.get("data") or {}).items()}
            version = body["metadata"]["resourceVersion"]
        if state.mirror is None or state.seen != (url, version):
            folder = self._directory / hashlib.sha256(f"{sink.metadata.namespace}/{sink.metadata.name}/{url}".encode()).hexdigest()[:16]
            await asyncio.to_thread(folder.mkdir, parents=True, exist_ok=True, mode=0o700)
            state.mirror = Mirror(folder, url, auth_from(url, data, folder))
            state.seen = (url, version)
        return state.mirror

    async def _note(
        self, run: CanaryRun, effect: EffectStatus, kind: EffectState, *, ref: str = "", reason: str = "", error: str = "", wait: float = 0.0
    ) -> None:
        """Write the state of one effect on its run; a Conflict is read again, because the run itself does not change any more."""
        body: Object | None = None
        for _ in range(5):
            body = self._cluster.get(CANARY_RUNS, run.metadata.namespace, run.metadata.name)
            if body is None:
                return  # deleted with its canary
            current = parse_canary_run(body)
            changed = [
                _next(one, kind, ref=ref, reason=reason, error=error, at=self._clock() + wait if wait else None) if one.name == effect.name else one
                for one in current.status.effects
            ]
            patch = {
                "metadata": {"resourceVersion": current.metadata.resource_version},
                "status": {"effects": [one.to_dict() for one in changed]},
            }
            try:
                await self._cluster.merge(CANARY_RUNS, run.metadata.namespace, run.metadata.name, patch, subresource="status")
            except Conflict:
                await asyncio.sleep(0.2)
                continue
            break
        if body and error and kind in {EffectState.BLOCKED, EffectState.RETRYING} and reason != effect.reason:
            self._warn(body, f"Git {effect.name.partition('/')[0]} of run {run.metadata.name}: {error}", f"Git{reason}")
        self._on_effect(effect.name.partition("/")[0], kind.value, len(self._pending()))


def _next(effect: EffectStatus, state: EffectState, *, ref: str, reason: str, error: str, at: float | None) -> EffectStatus:
    return EffectStatus(
        name=effect.name,
        state=state,
        attempts=effect.attempts + 1,
        next_at=datetime.fromtimestamp(at, UTC).replace(microsecond=0) if at else None,
        ref=ref,
        reason=reason,
        error=error,
    )


def _as_failure(error: Exception) -> Failure:
    if isinstance(error, GitFailed):
        return error.failure
    if isinstance(error, OSError):
        return Failure("Local", Reaction.BACK_OFF, str(error))
    if isinstance(error, InvalidObject):
        return Failure("InvalidSpec", Reaction.BLOCKED, str(error))
    assert isinstance(error, CanaryError)
    retry = error.reason in {"Unavailable", "Conflict"}
    return Failure(error.reason, Reaction.BACK_OFF if retry else Reaction.BLOCKED, error.message)

