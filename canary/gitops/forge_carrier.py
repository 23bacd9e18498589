"""Carries out what needs the forge: commit statuses, and reverts by pull request. One after the other; what came of each is written down at once.

A forge that fails is left alone as a whole, with a back-off of its own, because pushes and records go on without it. What waits for a person is looked at again
every half minute at first and every five minutes later, and not written down anew while nothing has changed.
"""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable, Sequence

from canary.api.canaryrun import CanaryRun, EffectState
from canary.api.gitsink import Delivery, GitSink
from canary.gitops import proposals, wanted
from canary.gitops.access import Access
from canary.gitops.agenda import HOURLY, Agenda, pause
from canary.gitops.effects import Done, Pasts
from canary.gitops.failures import Failure, GitFailed, Reaction
from canary.gitops.forges.base import Forge, ForgeFailed
from canary.gitops.git import Mirror
from canary.gitops.queue import Item, Key, Note
from canary.gitops.statuses import post_status
from canary.gitops.tools import Tools

SHORTEST, LONGEST = 2.0, 600.0
"""Seconds: first and longest back-off from a forge that fails."""
PAUSE = 60.0
"""Seconds until what was overtaken is tried again."""
POLLS = (30.0, 60.0, 120.0, 300.0)
"""Seconds between looks at an open pull request; the last one for ever."""
Remember = Callable[[GitSink, Sequence[CanaryRun]], Awaitable[Pasts]]
"""What may stand against the reverts of these runs."""
Write = Callable[[Item, Note, float], Awaitable[None]]
"""(effect, its next state, seconds until it is tried again, or 0)."""


def by_proposal(sink: GitSink, item: Item) -> bool:
    """Whether this revert goes by pull request: the sink wants that, or the branch has refused a push of it before."""
    if item.kind not in {wanted.REVERT, wanted.PROPOSAL}:
        return False
    delivery = sink.spec.on_failure.delivery
    opened = item.effect.reason == proposals.OPEN or item.effect.ref.startswith(("http://", "https://"))
    return delivery is Delivery.PULL_REQUEST or (delivery is Delivery.AUTO and opened)


class ForgeCarrier:
    """For one sink."""

    def __init__(self, tools: Tools, agenda: Agenda, access: Access, write: Write, remember: Remember) -> None:
        self._tools = tools
        self._agenda = agenda
        self._access = access
        self._write = write
        self._remember = remember
        self._failures = 0
        self._rest: tuple[int, float] = (-1, 0.0)
        """Round of the agenda, and Unix time until which the forge is left alone."""
        self._polls: dict[Key, int] = {}

    async def carry_out(self, mirror: Mirror, sink: GitSink, items: Sequence[Item]) -> None:
        """Raises GitFailed for trouble with the repository, and the errors of writing notes."""
        forge: Forge | None = None
        for number, item in enumerate(items):
            began, (rested, until) = self._agenda.round, self._rest
            if rested == began and until > self._tools.clock():
                self._agenda.plan(items[number:], at=until, in_round=began)
                return
            try:
                forge = forge or await self._access.forge(sink)
                done = await self._act(forge, mirror, sink, item)
                self._failures = 0
            except ForgeFailed as error:
                if not error.of_the_item:
                    await self._leave_alone(items[number:], error.failure, in_round=began)
                    return
                done = _said(error.failure)
            except GitFailed as error:
                if not error.failure.of_the_push and error.failure.reaction is not Reaction.RECOMPUTE:
                    raise
                done = _said(error.failure)
            await self._note(item, done)

    async def withdraw(self, sink: GitSink, item: Item, why: str) -> bool:
        """Close the pull request of a revert that nobody needs any more; False when the forge did not let us, which is written down."""
        began = self._agenda.round
        try:
            await proposals.withdraw(await self._access.forge(sink), sink, item.run, why)
        except ForgeFailed as error:
            await self._leave_alone([item], error.failure, in_round=began)
            return False
        return True

    async def _act(self, forge: Forge, mirror: Mirror, sink: GitSink, item: Item) -> Done:
        if item.kind in {wanted.REVERT, wanted.PROPOSAL}:
            return await proposals.propose(mirror, forge, sink, item.run, await self._remember(sink, [item.run]))
        return await post_status(forge, sink, item.run)

    async def _note(self, item: Item, done: Done) -> None:
        if done.state is EffectState.WAITING:
            polls = self._polls[item.id] = self._polls.get(item.id, -1) + 1
            wait = POLLS[min(polls, len(POLLS) - 1)]
            if (item.effect.state, item.effect.ref, item.effect.reason) == (done.state, done.ref, done.reason):
                self._agenda.plan([item], at=self._tools.clock() + wait, in_round=self._agenda.round)
                return
        else:
            self._polls.pop(item.id, None)
            wait = pause(done.reason) if done.state is EffectState.BLOCKED else PAUSE if done.state is EffectState.RETRYING else 0.0
        await self._write(item, Note(done.state, done.ref, done.reason, done.text), wait)

    async def _leave_alone(self, items: Sequence[Item], failure: Failure, *, in_round: int) -> None:
        """Nothing more for a while; the first one says why."""
        self._failures += 1
        blocked = failure.reaction is Reaction.BLOCKED
        longest = min(LONGEST, SHORTEST * 2 ** min(self._failures, 20))
        wait = HOURLY if blocked else max(failure.wait, random.uniform(SHORTEST, longest))
        self._rest = (in_round, self._tools.clock() + wait)
        self._agenda.plan(items, at=self._rest[1], in_round=in_round)
        first = items[0]
        state = EffectState.BLOCKED if blocked else EffectState.RETRYING
        await self._write(first, Note(state, first.effect.ref, failure.reason, failure.text), wait)


def _said(failure: Failure) -> Done:
    state = EffectState.BLOCKED if failure.reaction is Reaction.BLOCKED else EffectState.RETRYING
    reason = "Overtaken" if failure.reaction is Reaction.RECOMPUTE else failure.reason
    return Done(state, reason=reason, text=failure.text)
