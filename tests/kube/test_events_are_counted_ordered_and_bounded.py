"""The event recorder: what is posted, what is only counted, what goes first under pressure, and in which order."""

import asyncio
import time

import pytest

from canary.core.errors import Conflict, Forbidden, NotFound, Retryable
from canary.kube.backoff import Backoff
from canary.kube.recorder import CALM_BURST, MESSAGE_LIMIT, EventRecorder, Limits
from canary.kube.resource import EVENTS
from tests.kube.conftest import eventually

CANARY = {
    "apiVersion": "flagger.app/v1beta1",
    "kind": "Canary",
    "metadata": {"name": "podinfo", "namespace": "shop", "uid": "u1", "resourceVersion": "7"},
}


def canary(name):
    return {**CANARY, "metadata": {**CANARY["metadata"], "name": name, "uid": f"uid-{name}"}}


class Server:
    """Keeps Events; `fail` holds errors for the next requests, `gate` can hold all of them back."""

    def __init__(self):
        self.events = {}
        self.requests = []
        self.fail = []
        self.lose_answers = 0
        self.gate = asyncio.Event()
        self.gate.set()

    async def create(self, resource, body):
        assert resource == EVENTS
        await self._turn("POST", body["message"])
        key = body["metadata"]["namespace"], body["metadata"]["name"]
        if key in self.events:
            raise Conflict("exists")
        self.events[key] = {**body}
        if self.lose_answers:
            self.lose_answers -= 1
            raise Retryable("the answer was lost")
        return body

    async def merge(self, resource, namespace, name, patch):
        if (namespace, name) not in self.events:
            raise NotFound("gone")
        await self._turn("PATCH", self.events[namespace, name]["message"])
        self.events[namespace, name].update(patch)
        return self.events[namespace, name]

    async def _turn(self, method, message):
        await self.gate.wait()
        self.requests.append((method, message))
        await asyncio.sleep(0)
        if self.fail:
            raise self.fail.pop(0)

    def messages(self, name="podinfo"):
        return [event["message"] for event in self.events.values() if event["involvedObject"]["name"] == name]


class Clock:
    now = 1_800_000_000.0

    def __call__(self):
        return self.now


@pytest.fixture
def server():
    return Server()


@pytest.fixture
async def recorder_for(server):
    made = []

    def make(**options):
        options.setdefault("backoff", lambda: Backoff(first=0.01, most=0.02))
        made.append(EventRecorder(server, **options))
        return made[-1]

    yield make
    for one in made:
        await one.close(deadline=0.1)


async def idle(recorder):
    await eventually(lambda: not recorder._drains)


async def test_an_event_has_upstreams_source_and_reason_and_our_word_as_action(server, recorder_for):
    recorder = recorder_for(clock=Clock())
    recorder.record(CANARY, message="Advance podinfo.shop canary weight 10", kind="WeightAdvanced")
    recorder.record(CANARY, message="Halt", kind="CheckFailed", warning=True)
    await idle(recorder)
    first, second = server.events.values()
    assert first["involvedObject"] == {
        "apiVersion": "flagger.app/v1beta1",
        "kind": "Canary",
        "name": "podinfo",
        "namespace": "shop",
        "uid": "u1",
        "resourceVersion": "7",
    }
    assert (first["reason"], first["action"], first["type"], first["count"]) == ("Synced", "WeightAdvanced", "Normal", 1)
    assert (first["source"], first["reportingComponent"]) == ({"component": "flagger"}, "flagger")
    assert first["firstTimestamp"] == first["lastTimestamp"] == "2027-01-15T08:00:00Z"
    assert first["metadata"]["name"].startswith("podinfo.")
    assert first["metadata"]["name"] != second["metadata"]["name"]
    assert (second["type"], second["action"]) == ("Warning", "CheckFailed")


async def test_a_repeat_raises_the_count_of_the_event_that_is_there(server, recorder_for):
    clock = Clock()
    recorder = recorder_for(clock=clock)
    for _ in range(3):
        recorder.record(CANARY, message="waiting", kind="GateWaiting", warning=True)
        await idle(recorder)
        clock.now += 10
    (event,) = server.events.values()
    assert event["count"] == 3
    assert (event["firstTimestamp"], event["lastTimestamp"]) == ("2027-01-15T08:00:00Z", "2027-01-15T08:00:20Z")
    assert [method for method, _ in server.requests] == ["POST", "PATCH", "PATCH"]


async def test_another_kind_or_type_with_the_same_words_is_another_event(server, recorder_for):
    recorder = recorder_for()
    recorder.record(CANARY, message="m", kind="A")
    recorder.record(CANARY, message="m", kind="B")
    recorder.record(CANARY, message="m", kind="B", warning=True)
    recorder.record(canary("other"), message="m", kind="A")
    await idle(recorder)
    assert len(server.events) == 4
    assert all(event["count"] == 1 for event in server.events.values())


async def test_repeats_that_pile_up_while_the_server_is_slow_become_one_request(server, recorder_for):
    server.gate.clear()
    recorder = recorder_for()
    for _ in range(20):
        recorder.record(CANARY, message="waiting", kind="GateWaiting")
        await asyncio.sleep(0)
    server.gate.set()
    await idle(recorder)
    (event,) = server.events.values()
    assert event["count"] == 20
    assert len(server.requests) <= 2


async def test_repeats_are_written_at_most_as_often_as_their_bucket_allows_and_none_is_forgotten(server, recorder_for):
    recorder = recorder_for(limits=Limits(repeat_burst=2, repeat_rate=0.001))
    for _ in range(30):
        recorder.record(CANARY, message="waiting", kind="GateWaiting")
        await asyncio.sleep(0.005)
    assert server.requests == [("POST", "waiting"), ("PATCH", "waiting"), ("PATCH", "waiting")]
    recorder.record(CANARY, message="passed", kind="GatePassed")
    await eventually(lambda: ("POST", "passed") in server.requests)  # a waiting repeat does not hold news up
    await recorder.close()
    counts = {event["message"]: event["count"] for event in server.events.values()}
    assert counts == {"waiting": 30, "passed": 1}


async def test_the_order_of_one_object_is_the_order_of_recording(server, recorder_for):
    recorder = recorder_for(concurrency=4)
    for number in range(30):
        for name in ("a", "b", "c"):
            recorder.record(canary(name), message=f"{number}", kind=f"K{number % 3}")
    await idle(recorder)
    for name in ("a", "b", "c"):
        assert server.messages(name) == [str(number) for number in range(30)]


async def test_a_message_that_comes_back_after_a_change_is_told_after_it(server, recorder_for):
    server.gate.clear()
    recorder = recorder_for()
    for message in ("first", "waiting", "passed", "waiting", "waiting"):
        recorder.record(CANARY, message=message, kind=message.title())
        await asyncio.sleep(0)
    server.gate.set()
    await idle(recorder)
    assert server.requests == [("POST", "first"), ("POST", "waiting"), ("POST", "passed"), ("PATCH", "waiting")]
    assert [event["count"] for event in server.events.values()] == [1, 3, 1]


async def test_an_object_whose_events_fail_delays_no_other(server, recorder_for):
    class Stuck(Server):
        async def create(self, resource, body):
            if body["involvedObject"]["name"] == "slow":
                await asyncio.sleep(30)
            return await super().create(resource, body)

    stuck = Stuck()
    recorder = EventRecorder(stuck, concurrency=2)
    recorder.record(canary("slow"), message="x", kind="K")
    for number in range(10):
        recorder.record(canary("fast"), message=str(number), kind="K")
    await eventually(lambda: len(stuck.messages("fast")) == 10)
    await recorder.close(deadline=0)
    assert recorder.dropped == 1


async def test_under_pressure_old_news_of_one_kind_go_and_changes_of_kind_stay(server, recorder_for):
    recorder = recorder_for(limits=Limits(burst=1, rate=0.001, waiting=5))
    for run in range(4):
        recorder.record(CANARY, message=f"started {run}", kind="NewRevision")
        for number in range(20):
            recorder.record(CANARY, message=f"check {run}.{number}", kind="CheckFailed")
        recorder.record(CANARY, message=f"rolled back {run}", kind="RolledBack")
    await eventually(lambda: len(server.events) >= 12)
    changes = [message for message in server.messages() if not message.startswith("check") or message.endswith(".0")]
    expected = [text for run in range(4) for text in (f"started {run}", f"check {run}.0", f"rolled back {run}")]
    assert changes == expected
    assert recorder.dropped == 4 * 22 - len(server.events)


async def test_a_burst_is_posted_whole_and_then_spaced(server, recorder_for):
    timer = Clock()
    timer.now = 0.0
    recorder = recorder_for(limits=Limits(burst=10, rate=50), timer=timer)
    for number in range(14):
        recorder.record(CANARY, message=f"weight {number}", kind="WeightAdvanced")
    await eventually(lambda: len(server.events) == 10)
    await asyncio.sleep(0.1)
    assert len(server.events) == 10, "the bucket's own time stands still"
    timer.now += 0.05
    await eventually(lambda: len(server.events) == 12)
    timer.now += 1
    await idle(recorder)
    assert server.messages() == [f"weight {number}" for number in range(14)]


async def test_after_closing_nothing_is_queued_any_more(server, recorder_for):
    recorder = recorder_for()
    await recorder.close()
    recorder.record(CANARY, message="late", kind="A")
    await asyncio.sleep(0.05)
    assert server.events == {}
    assert recorder.dropped == 1


async def test_a_failed_write_is_tried_again_in_order_and_never_doubled(server, recorder_for):
    recorder = recorder_for()
    server.fail = [Retryable("down"), Retryable("down")]
    server.lose_answers = 1
    recorder.record(CANARY, message="first", kind="A")
    recorder.record(CANARY, message="second", kind="B")
    await idle(recorder)
    assert server.messages() == ["first", "second"]
    assert recorder.dropped == 0


@pytest.mark.parametrize("error", [Forbidden("no"), NotFound("namespace is gone")])
async def test_what_the_server_refuses_is_dropped_and_the_next_goes_on(server, recorder_for, error, caplog):
    recorder = recorder_for()
    server.fail = [error]
    recorder.record(CANARY, message="first", kind="A")
    recorder.record(CANARY, message="second", kind="B")
    await idle(recorder)
    assert server.messages() == ["second"]
    assert recorder.dropped == 1
    assert "first" in caplog.text


async def test_a_server_that_stays_away_costs_a_bounded_number_of_attempts(server, recorder_for):
    recorder = recorder_for()
    server.fail = [Retryable("down")] * 100
    recorder.record(CANARY, message="first", kind="A")
    await idle(recorder)
    assert len(server.requests) == 6
    assert recorder.dropped == 1


async def test_an_event_that_expired_on_the_server_is_posted_anew(server, recorder_for):
    recorder = recorder_for()
    recorder.record(CANARY, message="waiting", kind="A")
    await idle(recorder)
    server.events.clear()
    recorder.record(CANARY, message="waiting", kind="A")
    await eventually(lambda: len(server.events) == 1)
    assert next(iter(server.events.values()))["count"] == 1


async def test_an_event_older_than_the_servers_memory_is_not_counted_on(server, recorder_for):
    clock = Clock()
    recorder = recorder_for(clock=clock)
    recorder.record(CANARY, message="waiting", kind="A")
    await idle(recorder)
    clock.now += 3601
    recorder.record(CANARY, message="waiting", kind="A")
    await idle(recorder)
    assert [method for method, _ in server.requests] == ["POST", "POST"]


async def test_closing_writes_what_waits_whatever_the_limits(server, recorder_for):
    recorder = recorder_for(limits=Limits(burst=1, rate=0.001))
    for number in range(10):
        recorder.record(CANARY, message=str(number), kind="A")
    await asyncio.sleep(0.02)
    assert len(server.events) == 1
    await recorder.close()
    assert server.messages() == [str(number) for number in range(10)]


async def test_closing_keeps_its_deadline_and_counts_what_is_lost(server, recorder_for, caplog):
    server.gate.clear()
    recorder = recorder_for()
    for number in range(10):
        recorder.record(CANARY, message=str(number), kind="A")
    began = time.monotonic()
    await recorder.close(deadline=0.1)
    assert time.monotonic() - began < 10
    assert recorder.dropped == 10
    assert "10 events were not written" in caplog.text


async def test_a_long_message_is_cut_and_says_so(server, recorder_for):
    recorder = recorder_for()
    recorder.record(CANARY, message="x" * 5000, kind="A")
    await idle(recorder)
    (message,) = server.messages()
    assert len(message) == MESSAGE_LIMIT
    assert message.endswith("…")


async def test_an_event_on_a_cluster_scoped_object_lives_in_default(server, recorder_for):
    recorder = recorder_for()
    recorder.record({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop", "uid": "n"}}, message="m", kind="A")
    await idle(recorder)
    assert [namespace for namespace, _ in server.events] == ["default"]


async def test_the_memory_of_objects_is_bounded(server, recorder_for, monkeypatch):
    monkeypatch.setattr("canary.kube.recorder.OBJECTS", 10)
    recorder = recorder_for()
    for number in range(50):
        recorder.record(canary(f"c{number}"), message="m", kind="A")
        await idle(recorder)
    assert len(recorder._backlogs) <= 11
    assert len(server.events) == 50


async def test_the_events_of_a_fleet_are_spread_and_none_is_lost(server, recorder_for):
    recorder = recorder_for()
    fleet = [{**CANARY, "metadata": {**CANARY["metadata"], "name": f"app-{number}", "uid": f"u{number}"}} for number in range(300)]
    for canary in fleet:
        recorder.record(canary, message="New revision detected!", kind="NewRevision")
    await eventually(lambda: len(server.events) >= CALM_BURST)
    await asyncio.sleep(0.1)
    assert len(server.events) < len(fleet) / 2
    await recorder.close()
    assert {event["involvedObject"]["name"] for event in server.events.values()} == {canary["metadata"]["name"] for canary in fleet}
    assert recorder.dropped == 0
