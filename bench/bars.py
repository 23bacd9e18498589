"""The bars: what a run must reach, and whether it did. Pure.

Counts are exact and repeatable; times are of this machine at this moment, and are printed, never asserted by a test.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from bench.figures import Fleet, Rollout
from bench.tables import number

REQUESTS, TOGETHER, REACTION, QUICK, MEMORY, REST_CPU = 45, 1.15, 1.0, 10.0, 100.0, 2.0


@dataclass(frozen=True)
class Bar:
    """`value` must not be above `limit`; None: it was not measured."""

    what: str
    value: float | None
    limit: float
    unit: str = ""

    @property
    def verdict(self) -> str:
        """pass, FAIL, or not measured."""
        if self.value is None:
            return "not measured"
        return "pass" if self.value <= self.limit else "FAIL"

    def __str__(self) -> str:
        return f"{self.verdict:>12}  {self.what}: {number(self.value, self.unit)} (at most {number(self.limit, self.unit)})"


def bars(rollouts: Sequence[Rollout], fleets: Sequence[Fleet]) -> list[Bar]:
    """All bars that the measured scenarios of ours bear on."""
    return [*_of_rollouts([one for one in rollouts if one.contestant == "ours"]), *_of_fleets(rollouts, fleets)]


def _of_rollouts(rollouts: Sequence[Rollout]) -> Iterator[Bar]:
    for one in rollouts:
        where = f"one canary, interval {one.interval}"
        yield Bar(f"{where}: requests per rollout", one.median("total"), REQUESTS)
        yield Bar(f"{where}: reaction to a new revision", one.median("reaction"), REACTION, "s")
        if one.interval == "1s":
            yield Bar(f"{where}: wall time", one.median("wall"), QUICK, "s")
        yield Bar(f"{where}: peak memory", one.median("peak_rss_mib"), MEMORY, "MiB")


def _of_fleets(rollouts: Sequence[Rollout], fleets: Sequence[Fleet]) -> Iterator[Bar]:
    for fleet in fleets:
        if fleet.contestant != "ours":
            continue
        alone = next((one.median("wall") for one in rollouts if one.contestant == "ours" and one.interval == fleet.interval), None)
        where = f"{fleet.size} canaries, interval {fleet.interval}"
        yield Bar(f"{where}: requests per rollout", fleet.per_rollout, REQUESTS)
        yield Bar(f"{where}: requests at rest beyond watches and leases", fleet.rest.beyond_upkeep, 0)
        yield Bar(f"{where}: CPU at rest", fleet.rest.cpu_percent, REST_CPU, "% of a core")
        yield Bar(f"{where}: all done, relative to one alone", fleet.all_seconds / alone if alone else None, TOGETHER, "x")
        yield Bar(f"{where}: tick lateness p99", fleet.release.lateness_p99, float(fleet.interval.rstrip("s")), "s")
