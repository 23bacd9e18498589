"""The story that `canary demo` tells: a good release, then a bad one.

A developer commits a new image; the GitOps engine delivers it; the operator shifts traffic, judges and promotes, or rolls back and takes the
image back in Git. The story only commits and watches. It yields what happens as plain dicts, for a person's terminal or a program's pipe, and
its verdict on itself: each scenario must end as it should, with a record in Git, and the bad one with a revert after which the cluster rests.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any, TypeVar

from canary.api.canary import Canary, parse_canary
from canary.api.canaryrun import CanaryRun, parse_canary_run
from canary.api.status import CheckStatus, Phase
from canary.kube.resource import CANARIES, CANARY_RUNS, DEPLOYMENTS, Object, Resource
from canary.sandbox.account import OUTCOMES, Account, Happening
from canary.sandbox.deployment import deployment
from canary.sandbox.gitsync import Developer, GitSync
from canary.sandbox.stage import APP, HOME, NotInTimeError, Stage

T = TypeVar("T")
DEPLOYMENT = f"apps/{APP}/deployment.yaml"
"""The one file that names the version."""
QUIET = 2.5
"""Seconds without another run after which the cluster counts as resting. The operator sees a change within one."""
_CONVERGES = 30.0
"""Seconds that the cluster may take to run what is on the branch."""
_ENDED = (Phase.SUCCEEDED, Phase.FAILED)


class Story:
    """Tells itself on a stage. Iterate over `tell()`; `accounts` and `canary` are the newest state, for a view."""

    def __init__(self, stage: Stage, manifest: str, *, deadline: float) -> None:
        self.stage = stage
        self.canary: Canary | None = None
        self.accounts: list[Account] = []
        self._manifest = manifest
        self._deadline = deadline
        self._queue: asyncio.Queue[Happening] = asyncio.Queue()
        self._began = time.monotonic()
        self._before = (0, 0)
        self._finished: float | None = None

    @property
    def elapsed(self) -> float:
        """Seconds since the story began, until it ended."""
        return (self._finished or time.monotonic()) - self._began

    @property
    def good(self) -> bool:
        """Both scenarios ended as they should."""
        return len(self.accounts) == 2 and all(account.as_it_should for account in self.accounts)

    def traffic(self) -> tuple[int, int]:
        """Requests and failures of the current scenario, as counted a moment ago."""
        total, failed = self.stage.traffic
        return max(0, total - self._before[0]), max(0, failed - self._before[1])

    async def tell(self) -> AsyncIterator[Happening]:
        """Everything that happens, in order; the last one is the summary. Raises CanaryError when a part of the stage fails."""
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
        self._finished = time.monotonic()
        yield {
            "event": "summary",
            "parts": dict(self.stage.parts),
            "runs": [account.summary() for account in self.accounts],
        }

    async def _play(self) -> None:
        """Set the stage and follow the plot, unless a part of the stage ends first."""
        await self._in_time(
            self.stage.start(lambda name, version: self._say("part", name=name, version=version)), "not everything is running"
        )
        self.stage.cluster.on_change(self._on_change)
        self.stage.listen(lambda kind, text: self._say("message", type=kind, text=text))
        plot, alarm = asyncio.ensure_future(self._plot()), asyncio.ensure_future(self.stage.trouble())
        try:
            await asyncio.wait({plot, alarm}, return_when=asyncio.FIRST_COMPLETED)
            for task in (alarm, plot):
                if task.done():
                    task.result()
        finally:
            for task in (plot, alarm):
                task.cancel()
            await asyncio.gather(plot, alarm, return_exceptions=True)

    async def _plot(self) -> None:
        stage, cast = self.stage, self.stage.cast
        url, sync = await stage.deliver({DEPLOYMENT: deployment(cast.first), **stage.adapt(self._manifest)})
        self._say("git", text="the first version", commit=await self._in_time(sync.sync(), "nothing is applied"))
        await self._until(lambda: self._phase() is Phase.INITIALIZED, "the first version is not up")
        await self._in_time(stage.measured(), "traffic is not being measured")
        developer = Developer(url, stage.folder)
        good = await self._release(developer, "good", cast.good, deployment(cast.good))
        good.converged = good.outcome == OUTCOMES["good"] and await self._rests(sync, cast.good, quiet=0.0)
        if not good.as_it_should:
            return
        bad = await self._release(developer, "bad", cast.bad, deployment(cast.bad, cast.bad_env), sync)
        if bad.revert is None:
            return
        if cast.bad_env:
            commit = await developer.write(DEPLOYMENT, deployment(cast.good), message=f"{APP}: without what {_tag(cast.bad)} had needed")
            self._say("git", text="the developer takes the environment variables back, too", commit=commit)
            sync.resume()
        bad.converged = await self._rests(sync, cast.good, quiet=QUIET)

    async def _release(self, developer: Developer, scenario: str, image: str, text: str, sync: GitSync | None = None) -> Account:
        """Commit, and watch until the release has ended and Git knows. With environment variables, `sync` waits from then on.

        Git takes images back and nothing else: variables that came with the image would be another new version.
        """
        self._before = await self.stage.count()
        account = Account(scenario, image)
        self.accounts.append(account)
        commit = await developer.write(DEPLOYMENT, text, message=f"{APP} {_tag(image)}")
        self._say("release", scenario=scenario, image=image, commit=commit)
        if sync is not None and self.stage.cast.bad_env:
            await self._until(lambda: sync.applied == commit, "the release is not applied")
            sync.suspend()
        await self._until(lambda: bool(account.outcome) and self._phase() in _ENDED, f"the {scenario} release did not end")
        await self.stage.count()
        account.requests, account.failed = self.traffic()
        await self._until(
            lambda: not account.unwritten, f"Git does not hold the outcome of the {scenario} release", lambda: account.unwritten
        )
        self._say("outcome", **account.summary(), reason=account.reason)
        return account

    async def _rests(self, sync: GitSync, image: str, *, quiet: float) -> bool:
        """Whether the cluster comes to run what the branch says, `image`, and begins nothing of its own accord for `quiet` seconds."""
        await self._in_time(sync.sync(), "the newest commit is not applied")
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_CONVERGES):
                await self._until(lambda: self._images() == {image}, f"target and primary do not run {_tag(image)}")
        await asyncio.sleep(quiet)
        runs = len(list(self.stage.cluster.list(CANARY_RUNS, HOME)))
        rests = self._images() == {image} and self._phase() in _ENDED and runs == len(self.accounts)
        if quiet:
            self._say("rest", image=image, phase=str(self._phase()), runs=runs, rests=rests)
        return rests

    async def _until(self, ready: Callable[[], bool], problem: str, why: Callable[[], str] = lambda: "") -> None:
        while not ready():
            if self._left() <= 0:
                raise self._late(problem, why())
            await asyncio.sleep(0.05)

    async def _in_time(self, work: Coroutine[Any, Any, T], problem: str) -> T:
        try:
            async with asyncio.timeout(max(0.0, self._left())) as limit:
                return await work
        except TimeoutError:
            if not limit.expired():
                raise
            raise self._late(problem) from None

    def _left(self) -> float:
        return self._began + self._deadline - time.monotonic()

    def _late(self, problem: str, why: str = "") -> NotInTimeError:
        phase = f"phase {self._phase() or 'none'}" + (f", {why}" if why else "")
        return NotInTimeError(
            f"{problem} after {self._deadline:g} s; {phase}", hint="give it longer with --deadline, or look with --headless"
        )

    def _phase(self) -> Phase:
        return self.canary.status.phase if self.canary else Phase.NONE

    def _images(self) -> set[str]:
        """What target and primary say that they should run."""
        found = (self.stage.cluster.get(DEPLOYMENTS, HOME, name) for name in (APP, f"{APP}-primary"))
        return {one["spec"]["template"]["spec"]["containers"][0]["image"] if one else "nothing" for one in found}

    def _say(self, event: str, **what: object) -> None:
        self._queue.put_nowait({"event": event, "at": round(self.elapsed, 2), **what})

    def _on_change(self, resource: Resource, kind: str, body: Object, _: Object | None) -> None:
        if kind == "DELETED" or body["metadata"].get("namespace") != HOME:
            return
        if resource == CANARIES and body["metadata"]["name"] == APP:
            self._see_canary(parse_canary(body))
        elif resource == CANARY_RUNS:
            self._see_run(parse_canary_run(body))

    def _see_canary(self, canary: Canary) -> None:
        old, self.canary = self.canary, canary
        status = canary.status
        if self.accounts and not self.accounts[-1].outcome:
            self.accounts[-1].see(status)
        seen = (status.phase, status.canary_weight, status.failed_checks)
        if old is None or seen != (old.status.phase, old.status.canary_weight, old.status.failed_checks):
            checks = [_checked(check) for check in status.checks]
            self._say("canary", phase=str(status.phase), weight=status.canary_weight, failed_checks=status.failed_checks, checks=checks)

    def _see_run(self, run: CanaryRun) -> None:
        for account in self.accounts:
            if account.image in run.spec.release.images.values():
                account.close(run)


def _checked(check: CheckStatus) -> dict[str, Any]:
    low, high = (check.bound.min, check.bound.max) if check.bound else (None, None)
    return {"name": check.name, "verdict": str(check.verdict), "value": check.value, "min": low, "max": high}


def _tag(image: str) -> str:
    return image.rpartition(":")[2]
