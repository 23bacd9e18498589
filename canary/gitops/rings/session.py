"""Where a command reads rings from: a folder on this machine, or a server; plans from files here, or from the repository itself.

A plan in the repository is read anew each time, because there it is reviewed; one on this machine is for trying out.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from canary.api.rolloutplan import RolloutPlan
from canary.core.errors import NotFound, Rejected
from canary.gitops.clone import UnknownRevision, git_folder
from canary.gitops.credentials import GitAuth, auth_from
from canary.gitops.git import Author
from canary.gitops.rings.decide import Decision, decide
from canary.gitops.rings.mirror import RingClone, RingMirror
from canary.gitops.rings.reader import Memory, RingSource, plan_at, plan_of, read
from canary.gitops.rings.view import View
from canary.gitops.rings.writer import BOT, Done, settle


@dataclass(frozen=True, slots=True)
class Seen:
    """One plan, what Git said about it and when (Unix seconds), what follows, and what was written."""

    plan: RolloutPlan
    view: View
    at: float
    decision: Decision
    done: tuple[Done, ...] = ()


@dataclass(slots=True)
class Session:
    """One repository and some plans; use `opened`."""

    source: RingSource
    plans: Sequence[str]
    branch: str
    memories: dict[str, Memory] = field(default_factory=dict)

    async def look(self, now: Callable[[], float]) -> list[Seen]:
        """Read and decide. Raises CanaryError, InvalidObject, GitFailed."""
        found = []
        for plan in await self._plans():
            at = now()
            view = await read(self.source, plan, self._memory(plan))
            found.append(Seen(plan, view, at, await asyncio.to_thread(decide, plan, view, at)))
        return found

    async def act(self, now: Callable[[], float], *, author: Author = BOT) -> list[Seen]:
        """Read, decide and write. Raises as `look`, and Rejected for a folder, which is only ever read."""
        if not isinstance(self.source, RingMirror):
            raise Rejected("a folder is only read", hint="give --repo the URL of the server")
        found = []
        for plan in await self._plans():
            at = now()
            view, decision, done = await settle(self.source, plan, now, memory=self._memory(plan), author=author)
            found.append(Seen(plan, view, at, decision, tuple(done)))
        return found

    def _memory(self, plan: RolloutPlan) -> Memory:
        return self.memories.setdefault(plan.metadata.name, Memory())

    async def _plans(self) -> list[RolloutPlan]:
        return [await self._plan(path) for path in self.plans]

    async def _plan(self, path: str) -> RolloutPlan:
        file = Path(path)
        if await asyncio.to_thread(file.is_file):
            return plan_of(await asyncio.to_thread(file.read_bytes), path)
        return await plan_at(self.source, await self._tip(), path)

    async def _tip(self) -> str:
        if isinstance(self.source, RingMirror):
            tip = await self.source.newest(self.branch)
            if tip is None:
                raise NotFound(f"there is no branch {self.branch!r}", hint="see --branch")
            return tip
        try:
            return await self.source.commit_of(f"refs/remotes/origin/{self.branch}")
        except UnknownRevision:
            return await self.source.commit_of(f"refs/heads/{self.branch}")


async def opened(repo: str, plans: Sequence[str], *, branch: str, cache: Path, credentials: Path | None = None) -> Session:
    """A session. `repo` is a folder or a URL; `cache` keeps the mirror of a URL; `credentials` has the keys of a Git Secret as files. Raises CanaryError."""
    if await asyncio.to_thread(Path(repo).is_dir):
        return Session(RingClone(await git_folder(Path(repo))), plans, branch)
    auth = GitAuth()
    if credentials:
        data = await asyncio.to_thread(_files, credentials)
        auth = await asyncio.to_thread(auth_from, repo, data, cache / "credentials")
    return Session(RingMirror(cache, repo, auth), plans, branch)


def _files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir()) if path.is_file()}
