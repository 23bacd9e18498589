"""Weights: steps, lists, caps (reference 2.4, U15, Q10, Q11)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from canary.api.analysis import Analysis
from canary.core.weights import lowered, next_step, raised


def visited(analysis: Analysis) -> list[int]:
    """Weights of the canary from 0 until the schedule is complete."""
    weight, seen = 0, [0]
    while weight < analysis.max_weight_effective:
        step = next_step(weight, step_weight=analysis.step_weight, step_weights=analysis.step_weights)
        assert step > 0
        weight = raised(weight, step)
        seen.append(weight)
    return seen


@pytest.mark.parametrize(
    ("fields", "weights"),
    [
        ({"stepWeight": 20, "maxWeight": 50}, [0, 20, 40, 60]),
        ({"stepWeight": 50, "maxWeight": 100}, [0, 50, 100]),
        ({"stepWeight": 10, "maxWeight": 30}, [0, 10, 20, 30]),
        ({"stepWeight": 40}, [0, 40, 80, 100]),
        ({"stepWeights": [1, 2, 10, 80]}, [0, 1, 2, 10, 80]),
        ({"stepWeights": [1, 2, 10, 200]}, [0, 1, 2, 10, 100]),
        ({"stepWeights": [10, 20, 60], "maxWeight": 50}, [0, 10, 20, 60]),
        ({"stepWeights": [30]}, [0, 30]),
        ({"stepWeights": [0, 10]}, [0, 10]),
        ({"stepWeights": [10, 10, 20]}, [0, 10, 20]),
        ({"stepWeight": 5, "stepWeights": [50]}, [0, 5, 10, 15, 20, 25, 30, 35, 40, 45, 50]),
    ],
)
def test_u15_a_schedule_visits_exactly_these_weights(fields: dict[str, object], weights: list[int]) -> None:
    assert visited(Analysis.model_validate(fields)) == weights


def test_the_talks_manifest_of_2020_goes_from_0_to_100_by_5() -> None:
    assert visited(Analysis.model_validate({"stepWeight": 5, "threshold": 5})) == list(range(0, 101, 5))


@pytest.mark.parametrize(("weight", "step"), [(0, 10), (10, 10), (20, 40), (60, 40), (100, 1)])
def test_a_weight_in_the_list_goes_to_the_entry_after_it(weight: int, step: int) -> None:
    assert next_step(weight, step_weight=0, step_weights=(10, 20, 60)) == step


@pytest.mark.parametrize(("weight", "goes_to"), [(5, 10), (15, 20), (59, 60), (61, 100)])
def test_q10_a_weight_edited_by_hand_goes_to_the_next_higher_entry(weight: int, goes_to: int) -> None:
    assert weight + next_step(weight, step_weight=0, step_weights=(10, 20, 60)) == goes_to


def test_q11_a_schedule_without_steps_has_no_step() -> None:
    assert next_step(0, step_weight=0, step_weights=()) == 0


@given(st.integers(0, 100), st.lists(st.integers(-5, 250), min_size=1, max_size=6))
def test_a_list_always_moves_on_and_never_beyond_100(weight: int, entries: list[int]) -> None:
    step = next_step(weight, step_weight=0, step_weights=entries)
    assert step >= 1
    assert raised(weight, step) <= 100


@given(st.integers(0, 100), st.integers(1, 300))
def test_steps_are_capped_at_both_ends(weight: int, step: int) -> None:
    assert weight <= raised(weight, step) <= 100
    assert 0 <= lowered(weight, step) <= weight
