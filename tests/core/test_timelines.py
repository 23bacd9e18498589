"""The worked timelines of reference 2.4, tick by tick, and when each tick happens."""

from __future__ import annotations

from typing import Any

import pytest

from canary.api.status import Phase
from canary.core.model import SetRoutes
from tests.core.simulate import START, World

MATCH = [{"headers": {"x-canary": {"exact": "insider"}}}]


def released(**analysis: Any) -> World:
    """A world in which revision B was released to its end; every workload is ready at once."""
    world = World(analysis={"interval": "10s", "threshold": 2, **analysis}).bootstrap()
    world.release("B")
    world.run()
    return world


def test_progressive_10_30() -> None:
    world = released(stepWeight=10, maxWeight=30)
    assert world.steps() == [
        ("Progressing", 0, 0),
        ("Progressing", 10, 0),
        ("Progressing", 20, 0),
        ("Progressing", 30, 0),
        ("Promoting", 30, 0),
        ("Finalising", 0, 0),
        ("Succeeded", 0, 0),
    ]


def test_ab_testing_of_two_iterations() -> None:
    world = released(iterations=2, match=MATCH)
    assert world.steps() == [
        ("Progressing", 0, 0),
        ("Progressing", 100, 1),
        ("Progressing", 100, 2),
        ("Promoting", 100, 2),
        ("Finalising", 0, 0),
        ("Succeeded", 0, 0),
    ]


def test_blue_green_of_two_iterations() -> None:
    world = released(iterations=2)
    assert world.steps() == [
        ("Progressing", 0, 0),
        ("Progressing", 0, 1),
        ("Progressing", 0, 2),
        ("Progressing", 100, 3),
        ("Promoting", 100, 3),
        ("Finalising", 0, 0),
        ("Succeeded", 0, 0),
    ]


def test_blue_green_without_a_mesh_moves_no_traffic() -> None:
    world = World(analysis={"interval": "10s", "threshold": 2, "iterations": 2}, provider="kubernetes").bootstrap()
    world.release("B")
    world.run()
    assert world.steps() == [
        ("Progressing", 0, 0),
        ("Progressing", 0, 1),
        ("Progressing", 0, 2),
        ("Progressing", 0, 3),
        ("Promoting", 0, 3),
        ("Finalising", 0, 0),
        ("Succeeded", 0, 0),
    ]
    assert not any(isinstance(effect, SetRoutes) for effect in world.effects)


def test_u07_step_weight_promotion() -> None:
    world = released(stepWeight=100, stepWeightPromotion=50)
    found = [(d.status.phase.value, d.status.canary_weight) for d in world.decisions]
    assert list(dict.fromkeys(found)) == [
        ("Progressing", 0),
        ("Progressing", 100),
        ("Promoting", 100),
        ("Promoting", 50),
        ("Finalising", 0),
        ("Succeeded", 0),
    ]


def test_u08_blue_green_of_one_iteration() -> None:
    assert [phase for phase, _, _ in released(iterations=1).steps()] == [
        "Progressing",
        "Progressing",
        "Progressing",
        "Promoting",
        "Finalising",
        "Succeeded",
    ]


def test_u11_mirror_then_weights() -> None:
    world = released(stepWeight=10, maxWeight=20, mirror=True)
    moves = [(e.routes.primary, e.routes.canary, e.routes.mirrored) for e in world.effects if isinstance(e, SetRoutes)]
    assert moves == [(100, 0, True), (90, 10, False), (80, 20, False), (100, 0, False)]


def test_blue_green_mirrors_until_the_cut_over() -> None:
    world = released(iterations=2, mirror=True)
    moves = [(e.routes.primary, e.routes.canary, e.routes.mirrored) for e in world.effects if isinstance(e, SetRoutes)]
    assert moves == [(100, 0, True), (0, 100, False), (100, 0, False)]
    assert world.steps()[-1][0] == "Succeeded"


@pytest.mark.parametrize(
    ("schedule", "primary_weights"),
    [
        ({"stepWeight": 20, "maxWeight": 50}, [100, 80, 60, 40]),
        ({"stepWeight": 50, "maxWeight": 100}, [100, 50, 0]),
        ({"stepWeights": [1, 2, 10, 80]}, [100, 99, 98, 90, 20]),
        ({"stepWeights": [1, 2, 10, 200]}, [100, 99, 98, 90, 0]),
    ],
)
def test_u15_a_core_service_target_visits_upstreams_weights(schedule: dict[str, Any], primary_weights: list[int]) -> None:
    world = World(analysis={"interval": "10s", "threshold": 2, **schedule}, kind="Service")
    world.run()
    world.forget()
    world.release("B")
    world.run(until=Phase.PROMOTING)
    weights = [100 - weight for _, weight, _ in world.steps()]
    assert list(dict.fromkeys(weights)) == primary_weights
    world.run()
    assert world.status.phase is Phase.SUCCEEDED


def test_match_with_steps_is_a_weighted_release() -> None:
    world = released(stepWeight=50, match=MATCH)
    assert [weight for _, weight, _ in world.steps()] == [0, 50, 100, 100, 0, 0]


def test_steps_are_one_interval_apart_and_everything_else_follows_at_once() -> None:
    world = World().bootstrap()
    began = world.now
    world.release("B")
    moments = []
    for _ in range(30):
        decision = world.tick()
        world.settle()
        moments.append((round(world.now - began), decision.status.phase.value, decision.status.canary_weight))
        if decision.wake_after is None:
            break
        world.now += decision.wake_after
    assert list(dict.fromkeys(moments)) == [
        (0, "Progressing", 0),
        (0, "Progressing", 10),
        (10, "Progressing", 20),
        (20, "Progressing", 30),
        (30, "Promoting", 30),
        (30, "Finalising", 0),
        (30, "Succeeded", 0),
    ]


def test_the_interval_is_honoured_down_to_one_second() -> None:
    world = World(analysis={"interval": "1s", "threshold": 2, "stepWeight": 50}).bootstrap()
    began = world.now
    world.release("B")
    world.run()
    assert world.now - began == pytest.approx(2.0)


def test_a_status_write_per_step_and_few_besides() -> None:
    world = World().bootstrap()
    world.release("B")
    world.run()
    assert world.status.phase is Phase.SUCCEEDED
    assert world.writes == 8, "accepted, 3 steps, Promoting, copied, Finalising, Succeeded"


def test_the_bootstrap_takes_two_ticks() -> None:
    world = World()
    first = world.tick()
    assert first.status.phase is Phase.INITIALIZING
    world.settle()
    second = world.tick()
    assert second.status.phase is Phase.INITIALIZED
    assert world.now == START
