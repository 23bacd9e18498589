"""Somebody's own clone, only read: no fetch, no lock, no object is written, whatever its configuration says."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

from canary.core.errors import NotFound, Rejected
from canary.gitops.command import Git, Patience
from canary.gitops.credentials import GitAuth
from canary.gitops.failures import GitFailed
from canary.gitops.reading import Reader

_OFFLINE = {f"protocol.{name}.allow": "never" for name in ("http", "https", "ssh", "git", "file", "ext")}
"""A clone without all blobs would fetch what is missing, and so be written to."""


class UnknownRevision(Rejected):
    """The clone has no such commit."""


class Clone(Reader):
    """One repository on this machine."""

    def __init__(self, git_folder: Path, *, patience: Patience | None = None) -> None:
        super().__init__(Git(git_folder, "", GitAuth(config=_OFFLINE), patience or Patience()))

    async def commit_of(self, revision: str) -> str:
        """The commit of a branch, a tag, an id, or anything else that git understands. Raises UnknownRevision."""
        try:
            out = await self._git.run("rev-parse", "--verify", "--quiet", "--end-of-options", f"{revision}^{{commit}}")
        except GitFailed as error:
            raise UnknownRevision(f"{revision!r} is no commit of this repository", hint="fetch it first, or name another one") from error
        return out.decode().strip()


async def git_folder(folder: Path) -> Path:
    """Where the repository is that `folder` is in: a work tree, a folder of it, a linked work tree, or a bare one. Raises Rejected, NotFound."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    try:
        process = await asyncio.create_subprocess_exec(
            *("git", "-c", "safe.directory=*", "-C", str(folder), "rev-parse", "--absolute-git-dir"),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
            env=environment,
        )
    except FileNotFoundError as error:
        raise NotFound("there is no program `git`", hint="install git, or put it on PATH") from error
    out, _ = await process.communicate()
    if process.returncode:
        raise Rejected(f"{folder} is not in a Git repository")
    return Path(os.fsdecode(out.rstrip(b"\n")))
