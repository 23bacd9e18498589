"""What was measured, as values that can be written as JSON. Pure."""

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from bench.flows import is_upkeep


@dataclass(frozen=True, kw_only=True)
class Spent:
    """What an operator used during one stage. `requests` and `own_requests` are counts by "verb resource" (own: and by answer)."""

    seconds: float
    cpu_seconds: float
    rss_mib: float
    peak_rss_mib: float
    queries: int
    requests: Mapping[str, int]
    own_requests: Mapping[str, int] = field(default_factory=dict)
    """As our own counter saw them (`canary_api_requests_total`): "verb resource code". Empty for the peer."""
    lateness_p99: float | None = None
    ticks: int | None = None
    cluster_cpu_seconds: float = 0.0
    """Of the control plane: API server, etcd, controllers."""
    others: float = 0.0
    """Share of the machine that was taken by work that is not of this run: above some percent, times are worth little."""

    @property
    def total(self) -> int:
        """All requests to the API server, watches and leases included."""
        return sum(self.requests.values())

    @property
    def beyond_upkeep(self) -> int:
        """Requests that are neither watches nor of leases."""
        return sum(count for what, count in self.requests.items() if not is_upkeep(*what.split(" ", 1)))

    @property
    def others_percent(self) -> float:
        """`others` in percent."""
        return 100 * self.others

    @property
    def cpu_percent(self) -> float:
        """Of one core."""
        return 100 * self.cpu_seconds / self.seconds if self.seconds else 0.0


@dataclass(frozen=True, kw_only=True)
class Release:
    """One canary: seconds from its creation to Initialized, and from its image change to the first reaction and to the end."""

    bootstrap: float
    reaction: float
    wall: float


@dataclass(frozen=True, kw_only=True)
class Rollout:
    """Releases of single canaries, one after another, at one interval; `spent` has an entry for each."""

    contestant: str
    interval: str
    releases: Sequence[Release]
    spent: Sequence[Spent]

    def median(self, name: str) -> float:
        """Median of an attribute of the releases or of what they cost."""
        of: Sequence[Any] = self.releases if hasattr(self.releases[0], name) else self.spent
        return float(statistics.median(getattr(one, name) for one in of))


@dataclass(frozen=True, kw_only=True)
class Fleet:
    """Many canaries: all bootstrapped, then at rest, then released together. `all_seconds` is from the first change to the last end."""

    contestant: str
    size: int
    interval: str
    bootstrap_seconds: float
    all_seconds: float
    releases: Sequence[Release]
    bootstrap: Spent
    rest: Spent
    release: Spent

    @property
    def per_rollout(self) -> float:
        """API requests."""
        return self.release.total / self.size

    def at(self, share: float, name: str) -> float:
        """The nearest-rank quantile of `wall` or `reaction`."""
        values = sorted(float(getattr(one, name)) for one in self.releases)
        return values[max(0, math.ceil(share * len(values)) - 1)]


def plain(value: Rollout | Fleet) -> dict[str, Any]:
    """For JSON, with the kind of scenario."""
    return {"scenario": type(value).__name__.lower(), **asdict(value)}
