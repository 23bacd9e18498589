"""The scheduler: ticks when due, remembers wishes, never overlaps, bounds concurrency, survives a raising tick."""

import asyncio

import pytest

from canary.engine.scheduler import Scheduler

KEY = ("ns", "a")


async def until(predicate, seconds=2.0):
    async with asyncio.timeout(seconds):
        while not predicate():
            await asyncio.sleep(0.005)


async def test_a_new_canary_ticks_at_once_and_then_sleeps_until_woken():
    ticks = []

    async def tick(key):
        ticks.append(key)

    scheduler = Scheduler(tick, concurrency=4)
    scheduler.add(KEY)
    await until(lambda: len(ticks) == 1)
    await asyncio.sleep(0.1)
    assert len(ticks) == 1
    scheduler.wake(KEY, delay=0)
    await until(lambda: len(ticks) == 2)
    await scheduler.close()


async def test_a_burst_of_changes_causes_one_tick():
    ticks = []

    async def tick(key):
        ticks.append(key)

    scheduler = Scheduler(tick, concurrency=4)
    scheduler.add(KEY)
    await until(lambda: ticks)
    for _ in range(20):
        scheduler.wake(KEY)
        await asyncio.sleep(0)  # no longer, or a busy machine makes two bursts of it
    await asyncio.sleep(0.2)
    assert len(ticks) == 2
    await scheduler.close()


async def test_the_tick_says_when_it_wants_to_be_called_again():
    times = []

    async def tick(_):
        times.append(asyncio.get_running_loop().time())
        return 0.05

    scheduler = Scheduler(tick, concurrency=1)
    scheduler.add(KEY)
    await until(lambda: len(times) == 4)
    assert all(later - earlier >= 0.049 for earlier, later in zip(times, times[1:], strict=False))
    await scheduler.close()


async def test_a_wake_up_during_a_tick_is_answered_by_one_more_tick_and_ticks_never_overlap():
    running, most, ticks = 0, 0, 0
    gate = asyncio.Event()

    async def tick(_):
        nonlocal running, most, ticks
        running += 1
        ticks += 1
        most = max(most, running)
        if ticks == 1:
            await gate.wait()
        running -= 1

    scheduler = Scheduler(tick, concurrency=8)
    scheduler.add(KEY)
    await until(lambda: ticks == 1)
    for _ in range(5):
        scheduler.wake(KEY, delay=0)
    gate.set()
    await until(lambda: ticks == 2)
    await asyncio.sleep(0.1)
    assert (ticks, most) == (2, 1)
    await scheduler.close()


async def test_no_more_than_so_many_canaries_tick_at_once():
    running, most = 0, 0

    async def tick(_):
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0.01)
        running -= 1

    done = []
    scheduler = Scheduler(tick, concurrency=3, late=done.append)
    for number in range(20):
        scheduler.add(("ns", str(number)))
    await until(lambda: len(done) == 20 and running == 0)
    assert most == 3
    await scheduler.close()


async def test_a_tick_that_raises_is_tried_again(caplog):
    ticks = []

    async def tick(key):
        ticks.append(key)
        if len(ticks) == 1:
            raise RuntimeError("a bug")

    scheduler = Scheduler(tick, concurrency=1, retry=0.05)
    scheduler.add(KEY)
    await until(lambda: len(ticks) == 2)
    assert "a bug" in caplog.text
    await scheduler.close()


@pytest.mark.parametrize("closing", [False, True])
async def test_removing_or_closing_cancels_what_runs(closing):
    cancelled = asyncio.Event()
    started = asyncio.Event()

    async def tick(_):
        started.set()
        try:
            await asyncio.sleep(10)
        except asyncio.CancelledError:
            cancelled.set()
            raise

    scheduler = Scheduler(tick, concurrency=1)
    scheduler.add(KEY)
    await started.wait()
    if closing:
        await scheduler.close()
    else:
        scheduler.remove(KEY)
    async with asyncio.timeout(1):
        await cancelled.wait()
    assert KEY not in scheduler
    await scheduler.close()
