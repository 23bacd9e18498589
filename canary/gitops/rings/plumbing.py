"""Questions to a repository that rings ask and the outbox does not: many refs at once, history with trailers, who signed what.

One process for any number of refs wherever git allows it: a fleet has thousands. Nothing here writes to a server.
"""

from __future__ import annotations

import itertools
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from canary.gitops.command import Git
from canary.gitops.failures import GitFailed

_FILES = {"100644", "100755"}
"""Modes of regular files: no symlink and no submodule is read."""


@dataclass(frozen=True, slots=True)
class Commit:
    """One commit of a branch's first-parent history. `paths`: what it changed against that parent, `gone` what it removed; `trailers` by key."""

    oid: str
    at: float
    author: str
    subject: str
    tree: str
    paths: frozenset[str]
    gone: frozenset[str]
    trailers: Mapping[str, tuple[str, ...]]


async def refs(git: Git, *patterns: str) -> dict[str, str]:
    """Ids by name of the refs in this repository."""
    out = await git.run("for-each-ref", "--format=%(objectname) %(refname)", *patterns)
    return {name: oid for oid, _, name in (line.partition(" ") for line in out.decode(errors="replace").splitlines())}


async def history(git: Git, tip: str, *, limit: int, keys: Sequence[str]) -> list[Commit]:
    """Newest first, at most `limit`; with these trailers."""
    trailers = [f"%(trailers:key={key},valueonly,unfold,separator=%x1d)" for key in keys]
    rows = await _log(git, ["%H", "%ct", "%an", "%s", "%T", *trailers], f"--max-count={limit}", tip, "--")
    return [_commit(fields, changed, keys) for fields, changed in rows]


def _commit(fields: Sequence[str], changed: Mapping[str, str], keys: Sequence[str]) -> Commit:
    oid, at, author, subject, tree, *rest = fields
    values = {key: tuple(value.strip() for value in text.split("\x1d") if value.strip()) for key, text in zip(keys, rest, strict=True)}
    gone = frozenset(path for path, status in changed.items() if status == "D")
    return Commit(oid, float(at), author, subject, tree, frozenset(changed), gone, values)


async def touched(git: Git, tip: str, folder: str) -> dict[str, tuple[float, str]]:
    """When each file of a folder was last changed on this branch (Unix seconds), and by whom."""
    found: dict[str, tuple[float, str]] = {}
    for (at, author), changed in await _log(git, ["%ct", "%an"], tip, "--", f"{folder}/"):
        for path in changed:
            found.setdefault(path, (float(at), author))
    return found


async def _log(git: Git, fields: Sequence[str], *arguments: str) -> list[tuple[list[str], dict[str, str]]]:
    """Fields, and status by changed path, of each commit. Only NUL separates: names and subjects hold whatever their author likes, but never that."""
    changes = ("--first-parent", "--diff-merges=first-parent", "--name-status", "--no-renames", "-z")
    out = await git.run("log", *changes, f"--format={''.join(f'%x00{field}' for field in fields)}", *arguments)
    words = iter(out.decode(errors="replace").split("\0"))
    rows: list[tuple[list[str], dict[str, str]]] = []
    for word in words:
        if word.strip("\n"):
            rows[-1][1][next(words)] = word.strip("\n")
        elif first := next((one for one in words if one), ""):  # nothing comes before a commit, whose first field is never empty
            rows.append(([first, *itertools.islice(words, len(fields) - 1)], {}))
    return rows


async def descends(git: Git, new: str, old: str) -> bool:
    """Whether `old` is in the history of `new`, as far as that is here."""
    try:
        return not await git.run("rev-list", "--max-count=1", old, f"^{new}", "--")
    except GitFailed:
        return False


async def files(git: Git, commit: str, paths: Collection[str]) -> dict[str, str]:
    """Blobs by path of these files of a commit, and of all files in those that are folders; without a look at the rest of a large tree."""
    out = await git.run("--literal-pathspecs", "ls-tree", "-r", "-z", "--full-tree", commit, "--", *paths)
    rows = [line.partition("\t") for line in out.decode(errors="replace").split("\0") if line]
    return {path: head.split()[2] for head, _, path in rows if head.split()[0] in _FILES}


async def trees(git: Git, places: Collection[tuple[str, str]]) -> dict[tuple[str, str], dict[str, str]]:
    """Blobs by file name of folders, given as (commit, path); folders that do not exist are left out."""
    wanted = [place for place in places if "\n" not in place[1]]
    if not wanted:
        return {}
    out = await git.run("cat-file", "--batch", stdin="".join(f"{commit}:{path}\n" for commit, path in wanted).encode())
    found, begin = {}, 0
    for commit, path in wanted:
        end = out.index(b"\n", begin)
        head = out[begin:end].split(b" ")
        begin = end + 1
        if len(head) == 3 and head[1] in {b"tree", b"blob"}:
            size = int(head[2])
            if head[1] == b"tree":
                found[commit, path] = dict(_tree(out[begin : begin + size], len(head[0]) // 2))
            begin += size + 1
    return found


def _tree(raw: bytes, width: int) -> list[tuple[str, str]]:
    """Names and ids of the regular files in a tree object, whose ids are `width` bytes long."""
    found, begin = [], 0
    while begin < len(raw):
        end = raw.index(b"\0", begin)
        mode, _, name = raw[begin:end].partition(b" ")
        if mode.decode(errors="replace") in _FILES:
            found.append((name.decode(errors="replace"), raw[end + 1 : end + 1 + width].hex()))
        begin = end + 1 + width
    return found


async def signed_by(git: Git, commits: Collection[str], signers: Path) -> dict[str, str]:
    """Who signed each commit, by the principals of an allowed-signers file; commits without a good signature are left out."""
    if not commits:
        return {}
    config = ("-c", "gpg.format=ssh", "-c", f"gpg.ssh.allowedSignersFile={signers}")
    shape = "--format=%H%x1f%G?%x1f%GS"
    listed = "".join(f"{commit}\n" for commit in commits).encode()
    out = await git.run(*config, "log", "--no-walk=unsorted", "--stdin", shape, stdin=listed)
    rows = [line.split("\x1f") for line in out.decode(errors="replace").splitlines()]
    return {row[0]: row[2] for row in rows if len(row) == 3 and row[1] == "G"}
