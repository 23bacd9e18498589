"""Bounds of measured splits, against exact fractions."""

from fractions import Fraction
from math import comb

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.testbed import binomial
from tests.testbed.traffic import assert_split


def exact_tails(count: int, total: int, share: Fraction) -> tuple[Fraction, Fraction]:
    chance = [comb(total, k) * share**k * (1 - share) ** (total - k) for k in range(total + 1)]
    return sum(chance[: count + 1], Fraction(0)), sum(chance[count:], Fraction(0))


@given(st.integers(1, 60), st.data())
def test_tails_are_the_exact_binomial_tails(total, data):
    count = data.draw(st.integers(0, total))
    share = data.draw(st.fractions(0, 1, max_denominator=50))
    expected = exact_tails(count, total, share)
    assert binomial.tails(count, total, float(share)) == pytest.approx([float(tail) for tail in expected], rel=1e-9, abs=1e-12)


@given(st.integers(1, 120), st.floats(0, 1), st.sampled_from([1e-6, 1e-3, 0.05]))
def test_bounds_are_the_outermost_counts_that_the_test_accepts(total, share, alpha):
    low, high = binomial.bounds(total, share, alpha=alpha)
    accepted = [count for count in range(total + 1) if min(binomial.tails(count, total, share)) > alpha / 2]
    assert (low, high) == (accepted[0], accepted[-1])


def test_a_count_beyond_the_total_is_refused():
    with pytest.raises(ValueError, match="no binomial: 5 of 4"):
        binomial.tails(5, 4, 0.5)


class TestAssertSplit:
    def test_accepts_what_chance_allows(self):
        assert_split({"a": 897, "b": 103}, {"a": 0.9, "b": 0.1})
        assert_split({"a": 1000}, {"a": 1.0, "b": 0.0})

    @pytest.mark.parametrize("counts", [{"a": 840, "b": 160}, {"a": 960, "b": 40}, {"a": 1000}])
    def test_refuses_what_chance_does_not(self, counts):
        with pytest.raises(AssertionError, match=r"expected 10.0%, which allows \d+ to \d+"):
            assert_split(counts, {"a": 0.9, "b": 0.1})

    def test_a_share_of_zero_allows_not_one(self):
        with pytest.raises(AssertionError, match="b: 1 of 1000"):
            assert_split({"a": 999, "b": 1}, {"a": 1.0, "b": 0.0})

    def test_a_stranger_is_refused(self):
        with pytest.raises(AssertionError, match="c: 1, and none was expected"):
            assert_split({"a": 500, "b": 500, "c": 1}, {"a": 0.5, "b": 0.5})

    def test_less_confidence_is_stricter(self):
        assert_split({"a": 925, "b": 75}, {"a": 0.9, "b": 0.1})
        with pytest.raises(AssertionError):
            assert_split({"a": 925, "b": 75}, {"a": 0.9, "b": 0.1}, confidence=0.95)

    def test_no_traffic_is_not_a_split(self):
        with pytest.raises(AssertionError, match="no request was answered"):
            assert_split({}, {"a": 1.0})

    def test_shares_that_do_not_add_up_are_a_mistake_of_the_test(self):
        with pytest.raises(ValueError, match="add up to 1"):
            assert_split({"a": 1}, {"a": 0.9})
