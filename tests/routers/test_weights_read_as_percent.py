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
