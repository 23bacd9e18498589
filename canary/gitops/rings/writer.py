"""Doing what was decided: moving branches, editing overlays, writing down why. Every push names what it was computed from.

Nothing is remembered between reading and writing: a crash at any point leaves a repository from which the same decision follows again, and what was done
already is found done. Whoever loses a race reads anew. A branch is never forced: where a fast-forward is not possible (after a rollback, and for one)
the ring gets a commit of its own with the very files of the source's commit.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass

from canary.api.rolloutplan import Mode, RolloutPlan
from canary.gitops import revert
from canary.gitops.failures import Failure, GitFailed, Reaction
from canary.gitops.gathering import gather
from canary.gitops.git import Author, Draft
from canary.gitops.message import clean
from canary.gitops.preview import released, unknown
from canary.gitops.rings import plumbing
from canary.gitops.rings.decide import Decision, Move, Publish, decide
from canary.gitops.rings.mirror import RingMirror
from canary.gitops.rings.reader import RESTORES, Memory, read
from canary.gitops.rings.releases import MAX_BYTES, apart
from canary.gitops.rings.view import View

TRIES = 5
"""How often others may be faster before the round is given up."""
BOT = Author("canary", "canary@canary.dev")


@dataclass(frozen=True, slots=True)
class Done:
    """One thing that was written, or why it was not. `what` is for people: `ring second to 6.1.0-3f9a1c2b`."""

    what: str
    commit: str = ""
    failure: Failure | None = None


async def settle(
    mirror: RingMirror, plan: RolloutPlan, now: Callable[[], float], *, memory: Memory | None = None, author: Author = BOT
) -> tuple[View, Decision, list[Done]]:
    """Read, decide and write until there is nothing to write. Raises GitFailed when it cannot be read, Rejected when the plan cannot be followed."""
    memory = memory or Memory()
    done: list[Done] = []
    for _ in range(TRIES):
        view = await read(mirror, plan, memory)
        decision = decide(plan, view, now())
        results = await _Writer(mirror, plan, view, author).write(decision)
        done += [one for one in results if one.failure is None]
        failed = [one for one in results if one.failure]
        if not any(one.failure is None or one.failure.reaction is Reaction.RECOMPUTE for one in results):
            break
    return view, decision, [*done, *failed]


@dataclass(frozen=True, slots=True)
class _Writer:
    mirror: RingMirror
    plan: RolloutPlan
    view: View
    author: Author

    async def write(self, decision: Decision) -> list[Done]:
        """Why first, then the moves: who finds a ring moved finds the reason."""
        results = [await self._guarded("evidence", self._publish(decision.publish))] if decision.publish else []
        if self.plan.spec.mode is Mode.BRANCH:
            results += [await self._guarded(_what(move), self._move(move)) for move in decision.moves]
        elif decision.moves:
            results += await self._overlays(decision.moves)
        return results

    async def _guarded(self, what: str, work: Awaitable[str]) -> Done:
        try:
            return Done(what, await work)
        except GitFailed as error:
            return Done(what, failure=error.failure)

    async def _publish(self, files: Sequence[Publish]) -> str:
        branch = self.plan.spec.state_branch
        tip = (await plumbing.refs(self.mirror.git, f"refs/rings/heads/{branch}")).get(f"refs/rings/heads/{branch}")
        names = ", ".join(one.path for one in files[:3]) + (" and others" if len(files) > 3 else "")
        draft = Draft(f"rings: {clean(names)} [skip ci]\n", {one.path: one.content for one in files}, {})
        (commit,) = await self.mirror.commit(tip, [draft], self.author)
        await self.mirror.push(branch, commit, expected=tip)
        return commit

    async def _move(self, move: Move) -> str:
        branch = next(ring.branch_name for ring in self.plan.spec.rings if ring.name == move.ring)
        commit = move.commit
        if move.expected and not await plumbing.descends(self.mirror.git, move.commit, move.expected):
            parents = (move.expected,) if move.back else (move.expected, move.commit)
            commit = await self.mirror.graft(move.commit, parents, _message(self.plan, move, restores=True), self.author)
        await self.mirror.push(branch, commit, expected=move.expected or None)
        return commit

    # ------------------------------------------------------------------------------------------ overlays

    async def _overlays(self, moves: Sequence[Move]) -> list[Done]:
        """One commit for each ring, all in one push: either all rings have what was decided, or it is decided anew."""
        drafts: list[tuple[Move, Draft]] = []
        results: list[Done] = []
        for move in moves:
            try:
                edits = await self._edits(move)
            except GitFailed as error:
                results.append(Done(_what(move), failure=error.failure))
            else:
                drafts.append((move, Draft(_message(self.plan, move), edits, {})))
        if drafts:
            results += await self._commit(drafts)
        return results

    async def _commit(self, drafts: Sequence[tuple[Move, Draft]]) -> list[Done]:
        try:
            commits = await self.mirror.commit(self.view.source, [draft for _, draft in drafts], self.author)
            await self.mirror.push(self.plan.spec.source.branch, commits[-1], expected=self.view.source)
        except GitFailed as error:
            return [Done(_what(move), failure=error.failure) for move, _ in drafts]
        return [Done(_what(move), commit) for (move, _), commit in zip(drafts, commits, strict=True)]

    async def _edits(self, move: Move) -> dict[str, bytes | None]:
        """The ring's folder with the images of the release. Raises GitFailed when no one place is to be edited."""
        canary = self.plan.spec.canary
        wanted = apart(self.plan, await self._contents(move.commit), "")
        here = apart(self.plan, await self._contents(self.view.source), move.ring)
        known = released(wanted, here, canary.namespace, canary.target_name)
        folder = next(ring.folder for ring in self.plan.spec.rings if ring.name == move.ring).rstrip("/")
        found = known.problem or revert.plan(here, known.workload, allowed=(f"{folder}/**",))
        if found.verdict is not revert.Verdict.EDIT:
            raise GitFailed(Failure(found.verdict.value, Reaction.BLOCKED, f"ring {move.ring}: {found.explanation}"))
        return dict(found.edits)

    async def _contents(self, commit: str) -> dict[str, bytes]:
        workloads = unknown(self.plan.spec.canary.namespace, self.plan.spec.canary.target_name)
        return (await gather(self.mirror, commit, workloads, allowed=(), max_bytes=MAX_BYTES)).contents


def _what(move: Move) -> str:
    return f"ring {move.ring} {'back ' if move.back else ''}to {move.release}"


def _message(plan: RolloutPlan, move: Move, *, restores: bool = False) -> str:
    subject = clean(f"rings({plan.metadata.name}): {_what(move)}")
    return "\n".join([subject, "", *_trailers(plan, move, restores=restores), ""])


def _trailers(plan: RolloutPlan, move: Move, *, restores: bool) -> Iterator[str]:
    yield f"Canary-Plan: {clean(plan.metadata.name)}"
    yield f"Canary-Ring: {clean(move.ring)}"
    yield f"Canary-Release: {clean(move.release)}"
    if restores:
        yield f"{RESTORES}: {move.commit}"
