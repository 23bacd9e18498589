"""What a kustomization says: what it is made of, and what it does to that.

The same reading serves `kustomization.yaml`, Flux's Kustomization (`spec`) and Argo CD's Application (`spec.source.kustomize`): they say the same
things under other roofs. Order as in a build: resources, components, patches, namespace, names, JSON patches, images.
"""

from __future__ import annotations

import posixpath
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from canary.gitops.documents import Document, Place, below, inside, items, text_of, texts
from canary.gitops.images import Holds, Override, Part, line
from canary.gitops.rendered import Rendered, Target, patch_documents
from canary.gitops.splice import Path

Reading = Callable[[str], Sequence[Document]]
"""The documents of a file; none when it cannot be read."""
NAMES = ("kustomization.yaml", "kustomization.yml", "Kustomization")
_ODD = ("replacements", "transformers", "vars")


@dataclass(frozen=True, slots=True)
class Patch:
    """Where a patch is: a file, or the text of a scalar; and what it is for (None: what it names itself)."""

    file: str
    text: Place | None
    target: Target | None


@dataclass(frozen=True, slots=True)
class Kustomization:
    """One, with paths from the root of the repository."""

    file: str
    folder: str
    component: bool = False
    resources: tuple[str, ...] = ()
    components: tuple[str, ...] = ()
    patches: tuple[Patch, ...] = ()
    late_patches: tuple[Patch, ...] = ()
    images: tuple[Override, ...] = ()
    namespace: str = ""
    prefix: str = ""
    suffix: str = ""
    generated: tuple[tuple[str, tuple[str, ...]], ...] = ()
    """Names of generated ConfigMaps, with their files as `key=path`."""
    substitutes: tuple[tuple[str, Place], ...] = ()
    """Of Flux: variables and where their values are."""
    encrypted: bool = False
    odd: str = ""
    """A way of changing objects that it uses and that is not followed."""

    @property
    def references(self) -> tuple[str, ...]:
        """Every path that it names, files and folders."""
        files = [patch.file for patch in (*self.patches, *self.late_patches) if patch.file]
        values = [entry.partition("=")[2] for _, entries in self.generated for entry in entries]
        return (*self.resources, *self.components, *files, *values)

    @property
    def renames(self) -> bool:
        """Whether an image may get another name, so that a file may be about an image that it does not name."""
        return bool(self.substitutes) or any(entry.new_name for entry in self.images)

    def transform(self, objects: Sequence[Rendered], read: Reading) -> None:
        """Do to the objects what it says."""
        for patch in self.patches:
            _apply(patch, objects, read)
        for one in objects:
            one.namespace = self.namespace or one.namespace
            one.odd = one.odd or (f"`{self.odd}` in {self.file}" if self.odd else "")
            if self.prefix or self.suffix:
                one.names.add(one.name)
                one.name = f"{self.prefix}{one.name}{self.suffix}"
        for patch in self.late_patches:
            _apply(patch, objects, read)
        values = {name: place for name, place in self.substitutes if not place.alias}
        for one in objects:
            one.override(self.images)
            one.substitute(values)


@dataclass(frozen=True, slots=True)
class Root:
    """A folder that is delivered, and what is said about it from outside."""

    folder: str
    through: str
    wrappers: tuple[Kustomization, ...] = ()
    default_namespace: str = ""
    recurse: bool = True


def kustomization(document: Document, folder: str) -> Kustomization:
    """From a `kustomization.yaml`."""
    leaves = document.leaves
    strategic = [_written(folder, place) for item in items(leaves, "patchesStrategicMerge") if (place := leaves.get(item))]
    return Kustomization(
        file=document.file,
        folder=folder,
        component=document.kind == "Component",
        resources=(*_paths(leaves, folder, "resources"), *_paths(leaves, folder, "bases")),
        components=_paths(leaves, folder, "components"),
        patches=(*strategic, *patches(leaves, folder, "patches")),
        late_patches=patches(leaves, folder, "patchesJson6902"),
        images=overrides(leaves, "images"),
        namespace=text_of(leaves, "namespace"),
        prefix=text_of(leaves, "namePrefix"),
        suffix=text_of(leaves, "nameSuffix"),
        generated=tuple(_generated(leaves, folder)),
        encrypted=document.encrypted,
        odd=next((str(path[0]) for path in leaves if path and path[0] in _ODD), ""),
    )


def wrapper(document: Document, leaves: Mapping[Path, Place], folder: str, at: Path, namespace: str = "") -> Kustomization:
    """What a delivering object says about a folder, besides what the folder says: Flux's `spec`, or Argo CD's `kustomize`."""
    lines = [leaves[item] for item in items(leaves, *at, "images") if item in leaves]
    values = below(leaves, (*at, "postBuild", "substitute"))
    return Kustomization(
        file=document.file,
        folder=folder,
        components=_paths(leaves, folder, *at, "components"),
        patches=patches(leaves, folder, *at, "patches"),
        images=(*(line(place) for place in lines if not place.alias), *overrides(leaves, *at, "images")),
        namespace=namespace,
        prefix=text_of(leaves, *at, "namePrefix"),
        suffix=text_of(leaves, *at, "nameSuffix"),
        substitutes=tuple((str(path[0]), place) for path, place in values.items() if len(path) == 1),
        encrypted=document.encrypted,
    )


def overrides(leaves: Mapping[Path, Place], *at: str | int) -> tuple[Override, ...]:
    """The entries of an `images` list."""
    found = []
    for item in items(leaves, *at):
        name = text_of(leaves, *item, "name")
        parts = {key: leaves.get((*item, key)) for key in ("newName", "newTag", "digest")}
        held = {"newName": Holds.NAME, "newTag": Holds.TAG, "digest": Holds.DIGEST}
        said = {key: Part(place, held[key]) for key, place in parts.items() if place and not place.null and place.value}
        if name:
            found.append(Override(name, said.get("newName"), said.get("newTag"), said.get("digest")))
    return tuple(found)


def patches(leaves: Mapping[Path, Place], folder: str, *at: str | int) -> tuple[Patch, ...]:
    """A list of patches with targets."""
    found = []
    for item in items(leaves, *at):
        path, text = text_of(leaves, *item, "path"), leaves.get((*item, "patch"))
        target = None
        if any(here[: len(item) + 1] == (*item, "target") for here in leaves):
            parts = {key: text_of(leaves, *item, "target", key) for key in ("group", "kind", "namespace", "name")}
            selected = any(text_of(leaves, *item, "target", key) for key in ("labelSelector", "annotationSelector"))
            target = Target(**parts, selected=selected)
        if path or text:
            found.append(Patch(resolved(folder, path) if path else "", text if text and not text.alias else None, target))
    return tuple(found)


def is_kustomization(path: str) -> bool:
    """Whether Kustomize would read this file by itself."""
    return path.rpartition("/")[2] in NAMES


def resolved(folder: str, path: str) -> str:
    """A path from the root of the repository; empty when it is an address, or leaves the repository."""
    if "://" in path or path.startswith(("git@", "github.com/", "/")) or "?ref=" in path:
        return ""
    whole = posixpath.normpath(posixpath.join(folder, path))
    return "" if whole == ".." or whole.startswith("../") else whole


def _paths(leaves: Mapping[Path, Place], folder: str, *at: str | int) -> tuple[str, ...]:
    return tuple(path for text in texts(leaves, *at) if (path := resolved(folder, text)))


def _written(folder: str, place: Place) -> Patch:
    """An item of `patchesStrategicMerge`: a path, or the patch itself."""
    inline = "\n" in place.value or ": " in place.value
    return Patch("" if inline else resolved(folder, place.value), place if inline else None, None)


def _generated(leaves: Mapping[Path, Place], folder: str) -> list[tuple[str, tuple[str, ...]]]:
    found = []
    for item in items(leaves, "configMapGenerator"):
        entries = []
        for text in texts(leaves, *item, "files"):
            key, equals, path = text.partition("=")
            if file := resolved(folder, path if equals else key):
                entries.append(f"{key if equals else posixpath.basename(key)}={file}")
        found.append((text_of(leaves, *item, "name"), tuple(entries)))
    return found


def _apply(patch: Patch, objects: Sequence[Rendered], read: Reading) -> None:
    found = inside(patch.text) if patch.text else read(patch.file)
    for operations, document in patch_documents(found):
        own = Target(document.group, document.kind, document.namespace, document.name)
        target = patch.target or (None if operations else own)
        for one in objects:
            if target is None or not target.hits(one):
                continue
            if target.selected:
                one.doubts.append(f"a patch in {patch.file or (patch.text.file if patch.text else '')} that selects by labels")
            elif document.encrypted:
                one.doubts.append(f"{document.file} is encrypted by SOPS")
            elif operations:
                one.operate(document.leaves)
            else:
                one.patch(document.leaves)
