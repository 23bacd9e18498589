"""Leases: never two holders, whatever the order of requests, clocks, lost answers and pauses."""

import asyncio
import random
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from canary.core.errors import CanaryError, Conflict, NotFound, Retryable
from canary.kube.lease import LeaseLock, Record, Sighting, free, jittered, sighted, taken_spec
from canary.kube.resource import LEASES
from canary.sandbox.faults import Drop

pytestmark = pytest.mark.slow


def lock_on(client, identity, **options):
    return LeaseLock(client, namespace="shop", name="leader", identity=identity, **options)


@pytest.fixture
def lock_for(sandbox, client_for):
    return lambda identity, **options: lock_on(client_for(sandbox.url), identity, **options)


def spec(sandbox):
    return sandbox.cluster.get("coordination.k8s.io/v1", "Lease", "leader", namespace="shop")["spec"]


async def test_the_first_creates_the_lease_and_renews_it_with_one_request_each(sandbox, lock_for):
    lock = lock_for("a")
    assert not lock.held
    for _ in range(3):
        assert await lock.try_acquire()
    assert lock.held
    assert lock.holder == "a"
    assert sandbox.requests.total(resource="leases") == 4  # get, create, two patches
    assert spec(sandbox)["holderIdentity"] == "a"
    assert (spec(sandbox)["leaseDurationSeconds"], spec(sandbox)["leaseTransitions"]) == (15, 0)
    assert spec(sandbox)["renewTime"] > spec(sandbox)["acquireTime"]


async def test_a_second_waits_until_it_saw_no_renewal_for_the_whole_duration(lock_for):
    now = 0.0
    first, second = lock_for("a", duration=10), lock_for("b", duration=10, timer=lambda: now)
    await first.try_acquire()
    assert not await second.try_acquire()
    now = 9.0
    await first.try_acquire()  # renewed: the wait begins anew, from when we see it
    assert not await second.try_acquire()
    now = 18.9
    assert not await second.try_acquire()
    assert second.holder == "a"
    now = 19.0
    assert await second.try_acquire()
    assert second.transitions == 1
    assert not await first.try_acquire()
    assert not first.held, "who finds another holder knows at once"


async def test_a_released_lease_is_taken_at_once(sandbox, lock_for):
    first, second = lock_for("a"), lock_for("b")
    await first.try_acquire()
    assert not await second.try_acquire()
    await first.release()
    assert not first.held
    assert spec(sandbox)["holderIdentity"] == ""
    assert await second.try_acquire()
    await first.release()
    assert spec(sandbox)["holderIdentity"] == "b", "only the holder releases"


async def test_a_clock_that_is_wrong_by_days_does_no_harm(lock_for):
    past = lock_for("a", clock=lambda: datetime.now(tz=UTC) - timedelta(days=3))
    await past.try_acquire()
    assert not await lock_for("b").try_acquire()


async def test_a_lost_answer_is_found_out_by_looking(sandbox, lock_for):
    lock, other = lock_for("a"), lock_for("b")
    await lock.try_acquire()

    async def lose(call):
        if call.verb == "patch":
            return Drop(after_effect=True)

    sandbox.hook = lose
    with pytest.raises(Retryable):
        await lock.try_acquire()
    sandbox.hook = None
    assert await lock.try_acquire()
    assert spec(sandbox)["leaseTransitions"] == 0
    assert not await other.try_acquire()


async def test_what_we_may_believe_is_counted_from_before_the_request(sandbox, lock_for):
    now = 100.0
    lock = lock_for("a", duration=10, timer=lambda: now)
    await lock.try_acquire()

    async def slow(call):
        nonlocal now
        now += 4

    sandbox.hook = slow
    began = now
    await lock.try_acquire()
    assert lock.held_until == began + 10
    assert lock.held
    now = began + 10
    assert not lock.held


async def test_a_deleted_lease_is_made_anew_and_a_missing_namespace_is_an_error(sandbox, lock_for, client_for):
    lock = lock_for("a")
    await lock.try_acquire()
    sandbox.cluster.delete("coordination.k8s.io/v1", "Lease", "leader", namespace="shop")
    assert await lock.try_acquire()
    nowhere = LeaseLock(client_for(sandbox.url), namespace="nowhere", name="leader", identity="a")
    with pytest.raises(NotFound, match="nowhere"):
        await nowhere.try_acquire()


async def test_flaggers_lease_is_respected_for_its_own_duration(sandbox, lock_for):
    theirs = {
        "holderIdentity": "flagger-7d9_0a1b",
        "leaseDurationSeconds": 60,
        "leaseTransitions": 3,
        "renewTime": "2026-11-20T10:00:00.000000Z",
    }
    sandbox.cluster.create("coordination.k8s.io/v1", "Lease", {"metadata": {"name": "leader"}, "spec": theirs}, namespace="shop")
    now = 0.0
    lock = lock_for("a", timer=lambda: now)
    assert not await lock.try_acquire()
    now = 59.0
    assert not await lock.try_acquire()
    now = 60.0
    assert await lock.try_acquire()
    assert spec(sandbox)["leaseTransitions"] == 4


async def test_of_five_candidates_exactly_one_holds_at_any_time(sandbox, lock_for):
    """Candidates crash, stall, release and lose answers; each acts only while it believes to hold the lease."""
    rng = random.Random(7)
    believers, most, terms, overlaps = set(), 0, 0, []

    async def trouble(call):
        if call.resource == "leases":
            await asyncio.sleep(rng.random() * 0.02)
            return Drop(after_effect=rng.random() < 0.5) if rng.random() < 0.1 else None

    sandbox.hook = trouble
    ends = asyncio.get_running_loop().time() + 5

    async def candidate(name):
        nonlocal most, terms
        while asyncio.get_running_loop().time() < ends:
            lock = lock_for(f"{name}-{rng.random()}", duration=1)
            leading = False
            while asyncio.get_running_loop().time() < ends:
                try:
                    won = await lock.try_acquire()
                except CanaryError:
                    won = lock.held
                if won and lock.held:
                    terms += not leading
                    leading = True
                    believers.add(name)
                    most = max(most, len(believers))
                    if len(believers) > 1:
                        overlaps.append(set(believers))
                    while lock.held and rng.random() < 0.8:  # acts, looking at the clock before each act
                        await asyncio.sleep(0.01)
                    if rng.random() < 0.15:
                        believers.discard(name)
                        if rng.random() < 0.5:
                            await _quietly(lock.release())
                        break  # crashed, or stopped
                believers.discard(name)
                await asyncio.sleep(rng.random() * 0.1)

    await asyncio.gather(*(candidate(name) for name in "abcde"))
    assert overlaps == []
    assert most == 1
    assert terms >= 3


async def _quietly(attempt):
    try:
        await attempt
    except CanaryError:
        return


class Shared:
    """One lease with compare-and-set, in memory."""

    def __init__(self):
        self.lease = None
        self.version = 0

    async def get(self, resource, namespace, name):
        if self.lease is None:
            raise NotFound("none")
        return self.lease

    async def create(self, resource, body):
        if self.lease is not None:
            raise Conflict("exists")
        return self._keep(body["spec"])

    async def merge(self, resource, namespace, name, patch):
        if patch["metadata"]["resourceVersion"] != str(self.version):
            raise Conflict("stale")
        return self._keep({**self.lease["spec"], **patch["spec"]})

    def _keep(self, spec):
        self.version += 1
        self.lease = {"metadata": {"resourceVersion": str(self.version)}, "spec": spec}
        return self.lease


@given(st.lists(st.tuples(st.integers(0, 4), st.sampled_from(["try", "try", "try", "release"]), st.floats(0, 6)), max_size=60))
@settings(max_examples=200, deadline=None)
def test_whatever_the_schedule_two_never_hold_it_together(steps):
    async def run():
        now = 0.0
        shared = Shared()
        locks = [lock_on(shared, str(number), duration=5, timer=lambda: now) for number in range(5)]
        for who, act, pause in steps:
            now += pause
            if act == "release":
                await locks[who].release()
            elif await locks[who].try_acquire():
                assert locks[who].held
            assert sum(lock.held for lock in locks) <= 1

    asyncio.run(run())


def test_an_unchanged_record_does_not_become_younger_by_being_seen_again():
    record = Record(holder="a", duration=10, transitions=0, renewed="t", version="1")
    first = sighted(None, record, now=5)
    assert sighted(first, record, now=9) == Sighting(record, 5)
    renewed = Record(holder="a", duration=10, transitions=0, renewed="u", version="2")
    assert sighted(first, renewed, now=9).at == 9
    assert not free(first, "b", now=14.9)
    assert free(first, "b", now=15)
    assert free(first, "a", now=6)


def test_an_empty_lease_is_free_and_a_duration_is_never_written_shorter_than_it_is():
    assert free(Sighting(Record.of({"metadata": {}}), 0), "a", now=0)
    assert taken_spec(None, "a", duration=1.2, at=datetime(2026, 1, 2, 3, 4, 5, 6, tzinfo=UTC)) == {
        "holderIdentity": "a",
        "leaseDurationSeconds": 2,
        "renewTime": "2026-01-02T03:04:05.000006Z",
        "acquireTime": "2026-01-02T03:04:05.000006Z",
        "leaseTransitions": 0,
    }


def test_jitter_only_lengthens():
    values = [jittered(2.0) for _ in range(200)]
    assert min(values) >= 2.0
    assert max(values) <= 2.4
    assert len(set(values)) > 100


def test_the_lease_kind_is_the_coordination_one():
    assert LEASES.path("kube-system", "x") == "/apis/coordination.k8s.io/v1/namespaces/kube-system/leases/x"
