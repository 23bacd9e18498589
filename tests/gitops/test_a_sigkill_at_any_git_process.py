"""A real SIGKILL: the operator's process is killed at each of its git processes, which either never run or run on without it.

The other crash tests stop at every request and every command inside one process, where `finally` still runs. Here nothing runs any more: locks, half-written
packs and keys stay in the folder that the next process gets, and a push may arrive after whoever began it is dead.
"""

from __future__ import annotations

import asyncio
import shutil
import sys
from pathlib import Path
from typing import Self

import pytest

from canary.api.crd import KINDS, crd
from canary.gitops.command import Patience
from canary.gitops.outbox import Outbox
from canary.kube import auth
from canary.kube.cache import WatchedCluster
from canary.kube.client import ApiClient
from canary.kube.resource import CANARY_RUNS, GIT_SINKS, NAMESPACES, Object
from canary.sandbox.gitserver import GitServer
from canary.sandbox.server import ApiServer
from canary.sandbox.world import CRDS
from tests.gitops.support import GOOD, NAMESPACE, PATH, records, run, show, sink, subjects

pytestmark = [pytest.mark.slow, pytest.mark.fault(11, 12)]

LIFE = """
import asyncio, sys
from canary.gitops.outbox import Outbox
from canary.kube import auth
from canary.kube.cache import WatchedCluster
from canary.kube.client import ApiClient

async def main(url, folder):
    await Outbox(WatchedCluster(ApiClient(auth.fixed(url))), directory=folder).run()

asyncio.run(main(*sys.argv[1:]))
"""
SHIM = """#!/bin/sh
read number < {count}
number=$((number + 1))
echo $number > {count}
if [ $number = {at} ]; then
  kill -9 $PPID
  [ {how} = never ] && exit 1
fi
exec {git} "$@"
"""
AT_ONCE = 2


class Scene:
    """An API server, a repository, a folder of mirrors, and a `git` that kills whoever runs it for the n-th time."""

    def __init__(self, server: GitServer, folder: Path, at: int, how: str) -> None:
        self.server, self.folder, self.repo = server, folder, f"{how}-{at}"
        (folder / "bin").mkdir(parents=True)
        (folder / "mirrors").mkdir()
        (folder / "count").write_text("0\n")
        shim = folder / "bin" / "git"
        shim.write_text(SHIM.format(count=folder / "count", at=at, how=how, git=shutil.which("git")))
        shim.chmod(0o755)
        shutil.copytree(server.root / "fleet.git", server.root / f"{self.repo}.git")

    async def __aenter__(self) -> Self:
        self.api = ApiServer()
        await self.api.start()
        self.client = ApiClient(auth.fixed(self.api.url))
        for definition in (crd(kind) for kind in KINDS):
            await self.client.create(CRDS, definition)
        await self.client.create(NAMESPACES, {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}})
        await self.client.create(GIT_SINKS, sink(f"{self.server.url}/{self.repo}.git"))
        body = run("r1")
        status = body.pop("status")
        await self.client.create(CANARY_RUNS, body)
        await self.client.merge(CANARY_RUNS, NAMESPACE, "r1", {"status": status}, subresource="status")
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.client.close()
        await self.api.stop()

    async def done(self) -> bool:
        body: Object = await self.client.get(CANARY_RUNS, NAMESPACE, "r1")
        return all(effect["state"] == "Done" for effect in body["status"]["effects"])

    async def live(self) -> bool:
        """One life of the operator; whether it was killed."""
        path = f"{self.folder / 'bin'}:/usr/bin:/bin"
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", LIFE, self.api.url, str(self.folder / "mirrors"), env={"PATH": path}, cwd=Path(__file__).parents[2]
        )
        try:
            while process.returncode is None and not await self.done():
                await asyncio.sleep(0.05)
            return process.returncode is not None
        finally:
            if process.returncode is None:
                process.kill()
            await process.wait()
            assert process.returncode == -9

    async def recover(self) -> None:
        """The next process, here."""
        cluster = WatchedCluster(self.client)
        outbox = Outbox(cluster, directory=str(self.folder / "mirrors"), patience=Patience(local=30, network=30, silence=5))
        task = asyncio.create_task(outbox.run())
        try:
            async with asyncio.timeout(60):
                while not await self.done():
                    await asyncio.sleep(0.05)
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            await cluster.close()

    def assert_once(self) -> None:
        folder = "cluster-001/prod/podinfo"
        assert records(self.server, self.repo) == [f"{folder}/r1.json"]
        assert len(subjects(self.server, self.repo)) == 2
        assert len(subjects(self.server, self.repo, "canary-outcomes")) == 1
        assert GOOD in show(self.server, PATH, repo=self.repo)


@pytest.mark.timeout(600)
@pytest.mark.parametrize("how", ["never", "orphaned"])
async def test_one_record_and_one_revert_wherever_the_process_is_killed(
    server: GitServer, tmp_path: Path, how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("canary.gitops.worker.SHORTEST", 0.1)
    monkeypatch.setattr("canary.gitops.worker.LONGEST", 0.3)
    died: dict[int, bool] = {}

    async def one(at: int) -> None:
        async with Scene(server, tmp_path / f"{how}-{at}", at, how) as scene:
            died[at] = await scene.live()
            if died[at]:
                await scene.recover()
            scene.assert_once()

    at = 1
    while all(died.values()):
        await asyncio.gather(*(one(at + more) for more in range(AT_ONCE)))
        at += AT_ONCE
    last = max(number for number, killed in died.items() if killed)
    assert last >= 8
    assert sorted(number for number, killed in died.items() if killed) == list(range(1, last + 1))
