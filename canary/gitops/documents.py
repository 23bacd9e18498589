"""YAML files as documents of addressed scalars: what every reader of a repository's layout looks at.

A scalar keeps the place where it was read, through merges and patches, so that what a value turns out to be can be traced to the token that must
change. Also in the text of a block scalar: Kustomize's inline patches and Argo CD's `values` are YAML inside YAML.
"""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from canary.gitops import splice
from canary.gitops.splice import Leaf, Path, Unsafe

NULLS = {"", "~", "null", "Null", "NULL"}
_COMMENT = re.compile(r"[ \t'\"\]},]*#[^\S\n]*(\{[^\n]*\})\s*(?:\n|$)")


@dataclass(frozen=True, slots=True)
class Place:
    """Where one scalar is written. `inner`: document and path inside the text of a block scalar. `marker`: JSON of the line's comment."""

    file: str
    document: int
    path: Path
    value: str
    alias: bool = False
    null: bool = False
    marker: tuple[tuple[str, str], ...] = ()
    inner: tuple[int, Path] | None = None

    @property
    def shown(self) -> str:
        """The path for people, such as `spec.template.spec.containers[0].image`; `patches[0].patch: spec.x` inside a text."""
        return dotted(self.path) + (f": {dotted(self.inner[1])}" if self.inner else "")


@dataclass(frozen=True, slots=True)
class Document:
    """One document of a file."""

    file: str
    number: int
    leaves: Mapping[Path, Place]
    encrypted: bool = False

    def value(self, *path: str | int) -> str:
        """The text of a scalar; empty when there is none, or when it is shared through an anchor."""
        return text_of(self.leaves, *path)

    @property
    def kind(self) -> str:
        return self.value("kind")

    @property
    def group(self) -> str:
        return self.value("apiVersion").rpartition("/")[0]

    @property
    def name(self) -> str:
        return self.value("metadata", "name")

    @property
    def namespace(self) -> str:
        return self.value("metadata", "namespace")

    def __str__(self) -> str:
        return f"{self.file} (document {self.number + 1})"


@functools.lru_cache(maxsize=4096)
def read(file: str, content: bytes) -> tuple[Document, ...]:
    """The documents of a file. Raises Unsafe. Cached: many workloads are looked for in the same files."""
    return parsed(file, content)


def parsed(file: str, content: bytes) -> tuple[Document, ...]:
    """The documents of a file that is read once, so that it takes no place among those that are read again. Raises Unsafe."""
    text = splice.decode(content)
    leaves = splice.leaves(text)
    marked = '"$' in text
    encrypted = any(leaf.path[:1] == ("sops",) for leaf in leaves)
    documents: dict[int, dict[Path, Place]] = {}
    for leaf in leaves:
        place = Place(file, leaf.document, leaf.path, leaf.value, leaf.alias, _null(leaf), _marker(text, leaf) if marked else ())
        documents.setdefault(leaf.document, {})[leaf.path] = place
    return tuple(Document(file, number, found, encrypted) for number, found in documents.items())


def inside(place: Place) -> tuple[Document, ...]:
    """The documents in the text of a scalar; none when it holds no YAML."""
    try:
        leaves = splice.leaves(place.value)
    except Unsafe:
        return ()
    marked = '"$' in place.value
    documents: dict[int, dict[Path, Place]] = {}
    for leaf in leaves:
        marker = _marker(place.value, leaf) if marked else ()
        found = Place(place.file, place.document, place.path, leaf.value, leaf.alias, _null(leaf), marker, inner=(leaf.document, leaf.path))
        documents.setdefault(leaf.document, {})[leaf.path] = found
    return tuple(Document(place.file, number, found) for number, found in documents.items())


def edited(files: Mapping[str, bytes], changes: Mapping[Place, str]) -> dict[str, bytes]:
    """New contents of the files in which these places have these texts, and nothing else differs. Raises Unsafe, naming the file."""
    out = {}
    for file in sorted({place.file for place in changes}):
        mine = {place: text for place, text in changes.items() if place.file == file}
        try:
            out[file] = _rewritten(splice.decode(files[file]), mine).encode()
        except Unsafe as error:
            raise Unsafe(f"{file} {error}") from error
    return out


def _rewritten(text: str, changes: Mapping[Place, str]) -> str:
    plain = {(place.document, place.path): value for place, value in changes.items() if place.inner is None}
    nested: dict[tuple[int, Path], dict[tuple[int, Path], str]] = {}
    for place, value in changes.items():
        if place.inner is not None:
            nested.setdefault((place.document, place.path), {})[place.inner] = value
    if plain:
        text = splice.replace(text, plain)
    for key, inner in nested.items():
        old = next(leaf.value for leaf in splice.leaves(text) if (leaf.document, leaf.path) == key)
        text = splice.replace_block(text, key, splice.replace(old, inner))
    return text


def text_of(leaves: Mapping[Path, Place], *path: str | int) -> str:
    """The text at a path; empty when there is none or it is shared through an anchor."""
    place = leaves.get(path)
    return place.value if place and not place.alias else ""


def items(leaves: Mapping[Path, Place], *path: str | int) -> list[Path]:
    """Paths of the items of a list, in order."""
    size = len(path)
    found = {at[size]: None for at in leaves if len(at) > size and at[:size] == path and isinstance(at[size], int)}
    return [(*path, number) for number in found]


def texts(leaves: Mapping[Path, Place], *path: str | int) -> list[str]:
    """Texts of a list of scalars."""
    return [text for item in items(leaves, *path) if (text := text_of(leaves, *item))]


def below(leaves: Mapping[Path, Place], path: Path) -> dict[Path, Place]:
    """The leaves under a path, by the rest of theirs."""
    size = len(path)
    return {at[size:]: place for at, place in leaves.items() if at[:size] == path}


def merge(leaves: dict[Path, Place], patch: Mapping[Path, Place]) -> None:
    """Merge mappings as Helm and JSON merge patches do: what the patch names wins, its lists replace whole lists, its nulls remove."""
    lists = {path[:at] for path in patch for at, part in enumerate(path) if isinstance(part, int)}
    prefixes = {path[:at] for path in patch for at in range(1, len(path))}
    gone = [path for path in leaves if path in prefixes or any(path[:at] in lists or path[:at] in patch for at in range(len(path) + 1))]
    for path in gone:
        del leaves[path]
    leaves.update({path: place for path, place in patch.items() if not place.null})


def markers(documents: Sequence[Document]) -> Iterator[Place]:
    """The places whose line ends with a setter's comment."""
    return (place for document in documents for place in document.leaves.values() if place.marker)


def dotted(path: Path) -> str:
    """`a.b[0].c`; a key with a dot in it stands in brackets."""
    shown = ""
    for part in path:
        if isinstance(part, int) or "." in part or not part:
            shown += f"[{part}]"
        else:
            shown += f".{part}" if shown else part
    return shown or "(the whole document)"


def _null(leaf: Leaf) -> bool:
    return leaf.style is None and not leaf.alias and leaf.value in NULLS


def _marker(text: str, leaf: Leaf) -> tuple[tuple[str, str], ...]:
    """The JSON comment after a scalar, on its line: Flux's `{"$imagepolicy": "ns:name:tag"}`, or ours."""
    found = _COMMENT.match(text, leaf.end)
    if not found:
        return ()
    try:
        data = json.loads(found[1])
    except ValueError:
        return ()
    return tuple((key, value) for key, value in data.items() if isinstance(value, str)) if isinstance(data, dict) else ()
