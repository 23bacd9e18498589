r"""The reports of our `hey`: the summary, whose lines people and scripts read, and CSV.

The anchors are hey's (`Requests/sec:`, `[200]\t123 responses`, `50% in 0.0012 secs`, the CSV columns).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Final

from loadtest.hey_results import Results, Spread

_PERCENTILES: Final = (10, 25, 50, 75, 90, 95, 99)
_BUCKETS: Final = 10
_BAR: Final = 40
_DETAILS: Final = {
    "DNS+dialup": "connect",
    "DNS-lookup": "lookup",
    "req write": "write",
    "resp wait": "wait",
    "resp read": "read",
}
_COLUMNS: Final = {
    "response-time": "total",
    "DNS+dialup": "connect",
    "DNS": "lookup",
    "Request-write": "write",
    "Response-delay": "wait",
    "Response-read": "read",
    "status-code": "status",
    "offset": "offset",
}


def summary(results: Results) -> str:
    """The summary; sections without data are left out."""
    sections = [_overview(results)]
    if results.replies:
        times = sorted(results.times)
        sections += [_histogram(times), _latencies(times), _details(results)]
        sections.append(
            ["Status code distribution:", *(f"  [{status}]\t{count} responses" for status, count in sorted(results.statuses.items()))]
        )
    if results.failures:
        sections.append(["Error distribution:", *(f"  [{count}]\t{reason}" for reason, count in results.errors.most_common())])
    return "\n" + "\n\n".join("\n".join(section) for section in sections) + "\n"


def _overview(results: Results) -> list[str]:
    total: Spread = results.phases["total"]
    rate = (results.replies + results.failures) / results.total_seconds if results.total_seconds else 0.0
    lines = [
        "Summary:",
        f"  Total:\t{results.total_seconds:.4f} secs",
        f"  Slowest:\t{total.slowest:.4f} secs",
        f"  Fastest:\t{total.fastest if total.count else 0.0:.4f} secs",
        f"  Average:\t{total.average:.4f} secs",
        f"  Requests/sec:\t{rate:.4f}",
    ]
    if results.bytes:
        lines += ["", f"  Total data:\t{results.bytes} bytes", f"  Size/request:\t{results.bytes // results.replies} bytes"]
    return lines


def _histogram(times: Sequence[float]) -> list[str]:
    fastest, slowest = times[0], times[-1]
    bounds = [fastest + (slowest - fastest) * step / _BUCKETS for step in range(_BUCKETS)] + [slowest]
    counts = [0] * len(bounds)
    bucket = 0
    for seconds in times:
        while bucket < _BUCKETS and seconds > bounds[bucket]:
            bucket += 1
        counts[bucket] += 1
    highest = max(counts)
    return [
        "Response time histogram:",
        *(f"  {bound:4.3f} [{count}]\t|{'■' * round(count * _BAR / highest)}" for bound, count in zip(bounds, counts, strict=True)),
    ]


def percentile(times: Sequence[float], percent: int) -> float:
    """The value that `percent` of the sorted, non-empty times do not exceed (nearest rank)."""
    return times[max(0, math.ceil(len(times) * percent / 100) - 1)]


def _latencies(times: Sequence[float]) -> list[str]:
    return ["Latency distribution:", *(f"  {percent}% in {percentile(times, percent):.4f} secs" for percent in _PERCENTILES)]


def _details(results: Results) -> list[str]:
    lines = ["Details (average, fastest, slowest):"]
    for label, name in _DETAILS.items():
        spread = results.phases[name]
        lines.append(f"  {label}:\t{spread.average:.4f} secs, {spread.fastest:.4f} secs, {spread.slowest:.4f} secs")
    return lines


def csv_lines(results: Results) -> Iterator[str]:
    """A header, then one line per reply (failed requests have no times), times in seconds."""
    yield ",".join(_COLUMNS)
    columns = [results.columns[name] for name in _COLUMNS.values()]
    for row in zip(*columns, strict=True):
        yield ",".join(f"{value:.0f}" if name == "status-code" else f"{value:.4f}" for name, value in zip(_COLUMNS, row, strict=True))
