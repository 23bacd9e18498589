"""From the numbers in a mesh's object to percent.

Meshes take any non-negative integers as weights and divide by their sum, and people edit them by hand; the rules count in
percent that sum to 100. Upstream takes the canary's share as 100 minus the primary's on some meshes and both as written on
others: 1 and 1 then read as 1/99 or as 1/1. Both are wrong; here a share is a share.

A baseline is a destination of its own in the mesh, and a part of the primary's percent in the rules, because it runs the primary's version.
"""

from __future__ import annotations

from collections.abc import Mapping

from canary.core.model import Routes
from canary.core.release import Release


def split(release: Release, routes: Routes, *, beside: bool = False) -> list[tuple[str, int]]:
    """Service and weight of every destination, in order; the baseline is none without a share, unless it is there (`beside`)."""
    two = [(release.apex_primary, routes.primary - routes.baseline), (release.apex_canary, routes.canary)]
    return [*two, (release.apex_baseline, routes.baseline)] if routes.baseline or beside else two


def read(release: Release, by_service: Mapping[str, int], *, mirrored: bool = False) -> Routes | None:
    """What `split` wrote, or somebody's edit of it, as `percent`; who is left out gets nothing."""
    primary, canary, baseline = (by_service.get(name, 0) for name in (release.apex_primary, release.apex_canary, release.apex_baseline))
    return percent(primary, canary, baseline, mirrored=mirrored)


def percent(primary: int, canary: int, baseline: int = 0, *, mirrored: bool = False) -> Routes | None:
    """The weights as percent, rounded half to even; a version that gets any traffic never reads as 0. None: all are zero.

    A primary that gets any beside the baseline keeps at least 1 of their percent, so that writing what was read takes it from nobody who
    has it: the baseline, which nobody needs, reads as 0 rather than that.
    """
    total, old = primary + canary + baseline, primary + baseline
    if total <= 0 or min(primary, canary, baseline) < 0:
        return None
    share = round(100 * canary / total)
    if canary and old:
        share = min(max(share, 1), 99)
    rest = 100 - share
    part = min(max(round(100 * baseline / total), 1 if baseline else 0), rest - 1) if primary else rest
    return Routes(rest, share, mirrored=mirrored, baseline=part)
