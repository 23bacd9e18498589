"""Releases in the order of a branch: which commit introduced which images of the workload.

A release is its images: they are what records name, what a rollback restores, and what is equal in every cluster. The commit that introduced them is
the one that rings are moved to: it is what the clusters of the ring before have run. Rejected: the newest commit with the same images, whose other
changes nobody may have run; and the time of a run as proof that it was of a commit, because clusters lag.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from canary.api.rolloutplan import Mode, RolloutPlan
from canary.core.errors import Rejected
from canary.gitops.gathering import gather
from canary.gitops.images import parse
from canary.gitops.layout import MANIFESTS
from canary.gitops.preview import unknown
from canary.gitops.reading import Reader
from canary.gitops.rings.plumbing import Commit
from canary.gitops.rings.view import Candidate
from canary.gitops.sites import Site, search

MAX_BYTES = 1 << 20
ENOUGH = 24
"""Releases after which older history is not read."""
_TAG = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,40}")


@dataclass(frozen=True, slots=True)
class Named:
    """Images that a commit names for the workload, and the files that decide that; `problem` when it cannot be told."""

    images: frozenset[str]
    files: frozenset[str] = frozenset()
    problem: str = ""


def release_of(images: Iterable[str], workload: str = "") -> str:
    """A name for people that no two releases share: the tag of the image that is called as the workload, or of all, and a hash of all images."""
    ordered = sorted(set(images))
    digest = hashlib.sha256("\n".join(ordered).encode()).hexdigest()[:8]
    own = [image for image in ordered if parse(image).name.rpartition("/")[2] == workload]
    tags = sorted({parse(image).tag for image in own or ordered} - {""})
    return f"{tags[0]}-{digest}" if len(tags) == 1 and _TAG.fullmatch(tags[0]) else digest


def belongs(images: Iterable[str], candidates: Sequence[Candidate]) -> str:
    """The release that ran where a cluster reported these images. It may have run more: what is injected, what no manifest names.

    Of several that fit it is the one with the most images: a release that dropped a container has not run where that was still there.
    """
    ran = frozenset(images)
    fitting = [one for one in candidates if one.images and one.images <= ran]
    return max(fitting, key=lambda one: len(one.images)).release if fitting else ""


def apart(plan: RolloutPlan, contents: Mapping[str, bytes], ring: str) -> dict[str, bytes]:
    """The repository as one ring sees it: without the folders of the other rings. `ring` empty: without any ring's (mode overlay)."""
    if plan.spec.mode is not Mode.OVERLAY:
        return dict(contents)
    source = plan.spec.source.path
    others = [f"{one.folder}/" for one in plan.spec.rings if one.name != ring and one.folder != source]
    if ring and source and source != next(one.folder for one in plan.spec.rings if one.name == ring):
        others.append(f"{source.rstrip('/')}/")
    return {path: content for path, content in contents.items() if not path.startswith(tuple(others))}


def named(plan: RolloutPlan, contents: Mapping[str, bytes], *, ring: str = "") -> Named:
    """The images that these files name for the workload, in this ring's folder or (without one) where releases begin."""
    where = next(one.folder for one in plan.spec.rings if one.name == ring) if ring else plan.spec.source.path
    canary = plan.spec.canary
    seen = apart(plan, contents, ring)
    sites = [site for one in unknown(canary.namespace, canary.target_name) for site in search(seen, one).sites]
    sites = [site for site in sites if not where or any(_inside(path, where) for path in site.files)]
    texts = {_images(site) for site in sites}
    name = f"{canary.namespace}/{canary.target_name}"
    if not texts:
        return Named(frozenset(), problem=f"nothing{f' under {where}' if where else ''} names images of {name}")
    if len(texts) > 1:
        places = ", ".join(str(site) for site in sites[:3])
        return Named(frozenset(), problem=f"several places name different images of {name} ({places}); set source.path")
    return Named(texts.pop(), frozenset(seen))


def _images(site: Site) -> frozenset[str]:
    return frozenset(str(source.image) for source in site.sources)


def _inside(path: str, folder: str) -> bool:
    return path == folder or path.startswith(f"{folder.rstrip('/')}/")


class Releases:
    """Finds the releases of a branch; remembers what commits name, because commits do not change."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, str], Named] = {}

    async def at(self, reader: Reader, plan: RolloutPlan, commit: str, *, ring: str = "") -> Named:
        """What a commit names. Raises GitFailed."""
        key = (commit, f"{plan.spec.source.path} {ring} {plan.spec.canary} {plan.spec.mode}")
        if key not in self._known:
            workloads = unknown(plan.spec.canary.namespace, plan.spec.canary.target_name)
            found = await gather(reader, commit, workloads, allowed=(), max_bytes=MAX_BYTES)
            if len(self._known) > 4096:
                self._known.clear()
            self._known[key] = named(plan, found.contents, ring=ring)
        return self._known[key]

    async def of(self, reader: Reader, plan: RolloutPlan, history: Sequence[Commit]) -> tuple[tuple[Candidate, ...], dict[str, int]]:
        """Releases, newest first, and the position of the release that each commit of the branch is in. Raises Rejected, GitFailed.

        A release that comes again is the newer one of the two: what clusters said of it is still true.
        """
        found: list[Candidate] = []
        position: dict[str, int] = {}
        current: Named | None = None
        for commit in history:
            fresh = await self.at(reader, plan, commit.oid) if current is None else current
            if not fresh.images:
                if not found:
                    raise Rejected(f"{plan.spec.source.branch} at {commit.oid[:12]}: {fresh.problem}")
                break  # before there was anything to release
            if found and found[-1].images == fresh.images:
                found[-1] = _candidate(plan, fresh, commit)
            elif len(found) == ENOUGH:
                break
            else:
                found.append(_candidate(plan, fresh, commit))
            position[commit.oid] = len(found) - 1
            # what this commit did not touch its parent has as well
            current = None if commit.paths & fresh.files or any(path.endswith(MANIFESTS) for path in commit.gone) else fresh
        return _once(found), position

    def __len__(self) -> int:
        return len(self._known)


def _candidate(plan: RolloutPlan, found: Named, commit: Commit) -> Candidate:
    return Candidate(release_of(found.images, plan.spec.canary.target_name), commit.oid, commit.at, found.images, commit.subject)


def _once(found: Sequence[Candidate]) -> tuple[Candidate, ...]:
    """Older occurrences of a release get a name that nobody speaks of, so that positions stay as they are."""
    seen: set[str] = set()
    kept = []
    for one in found:
        kept.append(
            one if one.release not in seen else Candidate(f"{one.release}@{one.commit[:12]}", one.commit, one.at, frozenset(), one.subject)
        )
        seen.add(one.release)
    return tuple(kept)
