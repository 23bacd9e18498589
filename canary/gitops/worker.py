"""One GitSink at work: when it is due, its mirror, one drain of what waits for it, and how long it rests after trouble.

Three circles of trouble, so that nothing suffers from what is not its own. A write that needs a person (several places name the image) blocks
itself; a push that a branch refuses is the `Carrier`'s business; trouble with the repository as a whole (credentials, network, disk) rests the
sink here, because fifty more attempts would lock the account. What is blocked is tried again every hour, and at once when sink or Secret change.
"""

from __future__ import annotations

import logging
import math
import random
from collections.abc import Collection, Mapping, Sequence
from itertools import groupby

from canary.api.canaryrun import EffectState
from canary.api.gitsink import GitSink, parse_git_sink
from canary.core.errors import CanaryError, NotFound
from canary.gitops import promotions, wanted
from canary.gitops.access import Access
from canary.gitops.agenda import HOURLY, Agenda
from canary.gitops.carrier import Carrier
from canary.gitops.failures import Failure, Reaction, as_failure
from canary.gitops.git import Mirror
from canary.gitops.promotions import Images
from canary.gitops.queue import Item, Key, Note
from canary.gitops.report import report
from canary.gitops.tools import Tools
from canary.kube.resource import GIT_SINKS, SECRETS, Object

log = logging.getLogger(__name__)

SHORTEST, LONGEST = 2.0, 600.0
"""Seconds: first and longest back-off."""
MINUTE = 60.0
"""Seconds after which a sink that was refused asks whether its Secret is another one now. It takes only the right to get it; where the Secrets are
watched anyway (for tracked configs), the watch tells at once. To watch all Secrets of a cluster for this alone was rejected."""
_CLOSED = {"Auth", "Forbidden", "Rejected", "Moved", "Certificate"}
"""Why a forge, which only some writes need, does not let us."""
BATCH = 50
"""Runs written with one push."""


class Worker:
    """One sink. `drain` must not run twice at once; it raises nothing but cancellation."""

    def __init__(self, key: Key, tools: Tools) -> None:
        self.key = key
        self._tools = tools
        self._agenda = Agenda()
        self._access = Access(key, tools)
        self._carrier = Carrier(tools, self._agenda, self._access)
        self._look_at = 0.0
        self._missing: Failure | None = None
        self._rest_until = 0.0
        self._ask_at = math.inf
        self._failures = 0

    @property
    def used(self) -> Mapping[str, str]:
        """Versions of the Secrets that were used, by name."""
        return self._access.used

    def mended(self) -> None:
        """Sink or Secret changed: whoever mended it wants to see it work."""
        self._agenda.mended()
        self._rest_until, self._look_at, self._ask_at, self._failures = 0.0, 0.0, math.inf, 0

    def due(self) -> float | None:
        """Unix time of the next thing to do; None: nothing until something changes."""
        body = self._tools.cluster.get(GIT_SINKS, *self.key)
        times = [self._agenda.at(item) for item in self._tools.queue.of(self.key)]
        if body is not None and (body.get("spec") or {}).get("suspend"):
            return None
        if body is not None:
            times.append(self._look_at)
        soonest = min(times, default=math.inf)
        return None if math.isinf(soonest) else min(max(self._rest_until, soonest), self._ask_at)

    async def drain(self) -> None:
        """Carry out what is due."""
        if self._ask_at <= self._tools.clock():
            await self._ask_for_the_secret()
        body = self._tools.cluster.get(GIT_SINKS, *self.key)
        began = self._agenda.round
        self._carrier.begin()
        try:
            if body is None:
                await self._orphaned()
            elif (due := self.due()) is not None and due <= self._tools.clock():
                await self._drain(body)
        except Exception as error:
            failure = as_failure(error)
            if failure.reason == "Unexpected":  # a bug must neither end the outbox nor make it spin
                log.exception("git: sink %s/%s", *self.key)
            await self._rest(body, failure, in_round=began)
        self._agenda.keep(self._tools.queue.of(self.key))

    async def promoted(self, sink: GitSink) -> Mapping[str, Images]:
        """What the records say was promoted last, by canary. Raises as reading does."""
        async with self._tools.turns.at(sink.spec.repository.url):
            return await promotions.read(await self._access.mirror(sink), sink)

    async def close(self) -> None:
        """The sink is gone for good."""
        await self._access.close()

    async def stop(self) -> None:
        """The outbox ends; what is on the disk stays."""
        await self._access.close(for_good=False)

    async def _drain(self, body: Object) -> None:
        sink, began = parse_git_sink(body), self._agenda.round
        if sink.spec.suspend:
            return
        push, carried = None, set[Key]()
        async with self._tools.turns.at(sink.spec.repository.url):
            # a sink that is changed while it waits or works is left as soon as that is known, and drained anew as it is then
            if self._agenda.round != began:
                return
            mirror = await self._access.mirror(sink)
            if self._look_at <= self._tools.clock():
                await self._look(mirror, sink)
            while self._agenda.round == began and (batches := self._batches(but=carried)):
                for batch in batches:
                    carried |= {item.id for item in batch}
                    push = await self._carrier.carry_out(mirror, sink, batch) or push
            await mirror.tidy()
        self._rest_until, self._failures = 0.0, 0
        refused = self._refused()
        self._plan_to_ask(if_so=refused is not None)
        await report(self._tools.cluster, body, failure=self._missing or refused, push=push, now=self._tools.clock())

    async def _look(self, mirror: Mirror, sink: GitSink) -> None:
        """Say at once, and not after the first failed release, when a sink cannot work; and have the mirror ready by then."""
        branch, number = sink.spec.repository.branch, self._agenda.round
        there = await mirror.fetch(branch) is not None
        self._missing = None if there else Failure("NoBranch", Reaction.BLOCKED, f"the repository has no branch {branch}")
        if number == self._agenda.round:
            self._look_at = math.inf if there else self._tools.clock() + HOURLY

    def _refused(self) -> Failure | None:
        """The first push of this sink that a branch does not let pass, or what keeps the forge closed to it."""
        for item in self._tools.queue.of(self.key):
            failure = Failure(item.effect.reason, Reaction.BLOCKED, item.effect.error)
            if item.effect.state is EffectState.BLOCKED and (failure.of_the_push or failure.reason in _CLOSED):
                return failure
        return None

    def _batches(self, *, but: Collection[Key]) -> list[list[Item]]:
        """The next writes that are due, by kind: records, then reverts, then the rest. Nothing is carried twice in one drain."""
        due = [item for item in self._due_items() if item.id not in but]
        due.sort(key=_order)  # stable: the order of the queue holds within a kind
        return [list(items)[:BATCH] for _, items in groupby(due, key=_order)]

    async def _orphaned(self) -> None:
        """The sink was deleted. It may be on its way from one owner to another, so what waits is given up only an hour later."""
        for item in self._due_items():
            text = f"GitSink {self.key[1]} does not exist any more"
            until = item.effect.next_at if item.effect.reason == "SinkDeleted" else None
            if until is not None and until.timestamp() <= self._tools.clock():
                await self._carrier.note(item, Note(EffectState.SKIPPED, reason="SinkDeleted", error=text))
            else:
                await self._carrier.note(item, Note(EffectState.BLOCKED, reason="SinkDeleted", error=text), wait=HOURLY)

    def _due_items(self) -> Sequence[Item]:
        now = self._tools.clock()
        return [item for item in self._tools.queue.of(self.key) if self._agenda.at(item) <= now]

    async def _rest(self, body: Object | None, failure: Failure, *, in_round: int) -> None:
        """Trouble with all of the sink: nothing more for a while. The first write that waits says why, and so does the sink."""
        self._failures += 1
        blocked = failure.reaction is Reaction.BLOCKED
        longest = min(LONGEST, SHORTEST * 2 ** min(self._failures, 20))
        wait = HOURLY if blocked else max(failure.wait, random.uniform(SHORTEST, longest))
        if self._agenda.round == in_round:
            self._rest_until = self._tools.clock() + wait
            self._plan_to_ask(if_so=blocked)
        if failure.reason in {"Local", "Unknown", "Stale"}:
            await self._access.drop()
        log.warning("git: %s", failure.text, extra={"fields": {"sink": "/".join(self.key), "reason": failure.reason}})
        try:
            for item in self._due_items()[:1]:
                state = EffectState.BLOCKED if blocked else EffectState.RETRYING
                await self._carrier.note(item, Note(state, reason=failure.reason, error=failure.text), wait=wait)
        except Exception:
            log.warning("git: sink %s/%s: its trouble could not be written down", *self.key, exc_info=failure.reason == "Unexpected")
        if body is not None:
            await report(self._tools.cluster, body, failure=failure, push=None, now=self._tools.clock())

    def _plan_to_ask(self, *, if_so: bool) -> None:
        """Ask for the Secrets in a minute, if they are the reason why the sink was refused, or may be."""
        self._ask_at = self._tools.clock() + MINUTE if if_so and self.used else math.inf

    async def _ask_for_the_secret(self) -> None:
        """Has somebody changed a Secret that this sink was refused with?"""
        self._plan_to_ask(if_so=True)
        for name, known in dict(self.used).items():
            try:
                version = (await self._tools.cluster.read(SECRETS, self.key[0], name))["metadata"]["resourceVersion"]
            except NotFound:
                version = ""
            except CanaryError as error:
                log.info("git: sink %s/%s: %s", *self.key, error)
                return
            if version != known:
                self.mended()


def _order(item: Item) -> int:
    return wanted.ORDER.get(item.kind, len(wanted.ORDER))
