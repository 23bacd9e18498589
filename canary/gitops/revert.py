"""Taking a failed image back in plain manifests: where it is named, and what may be changed.

A semantic three-way: the branch's value is compared with the failed one and with the one before. Equal to the failed one: replace. Equal to the one
before: somebody has reverted already. Anything else: somebody has moved on, and we leave it. No place, or several, is never a guess.
"""

from __future__ import annotations

import enum
import fnmatch
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from canary.gitops import splice
from canary.gitops.splice import Leaf, Path, Unsafe

CONTAINERS = ("containers", "initContainers")


class Verdict(enum.StrEnum):
    """EDIT: commit the edits. The others: nothing is written, for this reason."""

    EDIT = "Edit"
    ALREADY_REVERTED = "AlreadyReverted"
    SUPERSEDED = "Superseded"
    AMBIGUOUS = "Ambiguous"
    NO_SITE = "NoSite"


@dataclass(frozen=True, slots=True)
class Workload:
    """What was released: kind, namespace, name, and the images by container that failed and that ran before."""

    kind: str
    namespace: str
    name: str
    failed: Mapping[str, str]
    previous: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Plan:
    """What to do. `edits` maps a path to its new content; `changes` are the (from, to) images."""

    verdict: Verdict
    explanation: str = ""
    edits: Mapping[str, bytes] = field(default_factory=dict)
    changes: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class _Site:
    """One document that declares the workload, and the image leaf of each of its containers."""

    path: str
    document: int
    images: Mapping[str, Leaf]


def candidates(paths: Sequence[str], *, allowed: Sequence[str]) -> list[str]:
    """The YAML files that may be edited; `**` in a pattern crosses folders."""
    return [
        path
        for path in paths
        if path.endswith((".yaml", ".yml")) and (not allowed or any(_matches(path, pattern) for pattern in allowed))
    ]


def plan(files: Mapping[str, bytes], workload: Workload, *, max_files: int) -> Plan:
    """What to write for this failed workload. Pure; never raises for what a file holds."""
    wanted = {name: (image, workload.previous[name]) for name, image in workload.failed.items() if workload.previous.get(name, image) != image}
    if not wanted:
        return Plan(Verdict.NO_SITE, "the failed release has the images of the one before; only other fields of its template differ")
    sites = [site for path, content in sorted(files.items()) for site in _sites(path, content, workload)]
    if not sites:
        return Plan(Verdict.NO_SITE, f"no plain manifest of {workload.kind} {workload.namespace}/{workload.name} was found")
    if len(sites) > 1:
        places = ", ".join(f"{site.path} (document {site.document + 1})" for site in sites[:5])
        return Plan(Verdict.AMBIGUOUS, f"{workload.kind} {workload.name} is declared in several places: {places}")
    return _plan_site(sites[0], files[sites[0].path], wanted) if max_files >= 1 else Plan(Verdict.AMBIGUOUS, "limits.maxFiles allows no edit")


def _plan_site(site: _Site, content: bytes, wanted: Mapping[str, tuple[str, str]]) -> Plan:
    states = {name: _state(site.images.get(name), *images) for name, images in wanted.items()}
    if all(state is Verdict.ALREADY_REVERTED for state in states.values()):
        return Plan(Verdict.ALREADY_REVERTED, f"{site.path} already names the images of the release before")
    if any(state is Verdict.SUPERSEDED for state in states.values()):
        return Plan(Verdict.SUPERSEDED, f"{site.path} names another image by now")
    changes = {name: images for name, images in wanted.items() if states[name] is Verdict.EDIT}
    try:
        text = splice.replace(
            splice.decode(content), {(site.document, site.images[name].path): new for name, (_, new) in changes.items()}
        )
    except Unsafe as error:
        return Plan(Verdict.AMBIGUOUS, f"{site.path} {error}")
    return Plan(Verdict.EDIT, edits={site.path: text.encode()}, changes=tuple(dict.fromkeys(changes.values())))


def _state(leaf: Leaf | None, failed: str, before: str) -> Verdict:
    if leaf is None:
        return Verdict.SUPERSEDED
    return {failed: Verdict.EDIT, before: Verdict.ALREADY_REVERTED}.get(leaf.value, Verdict.SUPERSEDED)


def _sites(path: str, content: bytes, workload: Workload) -> list[_Site]:
    """Documents of this file that declare the workload. A file that cannot be read as YAML (a template) declares nothing."""
    if workload.name.encode() not in content:
        return []
    try:
        leaves = splice.leaves(splice.decode(content))
    except Unsafe:
        return []
    documents: dict[int, dict[Path, Leaf]] = {}
    for leaf in leaves:
        documents.setdefault(leaf.document, {})[leaf.path] = leaf
    if any(path[:1] == ("sops",) for document in documents.values() for path in document):
        return []  # encrypted: its checksum covers every value
    return [_Site(path, number, _images(document)) for number, document in documents.items() if _declares(document, workload)]


def _declares(document: Mapping[Path, Leaf], workload: Workload) -> bool:
    def value(*path: str) -> str | None:
        leaf = document.get(path)
        return leaf.value if leaf else None

    namespace = value("metadata", "namespace")
    return value("kind") == workload.kind and value("metadata", "name") == workload.name and namespace in {None, workload.namespace}


def _images(document: Mapping[Path, Leaf]) -> dict[str, Leaf]:
    images: dict[str, Leaf] = {}
    for path, leaf in document.items():
        if len(path) == 6 and path[:3] == ("spec", "template", "spec") and path[3] in CONTAINERS and path[5] == "image":
            name = document.get((*path[:5], "name"))
            if name:
                images[name.value] = leaf
    return images


def _matches(path: str, pattern: str) -> bool:
    """Shell patterns where `**` crosses folders and `*` does not."""
    parts, wanted = path.split("/"), pattern.split("/")

    def walk(i: int, j: int) -> bool:
        if j == len(wanted):
            return i == len(parts)
        if wanted[j] == "**":
            return any(walk(k, j + 1) for k in range(i, len(parts) + 1))
        return i < len(parts) and fnmatch.fnmatchcase(parts[i], wanted[j]) and walk(i + 1, j + 1)

    return walk(0, 0)
