"""The story that `canary demo` tells: a good release, then a bad one.

A developer commits a new image; the GitOps engine delivers it; the operator shifts traffic, judges and promotes, or rolls back and takes the
image back in Git. The story only commits and watches. It yields what happens as plain dicts, for a person's terminal or a program's pipe, and
its verdict on itself: each scenario must end as it should, with a record in Git, and the bad one with a revert.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any

from canary import __version__
from canary.api.canary import Canary, parse_canary
from canary.kube.resource import CANARIES, CANARY_RUNS, EVENTS, Object, Resource
from canary.sandbox import programs
from canary.sandbox.app import Behaviour
from canary.sandbox.gitsync import Developer
from canary.sandbox.world import HOME, World

IMAGE = "ghcr.io/stefanprodan/podinfo"
FIRST, GOOD, BAD = f"{IMAGE}:5.0.0", f"{IMAGE}:5.1.0", f"{IMAGE}:5.2.0"
IMAGES = {FIRST: Behaviour(), GOOD: Behaviour(), BAD: Behaviour(error_rate=0.4)}
"""What the versions do: the third fails two requests in five."""
DEPLOYMENT = "apps/podinfo/deployment.yaml"
ENDED = ("Succeeded", "Failed")

Happening = dict[str, Any]
"""One JSON object: `event` says what happened; `at` is seconds since the story began."""


@dataclass(slots=True)
class Run:
    """One scenario as it unfolds; `summary` is the contract of `--json`."""

    scenario: str
    image: str
    weights: list[int] = field(default_factory=list)
    outcome: str = ""
    failed_check: str | None = None
    reason: str = ""
    before: tuple[int, int] = (0, 0)
    requests: int = 0
    failed: int = 0
    record: str | None = None
    revert: str | None = None

    @property
    def as_it_should(self) -> bool:
        """Good ones are promoted, bad ones rolled back and reverted; both are recorded."""
        if self.scenario == "good":
            return self.outcome == "Succeeded" and bool(self.record) and self.failed == 0 and not self.revert
        return self.outcome == "Failed" and bool(self.record) and bool(self.revert) and self.failed_check is not None

    def summary(self) -> Happening:
        return {
            "scenario": self.scenario,
            "outcome": self.outcome,
            "weights": self.weights,
            "requests": self.requests,
            "failed_requests": self.failed,
            "failed_check": self.failed_check,
            "reason": self.reason,
            "git": {"record": self.record, "revert": self.revert},
        }


class Story:
    """Tells itself on a World. Iterate over `tell()`; `runs` holds the scenarios, `canary` the newest state for a view."""

    def __init__(self, world: World, manifest: str, *, deadline: float) -> None:
        self._world = world
        self._manifest = manifest
        self._deadline = deadline
        self._queue: asyncio.Queue[Happening] = asyncio.Queue()
        self._began = time.monotonic()
        self.canary: Canary | None = None
        self.runs: list[Run] = []
        self._current: Run | None = None

    async def tell(self) -> AsyncIterator[Happening]:
        """Everything that happens, in order; the last one is the summary."""
        self._world.cluster.on_change(self._on_change)
        work = asyncio.ensure_future(self._play())
        try:
            while not (work.done() and self._queue.empty()):
                getter = asyncio.ensure_future(self._queue.get())
                await asyncio.wait({getter, work}, return_when=asyncio.FIRST_COMPLETED)
                if getter.done():
                    yield getter.result()
                else:
                    getter.cancel()
            work.result()
        finally:
            work.cancel()
            await asyncio.gather(work, return_exceptions=True)
        yield self._summary()

    def traffic(self) -> tuple[int, int]:
        """Requests and failures of the current scenario so far, as Envoy counted them."""
        run = self._current
        if run is None:
            return 0, 0
        total, failed = self._world.envoy.users_requests()
        return total - run.before[0], failed - run.before[1]

    async def _play(self) -> None:
        world = self._world
        url = await asyncio.to_thread(world.git.create, "fleet", self._repository())
        sync = world.follow(url)
        self._say("git", text="the first version is on the branch", revision=await sync.sync())
        await world.start_operator()
        self._say("operator", text="the operator is running", version=__version__)
        await self._until(lambda: self._phase() == "Initialized", "the first version is not up")
        developer = Developer(url, world.folder)
        await self._release(developer, "good", FIRST, GOOD)
        if self.runs[0].as_it_should:
            await self._release(developer, "bad", GOOD, BAD)

    async def _release(self, developer: Developer, scenario: str, old: str, new: str) -> None:
        run = self._current = Run(scenario, new)
        run.before = await asyncio.to_thread(self._world.envoy.users_requests)
        self.runs.append(run)
        tag = new.rpartition(":")[2]
        commit = await developer.replace(DEPLOYMENT, old, new, message=f"podinfo {tag}")
        self._say("release", scenario=scenario, image=new, commit=commit)
        await self._until(lambda: bool(run.outcome), f"the {scenario} release did not end")
        run.requests, run.failed = await asyncio.to_thread(self.traffic)
        await self._until(lambda: self._written(run), f"Git holds no outcome of the {scenario} release")
        self._say("outcome", **run.summary())

    async def _until(self, ready: Callable[[], bool], problem: str) -> None:
        while not ready():
            if time.monotonic() - self._began > self._deadline:
                tails = "\n".join(child.tail(8) for child in self._world.children)
                raise TimeoutError(f"{problem} after {self._deadline:.0f} s; phase {self._phase() or 'none'}\n{tails}")
            await asyncio.sleep(0.05)

    def _phase(self) -> str:
        return str(self.canary.status.phase) if self.canary else ""

    def _say(self, event: str, **what: object) -> None:
        self._queue.put_nowait({"event": event, "at": round(time.monotonic() - self._began, 2), **what})

    def _on_change(self, resource: Resource, kind: str, body: Object, _: Object | None) -> None:
        if kind == "DELETED":
            return
        if resource == CANARIES:
            self._see_canary(body)
        elif resource == EVENTS and body.get("involvedObject", {}).get("kind") == "Canary":
            self._say("message", type=body.get("type"), text=body.get("message"))

    def _see_canary(self, body: Object) -> None:
        old, self.canary = self.canary, parse_canary(body)
        status, run = self.canary.status, self._current
        before = old.status if old else None
        if before and (before.phase, before.canary_weight, before.failed_checks) == (
            status.phase,
            status.canary_weight,
            status.failed_checks,
        ):
            return
        self._say("canary", phase=str(status.phase), weight=status.canary_weight, failed_checks=status.failed_checks)
        if run is None or before is None or run.outcome:
            return
        if status.phase == "Progressing" and status.canary_weight and status.canary_weight not in run.weights:
            run.weights.append(status.canary_weight)
        for check in status.checks:
            if check.verdict in {"Fail", "Error", "NoData"}:
                run.failed_check = check.name
        if str(status.phase) in ENDED and str(before.phase) not in ENDED:
            run.outcome, run.reason = str(status.phase), status.failure_reason
            if run.outcome == "Succeeded":
                run.failed_check = None

    def _written(self, run: Run) -> bool:
        """Whether everything that Git must hear of this run is there; remembers the commits."""
        for body in self._world.cluster.list(CANARY_RUNS, HOME):
            images = body["spec"].get("release", {}).get("images") or {}
            if run.image not in images.values():
                continue
            effects = {effect["name"]: effect for effect in (body.get("status") or {}).get("effects") or ()}
            run.record = (effects.get("record/fleet") or {}).get("ref")
            run.revert = (effects.get("revert/fleet") or {}).get("ref")
            return bool(effects) and all(effect["state"] in {"Done", "Skipped"} for effect in effects.values())
        return False

    def _summary(self) -> Happening:
        parts = {
            "operator": __version__,
            "api": f"sandbox {__version__}",
            "proxy": f"envoy {programs.version(programs.envoy())}",
            "metrics": f"prometheus {programs.version(programs.prometheus())}",
            "git": programs.git_version(),
            "load": f"loadtest {__version__}",
        }
        return {"event": "summary", "parts": parts, "runs": [run.summary() for run in self.runs]}

    @property
    def good(self) -> bool:
        """Both scenarios ended as they should."""
        return len(self.runs) == 2 and all(run.as_it_should for run in self.runs)

    def _repository(self) -> dict[str, str]:
        sink = f"""apiVersion: canary.dev/v1alpha1
kind: GitSink
metadata:
  name: fleet
  namespace: {HOME}
spec:
  cluster: sandbox
  repository:
    url: {self._world.git.url}/fleet.git
"""
        return {"apps/podinfo/canary.yaml": self._manifest, DEPLOYMENT: DEPLOYMENT_YAML, "clusters/sandbox/git-sink.yaml": sink}


DEPLOYMENT_YAML = f"""apiVersion: apps/v1
kind: Deployment
metadata:
  name: podinfo
  namespace: {HOME}
spec:
  selector:
    matchLabels:
      app: podinfo
  template:
    metadata:
      labels:
        app: podinfo
    spec:
      containers:
      - name: podinfo
        image: {FIRST} # the only place that names the version
        ports:
        - name: http
          containerPort: 9898
"""
