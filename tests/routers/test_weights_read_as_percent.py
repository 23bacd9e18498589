import pytest
from hypothesis import given
from hypothesis import strategies as st

from canary.core.model import Routes
from canary.routers.weights import percent


@pytest.mark.parametrize(
    ("primary", "canary", "expected"),
    [
        (100, 0, Routes(100, 0)),
        (0, 100, Routes(0, 100)),
        (37, 63, Routes(37, 63)),
        (1, 1, Routes(50, 50)),
        (9, 1, Routes(90, 10)),
        (1_000_000, 1, Routes(99, 1)),
        (1, 1_000_000, Routes(1, 99)),
        (0, 1, Routes(0, 100)),
        (0, 0, None),
        (-1, 101, None),
    ],
)
def test_shares(primary, canary, expected):
    assert percent(primary, canary) == expected


@given(st.integers(0, 100))
def test_percent_stays_as_written(canary):
    assert percent(100 - canary, canary) == Routes(100 - canary, canary)


@pytest.mark.parametrize(
    ("primary", "canary", "baseline", "expected"),
    [
        (60, 20, 20, Routes(80, 20, baseline=20)),
        (34, 33, 33, Routes(67, 33, baseline=33)),
        (98, 1, 1, Routes(99, 1, baseline=1)),
        (100, 0, 0, Routes(100, 0)),
        (0, 50, 50, Routes(50, 50, baseline=50)),
        (0, 0, 1, Routes(100, 0, baseline=100)),
        # edits by hand
        (1, 1, 1, Routes(67, 33, baseline=33)),
        (3, 1, 2, Routes(83, 17, baseline=33)),
        (60, 20, 0, Routes(75, 25)),
        (60, 0, 20, Routes(100, 0, baseline=25)),
        (1_000_000, 1, 1, Routes(99, 1, baseline=1)),
        (1, 1_000_000, 1, Routes(1, 99)),
        (0, 1_000_000, 1, Routes(1, 99, baseline=1)),
        (1, 1, 1_000_000, Routes(99, 1, baseline=98)),
        (0, 0, 0, None),
        (60, 50, -10, None),
    ],
)
def test_a_baseline_is_a_part_of_the_primarys_share(primary, canary, baseline, expected):
    assert percent(primary, canary, baseline) == expected


@given(st.integers(0, 10**6), st.integers(0, 10**6), st.integers(0, 10**6))
def test_no_version_is_lost_or_invented_and_the_primary_keeps_what_it_has(primary, canary, baseline):
    routes = percent(primary, canary, baseline)
    if primary == canary == baseline == 0:
        assert routes is None
        return
    total = primary + canary + baseline
    assert routes.primary + routes.canary == 100
    assert (routes.primary > 0) == (primary + baseline > 0)
    assert (routes.canary > 0) == (canary > 0)
    assert 0 <= routes.baseline <= routes.primary
    assert (routes.primary > routes.baseline) == (primary > 0)
    assert baseline or not routes.baseline
    assert routes.baseline or not baseline or routes.primary == 1
    assert abs(routes.canary - 100 * canary / total) <= 1
    assert abs(routes.baseline - 100 * baseline / total) <= 2


@given(st.integers(0, 10**6), st.integers(1, 10**6))
def test_equal_weights_of_canary_and_baseline_read_as_equal(primary, canary):
    routes = percent(primary, canary, canary)
    assert routes.baseline in ({routes.canary, routes.primary - 1} if primary else {routes.primary})
    assert abs(routes.canary - routes.baseline) <= 1


@given(st.integers(0, 10**6), st.integers(0, 10**6))
def test_shares_sum_to_100_and_nothing_that_flows_reads_as_nothing(primary, canary):
    routes = percent(primary, canary)
    if primary == canary == 0:
        assert routes is None
        return
    assert routes.primary + routes.canary == 100
    assert (routes.primary > 0) == (primary > 0)
    assert (routes.canary > 0) == (canary > 0)
    assert abs(routes.canary - 100 * canary / (primary + canary)) <= 1
