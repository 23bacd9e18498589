"""Changing one scalar of a YAML file and no other byte.

Load-and-dump was rejected, also with ruamel: it re-indents, turns CRLF into LF, drops `~`, re-aligns comments, adds a final newline and rewrites
`{{ templates }}`. libyaml's events carry character offsets, so the token itself can be cut out and replaced; afterwards the text is parsed
again, and only the wanted leaf may differ. What is shared (anchors, aliases, merge keys) or said twice (duplicate keys) is refused.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import yaml

Path = tuple[str | int, ...]
_BOM = "\ufeff"


class Unsafe(ValueError):  # noqa: N818 - the text says why an edit is refused
    """A file, or a leaf of it, that is not edited; the text says why."""


@dataclass(frozen=True, slots=True)
class Leaf:
    """One scalar: document number, path, value, and where its token is.

    `style` is the quote or block sign, None for plain. `anchors` are those of the leaf itself and of everything around it. `twice`: a mapping
    around it has two equal keys, so that readers differ in what it means.
    """

    document: int
    path: Path
    value: str
    start: int
    end: int
    style: str | None = None
    tag: str | None = None
    anchors: tuple[str, ...] = ()
    alias: bool = False
    twice: bool = False

    @property
    def meaning(self) -> tuple[int, Path, str, bool, str | None, tuple[str, ...]]:
        """What must stay when another leaf is changed."""
        return self.document, self.path, self.value, self.alias, self.tag, self.anchors


def leaves(text: str) -> list[Leaf]:
    """All scalars and aliases of all documents, in order. Raises Unsafe when the text is no YAML."""
    shift = 1 if text.startswith(_BOM) else 0
    try:
        return list(_Reader(text[shift:], shift).documents())
    except yaml.YAMLError as error:
        raise Unsafe(f"is not YAML: {' '.join(str(error).split())[:120]}") from error
    except RecursionError as error:
        raise Unsafe("is nested too deeply") from error


def replace(text: str, changes: Mapping[tuple[int, Path], str]) -> str:
    """The text with these leaves changed. Raises Unsafe (absent, shared, said twice, block scalar, or anything else would change)."""
    before = leaves(text)
    used = {(leaf.document, leaf.value) for leaf in before if leaf.alias}
    out, expected = text, [leaf.meaning for leaf in before]
    for number in sorted((_only(before, key) for key in changes), key=lambda number: -before[number].start):
        leaf = before[number]
        _check(leaf, used)
        value = changes[leaf.document, leaf.path]
        out = out[: leaf.start] + _token(leaf, value) + out[leaf.end :]
        expected[number] = (leaf.document, leaf.path, value, False, leaf.tag, leaf.anchors)
    if [leaf.meaning for leaf in leaves(out)] != expected:
        raise Unsafe("would change in more places than wanted")
    return out


def replace_block(text: str, key: tuple[int, Path], value: str) -> str:
    """The text with lines of one literal block scalar changed. Raises Unsafe (another style, or anything else would change)."""
    before = leaves(text)
    number = _only(before, key)
    leaf = before[number]
    if leaf.style != "|":
        raise Unsafe(f"has no literal block (`|`) at {show(leaf.path)}")
    _check(dataclasses.replace(leaf, style=None), {(one.document, one.value) for one in before if one.alias})
    old, new = leaf.value.split("\n"), value.split("\n")
    lines = text[leaf.start : leaf.end].split("\n")
    if len(old) != len(new):
        raise Unsafe("lines are neither added nor removed in a block")
    for at, (was, wanted) in enumerate(zip(old, new, strict=True), 1):
        if was != wanted:
            line = lines[at].removesuffix("\r") if at < len(lines) else ""
            if not line.endswith(was) or line.removesuffix(was).strip(" "):
                raise Unsafe(f"has a block at {show(leaf.path)} that is not understood")
            lines[at] = line.removesuffix(was) + wanted + lines[at][len(line) :]
    out = text[: leaf.start] + "\n".join(lines) + text[leaf.end :]
    expected = [one.meaning for one in before]
    expected[number] = (leaf.document, leaf.path, value, False, leaf.tag, leaf.anchors)
    if [one.meaning for one in leaves(out)] != expected:
        raise Unsafe("would change in more places than wanted")
    return out


def decode(content: bytes) -> str:
    """Text of a file, strictly UTF-8. Raises Unsafe."""
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise Unsafe("is not UTF-8") from error


def _only(all_leaves: list[Leaf], key: tuple[int, Path]) -> int:
    numbers = [number for number, leaf in enumerate(all_leaves) if (leaf.document, leaf.path) == key]
    if not numbers:
        raise Unsafe(f"has no {show(key[1])}")
    if len(numbers) > 1:
        raise Unsafe(f"has {show(key[1])} twice")
    return numbers[0]


def _check(leaf: Leaf, used: set[tuple[int, str]]) -> None:
    where = show(leaf.path)
    if leaf.twice:
        raise Unsafe(f"has duplicate keys around {where}")
    if leaf.alias or any((leaf.document, f"*{anchor}") in used for anchor in leaf.anchors):
        raise Unsafe(f"shares {where} through an anchor")
    if leaf.tag is not None or leaf.anchors[-1:] == (_OWN,):
        raise Unsafe(f"has a tag or an anchor on {where}")
    if leaf.style in {"|", ">"}:
        raise Unsafe(f"has a block scalar at {where}")


def _token(leaf: Leaf, value: str) -> str:
    """The new token in the old one's style; quoted when it would otherwise read as something else than this text."""
    if any(char in value for char in "\n\r\x00\x85\u2028\u2029"):
        raise Unsafe("a value with line breaks is not spliced")
    if leaf.style == "'":
        return "'" + value.replace("'", "''") + "'"
    if leaf.style is None and (_reads_back(value) or _both_numbers(leaf.value, value)):
        return value
    return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _reads_back(value: str) -> bool:
    """Whether the plain text is this very string, in block and in flow context."""
    try:
        return bool(yaml.safe_load(f"a: {value}") == {"a": value} and yaml.safe_load(f"[{value}, 1]") == [value, 1])
    except (yaml.YAMLError, ValueError):
        return False


def _both_numbers(old: str, new: str) -> bool:
    """Whether a number takes the place of a number, and is written as readers would write it: `1.20` would become `1.2`."""
    try:
        was, now = yaml.safe_load(old), yaml.safe_load(new)
    except (yaml.YAMLError, ValueError):
        return False
    kinds = (int, float)
    return type(was) in kinds and type(now) in kinds and (str(now) if isinstance(now, int) else f"{now:g}") == new


def show(path: Path) -> str:
    """A path for people."""
    return ".".join(str(part) for part in path) or "(the whole document)"


_OWN = "&"
"""Last of `Leaf.anchors` when the leaf itself has one, after its name."""


class _Reader:
    """Walks libyaml's events; `shift` is added to every offset."""

    def __init__(self, text: str, shift: int) -> None:
        self._events: Iterator[yaml.Event] = iter(yaml.parse(text, Loader=yaml.CSafeLoader))
        self._shift = shift
        self._document = -1

    def documents(self) -> Iterator[Leaf]:
        for event in self._events:
            if isinstance(event, yaml.DocumentStartEvent):
                self._document += 1
                yield from self._node(next(self._events), (), ())

    def _node(self, event: yaml.Event, path: Path, anchors: tuple[str, ...]) -> list[Leaf]:
        if isinstance(event, yaml.AliasEvent):
            return [self._leaf(event, path, f"*{event.anchor}", anchors, alias=True)]
        if isinstance(event, yaml.ScalarEvent):
            own = (event.anchor, _OWN) if event.anchor else ()
            return [self._leaf(event, path, event.value, (*anchors, *own), style=event.style or None, tag=event.tag)]
        assert isinstance(event, yaml.CollectionStartEvent)
        inner = (*anchors, event.anchor) if event.anchor else anchors
        return self._sequence(path, inner) if isinstance(event, yaml.SequenceStartEvent) else self._mapping(path, inner)

    def _sequence(self, path: Path, anchors: tuple[str, ...]) -> list[Leaf]:
        found: list[Leaf] = []
        number = 0
        while not isinstance(item := next(self._events), yaml.SequenceEndEvent):
            found += self._node(item, (*path, number), anchors)
            number += 1
        return found

    def _mapping(self, path: Path, anchors: tuple[str, ...]) -> list[Leaf]:
        found: list[Leaf] = []
        keys: Counter[str] = Counter()
        while not isinstance(key := next(self._events), yaml.MappingEndEvent):
            name = key.value if isinstance(key, yaml.ScalarEvent) else "?"
            keys[name] += 1
            if not isinstance(key, yaml.ScalarEvent):
                # a complex key is no place that we would ever edit, but what is in it may be shared
                found += self._node(key, (*path, "?", "key"), anchors)
            found += self._node(next(self._events), (*path, name), anchors)
        if max(keys.values(), default=0) > 1:
            return [_twice(leaf) for leaf in found]
        return found

    def _leaf(
        self,
        event: yaml.ScalarEvent | yaml.AliasEvent,
        path: Path,
        value: str,
        anchors: tuple[str, ...],
        *,
        style: str | None = None,
        tag: str | None = None,
        alias: bool = False,
    ) -> Leaf:
        assert event.start_mark is not None
        assert event.end_mark is not None
        start, end = event.start_mark.index + self._shift, event.end_mark.index + self._shift
        return Leaf(self._document, path, value, start, end, style, tag, anchors, alias)


def _twice(leaf: Leaf) -> Leaf:
    return Leaf(leaf.document, leaf.path, leaf.value, leaf.start, leaf.end, leaf.style, leaf.tag, leaf.anchors, leaf.alias, twice=True)
