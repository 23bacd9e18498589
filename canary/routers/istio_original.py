"""What a user's VirtualService looked like before we took it over, so that `revertOnDeletion` can give it back.

kubectl already leaves the original in its own annotation. Without it, the first spec that we overwrite is kept in an
annotation, written once: upstream writes it anew at every later difference and then restores its own rules (reference Q34).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

from canary.core.release import Release
from canary.kube.resource import Object
from canary.routers import objects

KUBECTL: Final = "kubectl.kubernetes.io/last-applied-configuration"
ORIGINAL: Final = "flagger.kubernetes.io/original-configuration"


def remember(release: Release, live: Object | None) -> dict[str, str]:
    """Annotations that keep the original; an annotation that is there already is repeated, because applying without it removes it."""
    if live is None:
        return {}
    found = _annotations(live)
    if ORIGINAL in found:
        return {ORIGINAL: found[ORIGINAL]}
    if KUBECTL in found or objects.taken(release, live):
        return {}
    return {ORIGINAL: json.dumps(live.get("spec") or {}, sort_keys=True, separators=(",", ":"))}


def original(live: Object) -> Object | None:
    """The spec to restore: kubectl's record, else ours; None when neither can be read."""
    found = _annotations(live)
    applied = _parse(found.get(KUBECTL))
    if applied is not None and isinstance(applied.get("spec"), dict):
        return dict(applied["spec"])
    return _parse(found.get(ORIGINAL))


def _parse(text: str | None) -> dict[str, Any] | None:
    try:
        value = json.loads(text or "null")
    except ValueError:
        return None
    return value if isinstance(value, dict) else None


def _annotations(live: Object) -> Mapping[str, str]:
    return live["metadata"].get("annotations") or {}
