"""What a story needs of the place where it is told: the sandbox, or somebody's cluster.

One protocol, so that there is one story: what `canary demo` shows without a cluster is what `canary demo --cluster` does to one. A venue may
hold several stages: rings of clusters.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from canary.core.errors import CanaryError
from canary.kube.cache import WatchedCluster
from canary.sandbox.gitsync import GitSync

HOME = "prod"
"""The namespace of the story; in the sandbox its Services resolve by their short names."""
APP = "podinfo"
"""The Canary and the Deployment of the story."""

Progress = Callable[[str, str], None]
"""Told the name and the version (or an empty text) of each part as it is ready."""
Listener = Callable[[str, str], None]
"""Told what the operator says: `Normal` or `Warning`, and the message."""
Traffic = tuple[int, int]
"""Requests that users have made, and how many of them failed."""


class NotInTimeError(CanaryError):
    """The story did not end within its deadline."""

    reason = "Timeout"


@dataclass(frozen=True, slots=True)
class Cast:
    """The images of the story, and the environment variables that the bad release brings besides its image."""

    first: str
    good: str
    bad: str
    bad_env: Mapping[str, str] = field(default_factory=dict)


class Venue(Protocol):
    """Everything that is there when the curtain rises. `start`, then whatever is needed, then `stop`, also when the start fails."""

    @property
    def folder(self) -> Path:
        """Where clones and logs are; gone after `stop`."""
        ...

    @property
    def cast(self) -> Cast:
        """Who plays."""
        ...

    @property
    def parts(self) -> Mapping[str, str]:
        """Name and version of each part, for the summary."""
        ...

    async def start(self, progress: Progress) -> None:
        """Bring everything up, the operator too. Raises CanaryError."""
        ...

    async def stop(self) -> None:
        """Leave nothing behind. Never raises because of something that was not started."""
        ...

    def kill(self) -> None:
        """Somebody is impatient: end all processes now; `stop` then cleans up quickly."""
        ...

    def clearing(self) -> str:
        """What `stop` is going to do, for the person who waits for it."""
        ...

    def adapt(self, manifest: str) -> Mapping[str, str]:
        """The Canary of the story and what else belongs into the repository, by path."""
        ...

    async def trouble(self) -> None:
        """Returns never; raises when a part has ended by itself."""
        ...


class Stage(Venue, Protocol):
    """One cluster."""

    @property
    def cluster(self) -> WatchedCluster:
        """Watches Canaries, CanaryRuns and Deployments."""
        ...

    @property
    def traffic(self) -> Traffic:
        """As counted a moment ago; `count` asks again."""
        ...

    async def deliver(self, files: Mapping[str, str]) -> tuple[str, GitSync]:
        """A repository with these files, followed by a GitOps engine: the developer's URL of it, and the engine."""
        ...

    async def measured(self) -> None:
        """Returns when traffic is being measured."""
        ...

    async def count(self) -> Traffic:
        """The exact number of requests by now."""
        ...

    def listen(self, listener: Listener) -> None:
        """Hear what the operator says of the Canary from now on."""
        ...
