"""The story that `canary demo --rings` tells: a good release walks through three rings of clusters, a bad one comes no further than the first.

The developer commits to `main` as ever. Who moves the rings' branches is the code of `canary rings apply`, and all that it knows is in Git: what
the cluster of one ring has recorded opens the next one. The bad release is rolled back and recorded where it failed, the branch of that ring gets
the revert, and the branches of the others are looked at again when everybody has had the time to move them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime

from canary.sandbox.account import OUTCOMES, Happening
from canary.sandbox.deployment import deployment
from canary.sandbox.fleet import BAKE, PLAN, RINGS, Fleet
from canary.sandbox.gitsync import Developer, GitSync
from canary.sandbox.mover import EVERY, Mover
from canary.sandbox.stage import APP
from canary.sandbox.story import DEPLOYMENT
from canary.sandbox.telling import Telling
from canary.sandbox.witness import Witness, tag
from canary.sandbox.world import together

_FIRST = next(iter(RINGS))
_QUIET = BAKE + 2 * EVERY
"""Seconds for which nothing may move after the bad release: as long as a good one would have taken to reach the next ring."""
_LOOK = 0.2
"""Seconds between looks at the branches on the server."""


class RingStory(Telling):
    """Tells itself on a fleet."""

    def __init__(self, fleet: Fleet, manifest: str, *, deadline: float) -> None:
        super().__init__(fleet, deadline=deadline)
        self._fleet = fleet
        self._manifest = manifest
        self._witnesses: dict[str, Witness] = {}
        self._mover: Mover | None = None
        self._moves: list[tuple[str, str]] = []
        self._commits: dict[str, str] = {}
        self._heads: dict[str, str] = {}
        self._ring = _FIRST
        self._looking = asyncio.Lock()
        """Held while the developer commits, too: a release is told before what came of it."""

    @property
    def good(self) -> bool:
        """The good release is in all rings, one after the other; the bad one was taken back in the first and moved no other."""
        accounts = [account for witness in self._witnesses.values() for account in witness.accounts]
        if len(accounts) != len(RINGS) + 1 or not all(account.as_it_should for account in accounts):
            return False
        good, bad = self._commits["good"], self._commits["bad"]
        revert = self._witnesses[_FIRST].accounts[-1].revert
        return self._moves == [*((ring, good) for ring in RINGS), (_FIRST, bad), (_FIRST, revert)] and self._stopped()

    @property
    def scenes(self) -> Sequence[str]:
        """The start, the good release in each ring, the bad one in the first, and the end."""
        return ("start", *RINGS, "bad release", "rest")

    @property
    def now(self) -> Witness | None:
        """The cluster of the ring that was moved last."""
        return self._witnesses.get(self._ring)

    def _summary(self) -> Happening:
        runs = [(account, ring) for ring, witness in self._witnesses.items() for account in witness.accounts]
        runs.sort(key=lambda one: [*OUTCOMES].index(one[0].scenario))
        return {
            "runs": [{"scenario": account.scenario, "ring": ring, **account.summary()} for account, ring in runs],
            "rings": self._rings(),
        }

    def _state(self) -> str:
        phases = ", ".join(f"{ring}: phase {witness.phase or 'none'}" for ring, witness in self._witnesses.items())
        problem = self._mover.problem if self._mover else ""
        return f"{phases or 'no cluster is up'}{f'; rings: {problem}' if problem else ''}"

    async def _plot(self) -> None:
        fleet = self._fleet
        self._witnesses = {ring: Witness(world, self, ring=ring) for ring, world in fleet.worlds.items()}
        for witness in self._witnesses.values():
            witness.watch()
        url, syncs = await fleet.deliver({DEPLOYMENT: deployment(fleet.cast.first), **fleet.adapt(self._manifest)})
        (commit,) = set(await asyncio.gather(*(self.in_time(sync.sync(), "nothing is applied") for sync in syncs.values())))
        self.say("git", text="the first version, on all branches", commit=commit)
        await together(*(witness.comes_up() for witness in self._witnesses.values()))
        await self._look()
        self._mover = Mover(url, PLAN, fleet.folder / "rings")
        fleet.spawn(self._mover.run())
        fleet.spawn(self._keep_looking())
        developer = Developer(url, fleet.folder)
        if await self._good_release(developer, syncs):
            await self._bad_release(developer, syncs)
        await self._look()
        for standing in self._mover.standings():
            self.say("standing", **standing)
        for problem in self._mover.seen.view.problems if self._mover.seen else ():
            self.say("note", text=problem)

    async def _good_release(self, developer: Developer, syncs: dict[str, GitSync]) -> bool:
        """One ring after another; whether all went well."""
        image = self._fleet.cast.good
        accounts = {ring: await witness.begin("good", image) for ring, witness in self._witnesses.items()}
        await self._commit(developer, "good", image)
        for ring, account in accounts.items():
            await self._witnesses[ring].end(account)
            account.converged = account.outcome == OUTCOMES["good"] and await self._witnesses[ring].rests(syncs[ring], image, quiet=0.0)
            if not account.as_it_should:
                return False
        return True

    async def _bad_release(self, developer: Developer, syncs: dict[str, GitSync]) -> None:
        """In the first ring, and nowhere else."""
        cast, first = self._fleet.cast, self._witnesses[_FIRST]
        account = await first.begin("bad", cast.bad)
        await self._commit(developer, "bad", cast.bad)
        await first.end(account)
        if account.revert is None:
            return
        await self.until(self._stopped, "nothing says that the release is stopped")
        found = await asyncio.gather(*(witness.rests(syncs[ring], cast.good, quiet=_QUIET) for ring, witness in self._witnesses.items()))
        account.converged = all(found)

    async def _commit(self, developer: Developer, scenario: str, image: str) -> None:
        async with self._looking:
            commit = await developer.write(DEPLOYMENT, deployment(image), message=f"{APP} {tag(image)}")
            self._commits[scenario] = commit
            self.say("release", scenario=scenario, image=image, commit=commit)

    async def _keep_looking(self) -> None:
        while True:
            await asyncio.sleep(_LOOK)
            await self._look()

    async def _look(self) -> None:
        """See whose branch has another head than before, whoever moved it."""
        async with self._looking:
            found = await self._fleet.heads()
            for ring, (commit, subject) in found.items():
                before, self._heads[ring] = self._heads.get(ring, commit), commit
                if commit != before:
                    self._ring = ring
                    self._moves.append((ring, commit))
                    waited = self._waited(ring) if commit == self._commits.get("good") else None
                    self.say("ring", ring=ring, branch=ring, commit=commit, subject=subject, waited=waited)

    def _waited(self, ring: str) -> float | None:
        """Seconds since the ring before has succeeded with the good release; None for the first, which waits for nobody."""
        names = [*RINGS]
        if ring == _FIRST:
            return None
        account = self._witnesses[names[names.index(ring) - 1]].accounts[0]
        return round((datetime.now(UTC) - account.finished).total_seconds(), 2) if account.finished else None

    def _stopped(self) -> bool:
        """Whether the rules say that the newest release goes nowhere, because of what Git holds."""
        seen = self._mover.seen if self._mover else None
        return seen is not None and any(
            one.commit == self._commits["bad"] and one.release in seen.decision.halted for one in seen.view.candidates
        )

    def _rings(self) -> list[Happening]:
        """Where each ring is, and where the newest release stands there and why."""
        newest: dict[str, Happening] = {}
        for one in self._mover.standings() if self._mover else ():
            newest.setdefault(one["ring"], one)
        return [
            {"ring": ring, "branch": ring, "commit": self._heads.get(ring, ""), "state": one.get("phase", ""), "why": one.get("why", "")}
            for ring in RINGS
            for one in (newest.get(ring, {}),)
        ]
