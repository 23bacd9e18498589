"""One object on its way through Kustomize: its scalars with their places, changed by patches and transformers as a build would change them.

Nothing is built: only what decides about images, values and identity is followed. What is not understood becomes a doubt, never a guess.
"""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from canary.gitops.documents import Document, Place, items, merge, text_of
from canary.gitops.images import Override, Sourced, substituted, variable, whole
from canary.gitops.splice import Path

CONTAINERS = ("containers", "initContainers")
POD = ("spec", "template", "spec")
_META = re.compile(r"[*+?()\[\]{}|^$\\]")


@dataclass(slots=True)
class Rendered:
    """An object as it is after the transformations so far. `names`: those it had before, by which patches may still know it."""

    document: Document
    group: str
    kind: str
    name: str
    namespace: str
    leaves: dict[Path, Place]
    images: dict[str, Sourced] = field(default_factory=dict)
    names: set[str] = field(default_factory=set)
    doubts: list[str] = field(default_factory=list)
    odd: str = ""
    """What else may change it and is not followed, such as `replacements` of a kustomization."""
    generated: tuple[str, ...] = ()
    """Of a generated ConfigMap: its keys and files, as `key=path`."""

    @property
    def identity(self) -> tuple[str, str, str, str]:
        return self.group, self.kind, self.namespace, self.name

    def patch(self, leaves: Mapping[Path, Place]) -> None:
        """A strategic merge patch: containers by name, everything else as JSON merges."""
        if any(part in {"$patch", "$retainKeys"} or str(part).startswith("$setElementOrder") for path in leaves for part in path):
            self.doubts.append("a patch with `$patch` directives")
            return
        ours = keyed(leaves)
        kept = {path: place for path, place in ours.items() if path[:1] not in {("metadata",), ("apiVersion",), ("kind",)}}
        images = {path: place for path, place in kept.items() if is_image(path)}
        merge(self.leaves, {path: place for path, place in kept.items() if path not in images})
        for path, place in images.items():
            self._set_image(path, place)

    def operate(self, leaves: Mapping[Path, Place]) -> None:
        """A JSON patch (RFC 6902): `add`, `replace` and `remove`; `test` changes nothing."""
        for item in items(leaves):
            path, verb = self._pointed(text_of(leaves, *item, "path")), text_of(leaves, *item, "op")
            value = {at[len(item) + 1 :]: place for at, place in leaves.items() if at[: len(item) + 1] == (*item, "value")}
            if verb in {"add", "replace"}:
                self._put(path, value)
            elif verb == "remove":
                self._drop(path)
            elif verb != "test":
                self.doubts.append(f"a JSON patch with `{verb}`")

    def override(self, entries: Sequence[Override]) -> None:
        """Kustomize's `images`."""
        for entry in entries:
            self.images = {container: entry.over(image) for container, image in self.images.items()}

    def substitute(self, values: Mapping[str, Place]) -> None:
        """Flux's `postBuild.substitute`, where a variable is a whole value or a whole part of an image."""
        if values:
            self.images = {container: substituted(image, values) for container, image in self.images.items()}
            self.leaves = {path: values.get(variable(place.value), place) for path, place in self.leaves.items()}

    def _put(self, path: Path, value: Mapping[Path, Place]) -> None:
        self._drop(path)
        for rest, place in keyed({(*path, *rest): place for rest, place in value.items()}).items():
            if is_image(rest):
                self._set_image(rest, place)
            else:
                self.leaves[rest] = place

    def _drop(self, path: Path) -> None:
        size = len(path)
        self.leaves = {at: place for at, place in self.leaves.items() if at[:size] != path}
        self.images = {
            name: one for name, one in self.images.items() if not any((*POD, key, f"={name}")[:size] == path for key in CONTAINERS)
        }

    def _set_image(self, path: Path, place: Place) -> None:
        self.images[str(path[4])[1:]] = whole(place)
        self.leaves[path] = place

    def _pointed(self, pointer: str) -> Path:
        """The path of a JSON pointer here: numbers where a list is, names where containers are."""
        path: Path = ()
        for raw in pointer.split("/")[1:]:
            part = raw.replace("~1", "/").replace("~0", "~")
            if not (part.isdigit() or part == "-"):
                path = (*path, part)
            elif path[:3] == POD and len(path) == 4 and path[3] in CONTAINERS:
                names = list(dict.fromkeys(at[4] for at in self.leaves if len(at) > 4 and at[:4] == path))
                path = (*path, names[int(part)] if part.isdigit() and int(part) < len(names) else "=?")
            elif any(at[: len(path) + 1] == (*path, part) for at in self.leaves):
                path = (*path, part)
            else:
                path = (*path, int(part) if part.isdigit() else len(items(self.leaves, *path)))
        return path


def start(document: Document) -> Rendered:
    """An object as its file has it."""
    leaves = keyed(document.leaves)
    images = {str(path[4])[1:]: whole(place) for path, place in leaves.items() if is_image(path)}
    names = {document.name}
    return Rendered(document, document.group, document.kind, document.name, document.namespace, leaves, images, names)


def keyed(leaves: Mapping[Path, Place]) -> dict[Path, Place]:
    """Paths in which containers stand by name (`=name`) instead of by number, so that patches meet them."""
    names: dict[Path, str] = {
        path[:5]: place.value for path, place in leaves.items() if len(path) == 6 and path[:3] == POD and path[5] == "name"
    }
    out: dict[Path, Place] = {}
    for path, place in leaves.items():
        listed = len(path) > 4 and path[:3] == POD and path[3] in CONTAINERS and isinstance(path[4], int)
        out[(*path[:4], f"={names.get(path[:5], '?')}", *path[5:]) if listed else path] = place
    return out


def is_image(path: Path) -> bool:
    """Whether this is the image of a container."""
    return len(path) == 6 and path[:3] == POD and path[3] in CONTAINERS and path[5] == "image" and isinstance(path[4], str)


@dataclass(frozen=True, slots=True)
class Target:
    """What a patch is for; empty parts do not restrict. `selected`: by labels or annotations, which are not followed."""

    group: str = ""
    kind: str = ""
    namespace: str = ""
    name: str = ""
    selected: bool = False

    def hits(self, one: Rendered) -> bool:
        """Whether the patch is for this object."""
        same = all(not mine or _alike(mine, theirs) for mine, theirs in ((self.group, one.group), (self.kind, one.kind)))
        named = not self.name or any(_alike(self.name, name) for name in {one.name, *one.names})
        return same and named and (not self.namespace or not one.namespace or _alike(self.namespace, one.namespace))


def _alike(pattern: str, text: str) -> bool:
    """Kustomize's targets are whole-string patterns; of those only `.*` is followed: patterns come from the repository."""
    pattern = pattern.removeprefix("^").removesuffix("$")
    if pattern == text:
        return True
    rest = pattern.replace(".*", "\0")
    if _META.search(rest):
        return False
    return fnmatch.fnmatchcase(text, "".join("*" if char == "\0" else char for char in rest))


def patch_documents(found: Sequence[Document]) -> Iterator[tuple[bool, Document]]:
    """Each document of a patch, and whether it is a JSON patch."""
    for document in found:
        yield any(isinstance(path[0], int) for path in document.leaves if path), document
