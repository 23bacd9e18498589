"""Real repositories behind a real Git server, each with a fleet of its own, walked through their rings by the code of `canary rings apply`."""

from __future__ import annotations

import asyncio
import random
import resource
import tempfile
import time
from pathlib import Path

from canary.api.rolloutplan import RolloutPlan
from canary.gitops.credentials import GitAuth
from canary.gitops.rings.mirror import RingMirror
from canary.gitops.rings.reader import Memory
from canary.gitops.rings.writer import settle
from canary.sandbox.gitserver import GitServer
from tests.rings.repository import RINGS, SIZES, Fleet, manifest, rules


def soak(number: int) -> int:
    """Walk `number` fleets one after another; every third release is bad in the second ring. 0 when each ended as it should."""
    dice = random.Random(1)
    with tempfile.TemporaryDirectory(prefix="canary-rings-bench-") as folder:
        server = GitServer(Path(folder) / "git")
        server.start()
        began = time.monotonic()
        try:
            wrong = [name for name in range(number) if not asyncio.run(_walk(server, Path(folder), name, bad=name % 3 == 2, dice=dice))]
        finally:
            server.stop()
        seconds = time.monotonic() - began
    used = resource.getrusage(resource.RUSAGE_SELF).ru_utime + resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime
    print(
        f"{number} repositories of {len(RINGS)} rings in {seconds:.0f} s, {seconds / number:.1f} s each; {used:.0f} CPU s; {len(wrong)} wrong"
    )
    return 1 if wrong else 0


async def _walk(server: GitServer, folder: Path, number: int, *, bad: bool, dice: random.Random) -> bool:
    """Release, then ring by ring: apply, and let its clusters speak; two writers apply at the same time."""
    plan: RolloutPlan = rules(mode="branch")
    fleet = Fleet(server, folder / f"mirrors-{number}", {"apps/podinfo.yaml": manifest("6.0.0")}, name=f"fleet-{number}")
    for ring in RINGS:
        fleet.git("branch", ring, "main")
    old, new = fleet.head("main"), fleet.release("6.1.0")
    writers = [(RingMirror(folder / f"mirrors-{number}" / str(one), fleet.url, GitAuth()), Memory()) for one in range(2)]
    for ring in RINGS:
        await asyncio.gather(*(settle(mirror, plan, lambda: time.time() + 600, memory=memory) for mirror, memory in writers))
        if fleet.head(ring) != new:
            return bad and ring == "third" and fleet.head(ring) == old
        for cluster in dice.sample(range(SIZES[ring]), SIZES[ring]):
            fails = bad and ring == "second" and cluster == 0
            fleet.say(f"{ring}-{cluster}", "6.1.0", result="Failed" if fails else "Succeeded")
    return not bad
