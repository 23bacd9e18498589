"""A repository as its kustomizations and delivering objects connect it: which object is delivered, through which files, changed by what.

Roots are the folders that Flux's Kustomizations and Argo CD's Applications name, then kustomizations that nothing refers to, then files on their own.
Following references was chosen over names of folders and files, which every team chooses differently.
"""

from __future__ import annotations

import functools
import posixpath
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from canary.gitops import argocd, flux
from canary.gitops.documents import Document, parsed, read
from canary.gitops.kustomize import Kustomization, Root, is_kustomization, kustomization
from canary.gitops.rendered import CONTAINERS, POD, Rendered, start
from canary.gitops.splice import Unsafe

MANIFESTS = (".yaml", ".yml")
KEPT = 32_768
"""Kustomizations that are remembered: some 2 KiB each."""
ENOUGH = 20_000
"""Objects that are followed; a repository that makes more of them, through itself, is not understood."""


@dataclass(frozen=True, slots=True)
class Delivered:
    """An object, and the folder or the object that it comes through; empty for a file on its own. `beside`: what comes with it."""

    one: Rendered
    through: str = ""
    beside: Sequence[Rendered] = ()

    def __str__(self) -> str:
        return str(self.one.document) + (f" through {self.through}" if self.through else "")


class Layout:
    """Files by path. Nothing is raised for what a file holds; `problems` says what could not be read, by file.

    `worth`: files that are looked into without being referred to.
    """

    def __init__(self, files: Mapping[str, bytes], *, worth: Collection[str]) -> None:
        self.files = files
        self.worth = worth
        self.problems: dict[str, str] = {}
        self.roots: list[Root] = []
        """Folders that other objects name; known when everything is delivered."""
        self._left = ENOUGH
        self.kustomizations = {
            found.folder: found
            for path in sorted(files, reverse=True)  # kustomization.yaml wins over kustomization.yml
            if is_kustomization(path) and (found := self._kustomization(path))
        }
        self.referenced = {path for one in self.kustomizations.values() for path in one.references}

    def read(self, path: str) -> Sequence[Document]:
        """The documents of a file; none when there is no such file, or it cannot be read."""
        if path not in self.files:
            return ()
        try:
            return read(path, self.files[path])
        except Unsafe as error:
            self.problems[path] = str(error)
            return ()

    def leading_to(self, files: Iterable[str]) -> set[str]:
        """Folders of the kustomizations that lead to one of these files, with the components that they use."""
        above: dict[str, set[str]] = {}
        for folder, one in self.kustomizations.items():
            for path in (*one.resources, *one.components):
                above.setdefault(path, set()).add(folder)
        found: set[str] = set()
        queue = list(files)
        while queue:
            new = above.get(queue.pop(), set()) - found
            found |= new
            queue += new
        queue = list(found)
        while queue:
            used = self.kustomizations.get(queue.pop())
            new = set(used.components) - found if used else set()
            found |= new
            queue += new
        return found

    def delivered(self) -> list[Delivered]:
        """Every object of interest, as often as it is delivered."""
        leading = self.leading_to(path for path in self.worth if not is_kustomization(path))
        bare = [Root(folder, self.kustomizations[folder].file) for folder in sorted(leading - self.referenced) if self._stands(folder)]
        alone = [path for path in sorted(self.worth) if path not in self.referenced and not is_kustomization(path)]
        loose = [Delivered(start(document)) for path in alone for document in self._interesting(path)]
        rendered = {root: self._render_root(root) for root in bare}
        claimed: dict[str, set[str]] = {}
        queue = [*(each.one for each in loose), *(one for objects in rendered.values() for one in objects)]
        wrapped: dict[Root, list[Rendered]] = {}
        while queue:
            one = queue.pop()
            for root in (*flux.roots(one), *argocd.roots(one, self.read)):
                if root not in wrapped and self._exists(root.folder):
                    claimed[root.folder] = self.reach(root)
                    wrapped[root] = self._render_root(root)
                    queue += wrapped[root]
        self.roots = list(wrapped)
        owned = {path for paths in claimed.values() for path in paths}
        found = [Delivered(one, root.through, objects) for root, objects in wrapped.items() for one in objects]
        found += [
            Delivered(one, root.through, objects) for root, objects in rendered.items() if root.folder not in owned for one in objects
        ]
        return [*found, *(one for one in loose if one.one.document.file not in owned)]

    def _kustomization(self, path: str) -> Kustomization | None:
        found = first(path, self.files[path])
        if isinstance(found, str):
            self.problems[path] = found
            return None
        return found

    def _interesting(self, path: str) -> Iterator[Document]:
        for document in self.read(path):
            pod = any(key[:3] == POD and len(key) > 4 and key[3] in CONTAINERS for key in document.leaves)
            if pod or document.kind in {"HelmRelease", "Kustomization", "Application", "ConfigMap"} or _hidden(document):
                yield document

    def _render_root(self, root: Root) -> list[Rendered]:
        renames = any(wrapper.renames for wrapper in root.wrappers)
        if root.folder in self.kustomizations or not root.wrappers:
            objects = self._render(root.folder, (), everything=renames)
        else:
            objects = self._plain(root.folder, recurse=root.recurse)
        for wrapper in root.wrappers:
            for path in wrapper.components:
                objects = self._render(path, (), onto=objects)
            wrapper.transform(objects, self.read)
        for one in objects:
            one.namespace = one.namespace or root.default_namespace
        return objects

    def _render(self, folder: str, seen: tuple[str, ...], onto: Sequence[Rendered] = (), *, everything: bool = False) -> list[Rendered]:
        """The objects of a kustomization; a component changes those that are there already, too.

        `everything`: also what is not about the workload, because a name of an image that is replaced may be anybody's.
        """
        one = self.kustomizations.get(folder)
        if one is None or folder in seen or self._left <= 0:
            return list(onto)
        objects = list(onto) if one.component else []
        everything = everything or one.renames
        for path in one.resources:
            if everything or path in self.worth:
                objects += [start(document) for document in self._interesting(path)]
            objects += self._render(path, (*seen, folder), everything=everything)
        for path in one.components:
            objects = self._render(path, (*seen, folder), onto=objects)
        objects += [_generated(self.read(one.file)[0], name, entries) for name, entries in one.generated]
        self._left -= len(objects)
        one.transform(objects, self.read)
        return objects if one.component else [*onto, *objects]

    def _plain(self, folder: str, *, recurse: bool) -> list[Rendered]:
        """A folder without a kustomization: all its manifests, and below it every folder that has one."""
        objects: list[Rendered] = []
        inside = self._inside(folder, recurse=recurse)
        nested = [path for path in inside if path in self.kustomizations and not self.kustomizations[path].component]
        tops = [path for path in nested if not any(path.startswith(f"{other}/") for other in nested)]
        for path in tops:
            objects += self._render(path, ())
        for path in inside:
            if path in self.files and not any(path.startswith(f"{top}/") for top in tops):
                objects += [start(document) for document in self._interesting(path)]
        return objects

    def _inside(self, folder: str, *, recurse: bool) -> list[str]:
        prefix = f"{folder}/" if folder else ""
        paths = [path for path in (*sorted(self.worth), *self.kustomizations) if path.startswith(prefix) and path != folder]
        return [path for path in paths if recurse or (path in self.files and "/" not in path.removeprefix(prefix))]

    def reach(self, root: Root) -> set[str]:
        """Files and folders that are delivered with this folder."""
        inside = [] if root.folder in self.kustomizations else self._inside(root.folder, recurse=root.recurse)
        return self.below([root.folder, *inside])

    def below(self, paths: Iterable[str]) -> set[str]:
        """These paths and all that they refer to."""
        found: set[str] = set()
        queue = list(paths)
        while queue:
            path = queue.pop()
            if path not in found:
                found.add(path)
                queue += self.kustomizations[path].references if path in self.kustomizations else ()
        return found

    def _stands(self, folder: str) -> bool:
        return folder in self.kustomizations and not self.kustomizations[folder].component

    def _exists(self, folder: str) -> bool:
        return folder in self.kustomizations or not folder or any(path.startswith(f"{folder}/") for path in self.files)


@functools.lru_cache(maxsize=KEPT)
def first(path: str, content: bytes) -> Kustomization | str | None:
    """What a kustomization says; a text when it cannot be read, None when it is empty.

    Cached, and for good: every search asks for all of them, and commits change a few. Only what they say is kept, not their documents; with room for
    fewer than there are, each search would read each of them again.
    """
    try:
        documents = parsed(path, content)
    except Unsafe as error:
        return str(error)
    return kustomization(documents[0], posixpath.dirname(path)) if documents else None


def _hidden(document: Document) -> bool:
    """Whether something that would be read is shared through an anchor."""
    return any(place.alias and path[:1] == ("spec",) for path, place in document.leaves.items())


def _generated(document: Document, name: str, entries: tuple[str, ...]) -> Rendered:
    return Rendered(document, "", "ConfigMap", name, "", {}, names={name}, generated=entries)
