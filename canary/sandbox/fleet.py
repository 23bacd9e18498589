"""Three clusters in three rings on one machine: each a `World` of its own, all delivered from one repository with a branch for each ring.

Every cluster has its own API, operator, Envoy, load tester and Prometheus, because the Canary has the same name in all of them: one Prometheus
would judge one cluster by the requests of another. Only the Git server is shared, as it is between real clusters.
"""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import tempfile
from collections.abc import Coroutine, Mapping
from pathlib import Path
from typing import Any

from canary.sandbox.crew import Crew
from canary.sandbox.gitserver import GitServer
from canary.sandbox.gitsync import GitSync
from canary.sandbox.programs import Programs
from canary.sandbox.stage import APP, HOME, Progress
from canary.sandbox.world import CAST, World, together

RINGS = {"innovators": "cluster-001", "early-adopters": "cluster-002", "late-majority": "cluster-003"}
"""The cluster of each ring, the first ring first."""
BAKE = 4
"""Seconds for which a success must have lasted before the next ring begins."""
PLAN = "fleet/plans/sandbox.yaml"
_NAME = "fleet"
_SYNC_EVERY = 1.0
"""Seconds between a cluster's looks at its branch: three clusters that look twice a second would keep the machine busy with git."""


class Fleet:
    """The sandbox as a venue of several stages (see `canary.sandbox.stage.Venue`); `worlds` by ring."""

    def __init__(self, programs: Programs) -> None:
        self.cast = CAST
        self.parts: dict[str, str] = {}
        self.worlds: dict[str, World] = {}
        self._programs = programs
        self._stack = contextlib.AsyncExitStack()
        self._crew: Crew | None = None
        self._asked: list[bytes] = []
        self._heads: dict[str, tuple[str, str]] = {}

    async def start(self, progress: Progress = lambda *_: None) -> None:
        """Bring everything up. Raises Ended when a program does not start."""
        self.folder = Path(tempfile.mkdtemp(prefix="canary-fleet-"))
        self._stack.callback(shutil.rmtree, self.folder, ignore_errors=True)
        self._git = GitServer(self.folder / "git")
        self._git.start()
        self._stack.push_async_callback(asyncio.to_thread, self._git.stop)
        self._crew = Crew(self.folder)
        self.parts["git"] = f"git {self._programs.git_version}"
        progress("git", self.parts["git"])
        self.worlds = {ring: World(self._programs, name=name, git=self._git) for ring, name in RINGS.items()}
        self._stack.push_async_callback(self._leave)
        counted: dict[str, int] = {}

        def ready(part: str, version: str) -> None:
            """A part is up when all clusters have it."""
            counted[part] = counted.get(part, 0) + 1
            if counted[part] == len(self.worlds):
                self.parts[part] = version
                progress(part, version)

        await together(*(world.start(ready) for world in self.worlds.values()))

    async def stop(self) -> None:
        """Stop who moves rings, then all clusters at the same time, then the Git server."""
        await self._stack.aclose()

    def kill(self) -> None:
        """End all processes now."""
        for one in (*self.worlds.values(), *([self._crew] if self._crew else ())):
            one.kill()

    def clearing(self) -> str:
        """What `stop` does, in words."""
        return "stopping everything"

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """Run something beside the clusters; what it raises is trouble."""
        assert self._crew is not None
        self._crew.spawn(work)

    def adapt(self, manifest: str) -> Mapping[str, str]:
        """The manifest as it is, each cluster's sink, the list of clusters, and the plan."""
        sinks = {path: text for ring, world in self.worlds.items() for path, text in world.sink(ring).items()}
        clusters = "".join(f"  {name}: {{ring: {ring}}}\n" for ring, name in RINGS.items())
        return {f"apps/{APP}/canary.yaml": manifest, **sinks, "fleet/clusters.yaml": f"clusters:\n{clusters}", PLAN: _plan()}

    async def deliver(self, files: Mapping[str, str]) -> tuple[str, dict[str, GitSync]]:
        """A repository with these files and a branch for each ring, which the ring's cluster follows: its URL, and the engines by ring."""
        url = await asyncio.to_thread(self._git.create, _NAME, files)
        for ring in self.worlds:
            await asyncio.to_thread(self._git.git, _NAME, "branch", ring, "main")
        return url, {
            ring: world.follow(url, branch=ring, paths=("apps", f"clusters/{world.name}"), every=_SYNC_EVERY)
            for ring, world in self.worlds.items()
        }

    async def heads(self) -> dict[str, tuple[str, str]]:
        """The newest commit of each ring's branch, as the server has it, and the subject of that commit.

        Looked at several times a second, so git is asked only when a branch has moved.
        """
        refs = await asyncio.to_thread(self._refs)
        if b"" not in refs and refs == self._asked:
            return self._heads
        names = [f"refs/heads/{ring}" for ring in self.worlds]
        out = await asyncio.to_thread(self._git.git, _NAME, "for-each-ref", "--format=%(refname:short) %(objectname) %(subject)", *names)
        # what moves meanwhile is asked for next time
        self._asked, self._heads = (
            refs,
            {ring: (commit, subject) for ring, commit, subject in (line.split(" ", 2) for line in out.splitlines())},
        )
        return self._heads

    def _refs(self) -> list[bytes]:
        """What the server's files say of the branches; empty for one that git keeps elsewhere."""
        files = [self._git.root / f"{_NAME}.git" / "refs" / "heads" / ring for ring in self.worlds]
        return [file.read_bytes() if file.is_file() else b"" for file in files]

    async def trouble(self) -> None:
        """Raises when something of any cluster, or something beside them, has ended by itself."""
        assert self._crew is not None
        await together(self._crew.trouble(), *(world.trouble() for world in self.worlds.values()))

    async def _leave(self) -> None:
        assert self._crew is not None
        await self._crew.stop()
        stopped = await asyncio.gather(*(world.stop() for world in self.worlds.values()), return_exceptions=True)
        for error in stopped:
            if error is not None:
                raise error


def _plan() -> str:
    rings = "".join(f"  - name: {ring}\n    bakeTime: {BAKE}s\n" for ring in RINGS)
    return f"""apiVersion: canary.dev/v1alpha1
kind: RolloutPlan
metadata:
  name: {APP}
spec:
  canary:
    namespace: {HOME}
    name: {APP}
  mode: branch
  records:
    layout: shared
  rings:
{rings}"""
