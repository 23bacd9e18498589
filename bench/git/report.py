"""The printed result. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

from bench.git.figures import Drift, Traffic, Used, quantile
from bench.tables import number, table


def report(drift: Drift | None, traffic: Traffic | None) -> str:
    """One table for each that was measured, and what was lost, if anything was."""
    parts = []
    if drift:
        parts.append(table([f"one revert at a time, {drift.files:,} files, {len(drift.on_branch)} reverts", "value"], [*_drift(drift)]))
    if traffic:
        head = f"{traffic.canaries} canaries of {traffic.clusters} clusters, one repository"
        parts += [table([head, "value"], [*_traffic(traffic)]), *(f"WRONG: {one}" for one in traffic.wrong)]
    return "\n\n".join(parts)


def plain(one: Drift | Traffic) -> dict[str, Any]:
    """For JSON, with what is computed."""
    more = (
        {"p50": quantile(0.5, one.on_branch), "p99": quantile(0.99, one.on_branch)}
        if isinstance(one, Drift)
        else {"per_minute": one.per_minute}
    )
    return {"scenario": type(one).__name__.lower(), **more, **asdict(one)}


def _drift(one: Drift) -> Iterator[list[str]]:
    count = len(one.on_branch) + 1
    yield ["end of the run to the revert on the branch, p50", number(one.at(0.5), "s")]
    yield ["p99", number(one.at(0.99), "s")]
    yield ["at most", number(one.at(1), "s")]
    yield ["until record and revert are noted, p50", number(quantile(0.5, one.noted), "s")]
    yield ["a new mirror is ready after", number(one.ready, "s")]
    yield ["the first revert in a new mirror", number(one.first, "s")]
    yield ["requests of fetches for each run (record and revert)", number(one.fetches / count)]
    yield ["pushes for each run", number(one.pushes / count)]
    yield from _used(one.used, count)


def _traffic(one: Traffic) -> Iterator[list[str]]:
    yield ["write-backs (records and reverts) a minute", number(one.per_minute)]
    yield ["reverts, each a commit", number(one.reverts)]
    yield ["records", number(one.records)]
    yield [f"pushes ({', '.join(sorted(one.pushes))})", ", ".join(number(count) for _, count in sorted(one.pushes.items()))]
    yield ["commits of people meanwhile", number(one.people)]
    yield ["pushes computed anew, because somebody was faster", number(one.conflicts)]
    yield ["lost, done twice or not as noted", number(len(one.wrong))]
    yield ["end of a run until both are noted, p50", number(quantile(0.5, one.latencies), "s")]
    yield ["p99", number(quantile(0.99, one.latencies), "s")]
    yield ["requests of fetches", number(one.fetches)]
    yield from _used(one.used, one.reverts)


def _used(used: Used, count: int) -> Iterator[list[str]]:
    yield ["memory of the worker at most (before it began)", f"{number(used.peak)} ({number(used.before)}) MiB"]
    yield ["memory of its git processes together, at most", number(used.git, "MiB")]
    yield ["mirrors on the disk", number(used.disk, "MiB")]
    yield ["CPU for each run, git included", number(used.cpu / count, "s")]
