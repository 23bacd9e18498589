"""The sandbox's GitOps engine: what is on the branch is applied to the API, by server-side apply, again and again.

It plays the part that Flux or Argo CD plays in a cluster, so that a release is a commit, and a revert commit is a rollback that sticks.
"""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Protocol

import yaml

from canary.core.errors import Retryable
from canary.kube.resource import Object

_CLEAN = {"GIT_CONFIG_NOSYSTEM": "1", "GIT_CONFIG_GLOBAL": os.devnull, "GIT_TERMINAL_PROMPT": "0", "LC_ALL": "C"}
_IDENTITY = {
    name: value for who in ("AUTHOR", "COMMITTER") for name, value in ((f"GIT_{who}_NAME", "dev"), (f"GIT_{who}_EMAIL", "dev@example.com"))
}


class Applier(Protocol):
    """Whoever can apply one manifest of any kind."""

    async def apply_any(self, manifest: Object) -> None:
        """Server-side apply as another field manager than the operator's."""
        ...


async def git(*arguments: str, cwd: Path) -> str:
    """Run git; Retryable with its own words when it fails."""
    process = await asyncio.create_subprocess_exec(
        "git",
        *arguments,
        cwd=cwd,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={**os.environ, **_CLEAN, **_IDENTITY, "no_proxy": "127.0.0.1"},
    )
    out, err = await process.communicate()
    if process.returncode:
        raise Retryable(f"git {arguments[0]}: {err.decode(errors='replace').strip()[-300:]}")
    return out.decode()


class GitSync:
    """Follows one branch of one repository in a clone of its own; also the developer's hands (`commit`)."""

    def __init__(self, url: str, folder: Path, applier: Applier, *, every: float = 0.5) -> None:
        self._url = url
        self._clone = folder / "clone"
        self._applier = applier
        self._every = every
        self._applied = ""
        self._lock = asyncio.Lock()

    async def run(self) -> None:
        """Follow the branch until cancelled."""
        while True:
            await self.sync()
            await asyncio.sleep(self._every)

    async def sync(self) -> str:
        """Apply the branch's head if it is new; returns its commit id."""
        async with self._lock:
            return await self._sync()

    async def _sync(self) -> str:
        if not self._clone.exists():
            await git("clone", "-q", self._url, str(self._clone), cwd=self._clone.parent)
        await git("fetch", "-q", "origin", "main", cwd=self._clone)
        head = (await git("rev-parse", "FETCH_HEAD", cwd=self._clone)).strip()
        if head != self._applied:
            await git("reset", "-q", "--hard", "FETCH_HEAD", cwd=self._clone)
            for file in sorted(self._clone.rglob("*.yaml")):
                for manifest in yaml.safe_load_all(file.read_text()):
                    await self._applier.apply_any(manifest)
            self._applied = head
        return head


class Developer:
    """Somebody with a clone, who releases by editing a file and pushing."""

    def __init__(self, url: str, folder: Path) -> None:
        self._url = url
        self._clone = folder / "developer"

    async def replace(self, path: str, old: str, new: str, *, message: str) -> str:
        """Change one text in one file, commit and push; returns the commit id. ValueError when `old` is not there exactly once."""
        if not self._clone.exists():
            await git("clone", "-q", self._url, str(self._clone), cwd=self._clone.parent)
        await git("pull", "-q", "--ff-only", cwd=self._clone)
        file = self._clone / path
        text = file.read_text()
        if text.count(old) != 1:
            raise ValueError(f"{path} holds {old!r} {text.count(old)} times, not once")
        file.write_text(text.replace(old, new))
        await git("commit", "-q", "-am", message, cwd=self._clone)
        await git("push", "-q", "origin", "HEAD:main", cwd=self._clone)
        return (await git("rev-parse", "HEAD", cwd=self._clone)).strip()
