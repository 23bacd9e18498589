"""The two scenarios: one canary again and again, and a fleet that is bootstrapped, left alone, and released together."""

import time
from collections.abc import Callable
from pathlib import Path

from bench.contestants import Contestant
from bench.figures import Fleet, Release, Rollout, Spent
from bench.ground import Ground, ground

Say = Callable[[str], None]

SETTLE = 2.0
"""Seconds that a stage is given to finish what it does behind our back (events are written after the status)."""
REST = 60.0
"""Seconds at rest."""
CALM = 10.0
"""Seconds between bootstrap and rest."""


def rollout(contestant: Contestant, *, intervals: dict[str, int], folder: Path, say: Say) -> list[Rollout]:
    """One canary per interval, released as often as `intervals` says, one release at a time."""
    found = []
    with ground(contestant, folder) as place:
        for number, (interval, times) in enumerate(intervals.items()):
            began = place.create(range(number, number + 1), interval=interval)
            (bootstrap,) = place.wait("Initialized", began, timeout=180).values()
            spent, releases = [], []
            for time_ in range(times):
                time.sleep(SETTLE)
                release, cost = _release(place, number, f"app:{time_ + 2}")
                releases.append(release)
                spent.append(cost)
                say(f"  {contestant.name}, interval {interval}: {release.wall:.1f} s, {cost.total} requests")
            found.append(
                Rollout(contestant=contestant.name, interval=interval, bootstrap_seconds=bootstrap, releases=releases, spent=spent)
            )
    return found


def _release(place: Ground, number: int, image: str) -> tuple[Release, Spent]:
    meter = place.meter()
    began = place.release(range(number, number + 1), image)
    (reaction,) = place.wait("Progressing", began, timeout=120).values()
    (wall,) = place.wait("Succeeded", began, timeout=300).values()
    time.sleep(SETTLE)
    return Release(reaction=reaction, wall=wall), meter.read()


def fleet(contestant: Contestant, *, size: int, interval: str, folder: Path, say: Say) -> Fleet:
    """`size` canaries at once. Patience grows with the size, because every control plane has its limits."""
    patience = 300 + 1.5 * size
    with ground(contestant, folder) as place:
        meter = place.meter()
        began = place.create(range(size), interval=interval)
        ready = place.wait("Initialized", began, timeout=patience)
        bootstrap_seconds = _whole(began, ready)
        bootstrap = meter.read()
        say(f"  {contestant.name}: {size} canaries bootstrapped in {bootstrap_seconds:.1f} s")
        time.sleep(CALM)
        meter = place.meter()
        time.sleep(REST)
        rest = meter.read()
        say(f"  {contestant.name}: {rest.total} requests in {rest.seconds:.0f} s at rest")
        meter = place.meter()
        began = place.release(range(size), "app:2")
        ended = place.wait("Succeeded", began, timeout=patience)
        time.sleep(SETTLE)
        release = meter.read()
        reacted = place.wait("Progressing", began, timeout=1)
    say(f"  {contestant.name}: all released in {_whole(began, ended):.1f} s")
    return Fleet(
        contestant=contestant.name, size=size, interval=interval, bootstrap_seconds=bootstrap_seconds, all_seconds=_whole(began, ended),
        releases=[Release(reaction=reacted[name], wall=ended[name]) for name in began], bootstrap=bootstrap, rest=rest, release=release,
    )  # fmt: skip


def _whole(began: dict[str, float], took: dict[str, float]) -> float:
    """Seconds from the first beginning to the last end."""
    return max(began[name] + took[name] for name in began) - min(began.values())
