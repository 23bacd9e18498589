"""Single flight, a memory of one second, and what neither may break."""

import asyncio

import pytest

from canary.metrics.asker import Asker
from canary.metrics.sharing import Sharing
from tests.metrics.cases import BY_KIND
from tests.metrics.support import ask, canary


class Clock:
    now = 100.0

    def __call__(self):
        return self.now


class Question:
    """Answers when told to; counts how often it was asked."""

    def __init__(self):
        self.asked = 0
        self.gate = asyncio.Event()
        self.ended = []

    async def __call__(self):
        self.asked += 1
        number = self.asked
        try:
            await self.gate.wait()
        except asyncio.CancelledError:
            self.ended.append("cancelled")
            raise
        return number


@pytest.fixture
def clock():
    return Clock()


async def waiting(sharing, question, count, key="k"):
    tasks = [asyncio.create_task(sharing.ask(key, question)) for _ in range(count)]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    return tasks


async def test_all_who_ask_at_once_share_one_question(clock):
    sharing, question = Sharing(clock), Question()
    tasks = await waiting(sharing, question, 50)
    question.gate.set()
    assert await asyncio.gather(*tasks) == [1] * 50
    assert question.asked == 1


async def test_an_answer_is_remembered_for_a_second_from_when_it_was_asked(clock):
    sharing, question = Sharing(clock), Question()
    (task,) = await waiting(sharing, question, 1)
    clock.now += 0.6
    question.gate.set()
    assert await task == 1
    clock.now += 0.3
    assert await sharing.ask("k", question) == 1
    clock.now += 0.15
    assert await sharing.ask("k", question) == 2


async def test_whoever_wants_it_fresher_gets_it_fresher(clock):
    sharing, question = Sharing(clock), Question()
    question.gate.set()
    await sharing.ask("k", question)
    clock.now += 0.6
    assert await sharing.ask("k", question, freshness=0.5) == 2
    assert await sharing.ask("k", question) == 2


async def test_different_questions_are_asked_each(clock):
    sharing, question = Sharing(clock), Question()
    question.gate.set()
    assert {await sharing.ask(key, question) for key in "abc"} == {1, 2, 3}


async def test_errors_are_shared(clock):
    sharing, asked = Sharing(clock), []

    async def fails():
        asked.append(1)
        await asyncio.sleep(0)
        raise ValueError("no")

    found = await asyncio.gather(*(sharing.ask("k", fails) for _ in range(5)), return_exceptions=True)
    assert [str(error) for error in found] == ["no"] * 5
    assert len(asked) == 1


async def test_one_who_gives_up_leaves_the_others_alone(clock):
    sharing, question = Sharing(clock), Question()
    first, *others = await waiting(sharing, question, 3)
    first.cancel()
    await asyncio.gather(first, return_exceptions=True)
    assert first.cancelled()
    question.gate.set()
    assert await asyncio.gather(*others) == [1, 1]


async def test_when_nobody_waits_any_more_the_question_is_dropped(clock):
    sharing, question = Sharing(clock), Question()
    tasks = await waiting(sharing, question, 3)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    await asyncio.sleep(0)
    assert question.ended == ["cancelled"]
    question.gate.set()
    assert await sharing.ask("k", question) == 2


async def test_an_error_that_nobody_waited_for_is_no_noise(clock):
    sharing = Sharing(clock)
    noise = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: noise.append(context))

    async def fails():
        try:
            await asyncio.sleep(10)
        except asyncio.CancelledError:
            raise ValueError("late") from None

    (task,) = await waiting(sharing, fails, 1)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    await sharing.close()
    import gc

    gc.collect()
    await asyncio.sleep(0)
    assert noise == []


async def test_memory_is_bounded_by_number_and_by_age(clock):
    sharing, question = Sharing(clock, size=10), Question()
    question.gate.set()
    for number in range(100):
        await sharing.ask(number, question)
        assert len(sharing) <= 10
    clock.now += 2
    await sharing.ask("new", question)
    assert len(sharing) == 1


async def test_what_is_under_way_is_never_forgotten_for_room(clock):
    sharing, question = Sharing(clock, size=2), Question()
    tasks = [task for key in range(5) for task in await waiting(sharing, question, 2, key)]
    question.gate.set()
    assert sorted(await asyncio.gather(*tasks)) == [1, 1, 2, 2, 3, 3, 4, 4, 5, 5]


async def test_closing_ends_what_is_under_way(clock):
    sharing, question = Sharing(clock), Question()
    tasks = await waiting(sharing, question, 2)
    await sharing.close()
    assert question.ended == ["cancelled"]
    await asyncio.gather(*tasks, return_exceptions=True)


# ---------------------------------------------------------------------------------------------- on the wire


@pytest.fixture
async def asker():
    one = Asker(metrics_server="")
    yield one
    await one.close()


async def test_canaries_with_the_same_question_cost_one_request(server, wired, asker):
    case = BY_KIND["graphite"]
    server.body, server.delay = case.one(5), 0.05
    cluster = wired(case, query="target=the.same")
    samples = await asyncio.gather(*(ask(cluster, asker=asker, name=f"app-{number}") for number in range(20)))
    assert [sample.value for sample in samples] == [5] * 20
    assert (await ask(cluster, asker=asker)).value == 5
    assert len(server.seen) == 1


async def test_what_differs_is_not_shared(server, wired, asker):
    case = BY_KIND["influxdb"]
    server.body = case.one(5)
    await asyncio.gather(
        ask(wired(case), asker=asker),
        ask(wired(case), asker=asker, name="other"),
        ask(wired(case, secret=case.secret | {"token": "another-token"}), asker=asker),
        ask(wired(case, headers={"X-Scope-OrgID": ["team"]}), asker=asker),
        ask(wired(case), asker=asker, interval="5m"),
    )
    assert len(server.seen) == 5


async def test_with_steps_every_second_no_answer_counts_for_two_steps(server, wired):
    clock = Clock()
    asker = Asker(metrics_server="", clock=clock)
    case = BY_KIND["graphite"]
    server.body = case.one(5)
    quick = canary(analysis_interval="1s")
    metric = quick.spec.analysis.metrics[0]
    for _ in range(2):
        await asker.template(quick, metric, wired(case), timeout=1)
        clock.now += 0.9
    assert len(server.seen) == 2
    await asker.close()


async def test_a_slow_kind_may_take_longer_when_the_caller_allows_it(server, wired):
    case = BY_KIND["influxdb"]
    server.body, server.delay = case.one(5), 0.4
    subject = canary()
    metric = subject.spec.analysis.metrics[0]
    for longest, error in ((0.0, "did not answer within"), (20.0, "")):
        asker = Asker(metrics_server="")
        sample = await asker.template(subject, metric, wired(case), timeout=0.2, longest=longest)
        assert (error in sample.error) if error else sample.value == 5
        await asker.close()
