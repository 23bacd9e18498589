"""Drift: how long Git goes on asking for what was taken back in the cluster. One revert after another, nothing else going on."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from bench.git import monorepo
from bench.git.figures import Drift
from bench.git.ground import Ground
from bench.git.worker import Meter, Operator

BAD = "6.1.0"


async def drift(ground: Ground, shape: monorepo.Shape, count: int, folder: Path, say: Callable[[str], None]) -> Drift:
    """Somebody releases a bad tag of another app, its run fails, and both writes are waited for; `count` times after a first one."""
    meter, operator = Meter(folder, but=ground.process), Operator("cluster-001", folder)
    ready = time.monotonic()
    on_branch: list[float] = []
    noted: list[float] = []
    fetches = pushes = 0
    with meter:
        async with operator.at_work(ground.url):
            ready = time.monotonic() - ready
            say(f"  mirror ready after {ready:.1f} s")
            for number in range(count + 1):
                app = monorepo.app(number * shape.apps // (count + 1))
                ground.commit({monorepo.tag_path(app): monorepo.tag_file(app, BAD)}, f"release {app} {BAD}")
                ground.told()
                began = operator.fail(f"run-{number}", app, tag=BAD, previous=monorepo.FIRST)
                await operator.written(f"run-{number}")
                noted.append(time.monotonic() - began)
                told = ground.told()
                ref = operator.effects(f"run-{number}")["revert/fleet"]["ref"]
                on_branch.append(next(push.at for push in told.pushes if push.branch == "main" and push.commit == ref) - began)
                fetches, pushes = fetches + told.fetches, pushes + len(told.pushes)
                if number % 20 == 0:
                    say(f"  revert {number} of {count}: {on_branch[-1]:.2f} s")
    return Drift(
        files=shape.files,
        ready=ready,
        first=on_branch[0],
        on_branch=on_branch[1:],
        noted=noted[1:],
        fetches=fetches,
        pushes=pushes,
        used=meter.read(),
    )
