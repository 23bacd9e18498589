"""Token buckets under any sequence of calls and times."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from canary.kube.throttle import TokenBucket


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


def test_the_burst_is_free_and_then_reservations_queue_up():
    bucket = TokenBucket(rate=10, burst=2, clock=Clock())
    assert [bucket.reserve() for _ in range(4)] == pytest.approx([0, 0, 0.1, 0.2])
    assert not bucket.take()
    assert bucket.wait() == pytest.approx(0.3)


def test_tokens_come_back_but_never_beyond_the_burst():
    clock = Clock()
    bucket = TokenBucket(rate=10, burst=2, clock=clock)
    assert [bucket.take(), bucket.take(), bucket.take()] == [True, True, False]
    clock.now = 0.1
    assert [bucket.take(), bucket.take()] == [True, False]
    clock.now = 1000.0
    assert [bucket.take() for _ in range(3)] == [True, True, False]


def test_a_debt_is_paid_at_the_new_rate():
    clock = Clock()
    bucket = TokenBucket(rate=10, burst=1, clock=clock)
    assert [bucket.reserve() for _ in range(11)][-1] == pytest.approx(1.0)
    clock.now = 0.5  # five of ten are paid
    bucket.pace(100)
    assert bucket.reserve() == pytest.approx(0.06)


@pytest.mark.parametrize(("rate", "burst"), [(0, 1), (-1, 1), (1, 0)])
def test_a_bucket_that_could_never_give_is_refused(rate, burst):
    with pytest.raises(ValueError, match="token bucket"):
        TokenBucket(rate=rate, burst=burst)


@given(st.lists(st.tuples(st.floats(0, 3), st.booleans()), max_size=80), st.floats(0.1, 10), st.integers(1, 5))
def test_never_more_is_granted_than_burst_plus_rate_times_time(steps, rate, burst):
    clock = Clock()
    bucket = TokenBucket(rate=rate, burst=burst, clock=clock)
    granted_at = []
    for pause, reserving in steps:
        clock.now += pause
        if reserving:
            granted_at.append(clock.now + bucket.reserve())
        elif bucket.take():
            granted_at.append(clock.now)
    for at in granted_at:
        assert sum(other <= at for other in granted_at) <= burst + rate * at + 1e-6
