"""The breaker: who is turned away, for how long, and who may try again."""

import asyncio
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from canary.metrics.asker import Asker
from canary.metrics.breaker import LONGEST_WINDOW, Admission, Breakers, Failure
from tests.metrics.cases import BY_KIND
from tests.metrics.support import ask, canary, cluster_with

pytestmark = pytest.mark.slow


class Clock:
    now = 100.0

    def __call__(self):
        return self.now


class World:
    """One source `s`, and questions to it."""

    def __init__(self):
        self.clock = Clock()
        self.breakers = Breakers(self.clock)

    def admit(self, text="q"):
        return self.breakers.admit("s", text)

    def fail(self, text="q", *, timed_out=False, wish=0.0):
        admission = self.admit(text)
        assert not admission.refusal
        self.breakers.failed("s", "prometheus p:9090", Failure(text, "cannot be reached", timed_out, wish), admission)


@pytest.fixture
def world():
    return World()


def test_three_failures_in_a_row_hold_everybody_back(world):
    for _ in range(3):
        assert world.admit() == Admission()
        world.fail()
        world.clock.now += 1
    assert world.admit("another").refusal == "prometheus p:9090 is unavailable: cannot be reached"


def test_an_answer_in_between_begins_the_count_anew(world):
    world.fail()
    world.fail()
    world.breakers.answered("s")
    world.fail()
    world.fail()
    assert not world.admit().refusal
    assert len(world.breakers) == 1


def test_another_source_is_not_concerned(world):
    for _ in range(3):
        world.fail()
    assert not world.breakers.admit("other", "q").refusal


def test_one_and_only_one_may_try_again(world):
    for _ in range(3):
        world.fail()
    world.clock.now += 5
    assert world.admit().probe
    assert "is unavailable" in world.admit().refusal


def test_the_wait_doubles_up_to_a_minute(world):
    for _ in range(3):
        world.fail()
    waits = []
    for _ in range(7):
        began = world.clock.now
        while world.admit().refusal:
            world.clock.now += 0.5
        waits.append(world.clock.now - began)
        probe = Admission(probe=True)
        world.breakers.failed("s", "n", Failure("q", "still away"), probe)
    assert waits == [5, 10, 20, 40, 60, 60, 60]


def test_a_try_that_succeeds_lets_everybody_in(world):
    for _ in range(3):
        world.fail()
    world.clock.now += 5
    assert world.admit().probe
    world.breakers.answered("s")
    assert all(world.admit(str(number)) == Admission() for number in range(5))
    assert len(world.breakers) == 0


def test_a_try_that_was_given_up_leaves_it_to_the_next(world):
    for _ in range(3):
        world.fail()
    world.clock.now += 5
    admission = world.admit()
    world.breakers.abandoned("s", admission)
    assert world.admit().probe


def test_late_failures_of_questions_from_before_change_nothing(world):
    admissions = [world.admit() for _ in range(20)]
    for admission in admissions:
        world.breakers.failed("s", "n", Failure("q", "no"), admission)
    world.clock.now += 5
    assert world.admit().probe


def test_a_source_that_asks_for_quiet_gets_it_up_to_a_minute(world):
    for _ in range(3):
        world.fail(wish=30)
    world.clock.now += 29
    assert world.admit().refusal
    world.clock.now += 1
    assert world.admit().probe
    world.breakers.failed("s", "n", Failure("q", "no", wish=86_400), Admission(probe=True))
    world.clock.now += LONGEST_WINDOW
    assert world.admit().probe


def test_one_slow_query_holds_back_only_itself(world):
    for _ in range(3):
        world.fail("slow", timed_out=True)
    assert world.admit("slow").refusal
    assert not world.admit("quick").refusal
    world.fail("also slow", timed_out=True)
    assert world.admit("quick").refusal


def test_a_refused_connection_concerns_every_query(world):
    world.fail("slow", timed_out=True)
    world.fail("slow")
    world.fail("slow", timed_out=True)
    assert world.admit("quick").refusal


def test_memory_is_bounded():
    breakers = Breakers(Clock())
    for number in range(3000):
        breakers.failed(str(number), "n", Failure("q", "no"), Admission())
    assert len(breakers) == 1024


STEPS = st.lists(
    st.tuples(st.sampled_from(["ask", "fail", "timeout", "answer", "abandon", "wait"]), st.sampled_from(["a", "b"])), max_size=60
)


@given(STEPS)
def test_whatever_happens_a_source_is_tried_again_within_a_minute(steps):
    world = World()
    under_way = []
    for what, text in steps:
        if what == "wait":
            world.clock.now += 7
        elif what == "ask":
            admission = world.admit(text)
            if not admission.refusal:
                under_way.append((text, admission))
        elif under_way:
            asked, admission = under_way.pop(0)
            if what in ("fail", "timeout"):
                world.breakers.failed("s", "n", Failure(asked, "no", what == "timeout"), admission)
            elif what == "answer":
                world.breakers.answered("s")
            else:
                world.breakers.abandoned("s", admission)
    for text, admission in under_way:
        world.breakers.failed("s", "n", Failure(text, "no"), admission)
    world.clock.now += LONGEST_WINDOW
    assert not world.admit("a").refusal


# ---------------------------------------------------------------------------------------------- on the wire


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
async def asker(clock):
    one = Asker(metrics_server="", clock=clock)
    yield one
    await one.close()


async def test_a_slow_source_costs_one_timeout_for_many_canaries(server, wired, asker, clock):
    case = BY_KIND["graphite"]
    server.delay = 30
    cluster = wired(case)
    began = time.monotonic()
    first = await asyncio.gather(*(ask(cluster, asker=asker, name=f"a{number}", timeout=0.3) for number in range(10)))
    later = [await ask(cluster, asker=asker, name=f"b{number}", timeout=0.3) for number in range(30)]
    assert time.monotonic() - began < 8, "each of forty waited for itself"
    assert all("did not answer within" in sample.error for sample in first)
    host = server.url.removeprefix("http://")
    assert {sample.error for sample in later} == {f"graphite {host} is unavailable: {host} did not answer within 0.3 s"}
    assert {sample.provider for sample in later} == {"graphite"}
    assert len(server.seen) <= 10, "those that came later were sent on, too"


async def test_it_is_found_again_by_one_that_tries(server, wired, asker, clock):
    case = BY_KIND["graphite"]
    server.status, server.body = 503, "down"
    cluster = wired(case)
    for number in range(3):
        assert "answered 503" in (await ask(cluster, asker=asker, name=f"a{number}")).error
    asked = len(server.seen)
    assert "is unavailable: " in (await ask(cluster, asker=asker, name="b")).error
    assert len(server.seen) == asked
    server.status, server.body = 200, case.one(7)
    clock.now += 5
    assert (await ask(cluster, asker=asker, name="c")).value == 7
    assert (await ask(cluster, asker=asker, name="d")).value == 7


async def test_refused_queries_are_no_reason_to_hold_anybody_back(server, wired, asker):
    case = BY_KIND["graphite"]
    server.status, server.body = 400, "bad query"
    for number in range(10):
        assert "bad query" in (await ask(wired(case), asker=asker, name=f"a{number}")).error
    assert len(server.seen) <= 10, "those that came later were sent on, too"


async def test_a_template_without_its_secret_says_nothing_of_the_source(server, wired, asker):
    case = BY_KIND["newrelic"]
    for number in range(5):
        assert "`newrelic_query_key`" in (await ask(wired(case, secret={"newrelic_account_id": "1"}), asker=asker, name=f"a{number}")).error


async def test_the_builtin_prometheus_is_guarded_too(server, clock):
    asker = Asker(metrics_server=server.url, clock=clock)
    server.delay = 30
    for number in range(4):
        subject = canary(f"a{number}")
        metric = subject.spec.analysis.metrics[0]
        sample = await asker.builtin(subject, metric, template="up{app='{{ target }}'}", unit_ms=1, timeout=0.2)
    assert "is unavailable: " in sample.error
    await asker.close()


class Stubborn:
    """A provider that does not keep its time."""

    patience = 5.0

    def __init__(self):
        self.asked = 0

    async def query(self, source, text, *, window_seconds, timeout):
        self.asked += 1
        await asyncio.sleep(3600)

    async def close(self):
        pass


async def test_a_provider_that_does_not_keep_its_time_is_cut_off(asker):
    asker._providers["keptn"] = Stubborn()
    cluster = cluster_with("keptn", "keptnmetric/a/b")
    assert (await ask(cluster, asker=asker, timeout=0.1)).error == "keptn took more than 0.1 s"


async def test_a_check_that_is_given_up_leaves_the_try_to_the_next(server, wired, asker, clock):
    case = BY_KIND["graphite"]
    server.status, server.body = 503, "down"
    cluster = wired(case)
    for number in range(3):
        await ask(cluster, asker=asker, name=f"a{number}")
    clock.now += 5
    server.status, server.delay = 200, 30
    asked = len(server.seen)
    trying = asyncio.create_task(ask(cluster, asker=asker, name="b"))
    while len(server.seen) == asked:
        await asyncio.sleep(0.01)
    assert "is unavailable: " in (await ask(cluster, asker=asker, name="c")).error
    trying.cancel()
    await asyncio.gather(trying, return_exceptions=True)
    server.delay, server.body = 0, case.one(8)
    async with asyncio.timeout(5):
        while (sample := await ask(cluster, asker=asker, name="d")).error:
            clock.now += 1  # what was said to the last one is remembered for a second
            await asyncio.sleep(0.01)
    assert sample.value == 8


async def test_the_availability_check_does_not_wait_for_a_dead_source(server, wired, asker):
    server.delay = 30
    cluster = wired(BY_KIND["graphite"])
    for number in range(3):
        await ask(cluster, asker=asker, name=f"a{number}", timeout=0.1)
    began = time.monotonic()
    (problem,) = (await asker.probe(canary(), cluster, timeout=5)).errors
    assert "is unavailable: " in problem
    assert time.monotonic() - began < 1
