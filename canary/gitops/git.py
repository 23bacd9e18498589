"""One bare mirror: fetch, read, commit without a work tree, push as compare-and-swap.

Blobless and shallow, because a repository of 50,000 files must cost half a second and not seven; commits by `fast-import`, one process
for any number of files and commits, because a work tree would be checked out, hooked and filtered, and an index holds every
path of the repository. Every push names the tip that it was computed from (`--force-with-lease=ref:tip`), so it can only append to exactly
that. Libraries were rejected: none has partial clone, leases and signing together (reference gitops 3.1).
"""

from __future__ import annotations

import asyncio
import hashlib
import math
import shutil
import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from canary.gitops.command import Git, Patience
from canary.gitops.credentials import GitAuth
from canary.gitops.failures import Failure, GitFailed, Reaction
from canary.gitops.message import EFFECT_TRAILER
from canary.gitops.reading import Reader, lines, quoted
from canary.gitops.signing import Author, Signer, committing

__all__ = ["DEPTH", "FEW", "Author", "Change", "Draft", "Mirror", "Ref", "Tip"]

DEPTH = 50
"""Commits fetched of a branch: enough to find our own again after a crash, mostly."""
DEEPER = 1000
"""Commits fetched when the first ones are all younger than what is looked for."""
SKEW = 3600.0
"""Seconds by which other people's clocks may be wrong."""
SPARE_KIB = 200 * 1024
"""A mirror is made anew when it has grown to twice its first size and this much."""
FEW = 64
"""Blobs that are asked for without looking whether they are here."""


class Ref(str):
    """The whole name of a ref that is no branch, wherever a branch may be named. A type of its own, because a branch may be called `refs/x`."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class Tip:
    """The newest commit of a branch. `effects` maps what our commits say they did (their trailer) to the newest such commit."""

    oid: str
    effects: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Draft:
    """A commit to be made: paths with new content (None removes), and modes where they are not those of a plain file."""

    message: str
    edits: Mapping[str, bytes | None]
    modes: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Change:
    """A commit of the first-parent history, its Unix time, and of the files that were asked about the blobs before and after; empty where there is none."""

    oid: str
    at: float
    files: Mapping[str, tuple[str, str]]


class Mirror(Reader):
    """One repository with one set of credentials. Not safe for concurrent use."""

    def __init__(self, folder: Path, url: str, auth: GitAuth, *, patience: Patience | None = None, signer: Signer | None = None) -> None:
        super().__init__(Git(folder / "mirror.git", url, auth, patience or Patience()))
        self._signer = signer
        self._first_size = 0
        self._here: set[str] = set()
        self._busy: set[str] = set()

    async def fetch(self, branch: str, *, since: float = math.inf) -> Tip | None:
        """The branch (or Ref) as the server has it; None when it does not exist. Raises GitFailed.

        `since`: Unix time after which a commit of ours that is looked for was made. Further history is fetched where the first commits do
        not reach that far back.
        """
        await self._ensure()
        if isinstance(branch, Ref) and not await self._listed(branch):
            return None
        ref = f"refs/canary/{hashlib.sha256(_whole(branch).encode()).hexdigest()[:16]}"  # leaves only: `a` and `a/b` cannot both be refs
        if not await self._fetch(branch, ref, depth=DEEPER if ref in self._busy else DEPTH):
            return None
        tip, reached = await self._history(ref, since)
        if not reached and ref not in self._busy and await self._fetch(branch, ref, depth=DEEPER):
            self._busy.add(ref)  # to cut its history back with the next fetch would mean to fetch all of it again after that
            tip, _ = await self._history(ref, since)
        return tip

    async def _listed(self, ref: Ref) -> bool:
        """Whether the server has exactly this one.

        While it has not, `fetch` and `push` take a branch or a tag that is called like it, and git cannot be told not to. The lease would keep us from
        writing there, but for ever, and nobody would know why.
        """
        found = await self._listing(ref)
        alike = sorted(found.keys() & {f"{prefix}{ref}" for prefix in ("refs/", "refs/heads/", "refs/tags/", "refs/remotes/")})
        if alike and ref not in found:
            text = f"the server has {alike[0]}, which git takes for {ref} as long as that is not there; remove it, or name another ref"
            raise GitFailed(Failure("Refused", Reaction.BLOCKED, text))
        return ref in found

    async def _listing(self, *names: str) -> dict[str, str]:
        """What the server has of these refs, and of others whose names end like theirs: ids by name."""
        out = await self._git.run("ls-remote", "--refs", "origin", *names, network=True)
        return {name: oid for oid, _, name in (line.partition("\t") for line in out.decode(errors="replace").splitlines())}

    async def _fetch(self, branch: str, ref: str, *, depth: int) -> bool:
        refspec = f"+{_whole(branch)}:{ref}"
        try:
            await self._git.run(
                "fetch",
                "-q",
                "--no-tags",
                "--no-write-fetch-head",
                f"--depth={depth}",
                "--filter=blob:none",
                "origin",
                refspec,
                network=True,
            )
        except GitFailed as error:
            if "couldn't find remote ref" in error.failure.text:
                return False
            raise
        return True

    async def _history(self, ref: str, since: float) -> tuple[Tip, bool]:
        """The tip, and whether the history that we have reaches back before `since`.

        Two fields a commit, each ended by NUL: what people write cannot hold one, so no trailer can pass for a commit. A trailer is unfolded and thus
        one line, so line ends stand between those of one commit.
        """
        trailer = f"%(trailers:key={EFFECT_TRAILER},valueonly,unfold,separator=%x0A)"
        out = await self._git.run("log", "-z", f"--format=%H %ct%x00{trailer}", ref, "--")
        cut = await asyncio.to_thread(self._boundary)
        newest, reached = "", True
        effects: dict[str, str] = {}
        fields = out.decode(errors="replace").split("\0")
        for head, values in zip(fields[0:-1:2], fields[1::2], strict=True):
            oid, _, at = head.partition(" ")
            newest = newest or oid
            reached &= oid not in cut or int(at or 0) < since - SKEW  # a broken commit has no time
            for value in values.split("\n"):
                effects.setdefault(value, oid)
        return Tip(newest, effects), reached or math.isinf(since)

    def _boundary(self) -> frozenset[str]:
        """Commits whose parents were not fetched."""
        try:
            return frozenset((self._git.path / "shallow").read_text().split())
        except FileNotFoundError:
            return frozenset()

    async def complete(self, commits: Collection[str], oids: Collection[str]) -> None:
        """Fetch what is missing of these blobs, in one go: `cat-file` alone would ask the server once for each."""
        wanted = [oid for oid in oids if oid not in self._here]
        if len(wanted) > FEW:  # what of a large tree is missing takes git a while to say, and few are asked for faster
            listed = lines([*dict.fromkeys(commits)])
            out = await self._git.run("rev-list", "--objects", "--missing=print", "--no-object-names", "--no-walk", "--stdin", stdin=listed)
            missing = {line[1:] for line in out.decode().splitlines() if line.startswith("?")}
            wanted = [oid for oid in wanted if oid in missing]
        if wanted:
            # Without a word on what we have: a server that hears of our commits takes their files for known when the mirror is shallow
            # (that is how it looks for deltas then), and sends nothing of what was asked for.
            await self._git.run(
                "-c",
                "fetch.negotiationAlgorithm=noop",
                "fetch",
                "-q",
                "--no-tags",
                "--no-write-fetch-head",
                "--filter=blob:none",
                "--stdin",
                "origin",
                stdin=lines(wanted),
                network=True,
            )
        self._here.update(oids)

    async def commit(self, parent: str | None, drafts: Sequence[Draft], author: Author) -> list[str]:
        """A chain of commits on `parent` (None: the first one is an orphan), in one process; their ids."""
        stamp = f"{author.name} <{author.email}> {int(time.time())} +0000".encode()
        stream = [b"feature done"]
        for number, draft in enumerate(drafts, 1):
            stream += [
                b"commit refs/canary/work",
                b"mark :%d" % number,
                b"author " + stamp,
                b"committer " + stamp,
                _data(draft.message.encode()),
            ]
            if number > 1 or parent:
                stream.append(f"from {parent if number == 1 else f':{number - 1}'}".encode())
            elif number == 1:
                stream.insert(1, b"reset refs/canary/work")  # what an earlier commit left there is no parent of an orphan
            for path, content in draft.edits.items():
                if content is None:
                    stream.append(b"D " + quoted(path))
                else:
                    self._here.add(_blob_id(content))
                    stream += [f"M {draft.modes.get(path, '100644')} inline ".encode() + quoted(path), _data(content)]
        stream += [b"get-mark :%d" % number for number in range(1, len(drafts) + 1)]
        out = await self._git.run("fast-import", "--quiet", "--force", "--done", stdin=b"\n".join([*stream, b"done", b""]))
        commits = out.decode().split()
        return await self._signer.signed(self._git, commits, author) if self._signer else commits

    async def publish(self, branch: str, parent: str | None, drafts: Sequence[Draft], author: Author, *, expected: str | None) -> list[str]:
        """Commits on `parent`, as the new end of the branch, which is at `expected` now; their ids. Raises GitFailed as `push`."""
        commits = await self.commit(parent, drafts, author)
        await self.push(branch, commits[-1], expected=expected)
        return commits

    async def push(self, branch: str, new: str, *, expected: str | None) -> None:
        """Move the branch (or Ref) from `expected` (None: it must not exist) to `new`. Raises GitFailed; Stale when somebody was faster."""
        ref = _whole(branch)
        await self._git.run(
            "push", "--porcelain", "--no-verify", f"--force-with-lease={ref}:{expected or ''}", "origin", f"{new}:{ref}", network=True
        )

    async def has(self, tip: str, commit: str) -> bool:
        """Whether the commit is in the history of `tip`, as far as that was fetched."""
        out = await self._git.run("rev-list", f"--max-count={DEEPER}", tip, "--")
        return commit in out.decode().split()

    async def changes(self, tip: str, paths: Iterable[str], *, limit: int) -> list[Change]:
        """The last commits that changed one of these files, newest first, as far as that was fetched; needs no blob.

        The commits at which our history begins are left out: what they changed is not known here.
        """
        shown = ("--first-parent", "--diff-merges=first-parent", "--raw", "--no-abbrev", "--no-renames", "-z", f"--max-count={limit}")
        out = await self._git.run("--literal-pathspecs", "log", *shown, "--format=%x00%H %ct", tip, "--", *paths)
        cut = await asyncio.to_thread(self._boundary)
        words = iter(out.decode(errors="replace").split("\0"))
        found: list[tuple[str, float, dict[str, tuple[str, str]]]] = []
        for word in (word.strip("\n") for word in words):
            if word.startswith(":"):
                old, new = word.split(" ")[2:4]
                found[-1][2][next(words)] = (old.strip("0") and old, new.strip("0") and new)
            elif word:
                oid, _, at = word.partition(" ")
                found.append((oid, float(at or 0), {}))
        return [Change(oid, at, files) for oid, at, files in found if oid not in cut]

    async def blob_ids(self, commit: str, paths: Iterable[str]) -> dict[str, str]:
        """Ids of these files of a commit, by path; needs no blob."""
        out = await self._git.run("--literal-pathspecs", "ls-tree", "-z", "--full-tree", commit, "--", *paths)
        rows = [line.partition("\t") for line in out.decode(errors="replace").split("\0") if line]
        return {path: head.split()[2] for head, _, path in rows}

    async def tag(self, name: str, commit: str, message: str, author: Author) -> None:
        """An annotated tag on the server, signed as commits are. Raises GitFailed; one of this name that is there already is Stale."""
        base = committing(self._git, author)
        if self._signer:
            async with self._signer.ready(base) as git:
                await git.run("tag", "-s", "-f", "-F", "-", name, commit, stdin=message.encode())
        else:
            await base.run("tag", "-a", "-f", "-F", "-", name, commit, stdin=message.encode())
        ref = f"refs/tags/{name}"
        await self._git.run("push", "--porcelain", "--no-verify", f"--force-with-lease={ref}:", "origin", f"{ref}:{ref}", network=True)

    async def tagged(self, name: str) -> str | None:
        """The commit that the server's tag is on; None without it."""
        ref = f"refs/tags/{name}"
        out = await self._git.run("ls-remote", "origin", ref, f"{ref}^{{}}", network=True)
        found = {row[1]: row[0] for line in out.decode(errors="replace").splitlines() if len(row := line.split("\t")) == 2}
        return found.get(f"{ref}^{{}}") or found.get(ref)

    async def fetch_commit(self, commit: str) -> None:
        """Have one commit, wherever the server has it. Raises GitFailed."""
        await self._ensure()
        await self._git.run(
            "fetch", "-q", "--no-tags", "--no-write-fetch-head", "--depth=1", "--filter=blob:none", "origin", commit, network=True
        )

    async def tidy(self) -> None:
        """Make the mirror anew when it has grown too much: nothing collects garbage here."""
        out = await self._git.run("count-objects", "-v")
        numbers = {key: int(value) for key, _, value in (line.partition(": ") for line in out.decode().splitlines()) if value.isdigit()}
        size = numbers["size"] + numbers["size-pack"]
        self._first_size = self._first_size or size
        if size > 2 * self._first_size + SPARE_KIB:
            await self.drop()

    async def drop(self) -> None:
        """Forget the mirror; the next fetch makes it anew. For local damage."""
        self._first_size = 0
        self._forget()
        await asyncio.to_thread(shutil.rmtree, self._git.path, ignore_errors=True)

    def _forget(self) -> None:
        """What was known of a mirror that is not there any more: blobs that it had, branches with many young commits."""
        self._here.clear()
        self._busy.clear()

    async def _ensure(self) -> None:
        if not await asyncio.to_thread((self._git.path / "HEAD").exists):
            self._forget()
            await asyncio.to_thread(self._git.path.mkdir, parents=True, exist_ok=True, mode=0o700)
            await self._git.run("init", "-q", "--bare", "--template=", "--initial-branch=canary-none")


def _whole(branch: str) -> str:
    """What the server calls it."""
    return branch if isinstance(branch, Ref) else f"refs/heads/{branch}"


def _blob_id(content: bytes) -> str:
    """What git calls it; in a repository of another hash it is nobody's name."""
    return hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()


def _data(content: bytes) -> bytes:
    return b"data %d\n%b" % (len(content), content)
