"""The seam of a mesh: pure functions from a release and weights to the mesh's own objects.

A router never writes. It says which resources it reads, reads weights back from them, and says how they should look;
one generic mechanism (`canary.kube.ensure`) compares and applies. So no router can lose live weights while repairing
drift (reference Q4), drop unknown fields (Q5), or forget a zero weight (Q32). A base class with hooks was rejected.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from canary.core.arms import ArmQueries
from canary.core.grouped import GroupedQuery
from canary.core.model import Routes, Unknown
from canary.core.release import Release
from canary.kube.resource import Object, Resource


@dataclass(frozen=True, slots=True)
class ObjectRef:
    """One object by resource and name, in the release's namespace unless `namespace` is given."""

    resource: Resource
    name: str
    namespace: str = ""


@dataclass(frozen=True, slots=True)
class Wanted:
    """One object as it should look.

    `body` holds only the fields that we own (head included). `exact` lists paths whose value must equal ours entirely
    (lists and maps are then replaced, not merged), e.g. `("spec", "http")`. `adopt`: take an existing object over even
    though it is not owned by this Canary.
    """

    resource: Resource
    body: Object
    exact: tuple[tuple[str, ...], ...] = (("spec",),)
    adopt: bool = True


Live = Mapping[ObjectRef, Object | None]
"""What the cache holds for the refs of `objects(release)`; None: does not exist."""

NOT_ACCEPTED = "RouteNotAccepted"
"""Reason of an `Unknown`: the weights are written, but a gateway has not (yet) put them in force."""
NO_CANARY_RULE = "RouteWithoutCanary"
"""Reason of an `Unknown`: somebody took our rule out of our object, or zeroed both weights. Repair it with `wanted`."""


class Router(Protocol):
    """One mesh. Raises `canary.core.errors.Rejected` when the spec cannot be expressed in it, with a hint how to mend."""

    name: str
    has_weights: bool
    """False: no traffic object at all (provider `kubernetes`)."""
    builtin_queries: Mapping[str, str]
    """`request-success-rate` and `request-duration` as query templates (functions as in reference flagger-analysis 1.5)."""
    grouped_queries: Mapping[str, GroupedQuery]
    """The same checks for many canaries at once. A check that is not in it is asked for one canary at a time."""
    duration_unit_ms: float
    """What one unit of this mesh's duration query is in milliseconds (1 or 1000)."""
    arm_queries: ArmQueries | None
    """Counters of both versions, which judges by evidence need; None: this mesh does not tell the versions apart."""

    def resources(self) -> tuple[Resource, ...]:
        """What must be watched for this mesh."""
        ...

    def mirrored_percent(self, release: Release) -> int:
        """How many percent of the requests are copied while traffic is mirrored; 0 where it never is."""
        ...

    def can_mirror(self, release: Release) -> bool:
        """Whether traffic can be copied to the canary in this release's strategy."""
        ...

    def objects(self, release: Release) -> tuple[ObjectRef, ...]:
        """The objects of this release that `read`, `wanted` and `finalize` look at; some exist while a baseline runs only."""
        ...

    def read(self, release: Release, live: Live) -> Routes | Unknown | None:
        """Weights as they are now, in whole percent (shares of another total are converted). Cookies live in status, not here.

        What goes to the baseline counts as the primary's, and is `Routes.baseline`.

        None when there is no object of ours yet: it is missing, or a user's own that was not taken over. Unknown when it
        cannot be believed; its reason is `NOT_ACCEPTED` or `NO_CANARY_RULE`.
        """
        ...

    def wanted(self, release: Release, live: Live, routes: Routes) -> Sequence[Wanted]:
        """Every object of this release as it should look with these weights: with a third destination only where a baseline has a share, or is there."""
        ...

    def finalize(self, release: Release, live: Live) -> Sequence[Wanted]:
        """Objects to restore on deletion with `revertOnDeletion`; empty when garbage collection does it all."""
        ...
