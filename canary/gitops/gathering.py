"""Reading what is needed of a repository to know where workloads' images are written: not all of it, and more than what names them.

A large repository is never in memory as a whole: files are asked whether they are worth it. Those that kustomizations, Helm releases and Applications
refer to are read as well, wherever they are, because they decide what an image turns out to be; whether they may be edited is another question.
"""

from __future__ import annotations

import asyncio
import posixpath
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from canary.gitops import argocd, flux
from canary.gitops.kustomize import NAMES, is_kustomization
from canary.gitops.layout import Layout
from canary.gitops.reading import Reader, TreeEntry
from canary.gitops.sites import Workload, candidates

ROUNDS = 12
"""How often what was read may refer to more."""


@dataclass(frozen=True, slots=True)
class Gathered:
    """Contents by path, all files of the commit, and those that would have been read but are too large."""

    contents: dict[str, bytes]
    entries: Mapping[str, TreeEntry]
    unread: tuple[str, ...]


async def gather(reader: Reader, commit: str, workloads: Sequence[Workload], *, allowed: Sequence[str], max_bytes: int) -> Gathered:
    """What tells where these workloads' images are. Raises GitFailed."""
    entries = {entry.path: entry for entry in await reader.files(commit)}
    contents: dict[str, bytes] = {}
    unread: list[str] = []
    asked: set[tuple[str, bool]] = set()

    def worth(content: bytes) -> bool:
        return any(one.may_be_in(content) for one in workloads)

    async def read(paths: Iterable[str], *, whatever: bool) -> bool:
        todo = sorted({path for path in paths if path not in contents and (path, whatever) not in asked})
        asked.update((path, whatever) for path in todo)
        oids = [entries[path].oid for path in todo]
        blobs, large = await reader.blobs(commit, oids, max_bytes=max_bytes, worth=(lambda _: True) if whatever else worth)
        contents.update({path: blobs[entries[path].oid] for path in todo if entries[path].oid in blobs})
        unread.extend(path for path in todo if entries[path].oid in large and path not in unread)
        return bool(todo)

    await read(candidates(entries, allowed=allowed), whatever=False)
    for _ in range(ROUNDS):
        certain, perhaps = await asyncio.to_thread(referred, contents, entries)
        if not (await read(certain, whatever=True) | await read(perhaps, whatever=False)):
            break
    return Gathered(contents, entries, tuple(unread))


def referred(contents: Mapping[str, bytes], known: Iterable[str]) -> tuple[set[str], set[str]]:
    """Files that are referred to: those that decide, and those that only do when they are about the workload."""
    paths = set(known)
    layout = Layout(contents, worth=contents.keys())
    certain: set[str] = set()
    perhaps: set[str] = set()
    reaching = layout.leading_to(path for path in contents if not is_kustomization(path))
    for folder, one in layout.kustomizations.items():
        folders = (*one.resources, *one.components)
        certain |= {file for path in folders for name in NAMES if (file := posixpath.join(path, name)) in paths}
        perhaps |= paths.intersection(one.resources)
        if folder in reaching:
            certain |= paths.intersection(one.references) - set(one.resources)
            if one.renames:  # who else has an image that gets another name here
                certain |= paths.intersection(layout.below([folder]))
    for each in layout.delivered():
        certain |= paths.intersection([*flux.values_files(each.one), *argocd.values_files(each.one)])
    for root in layout.roots:
        if any(wrapper.renames for wrapper in root.wrappers):
            certain |= paths.intersection(layout.reach(root))
    return certain, perhaps
