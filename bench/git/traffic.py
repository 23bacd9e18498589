"""Throughput: many canaries of several clusters fail again and again, and all write to one repository while people commit to it.

Each canary begins anew when both of its writes are done, so that as much waits as in an incident and no more. Clusters are operators of their own, with
mirrors of their own: within one operator the writes of a repository take turns, so that only others can be faster.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from pathlib import Path

from bench.git import figures, monorepo
from bench.git.figures import Traffic, Written
from bench.git.ground import Ground
from bench.git.worker import Meter, Operator
from canary.gitops.message import EFFECT_TRAILER
from tests.gitops.support import NAMESPACE

OUTCOMES = "canary-outcomes"


class _Team:
    """All canaries, and what they have written so far."""

    def __init__(self, ground: Ground, operators: Sequence[Operator]) -> None:
        self.ground, self.operators = ground, operators
        self.written: list[Written] = []
        self.latencies: list[float] = []
        self.commits: list[str] = []
        self.before: set[str] = set()
        self._turn = asyncio.Lock()

    async def canary(self, number: int, app: str, rounds: int) -> None:
        """One canary, whose releases all fail."""
        operator = self.operators[number % len(self.operators)]
        for attempt in range(1, rounds + 1):
            tag, name = f"6.1.{attempt}", f"{app}-{attempt}"
            async with self._turn:
                files = {monorepo.tag_path(app): monorepo.tag_file(app, tag)}
                self.commits.append(await asyncio.to_thread(self.ground.commit, files, f"release {app} {tag}"))
            began = operator.fail(name, app, tag=tag, previous=monorepo.FIRST)
            await operator.written(name)
            self.latencies.append(time.monotonic() - began)
            ref = operator.effects(name)["revert/fleet"]["ref"]
            self.written.append(Written(name, f"{operator.cluster}/{NAMESPACE}/{app}/{name}.json", ref))

    def effects(self) -> list[tuple[str, str]]:
        """Every commit of the branch, and what it says it did."""
        out = self.ground.git("log", f"--format=%H %(trailers:key={EFFECT_TRAILER},valueonly,separator=%x2C)", "main")
        return [(line[:40], line[41:]) for line in out.splitlines()]

    def wrong(self, apps: Sequence[str]) -> list[str]:
        """Read the branches, as somebody who has not seen any of it."""
        git = self.ground.git
        rows = self.effects()
        reverts = [(commit, effect) for commit, effect in rows if effect and effect not in self.before]
        known = {commit for commit, _ in rows}
        seen = Counter(commit for commit in self.commits if commit in known)
        paths = git("ls-tree", "-r", "--name-only", OUTCOMES).splitlines()
        found = figures.wrong(self.written, reverts=reverts, records=paths, people=seen, asked=len(self.commits))
        if merges := git("rev-list", "--merges", "main", OUTCOMES).split():
            found.append(f"{len(merges)} merges, and nobody should have made one")
        found += [
            f"{app} does not have its old tag"
            for app in apps
            if git("show", f"main:{monorepo.tag_path(app)}") != monorepo.tag_file(app, monorepo.FIRST)
        ]
        return found


async def traffic(
    ground: Ground, shape: monorepo.Shape, *, canaries: int, clusters: int, rounds: int, folder: Path, say: Callable[[str], None]
) -> Traffic:
    """`rounds` failures of each canary."""
    operators = [Operator(f"cluster-{number:03}", folder / str(number)) for number in range(clusters)]
    meter, team = Meter(folder, but=ground.process), _Team(ground, operators)
    apps = [monorepo.app(number * shape.apps // canaries + 1) for number in range(canaries)]
    async with AsyncExitStack() as stack:
        stack.enter_context(meter)
        await asyncio.gather(*(stack.enter_async_context(one.at_work(ground.url)) for one in operators))
        await _warm(operators, ground)
        say("  mirrors are warm")
        team.before = {effect for _, effect in team.effects() if effect}
        ground.told()
        began = time.monotonic()
        await asyncio.gather(*(team.canary(number, name, rounds) for number, name in enumerate(apps)))
        seconds = time.monotonic() - began
        told = ground.told()
    return Traffic(
        canaries=canaries,
        clusters=clusters,
        seconds=seconds,
        reverts=len(team.written),
        records=len(team.written),
        pushes=dict(Counter(push.branch for push in told.pushes)),
        people=len(team.commits),
        conflicts=told.conflicts,
        fetches=told.fetches,
        latencies=team.latencies,
        wrong=team.wrong(apps),
        used=meter.read(),
    )


async def _warm(operators: Sequence[Operator], ground: Ground) -> None:
    """One revert of each cluster, so that what a new mirror costs once is not counted here."""
    for number, operator in enumerate(operators):
        app = monorepo.app(number)
        ground.commit({monorepo.tag_path(app): monorepo.tag_file(app, "6.1.0")}, f"release {app}")
        operator.fail(f"warm-{number}", app, tag="6.1.0", previous=monorepo.FIRST)
        await operator.written(f"warm-{number}")
