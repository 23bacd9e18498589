"""The sandbox's GitOps engine: what is on the branch is applied to the API, by server-side apply, whenever it changes.

It plays the part that Flux or Argo CD plays in a cluster, so that a release is a commit, and a revert commit is a rollback that sticks. The
developer who makes those commits is here too.
"""

from __future__ import annotations

import asyncio
import logging
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import yaml
from aiohttp import ClientError, ClientSession, ClientTimeout

from canary.core.errors import Rejected, Retryable
from canary.kube.resource import (
    ALERT_PROVIDERS,
    CANARIES,
    CONFIG_MAPS,
    DEPLOYMENTS,
    GIT_SINKS,
    HTTP_PROXIES,
    HTTP_ROUTES,
    METRIC_TEMPLATES,
    SERVICES,
    Object,
    Resource,
)
from canary.sandbox.processes import run

log = logging.getLogger(__name__)

_CLEAN = {"GIT_CONFIG_NOSYSTEM": "1", "GIT_CONFIG_GLOBAL": os.devnull, "GIT_TERMINAL_PROMPT": "0", "LC_ALL": "C", "no_proxy": "127.0.0.1"}
_IDENTITY = {
    name: value for who in ("AUTHOR", "COMMITTER") for name, value in ((f"GIT_{who}_NAME", "dev"), (f"GIT_{who}_EMAIL", "dev@example.com"))
}
_PATIENCE = ClientTimeout(total=10)

MANAGER = "gitops"
"""Field manager of what is applied: another one than the operator's."""
_KINDS = {
    resource.kind: resource
    for resource in (CANARIES, METRIC_TEMPLATES, ALERT_PROVIDERS, GIT_SINKS, DEPLOYMENTS, SERVICES, CONFIG_MAPS, HTTP_PROXIES, HTTP_ROUTES)
}


class Applier(Protocol):
    """The part of the API client that is needed."""

    async def apply(self, resource: Resource, body: Object, *, force: bool = True, manager: str) -> Object:
        """Server-side apply. Raises Retryable, or Rejected for good."""
        ...


def resource_of(manifest: Object) -> Resource:
    """The kind of a manifest, at the version that it is written in. Raises Rejected for one that the demo knows nothing of."""
    kind = _KINDS.get(str(manifest.get("kind")))
    if kind is None:
        raise Rejected(f"the demo cannot apply a {manifest.get('kind')}", hint=f"it knows {', '.join(sorted(_KINDS))}")
    group, _, version = str(manifest.get("apiVersion", "")).rpartition("/")
    return Resource(group, version, kind.plural, kind.kind, namespaced=kind.namespaced)


async def git(*arguments: str, cwd: Path) -> str:
    """Run git, without the user's own configuration. Raises Retryable with its own words when it fails."""
    return await run("git", *arguments, cwd=cwd, env={**_CLEAN, **_IDENTITY})


class GitSync:
    """Follows one branch of one repository in a clone of its own, and applies what is in the folders `paths`. `every`: seconds between looks."""

    def __init__(
        self, url: str, folder: Path, applier: Applier, *, branch: str = "main", paths: Sequence[str] = (".",), every: float = 0.5
    ) -> None:
        self.applied = ""
        """The newest commit of which everything was applied."""
        self._url = url
        self._branch = branch
        self._paths = paths
        self._clone = folder / "clone"
        self._applier = applier
        self._every = every
        self._lock = asyncio.Lock()
        self._going = asyncio.Event()
        self._going.set()

    async def run(self) -> None:
        """Follow the branch until cancelled. Raises Rejected for a manifest that can never be applied."""
        while True:
            try:
                await self.sync()
            except Retryable as error:
                log.warning("sync: %s", error)
            await asyncio.sleep(self._every)

    def suspend(self) -> None:
        """Apply nothing until `resume`."""
        self._going.clear()

    def resume(self) -> None:
        """Go on after `suspend`."""
        self._going.set()

    async def sync(self) -> str:
        """Apply the branch's head if it is new; returns its commit id."""
        async with self._lock:
            await self._going.wait()
            return self.applied if self.applied and await self._told() == self.applied else await self._sync()

    async def _told(self) -> str:
        """The branch's commit, in one request: `git fetch` starts seven processes to learn that nothing is new. Empty: unknown."""
        try:
            async with ClientSession(timeout=_PATIENCE) as session, session.get(f"{self._url}/info/refs?service=git-upload-pack") as answer:
                text = await answer.text(errors="replace")
        except (ClientError, TimeoutError):
            return ""  # git finds words for it
        found = re.search(rf"[0-9a-f]{{4}}([0-9a-f]{{40,64}}) refs/heads/{re.escape(self._branch)}(?=[\0\n])", text)
        return found[1] if found else ""

    async def _sync(self) -> str:
        if not self._clone.exists():
            await git("clone", "-q", self._url, str(self._clone), cwd=self._clone.parent)
        await git("fetch", "-q", "origin", self._branch, cwd=self._clone)
        head = (await git("rev-parse", "FETCH_HEAD", cwd=self._clone)).strip()
        if head != self.applied:
            await git("reset", "-q", "--hard", "FETCH_HEAD", cwd=self._clone)
            for file in sorted(file for path in self._paths for file in (self._clone / path).rglob("*.yaml")):
                for manifest in yaml.safe_load_all(file.read_text()):
                    if manifest:
                        await self._applier.apply(resource_of(manifest), manifest, manager=MANAGER)
            self.applied = head
        return head


class Developer:
    """Somebody with a clone, who releases by editing a file and pushing."""

    def __init__(self, url: str, folder: Path) -> None:
        self._url = url
        self._clone = folder / "developer"

    async def write(self, path: str, text: str, *, message: str) -> str:
        """Put this content into one file, commit and push; returns the commit id."""
        if not self._clone.exists():
            await git("clone", "-q", self._url, str(self._clone), cwd=self._clone.parent)
        await git("pull", "-q", "--ff-only", cwd=self._clone)
        (self._clone / path).write_text(text)
        await git("commit", "-q", "-am", message, cwd=self._clone)
        await git("push", "-q", "origin", "HEAD:main", cwd=self._clone)
        return (await git("rev-parse", "HEAD", cwd=self._clone)).strip()
