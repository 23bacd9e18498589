"""The seam of a target kind: observe from the cache, and carry out the effects that concern workloads."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from canary.api.canary import Canary
from canary.core.model import Unknown, Workload
from canary.core.release import Options, Port, Release
from canary.kube.cluster import Cluster
from canary.kube.resource import Resource


@dataclass(frozen=True, slots=True)
class Observed:
    """What a target looks like now. `label`, `label_value`, `ports` complete the Release; empty when `target` is Unknown.

    `baseline` and `baseline_left` as in `canary.core.model.Snapshot`.
    """

    target: Workload | Unknown
    primary: Workload | Unknown | None
    configs: Mapping[str, str] | Unknown | None
    label: str = ""
    label_value: str = ""
    ports: tuple[Port, ...] = ()
    baseline: Workload | Unknown | None = None
    baseline_left: bool = False


class Target(Protocol):
    """One kind of workload. Writes are idempotent; errors are those of `canary.core.errors`."""

    def resources(self) -> tuple[Resource, ...]:
        """What must be watched."""
        ...

    async def observe(self, cluster: Cluster, canary: Canary, options: Options, *, now: float | None = None) -> Observed:
        """State of target, primary and tracked configs at `now` (Unix time; the clock's when absent).

        Costs a GET only for a tracked config that changed. What cannot be observed is an `Unknown`, not an exception.
        """
        ...

    async def ensure_primary(
        self, cluster: Cluster, release: Release, *, revision: str = "", images: Mapping[str, str] | None = None
    ) -> None:
        """Create the primary and its config copies if the primary does not exist, from this revision only (else Conflict; empty: any).

        `images`: by container, instead of the target's.
        """
        ...

    async def promote(self, cluster: Cluster, release: Release, *, revision: str, configs: Mapping[str, str] | None) -> None:
        """Copy the target onto the primary. Conflict when the target is no longer `revision` with `configs`.

        A replay writes nothing, so it does not roll the primary's pods again.
        """
        ...

    async def ensure_baseline(self, cluster: Cluster, release: Release, *, run_id: str) -> None:
        """Make the fresh copy of the primary for this run, if there is none, and give it as many pods as the target wants. Never updates the rest.

        Raises Rejected when something that is not ours has its name, Conflict while there is no primary.
        """
        ...

    async def remove_baseline(self, cluster: Cluster, release: Release) -> None:
        """Delete the fresh copy of the primary and then its Service, as far as they are ours. No request when they are gone."""
        ...

    async def scale(self, cluster: Cluster, release: Release, *, up: bool) -> None:
        """Scale the target up, or to zero; no request when it is there already."""
        ...

    async def revert(self, cluster: Cluster, release: Release) -> None:
        """Give the target the primary's replicas back (deletion with `revertOnDeletion`)."""
        ...
