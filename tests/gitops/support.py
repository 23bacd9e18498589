"""What the tests of Git write-back share: an API that tells of changes, objects, and an outbox that runs for a while."""

from __future__ import annotations

import asyncio
import contextlib
import copy
from collections.abc import AsyncIterator, Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from canary.gitops.command import Patience
from canary.gitops.outbox import Outbox
from canary.kube.resource import CANARY_RUNS, GIT_SINKS, METADATA_ONLY, SECRETS, Object, Resource
from canary.sandbox.gitserver import GitServer
from tests.fakes.cluster import FakeCluster

NAMESPACE = "prod"
GOOD, BAD = "ghcr.io/acme/podinfo:6.0.0", "ghcr.io/acme/podinfo:6.1.0"
MANIFEST = f"""apiVersion: apps/v1
kind: Deployment
metadata:
  name: podinfo
  namespace: {NAMESPACE}
spec:
  template:
    spec:
      containers:
      - name: podinfo
        image: {BAD} # the only place
"""
PATH = "apps/podinfo.yaml"
BEGIN = datetime.now(UTC).replace(microsecond=0) - timedelta(minutes=10)


class Api(FakeCluster):
    """A FakeCluster whose watches tell of changes, and which can stop at any request."""

    def __init__(self) -> None:
        super().__init__()
        self._callbacks: list[Callable[[Resource, str, Object, Object | None], None]] = []
        self.step: Callable[[str], Any] = _nothing

    def on_change(self, callback: Callable[[Resource, str, Object, Object | None], None]) -> Callable[[], None]:
        self._callbacks.append(callback)
        return lambda: self._callbacks.remove(callback)

    async def read(self, resource: Resource, namespace: str, name: str) -> Object:
        await self.step(f"read {resource.plural}")
        return await super().read(resource, namespace, name)

    async def merge(self, resource: Resource, namespace: str, name: str, patch: Object, *, subresource: str = "") -> Object:
        await self.step(f"merge {resource.plural}")
        return await super().merge(resource, namespace, name, patch, subresource=subresource)

    def remove(self, resource: Resource, namespace: str, name: str) -> None:
        old = self._objects.get((resource, namespace, name))
        super().remove(resource, namespace, name)
        if old is not None:
            self._tell(resource, "DELETED", old, old)

    def _store(self, key: tuple[Resource, str, str], obj: Object) -> Object:
        old = copy.deepcopy(self._objects.get(key))
        new = super()._store(key, obj)
        if old is None or old["metadata"]["resourceVersion"] != new["metadata"]["resourceVersion"]:
            self._tell(key[0], "ADDED" if old is None else "MODIFIED", new, old)
        return new

    def _tell(self, resource: Resource, kind: str, body: Object, old: Object | None) -> None:
        shown = {key: body[key] for key in ("apiVersion", "kind", "metadata")} if resource in METADATA_ONLY else body
        if resource in self.watching:
            for callback in tuple(self._callbacks):
                asyncio.get_running_loop().call_soon(callback, resource, kind, copy.deepcopy(shown), old)


async def _nothing(_: str) -> None:
    return None


def sink(url: str, *, name: str = "fleet", namespace: str = NAMESPACE, **spec: Any) -> Object:
    """A GitSink; `spec` overrides parts of it."""
    repository = {"url": url} | spec.pop("repository", {})
    return {
        **GIT_SINKS.head(namespace, name),
        "spec": {"repository": repository, "cluster": "cluster-001", **spec},
    }


def run(
    name: str,
    *,
    canary: str = "podinfo",
    namespace: str = NAMESPACE,
    outcome: str = "Failed",
    minute: float = 0,
    images: Mapping[str, str] | None = None,
    previous: Mapping[str, str] | None = None,
    effects: tuple[str, ...] | None = None,
    **status: Any,
) -> Object:
    """A closed CanaryRun whose effects wait for the sink `fleet`. `minute`: when it started."""
    kinds = effects if effects is not None else (("record/fleet", "revert/fleet") if outcome == "Failed" else ("record/fleet",))
    return {
        **CANARY_RUNS.head(namespace, name),
        "spec": {
            "canaryRef": {"name": canary, "uid": f"uid-{canary}"},
            "target": {"apiVersion": "apps/v1", "kind": "Deployment", "name": canary},
            "startedAt": _time(minute),
            "strategy": "canary",
            "release": {"images": dict(images or {"podinfo": BAD}), "templateHash": "v2:new"},
            "previous": {"images": dict(previous or {"podinfo": GOOD}), "templateHash": "v2:old"},
        },
        "status": {
            "phase": outcome,
            "reason": "request-success-rate 92.1 < 99" if outcome == "Failed" else "",
            "finishedAt": _time(minute + 0.5),
            "maxWeightReached": 30,
            "failedChecks": 5 if outcome == "Failed" else 0,
            "checks": [{"name": "request-success-rate", "samples": 3, "worst": 92.1, "verdict": "Fail", "query": "sum(rate(x[1m]))"}],
            "effects": [{"name": kind, "state": "Queued"} for kind in kinds],
            **status,
        },
    }


def _time(minute: float) -> str:
    return (BEGIN + timedelta(minutes=minute)).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def secret(name: str = "git", **data: str) -> Object:
    """A Secret as a GitSink names it."""
    import base64

    return {**SECRETS.head(NAMESPACE, name), "data": {key: base64.b64encode(value.encode()).decode() for key, value in data.items()}}


class Clock:
    """Wall time that a test may push on."""

    def __init__(self) -> None:
        self.ahead = 0.0

    def __call__(self) -> float:
        return datetime.now(UTC).timestamp() + self.ahead


@contextlib.asynccontextmanager
async def running(api: Api, **options: Any) -> AsyncIterator[Outbox]:
    """An outbox at work in a directory of its own; stopped as a crash stops it."""
    outbox = Outbox(api, **{"patience": Patience(local=20, network=20, silence=5), **options})
    task = asyncio.create_task(outbox.run())
    try:
        yield outbox
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        if task.done() and not task.cancelled() and task.exception():
            raise task.exception()


def effects(api: Api, name: str, *, namespace: str = NAMESPACE) -> dict[str, Object]:
    """The effects of a run by name."""
    status = api.stored(CANARY_RUNS, namespace, name)["status"]
    return {effect["name"]: effect for effect in status["effects"]}


def settled(api: Api) -> bool:
    """Whether nothing waits any more."""
    states = [
        effect["state"]
        for (resource, _, _), body in api._objects.items()
        if resource == CANARY_RUNS
        for effect in body["status"]["effects"]
    ]
    return all(state in {"Done", "Skipped"} for state in states)


async def until(ready: Callable[[], object], *, seconds: float = 60.0) -> None:
    """Wait for something to become true."""
    async with asyncio.timeout(seconds):
        while not ready():
            await asyncio.sleep(0.01)


async def drained(api: Api, **options: Any) -> None:
    """Run an outbox until nothing waits."""
    async with running(api, **options):
        await until(lambda: settled(api))


def records(server: GitServer, repo: str = "fleet", branch: str = "canary-outcomes") -> list[str]:
    """Paths of all files on the outcomes branch; none without it."""
    if not server.git(repo, "for-each-ref", f"refs/heads/{branch}").strip():
        return []
    return server.git(repo, "ls-tree", "-r", "--name-only", branch).split()


def subjects(server: GitServer, repo: str = "fleet", branch: str = "main") -> list[str]:
    """Subjects of a branch's commits, newest first."""
    return server.git(repo, "log", "--format=%s", branch).splitlines()


def show(server: GitServer, path: str, *, repo: str = "fleet", branch: str = "main") -> str:
    """A file on a branch."""
    return server.git(repo, "show", f"{branch}:{path}")


def bury(server: GitServer, commits: int, *, repo: str = "fleet", branch: str = "main") -> None:
    """Many commits of other people on top of a branch, all of them made now."""
    stream = []
    for number in range(commits):
        stream += [f"commit refs/heads/{branch}", f"committer d <d@e> {int(datetime.now(UTC).timestamp())} +0000", "data 1", "x"]
        stream += [f"from refs/heads/{branch}^0"] if number == 0 else []
        stream += ["M 100644 inline counter", "data 4", f"{number:04}"]
    server._git("fast-import", "--quiet", cwd=server.root / f"{repo}.git", stdin=("\n".join(stream) + "\n").encode())
