"""Reading commits of a repository without a work tree: which files there are, and what they hold.

Apart from the mirror, because somebody's own clone is read in the same way and never written to.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass

from canary.gitops.command import Git
from canary.gitops.failures import Failure, GitFailed, Reaction

CHUNK = 4 * 1024 * 1024
"""Bytes of blobs read at once, about."""


@dataclass(frozen=True, slots=True)
class TreeEntry:
    """One file of a commit."""

    mode: str
    oid: str
    path: str


class Reader:
    """Reads one repository."""

    def __init__(self, git: Git) -> None:
        self._git = git

    async def files(self, commit: str, *folders: str) -> list[TreeEntry]:
        """All regular files of a commit, or of these folders of it; needs no blob."""
        out = await self._git.run("ls-tree", "-r", "-z", "--full-tree", commit, "--", *(f"{folder}/" for folder in folders))
        return await asyncio.to_thread(_entries, out)

    async def blobs(
        self, commit: str, oids: Collection[str], *, max_bytes: int, worth: Callable[[bytes], bool] = lambda _: True
    ) -> tuple[dict[str, bytes], frozenset[str]]:
        """Contents by id of blobs of a commit, and the ids of those larger than `max_bytes`, which are not read.

        `worth`: which contents are kept, so that a large repository is never in memory as a whole.
        """
        wanted = list(dict.fromkeys(oids))
        await self.complete([commit], wanted)
        sizes = await self._sizes(wanted)
        small = [(oid, sizes[oid]) for oid in wanted if sizes[oid] <= max_bytes]
        found: dict[str, bytes] = {}
        for chunk in _chunks(small):
            out = await self._git.run("cat-file", "--batch", stdin=lines([oid for oid, _ in chunk]))
            found |= await asyncio.to_thread(_contents, out, chunk, worth)
        return found, frozenset(wanted) - dict(small).keys()

    async def complete(self, commits: Collection[str], oids: Collection[str]) -> None:
        """Have these blobs here, which the commits have among their files. A clone has what it has."""

    async def _sizes(self, oids: Sequence[str]) -> dict[str, int]:
        if not oids:
            return {}
        out = await self._git.run("cat-file", "--batch-check", stdin=lines(oids), network=True)
        parts = [line.split() for line in out.decode().splitlines()]
        if unread := [part[0] for part in parts if len(part) != 3]:
            raise GitFailed(Failure("Local", Reaction.BACK_OFF, f"object {unread[0]} cannot be read"))
        return {part[0]: int(part[2]) for part in parts}


def _entries(out: bytes) -> list[TreeEntry]:
    """Regular files in what `ls-tree -z` says. In a thread: a repository may hold many."""
    entries = []
    for line in out.split(b"\0"):
        head, _, path = line.partition(b"\t")
        parts = head.decode().split()
        if len(parts) == 3 and parts[1] == "blob" and parts[0] in {"100644", "100755"}:
            with contextlib.suppress(UnicodeDecodeError):  # a path that is no text is nothing that we would edit
                entries.append(TreeEntry(parts[0], parts[2], path.decode()))
    return entries


def _contents(out: bytes, sizes: Sequence[tuple[str, int]], worth: Callable[[bytes], bool]) -> dict[str, bytes]:
    """What `cat-file --batch` says of these blobs, as far as it is worth keeping."""
    found, begin = {}, 0
    for oid, size in sizes:
        begin = out.index(b"\n", begin) + 1
        content = out[begin : begin + size]
        begin += size + 1
        if worth(content):
            found[oid] = content
    return found


def _chunks(sizes: Iterable[tuple[str, int]]) -> Iterator[list[tuple[str, int]]]:
    chunk: list[tuple[str, int]] = []
    room = CHUNK
    for oid, size in sizes:
        chunk.append((oid, size))
        room -= size + 100
        if room <= 0:
            yield chunk
            chunk, room = [], CHUNK
    if chunk:
        yield chunk


def lines(oids: Sequence[str]) -> bytes:
    """For the standard input of git."""
    return "".join(f"{oid}\n" for oid in oids).encode()


def quoted(path: str) -> bytes:
    """A path as git quotes it in C style: every byte that is not plain as three octal digits."""
    plain = b"".join(bytes([byte]) if 32 <= byte < 127 and byte not in b'"\\' else b"\\%03o" % byte for byte in path.encode())
    return b'"' + plain + b'"'
