"""Places that say the image and that nothing connects with the workload, nor with another one: for a person to judge."""

from __future__ import annotations

import posixpath
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass

from canary.gitops.documents import Place
from canary.gitops.helm_values import slots
from canary.gitops.images import Sourced
from canary.gitops.layout import MANIFESTS, Layout
from canary.gitops.markers import POLICY, policy_of


@dataclass(frozen=True, slots=True)
class Alike:
    """Images at one place, by where they stand in it, and what the place is."""

    where: str
    images: Mapping[str, Sourced]


def loose_entries(layout: Layout, used: Collection[Place], names: Collection[str]) -> Iterator[tuple[str, Alike]]:
    """Entries of kustomizations' `images` that replace nothing that is delivered, with the name that they look for.

    `names`: last parts of the names of images that matter; the others are not looked at.
    """
    for one in layout.kustomizations.values():
        for number, entry in enumerate(one.images):
            if not {posixpath.basename(entry.name), posixpath.basename(entry.new_name.place.value if entry.new_name else "")} & set(names):
                continue
            result = entry.result
            if result.parts and not _in_use(result, used) and not one.encrypted:
                yield entry.name, Alike(f"{one.file}, which reaches no manifest of it", {f"images[{number}]": result})


def loose_values(layout: Layout, used: Collection[Place]) -> Iterator[Alike]:
    """Values files that no release takes, and values that a bot sets in files of any kind."""
    for path in sorted(layout.files):
        values = path.endswith(MANIFESTS) and "values" in posixpath.basename(path).lower()
        if not values and POLICY.encode() not in layout.files[path]:
            continue
        for document in layout.read(path):
            found = {key: one for key, one in slots(document.leaves).items() if not _in_use(one, used)}
            if not values:
                found = {key: one for key, one in found.items() if any(policy_of(part.place) for part in one.parts)}
            if found and not document.encrypted:
                yield Alike(f"{document}, which nothing connects with it", found)


def _in_use(one: Sourced, used: Collection[Place]) -> bool:
    return any(part.place in used for part in one.parts)
