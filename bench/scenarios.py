"""The two scenarios: one canary again and again, and a fleet that is bootstrapped, left alone, and released together."""

import itertools
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from bench.contestants import Contestant
from bench.figures import Fleet, Release, Rollout
from bench.ground import Ground, ground

Say = Callable[[str], None]

SETTLE = 2.0
"""Seconds that a stage is given to finish what it does behind our back (events are written after the status)."""
REST = 60.0
"""Seconds at rest."""
CALM = 10.0
"""Seconds between bootstrap and rest."""


def rollout(contestant: Contestant, *, intervals: dict[str, int], folder: Path, say: Say) -> list[Rollout]:
    """One canary at a time, bootstrapped and released once; as many as `intervals` says for each interval.

    Each is a new one, because a second release of the same canary is cheaper than it looks: its events repeat those of the first, and
    repeats are counted up later or not at all.
    """
    numbers = itertools.count()
    with ground(contestant, folder) as place:
        return [_series(place, [next(numbers) for _ in range(times)], interval, say=say) for interval, times in intervals.items()]


def _series(place: Ground, numbers: Sequence[int], interval: str, *, say: Say) -> Rollout:
    releases, spent = [], []
    for number in numbers:
        alone = range(number, number + 1)
        (bootstrap,) = place.wait("Initialized", place.create(alone, interval=interval), timeout=180).values()
        time.sleep(SETTLE)
        meter = place.meter()
        began = place.release(alone, "app:2")
        (reaction,) = place.wait("Progressing", began, timeout=120).values()
        (wall,) = place.wait("Succeeded", began, timeout=300).values()
        time.sleep(SETTLE)
        spent.append(meter.read())
        releases.append(Release(bootstrap=bootstrap, reaction=reaction, wall=wall))
        say(f"  {place.contestant.name}, interval {interval}: {wall:.1f} s, {spent[-1].total} requests")
        place.delete(alone)
        time.sleep(SETTLE)
    return Rollout(contestant=place.contestant.name, interval=interval, releases=releases, spent=spent)


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
        releases=[Release(bootstrap=ready[name], reaction=reacted[name], wall=ended[name]) for name in began], bootstrap=bootstrap, rest=rest, release=release,
    )  # fmt: skip


def _whole(began: dict[str, float], took: dict[str, float]) -> float:
    """Seconds from the first beginning to the last end."""
    return max(began[name] + took[name] for name in began) - min(began.values())
