"""What the workers of all sinks share: the API, the queue, a clock, turns at a server, and ways to be heard."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from canary.gitops.command import Patience
from canary.gitops.forges.client import Throttles
from canary.gitops.queue import Queue
from canary.gitops.turns import Turns
from canary.kube.cluster import Cluster
from canary.kube.resource import Object

OnEffect = Callable[[str, str, int], None]
"""(effect, result, how many runs wait)."""
Warn = Callable[[Object, str, str], None]
"""(run, message, kind): an event on the run's Canary."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tools:
    """`folder` is where mirrors are kept; `clock` is Unix time."""

    cluster: Cluster
    queue: Queue
    folder: Path
    on_effect: OnEffect
    warn: Warn
    clock: Callable[[], float]
    patience: Patience
    turns: Turns = field(default_factory=Turns)
    throttles: Throttles = field(default_factory=Throttles)
