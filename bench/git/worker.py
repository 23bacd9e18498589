"""The operator's own outbox, on an API in memory, and runs that end as Failed.

The API is that of the tests: it tells of changes as watches do and keeps the rules of versions. What it would take an API server to answer is left out, since
it is two writes for each run; the benchmark beside the peer counts those.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import resource
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Self

from bench.git import monorepo
from bench.git.figures import Used
from canary.gitops.command import Patience
from canary.gitops.outbox import Outbox
from canary.kube.resource import CANARY_RUNS, GIT_SINKS, Object
from tests.gitops.support import BEGIN, NAMESPACE, Api, run, sink

PATIENCE = Patience(local=600, network=600, silence=120)
"""Of a machine that may be busy with other work."""


@dataclass(slots=True)
class Operator:
    """One cluster: its API and its outbox, which keeps mirrors in `folder`."""

    cluster: str
    folder: Path
    api: Api = field(default_factory=Api)
    _heard: asyncio.Event = field(default_factory=asyncio.Event)

    @contextlib.asynccontextmanager
    async def at_work(self, url: str) -> AsyncIterator[None]:
        """The outbox runs, with its mirror ready."""
        self.api.add(GIT_SINKS, sink(url, cluster=self.cluster))
        task = asyncio.create_task(Outbox(self.api, directory=str(self.folder), on_effect=self._hear, patience=PATIENCE).run())
        try:
            await self.until(lambda: bool((self.api.stored(GIT_SINKS, NAMESPACE, "fleet").get("status") or {}).get("conditions")), task)
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    def fail(self, name: str, app: str, *, tag: str, previous: str) -> float:
        """A run has ended as Failed; when that was."""
        now = datetime.now(UTC)
        minute = (now.timestamp() - 60 - BEGIN.timestamp()) / 60
        images = {app: monorepo.image(app, tag)}, {app: monorepo.image(app, previous)}
        body = run(name, canary=app, minute=minute, images=images[0], previous=images[1], finishedAt=now.isoformat(timespec="milliseconds"))
        at = time.monotonic()
        self.api.add(CANARY_RUNS, body)
        return at

    def effects(self, name: str) -> dict[str, Object]:
        """What came of a run, by effect."""
        return {one["name"]: one for one in self.api.stored(CANARY_RUNS, NAMESPACE, name)["status"]["effects"]}

    async def written(self, name: str) -> None:
        """Until record and revert of a run are final. Raises when one of them is not Done."""
        await self.until(lambda: all(one["state"] in {"Done", "Skipped", "Blocked"} for one in self.effects(name).values()))
        if bad := [one for one in self.effects(name).values() if one["state"] != "Done"]:
            raise RuntimeError(f"run {name}: {bad[0]}")

    async def until(self, ready: Callable[[], bool], task: asyncio.Task[None] | None = None) -> None:
        """Look whenever an effect was noted, and twice a second."""
        while not ready():
            if task is not None and task.done():
                task.result()
            self._heard.clear()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._heard.wait(), 0.5)

    def _hear(self, *_: object) -> None:
        self._heard.set()


class Meter:
    """What this process uses while it is entered; its peak is since the process began.

    Git processes are looked at twenty times a second. What the kernel keeps of children that have ended is of no use here: it counts them from the fork
    on, when they are as large as we are.
    """

    def __init__(self, *folders: Path, but: int) -> None:
        """`but`: the process of the server, which is a child as well."""
        self._folders = folders
        self._but = but
        self._before, self._cpu = _rss(), _cpu()
        self._git = 0.0
        self._ended = threading.Event()
        self._watcher = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Self:
        self._watcher.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._watcher.join()

    def read(self) -> Used:
        sizes = [path.stat().st_blocks * 512 for folder in self._folders for path in folder.rglob("*") if path.is_file()]
        return Used(
            peak=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
            before=self._before,
            git=self._git,
            disk=sum(sizes) / 2**20,
            cpu=_cpu() - self._cpu,
        )

    def _watch(self) -> None:
        while not self._ended.wait(0.05):
            self._git = max(self._git, sum(map(_rss, _below(os.getpid(), self._but))))


def _below(process: int, but: int) -> Iterator[int]:
    """Children, and theirs, of all threads, but for one and what it has started; git only: a child that is still a copy of us does not count."""
    for file in Path(f"/proc/{process}/task").glob("*/children"):
        with contextlib.suppress(OSError):
            for child in map(int, file.read_text(encoding="ascii").split()):
                if child != but:
                    if Path(f"/proc/{child}/comm").read_text(encoding="ascii").startswith("git"):
                        yield child
                    yield from _below(child, but)


def _cpu() -> float:
    used = os.times()
    return used.user + used.system + used.children_user + used.children_system


def _rss(process: int | str = "self") -> float:
    """MiB; 0 of a process that has ended."""
    try:
        return int(Path(f"/proc/{process}/statm").read_text(encoding="ascii").split()[1]) * resource.getpagesize() / 2**20
    except OSError:
        return 0.0
