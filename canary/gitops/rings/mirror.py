"""A mirror of what rings need of a repository: the source branch, the rings' branches, the state branch, and every cluster's records.

A cluster's ref may only grow. What it was last is remembered in the mirror; when a ref is gone, or has another history, somebody has tampered with
it (or a cluster was restored from a backup), and the cluster counts as having said nothing until a person has looked.
"""

from __future__ import annotations

from pathlib import Path

from canary.api.rolloutplan import Layout, Mode, RolloutPlan
from canary.gitops.clone import Clone
from canary.gitops.command import Git
from canary.gitops.credentials import GitAuth
from canary.gitops.git import Author, Mirror
from canary.gitops.reading import lines
from canary.gitops.rings import plumbing

DEPTH = 500
"""Commits of the source and of rings' branches that are looked at."""
REFS = "refs/canary/outcomes"
_HERE, _SEEN = "refs/rings/", "refs/rings-seen/"


def branches(plan: RolloutPlan) -> tuple[str, ...]:
    """Branches whose newest commits rings need."""
    spec = plan.spec
    rings = tuple(ring.branch_name for ring in spec.rings) if spec.mode is Mode.BRANCH else ()
    shared = (spec.records.branch,) if spec.records.layout is Layout.SHARED else ()
    return tuple(dict.fromkeys((spec.source.branch, *rings, spec.state_branch, *shared)))


def outcomes(plan: RolloutPlan) -> str:
    """Where the refs `<ring>/<cluster>` are; empty when clusters share one branch."""
    match plan.spec.records.layout:
        case Layout.BRANCHES:
            return f"refs/heads/{plan.spec.records.prefix}"
        case Layout.REFS:
            return REFS
        case Layout.SHARED:
            return ""


class RingClone(Clone):
    """Somebody's clone: what its remote `origin` last was, or, in a bare repository, what it is."""

    @property
    def git(self) -> Git:
        """For questions."""
        return self._git

    async def refresh(self, plan: RolloutPlan) -> tuple[dict[str, str], tuple[str, ...]]:  # noqa: ARG002 - as the mirror's
        """Ids by the server's names of refs; nothing is fetched, and nothing was seen before."""
        found = await plumbing.refs(self._git, "refs/heads", "refs/remotes/origin", REFS)
        remote = "refs/remotes/origin/"
        known = {f"refs/heads/{name.removeprefix(remote)}": oid for name, oid in found.items() if name.startswith(remote)}
        own = {name: oid for name, oid in found.items() if not name.startswith(remote)}
        return ({**own, **known} if known else own), ()


class RingMirror(Mirror):
    """A bare mirror of our own. Not safe for concurrent use."""

    def __init__(self, folder: Path, url: str, auth: GitAuth) -> None:
        super().__init__(folder, url, auth)
        self._newest: dict[str, str | None] = {}

    @property
    def git(self) -> Git:
        """For questions."""
        return self._git

    async def newest(self, branch: str) -> str | None:
        """The branch's commit, as the server has it; None when there is no such branch. It is fetched when it is another one than last time. Raises GitFailed."""
        await self._ensure()
        listed = await self._listing(f"refs/heads/{branch}")
        if listed.get(f"refs/heads/{branch}") != self._newest.get(branch):
            tip = await self.fetch(branch)
            self._newest[branch] = tip.oid if tip else None
        return self._newest.get(branch)

    async def refresh(self, plan: RolloutPlan) -> tuple[dict[str, str], tuple[str, ...]]:
        """Ids by the server's names of refs, as of now, and the refs of clusters that somebody has tampered with. Raises GitFailed."""
        await self._ensure()
        names = [f"refs/heads/{name}" for name in branches(plan)]
        glob = f"{outcomes(plan)}/*" if outcomes(plan) else ""
        listed = await self._listing(*names, *([glob] if glob else []))
        wanted = {name: oid for name, oid in listed.items() if name in names or (glob and name.startswith(glob[:-1]))}
        here = {name.replace(_HERE, "refs/", 1): oid for name, oid in (await plumbing.refs(self._git, _HERE)).items()}
        changed = [name for name in names if name in wanted and here.get(name) != wanted[name]]
        if changed:
            await self._take([f"+{name}:{_here(name)}" for name in changed], f"--depth={DEPTH}")
        if any(here.get(name) != oid for name, oid in wanted.items() if name not in names):
            await self._take([f"+{glob}:{_here(glob)}"])
        after = {name.replace(_HERE, "refs/", 1): oid for name, oid in (await plumbing.refs(self._git, _HERE)).items()}
        found = {name: after[name] for name in wanted if name in after}
        return found, await self._tampered({name: oid for name, oid in found.items() if name not in names}, glob)

    def _forget(self) -> None:
        super()._forget()
        self._newest.clear()

    async def _take(self, wanted: list[str], *options: str) -> None:
        more = ("--no-tags", "--no-write-fetch-head", "--filter=blob:none", *options, "--stdin", "origin")
        await self._git.run("fetch", "-q", *more, stdin=lines(wanted), network=True)

    async def _tampered(self, current: dict[str, str], glob: str) -> tuple[str, ...]:
        seen = {name.replace(_SEEN, "refs/", 1): oid for name, oid in (await plumbing.refs(self._git, _SEEN)).items()}
        before = {name: oid for name, oid in seen.items() if glob and name.startswith(glob[:-1])}
        bad = [name for name in before if name not in current]
        grown: dict[str, str] = {}
        for name, oid in current.items():
            if before.get(name) == oid:
                continue
            if name in before and not await plumbing.descends(self._git, oid, before[name]):
                bad.append(name)
            else:
                grown[name] = oid
        if grown:
            updates = "".join(f"update {name.replace('refs/', _SEEN, 1)} {oid}\n" for name, oid in grown.items())
            await self._git.run("update-ref", "--stdin", stdin=updates.encode())
        return tuple(sorted(bad))

    async def graft(self, tree_of: str, parents: tuple[str, ...], message: str, author: Author) -> str:
        """A commit with the files of another one, on these parents; its id."""
        who = ("-c", f"user.name={author.name}", "-c", f"user.email={author.email}")
        above = [part for parent in parents for part in ("-p", parent)]
        out = await self._git.run(*who, "commit-tree", f"{tree_of}^{{tree}}", *above, stdin=message.encode())
        return out.decode().strip()


def _here(name: str) -> str:
    return name.replace("refs/", _HERE, 1)
