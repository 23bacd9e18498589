"""Comments that say what a value is: Flux's `# {"$imagepolicy": "ns:policy:tag"}`, and ours, `# {"$canary": "ns/name:container:tag"}`.

Flux's marker says which part of an image a value is, and that a bot will write it again; not whose image it is. Ours says whose.
"""

from __future__ import annotations

from collections.abc import Iterable

from canary.gitops.documents import Document, Place
from canary.gitops.images import Holds, Sourced, assembled

POLICY, OURS = "$imagepolicy", "$canary"
_PARTS = {"tag": Holds.TAG, "name": Holds.NAME, "digest": Holds.DIGEST}


def policy_of(place: Place) -> str:
    """`namespace:name` of the ImagePolicy that sets this value; empty when none does."""
    return ":".join(dict(place.marker).get(POLICY, "").split(":")[:2])


def held_by_marker(place: Place) -> tuple[str, Holds] | None:
    """The policy and the part of a value that Flux's bot sets."""
    words = dict(place.marker).get(POLICY, "").split(":")
    if len(words) not in {2, 3} or not all(words):
        return None
    holds = _PARTS.get(words[2]) if len(words) == 3 else Holds.IMAGE
    return (":".join(words[:2]), holds) if holds else None


def marked_for(documents: Iterable[Document], namespace: str, name: str) -> dict[str, Sourced]:
    """Images of values that our marker gives to a workload, by container (empty: any)."""
    found: dict[str, dict[Holds, Place]] = {}
    for document in documents:
        for place in document.leaves.values() if not document.encrypted else ():
            words = dict(place.marker).get(OURS, "").split(":")
            if words[0] == f"{namespace}/{name}":
                holds = _PARTS.get(words[-1], Holds.IMAGE) if len(words) > 1 else Holds.IMAGE
                container = words[1] if len(words) > 1 and not (len(words) == 2 and holds is not Holds.IMAGE) else ""
                found.setdefault(container, {})[holds] = place
    return {container: one for container, places in found.items() if (one := assembled(places))}
