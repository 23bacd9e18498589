"""The effects of whole stories, in order: what is ensured, scaled, paused, moved and copied when (reference 2.3, 2.6, 2.7, 2.16)."""

from __future__ import annotations

from canary.api.status import Phase
from canary.core.model import (
    CloseRun,
    Effect,
    EnsurePrimary,
    EnsureRoutes,
    EnsureScaler,
    EnsureServices,
    OpenRun,
    PauseScaler,
    Promote,
    Readiness,
    Routes,
    Sample,
    ScaleTarget,
    SetRoutes,
)
from tests.core.simulate import World, rev

REST = Routes(100, 0)


def story(effects: list[Effect]) -> list[str]:
    """Effects in words; what every tick ensures is left out."""
    words: list[str] = []
    for effect in effects:
        match effect:
            case SetRoutes(routes=routes):
                words.append(f"{routes.primary}/{routes.canary}")
            case ScaleTarget(up=up):
                words.append("scale up" if up else "scale to zero")
            case PauseScaler(paused=paused):
                words.append("pause" if paused else "resume")
            case EnsureScaler(update=True):
                words.append("update scaler")
            case Promote():
                words.append("copy")
            case OpenRun():
                words.append("open")
            case CloseRun(outcome=outcome):
                words.append(f"close {outcome}")
            case _:
                pass
    return words


def test_a_bootstrap() -> None:
    world = World(has_scaler=True)
    first = world.tick()
    assert first.effects == (EnsureServices(apex=False), EnsurePrimary(rev("A")))
    assert first.status.last_applied_spec == rev("A"), "what the primary is made from"
    world.settle()
    second = world.tick()
    assert second.effects == (
        EnsureServices(apex=False),
        EnsurePrimary(rev("A")),
        EnsureScaler(),
        PauseScaler(paused=True),
        EnsureServices(apex=True),
        EnsureRoutes(REST),
        ScaleTarget(up=False),
    )


def test_a_tick_at_rest_ensures_everything_in_upstreams_order() -> None:
    world = World(has_scaler=True).bootstrap()
    assert world.tick().effects == (
        EnsureServices(apex=False),
        EnsurePrimary(rev("A")),
        EnsureScaler(),
        EnsureServices(apex=True),
        EnsureRoutes(REST),
    )


def test_a_success() -> None:
    world = World(has_scaler=True, analysis={"interval": "10s", "threshold": 2, "stepWeight": 50, "maxWeight": 50}).bootstrap()
    world.release("B")
    world.run()
    assert story(world.effects) == [
        "resume",
        "scale up",
        "open",
        "50/50",
        "copy",
        "update scaler",
        "100/0",
        "pause",
        "scale to zero",
        "close Succeeded",
    ]
    assert world.kinds() == ["NewRevision", "AnalysisStarted", "WeightAdvanced", "Promoting", "RoutedToPrimary", "Promoted"]


def test_a_failure() -> None:
    world = World(has_scaler=True).bootstrap()
    world.release("B")
    world.metrics["request-success-rate"] = Sample(0.0)
    world.run()
    assert story(world.effects) == [
        "resume",
        "scale up",
        "open",
        "90/10",
        "100/0",  # decided
        "100/0",  # carried out
        "pause",
        "scale to zero",
        "close Failed",
    ]
    assert world.kinds() == [
        "NewRevision",
        "AnalysisStarted",
        "WeightAdvanced",
        "CheckFailed",
        "CheckFailed",
        "ThresholdReached",
        "RolledBack",
    ]


def test_a_cancellation() -> None:
    world = World(has_scaler=True).bootstrap()
    world.release("B")
    world.run(until=Phase.PROGRESSING)
    world.tick()
    world.forget()
    world.release("A")
    world.settle()
    world.run()
    assert story(world.effects) == ["100/0", "pause", "scale to zero", "close Canceled"]


def test_a_counting_release_tells_every_check() -> None:
    world = World(analysis={"interval": "10s", "threshold": 2, "iterations": 2}).bootstrap()
    world.release("B")
    world.run()
    told = [notice.message for notice in world.notices if notice.kind == "IterationAdvanced"]
    assert told == ["Advance app.test canary iteration 1/2", "Advance app.test canary iteration 2/2"]
    assert "RoutedToCanary" in world.kinds()


def test_a_restart_begins_like_a_start() -> None:
    world = World().bootstrap()
    world.release("B")
    world.run(until=Phase.PROGRESSING)
    world.tick()
    world.forget()
    world.release("C")
    world.settle()
    restarted = world.tick()
    assert story(world.effects) == ["100/0", "close Canceled"]
    assert restarted.status.run is not None
    assert (restarted.status.run.last_tick_time, restarted.status.run.sole, restarted.wake_after) == (None, False, 0)
    world.tick()
    assert story(world.effects)[2:] == ["open", "90/10"]


def test_a_restart_while_only_the_target_serves_moves_nothing_and_waits_an_interval() -> None:
    world = World().bootstrap()
    world.release("B")
    world.run(until=Phase.PROGRESSING)
    world.tick()
    world.primary = None
    world.tick()
    assert world.routes == Routes(0, 100)
    world.forget()
    world.release("C")
    world.settle()
    decision = world.tick()
    assert "100/0" not in story(world.effects)
    assert decision.status.run is not None
    assert decision.status.run.sole
    assert decision.status.canary_weight == 100
    follow_up = world.tick()
    assert (follow_up.wake_after, follow_up.checks_run) == (10, False)


def test_what_was_promoted_is_known_with_its_configs() -> None:
    world = World().bootstrap()
    assert world.status.last_promoted_configs == {}, "none were tracked, which is known"
    world.configs = {"configmap/app": "1"}
    world.run()
    assert world.status.last_promoted_configs == {"configmap/app": "1"}
    world.release("B", configs={"configmap/app": "2"})
    world.run(until=Phase.PROGRESSING)
    world.release("A", configs={"configmap/app": "1"})
    world.settle()
    world.run()
    assert (world.status.phase, world.status.last_promoted_configs) == (Phase.INITIALIZED, {"configmap/app": "1"})


def test_a_primary_that_came_back_gets_its_traffic_and_the_target_is_parked() -> None:
    world = World(has_scaler=True).bootstrap()
    world.release("B")
    world.metrics["request-success-rate"] = Sample(0.0)
    world.run()
    world.primary = None
    world.run()
    world.forget()
    world.release("A")
    world.run()
    assert story(world.effects) == ["100/0", "pause", "scale to zero"]
    assert "PrimaryRestored" in world.kinds()


def test_a_target_that_is_needed_is_woken_with_its_autoscaler() -> None:
    world = World(has_scaler=True).bootstrap()
    world.release("B")
    world.metrics["request-success-rate"] = Sample(0.0)
    world.run()
    world.forget()
    world.primary = None
    world.tick()
    assert story(world.effects) == ["resume", "scale up"]
    assert world.target.readiness is Readiness.WAITING


def test_traffic_objects_are_kept_up_while_only_the_target_serves() -> None:
    world = World().bootstrap()
    world.release("B")
    world.run(until=Phase.PROGRESSING)
    world.tick()
    world.primary = None
    world.tick()
    kept_up = [type(effect) for effect in world.tick().effects if isinstance(effect, EnsureServices | EnsureRoutes)]
    assert kept_up == [EnsureServices, EnsureServices, EnsureRoutes]


def test_a_daemon_set_that_fits_no_node_is_released_all_the_same() -> None:
    world = World(kind="DaemonSet").bootstrap()
    assert world.primary is not None
    world.primary.replicas = world.primary.ready = 0
    world.release("B")
    world.tick()
    world.target.replicas, world.target.readiness = 0, Readiness.READY
    assert world.tick().checks_run


def test_a_daemon_set_that_is_still_parked_is_not() -> None:
    world = World(kind="DaemonSet").bootstrap()
    world.release("B")
    world.tick()
    world.target.replicas, world.target.readiness = 0, Readiness.READY
    decision = world.tick()
    assert not decision.checks_run
    assert ScaleTarget(up=True) in decision.effects


def test_a_wait_for_a_target_in_promotion_is_told_once_it_lasts() -> None:
    world = World().bootstrap()
    world.release("B")
    world.run(until=Phase.PROMOTING)
    world.tick()
    world.settle()
    world.target.ready, world.target.readiness = 1, Readiness.WAITING
    world.forget()
    assert world.tick().wake_after == 10
    assert world.kinds() == [], "a rollout that has just begun is no news"
    world.now += 10
    world.tick()
    assert world.kinds() == ["NotReady"]
