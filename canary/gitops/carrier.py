"""Carries out batches of effects, and writes down what came of each.

A push that the branch refuses (protection, a hook) is taken apart until the refused writes stand alone: one canary's manifest that a rule
protects must not hold up the others. After three refusals in a row it is the branch that is closed, and the rest waits an hour with them.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace

from canary.api.canaryrun import CanaryRun, EffectState, RunPhase
from canary.api.gitsink import Delivery, GitSink
from canary.core.errors import NotFound
from canary.gitops import breaker, effects, sources, tags, wanted
from canary.gitops.access import Access
from canary.gitops.agenda import HOURLY, Agenda, pause
from canary.gitops.breaker import Past
from canary.gitops.effects import Outcome, Push
from canary.gitops.failures import Failure, GitFailed
from canary.gitops.forge_carrier import ForgeCarrier, by_proposal
from canary.gitops.git import Mirror
from canary.gitops.newer_run import newer_run, siblings
from canary.gitops.queue import Item, Note
from canary.gitops.tools import Tools
from canary.kube.resource import CANARIES

REFUSALS = 3
"""Refused pushes in a row after which the rest of their kind waits."""
PAUSE = 60.0
"""Seconds until a write that waits for somebody else's is looked at again."""
ACTS: dict[str, Callable[[Mirror, GitSink, Sequence[CanaryRun]], Awaitable[Outcome]]] = {
    wanted.RECORD: effects.write_records,
    wanted.TAG: tags.tag_promotions,
    wanted.AMEND: effects.amend_records,
    wanted.SOURCE: sources.find_sources,
}
REVERTS = (wanted.REVERT, wanted.PROPOSAL)


class Carrier:
    """For one sink."""

    def __init__(self, tools: Tools, agenda: Agenda, access: Access) -> None:
        self._tools = tools
        self._agenda = agenda
        self._forges = ForgeCarrier(tools, agenda, access, self._write, self._pasts)
        self._round = 0

    def begin(self) -> None:
        """What is decided from now on is decided on what is known now."""
        self._round = self._agenda.round

    async def carry_out(self, mirror: Mirror, sink: GitSink, batch: Sequence[Item]) -> Push | None:
        """One batch of one kind. Raises GitFailed when the trouble is the whole sink's, and the errors of writing notes."""
        left = [item for item in batch if await self._still_wanted(sink, item)]
        by_git = [item for item in left if _is_pushed(sink, item)]
        by_forge = [item for item in left if not _is_pushed(sink, item)]
        push = await self._by_git(mirror, sink, by_git) if by_git else None
        if by_forge:
            await self._forges.carry_out(mirror, sink, by_forge)
        return push

    async def _by_git(self, mirror: Mirror, sink: GitSink, batch: Sequence[Item]) -> Push | None:
        try:
            return await self._act(mirror, sink, batch)
        except GitFailed as error:
            if error.failure.reason == "Overtaken":
                await self._postpone(batch, error.failure, wait=PAUSE)
                return None
            if not error.failure.of_the_push:
                raise
            if len(batch) == 1:
                await self._refuse(mirror, sink, batch[0], error.failure)
                return None
        return await self._one_by_one(mirror, sink, batch)

    async def _one_by_one(self, mirror: Mirror, sink: GitSink, batch: Sequence[Item]) -> Push | None:
        push, refusals = None, 0
        for number, item in enumerate(batch):
            try:
                push = await self._act(mirror, sink, [item]) or push
                refusals = 0
            except GitFailed as error:
                if not error.failure.of_the_push:
                    raise
                await self._refuse(mirror, sink, item, error.failure)
                refusals += 1
            if refusals == REFUSALS and _asks_instead(sink, item):
                await self._forges.carry_out(mirror, sink, batch[number + 1 :])
                break
            if refusals == REFUSALS:
                self._agenda.plan(batch[number + 1 :], at=self._tools.clock() + HOURLY, in_round=self._round)
                break
        return push

    async def _act(self, mirror: Mirror, sink: GitSink, batch: Sequence[Item]) -> Push | None:
        runs, kind = [item.run for item in batch], batch[0].kind
        if kind in REVERTS:
            outcome = await effects.revert_images(mirror, sink, runs, await self._pasts(sink, runs))
        else:
            outcome = await ACTS[kind](mirror, sink, runs)
        for item in batch:
            done = outcome.done[item.run.metadata.name]
            wait = pause(done.reason) if done.state is EffectState.BLOCKED else 0.0
            if done.reason == breaker.REASON == item.effect.reason and done.text == item.effect.error:
                self._agenda.plan([item], at=self._tools.clock() + wait, in_round=self._round)
                continue  # nothing new
            await self.note(item, Note(done.state, done.ref, done.reason, done.text, source=done.source), wait=wait)
        return outcome.push

    async def _pasts(self, sink: GitSink, runs: Sequence[CanaryRun]) -> dict[str, Past]:
        """What may stand against reverts of these runs. Raises the errors of a read."""
        found = {}
        for run in runs:
            kin = tuple(siblings(self._tools.cluster, run.metadata.namespace, run.spec.canary_ref.uid))
            if len(kin) > 1:
                forgiven = await self._forgiven(run)
                found[run.metadata.name] = Past(sink.metadata.name, sink.spec.breaker, kin, self._tools.clock(), forgiven)
        return found

    async def _forgiven(self, run: CanaryRun) -> str:
        """What a person has said on the Canary."""
        try:
            body = await self._tools.cluster.read(CANARIES, run.metadata.namespace, run.spec.canary_ref.name)
        except NotFound:
            return ""
        return str((body["metadata"].get("annotations") or {}).get(breaker.RETRY, ""))

    async def _refuse(self, mirror: Mirror, sink: GitSink, item: Item, failure: Failure) -> None:
        if _asks_instead(sink, item) and failure.reason in {"Protected", "SignatureRequired"}:
            await self._forges.carry_out(mirror, sink, [item])
            return
        await self.note(item, Note(EffectState.BLOCKED, reason=failure.reason, error=failure.text), wait=HOURLY)

    async def _postpone(self, batch: Sequence[Item], failure: Failure, *, wait: float) -> None:
        """All of them later; the first one says why."""
        self._agenda.plan(batch, at=self._tools.clock() + wait, in_round=self._round)
        await self.note(batch[0], Note(EffectState.RETRYING, reason=failure.reason, error=failure.text), wait=wait)

    async def _still_wanted(self, sink: GitSink, item: Item) -> bool:
        """Whether the sink asks for it (it may have changed since the run ended) and no newer run has made it pointless."""
        if not wanted.asked(sink.spec, item.kind, item.run.status.outcome):
            await self.note(item, Note(EffectState.SKIPPED, reason="NotWanted", error=f"GitSink {sink.metadata.name} does not ask for it"))
            return False
        if item.kind not in REVERTS:
            return True
        newer = newer_run(self._tools.cluster, item.run)
        if newer is None:
            return True
        if newer.status.outcome:
            text = f"run {newer.metadata.name} of the same canary came later and {newer.status.outcome}"
            promoted = newer.status.phase is RunPhase.SUCCEEDED  # one that failed takes the pull request over
            if promoted and by_proposal(sink, item) and not await self._forges.withdraw(sink, item, text):
                return False
            await self.note(item, Note(EffectState.SKIPPED, reason="Superseded", error=text))
        else:
            text = f"run {newer.metadata.name} tries the same images again"
            await self.note(item, Note(EffectState.WAITING, ref=item.effect.ref, reason="NewerRun", error=text), wait=PAUSE)
        return False

    async def note(self, item: Item, note: Note, *, wait: float = 0.0) -> None:
        """Write it down, and tell whoever listens; a person only when the reason is new."""
        at = self._tools.clock() + wait if wait else None
        done_at = self._tools.clock() if note.state is EffectState.DONE else None
        body = await self._tools.queue.note(item, replace(note, at=at, done_at=done_at))
        # only now: what could not be written down is looked at again as soon as the sink has rested
        self._agenda.plan([item], at=at or self._tools.clock() + PAUSE, in_round=self._round)
        loud = note.state in {EffectState.BLOCKED, EffectState.RETRYING}
        if body is not None and loud and note.reason != item.effect.reason:
            self._tools.warn(body, f"Git {item.kind} of run {item.run.metadata.name}: {note.error}", f"Git{note.reason}")
        self._tools.on_effect(item.kind, note.state.value, self._tools.queue.depth)

    async def _write(self, item: Item, note: Note, wait: float) -> None:
        await self.note(item, note, wait=wait)


def _is_pushed(sink: GitSink, item: Item) -> bool:
    return item.kind in ACTS or (item.kind in REVERTS and not by_proposal(sink, item))


def _asks_instead(sink: GitSink, item: Item) -> bool:
    """Whether a refused push becomes a pull request."""
    return item.kind in REVERTS and sink.spec.on_failure.delivery is Delivery.AUTO
