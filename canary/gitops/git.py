"""The `git` binary over one bare mirror: fetch, read, commit without a work tree, push as compare-and-swap.

Blobless and shallow, because a repository of 50,000 files must cost half a second and not seven; plumbing and a temporary index, because a work
tree would be checked out, hooked and filtered. Every push names the tip that it was computed from (`--force-with-lease=ref:tip`), so it can
only append to exactly that. Libraries were rejected: none has partial clone, leases and signing together (reference gitops 3.1).
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from canary.gitops.credentials import GitAuth
from canary.gitops.failures import Failure, GitFailed, Reaction, classify

DEPTH = 50
"""Commits fetched of a branch: enough to find our own trailers again after a crash."""
TIME_LIMIT = 120.0
MAX_OUTPUT = 64 * 1024 * 1024
_CONFIG = {
    "core.hooksPath": os.devnull,
    "protocol.allow": "never",
    "protocol.http.allow": "always",
    "protocol.https.allow": "always",
    "protocol.ssh.allow": "always",
    "http.followRedirects": "false",
    "gc.auto": "0",
    "core.fsmonitor": "false",
    "remote.origin.promisor": "true",
    "remote.origin.partialclonefilter": "blob:none",
}


@dataclass(frozen=True, slots=True)
class TreeEntry:
    """One file of a commit."""

    mode: str
    oid: str
    path: str


@dataclass(frozen=True, slots=True)
class Author:
    """Who commits."""

    name: str
    email: str


class Mirror:
    """One repository. Not safe for concurrent use: hold `lock` around a fetch-compute-push."""

    def __init__(self, folder: Path, url: str, auth: GitAuth) -> None:
        self.lock = asyncio.Lock()
        self._folder = folder
        self._url = url
        self.auth = auth

    async def fetch(self, branch: str) -> str | None:
        """Tip of the branch with its last DEPTH commits; None when the branch does not exist. Raises GitFailed."""
        await self._ensure()
        ref = f"refs/remotes/origin/{branch}"
        try:
            await self._git("fetch", "-q", "--no-tags", f"--depth={DEPTH}", "--filter=blob:none", "origin", f"+refs/heads/{branch}:{ref}")
        except GitFailed as error:
            if "couldn't find remote ref" in str(error):
                return None
            raise
        return (await self._git("rev-parse", "--verify", f"{ref}^{{commit}}")).decode().strip()

    async def files(self, commit: str) -> list[TreeEntry]:
        """All regular files of a commit; needs no blob."""
        out = await self._git("ls-tree", "-r", "-z", "--full-tree", commit)
        entries = []
        for line in out.split(b"\0"):
            head, _, path = line.partition(b"\t")
            parts = head.decode().split()
            if len(parts) == 3 and parts[1] == "blob" and parts[0] in {"100644", "100755"}:
                with contextlib.suppress(UnicodeDecodeError):  # a path that is no text is nothing we would edit
                    entries.append(TreeEntry(parts[0], parts[2], path.decode()))
        return entries

    async def blobs(self, oids: Sequence[str], *, max_bytes: int) -> dict[str, bytes]:
        """Contents by id, fetched in one go where missing; larger ones than `max_bytes` are left out."""
        if not oids:
            return {}
        asked = "".join(f"{oid}\n" for oid in dict.fromkeys(oids)).encode()
        # One fetch for all that are missing: cat-file alone would ask the server once for each.
        with contextlib.suppress(GitFailed):
            await self._git("fetch", "-q", "--no-tags", "--no-write-fetch-head", "--filter=blob:none", "--stdin", "origin", stdin=asked)
        out = await self._git("cat-file", "--batch", stdin=asked)
        found: dict[str, bytes] = {}
        at = 0
        while at < len(out):
            end = out.index(b"\n", at)
            head = out[at:end].decode().split()
            if len(head) < 3:
                raise GitFailed(Failure("Local", Reaction.BACK_OFF, f"object {head[0]} cannot be read"))
            size = int(head[2])
            if size <= max_bytes:
                found[head[0]] = out[end + 1 : end + 1 + size]
            at = end + 1 + size + 1
        return found

    async def find_trailer(self, commit: str, key: str, value: str) -> str | None:
        """The newest fetched commit whose message has this trailer line, or None."""
        out = await self._git("log", "-z", "--format=%H%n%B", commit)
        for message in out.decode(errors="replace").split("\0"):
            oid, _, body = message.strip().partition("\n")
            if f"{key}: {value}" in body.splitlines():
                return oid
        return None

    async def commit(self, parent: str | None, edits: Mapping[str, bytes | None], *, message: str, author: Author) -> str | None:
        """A commit on `parent` (None: an orphan) with these files replaced (None: removed); None when nothing changes."""
        with tempfile.TemporaryDirectory(dir=self._folder) as scratch:
            env = {"GIT_INDEX_FILE": f"{scratch}/index", **_identity(author)}
            modes: dict[str, str] = {}
            if parent:
                await self._git("read-tree", parent, env=env)
                modes = {entry.path: entry.mode for entry in await self.files(parent)}
            lines = []
            for path, content in edits.items():
                if content is None:
                    lines.append(f"0 {'0' * 40}\t{path}")
                    continue
                oid = (await self._git("hash-object", "-w", "--stdin", stdin=content)).decode().strip()
                lines.append(f"{modes.get(path, '100644')} {oid}\t{path}")
            await self._git("update-index", "-z", "--add", "--index-info", env=env, stdin="".join(f"{line}\0" for line in lines).encode())
            tree = (await self._git("write-tree", "--missing-ok", env=env)).decode().strip()
            if parent and tree == (await self._git("rev-parse", f"{parent}^{{tree}}")).decode().strip():
                return None
            parents = ("-p", parent) if parent else ()
            out = await self._git("commit-tree", tree, *parents, env=env, stdin=message.encode())
            return out.decode().strip()

    async def push(self, branch: str, new: str, *, expected: str | None) -> None:
        """Move the branch from `expected` (None: it must not exist) to `new`. Raises GitFailed; Stale when somebody was faster."""
        lease = f"--force-with-lease=refs/heads/{branch}:{expected or ''}"
        await self._git("push", "--porcelain", lease, "origin", f"{new}:refs/heads/{branch}", output_too=True)

    async def drop(self) -> None:
        """Forget the mirror; the next fetch makes it anew. For local damage."""
        await asyncio.to_thread(shutil.rmtree, self._folder / "mirror.git", ignore_errors=True)

    async def _ensure(self) -> None:
        if not (self._folder / "mirror.git" / "HEAD").exists():
            (self._folder / "mirror.git").mkdir(parents=True, exist_ok=True, mode=0o700)
            await self._git("init", "-q", "--bare", "--initial-branch=canary-none")
        await self._git("config", "remote.origin.url", self._url)

    async def _git(
        self, *arguments: str, stdin: bytes = b"", env: Mapping[str, str] | None = None, output_too: bool = False
    ) -> bytes:
        """Run git in the mirror; its output. Its whole process group dies with our patience or our task."""
        process = await asyncio.create_subprocess_exec(
            "git",
            "--git-dir",
            str(self._folder / "mirror.git"),
            *arguments,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            cwd=self._folder,
            env=self._environment(env or {}),
            start_new_session=True,
            limit=MAX_OUTPUT,
        )
        try:
            async with asyncio.timeout(TIME_LIMIT):
                out, err = await process.communicate(stdin)
        except TimeoutError:
            raise GitFailed(Failure("Unreachable", Reaction.BACK_OFF, f"git {arguments[0]} timed out after {TIME_LIMIT:g} s")) from None
        finally:
            if process.returncode is None:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)  # an ssh grandchild would keep the pipes open
                await process.wait()
        if process.returncode:
            text = err.decode(errors="replace") + (out.decode(errors="replace") if output_too else "")
            raise GitFailed(classify(text or f"git {arguments[0]} ended with {process.returncode}", secrets=self.auth.secrets))
        return out

    def _environment(self, more: Mapping[str, str]) -> dict[str, str]:
        auth = dict(self.auth.env)
        config = dict(_CONFIG)
        if key := auth.pop("GIT_CONFIG_KEY_AUTH", ""):
            config[key] = auth.pop("GIT_CONFIG_VALUE_AUTH")
        pairs: dict[str, str] = {"GIT_CONFIG_COUNT": str(len(config))}
        for number, (name, value) in enumerate(config.items()):
            pairs |= {f"GIT_CONFIG_KEY_{number}": name, f"GIT_CONFIG_VALUE_{number}": value}
        passed = {name: os.environ[name] for name in ("PATH", "TMPDIR", "http_proxy", "https_proxy", "no_proxy", "HTTPS_PROXY", "NO_PROXY", "SSL_CERT_FILE") if name in os.environ}
        return {
            **passed,
            "HOME": "/nonexistent",
            "GIT_CONFIG_NOSYSTEM": "1",
            "GIT_CONFIG_GLOBAL": os.devnull,
            "GIT_TERMINAL_PROMPT": "0",
            "LC_ALL": "C",
            "GIT_HTTP_LOW_SPEED_LIMIT": "1000",
            "GIT_HTTP_LOW_SPEED_TIME": "30",
            **pairs,
            **auth,
            **more,
        }


def _identity(author: Author) -> dict[str, str]:
    return {
        f"GIT_{who}_{what}": value for who in ("AUTHOR", "COMMITTER") for what, value in (("NAME", author.name), ("EMAIL", author.email))
    }
