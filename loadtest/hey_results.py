"""What a load run measured, in bounded memory: counts of everything, times of the first million replies.

Times are kept as packed doubles: a million of them is 8 MB, as Python floats in a list it would be 32 MB.
"""

from __future__ import annotations

from array import array
from collections import Counter
from dataclasses import dataclass, field, fields
from typing import Final

MAX_TIMES: Final = 1_000_000
MAX_ERRORS: Final = 100


@dataclass(frozen=True, kw_only=True, slots=True)
class Sample:
    """One reply; all times in seconds, `offset` since the start of the run, `size` in bytes as received."""

    status: int
    offset: float
    total: float
    connect: float
    lookup: float
    write: float
    wait: float
    read: float
    size: int


@dataclass(slots=True)
class Spread:
    """Average, fastest and slowest of one phase."""

    count: int = 0
    sum: float = 0.0
    fastest: float = float("inf")
    slowest: float = 0.0

    def add(self, seconds: float) -> None:
        """Take one more."""
        self.count += 1
        self.sum += seconds
        self.fastest = min(self.fastest, seconds)
        self.slowest = max(self.slowest, seconds)

    @property
    def average(self) -> float:
        """Seconds; 0 when nothing was measured."""
        return self.sum / self.count if self.count else 0.0


PHASES: Final = ("total", "connect", "lookup", "write", "wait", "read")


@dataclass(slots=True)
class Results:
    """Everything that a report shows. `detailed` also keeps every sample, for CSV."""

    detailed: bool = False
    total_seconds: float = 0.0
    replies: int = 0
    failures: int = 0
    bytes: int = 0
    statuses: Counter[int] = field(default_factory=Counter)
    errors: Counter[str] = field(default_factory=Counter)
    phases: dict[str, Spread] = field(default_factory=lambda: {name: Spread() for name in PHASES})
    times: array[float] = field(default_factory=lambda: array("d"))
    columns: dict[str, array[float]] = field(default_factory=lambda: {item.name: array("d") for item in fields(Sample)})

    def add(self, sample: Sample) -> None:
        """Count a reply, whatever its status."""
        self.replies += 1
        self.bytes += sample.size
        self.statuses[sample.status] += 1
        for name, spread in self.phases.items():
            spread.add(getattr(sample, name))
        if len(self.times) < MAX_TIMES:
            self.times.append(sample.total)
            if self.detailed:
                for name, column in self.columns.items():
                    column.append(getattr(sample, name))

    def fail(self, reason: str) -> None:
        """Count a request that got no reply; the 101st and later different reasons are counted as one."""
        self.failures += 1
        known = reason in self.errors or len(self.errors) < MAX_ERRORS
        self.errors[reason if known else "other errors"] += 1
