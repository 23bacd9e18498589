"""Provider `kubernetes`: no mesh. The apex Service is all there is, so traffic is on the primary until it is promoted.

Blue/green without a mesh tests the canary through its own Service while users stay on the primary. Upstream therefore reads
weights from the iteration counter, and dashboards rely on it. Splitting by pod counts behind one Service was rejected: it
would break the promise that the apex selects the primary only.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from canary.core.model import ALL_TO_PRIMARY, Routes, Unknown
from canary.core.release import Release
from canary.kube.resource import Resource
from canary.routers import queries
from canary.routers.base import Live, ObjectRef, Wanted


class KubernetesRouter:
    """Owns no object; weights follow `status.iterations`."""

    name: Final = "kubernetes"
    has_weights: Final = False
    builtin_queries: Final = queries.HTTP
    grouped_queries: Final = queries.HTTP_GROUPED
    duration_unit_ms: Final = 1000.0
    arm_queries: Final = None

    def resources(self) -> tuple[Resource, ...]:
        """Nothing of a mesh is watched."""
        return ()

    def mirrored_percent(self, release: Release) -> int:  # noqa: ARG002
        """None."""
        return 0

    def can_mirror(self, release: Release) -> bool:  # noqa: ARG002
        """A Service cannot copy traffic."""
        return False

    def objects(self, release: Release) -> tuple[ObjectRef, ...]:  # noqa: ARG002
        """None."""
        return ()

    def read(self, release: Release, live: Live) -> Routes | Unknown | None:  # noqa: ARG002
        """0/100 once the first iteration was counted, else 100/0."""
        return Routes(0, 100) if release.canary.status.iterations > 0 else ALL_TO_PRIMARY

    def wanted(self, release: Release, live: Live, routes: Routes) -> Sequence[Wanted]:  # noqa: ARG002
        """None."""
        return ()

    def finalize(self, release: Release, live: Live) -> Sequence[Wanted]:  # noqa: ARG002
        """Nothing to restore."""
        return ()
