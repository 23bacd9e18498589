"""What every mesh does with `analysis.match`: how conditions combine, and one voice for those a mesh cannot express.

An entry of `analysis.match` and an entry of `service.match` must both hold, so the canary's rule carries their product; a
request that fulfils one of the service's entries only stays on the primary. Where both name headers, the analysis's replace
the service's, as upstream does.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

from canary.core.errors import Rejected
from canary.core.release import Release

T = TypeVar("T")


def is_ab_test(release: Release) -> bool:
    """`match` with `iterations`: everything matched goes to the canary at once, nothing moves by weight."""
    analysis = release.canary.spec.analysis
    return bool(analysis.match) and analysis.iterations > 0


def product(first: Iterable[T], second: Sequence[T], combine: Callable[[T, T], T]) -> list[T]:
    """`combine` of every pair, `first` varying slowest; `first` alone when there is nothing to combine it with."""
    return [combine(one, other) for one in first for other in second] if second else list(first)


def inexpressible(mesh: str, where: str, what: str, *, hint: str) -> Rejected:
    """The one error for a condition that a mesh has no words for. `where` is the path of the field."""
    return Rejected(f"{mesh} cannot express {where}: {what}", hint=hint)
