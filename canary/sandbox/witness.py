"""One cluster as a story sees it: its Canary, its runs, what each release did there, and whether it rests afterwards.

Apart from the plots, because a story may be about several clusters: each has a witness, and what a witness says carries its label.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Coroutine
from typing import Any, Protocol, TypeVar

from canary.api.canary import Canary, parse_canary
from canary.api.canaryrun import CanaryRun, parse_canary_run
from canary.api.status import CheckStatus, Phase
from canary.kube.resource import CANARIES, CANARY_RUNS, DEPLOYMENTS, Object, Resource
from canary.sandbox.account import Account
from canary.sandbox.gitsync import GitSync
from canary.sandbox.stage import APP, HOME, Stage

T = TypeVar("T")
QUIET = 2.5
"""Seconds without another run after which the cluster counts as resting. The operator sees a change within one."""
_CONVERGES = 30.0
"""Seconds that the cluster may take to run what is on the branch."""
ENDED = (Phase.SUCCEEDED, Phase.FAILED)


class Listening(Protocol):
    """The part of a story that a witness needs (see `canary.sandbox.telling.Telling`)."""

    def say(self, event: str, **what: object) -> None:
        """Something has happened."""
        ...

    async def until(self, ready: Callable[[], bool], problem: str, why: Callable[[], str] = ...) -> None:
        """Wait for `ready()`, as long as there is time."""
        ...

    async def in_time(self, work: Coroutine[Any, Any, T], problem: str) -> T:
        """Do this, as long as there is time."""
        ...


class Witness:
    """Of one stage. `accounts` are its releases, the newest last; `label` is said with everything."""

    def __init__(self, stage: Stage, story: Listening, **label: str) -> None:
        self.stage = stage
        self.canary: Canary | None = None
        self.accounts: list[Account] = []
        self._story = story
        self._label = label
        self._before = (0, 0)

    @property
    def phase(self) -> Phase:
        """The Canary's."""
        return self.canary.status.phase if self.canary else Phase.NONE

    def traffic(self) -> tuple[int, int]:
        """Requests and failures of the current release, as counted a moment ago."""
        total, failed = self.stage.traffic
        return max(0, total - self._before[0]), max(0, failed - self._before[1])

    def watch(self) -> None:
        """See and hear everything from now on."""
        self.stage.cluster.on_change(self._on_change)
        self.stage.listen(lambda kind, text: self.say("message", type=kind, text=text))

    def say(self, event: str, **what: object) -> None:
        """Tell the story, under one's label."""
        self._story.say(event, **self._label, **what)

    async def comes_up(self) -> None:
        """Returns when the first version is up and traffic is measured."""
        await self._story.until(lambda: self.phase is Phase.INITIALIZED, "the first version is not up")
        await self._story.in_time(self.stage.measured(), "traffic is not being measured")

    async def begin(self, scenario: str, image: str) -> Account:
        """A release is about to be committed; count from now on."""
        self._before = await self.stage.count()
        account = Account(scenario, image)
        self.accounts.append(account)
        return account

    async def end(self, account: Account) -> None:
        """Returns when the release has ended and Git knows."""
        name = account.scenario
        await self._story.until(lambda: bool(account.outcome) and self.phase in ENDED, f"the {name} release did not end")
        await self.stage.count()
        account.requests, account.failed = self.traffic()
        await self._story.until(
            lambda: not account.unwritten, f"Git does not hold the outcome of the {name} release", lambda: account.unwritten
        )
        self.say("outcome", **account.summary(), reason=account.reason)

    async def rests(self, sync: GitSync, image: str, *, quiet: float) -> bool:
        """Whether the cluster comes to run what the branch says, `image`, and begins nothing of its own accord for `quiet` seconds."""
        await self._story.in_time(sync.sync(), "the newest commit is not applied")
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_CONVERGES):
                await self._story.until(lambda: self._images() == {image}, f"target and primary do not run {tag(image)}")
        await asyncio.sleep(quiet)
        runs = len(list(self.stage.cluster.list(CANARY_RUNS, HOME)))
        rests = self._images() == {image} and self.phase in ENDED and runs == len(self.accounts)
        if quiet:
            self.say("rest", image=image, phase=str(self.phase), runs=runs, rests=rests)
        return rests

    def _images(self) -> set[str]:
        """What target and primary say that they should run."""
        found = (self.stage.cluster.get(DEPLOYMENTS, HOME, name) for name in (APP, f"{APP}-primary"))
        return {one["spec"]["template"]["spec"]["containers"][0]["image"] if one else "nothing" for one in found}

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
            self.say("canary", phase=str(status.phase), weight=status.canary_weight, failed_checks=status.failed_checks, checks=checks)

    def _see_run(self, run: CanaryRun) -> None:
        for account in self.accounts:
            if account.image in run.spec.release.images.values():
                account.close(run)


def _checked(check: CheckStatus) -> dict[str, Any]:
    low, high = (check.bound.min, check.bound.max) if check.bound else (None, None)
    return {"name": check.name, "verdict": str(check.verdict), "value": check.value, "min": low, "max": high}


def tag(image: str) -> str:
    """Of an image's name."""
    return image.rpartition(":")[2]
