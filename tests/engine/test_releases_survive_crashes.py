"""A crash before or after any write changes nothing about the outcome: the next life of the operator carries on from the API."""

import asyncio
import itertools

import pytest

from canary.kube.resource import CANARY_RUNS
from tests.engine.world import NS, Stage

pytestmark = pytest.mark.timeout(300)


async def promoted(stage):
    await stage.phase("Succeeded")
    assert stage.image("app-primary") == "app:2"
    assert stage.weights() == {"app-primary": 100, "app-canary": 0}
    await closed(stage, "Succeeded")


async def rolled_back(stage):
    await stage.phase("Failed")
    assert stage.image("app-primary") == "app:1"
    assert stage.weights() == {"app-primary": 100, "app-canary": 0}
    await closed(stage, "Failed")


async def closed(stage, outcome):
    """Exactly one run was recorded, with this outcome."""
    await stage.until(lambda: [run["status"]["phase"] for run in runs(stage)] == [outcome], what=f"one run {outcome}")
    rows = runs(stage)[0]["status"]["history"]
    assert [row["seq"] for row in rows] == list(range(1, len(rows) + 1)), "a row is lost, or there twice"
    for before, after in itertools.pairwise(rows):
        assert after["weight"] == before.get("to", before["weight"])
    assert rows[-1]["to"] == 0
    verdicts = [row["checks"] for row in rows if row.get("checks")]
    assert verdicts, "whatever was moved by whom, the checks were made"
    totals = runs(stage)[0]["status"]["checks"][0]
    assert totals["passed"] + totals["failed"] == len(verdicts), "a verdict is lost, or counted twice"


def runs(stage):
    return [run for run in stage.view.list(CANARY_RUNS, NS) if run.get("status")]


async def release(stage, *, crash_at=None, after=False, expect):
    """Bootstrap without trouble, release with a crash at the n-th write, and carry on in a second life. Number of writes of the first."""
    await stage.deploy("app:1")
    await stage.canary()
    async with stage.process():
        await stage.phase("Initialized")
    async with stage.process(crash_at=crash_at, after=after) as first:
        await stage.deploy("app:2")
        if crash_at is None:
            await expect(stage)
            return first.writes
        await stage.until(lambda: first.died.is_set() or stage.status()["phase"] in {"Succeeded", "Failed"}, what="the crash")
    async with stage.process():
        await expect(stage)
    return first.writes


async def test_a_good_release_needs_few_writes():
    async with Stage() as stage:
        writes = await release(stage, expect=promoted)
    assert [weight for phase, weight, _ in stage.history if phase == "Progressing"] == [0, 50]
    assert writes <= 16


async def everywhere(one, writes):
    """Run `one(crash_at, after)` for a crash before and after each of the writes, side by side: the time goes into waiting for intervals.

    Writes come one after another, and what a process knows goes with it: dying after one leaves what dying before the next does.
    """
    points = [(1, False), *((number, True) for number in range(1, writes + 1))]
    results = await asyncio.gather(*(one(*point) for point in points), return_exceptions=True)
    failed = {point: result for point, result in zip(points, results, strict=True) if isinstance(result, BaseException)}
    assert not failed, "\n".join(f"{'after' if after else 'before'} write {number}: {error!r}" for (number, after), error in failed.items())


@pytest.mark.slow
async def test_a_good_release_is_promoted_whatever_write_the_operator_dies_at():
    async def one(crash_at, after):
        async with Stage() as stage:
            await release(stage, crash_at=crash_at, after=after, expect=promoted)

    await everywhere(one, 14)


@pytest.mark.slow
async def test_a_bad_release_is_rolled_back_whatever_write_the_operator_dies_at():
    async def one(crash_at, after):
        async with Stage() as stage:
            stage.metrics.values["request-success-rate"] = 50.0
            await release(stage, crash_at=crash_at, after=after, expect=rolled_back)
            assert stage.status()["failureReason"]

    await everywhere(one, 10)
