"""The seam of a metric source: one rendered query in, one sample out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from canary.core.model import Sample


@dataclass(frozen=True, slots=True)
class Source:
    """Where to ask: `spec.provider` of a MetricTemplate, or the built-in Prometheus.

    `headers` maps a header to its values; `secret` holds the decoded data of `secretRef` (empty without one).
    """

    type: str
    address: str = ""
    headers: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    secret: Mapping[str, bytes] = field(default_factory=dict)
    region: str = ""
    insecure_skip_verify: bool = False


class MetricProvider(Protocol):
    """One kind of source. Never raises for what the source did: that is `Sample.error` or `Sample.no_data`."""

    async def query(self, source: Source, text: str, *, window_seconds: float, timeout: float) -> Sample:
        """Run the rendered query. `window_seconds` is the metric's interval. Raises Rejected for an unusable source."""
        ...

    async def online(self, source: Source, *, timeout: float) -> str:
        """Empty when the source answers; else what is wrong, in one sentence."""
        ...

    async def close(self) -> None:
        """Give connections and threads back."""
        ...
