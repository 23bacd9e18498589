"""Changing one scalar of a YAML file and no other byte.

Load-and-dump was rejected, also with ruamel: it re-indents, turns CRLF into LF, drops `~`, re-aligns comments, adds a final newline and rewrites
`{{ templates }}`. libyaml's events carry character offsets, so the token itself can be cut out and replaced; afterwards the text is parsed
again, and only the wanted leaf may differ.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import yaml

Path = tuple[str | int, ...]
_BOM = "\ufeff"


class Unsafe(ValueError):  # noqa: N818 - the text says why an edit is refused
    """This file, or this leaf, is not edited; the text says why."""


@dataclass(frozen=True, slots=True)
class Leaf:
    """One scalar: document number, path, value, and where its token is (`style` is the quote, or None for plain)."""

    document: int
    path: Path
    value: str
    start: int
    end: int
    style: str | None
    anchor: str | None
    alias: bool = False


def leaves(text: str) -> list[Leaf]:
    """All scalars and aliases of all documents. Raises Unsafe when the text is no YAML."""
    body = text.removeprefix(_BOM)
    shift = len(text) - len(body)
    try:
        return [_shifted(leaf, shift) for leaf in _walk_stream(body)]
    except yaml.YAMLError as error:
        raise Unsafe(f"is not YAML: {str(error).splitlines()[0]}") from error
    except RecursionError as error:
        raise Unsafe("is nested too deeply") from error


def replace(text: str, changes: Mapping[tuple[int, Path], str]) -> str:
    """The text with these leaves changed. Raises Unsafe (absent, aliased, anchored, block scalar, or anything else would change)."""
    before = leaves(text)
    found = {(leaf.document, leaf.path): leaf for leaf in before}
    if len(found) != len(before):
        raise Unsafe("has duplicate keys, so a path does not name one place")
    out = text
    for key, value in sorted(changes.items(), key=lambda change: -found[change[0]].start if change[0] in found else 0):
        leaf = found.get(key)
        if leaf is None:
            raise Unsafe(f"has no {_show(key[1])}")
        if leaf.alias or leaf.anchor:
            raise Unsafe(f"shares {_show(key[1])} through an anchor")
        out = out[: leaf.start] + _token(leaf, value) + out[leaf.end :]
    after = {(leaf.document, leaf.path): leaf.value for leaf in leaves(out)}
    if after != {key: changes.get(key, leaf.value) for key, leaf in found.items()}:
        raise Unsafe("would change in more places than wanted")
    return out


def decode(content: bytes) -> str:
    """Text of a file, strictly UTF-8. Raises Unsafe."""
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise Unsafe("is not UTF-8") from error


def _token(leaf: Leaf, value: str) -> str:
    """The new token in the old one's style; quoted when it would otherwise read as something else than this text."""
    if any(char in value for char in "\n\r\x00"):
        raise Unsafe("a value with line breaks is not spliced")
    if leaf.style == "'":
        return "'" + value.replace("'", "''") + "'"
    if leaf.style == '"':
        return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'
    if leaf.style in {"|", ">"}:
        raise Unsafe(f"{_show(leaf.path)} is a block scalar")
    return value if _reads_back(value) else '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _reads_back(value: str) -> bool:
    """Whether the plain text is this very string, in block and in flow context."""
    try:
        return bool(yaml.safe_load(f"a: {value}") == {"a": value} and yaml.safe_load(f"[{value}, 1]") == [value, 1])
    except yaml.YAMLError:
        return False


def _shifted(leaf: Leaf, shift: int) -> Leaf:
    if not shift:
        return leaf
    return Leaf(leaf.document, leaf.path, leaf.value, leaf.start + shift, leaf.end + shift, leaf.style, leaf.anchor, leaf.alias)


def _walk_stream(text: str) -> Iterator[Leaf]:
    events = iter(yaml.parse(text, Loader=yaml.CSafeLoader))
    document = -1
    for event in events:
        if isinstance(event, yaml.DocumentStartEvent):
            document += 1
            yield from _walk(next(events), (), events, document)


def _walk(event: yaml.Event, path: Path, events: Iterator[yaml.Event], document: int) -> Iterator[Leaf]:
    if isinstance(event, yaml.ScalarEvent):
        yield Leaf(document, path, event.value, *_span(event), event.style or None, event.anchor)
    elif isinstance(event, yaml.AliasEvent):
        yield Leaf(document, path, f"*{event.anchor}", *_span(event), None, event.anchor, alias=True)
    elif isinstance(event, yaml.SequenceStartEvent):
        number = 0
        while not isinstance(item := next(events), yaml.SequenceEndEvent):
            yield from _walk(item, (*path, number), events, document)
            number += 1
    elif isinstance(event, yaml.MappingStartEvent):
        while not isinstance(key := next(events), yaml.MappingEndEvent):
            if isinstance(key, yaml.ScalarEvent):
                name = key.value
            else:  # a complex key is no place that we would ever edit; it still has to be walked over
                name = "?"
                list(_walk(key, (), events, document))
            yield from _walk(next(events), (*path, name), events, document)


def _span(event: yaml.Event) -> tuple[int, int]:
    assert event.start_mark is not None
    assert event.end_mark is not None
    return event.start_mark.index, event.end_mark.index


def _show(path: Path) -> str:
    return ".".join(str(part) for part in path)
