"""Where in a repository a workload's images are named: plain manifests, found by what they say and not by where they are.

A path convention was rejected: every repository has its own. Kustomize's `images`, Helm values and variables are recognised, so that the person who
must revert by hand is told where, but they are not edited yet.
"""

from __future__ import annotations

import fnmatch
import functools
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from canary.gitops import splice
from canary.gitops.splice import Leaf, Path, Unsafe

CONTAINERS = ("containers", "initContainers")
KUSTOMIZATIONS = ("kustomization.yaml", "kustomization.yml")


@dataclass(frozen=True, slots=True)
class Workload:
    """What was released: group, kind, namespace, name, and the images by container that failed and that ran before."""

    group: str
    kind: str
    namespace: str
    name: str
    failed: Mapping[str, str]
    previous: Mapping[str, str]

    @property
    def wanted(self) -> Mapping[str, tuple[str, str]]:
        """(failed, before) by container, where they differ."""
        both = {name: (image, self.previous[name]) for name, image in self.failed.items() if name in self.previous}
        return {name: images for name, images in both.items() if images[0] != images[1]}

    def may_be_in(self, content: bytes) -> bool:
        """Whether a file is worth parsing: it says kind and name, or it may replace images. Cheap, because every file is asked."""
        if self.name.encode() in content and self.kind.encode() in content and _word(self.name).search(content):
            return True
        return b"images" in content and any(repository(image).encode() in content for image, _ in self.wanted.values())


@dataclass(frozen=True, slots=True)
class Site:
    """One document that names images of the workload. `exact`: it says the namespace, too."""

    path: str
    document: int
    images: Mapping[str, Leaf]
    exact: bool

    def __str__(self) -> str:
        return f"{self.path} (document {self.document + 1})"


@dataclass(slots=True)
class Search:
    """What was found. `obstacles` are sentences about files that may name the images and cannot be edited."""

    sites: list[Site] = field(default_factory=list)
    obstacles: list[str] = field(default_factory=list)
    overrides: dict[str, str] = field(default_factory=dict)
    """Repository to the kustomization whose `images` replaces it."""


def candidates(paths: Iterable[str], *, allowed: Sequence[str]) -> list[str]:
    """The YAML files that may be edited; `**` in a pattern crosses folders."""
    patterns = [pattern.split("/") for pattern in allowed]
    return [
        path
        for path in paths
        if path.endswith((".yaml", ".yml")) and (not patterns or any(_matches(path.split("/"), pattern) for pattern in patterns))
    ]


def search(files: Mapping[str, bytes], workload: Workload) -> Search:
    """All documents that name images of this workload. Never raises for what a file holds."""
    found = Search()
    for path, content in sorted(files.items()):
        if not workload.may_be_in(content):
            continue
        try:
            leaves = splice.leaves(splice.decode(content))
        except Unsafe as error:
            if _word(workload.name).search(content):
                found.obstacles.append(f"{path} {error}")
            continue
        _read(found, path, leaves, workload)
    if any(site.exact for site in found.sites):
        found.sites = [site for site in found.sites if site.exact]
    return found


def repository(image: str) -> str:
    """An image without tag and digest; the colon of a registry's port is neither."""
    name = image.partition("@")[0]
    head, colon, tag = name.rpartition(":")
    return head if colon and "/" not in tag else name


@functools.lru_cache(maxsize=256)
def _word(name: str) -> re.Pattern[bytes]:
    """The name as a whole: `api` is not in `apiVersion`, nor in `api-gateway`."""
    return re.compile(rb"(?<![-\w.])" + re.escape(name.encode()) + rb"(?![-\w.])")


def _read(found: Search, path: str, leaves: Sequence[Leaf], workload: Workload) -> None:
    documents: dict[int, dict[Path, Leaf]] = {}
    for leaf in leaves:
        documents.setdefault(leaf.document, {})[leaf.path] = leaf
    if path.rpartition("/")[2] in KUSTOMIZATIONS:
        _kustomization(found, path, leaves)
    encrypted = any(leaf.path[:1] == ("sops",) for leaf in leaves)
    for number, document in documents.items():
        if not _declares(document, workload):
            continue
        images = _images(document, workload)
        if encrypted:  # its checksum covers every value
            found.obstacles.append(f"{path} is encrypted by SOPS")
        elif images:
            exact = _value(document, "metadata", "namespace") is not None
            found.sites.append(Site(path, number, images, exact))
        elif any(leaf.alias and leaf.path[:1] == ("spec",) for leaf in document.values()):
            found.obstacles.append(f"{path} shares its containers through an anchor")


def _declares(document: Mapping[Path, Leaf], workload: Workload) -> bool:
    group = (_value(document, "apiVersion") or "").rpartition("/")[0]
    namespace = _value(document, "metadata", "namespace")
    what = (group, _value(document, "kind"), _value(document, "metadata", "name"))
    return what == (workload.group, workload.kind, workload.name) and namespace in {None, workload.namespace}


def _images(document: Mapping[Path, Leaf], workload: Workload) -> dict[str, Leaf]:
    """Image leaves by container, of the containers whose image changed."""
    images: dict[str, Leaf] = {}
    for path, leaf in document.items():
        if len(path) == 6 and path[:3] == ("spec", "template", "spec") and path[3] in CONTAINERS and path[5] == "image":
            name = _value(document, *path[:5], "name") or ""
            if name in workload.wanted:
                images[name] = leaf
    return images


def _value(document: Mapping[Path, Leaf], *path: str | int) -> str | None:
    leaf = document.get(path)
    return leaf.value if leaf and not leaf.alias else None


def _kustomization(found: Search, path: str, leaves: Sequence[Leaf]) -> None:
    for leaf in leaves:
        if len(leaf.path) == 3 and leaf.path[0] == "images" and leaf.path[2] == "name":
            found.overrides.setdefault(leaf.value, path)


def _matches(parts: Sequence[str], pattern: Sequence[str]) -> bool:
    """Shell patterns where `**` crosses folders and `*` does not. In linear time: patterns come from users."""
    reached = {0}
    for piece in pattern:
        if piece == "**":
            reached = set(range(min(reached), len(parts) + 1)) if reached else reached
        else:
            reached = {at + 1 for at in reached if at < len(parts) and fnmatch.fnmatchcase(parts[at], piece)}
    return len(parts) in reached
