"""From a repository to a view. Everything that is not understood becomes a sentence; what cannot be done without raises."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import yaml

from canary.api.rolloutplan import Layout, Mode, RolloutPlan, Signatures, parse_rollout_plan
from canary.core.errors import NotFound, Rejected
from canary.gitops import record as records
from canary.gitops.message import EFFECT_TRAILER
from canary.gitops.rings import evidence, people, plumbing, state
from canary.gitops.rings.evidence import Filed
from canary.gitops.rings.fleet import clusters, membership
from canary.gitops.rings.mirror import DEPTH, RingClone, RingMirror, outcomes
from canary.gitops.rings.plumbing import Commit
from canary.gitops.rings.releases import Releases
from canary.gitops.rings.view import Candidate, Head, View

RESTORES = "Canary-Restores"
"""Trailer of a commit of ours on a ring's branch: the commit of the source whose files it has."""
_KEYS = (people.TRAILER, RESTORES, EFFECT_TRAILER)
_SMALL = 1 << 20


RingSource = RingMirror | RingClone
"""A mirror of ours, or somebody's clone."""


@dataclass(slots=True)
class Memory:
    """What need not be read twice: commits and blobs never change."""

    releases: Releases = field(default_factory=Releases)
    records: dict[str, bytes] = field(default_factory=dict)
    signers: dict[tuple[str, str], str] = field(default_factory=dict)


async def read(source: RingSource, plan: RolloutPlan, memory: Memory | None = None) -> View:
    """What the repository says now. Raises GitFailed; Rejected, when it does not hold what the plan needs."""
    memory = memory or Memory()
    refs, tampered = await source.refresh(plan)
    tip = refs.get(f"refs/heads/{plan.spec.source.branch}")
    if tip is None:
        raise NotFound(f"there is no branch {plan.spec.source.branch!r}", hint="see source.branch of the plan")
    found = _Reading(source, plan, memory, refs, tip)
    history = await plumbing.history(source.git, tip, limit=DEPTH, keys=_KEYS)
    candidates, positions = await memory.releases.of(source, plan, history)
    members = await found.members()
    decided = await found.people(history)
    said, doubts = evidence.read(plan, await found.filed(members, frozenset(tampered)), candidates)
    said, unheard = evidence.broken(said, decided.degraded)
    heads = await found.heads(candidates, positions, history)
    problems = [
        *(f"{name}: its history is not the one it was; nothing in it counts" for name in tampered),
        *doubts,
        *unheard,
        *decided.problems,
    ]
    names = {one.release for one in candidates}
    problems += [
        f"ring {name} is to go back to {one.release}, which is no release that is remembered"
        for name, one in decided.rollbacks.items()
        if one.release not in names
    ]
    problems += [f"ring {name} is left alone: {head.astray}" for name, head in heads.items() if head.astray]
    return View(
        candidates,
        members,
        evidence.tallies(plan, members, said),
        heads,
        decided.approvals,
        decided.exemptions,
        decided.resumed,
        decided.rollbacks,
        await found.published(),
        (*found.problems, *problems),
        tip,
    )


async def plan_at(source: RingSource, commit: str, path: str) -> RolloutPlan:
    """The plan in a file of a commit. Raises NotFound, Rejected, InvalidObject."""
    content = (await contents(source, commit, path)).get(path)
    if content is None:
        raise NotFound(f"{path} does not exist at {commit[:12]}")
    return plan_of(content, path)


def plan_of(content: bytes, path: str) -> RolloutPlan:
    """The plan in the content of a file. Raises Rejected, InvalidObject."""
    try:
        data = yaml.safe_load(content)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise Rejected(f"{path} is not YAML: {' '.join(str(error).split())[:200]}") from error
    return parse_rollout_plan(data)


async def contents(source: RingSource, commit: str, *paths: str) -> dict[str, bytes]:
    """Contents of these files of a commit, and of the files in those that are folders."""
    entries = await plumbing.files(source.git, commit, paths)
    blobs, _ = await source.blobs(commit, [*entries.values()], max_bytes=4 * _SMALL)
    return {path: blobs[oid] for path, oid in entries.items() if oid in blobs}


@dataclass(slots=True)
class _Reading:
    source: RingSource
    plan: RolloutPlan
    memory: Memory
    refs: Mapping[str, str]
    tip: str
    problems: list[str] = field(default_factory=list)

    async def members(self) -> dict[str, tuple[str, ...]]:
        path = self.plan.spec.files.clusters
        content = (await contents(self.source, self.tip, path)).get(path)
        if content is None:
            raise NotFound(f"{path} does not exist on {self.plan.spec.source.branch}", hint="it says which cluster is in which ring")
        return membership(self.plan, await asyncio.to_thread(clusters, content, path), path)

    async def people(self, history: Iterable[Commit]) -> people.Decisions:
        folder = f"{self.plan.spec.files.approvals}/{self.plan.metadata.name}"
        files = await contents(self.source, self.tip, folder)
        when = await plumbing.touched(self.source.git, self.tip, folder) if files else {}
        return people.decisions(self.plan, files, when, history)

    async def published(self) -> dict[str, bytes]:
        tip = self.refs.get(f"refs/heads/{self.plan.spec.state_branch}")
        return await contents(self.source, tip, state.folder(self.plan)) if tip else {}

    # ------------------------------------------------------------------------------------------- evidence

    async def filed(self, members: Mapping[str, Iterable[str]], tampered: frozenset[str]) -> list[Filed]:
        """Files of the canary's records, each in its cluster's place."""
        places = {
            cluster: (commit, f"{cluster}/{self.plan.spec.canary.namespace}/{self.plan.spec.canary.name}")
            for cluster, commit in (await self._tips(members, tampered)).items()
        }
        folders = await plumbing.trees(self.source.git, tuple(dict.fromkeys(places.values())))
        files = [(cluster, name, oid) for cluster, place in places.items() for name, oid in folders.get(place, {}).items()]
        missing = [oid for _, _, oid in files if oid not in self.memory.records]
        await self.source.complete([commit for commit, _ in places.values()], missing)
        blobs, large = await self.source.blobs(self.tip, missing, max_bytes=2 * records.MAX_BYTES)
        self.memory.records |= blobs
        self.problems += [f"{cluster}: {name[:80]}: it is too large for a record" for cluster, name, oid in files if oid in large]
        return [Filed(cluster, name, self.memory.records[oid]) for cluster, name, oid in files if oid in self.memory.records]

    async def _tips(self, members: Mapping[str, Iterable[str]], tampered: frozenset[str]) -> dict[str, str]:
        """The commit that holds each member's records. What is in the place of no member is nobody's and told once."""
        prefix = outcomes(self.plan)
        if self.plan.spec.records.layout is Layout.SHARED:
            tip = self.refs.get(f"refs/heads/{self.plan.spec.records.branch}")
            return {cluster: tip for names in members.values() for cluster in names} if tip else {}
        expected = {f"{prefix}/{ring}/{cluster}": cluster for ring, names in members.items() for cluster in names}
        strangers = [name for name in self.refs if name.startswith(f"{prefix}/") and name not in expected]
        self.problems += [f"{name} is the place of no cluster of the plan; nothing in it counts" for name in strangers[:20]]
        found = {expected[name]: oid for name, oid in self.refs.items() if name in expected and name not in tampered}
        return await self._signed(found) if self.plan.spec.records.signatures is Signatures.REQUIRED else found

    async def _signed(self, tips: dict[str, str]) -> dict[str, str]:
        path = self.plan.spec.files.signers
        listed = (await plumbing.files(self.source.git, self.tip, (path,))).get(path)
        if listed is None:
            raise NotFound(
                f"{path} does not exist on {self.plan.spec.source.branch}",
                hint="signatures are required, and it holds the keys of clusters",
            )
        blobs, _ = await self.source.blobs(self.tip, [listed], max_bytes=4 * _SMALL)
        todo = [oid for oid in tips.values() if (listed, oid) not in self.memory.signers]
        with tempfile.TemporaryDirectory(prefix="canary-signers-") as folder:
            file = Path(folder) / "allowed_signers"
            await asyncio.to_thread(file.write_bytes, blobs.get(listed, b""))
            signed = await plumbing.signed_by(self.source.git, todo, file)
        self.memory.signers |= {(listed, oid): signed.get(oid, "") for oid in todo}
        for cluster, oid in tips.items():
            if (signer := self.memory.signers[listed, oid]) != cluster:
                self.problems.append(f"{cluster}: {oid[:12]} is signed by {signer or 'nobody who is known'}; nothing in it counts")
        return {cluster: oid for cluster, oid in tips.items() if self.memory.signers[listed, oid] == cluster}

    # ---------------------------------------------------------------------------------------------- heads

    async def heads(self, candidates: tuple[Candidate, ...], positions: Mapping[str, int], history: list[Commit]) -> dict[str, Head]:
        """Where each ring is; none in mode gate."""
        match self.plan.spec.mode:
            case Mode.BRANCH:
                trees = {commit.oid: commit.tree for commit in history}
                return {ring.name: await self._branch(ring.branch_name, candidates, positions, trees) for ring in self.plan.spec.rings}
            case Mode.OVERLAY:
                return {ring.name: await self._overlay(ring.name, candidates) for ring in self.plan.spec.rings}
            case Mode.GATE:
                return {}

    async def _branch(self, branch: str, candidates: tuple[Candidate, ...], positions: Mapping[str, int], trees: Mapping[str, str]) -> Head:
        """A commit of the source, or one of ours with the very files of such a commit; anything else is somebody's own.

        Ours are those that restore, and the reverts of operators, which take back what failed in this ring.
        """
        tip = self.refs.get(f"refs/heads/{branch}")
        if tip is None:
            return Head(position=len(candidates))
        at = tip
        if at not in positions:
            (own,) = await plumbing.history(self.source.git, tip, limit=1, keys=_KEYS)
            sources = trees if own.trailers[EFFECT_TRAILER] else own.trailers[RESTORES]
            at = next((oid for oid in sources if trees.get(oid) == own.tree), "")
        if at not in positions:
            why = f"branch {branch} is at {tip[:12]}, which is none of the last {len(trees)} commits of {self.plan.spec.source.branch}"
            return Head(tip, position=len(candidates), astray=why)
        return Head(tip, candidates[positions[at]].release, positions[at])

    async def _overlay(self, ring: str, candidates: tuple[Candidate, ...]) -> Head:
        found = await self.memory.releases.at(self.source, self.plan, self.tip, ring=ring)
        if found.problem:
            return Head(self.tip, position=len(candidates), astray=found.problem)
        for position, one in enumerate(candidates):
            if one.images == found.images:
                return Head(self.tip, one.release, position)
        why = f"it names {', '.join(sorted(found.images))[:200]}, which is no release of {self.plan.spec.source.branch} that is remembered"
        return Head(self.tip, position=len(candidates), astray=why)
