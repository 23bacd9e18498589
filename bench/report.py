"""The printed result: one table per scenario with both contestants and their ratio, where the requests went, and the bars. Pure."""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import TypeVar

from bench.bars import bars
from bench.figures import Fleet, Rollout
from bench.tables import number, pivot, ratio, table

It = TypeVar("It", Rollout, Fleet)

_ROLLOUT: tuple[tuple[str, str, str], ...] = (
    ("bootstrap", "bootstrap", "s"),
    ("image change to Succeeded", "wall", "s"),
    ("reaction to the new revision", "reaction", "s"),
    ("API requests", "total", ""),
    ("API requests but watches and leases", "beyond_upkeep", ""),
    ("Prometheus queries", "queries", ""),
    ("CPU", "cpu_seconds", "s"),
    ("CPU of the control plane", "cluster_cpu_seconds", "s"),
    ("machine busy with other work", "others_percent", "%"),
    ("memory after", "rss_mib", "MiB"),
    ("memory at most", "peak_rss_mib", "MiB"),
)

_FLEET: tuple[tuple[str, Callable[[Fleet], float | None], str], ...] = (
    ("bootstrap, all", lambda it: it.bootstrap_seconds, "s"),
    ("bootstrap, API requests per canary", lambda it: it.bootstrap.total / it.size, ""),
    ("bootstrap, CPU", lambda it: it.bootstrap.cpu_seconds, "s"),
    ("rest, API requests per minute", lambda it: 60 * it.rest.total / it.rest.seconds, ""),
    ("rest, but watches and leases", lambda it: 60 * it.rest.beyond_upkeep / it.rest.seconds, ""),
    ("rest, CPU of a core", lambda it: it.rest.cpu_percent, "%"),
    ("release, reaction p50", lambda it: it.at(0.5, "reaction"), "s"),
    ("release, reaction p95", lambda it: it.at(0.95, "reaction"), "s"),
    ("release, p50", lambda it: it.at(0.5, "wall"), "s"),
    ("release, p95", lambda it: it.at(0.95, "wall"), "s"),
    ("release, all", lambda it: it.all_seconds, "s"),
    ("release, API requests per rollout", lambda it: it.per_rollout, ""),
    ("release, Prometheus queries per rollout", lambda it: it.release.queries / it.size, ""),
    ("release, CPU", lambda it: it.release.cpu_seconds, "s"),
    ("release, CPU of the control plane", lambda it: it.release.cluster_cpu_seconds, "s"),
    ("release, machine busy with other work", lambda it: it.release.others_percent, "%"),
    ("release, ticks per rollout", lambda it: None if it.release.ticks is None else it.release.ticks / it.size, ""),
    ("release, tick lateness p99", lambda it: it.release.lateness_p99, "s"),
    ("memory after", lambda it: it.release.rss_mib, "MiB"),
    ("memory at most", lambda it: it.release.peak_rss_mib, "MiB"),
)


def report(rollouts: Sequence[Rollout], fleets: Sequence[Fleet]) -> str:
    """Everything, as Markdown but for the bars."""
    parts = [*_rollouts(rollouts), *_fleets(fleets), *_requests(rollouts, fleets), *_own(fleets)]
    if judged := bars(rollouts, fleets):
        parts.append("\n".join(["bars (ours):", *map(str, judged)]))
    return "\n\n".join(parts)


def _rollouts(rollouts: Sequence[Rollout]) -> Iterator[str]:
    """The peer is set beside ours at the same interval; intervals that it does not know stand alone."""
    by_name = {(one.contestant, one.interval): one for one in rollouts}
    for interval in dict.fromkeys(one.interval for one in rollouts):
        ours, theirs = by_name.get(("ours", interval)), by_name.get(("peer", interval))
        rows = [[label, *_pair(ours, theirs, partial(Rollout.median, name=key), unit=unit)] for label, key, unit in _ROLLOUT]
        times = max(len(one.releases) for one in (ours, theirs) if one)
        title = f"one canary, interval {interval}" + (f", median of {times}" if times > 1 else "")
        yield table([title, "ours", "peer", "ours/peer"], rows)


def _fleets(fleets: Sequence[Fleet]) -> Iterator[str]:
    for size in dict.fromkeys(one.size for one in fleets):
        ours, theirs = (next((one for one in fleets if one.size == size and one.contestant == name), None) for name in ("ours", "peer"))
        rows = [[label, *_pair(ours, theirs, read, unit=unit)] for label, read, unit in _FLEET]
        interval = next(one.interval for one in fleets if one.size == size)
        yield table([f"{size} canaries, interval {interval}", "ours", "peer", "ours/peer"], rows)


def _pair(ours: It | None, theirs: It | None, read: Callable[[It], float | None], *, unit: str) -> list[str]:
    """The cells of one row: both figures and their ratio."""
    left, right = (None if one is None else read(one) for one in (ours, theirs))
    return [number(left, unit), number(right, unit), ratio(left, right)]


def _requests(rollouts: Sequence[Rollout], fleets: Sequence[Fleet]) -> Iterator[str]:
    """What one rollout sends, as the API server counted it."""
    columns: dict[str, dict[str, float]] = {}
    for one in rollouts:
        if one.spent:
            last = one.spent[-1]
            columns[f"{one.contestant}, alone, {one.interval}"] = dict(last.requests)
    for fleet in fleets:
        share = {what: round(count / fleet.size, 2) for what, count in fleet.release.requests.items()}
        columns[f"{fleet.contestant}, of {fleet.size}"] = share
    if columns:
        yield pivot(columns, title="API requests per rollout")


def _own(fleets: Sequence[Fleet]) -> Iterator[str]:
    """What our own counter says about a whole fleet's release, with the answers: conflicts and misses are waste."""
    for fleet in fleets:
        if fleet.release.own_requests:
            yield pivot({"count": fleet.release.own_requests}, title=f"canary_api_requests_total, release of {fleet.size}")
