"""Rounds, their bounds, what happens when a batch fails, and what nobody may notice."""

import asyncio
import itertools
import json
import re
import time

import pytest
from aiohttp import web
from hypothesis import given, settings
from hypothesis import strategies as st

from bench import stub
from canary.core.grouped import GroupedQuery, GroupKey
from canary.metrics import batch, together
from canary.metrics.asker import Asker
from canary.metrics.base import Refused, Source
from canary.metrics.together import Subject, Together
from canary.routers import queries, registry
from tests.metrics.test_a_batch_answers_as_each_query_would import CHECKS, PROVIDERS, ask, canary

SOURCE = Source(type="prometheus", address="http://p:9090")
PLAIN = GroupedQuery('sum by (who) (rate(x{who=~"{{ who }}"}[{{ interval }}]))', (GroupKey("who", "{{ target }}"),))
HTTP = queries.HTTP_GROUPED["request-duration"]


class Clock:
    now = 100.0

    def __call__(self):
        return self.now


class Timers:
    """`call_later` by hand."""

    def __init__(self):
        self.set = []

    def __call__(self, seconds, call):
        timer = Timer(seconds, call)
        self.set.append(timer)
        return timer

    def ring(self):
        due, self.set = self.set, []
        for timer in due:
            if not timer.cancelled:
                timer.call()


class Timer:
    def __init__(self, seconds, call):
        self.seconds, self.call, self.cancelled = seconds, call, False

    def cancel(self):
        self.cancelled = True


class Server:
    """Answers a grouped query when told to."""

    def __init__(self):
        self.asked, self.open, self.failure, self.gave_up, self.seconds = [], asyncio.Event(), None, 0, []
        self.open.set()

    async def __call__(self, source, text, seconds):
        self.asked.append(text)
        self.seconds.append(seconds)
        try:
            await self.open.wait()
        except asyncio.CancelledError:
            self.gave_up += 1
            raise
        if self.failure:
            raise self.failure
        return [{"metric": metric, "value": [1, str(len(metric["who"]))]} for metric in stub.groups(text)]


class World:
    def __init__(self):
        self.clock, self.timers, self.server = Clock(), Timers(), Server()
        self.together = Together(self.clock, self.server, later=self.timers)

    def start(self, *names, interval="1m", interval_seconds=60.0):
        subject = Subject(SOURCE, SOURCE.identity, PLAIN, interval, 4.0)
        return [asyncio.create_task(self.together.ask(subject, (name,), interval_seconds=interval_seconds)) for name in names]

    async def settle(self):
        for _ in range(5):
            await asyncio.sleep(0)


@pytest.fixture
async def world():
    one = World()
    yield one
    await one.together.close()
    assert len(one.together) == 0


async def test_those_who_ask_within_the_window_are_asked_in_one(world):
    tasks = world.start("a", "bb", "ccc")
    await world.settle()
    tasks += world.start("dddd")
    await world.settle()
    assert world.server.asked == []
    (timer,) = world.timers.set
    assert timer.seconds == together.WINDOW
    world.timers.ring()
    found = await asyncio.gather(*tasks)
    assert [series[0]["value"][1] for series in found] == ["1", "2", "3", "4"]
    assert world.server.asked == ['sum by (who) (rate(x{who=~"a|bb|ccc|dddd"}[1m]))']


async def test_the_window_is_a_small_share_of_the_interval(world):
    tasks = world.start("a", interval_seconds=0.1)
    await world.settle()
    assert world.timers.set[0].seconds == pytest.approx(0.1 * together.SHARE)
    world.timers.ring()
    assert await asyncio.gather(*tasks) == [None]


@pytest.mark.parametrize("count", range(1, together.FEWEST))
async def test_too_few_ask_for_themselves(world, count):
    tasks = world.start(*"abc"[:count])
    await world.settle()
    world.timers.ring()
    assert await asyncio.gather(*tasks) == [None] * count
    assert world.server.asked == []


async def test_other_windows_are_other_rounds(world):
    tasks = world.start(*"abcd") + world.start(*"abcd", interval="5m")
    await world.settle()
    assert len(world.timers.set) == 2
    world.timers.ring()
    await asyncio.gather(*tasks)
    assert [text[-6:] for text in world.server.asked] == ["[1m]))", "[5m]))"]


async def test_a_full_round_is_asked_at_once_in_queries_of_bounded_size(world):
    tasks = world.start(*(f"name-{number}" for number in range(together.FULL)))
    await world.settle()
    assert all(series for series in await asyncio.gather(*tasks))
    assert len(world.server.asked) == together.FULL / batch.MOST
    assert {text.count("|") + 1 for text in world.server.asked} == {batch.MOST}
    assert world.timers.set[0].cancelled


async def test_nobody_with_that_name_is_an_answer_without_series(world):
    world.server.asked = []
    world.together = Together(world.clock, lambda *_: _nothing(), later=world.timers)
    tasks = world.start(*"abcd")
    await world.settle()
    world.timers.ring()
    assert await asyncio.gather(*tasks) == [[]] * 4


async def _nothing():
    return []


async def test_one_who_gives_up_leaves_the_others_alone(world):
    world.server.open.clear()
    first, *others = world.start(*"abcd")
    await world.settle()
    world.timers.ring()
    await world.settle()
    first.cancel()
    await asyncio.gather(first, return_exceptions=True)
    world.server.open.set()
    assert all(await asyncio.gather(*others))
    assert world.server.gave_up == 0


async def test_one_who_gives_up_in_the_window_is_not_asked_for(world):
    tasks = world.start(*"abcde")
    await world.settle()
    tasks[0].cancel()
    await world.settle()
    world.timers.ring()
    await asyncio.gather(*tasks[1:])
    assert '"b|c|d|e"' in world.server.asked[0]


async def test_when_all_give_up_the_batch_is_dropped(world):
    world.server.open.clear()
    tasks = world.start(*"abcd")
    await world.settle()
    world.timers.ring()
    await world.settle()
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    await world.settle()
    assert (world.server.gave_up, len(world.together)) == (1, 0)


async def test_a_failure_is_told_to_all_and_stops_batches_of_that_kind_for_a_while(world):
    world.server.failure = Refused("too large")
    for pause in (60, 120, 240):
        tasks = world.start(*"abcd")
        await world.settle()
        world.timers.ring()
        found = await asyncio.gather(*tasks, return_exceptions=True)
        assert [str(error) for error in found] == ["too large"] * 4
        world.clock.now += pause - 1
        assert await asyncio.gather(*world.start(*"abcd")) == [None] * 4, "they waited"
        other = world.start("a", interval="5m")
        await world.settle()
        assert len(world.timers.set) == 1, "another kind waits as ever"
        world.timers.ring()
        await asyncio.gather(*other)
        world.clock.now += 2
    world.server.failure = None
    for _ in range(2):
        tasks = world.start(*"abcd")
        await world.settle()
        world.timers.ring()
        assert all(await asyncio.gather(*tasks))


async def test_a_batch_gets_a_part_of_the_time(world, monkeypatch):
    monkeypatch.setattr(together, "PATIENCE", 0.005)
    world.server.open.clear()
    tasks = world.start(*"abcd")
    await world.settle()
    world.timers.ring()
    found = await asyncio.gather(*tasks, return_exceptions=True)
    assert {str(error) for error in found} == {"4 canaries at once took more than 0.02 s"}
    assert world.server.seconds == [0.02]


async def test_a_mistake_of_ours_leaves_nobody_waiting(world):
    noise = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: noise.append(context))
    world.server.failure = KeyError("oops")
    tasks = world.start(*"abcd")
    await world.settle()
    world.timers.ring()
    assert await asyncio.gather(*tasks) == [None] * 4


async def test_closing_sends_everybody_home(world):
    world.server.open.clear()
    tasks = world.start(*"abcd")
    await world.settle()
    world.timers.ring()
    tasks += world.start("e")
    await world.settle()
    await world.together.close()
    assert await asyncio.gather(*tasks) == [None] * 5


# ------------------------------------------------------------------------------------------- who with whom, and whose is what


@pytest.mark.parametrize(
    ("name", "interval", "grouped"),
    [("podinfo", "1m", True), ("podinfo", "1m30s", True), ("my.app", "1m", False), ("podinfo", "1x", False), ("podinfo", '1m])or"', False)],
)
def test_only_what_means_itself_is_asked_with_others(name, interval, grouped):
    assert (batch.names(HTTP, canary("test", name), interval) is not None) is grouped


@settings(deadline=None)
@given(st.lists(st.from_regex(r"[bx7]{1,2}(-[bx7a]{1,3}){0,2}", fullmatch=True), min_size=2, max_size=8, unique=True))
def test_no_pod_could_be_of_two_who_are_asked_together(names):
    """For each pair of names in one query: no text matches both patterns, for all suffixes that these letters can make."""
    patterns = {name: re.compile(name + queries.POD) for name in names}
    suffixes = [f"-{middle}-bx7bx" for middle in ("b", "bx", "7", "77b")] + ["-bx7bx", "-b-b-bx7bx", "-x-bx7bx"]
    for part in batch.composed(HTTP, [("test", name) for name in names]):
        for (_, one), (_, other) in itertools.combinations(part, 2):
            for pod in (one + suffix for suffix in suffixes):
                assert not (patterns[one].fullmatch(pod) and patterns[other].fullmatch(pod))


@settings(deadline=None)
@given(st.lists(st.from_regex(r"[a-z]([a-z0-9-]{0,40}[a-z0-9])?", fullmatch=True), max_size=200))
def test_everybody_is_in_exactly_one_query_within_the_bounds(names):
    members = [("test", name) for name in names]
    parts = batch.composed(HTTP, members)
    assert sorted(itertools.chain(*parts)) == sorted(set(members))
    assert all(len(part) <= batch.MOST and sum(len(name) for member in part for name in member) <= batch.LONGEST for part in parts)


def test_long_names_make_more_queries():
    members = [("n" * 63, f"{number:03}" + "x" * 200) for number in range(64)]
    assert len(batch.composed(HTTP, members)) == 5


@pytest.mark.parametrize(
    "answer",
    [
        [{"metric": {}, "value": [1, "100"]}],
        [{"metric": {"who": "a", "more": "b"}, "value": [1, "100"]}],
        [{"metric": {"who": "a"}, "value": [1, "1"]}, {"metric": {}, "value": [1, "1"]}],
        [1.0, "100"],
        [{"value": [1, "1"]}],
    ],
)
def test_an_answer_that_is_not_grouped_is_none(answer):
    with pytest.raises(Refused, match="not grouped by who"):
        batch.split(PLAIN, [("a",)], answer)


def test_series_of_others_are_left_out():
    mine, other = ({"metric": {"who": name}, "value": [1, "1"]} for name in ("a", "x"))
    assert batch.split(PLAIN, [("a",), ("b",)], [other, mine]) == {("a",): [mine], ("b",): []}


def test_pauses_are_bounded():
    clock = Clock()
    pauses = batch.Pauses(clock)
    for number in range(batch.PAUSES + 50):
        pauses.failed(number)
    assert len(pauses) == batch.PAUSES
    for _ in range(10):
        clock.now += batch.LONGEST_PAUSE
        pauses.failed("x")
    clock.now += batch.LONGEST_PAUSE - 1
    assert "x" in pauses
    clock.now += 1
    assert "x" not in pauses


def test_what_works_beside_a_failure_does_not_hide_it():
    pauses = batch.Pauses(Clock())
    pauses.failed("x")
    pauses.worked("x")
    assert "x" in pauses


# ---------------------------------------------------------------------------------------------------------------- on the wire


@pytest.fixture
async def prometheus():
    """The stand-in of the benchmark, which answers grouped queries as it must."""
    one = stub.Stub()
    async with await asyncio.start_server(one.serve, "127.0.0.1", 0, backlog=1024) as server:
        one.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        yield one


@pytest.mark.parametrize("provider", PROVIDERS)
async def test_a_hundred_canaries_cost_four_queries(prometheus, provider):
    asker = Asker(metrics_server=prometheus.url)
    subjects = [canary(f"team-{number % 5}", f"app-{number}") for number in range(100)]
    samples = await asyncio.gather(*(ask(asker, provider, subject, check) for subject in subjects for check in CHECKS))
    await asker.close()
    unit = registry.router(provider).duration_unit_ms
    assert [sample.value for sample in samples] == [100.0, 100.0 * unit] * 100
    assert len({sample.query for sample in samples}) == 200
    assert prometheus.queries <= 4


async def test_a_lone_canary_asks_as_ever(server):
    server.body = {"status": "success", "data": {"resultType": "vector", "result": [{"metric": {}, "value": [1, "99"]}]}}
    subject = canary("test", "podinfo")
    wires = []
    for alone in (True, False):
        asker = Asker(metrics_server=server.url)
        assert (await ask(asker, "contour", subject, "request-success-rate", together=not alone)).value == 99
        wires.append((server.last.method, server.last.raw, server.last.body, {**server.last.headers}))
        await asker.close()
    assert wires[0] == wires[1]
    assert len(server.seen) == 2


ONE = {"status": "success", "data": {"resultType": "vector", "result": [{"metric": {}, "value": [1, "7"]}]}}


async def asked(asker, count=8, check="request-success-rate", **more):
    subjects = [canary("test", f"app-{number}") for number in range(count)]
    return await asyncio.gather(*(ask(asker, "contour", subject, check, **more) for subject in subjects))


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (400, "parse error"),
        (414, "too long"),
        (503, "query timed out"),
        (200, "no json"),
        (200, {"status": "success", "data": {"resultType": "scalar", "result": [1, "99"]}}),
        (200, {"status": "success", "data": {"resultType": "vector", "result": [{"metric": {}, "value": [1, "99"]}]}}),
        (200, {"status": "success", "warnings": ["a store is missing"], "data": {"resultType": "vector", "result": []}}),
    ],
)
async def test_a_batch_that_fails_is_asked_one_by_one(server, status, body):
    """And is not tried again at the next tick; the breaker hears nothing of it."""
    methods = []

    def picky(request):
        methods.append(request.method)
        found = ONE if request.method == "GET" else body
        return web.Response(status=200 if request.method == "GET" else status, text=found if isinstance(found, str) else json.dumps(found))

    server.routes["/api/v1/query"] = picky
    asker = Asker(metrics_server=server.url)
    for check in ("request-success-rate", "request-success-rate"):
        samples = await asked(asker, check=check)
        assert [(sample.value, sample.error) for sample in samples] == [(7.0, "")] * 8
        assert len({sample.query for sample in samples}) == 8
        await asker._sharing.close()
    assert methods == ["POST"] + ["GET"] * 16
    assert len(asker._breakers) == 0
    await asker.close()


async def test_a_dead_server_costs_one_timeout_and_its_breaker_opens_as_ever(server):
    server.delay = 30
    asker = Asker(metrics_server=server.url)
    began = time.monotonic()
    subjects = [canary("test", f"app-{number}") for number in range(10)]
    metric = subjects[0].spec.analysis.metrics[0]
    router = registry.router("contour")
    queries_ = {"template": router.builtin_queries[metric.name], "grouped": router.grouped_queries[metric.name], "unit_ms": 1.0}
    samples = await asyncio.gather(*(asker.builtin(one, metric, timeout=1.0, **queries_) for one in subjects))
    assert time.monotonic() - began < 2.5
    assert {sample.error for sample in samples} == {f"{server.url.removeprefix('http://')} did not answer in time"}
    seen = len(server.seen)
    assert seen == 11
    assert b"&timeout=250ms" in server.seen[0].body, "the server would go on working on it"
    sample = await asker.builtin(canary("test", "late"), metric, timeout=1.0, **queries_)
    assert "is unavailable: " in sample.error
    assert len(server.seen) == seen
    await asker.close()


async def test_a_source_that_has_failed_is_asked_one_by_one(server):
    asker = Asker(metrics_server=server.url)
    server.status, server.body = 503, "down"
    assert "503" in (await asked(asker, 1))[0].error
    server.status = 200
    server.body = ONE
    before = len(server.seen)
    await asker._sharing.close()
    assert [sample.value for sample in await asked(asker)] == [7.0] * 8
    assert {one.method for one in server.seen[before:]} == {"GET"}
    await asker.close()


async def test_what_is_not_the_meshs_own_is_asked_alone(prometheus):
    """Templates with variables of their own, the primary, and whatever comes without a grouped form."""
    asker = Asker(metrics_server=prometheus.url)
    await asked(asker, together=False)
    assert prometheus.queries == 8
    subjects = [canary("test", f"own-{number}") for number in range(8)]
    for subject in subjects:
        subject.spec.analysis.metrics[0].template_variables["x"] = "y"
    await asyncio.gather(*(ask(asker, "contour", subject, "request-success-rate") for subject in subjects))
    assert prometheus.queries == 16
    await asker.close()


async def test_a_check_that_is_given_up_leaves_the_others_theirs(prometheus):
    asker = Asker(metrics_server=prometheus.url)
    tasks = [asyncio.create_task(ask(asker, "istio", canary("test", f"app-{number}"), "request-duration")) for number in range(10)]
    await asyncio.sleep(0.005)
    tasks[0].cancel()
    samples = await asyncio.gather(*tasks[1:])
    assert [sample.value for sample in samples] == [100.0] * 9
    assert prometheus.queries == 1
    assert isinstance((await asyncio.gather(tasks[0], return_exceptions=True))[0], asyncio.CancelledError)
    await asker.close()
