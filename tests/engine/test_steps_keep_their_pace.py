"""Steps are an interval apart however long a tick takes; with frozen clocks, because speed is not for tests to judge."""

import itertools
import time
from types import SimpleNamespace

import pytest

from canary.engine import tick
from tests.engine.world import NS, Stage


@pytest.mark.parametrize(
    ("after", "took", "left"),
    [(10.0, 0.0, 10.0), (10.0, 4.0, 6.0), (10.0, 9.5, 1.0), (10.0, 30.0, 1.0), (0.0, 3.0, 0.0), (None, 3.0, None)],
)
def test_what_a_tick_took_is_taken_off_its_wait_but_never_all_of_it(after, took, left):
    assert tick._from_look(after, took=took) == left


async def test_the_next_tick_is_due_an_interval_after_this_one_looked(monkeypatch):
    seconds = itertools.count(step=3)  # every look at the clock finds it three seconds on
    monkeypatch.setattr(
        tick, "time", SimpleNamespace(time=time.time, perf_counter=time.perf_counter, monotonic=lambda: float(next(seconds)))
    )
    async with Stage() as stage:
        await stage.canary(interval="10s")  # without a target: it waits an interval
        async with stage.process() as process:
            await stage.until(lambda: stage.condition("Stalled"), what="the first tick")
            assert await process.ticker.tick((NS, "app")) == 7.0
