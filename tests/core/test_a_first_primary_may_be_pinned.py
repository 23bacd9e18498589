"""A canary without a primary on a cluster whose Git knows what was promoted: the primary begins with that, whatever the operator dies at."""

from __future__ import annotations

from dataclasses import dataclass, replace

import pytest

from canary.api.status import Phase
from canary.core.model import Effect, EnsurePrimary, Readiness, Sample, Snapshot
from canary.core.pin import Pin
from tests.core.simulate import CrashError, World, rev

IMAGES = {"app": "app:1"}
GOOD, BAD = Sample(100.0), Sample(1.0)


@dataclass
class Rebuilt(World):
    """The target is at `B`; Git says that `A` was promoted. `wanted`: whether a sink asks for it; `error`: Git does not tell."""

    wanted: bool = True
    error: str = ""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.release("B")
        self.settle()
        self.metrics = {"request-success-rate": GOOD}

    def snapshot(self) -> Snapshot:
        snapshot = super().snapshot()
        if not self.wanted or self.status.phase not in (Phase.NONE, Phase.INITIALIZING):
            return snapshot
        asked = self.primary is None and (not self.status.last_applied_spec or self.status.pinned_images)
        pin = (Pin(error=self.error) if self.error else Pin(IMAGES, self.pinned())) if asked else Pin()
        return replace(snapshot, pin=pin)

    def pinned(self) -> str:
        """The revision of the template as it is, with the promoted images."""
        return {rev("B"): rev("A"), rev("C"): rev("AC")}.get(self._target().revision, rev("A"))

    def apply(self, effect: Effect) -> None:
        super().apply(effect)
        if isinstance(effect, EnsurePrimary) and effect.images and self.primary and self.primary.ready == 0:
            assert effect.images == IMAGES
            assert self.status.pinned_images == IMAGES, "stored before there is a primary"
            self.primary.revision = self.pinned()


@pytest.fixture
def world() -> Rebuilt:
    return Rebuilt()


def test_the_primary_has_what_was_promoted_and_the_template_is_released(world: Rebuilt) -> None:
    world.run(until=Phase.INITIALIZED)
    assert world.primary is not None
    assert world.primary.revision == rev("A")
    assert world.status.last_promoted_spec == rev("A")
    assert not world.status.pinned_images
    assert world.kinds().count("PrimaryPinned") == 1
    world.run(until=Phase.SUCCEEDED)
    assert world.primary.revision == rev("B")


def test_what_fails_never_reaches_the_primary(world: Rebuilt) -> None:
    world.metrics = {"request-success-rate": BAD}
    world.run(until=Phase.FAILED)
    assert world.primary is not None
    assert world.primary.revision == rev("A")
    world.release("A")
    world.run()
    assert world.status.phase is Phase.FAILED, "what was promoted is no new release"


def test_users_are_served_all_the_time(world: Rebuilt) -> None:
    for _ in range(60):
        world.tick()
        assert world.served() == 1.0
        world.settle()
        world.now += 10


@pytest.mark.parametrize("crash_at", range(1, 12))
def test_a_crash_anywhere_leaves_the_choice_and_git_is_not_needed_again(world: Rebuilt, crash_at: int) -> None:
    for _ in range(6):
        try:
            world.tick(crash_at=crash_at)
        except CrashError:
            break
        world.settle()
    if world.status.pinned_images:
        world.wanted = True
    world.run(until=Phase.INITIALIZED)
    assert world.primary is not None
    assert world.primary.revision == rev("A")


def test_without_an_answer_the_template_is_taken_and_it_is_said_once(world: Rebuilt) -> None:
    world.error = "the server cannot be reached"
    world.run(until=Phase.INITIALIZED)
    assert world.primary is not None
    assert world.primary.revision == rev("B")
    assert world.kinds().count("PrimaryNotPinned") == 1
    world.error = ""
    world.run()
    assert world.status.phase is Phase.INITIALIZED


def test_where_nobody_wants_it_nothing_is_different(world: Rebuilt) -> None:
    world.wanted = False
    world.run()
    assert world.status.phase is Phase.INITIALIZED
    assert world.primary is not None
    assert world.primary.revision == rev("B")


def test_a_pinned_primary_that_cannot_start_leaves_users_alone_and_may_be_given_up(world: Rebuilt) -> None:
    world.tick()
    world.tick()
    for _ in range(5):
        world.pass_deadline("app-primary")
        world.tick()
        world.now += 10
    assert world.primary is not None
    assert world.primary.readiness is Readiness.STUCK
    assert world.served() == 1.0
    assert any("onBootstrap.primary" in notice.message for notice in world.notices if notice.kind == "PrimaryStuck")
    world.wanted = False
    world.tick()
    assert world.primary.revision == rev("B"), "it follows the template again"
    world.run(until=Phase.INITIALIZED)
    assert world.status.last_promoted_spec == rev("B")


def test_a_template_that_changes_before_there_is_a_primary_changes_the_rest_of_it(world: Rebuilt) -> None:
    world.tick()
    assert world.status.last_applied_spec == rev("A")
    world.release("C")
    world.run(until=Phase.INITIALIZED)
    assert world.primary is not None
    assert world.primary.revision == rev("AC") == world.status.last_promoted_spec
    assert world.kinds().count("PrimaryPinned") == 1
