"""From the numbers in a mesh's object to percent.

Meshes take any non-negative integers as weights and divide by their sum, and people edit them by hand; the rules count in
percent that sum to 100. Upstream takes the canary's share as 100 minus the primary's on some meshes and both as written on
others: 1 and 1 then read as 1/99 or as 1/1. Both are wrong; here a share is a share.
"""

from __future__ import annotations

from canary.core.model import Routes


def percent(primary: int, canary: int, *, mirrored: bool = False) -> Routes | None:
    """The two weights as percent, rounded half to even; a side that gets any traffic never reads as 0. None: both are zero."""
    total = primary + canary
    if total <= 0 or primary < 0 or canary < 0:
        return None
    share = round(100 * canary / total)
    if canary and primary:
        share = min(max(share, 1), 99)
    return Routes(100 - share, share, mirrored=mirrored)
